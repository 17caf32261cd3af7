"""Losses that grow slower than the square of the residual, and their derivatives.

Most of them are a curve F of the ratio r = e / c of the residual to a scale,
V = c² F(r). Then ∂V/∂e = c F'(r) and ∂V/∂c = c (2 F - r F'), which is never computed as
that difference: each curve brings it along as `by_scale`.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core.logarithm import log1p_square, log1p_surplus
from jaxloss._core.types import Array

# ------------------------------------------------------------------ right triangles


@jax.custom_jvp
def hypotenuse(a: Array, b: Array) -> Array:
    """√(a² + b²), on the whole range of floats."""
    a, b = jnp.abs(a), jnp.abs(b)
    longer, shorter = jnp.where(a > b, a, b), jnp.where(a > b, b, a)
    ratio = shorter / jnp.where((longer == 0) | jnp.isinf(longer), 1, longer)
    length = longer * jnp.sqrt(1 + jnp.where(jnp.isinf(longer), 0, ratio * ratio))
    return jnp.where(jnp.isnan(a), a, length)


@hypotenuse.defjvp
def _(primals, tangents):
    (a, b), (da, db) = primals, tangents
    return hypotenuse(a, b), cosine(a, b) * da + cosine(b, a) * db


@jax.custom_jvp
def cosine(a: Array, b: Array) -> Array:
    """a / √(a² + b²): 0 at the origin, ±1 at an infinite a."""
    steep = jnp.abs(a) < jnp.abs(b)
    slope = a / jnp.where(steep, jnp.abs(b), 1)
    inverse = b / jnp.where(steep | (a == 0), 1, a)
    low = slope / jnp.sqrt(1 + jnp.where(steep, slope * slope, 0))
    high = jnp.sign(a) / jnp.sqrt(1 + jnp.where(steep, 0, inverse * inverse))
    return jnp.where(steep, low, high)


@cosine.defjvp
def _(primals, tangents):
    # d cos = sin (sin da - cos db) / √(a² + b²), where a sum of a's and the length's
    # change would cancel.
    (a, b), (da, db) = primals, tangents
    length = hypotenuse(a, b)
    length = jnp.where(length == 0, 1, length)
    cos, sin = cosine(a, b), cosine(b, a)
    return cos, (sin / length) * (sin * da - cos * db)


# ------------------------------------------------------------------ curves of a ratio


class Curve(NamedTuple):
    """F(r), F'(r) and 2 F(r) - r F'(r)."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    by_scale: Callable[[Array], Array]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def scaled(curve: Curve, e: Array, c: Array) -> Array:
    """c² F(e / c)."""
    return c * (c * curve.value(e / c))


def _scaled_jvp(curve, primals, tangents):
    (e, c), (de, dc) = primals, tangents
    loss = scaled(curve, e, c)
    dloss = jnp.zeros_like(loss)
    if not isinstance(de, SymbolicZero):
        dloss += c * curve.slope(e / c) * de
    if not isinstance(dc, SymbolicZero):
        dloss += c * curve.by_scale(e / c) * dc
    return loss, dloss


scaled.defjvp(_scaled_jvp, symbolic_zeros=True)


def _one(r: Array) -> Array:
    return jnp.ones_like(r)


def _rise(r: Array) -> Array:
    """√(1 + r²) - 1."""
    finite = jnp.where(jnp.isinf(r), 0, r)
    rise = finite * (finite / (1 + hypotenuse(finite, _one(r))))
    return jnp.where(jnp.isinf(r), jnp.abs(r), rise)


# √(1 + r²) - 1, whose slope is r / √(1 + r²).
PSEUDO_HUBER = Curve(
    _rise,
    lambda r: cosine(r, _one(r)),
    lambda r: _rise(r) * (_rise(r) / hypotenuse(r, _one(r))),
)


def _square_below(r: Array) -> Array:
    """r², as long as its square is finite too: every curve is flat beyond."""
    limit = float(jnp.finfo(r.dtype).max) ** 0.2
    return jnp.where(jnp.abs(r) > limit, limit, r) ** 2


# ½ log(1 + r²), whose slope is r / (1 + r²).
CAUCHY = Curve(
    lambda r: 0.5 * log1p_square(r),
    lambda r: cosine(r, _one(r)) / hypotenuse(r, _one(r)),
    lambda r: log1p_surplus(_square_below(r)),
)


def _welsch_by_scale(r: Array) -> Array:
    """1 - (1 + q) e^-q for q = r²: the sum q²/2 - q³/3 + ... near 0."""
    q = _square_below(r)
    terms = 9 if q.dtype == jnp.float32 else 17
    near = jnp.minimum(q, 0.5)
    series = jnp.zeros_like(q)
    factorial = 1.0
    coefficients = []
    for n in range(2, terms + 2):
        factorial *= n
        coefficients.append((-1) ** n * (n - 1) / factorial)
    for coefficient in reversed(coefficients):
        series = coefficient + near * series
    return jnp.where(q < 0.5, near * near * series, 1 - (1 + q) * jnp.exp(-q))


# (1 - e^-r²) / 2, whose slope is r e^-r².
WELSCH = Curve(
    lambda r: -0.5 * jnp.expm1(-_square_below(r)),
    lambda r: jnp.where(jnp.isinf(r), 0, r) * jnp.exp(-_square_below(r)),
    _welsch_by_scale,
)


# r² / (1 + r²) / 2, whose slope is r / (1 + r²)².
GEMAN_MCCLURE = Curve(
    lambda r: 0.5 * cosine(r, _one(r)) ** 2,
    lambda r: cosine(r, _one(r)) * cosine(_one(r), r) ** 3,
    lambda r: cosine(r, _one(r)) ** 4,
)


def _inside(r: Array) -> Array:
    """The ratio, at most 1 in magnitude, where Tukey's curve becomes flat."""
    return jnp.where(jnp.abs(r) >= 1, jnp.sign(r), r)


def _biweight(r: Array) -> Array:
    r = _inside(r)
    q = r * r
    return q * (0.5 - q / 2 + q * q / 6)


def _biweight_by_scale(r: Array) -> Array:
    q = _inside(r) ** 2
    return q * q * (1 - 2 * q / 3)


# (1 - (1 - r²)³) / 6 up to 1, whose slope is r (1 - r²)².
TUKEY = Curve(
    _biweight,
    lambda r: _inside(r) * ((1 - _inside(r)) * (1 + _inside(r))) ** 2,
    _biweight_by_scale,
)
