"""Means of losses and of residuals, and their units."""

import dataclasses
import math

import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.public import public
from jaxloss._core.types import Array, Input, Number
from jaxloss._core.validate import Check, computing
from jaxloss.metrics._averages import Mean, total_of


@public
def mean(
    values: Input, *, where: Input | None = None, weights: Input | None = None
) -> Mean:
    """Weighted mean of any numbers, such as losses with `reduction="none"`.

    Args:
      values: real numbers or bools, any shape.
      where: mask of the same shape, the entries kept; the others may hold anything.
      weights: weight of each entry, the same shape.

    Returns:
      `Mean`; of nothing, 0.

    Examples:
      >>> import jax.numpy as jnp
      >>> from jaxloss import metrics
      >>> where = jnp.array([True, True, False])
      >>> print(metrics.mean(jnp.array([1.0, 2.0, jnp.nan]), where=where).value)
      1.5
    """
    return _mean(Check("metrics.mean"), "values", values, where, weights)


@public
def perplexity(
    nll: Input, *, where: Input | None = None, weights: Input | None = None
) -> Mean:
    """Exponential of the mean negative log-likelihood of a token.

    Args:
      nll: negative log-likelihoods in nats, any shape, such as from
        `softmax_cross_entropy_with_integer_labels`.
      where: mask of the same shape, the tokens kept.
      weights: weight of each token, the same shape.

    Returns:
      `Mean`, whose value is the exponential of the mean; of nothing, 1.

    Examples:
      >>> import jax.numpy as jnp
      >>> from jaxloss import metrics
      >>> print(metrics.perplexity(jnp.log(jnp.array([2.0, 8.0]))).value)
      4.0
    """
    parts = _mean(Check("metrics.perplexity"), "nll", nll, where, weights)
    return dataclasses.replace(parts, link="exp")


@public
def bits_per_token(
    nll: Input, *, where: Input | None = None, weights: Input | None = None
) -> Mean:
    """Mean negative log-likelihood of a token, in bits.

    Args:
      nll: negative log-likelihoods in nats, any shape. Those of the dimensions of an
        image give bits per dimension.
      where: mask of the same shape, the tokens kept.
      weights: weight of each token, the same shape.

    Returns:
      `Mean`; of nothing, 0.

    Examples:
      >>> import jax.numpy as jnp
      >>> from jaxloss import metrics
      >>> print(metrics.bits_per_token(jnp.log(jnp.array([2.0, 8.0]))).value)
      2.0
    """
    parts = _mean(Check("metrics.bits_per_token"), "nll", nll, where, weights)
    return dataclasses.replace(parts, total=parts.total / math.log(2))


@public
def nats_to_bits(nats: Number) -> Array:
    """Information in bits, from nats: divided by log 2.

    Args:
      nats: a number, or an array of any shape.

    Returns:
      The same in bits, float32 (float64 for float64 inputs).

    Examples:
      >>> from jaxloss import metrics
      >>> print(metrics.nats_to_bits(0.2231).round(4))
      0.3219
    """
    if isinstance(nats, int | float):
        return jnp.float32(nats / math.log(2))
    (array,) = computing(Check("metrics.nats_to_bits").real("nats", nats))
    return array / math.log(2)


@public
def rmse(
    predictions: Input,
    targets: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
) -> Mean:
    """Root of the mean squared error.

    Args:
      predictions: floating, any shape.
      targets: real, the same shape.
      where: mask of the same shape, the entries kept.
      weights: weight of each entry, the same shape.

    Returns:
      `Mean` of the squared errors, whose value is its root; of nothing, 0.

    Examples:
      >>> import jax.numpy as jnp
      >>> from jaxloss import metrics
      >>> print(metrics.rmse(jnp.array([3.0, 4.0]), jnp.zeros(2)).value.round(4))
      3.5355
    """
    check = Check("metrics.rmse")
    error, keep = _residual(check, predictions, targets, where)
    return total_of(check, jnp.square(error), keep, weights, "root")


@public
def mae(
    predictions: Input,
    targets: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
) -> Mean:
    """Mean absolute error.

    Args:
      predictions: floating, any shape.
      targets: real, the same shape.
      where: mask of the same shape, the entries kept.
      weights: weight of each entry, the same shape.

    Returns:
      `Mean`; of nothing, 0.

    Examples:
      >>> import jax.numpy as jnp
      >>> from jaxloss import metrics
      >>> print(metrics.mae(jnp.array([3.0, -4.0]), jnp.zeros(2)).value)
      3.5
    """
    check = Check("metrics.mae")
    error, keep = _residual(check, predictions, targets, where)
    return total_of(check, jnp.abs(error), keep, weights)


def _mean(
    check: Check, name: str, values: Input, where: Input | None, weights: Input | None
) -> Mean:
    array = check.real(name, values)
    keep, _ = check.where(where, loss=array.shape)
    (array,) = computing(array)
    return total_of(check, array, keep, weights)


def _residual(
    check: Check, predictions: Input, targets: Input, where: Input | None
) -> tuple[Array, Array | None]:
    x = inputs.elements(check, where, predictions=predictions, targets=targets)
    return x.predictions - x.targets, x.keep
