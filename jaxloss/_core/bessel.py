"""The normaliser of the von Mises law: the logarithm of a modified Bessel function."""

import math

import jax.numpy as jnp
import numpy as np

from jaxloss._core.types import Array

# From where the asymptotic series is good to the last place, with two derivatives; and
# the points of the integral below.
_FAR = {32: 12, 64: 24}
_TERMS = {32: 12, 64: 30}
_POINTS = {32: 32, 64: 72}


def log_circle(x: Array, log_x: Array) -> Array:
    """log(2π e^-x I_0(x)) for x >= 0, whose derivatives do not cancel either.

    x and its logarithm may be given by different roundings, and share the derivatives:
    for large x the function is -(log x) / 2 and little more, of which only the little
    is left when it is differentiated twice by log x.
    """
    # e^-x I_0(x) is the mean of e^{-x (1 - cos θ)} over the circle. The mean over equal
    # steps is exact but for I_n(x), n the number of steps, which is nothing for small
    # x. All terms are positive, and the derivative I_1 / I_0 - 1 is a mean of
    # -(1 - cos θ), so it does not cancel as the ratio near 1 does.
    bits = jnp.finfo(x.dtype).bits
    far = x >= _FAR[bits]
    near = jnp.where(far, 1, x)
    half = _POINTS[bits] // 2
    total = jnp.zeros_like(x)
    for k in range(half + 1):
        share = (1 if k in (0, half) else 2) * math.pi / half
        total += share * jnp.exp(-near * (2 * math.sin(math.pi * k / (2 * half)) ** 2))
    # Σ ((2k - 1)!!)² / (k! 8^k x^k), times √(2π / x).
    large = jnp.where(far, x, _FAR[bits])
    ratios = [(2 * k + 1) ** 2 / (8 * (k + 1)) for k in range(_TERMS[bits])]
    series = jnp.zeros_like(x)
    for coefficient in np.cumprod(ratios)[::-1].tolist():
        series = (coefficient + series) / large
    asymptotic = jnp.log1p(series) + (math.log(2 * math.pi) - log_x) / 2
    return jnp.where(far, asymptotic, jnp.log(total))
