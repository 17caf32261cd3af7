"""Two softmaxes side by side: p of t, q of s, and d = log q - log p, class by class.

With a few numbers of the row, each is arithmetic on t_j and s_j alone, so that nothing
of the size of the logits need be kept. For any c close to s_j - t_j, such as the
difference of the two maxima m,

    d_j = (s_j - t_j) - (c + w),    w = log Σ p_k e^{s_k - t_k - c}
                                      = log(1 + Σ p_k (e^{s_k - t_k - c} - 1)),

where s_j - t_j and c keep what their rounding lost: an offset cancels, and near p = q
the sum has the size of what differs. What is left is an error of d that all classes
share. It hurts neither Σ p (e^d - 1 - d) nor its kin, which are stationary in it, nor
derivatives by logits, which are taken less their mean.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core import axes, rows
from jaxloss._core.exact import two_sum
from jaxloss._core.fusion import again
from jaxloss._core.types import Array


class Row(NamedTuple):
    """The numbers of a row, with size 1 along the axis of the classes."""

    peaks: tuple[Array, Array]
    """The maxima m of t and of s; +inf for a row without classes, which has none."""
    scales: tuple[Array, Array]
    """What e^{x - m} is multiplied by, for p and for q."""
    complements: tuple[Array, Array]
    """1 - max p and 1 - max q."""
    centre: tuple[Array, Array, Array]
    """c + w in three parts: to working precision, and what c and the sum have lost. Not
    finite where a maximum is infinite: there is no c then."""
    log_ratio: Array
    """log Σ e^{t - m} - log Σ e^{s - m}."""
    facing: tuple[Array, Array]
    """s at the maximum of t, and t at that of s, if there is one only."""


class Pair(NamedTuple):
    """p, q and log q - log p, which is ±inf where one of them lacks a class."""

    p: Array
    q: Array
    d: Array


def total_pair(a: Array, b: Array, axis: axes.RowAxis) -> tuple[Array, Array]:
    """The sums of two arrays along rows, in one pass.

    XLA on GPU would write what the two share to memory, as much as the arrays, to
    compute it once. It does not where they are the parts of one complex number.
    """

    def apart(a, b):
        return axes.sum_here(a, axis), axes.sum_here(b, axis)

    def together(a, b):
        both = axes.sum_here(jax.lax.complex(a, b), axis)
        return both.real, both.imag

    here = jax.lax.platform_dependent(a, b, cuda=together, default=apart)
    a, b = axes.across(axis, *here)
    return a, b


def _peak(x: Array, axis: axes.RowAxis) -> Array:
    peak = axes.peak(x, axis)
    return jnp.where(peak == -jnp.inf, jnp.inf, peak)


def _facing(x: Array, y: Array, peak: Array, axis: axes.RowAxis) -> Array:
    """y at the maximum of x; one that shares no mask with other sums."""
    return axes.total(jnp.where(x >= again(peak, 2), y, 0), axis)


def _drop(x: Array, peak: Array) -> Array:
    """x - m, 0 at the maximum, also where that is infinite."""
    return jnp.where(x >= peak, 0, x - peak)


def _statistic(x: Array, peak: Array, axis: axes.RowAxis) -> tuple[Array, Array, Array]:
    """Σ e^{x - m} - 1, what makes e^{x - m} the softmax, and 1 less its maximum."""
    top = x >= peak
    rest = axes.total(jnp.where(top, 0, jnp.exp(_drop(x, peak))), axis)
    ties = axes.total(top.astype(x.dtype), axis)
    rest = rest + jnp.maximum(ties - 1, 0)
    empty = (peak == jnp.inf) & (ties == 0) & ~jnp.isnan(rest)
    scale = jnp.where(empty, 0, 1 / (1 + rest))
    # Two infinite maxima have no limit.
    scale = jnp.where((peak == jnp.inf) & (rest >= 1), jnp.nan, scale)
    return rest, scale, rest * scale


def row_of(t: Array, s: Array, axis: axes.RowAxis) -> Row:
    """The numbers of each row, from two passes. They have no derivative."""
    t, s = jax.lax.stop_gradient((t, s))
    peaks = _peak(t, axis), _peak(s, axis)
    c, c_lost = two_sum(peaks[1], -peaks[0])
    (rest_t, *of_p), (rest_s, *of_q) = (
        _statistic(x, peak, axis) for x, peak in zip((t, s), peaks, strict=True)
    )
    facing = _facing(t, s, peaks[0], axis), _facing(s, t, peaks[1], axis)
    e_t, e_s = (
        jnp.exp(_drop(x, again(peak, 1))) for x, peak in zip((t, s), peaks, strict=True)
    )
    whole, lost = two_sum(s, -t)
    v = (whole - c) + (lost - c_lost)
    gain = jnp.where(jnp.abs(v) < 1, e_t * jnp.expm1(v), e_s - e_t)
    gain = axes.total(gain, axis) / (1 + rest_t)
    log_ratio = jnp.log1p(rest_t) - jnp.log1p(rest_s)
    # Far from equality the two logarithms are as good, and nothing is left of 1 + gain.
    small = jnp.abs(gain) < 0.5
    w = jnp.where(small, jnp.log1p(jnp.where(small, gain, 0)), -log_ratio)
    centre, w_lost = two_sum(c, w)
    return Row(
        peaks,
        scales=(of_p[0], of_q[0]),
        complements=(of_p[1], of_q[1]),
        centre=(centre, c_lost, w_lost),
        log_ratio=log_ratio,
        facing=facing,
    )


def still(row: Row) -> Row:
    """The tangent of numbers that have none."""
    return jax.tree.map(jnp.zeros_like, row)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def pair_of(t: Array, s: Array, row: Row, axis: axes.RowAxis) -> Pair:
    """p, q and d, arithmetic on t, s and the numbers of their row."""
    del axis
    drops = tuple(_drop(x, m) for x, m in zip((t, s), row.peaks, strict=True))
    p, q = (
        jnp.exp(drop) * scale for drop, scale in zip(drops, row.scales, strict=True)
    )
    centre, c_lost, w_lost = row.centre
    whole, lost = two_sum(s, -t)
    lost = jnp.where(jnp.isfinite(whole), lost, 0)
    d = (whole - centre) + ((lost - c_lost) - w_lost)
    d = jnp.where(jnp.isfinite(centre), d, (drops[1] - drops[0]) + row.log_ratio)
    return Pair(p, q, jnp.where((p == 0) & (q == 0), 0, d))


@pair_of.defjvp
def _(axis, primals, tangents):
    # The numbers of the row follow t and s: their own tangents are not counted again.
    (t, s, row), (dt, ds, _) = primals, tangents

    def of(x, dx):
        _, dp = jax.jvp(lambda x: rows.softmax(x, axis).p, (x,), (dx,))
        _, dnll = jax.jvp(lambda x: rows.nll(x, axis), (x,), (dx,))
        return dp, dnll

    pair = pair_of(t, s, row, axis)
    (dp, dnll_t), (dq, dnll_s) = of(t, dt), of(s, ds)
    nowhere = (pair.p == 0) & (pair.q == 0)
    return pair, Pair(dp, dq, jnp.where(nowhere, 0, dnll_t - dnll_s))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def complements_of(
    logits: tuple[Array, Array], row: Row, axis: axes.RowAxis
) -> tuple[Array, Array]:
    """1 - max p and 1 - max q from t, s and the numbers of their row."""
    del logits, axis
    return row.complements


@complements_of.defjvp
def _(axis, primals, tangents):
    (logits, row), (dlogits, _) = primals, tangents

    def of(x, dx):
        return jax.jvp(lambda x: rows.softmax(x, axis).complement, (x,), (dx,))[1]

    changes = tuple(of(x, dx) for x, dx in zip(logits, dlogits, strict=True))
    return complements_of(logits, row, axis), changes


def facing_peaks(row: Row, axis: axes.RowAxis) -> tuple[Pair, Pair]:
    """The classes at the maximum of t and at that of s, as `pair_of` has them."""
    (of_t, of_s), (at_t, at_s) = row.peaks, row.facing
    return pair_of(of_t, at_t, row, axis), pair_of(at_s, of_s, row, axis)
