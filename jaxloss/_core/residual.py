"""Functions of one residual e = prediction - target, entry by entry."""

import math

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core.fusion import afresh, constants
from jaxloss._core.numerics import tanh
from jaxloss._core.types import Array


@jax.custom_jvp
def magnitude(e: Array) -> Array:
    """|e|, whose derivative is the sign of e: 0 at 0 and NaN at NaN."""
    return jnp.abs(e)


@magnitude.defjvp
def _(primals, tangents):
    (e,), (de,) = primals, tangents
    return magnitude(e), jnp.sign(e) * de


@jax.custom_jvp
def half_square(a: Array, b: Array) -> Array:
    """(a - b)² / 2."""
    e = a - b
    return 0.5 * e * e


@half_square.defjvp
def _(primals, tangents):
    # As autodiff has it, but not through e / 2, which is 0 for the smallest e.
    (a, b), (da, db) = primals, tangents
    first, second = afresh(a, b)
    return half_square(a, b), (first - second) * (da - db)


@jax.custom_jvp
def huber(e: Array, delta: Array) -> Array:
    """q (|e| - q/2), where q = min(|e|, delta)."""
    size = jnp.abs(e)
    # Finite, so that an infinite delta is no limit to finite residuals nor inf - inf.
    inner = jnp.minimum(jnp.minimum(delta, jnp.finfo(e.dtype).max), size)
    return jnp.where(delta == 0, 0, inner * (size - 0.5 * inner))


def _huber_jvp(primals, tangents):
    # dℓ/de = clip(e, -δ, δ) and dℓ/dδ = max(|e| - δ, 0), both of which autodiff would
    # take from the difference of two numbers of the size of δ.
    (e, delta), (de, ddelta) = primals, tangents
    dloss = jnp.zeros_like(e)
    if not isinstance(de, SymbolicZero):
        dloss += clipped(e, delta) * de
    if not isinstance(ddelta, SymbolicZero):
        beyond = jnp.where(jnp.abs(e) <= delta, 0, jnp.abs(e) - delta)
        dloss += beyond * ddelta
    return huber(e, delta), dloss


huber.defjvp(_huber_jvp, symbolic_zeros=True)


@jax.custom_jvp
def clipped(e: Array, delta: Array) -> Array:
    """e, at most delta in magnitude."""
    return jnp.clip(e, -delta, delta)


def _clipped_jvp(primals, tangents):
    # de inside and ± dδ outside, where autodiff would split the kink between them.
    (e, delta), (de, ddelta) = primals, tangents
    inside = jnp.abs(e) < delta
    dclipped = jnp.zeros_like(e)
    if not isinstance(de, SymbolicZero):
        dclipped += jnp.where(inside, de, 0)
    if not isinstance(ddelta, SymbolicZero):
        dclipped += jnp.where(inside, 0, jnp.sign(e) * ddelta)
    return clipped(e, delta), dclipped


clipped.defjvp(_clipped_jvp, symbolic_zeros=True)


# Euler's product, cosh e = Π (1 + (2e / (2k - 1)π)²), has its nearest zero in its first
# factor. The logarithm of the others is Σ c_n e^2n, whose terms fall by more than 20
# for each n where |e| is below 1; c_n is the coefficient of log cosh, from the tangent
# numbers, less that of the first factor.
_FIRST = 4 / math.pi**2
_TANGENT = (1, 2, 16, 272, 7936, 353792, 22368256, 1903757312, 209865342976)
_OTHERS = tuple(
    (-1) ** (n - 1) * (number / math.factorial(2 * n) - _FIRST**n / n)
    for n, number in enumerate(_TANGENT, start=1)
)
_KNEE = 0.7
_BELOW = 1 / (1 + math.exp(2 * _KNEE))


@jax.custom_jvp
def log_cosh(e: Array) -> Array:
    # |e| = a + b with a at most the knee: log cosh a by the product, and
    #   cosh(knee + b) / cosh(knee) = e^b (1 + κ (e^-2b - 1)), κ = 1 / (1 + e^(2 knee)),
    # which is just 1 where b = 0. So one expression serves all e, with one exponential
    # and one logarithm of the product of both brackets. (A selection between two
    # expressions would make XLA's CPU backend store it before a sum.)
    size = jnp.abs(e)
    # In this order, and no plain numbers, which would be moved to the second place: the
    # fused sum drops a NaN that comes first.
    knee, zero = constants(e.dtype, _KNEE, 0)
    a, b = jnp.minimum(knee, size), jnp.maximum(zero, size - knee)
    square = a * a
    first, below = _FIRST * square, _BELOW * (jnp.exp(-2 * b) - 1)
    others = jnp.zeros_like(e)
    for coefficient in reversed(_OTHERS if e.dtype == jnp.float64 else _OTHERS[:4]):
        others = (others + coefficient) * square
    # The product is within 1/5 of 1, where log1p(z) = 2 artanh(z / (2 + z)) is cheap.
    z = first + below + first * below
    y = z / (2 + z)
    series = jnp.zeros_like(e)
    for k in reversed(range(9 if e.dtype == jnp.float64 else 4)):
        series = series * (y * y) + 2 / (2 * k + 1)
    return (b + others) + y * series


@log_cosh.defjvp
def _(primals, tangents):
    (e,), (de,) = primals, tangents
    return log_cosh(e), tanh(e) * de


# ------------------------------------------------------------------ smooth L1


@jax.custom_jvp
def clipped_ratio(e: Array, beta: Array) -> Array:
    """e / beta, at most 1 in magnitude: the sign of e for a beta of 0."""
    inside = jnp.abs(e) < beta
    ratio = e / jnp.where(inside, beta, 1)
    return jnp.where(inside, ratio, jnp.where(jnp.isnan(beta), beta, jnp.sign(e)))


def _clipped_ratio_jvp(primals, tangents):
    # (de - s dβ) / β inside, and constant outside.
    (e, beta), (de, dbeta) = primals, tangents
    ratio = clipped_ratio(e, beta)
    inside = jnp.abs(e) < beta
    divisor = jnp.where(inside, beta, 1)
    dratio = jnp.zeros_like(ratio)
    if not isinstance(de, SymbolicZero):
        dratio += jnp.where(inside, 1 / divisor, 0) * de
    if not isinstance(dbeta, SymbolicZero):
        dratio -= jnp.where(inside, ratio / divisor, 0) * dbeta
    return ratio, dratio


clipped_ratio.defjvp(_clipped_ratio_jvp, symbolic_zeros=True)


@jax.custom_jvp
def smooth_l1(e: Array, beta: Array) -> Array:
    """s (|e| - min(|e|, beta) / 2), where s = min(|e| / beta, 1)."""
    size = jnp.abs(e)
    inner = jnp.where(size < beta, size, beta)
    return jnp.abs(clipped_ratio(e, beta)) * (size - 0.5 * inner)


def _smooth_l1_jvp(primals, tangents):
    # With s the signed ratio: s de - s²/2 dβ, inside and outside alike.
    (e, beta), (de, dbeta) = primals, tangents
    loss, ratio = smooth_l1(e, beta), clipped_ratio(e, beta)
    dloss = jnp.zeros_like(loss)
    if not isinstance(de, SymbolicZero):
        dloss += ratio * de
    if not isinstance(dbeta, SymbolicZero):
        dloss -= 0.5 * ratio * ratio * dbeta
    return loss, dloss


smooth_l1.defjvp(_smooth_l1_jvp, symbolic_zeros=True)
