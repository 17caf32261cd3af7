"""Divergences between two softmaxes, from their logits.

With p the softmax of t, and q that of s, everything hangs on the differences of the
logits. Less their mean under p, u_j = (s_j - t_j) - Σ p_k (s_k - t_k),

    log q_j - log p_j = u_j - K,    K = KL(p ‖ q) = log Σ p_j e^{u_j}
                                      = log(1 + Σ p_j (e^{u_j} - 1 - u_j)),

a sum of terms that are never negative: near p = q, where K is of the order of u²,
nothing cancels. As Σ p u = 0, the u of a class that holds most of the mass is minus a
sum over the others: it is as exact as they are, and so is all that follows from it.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp

from jaxloss._core import axes, rows
from jaxloss._core.exponential import expm1, lack, quotient, residual_ratio
from jaxloss._core.numerics import weighted
from jaxloss._core.relative_entropy import bregman
from jaxloss._core.types import Array

# Beyond this, e^u is too large to be summed as it is.
_FAR = 60.0


def _differences(t: Array, s: Array, axis: axes.RowAxis) -> tuple[Array, Array]:
    """p and u; u is not finite where one of the two lacks a class."""
    p = rows.softmax(t, axis).p
    # s - t with what its rounding lost, so that an offset cancels.
    whole = s - t
    of_s = whole + t
    lost = (s - of_s) - (t - (of_s - whole))
    absent = (t == -jnp.inf) & (s == -jnp.inf)
    whole, lost = jnp.where(absent, 0, whole), jnp.where(jnp.isfinite(whole), lost, 0)
    difference = (whole - _mean(whole, p, axis)) + lost
    u = difference - _mean(difference, p, axis)
    dominant = (p > 0.5) & jnp.isfinite(u)
    rest = _mean(jnp.where(dominant, 0, u), p, axis)
    return p, jnp.where(dominant, -rest / jnp.where(dominant, p, 1), u)


def _mean(x: Array, p: Array, axis: axes.RowAxis) -> Array:
    return axes.total(jnp.where(p == 0, 0, p * x), axis)


def _any(mask: Array, axis: axes.RowAxis, dtype: jnp.dtype) -> Array:
    return axes.total(mask.astype(dtype), axis) > 0


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def kl(t: Array, s: Array, axis: axes.RowAxis) -> Array:
    """KL(p ‖ q) of p, the softmax of t, and q, that of s."""
    p, u = _differences(t, s, axis)
    infinite = _any((s == -jnp.inf) & (p > 0), axis, p.dtype)
    # What q gives to classes that p lacks is not in the sum.
    partial = _any((t == -jnp.inf) & (s > -jnp.inf), axis, p.dtype)
    direct = _mean(rows.nll(s, axis) - rows.nll(t, axis), p, axis)
    # Nor is anything finite beside an infinite logit.
    partial |= _any(~jnp.isfinite(u) & (p > 0), axis, p.dtype)
    near = jnp.where(jnp.isfinite(u), jnp.minimum(u, _FAR), 0)
    close = jnp.log1p(axes.total(bregman(p, near, p * jnp.exp(near)), axis))
    far = partial | _any(u > _FAR, axis, p.dtype)
    value = jnp.where(infinite, jnp.inf, jnp.where(far, direct, close))
    return jnp.where(jnp.isnan(direct) & ~infinite, jnp.nan, value)


@kl.defjvp
def _(axis, primals, tangents):
    # ∂K/∂s_j = q_j - p_j = p_j (e^{u_j - K} - 1), ∂K/∂t_j = -p_j u_j.
    (t, s), (dt, ds) = primals, tangents
    value = kl(t, s, axis)
    p, u = _differences(t, s, axis)
    q = rows.softmax(s, axis).p
    # Far from equality, u and K are large and q - p is what is left of them.
    near = (jnp.abs(u - value) < 1) & (value < 1)
    d = jnp.where(near, u - value, 0)
    surplus = jnp.where(near, p * jnp.expm1(d), q - p)
    slope = jnp.where((p == 0) | (jnp.isfinite(p) & (t == jnp.inf)), 0, -p * u)
    return value, axes.total(surplus * ds + slope * dt, axis)


def _to_mixture(d: Array, share: Array) -> Array:
    """log(q / (share p + (1 - share) q)), where d = log q - log p."""
    near = jnp.abs(d) < 1
    close = -jnp.log1p(share * expm1(-jnp.where(near, d, 0)))
    far = jnp.where(near, 0, d)
    return jnp.where(
        near, close, -jnp.logaddexp(jnp.log(share) - far, jnp.log1p(-share))
    )


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def jensen_shannon(t: Array, s: Array, share: Array, axis: axes.RowAxis) -> Array:
    """β KL(p ‖ m) + (1 - β) KL(q ‖ m), m = β p + (1 - β) q."""
    p, q, d = _pair(t, s, axis)
    of_q, of_p = _to_mixture(d, share), _to_mixture(-d, 1 - share)
    near = jnp.abs(d) < 1
    # With l = log(m / p), p log(p / m) + m - p = p (e^l - 1 - l), and likewise for q:
    # what is added to the two terms of a class, β (m - p) + (1 - β) (m - q), is 0.
    m = share * p + (1 - share) * q
    to_p, to_q = (-jnp.where(near, log, 0) for log in (of_p, of_q))
    close = share * bregman(p, to_p, m) + (1 - share) * bregman(q, to_q, m)
    far = weighted(of_p, share * p) + weighted(of_q, (1 - share) * q)
    return axes.total(jnp.where(near, close, far), axis)


@jensen_shannon.defjvp
def _(axis, primals, tangents):
    # ∂/∂s_j = (1 - β) q_j (log(q_j / m_j) - Σ q_k log(q_k / m_k)); ∂/∂t_j likewise;
    # ∂/∂β = KL(p ‖ m) - KL(q ‖ m).
    (t, s, share), (dt, ds, dshare) = primals, tangents
    p, q, d = _pair(t, s, axis)
    of_q, of_p = _to_mixture(d, share), _to_mixture(-d, 1 - share)
    mean_q = axes.total(weighted(of_q, q), axis)
    mean_p = axes.total(weighted(of_p, p), axis)
    slope_s = (1 - share) * _balanced(weighted(of_q, q) - q * mean_q, q, axis)
    slope_t = share * _balanced(weighted(of_p, p) - p * mean_p, p, axis)
    dvalue = axes.total(slope_s * ds + slope_t * dt, axis)
    return jensen_shannon(t, s, share, axis), dvalue + (mean_p - mean_q) * dshare


def _balanced(slope: Array, p: Array, axis: axes.RowAxis) -> Array:
    """Derivatives by logits, whose sum is 0: one that cancels is minus all others."""
    dominant = p > 0.5
    others = axes.total(jnp.where(dominant, 0, slope), axis)
    return jnp.where(dominant, -others, slope)


def _pair(t: Array, s: Array, axis: axes.RowAxis) -> tuple[Array, Array, Array]:
    """p, q and log q - log p, which is ±inf where one of them lacks a class."""
    p, u = _differences(t, s, axis)
    q = rows.softmax(s, axis).p
    logs = rows.nll(t, axis) - rows.nll(s, axis)
    # Near equality it is u - K; far from it, both of these are large.
    divergence = kl(t, s, axis)
    d = u - divergence
    d = jnp.where(jnp.isfinite(d) & (divergence < 1), d, logs)
    return p, q, jnp.where((p == 0) & (q == 0), 0, d)


# ------------------------------------------------------------------ other distances


def _surplus(p: Array, q: Array, d: Array) -> Array:
    """q - p to its own last places, from d = log q - log p."""
    near = jnp.abs(d) < 1
    return jnp.where(near, p * expm1(jnp.where(near, d, 0)), q - p)


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
    return axes.total(jnp.abs(_surplus(*_pair(t, s, axis))), axis) / 2


@total_variation.defjvp
def _(axis, primals, tangents):
    # With the signs g of q - p, ∂/∂s_j = q_j (g_j - Σ q g) / 2, and
    # ∂/∂t_j = -p_j (g_j - Σ p g) / 2.
    (t, s), (dt, ds) = primals, tangents
    p, q, d = _pair(t, s, axis)
    g = jnp.sign(_surplus(p, q, d))
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
