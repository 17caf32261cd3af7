"""Sums over the other entries of a row."""

import jax
import jax.numpy as jnp

from jaxloss._core import axes
from jaxloss._core.types import Array


def others(x: Array, axis: int) -> Array:
    """Σ_{k≠j} x_k for every j, of numbers that are not negative.

    The difference of the sum and x_j would lose the others beside a dominant entry:
    for the largest one they are added up, and for the rest it is added last.
    """
    at = jnp.argmax(jax.lax.stop_gradient(x), axis=axis, keepdims=True)
    largest = axes.is_label(x, at, axis)
    rest = jnp.sum(jnp.where(largest, 0, x), axis=axis, keepdims=True)
    top = jnp.sum(jnp.where(largest, x, 0), axis=axis, keepdims=True)
    return jnp.where(largest, rest, (rest - x) + top)
