"""log Γ at two points: what its tangent at the one misses at the other.

    B(a, b) = log Γ(b) - log Γ(a) - ψ(a) (b - a) >= 0

Taken from three values of log Γ and ψ, nothing would be left of it where a and b are
close or large. Here each part of Stirling's series, shifted by n with
Γ(x + n) = x (x + 1) ... (x + n - 1) Γ(x), is taken for itself: with r = (b - a) / a,

    of -log x:      r - log(1 + r)
    of x log x - x: a ((1 + r) log(1 + r) - r)
    of x^-k:        (b - a)² Σ_{i<k} (i + 1) a^{-i-2} b^{i-k},

none of which is negative, and none of which cancels. All is for positive a and b; the
difference b - a is given beside them, because it may be known better than its rounding.
"""

import jax
import jax.numpy as jnp

from jaxloss._core.gamma import trigamma
from jaxloss._core.relative_entropy import bregman
from jaxloss._core.types import Array

# n, and the coefficients of x^-1, x^-3, ... in Stirling's series.
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
_SERIES = {32: (8, _STIRLING[:3]), 64: (16, _STIRLING)}


def _log_ratio(a: Array, b: Array, difference: Array) -> Array:
    """log(b / a)."""
    r = difference / a
    near = jnp.abs(r) < 0.5
    return jnp.where(near, jnp.log1p(jnp.where(near, r, 0)), jnp.log(b / a))


@jax.custom_jvp
def tangent_gap(a: Array, b: Array, difference: Array) -> Array:
    """B(a, b); `difference` is b - a, which follows them."""
    shift, coefficients = _SERIES[jnp.finfo(a.dtype).bits]
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
    for n, coefficient in enumerate(coefficients):
        k = 2 * n + 1
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
    shift, coefficients = _SERIES[jnp.finfo(a.dtype).bits]
    total = difference / a / b
    for i in range(1, shift):
        total += difference / (a + i) / (b + i)
    a, b = a + shift, b + shift
    u, v = 1 / a, 1 / b
    total += _log_ratio(a, b, difference) + difference * u * v / 2
    for n, coefficient in enumerate(coefficients):
        k = 2 * n + 1
        # a^-m - b^-m = (b - a) u v Σ_{j<m} u^j v^{m-1-j}, of which m = k + 1.
        terms = sum(u**j * v ** (k - j) for j in range(k + 1))
        total += k * coefficient * difference * u * v * terms
    return total


@digamma_difference.defjvp
def _(primals, tangents):
    (a, b, difference), (da, db, _) = primals, tangents
    slope = trigamma(b) * db - trigamma(a) * da
    return digamma_difference(a, b, difference), slope
