"""Differences of the gamma function's logarithm and of its derivatives.

Each is asked for where the two values nearly cancel, so none is computed as such: the
recurrence Γ(x + 1) = x Γ(x) moves the arguments up to where the asymptotic series is
good to the last place of the type, and both are taken in differences term by term. All
are plain formulas of positive terms, which autodiff differentiates as accurately.
"""

import jax.numpy as jnp

from jaxloss._core.types import Array

# B_2, B_4, ...: Bernoulli's numbers.
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
# How far up, and how many terms of the series there, by the bits of the type.
_STEPS = {32: 6, 64: 14}
_TERMS = {32: 4, 64: 8}
# Γ(x + 1/2) / Γ(x) = √x exp(-1/8x + 1/192x³ - ...).
_HALF = (
    -1 / 8,
    1 / 192,
    -1 / 640,
    17 / 14336,
    -31 / 18432,
    691 / 180224,
    -5461 / 425984,
    929569 / 15728640,
)


def series_size(x: Array) -> tuple[int, tuple[float, ...]]:
    bits = jnp.finfo(x.dtype).bits
    return _STEPS[bits], _BERNOULLI[: _TERMS[bits]]


def digamma_rise(a: Array, r: Array) -> Array:
    """ψ(a + r) - ψ(a), for a > 0 and r >= 0."""
    steps, bernoulli = series_size(a)
    total = jnp.zeros_like(a)
    for k in range(steps):
        total += r / (a + k) / (a + r + k)
    a, b = a + steps, a + r + steps
    share = r / a / b
    total += jnp.log1p(r / a) + 0.5 * share
    # u - v for the inverse squares, and (u^k - v^k) / (u - v) term by term.
    u, v = 1 / a / a, 1 / b / b
    quotient, power, series = jnp.ones_like(a), jnp.ones_like(a), jnp.zeros_like(a)
    for k, number in enumerate(bernoulli, start=1):
        series += number / (2 * k) * quotient
        power = power * v
        quotient = u * quotient + power
    return total + share * (1 / a + 1 / b) * series


def trigamma(x: Array) -> Array:
    """ψ'(x), for x > 0."""
    steps, bernoulli = series_size(x)
    total = jnp.zeros_like(x)
    for k in range(steps):
        total += 1 / (x + k) / (x + k)
    inverse = 1 / (x + steps)
    square = inverse * inverse
    series = jnp.zeros_like(x)
    for number in reversed(bernoulli):
        series = (series + number) * square
    return total + inverse * (1 + 0.5 * inverse + series)


def log_gamma_half(a: Array) -> Array:
    """log Γ(a + 1/2) - log Γ(a), for a > 0."""
    steps, _ = series_size(a)
    total = jnp.zeros_like(a)
    for k in range(steps):
        total -= jnp.log1p(0.5 / (a + k))
    inverse = 1 / (a + steps)
    series = jnp.zeros_like(a)
    for coefficient in reversed(_HALF[: _TERMS[jnp.finfo(a.dtype).bits]]):
        series = series * (inverse * inverse) + coefficient
    return total + (0.5 * jnp.log(a + steps) + series * inverse)
