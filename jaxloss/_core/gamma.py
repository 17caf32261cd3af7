"""Differences of the gamma function's logarithm and of its derivatives.

Each is asked for where its two values nearly cancel, so none is computed as such: the
recurrence Γ(x + 1) = x Γ(x) moves the arguments up to where the asymptotic series is
good to the last place of the type, and both are taken in differences term by term.
"""

import jax
import jax.numpy as jnp

from jaxloss._core.gamma_function import BERNOULLI
from jaxloss._core.relative_entropy import bregman
from jaxloss._core.types import Array

# How far up, and how many terms of the series there, by the bits of the type.
_STEPS = {32: 6, 64: 14}
_TERMS = {32: 4, 64: 8}


def series_size(x: Array) -> tuple[int, tuple[float, ...]]:
    """The steps up to the series, and its Bernoulli numbers."""
    bits = jnp.finfo(x.dtype).bits
    return _STEPS[bits], BERNOULLI[: _TERMS[bits]]


def digamma_rise(a: Array, r: Array) -> Array:
    """ψ(a + r) - ψ(a), for a > 0 and r >= 0: positive terms, also those of autodiff."""
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


@jax.custom_jvp
def tangent_gap(a: Array, b: Array, difference: Array) -> Array:
    """What the tangent of log Γ at a misses at b, log Γ(b) - log Γ(a) - ψ(a) (b - a).

    `difference` is b - a, which follows them: it may be known better than its rounding.
    """
    # Each part of the series and of the recurrence is taken for itself: with
    # r = (b - a) / a,
    #   of -log x:      r - log(1 + r)
    #   of x log x - x: a ((1 + r) log(1 + r) - r)
    #   of x^-k:        (b - a)² Σ_{i<k} (i + 1) a^{-i-2} b^{i-k},
    # none of which is negative, and none of which cancels.
    shift, bernoulli = series_size(a)
    one = jnp.ones_like(difference)

    def of_log(a, b):
        ratio = 1 + difference / a
        return bregman(one, _log_ratio(a, b, difference), ratio)

    total = of_log(a, b)
    for i in range(1, shift):
        total += of_log(a + i, b + i)
    a, b = a + shift, b + shift
    ratio = 1 + difference / a
    total += a * bregman(ratio, -_log_ratio(a, b, difference), one)
    total += of_log(a, b) / 2
    u, v = 1 / a, 1 / b
    for n, number in enumerate(bernoulli, start=1):
        k = 2 * n - 1
        coefficient = number / (2 * n * k)
        terms = sum((i + 1) * u ** (2 + i) * v ** (k - i) for i in range(k))
        total += coefficient * jnp.square(difference) * terms
    return total


@tangent_gap.defjvp
def _(primals, tangents):
    # ∂/∂b = ψ(b) - ψ(a), ∂/∂a = -ψ'(a) (b - a).
    (a, b, difference), (da, db, _) = primals, tangents
    slope = digamma_difference(a, b, difference)
    return tangent_gap(a, b, difference), slope * db - trigamma(a) * difference * da


@jax.custom_jvp
def digamma_difference(a: Array, b: Array, difference: Array) -> Array:
    """ψ(b) - ψ(a); `difference` is b - a, which follows them."""
    return jnp.sign(difference) * digamma_rise(jnp.minimum(a, b), jnp.abs(difference))


@digamma_difference.defjvp
def _(primals, tangents):
    (a, b, difference), (da, db, _) = primals, tangents
    slope = trigamma(b) * db - trigamma(a) * da
    return digamma_difference(a, b, difference), slope


def _log_ratio(a: Array, b: Array, difference: Array) -> Array:
    """log(b / a)."""
    r = difference / a
    near = jnp.abs(r) < 0.5
    return jnp.where(near, jnp.log1p(jnp.where(near, r, 0)), jnp.log(b / a))
