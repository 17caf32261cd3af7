"""Linear terms that do not hide a NaN from their gradient, which is a constant."""

import jax
import jax.numpy as jnp

from jaxloss._core.types import Array


@jax.custom_jvp
def loud(x: Array) -> Array:
    """x itself, with the derivative 1, NaN at NaN."""
    return x


@loud.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return loud(x), jnp.where(jnp.isnan(x), x, 1) * dx
