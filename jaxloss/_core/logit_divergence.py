"""Divergences between two softmaxes, from their logits.

With p the softmax of t, and q that of s, everything hangs on d = log q - log p, and on
terms that are never negative: as Σ (q - p) = 0,

    KL(p ‖ q) = -Σ p d = Σ p (e^d - 1 - d).

Near p = q, where it is of the order of d², nothing cancels.
"""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core import axes, rows
from jaxloss._core.exponential import expm1, lack, quotient, residual_ratio
from jaxloss._core.fusion import again
from jaxloss._core.numerics import sigmoid, weighted
from jaxloss._core.passes import in_blocks
from jaxloss._core.relative_entropy import bregman, excess_near
from jaxloss._core.softmax_pair import (
    Pair,
    Row,
    complements_of,
    facing_peaks,
    pair_of,
    row_of,
    still,
    total_pair,
)
from jaxloss._core.tangents import jvp
from jaxloss._core.types import Array

# Beyond this, e^u is too large to be summed as it is.
_FAR = 60.0


def _any(mask: Array, axis: axes.RowAxis, dtype: jnp.dtype) -> Array:
    return axes.total(mask.astype(dtype), axis) > 0


def _pair(t: Array, s: Array, axis: axes.RowAxis) -> Pair:
    return pair_of(t, s, row_of(t, s, axis), axis)


def _others(x: Array, p: Array) -> Array:
    """x, and 0 for the class that holds most of the mass."""
    return jnp.where(p > 0.5, 0, x)


def _unless_zero(p: Array, value: Array) -> Array:
    """p times a value that may be infinite where p is 0: 0 there."""
    return jnp.where(p == 0, 0, p * value)


def _balanced(slope: Array, p: Array, others: Array) -> Array:
    """Derivatives by logits, whose sum is 0: one that cancels is minus all others."""
    return jnp.where(p > 0.5, -others, slope)


def _surplus(pair: Pair) -> Array:
    """q - p to its own last places."""
    p, q, d = pair
    near = jnp.abs(d) < 1
    return jnp.where(near, p * expm1(jnp.where(near, d, 0)), q - p)


# ------------------------------------------------------------------ Kullback-Leibler


class _Kl(NamedTuple):
    row: Row
    value: Array
    others: Array
    """Σ p d, less the class that holds most of the mass of p."""


def _kl_of_rows(axis: axes.RowAxis, t: Array, s: Array) -> _Kl:
    row = row_of(t, s, axis)
    p, q, d = pair_of(t, s, again(row, 2), axis)
    terms = bregman(p, d, q), _others(_unless_zero(p, d), p)
    value, others = total_pair(*terms, axis)
    return _Kl(row, jnp.where(row.scales[0] == 0, 0, value), others)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _kl(t: Array, s: Array, axis: axes.RowAxis) -> _Kl:
    return in_blocks(_kl_of_rows, axis, (t, s))


def _kl_jvp(axis, primals, tangents):
    # ∂K/∂s_j = q_j - p_j, ∂K/∂t_j = -p_j (d_j + K).
    (t, s), (dt, ds) = primals, tangents
    kl = _kl(t, s, axis)
    row = again(kl.row, 4)
    p, q, d = pair_of(t, s, row, axis)
    dvalue = jnp.zeros_like(kl.value)
    if not isinstance(ds, SymbolicZero):
        dvalue += axes.total(_surplus(Pair(p, q, d)) * ds, axis)
    if not isinstance(dt, SymbolicZero):
        certain = jnp.isfinite(p) & (t == jnp.inf)
        slope = jnp.where((p == 0) | certain, 0, -p * (d + kl.value))
        rest = -kl.others - complements_of((t, s), row, axis)[0] * kl.value
        dvalue += axes.total(_balanced(slope, p, rest) * dt, axis)

    def others(t, s):
        p, _, d = pair_of(t, s, row, axis)
        return axes.total(_others(weighted(d, p), p), axis)

    _, dothers = jvp(others, primals, tangents)
    return kl, _Kl(still(kl.row), dvalue, dothers)


_kl.defjvp(_kl_jvp, symbolic_zeros=True)


def kl(t: Array, s: Array, axis: axes.RowAxis) -> Array:
    """KL(p ‖ q) of p, the softmax of t, and q, that of s."""
    return _kl(t, s, axis).value


