"""Masks, weights and reduction: the only place that divides by a count."""

import jax
import jax.numpy as jnp

from jaxloss._core.numerics import weighted
from jaxloss._core.types import Array, Reduction


def reduce(
    loss: Array,
    *,
    where: Array | None = None,
    weights: Array | None = None,
    normalizer: Array | None = None,
    reduction: Reduction = "none",
    axis_name: str | None = None,
) -> Array:
    """Σwℓ, Σwℓ / Σw or the weighted losses themselves, over the examples kept.

    Args:
      loss: the losses of the examples.
      where: the examples kept, of the losses' shape. The others give 0. Their inputs
        must have been replaced before the loss was computed (`inputs`), or their
        gradient would be 0 times garbage.
      weights: multiplies the losses, and counts in the denominator of the mean.
      normalizer: a factor of the loss that counts in the denominator too, such as the
        class weight of the label; `loss` holds it already.
      reduction: `"none"`, `"sum"` or `"mean"`. With nothing to count the mean is 0.
      axis_name: inside `jax.shard_map`, the mesh axis over which the losses are spread:
        sums and counts are those of all its devices.
    """
    if where is not None:
        loss = jnp.where(where, loss, 0)
    if weights is not None:
        if where is not None:
            weights = jnp.where(where, weights, 0)
        loss = weighted(loss, weights)
    if reduction == "none":
        return loss
    total = _everywhere(jnp.sum(loss), axis_name)
    if reduction == "sum":
        return total
    if normalizer is None:
        normalizer = jnp.ones_like(loss)
    if where is not None:
        normalizer = jnp.where(where, normalizer, 0)
    if weights is not None:
        normalizer = normalizer * weights
    return divided(total, _everywhere(jnp.sum(normalizer), axis_name))


def _everywhere(here: Array, axis_name: str | None) -> Array:
    return here if axis_name is None else jax.lax.psum(here, axis_name)


def divided(total: Array, count: Array) -> Array:
    """A mean: 0 where there is nothing to count."""
    return total / jnp.where(count == 0, 1, count)
