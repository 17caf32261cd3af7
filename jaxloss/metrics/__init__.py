r"""Metrics: what a loss is not, and what is averaged over more than one batch.

Every metric here returns its total and its count apart, as a pytree: the mean of a
whole data set is not the mean of the means of its batches, nor of those of devices or
accumulation steps, unless all of them count the same.

>>> import jax.numpy as jnp
>>> from jaxloss import metrics
>>> first = metrics.accuracy(jnp.array([[1.0, 0.0]]), jnp.array([0]))
>>> second = metrics.accuracy(jnp.zeros((3, 2)), jnp.array([1, 1, 1]))
>>> print(first.value, second.value, first.merge(second).value)
1.0 0.0 0.25

Inside `jax.shard_map`, `metric.psum(axis_name)` adds up the devices'; results that a
scan or a vmap has stacked are added up by `jax.tree.map(lambda x: x.sum(0), metric)`.
Where nothing is counted the mean is 0, as for losses, and so a perplexity is 1.
"""

from jaxloss.metrics._averages import (
    Calibration as Calibration,
    Mean as Mean,
)
from jaxloss.metrics._classification import (
    accuracy as accuracy,
    binary_accuracy as binary_accuracy,
    expected_calibration_error as expected_calibration_error,
    top_k_accuracy as top_k_accuracy,
)
from jaxloss.metrics._means import (
    bits_per_token as bits_per_token,
    mae as mae,
    mean as mean,
    nats_to_bits as nats_to_bits,
    perplexity as perplexity,
    rmse as rmse,
)
