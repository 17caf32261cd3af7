"""Exponentials without what they cancel against, and their exact derivatives.

`jnp.expm1` is accurate, and its derivative, which JAX takes as its value plus 1, is 0
instead of e^x in the lower tail. These keep e^x there, in every order.
"""

import math

import jax
import jax.numpy as jnp

from jaxloss._core.types import Array

# Terms of the series below, as many as the last place of the type asks for.
_TERMS = {32: 11, 64: 18}


@jax.custom_jvp
def expm1(x: Array) -> Array:
    """e^x - 1."""
    return jnp.expm1(x)


@expm1.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return expm1(x), jnp.exp(x) * dx


@jax.custom_jvp
def exp_excess(x: Array) -> Array:
    """e^x - 1 - x, never negative: x² / 2 near 0."""
    near = jnp.abs(x) < 1
    small = jnp.where(near, x, 0)
    # x² Σ x^n / (n + 2)!; the other form cancels less than 3 bits.
    terms = _TERMS[jnp.finfo(x.dtype).bits]
    series = jnp.full_like(x, 1 / math.factorial(terms))
    for n in range(terms - 1, 1, -1):
        series = 1 / math.factorial(n) + small * series
    # An exponential that is infinite outgrows x.
    whole = jnp.expm1(x)
    far = jnp.where(whole == jnp.inf, whole, whole - x)
    return jnp.where(near, small * small * series, far)


@exp_excess.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return exp_excess(x), expm1(x) * dx
