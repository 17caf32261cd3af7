"""How far a distribution p, given by its logarithm, is from the masses t of a target.

With d = log p - log t, the distance is made of two sums, -Σ t d and Σ (p - t), and of
their sum, whose terms t (e^d - 1 - d) are never negative. Near p = t the terms are
of the order of d² and everything hangs on d. Half a unit in the last place of log t
would be all that is left of it, so the logarithm is taken here in two parts.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core.passes import in_blocks
from jaxloss._core.types import Array

# ln 2 in two parts: the first ends in so many zero bits that its multiples by the
# exponents of the type are exact.
_LN2 = {
    32: (0.693145751953125, math.log(2) - 0.693145751953125),
    64: (0.6931471803691238, 1.9082149292705877e-10),
}
# Terms of the series, as many as the last place of the type asks for.
_ATANH_TERMS = {32: 5, 64: 12}
_EXP_TERMS = {32: 11, 64: 18}


@jax.custom_jvp
def log_ratio(log_p: Array, t: Array) -> Array:
    """log p - log t, accurate where the two nearly cancel; NaN for negative t."""
    # t = 2^k m with m in [1/√2, √2). For any s, with r = (m - 1) - s (m + 1),
    #   log m = log (1 + s) / (1 - s) + log(1 + r / (1 + s))
    #         = 2 atanh s + r / (1 + s + r / 2) + O(r³).
    # For an s of half the bits, close to (m - 1) / (m + 1), every step towards r is
    # exact and r is tiny; 2s is exact too; what is rounded is the rest of the series,
    # below 0.004.
    info = jnp.finfo(t.dtype)
    integer = jnp.int64 if info.bits == 64 else jnp.int32
    normal = jnp.maximum(t, info.tiny)
    bits = jax.lax.bitcast_convert_type(normal, integer)
    root_half = jax.lax.bitcast_convert_type(
        jnp.asarray(math.sqrt(0.5), t.dtype), integer
    )
    exponent = (bits - root_half) >> info.nmant
    mantissa = jax.lax.bitcast_convert_type(bits - (exponent << info.nmant), t.dtype)
    k = exponent.astype(t.dtype)
    f = mantissa - 1
    s = _half_of_the_bits(f / (2 + f))
    high = _half_of_the_bits(f)
    r = ((f - 2 * s) - s * high) - s * (f - high)
    square = s * s
    tail = jnp.full_like(s, 2 / (2 * _ATANH_TERMS[info.bits] + 1))
    for n in range(_ATANH_TERMS[info.bits] - 1, 0, -1):
        tail = 2 / (2 * n + 1) + square * tail
    ln2, ln2_rest = _LN2[info.bits]
    low = k * ln2_rest + (r / (1 + s + r / 2) + s * square * tail)
    ratio = ((log_p - k * ln2) - 2 * s) - low
    limit = jnp.where(t >= 0, jnp.where(t == 0, jnp.inf, -t), jnp.nan)
    return jnp.where((t > 0) & (t < jnp.inf), ratio, limit)


@log_ratio.defjvp
def _(primals, tangents):
    (log_p, t), (dlog_p, dt) = primals, tangents
    return log_ratio(log_p, t), dlog_p - dt / t


def _half_of_the_bits(x: Array) -> Array:
    """x rounded so that the product of two such numbers is exact."""
    info = jnp.finfo(x.dtype)
    return jax.lax.reduce_precision(x, info.nexp, (info.nmant - 1) // 2)


def bregman(t: Array, d: Array, p: Array) -> Array:
    """t (e^d - 1 - d) = p - t - t d for p = t e^d, without cancellation; p at t = 0.

    Primal only: what is differentiated is left to the caller's rule.
    """
    # 0 · inf = 0, and an infinite p outgrows t log p.
    linear = t * jnp.where((t == 0) | (p == jnp.inf), 0, d)
    small = (jnp.abs(d) < 1) & (t != 0)
    # The other form cancels less than 3 bits.
    return jnp.where(small, t * excess_near(jnp.clip(d, -1, 1)), (p - t) - linear)


def excess_near(d: Array) -> Array:
    """e^d - 1 - d on [-1, 1], of which it is positive throughout."""
    # Σ_{n≥2} d^n / n!.
    terms = _EXP_TERMS[jnp.finfo(d.dtype).bits]
    series = jnp.full_like(d, 1 / math.factorial(terms))
    for n in range(terms - 1, 1, -1):
        series = 1 / math.factorial(n) + d * series
    return d * d * series


@jax.custom_jvp
def surplus(log_p: Array, t: Array) -> Array:
    """p - t to its own last places where the two nearly cancel; NaN for negative t."""
    d = log_ratio(log_p, jnp.where(t == 0, 1, t))
    small = (jnp.abs(d) < 1) & (t != 0)
    plain = jnp.where(t < 0, jnp.nan, jnp.exp(log_p) - t)
    return jnp.where(small, t * jnp.expm1(jnp.clip(d, -1, 1)), plain)


@surplus.defjvp
def _(primals, tangents):
    (log_p, t), (dlog_p, dt) = primals, tangents
    return surplus(log_p, t), jnp.exp(log_p) * dlog_p - dt


# ------------------------------------------------------------------ divergences


def _divergence(log_p: Array, t: Array, d: Array, rounding: Array, axis: int) -> Array:
    """Σ t (log t - log p), or with + Σ (p - t) where that is nothing but rounding.

    `d` is log p - log t, and log p where t is 0.
    """
    p = jnp.exp(log_p)
    mass = jnp.sum(t, axis=axis, keepdims=True)
    defect = mass - jnp.sum(p, axis=axis, keepdims=True)
    normalised = jnp.abs(defect) <= rounding * mass
    empty = t == 0
    literal = -t * jnp.where(empty, 0, d)
    terms = jnp.where(normalised, bregman(t, d, p), literal)
    # A NaN is not hidden by a target of 0. The selection comes last, because XLA on
    # CPUs computes everything below it in one pass.
    terms = jnp.where(empty, jnp.where(normalised | jnp.isnan(d), p, 0), terms)
    return jnp.sum(terms, axis=axis, keepdims=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def kl(log_p: Array, t: Array, rounding: Array, axis: int) -> Array:
    """Σ t (log t - log p), less a defect of the masses within a share of them."""

    def of_rows(axis, log_p, t, rounding):
        positive = jnp.where(t == 0, 1, t)
        d = log_ratio(log_p, positive)
        return _divergence(log_p, t, d, rounding, axis)

    return in_blocks(of_rows, axis, (log_p, t), (rounding,))


def _kl_jvp(axis, primals, tangents):
    # The derivative of the definition: -t_j, and log t_j - log p_j + 1. Whether a
    # defect of the masses is left out does not depend on infinitely small steps.
    (log_p, t, rounding), (dlog_p, dt, _) = primals, tangents
    value = kl(log_p, t, rounding, axis)
    dvalue = jnp.zeros_like(value)
    if not isinstance(dlog_p, SymbolicZero):
        slope = jnp.where(jnp.isnan(log_p) | ~(t >= 0), jnp.nan, -t)
        dvalue += jnp.sum(slope * dlog_p, axis=axis, keepdims=True)
    if not isinstance(dt, SymbolicZero):
        slope = 1 - _log_ratio_or_zero(log_p, t, 1)
        dvalue += jnp.sum(slope * dt, axis=axis, keepdims=True)
    return value, dvalue


kl.defjvp(_kl_jvp, symbolic_zeros=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def kl_of_logs(log_p: Array, log_t: Array, rounding: Array, axis: int) -> Array:
    """The same from log t."""

    def of_rows(axis, log_p, log_t, rounding):
        t = jnp.exp(log_t)
        empty = t == 0
        d = log_p - jnp.where(empty, 0, log_t)
        return _divergence(log_p, t, d, rounding, axis)

    return in_blocks(of_rows, axis, (log_p, log_t), (rounding,))


def _kl_of_logs_jvp(axis, primals, tangents):
    # -t_j, and t_j (log t_j - log p_j) + t_j, which vanish with t_j.
    (log_p, log_t, rounding), (dlog_p, dlog_t, _) = primals, tangents
    value = kl_of_logs(log_p, log_t, rounding, axis)
    dvalue = jnp.zeros_like(value)
    t = jnp.exp(log_t)
    if not isinstance(dlog_p, SymbolicZero):
        slope = jnp.where(jnp.isnan(log_p), jnp.nan, -t)
        dvalue += jnp.sum(slope * dlog_p, axis=axis, keepdims=True)
    if not isinstance(dlog_t, SymbolicZero):
        nothing = (t == 0) & ~jnp.isnan(log_p)
        d = jnp.where(nothing, 0, log_p) - jnp.where(nothing, 0, log_t)
        dvalue += jnp.sum(t * (1 - d) * dlog_t, axis=axis, keepdims=True)
    return value, dvalue


kl_of_logs.defjvp(_kl_of_logs_jvp, symbolic_zeros=True)


@jax.custom_jvp
def generalized(log_p: Array, t: Array) -> Array:
    """t (log t - log p) + p - t."""
    p = jnp.exp(log_p)
    d = log_ratio(log_p, jnp.where(t == 0, 1, t))
    return jnp.where(t == 0, p, bregman(t, d, p))


def _generalized_jvp(primals, tangents):
    # p - t, and log t - log p.
    (log_p, t), (dlog_p, dt) = primals, tangents
    value = generalized(log_p, t)
    dvalue = jnp.zeros_like(value)
    if not isinstance(dlog_p, SymbolicZero):
        # XLA on CPUs would store each costly step that value and slope share, to save
        # a little arithmetic at the price of several arrays.
        dvalue += surplus(*jax.lax.optimization_barrier((log_p, t))) * dlog_p
    if not isinstance(dt, SymbolicZero):
        dvalue += -_log_ratio_or_zero(log_p, t, 0) * dt
    return value, dvalue


generalized.defjvp(_generalized_jvp, symbolic_zeros=True)


def _log_ratio_or_zero(log_p: Array, t: Array, at_zero: float) -> Array:
    """log p - log t, and `at_zero` where t is 0, unless log p is NaN."""
    nothing = (t == 0) & ~jnp.isnan(log_p)
    ratio = log_ratio(jnp.where(nothing, 0, log_p), jnp.where(t == 0, 1, t))
    return jnp.where(nothing, at_zero, ratio)