# ------------------------------------------------------------------ Jensen-Shannon


@jax.custom_jvp
def _to_mixture(d: Array, share: Array) -> tuple[Array, Array]:
    """log(p / m) and log(q / m), m = β p + (1 - β) q, where d = log q - log p."""
    # For h the one of them with the larger share and o the other, X = o / h - 1 and
    # D = log o - log h: log(h / m) = -log(1 + β_o X), and log(o / m) is D more, of
    # which at most half cancels. Where o is much larger, the other way round.
    swapped = share > 0.5
    light = jnp.where(swapped, 1 - share, share)
    heavy = jnp.where(swapped, share, 1 - share)
    difference = jnp.where(swapped, d, -d)
    above = difference > 1
    change = jnp.expm1(jnp.where(above, -difference, difference))
    y = light * change
    total = jnp.where(above, light + heavy * (1 + change), 1 + y)
    lost = jnp.where(above, 0, y - (total - 1))
    # What is lost matters where the total is close to 1.
    first = -(jnp.log(total) + lost * (2 - total))
    second = first + jnp.where(above, -difference, difference)
    first_is_p = above ^ swapped
    return jnp.where(first_is_p, first, second), jnp.where(first_is_p, second, first)


@_to_mixture.defjvp
def _(primals, tangents):
    # With r = β p / m, ∂/∂d is r - 1 and r; ∂/∂β is (q - p) / m for both.
    (d, share), (dd, dshare) = primals, tangents
    of_p, of_q = _to_mixture(d, share)
    odds = jnp.log(share) - jnp.log1p(-share) - d
    by_share = (expm1(of_q) - expm1(of_p)) * dshare
    return (of_p, of_q), (by_share - sigmoid(-odds) * dd, by_share + sigmoid(odds) * dd)


class _Js(NamedTuple):
    row: Row
    value: Array
    means: tuple[Array, Array]
    """KL(p ‖ m) and KL(q ‖ m)."""
    others: tuple[Array, Array]
    """Their sums, less the class that holds most of the mass."""


def _js_of_rows(axis: axes.RowAxis, t: Array, s: Array, share: Array) -> _Js:
    row = row_of(t, s, axis)
    p, q, d = pair_of(t, s, again(row, 2), axis)
    of_p, of_q = _to_mixture(d, share)
    # With l = log(m / p), p log(p / m) + m - p = p (e^l - 1 - l), and likewise for q:
    # what is added to the two terms of a class, β (m - p) + (1 - β) (m - q), is 0.
    close = share * (p * excess_near(-of_p)) + (1 - share) * (q * excess_near(-of_q))
    first, second = _unless_zero(p, of_p), _unless_zero(q, of_q)
    far = share * first + (1 - share) * second
    terms = jnp.where(jnp.abs(d) < 1, close, far), _others(second, q)
    value, others_q = total_pair(*terms, axis)
    p, _, d = pair_of(t, s, again(row, 3), axis)
    first = _unless_zero(p, _to_mixture(d, share)[0])
    others_p = axes.total(_others(first, p), axis)
    # The class that holds most of the mass is that of the maximum.
    at_t, at_s = facing_peaks(row, axis)
    most_p, most_q = _to_mixture(at_t.d, share)[0], _to_mixture(at_s.d, share)[1]
    mean_p = others_p + jnp.where(at_t.p > 0.5, at_t.p * most_p, 0)
    mean_q = others_q + jnp.where(at_s.q > 0.5, at_s.q * most_q, 0)
    return _Js(row, value, (mean_p, mean_q), (others_p, others_q))


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _js(t: Array, s: Array, share: Array, axis: axes.RowAxis) -> _Js:
    return in_blocks(_js_of_rows, axis, (t, s), (share,))


