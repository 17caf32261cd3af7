"""Logarithms of one and something more."""

import jax
import jax.numpy as jnp

from jaxloss._core.types import Array


def log1p_square(x: Array) -> Array:
    """log(1 + x²), also where the square is not a float."""
    far = jnp.abs(x) > 1 / jnp.finfo(x.dtype).eps
    near = jnp.log1p(jnp.square(jnp.where(far, 0, x)))
    return jnp.where(far, 2 * jnp.log(jnp.where(far, jnp.abs(x), 1)), near)


def _atanh_rest(s: Array, terms: int) -> Array:
    """2 (atanh s - s) = 2 s³ (1/3 + s²/5 + ...)."""
    square = s * s
    series = jnp.zeros_like(s)
    for n in range(terms, 0, -1):
        series = 2 / (2 * n + 1) + square * series
    return s * square * series


def _terms(dtype: jnp.dtype, narrow: int, wide: int) -> int:
    return wide if dtype == jnp.float64 else narrow


@jax.custom_jvp
def log1p_surplus(w: Array) -> Array:
    """log(1 + w) - w / (1 + w) for w >= 0; about w²/2 near 0."""
    # With q = w / (1 + w) and s = q / (2 - q), log(1 + w) = -log(1 - q) = 2 atanh s,
    # and 2 s - q = q² / (2 - q): a sum of positive terms.
    near = jnp.where(w < 0.5, w, 0.5)
    q = near / (1 + near)
    s = q / (2 - q)
    close = q * q / (2 - q) + _atanh_rest(s, _terms(w.dtype, 5, 11))
    far = jnp.log1p(w) - w / jnp.where(jnp.isinf(w), w, 1 + w)
    return jnp.where(w < 0.5, close, far)


@log1p_surplus.defjvp
def _(primals, tangents):
    (w,), (dw,) = primals, tangents
    return log1p_surplus(w), w / (1 + w) / (1 + w) * dw
