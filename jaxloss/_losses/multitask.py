"""Several losses as one, with weights that are learnt."""

import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.loudness import loud
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Reduction
from jaxloss._core.validate import Check


@public
def uncertainty_weighted_sum(
    losses: Input,
    log_variances: Input,
    *,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Sum of the losses of several tasks, each weighted by its learnt uncertainty.

    .. math::
        \ell = \sum_k \left(e^{-s_k} L_k + \tfrac12 s_k\right)

    Args:
      losses: :math:`L`, one for each task along `axis`, floating, any shape: `[tasks]`
        for the usual case.
      log_variances: :math:`s`, the same shape: parameters to be learnt, from 0 on.
      axis: the axis of the tasks.
      where: mask of the sums kept, the shape of `losses` without `axis`, or of the
        tasks kept, the shape of `losses`. Axes may be 1.
      weights: weight of each sum.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the sums kept).

    Returns:
      The weighted sums, float32 (float64 for float64 inputs): the shape of `losses`
      without `axis`, or a scalar when reduced. They may be negative.

    Numerics:
      Plain arithmetic; a task that is masked may hold anything.

    Gradient:
      :math:`\partial \ell / \partial L_k = e^{-s_k}` and :math:`\partial \ell /
      \partial s_k = \tfrac12 - e^{-s_k} L_k`, which is 0 at :math:`e^{s_k} = 2 L_k`.

    Raises:
      TypeError: an array not floating.
      ValueError: shapes that differ, an axis out of range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> losses, log_variances = jnp.array([1.0, 4.0]), jnp.array([0.0, 2.0])
      >>> print(jaxloss.uncertainty_weighted_sum(losses, log_variances).round(4))
      2.5413

    References:
      Kendall, Gal, Cipolla, *Multi-Task Learning Using Uncertainty to Weigh Losses*,
      arXiv:1705.07115, equations 7 and 10: :math:`L` is half the squared error of a
      regression, or the cross entropy of a classification.

    Elsewhere: recipes; some leave out the factor 1/2.
    """
    check = Check("uncertainty_weighted_sum")
    check.reduction(reduction)
    check.floating("log_variances", log_variances)
    x = inputs.rows(
        *(check, axis, where, 0.0, 0.0), losses=losses, log_variances=log_variances
    )
    log_variance = x.require_targets()
    terms = jnp.exp(-log_variance) * loud(x.predictions) + 0.5 * log_variance
    loss = jnp.sum(terms, axis=x.axis)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)
