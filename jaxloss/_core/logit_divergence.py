"""Divergences between two softmaxes, from their logits.

With p the softmax of t, and q that of s, everything hangs on the differences of the
logits. Less their mean under p, u_j = (s_j - t_j) - Σ p_k (s_k - t_k),

    log q_j - log p_j = u_j - K,    K = KL(p ‖ q) = log Σ p_j e^{u_j}
                                      = log(1 + Σ p_j (e^{u_j} - 1 - u_j)),

a sum of terms that are never negative: near p = q, where K is of the order of u²,
nothing cancels.
"""

import functools

import jax
import jax.numpy as jnp

from jaxloss._core import axes, rows
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
    return p, difference - _mean(difference, p, axis)


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
    near = jnp.abs(u - value) < 1
    d = jnp.where(near, u - value, 0)
    surplus = jnp.where(near, p * jnp.expm1(d), q - p)
    slope = jnp.where(p == 0, 0, -p * u)
    return value, axes.total(surplus * ds + slope * dt, axis)


def _to_mixture(d: Array, share: Array) -> Array:
    """log(q / (share p + (1 - share) q)), where d = log q - log p."""
    near = jnp.abs(d) < 1
    small = jnp.where(near, d, 0)
    close = small - jnp.log1p((1 - share) * jnp.expm1(small))
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
    # With x = e^d, and y = m / p, both logarithms small: the same terms, plus parts
    # whose sum is 0, as (1 - β) ψ(x) - ψ(y) with ψ(x) = x log x - x + 1.
    log_y = -jnp.where(near, of_p, 0)
    m = share * p + (1 - share) * q
    close = (1 - share) * bregman(q, -jnp.where(near, d, 0), p) - bregman(m, -log_y, p)
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
    slope_s = (1 - share) * (weighted(of_q, q) - q * mean_q)
    slope_t = share * (weighted(of_p, p) - p * mean_p)
    dvalue = axes.total(slope_s * ds + slope_t * dt, axis)
    return jensen_shannon(t, s, share, axis), dvalue + (mean_p - mean_q) * dshare


def _pair(t: Array, s: Array, axis: axes.RowAxis) -> tuple[Array, Array, Array]:
    """p, q and log q - log p, which is ±inf where one of them lacks a class."""
    p, u = _differences(t, s, axis)
    q = rows.softmax(s, axis).p
    logs = rows.nll(t, axis) - rows.nll(s, axis)
    d = u - kl(t, s, axis)
    d = jnp.where(jnp.isfinite(d), d, logs)
    return p, q, jnp.where((p == 0) & (q == 0), 0, d)
