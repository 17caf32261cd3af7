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


@jax.custom_jvp
def log_odds_ratio(log_p: Array, log_q: Array) -> Array:
    """The log-odds of p less those of q, from their logarithms; NaN for p or q > 1."""
    # (log p - log q) - log((1 - p) / (1 - q)), of which neither 1 - p is a difference
    # of floats, nor the ratio one of logarithms: those of p and q close to 1 are large.
    ratio = (log_p - log_q) + jnp.log(jnp.expm1(log_q) / jnp.expm1(log_p))
    return jnp.where((log_p <= 0) & (log_q <= 0), ratio, jnp.nan)


@log_odds_ratio.defjvp
def _(primals, tangents):
    # d log(p / (1 - p)) / d log p = 1 + p / (1 - p) = 1 / (1 - p).
    (log_p, log_q), (dlog_p, dlog_q) = primals, tangents
    slope = _inverse_complement(log_p) * dlog_p - _inverse_complement(log_q) * dlog_q
    return log_odds_ratio(log_p, log_q), slope


@jax.custom_jvp
def _inverse_complement(log_p: Array) -> Array:
    """1 / (1 - p)."""
    return -1 / jnp.expm1(log_p)


@_inverse_complement.defjvp
def _(primals, tangents):
    (log_p,), (dlog_p,) = primals, tangents
    inverse = _inverse_complement(log_p)
    return inverse, jnp.exp(log_p) * inverse**2 * dlog_p
