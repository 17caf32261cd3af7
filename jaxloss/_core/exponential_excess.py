"""The exponential less the first terms of its series, with derivatives of its kind."""

import math

import jax
import jax.numpy as jnp

from jaxloss._core.relative_entropy import bregman
from jaxloss._core.types import Array


@jax.custom_jvp
def expm1(z: Array) -> Array:
    """e^z - 1, whose derivative is e^z also where that is far below 1."""
    return jnp.expm1(z)


@expm1.defjvp
def _(primals, tangents):
    (z,), (dz,) = primals, tangents
    return expm1(z), jnp.exp(z) * dz


@jax.custom_jvp
def exp_excess(z: Array) -> Array:
    """e^z - 1 - z, never negative; about z² / 2 near 0."""
    return bregman(jnp.ones_like(z), z, jnp.exp(z))


@exp_excess.defjvp
def _(primals, tangents):
    (z,), (dz,) = primals, tangents
    return exp_excess(z), expm1(z) * dz


# Terms of the series below, for |z| <= 1.
_TERMS = {32: 11, 64: 19}


def exp_excess_over(q: Array, v: Array) -> Array:
    """(e^qv - 1 - qv) / q: also for q near 0, where it is q v² / 2."""
    # The series is a polynomial in q and in v, so autodiff holds for both at q = 0.
    z = q * v
    small = jnp.abs(z) < 1
    near = jnp.where(small, z, 0)
    count = _TERMS[jnp.finfo(z.dtype).bits]
    series = jnp.zeros_like(z)
    for n in range(count + 2, 1, -1):
        series = 1 / math.factorial(n) + near * series
    divisor = jnp.where(small, 1, q)
    far = exp_excess(jnp.where(small, 0, q) * v) / divisor
    return jnp.where(small, v * near * series, far)