def _js_jvp(axis, primals, tangents):
    # ∂/∂s_j = (1 - β) q_j (log(q_j / m_j) - Σ q_k log(q_k / m_k)); ∂/∂t_j likewise;
    # ∂/∂β = KL(p ‖ m) - KL(q ‖ m).
    (t, s, share), (dt, ds, dshare) = primals, tangents
    js = _js(t, s, share, axis)
    row = again(js.row, 4)
    p, q, d = pair_of(t, s, row, axis)
    of_p, of_q = _to_mixture(d, share)

    def slope(p, log, mean, others, complement):
        return _balanced(weighted(log, p) - p * mean, p, others - complement * mean)

    slope_t, slope_s = map(
        slope,
        (p, q),
        (of_p, of_q),
        js.means,
        js.others,
        complements_of((t, s), row, axis),
    )
    dvalue = jnp.zeros_like(js.value)
    if not isinstance(ds, SymbolicZero):
        dvalue += axes.total((1 - share) * slope_s * ds, axis)
    if not isinstance(dt, SymbolicZero):
        dvalue += axes.total(share * slope_t * dt, axis)
    if not isinstance(dshare, SymbolicZero):
        dvalue += (js.means[0] - js.means[1]) * dshare

    def sums(t, s, share):
        p, q, d = pair_of(t, s, row, axis)
        of_p, of_q = _to_mixture(d, share)
        terms = weighted(of_p, p), weighted(of_q, q)
        others = _others(terms[0], p), _others(terms[1], q)
        return tuple(axes.total(term, axis) for term in (*terms, *others))

    _, of_sums = jvp(sums, primals, tangents)
    return js, _Js(still(js.row), dvalue, of_sums[:2], of_sums[2:])


_js.defjvp(_js_jvp, symbolic_zeros=True)


def jensen_shannon(t: Array, s: Array, share: Array, axis: axes.RowAxis) -> Array:
    """β KL(p ‖ m) + (1 - β) KL(q ‖ m), m = β p + (1 - β) q."""
    return _js(t, s, share, axis).value


# ------------------------------------------------------------------ other distances


def _sign_less_mean(sign: Array, p: Array, axis: axes.RowAxis) -> Array:
    """s_j - Σ p s for signs: the masses that p gives to the other signs."""
    above = axes.total(jnp.where(sign > 0, p, 0), axis)
    below = axes.total(jnp.where(sign < 0, p, 0), axis)
    level = axes.total(jnp.where(sign == 0, p, 0), axis)
    down = jnp.where(sign < 0, -2 * above - level, below - above)
    return jnp.where(sign > 0, 2 * below + level, down)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def total_variation(t: Array, s: Array, axis: axes.RowAxis) -> Array:
    """Σ |q - p| / 2."""
    return axes.total(jnp.abs(_surplus(_pair(t, s, axis))), axis) / 2


@total_variation.defjvp
def _(axis, primals, tangents):
    # With the signs g of q - p, ∂/∂s_j = q_j (g_j - Σ q g) / 2, and
    # ∂/∂t_j = -p_j (g_j - Σ p g) / 2.
    (t, s), (dt, ds) = primals, tangents
    pair = _pair(t, s, axis)
    p, q, _ = pair
    g = jnp.sign(_surplus(pair))
    slope_s, slope_t = (v * _sign_less_mean(g, v, axis) / 2 for v in (q, p))
    return total_variation(t, s, axis), axes.total(slope_s * ds - slope_t * dt, axis)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def root_surplus(t: Array, s: Array, axis: axes.RowAxis) -> Array:
    """√q - √p, class by class."""
    p, q, d = _pair(t, s, axis)
    near = jnp.abs(d) < 1
    half = jnp.where(near, d, 0) / 2
    root_p, root_q = jnp.sqrt(p), jnp.sqrt(q)
    return jnp.where(near, root_p * expm1(half), root_q - root_p)


