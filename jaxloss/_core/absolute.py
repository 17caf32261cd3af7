"""Absolute values whose derivative is 0 at 0, and NaN at NaN."""

import jax
import jax.numpy as jnp

from jaxloss._core.types import Array


@jax.custom_jvp
def absolute(e: Array) -> Array:
    """|e|, with the sign as derivative: JAX's own is 1 at 0 and -1 at NaN."""
    return jnp.abs(e)


@absolute.defjvp
def _(primals, tangents):
    (e,), (de,) = primals, tangents
    return absolute(e), jnp.sign(e) * de