@root_surplus.defjvp
def _(axis, primals, tangents):
    # d√q = √q d(log q) / 2.
    (t, s), (dt, ds) = primals, tangents
    changes = []
    for x, dx in ((t, dt), (s, ds)):
        nll, dnll = jax.jvp(lambda x: rows.nll(x, axis), (x,), (dx,))
        changes.append(-jnp.exp(-nll / 2) * dnll / 2)
    return root_surplus(t, s, axis), changes[1] - changes[0]


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def renyi(t: Array, s: Array, alpha: Array, axis: axes.RowAxis) -> Array:
    """log(Σ p^α q^{1-α}) / (α - 1) for α > 0; KL(p ‖ q) at α = 1."""
    # With g = 1 - α, Σ p e^{g d} = 1 - g T, T = Σ p ((e^d - 1) - (e^{g d} - 1) / g):
    # terms of one sign, of the order of d², and D = -log(1 - g T) / g.
    p, q, d = _pair(t, s, axis)
    g = 1 - alpha
    far = jnp.abs(d) * jnp.maximum(jnp.abs(g), 1) >= 1
    tilted = _tilted(t, d, g, axis)
    small = jnp.abs(g * d) < 1
    moved = jnp.where(
        small,
        p * quotient(jnp.where(small & (p > 0), d, 0), g),
        (jnp.exp(jnp.minimum(tilted, _FAR)) - p) / jnp.where(g == 0, 1, g),
    )
    terms = jnp.where(far, (q - p) - moved, p * lack(jnp.where(far, 0, d), g))
    terms = jnp.where(p == 0, q, terms)
    sum_of_terms = axes.total(terms, axis)
    divisor = jnp.where(g == 0, 1, g)
    close = -jnp.log1p(-g * sum_of_terms) / divisor
    close = jnp.where(g == 0, sum_of_terms, close)
    # What is far from 1 is known better by its logarithm.
    direct = -rows.log_sum_exp(tilted, axis) / divisor
    far_off = (axes.peak(tilted, axis) > _FAR) | (g * sum_of_terms > 0.5)
    value = jnp.where(far_off, direct, close)
    lost = _any((s == -jnp.inf) & (p > 0), axis, p.dtype) & (g <= 0)
    return jnp.where(lost, jnp.inf, value)


def _tilted(t: Array, d: Array, g: Array, axis: axes.RowAxis) -> Array:
    """log(p e^{g d}); -inf for a class that p lacks."""
    log_p = -rows.nll(t, axis)
    moved = jnp.where(g == 0, 0, g * jnp.where((g == 0) | (log_p == -jnp.inf), 0, d))
    return log_p + moved


@renyi.defjvp
def _(axis, primals, tangents):
    # With r = p e^{g d} / Σ p e^{g d}, so that log r = log p + g (d + D):
    # ∂/∂s_j = q_j - r_j, ∂/∂t_j = -α (r_j - p_j) / g, and
    # ∂/∂α = KL(r ‖ p) / g² = Σ p y² (e^y (y - 1) + 1) / y² / g² with y = g (d + D).
    (t, s, alpha), (dt, ds, dalpha) = primals, tangents
    value = renyi(t, s, alpha, axis)
    p, q, d = _pair(t, s, axis)
    g = 1 - alpha
    r = rows.softmax(_tilted(t, d, g, axis), axis).p
    finite = jnp.isfinite(d) & jnp.isfinite(value)
    d = jnp.where(finite, d, 0)
    to_q = g * value - alpha * d
    close = finite & (value < 1)
    near = close & (jnp.abs(to_q) < 1)
    slope_s = jnp.where(near, -q * expm1(jnp.where(near, to_q, 0)), q - r)
    total = d + jnp.where(finite, value, 0)
    near = close & (jnp.abs(g * total) < 1)
    moved = p * quotient(jnp.where(near, total, 0), g)
    slope_t = -alpha * jnp.where(near, moved, (r - p) / jnp.where(g == 0, 1, g))
    by_alpha = axes.total(p * jnp.square(total) * residual_ratio(g * total), axis)
    dvalue = axes.total(slope_s * ds + slope_t * dt, axis)
    return value, dvalue + by_alpha * dalpha


Kind = Literal["kl", "reverse_kl", "jensen_shannon"]
"""From p to q, from q to p, or of both to their mixture."""


def between(
    kind: Kind, t: Array, s: Array, share: Array | None, axis: axes.RowAxis
) -> Array:
    """The divergence of this kind between p, the softmax of t, and q, that of s."""
    if kind == "jensen_shannon" and share is not None:
        return jensen_shannon(t, s, share, axis)
    return kl(s, t, axis) if kind == "reverse_kl" else kl(t, s, axis)


def cooled(x: Array, temperature: Array | None, axis: axes.RowAxis) -> Array:
    """Logits over a temperature; no divergence depends on their offset, which goes."""
    if temperature is None:
        return x
    peak = jax.lax.stop_gradient(axes.peak(x, axis))
    return (x - jnp.where(jnp.isfinite(peak), peak, 0)) / temperature
