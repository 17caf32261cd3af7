"""Rows of logits with heavy-tailed probabilities: the tempered softmax and its loss.

With β >= 0 the tempered softmax of x is p_j = (1 + β (λ - x_j))^{-1/β}, with the
normaliser λ for which Σ p = 1: the softmax at β = 0. The divergence of p from the
masses y of a target is, with τ >= 0,

    L = Σ_j B(y_j, p_j),    B(y, p) = ∫_p^y u^{τ-1} (y - u) du >= 0.

With m = max x and a = -log p of the largest entry, 1 + β (λ - m) = e^{β a}, and

    -log p_j = a + log(1 + β e^{-β a} (m - x_j)) / β,

in which an offset of the logits cancels and β may be 0. What is sought is the a for
which Σ p = 1. A power mean of exponent below 1 is concave, so (Σ p)^{-β} is a concave
function of λ, and increases: Newton's method for (Σ p)^{-β} = 1 comes up from below by
itself, is done in one step where the entries are equal or β is 0, and squares what is
left otherwise.

An entry of -inf is a class that is not there. A row without any class has p = 0. One
entry of +inf is the limit: p = 1 there. Two of them have no limit: NaN.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core.exponential import lack, quotient, residual_ratio
from jaxloss._core.mesh import beside
from jaxloss._core.numerics import unknown
from jaxloss._core.relative_entropy import log_ratio, surplus
from jaxloss._core.tangents import is_zero
from jaxloss._core.types import Array

# Twelve are enough (`tests/test_tempered.py`).
_MOST_STEPS = 40


class TemperedRow(NamedTuple):
    """The loss of a row, with size 1 along the axis, and what its derivatives need."""

    loss: Array
    nll: Array
    """-log p_j."""
    slope: Array
    """dL / dx_j."""


def _sum(x: Array, axis: int) -> Array:
    return jnp.sum(x, axis=axis, keepdims=True)


def _log(v: Array, beta: Array) -> Array:
    """log(1 + β v) / β: v at β = 0. The inverse of `quotient`."""
    divisor = jnp.where(beta == 0, 1, beta)
    return jnp.where(beta == 0, v, jnp.log1p(divisor * v) / divisor)


def _power(nll: Array, exponent: Array) -> Array:
    """p^k for k >= 0, with 0^0 = 1."""
    gone = nll == jnp.inf
    power = jnp.exp(-exponent * jnp.where(gone, 0, nll))
    return jnp.where(gone, (exponent == 0).astype(nll.dtype), power)


# ------------------------------------------------------------------ the normaliser


def _nll(x: Array, beta: Array, axis: int) -> Array:
    """-log p_j of the tempered softmax."""
    peak = jnp.max(x, axis=axis, keepdims=True, initial=-jnp.inf)
    # A maximum may drop NaN on CPU.
    peak = jnp.where(jnp.any(jnp.isnan(x), axis, keepdims=True), jnp.nan, peak)
    top = x == peak
    behind = jnp.where(top, 0, peak - jnp.where(top, 0, x))
    ties = _sum(top.astype(x.dtype), axis) - 1

    def sums(level):
        """Of w = p / max p and of w^{1+β}, both without the largest entry."""
        drop = jnp.exp(-beta * level) * behind
        below = jnp.where(top, 0, jnp.exp(-_log(drop, beta)))
        sharper = jnp.where(below == 0, 0, below / (1 + beta * drop))
        return _sum(below, axis) + ties, _sum(sharper, axis) + ties

    # The step from where the square of what is missing is nothing is the last one.
    enough = float(jnp.finfo(x.dtype).eps) ** 0.5 / 16

    def step(state):
        level, _, count = state
        rest, sharper = sums(level)
        missing = jnp.log1p(rest) - level
        move = quotient(missing, beta) * ((1 + rest) / (1 + sharper))
        settled = ~(jnp.abs(missing) > enough)
        return level + _log(move, beta), settled, count + 1

    def unsettled(state):
        return jnp.any(~state[1]) & (state[2] < _MOST_STEPS)

    zero = jnp.zeros(jnp.broadcast_shapes(peak.shape, beta.shape), x.dtype)
    level, settled = beside((zero, zero != 0), x, beta)
    level = jax.lax.while_loop(unsettled, step, (level, settled, 0))[0]
    # At a fixed point of a contraction, and small sums keep their digits.
    level = jnp.log1p(sums(level)[0])
    level = jnp.where((peak == jnp.inf) & (ties > 0), jnp.nan, level)
    nll = level + _log(jnp.exp(-beta * level) * behind, beta)
    return jnp.where(peak == -jnp.inf, jnp.inf, nll)


# ------------------------------------------------------------------ the loss


def _divergence(nll: Array, y: Array, tau: Array) -> Array:
    """B(y, p), which is p^α / α at y = 0; α = 1 + τ."""
    # With p = y e^d it is y^α ∫_{e^d}^1 v^{τ-1} (1 - v) dv = y^α lack(α d, τ/α) / α.
    alpha = 1 + tau
    empty = y == 0
    d = log_ratio(jnp.where(empty, 0, -nll), jnp.where(empty, 1, y))
    matched = jnp.power(y, alpha) * lack(alpha * d, tau / alpha)
    return jnp.where(empty, _power(nll, alpha), matched) / alpha


class _Pull(NamedTuple):
    """Of every entry, p^{1+β} = P, q = P / Σ P and what pulls at it.

    The slopes do not change when a constant, the reference, is taken from all of
    f_j = p_j^{τ-1} (p_j - y_j).
    """

    q: Array
    height: Array
    """p_j^τ less the reference."""
    pull: Array
    """P_j (f_j less the reference)."""
    mean: Array
    """Σ q_j (f_j less the reference)."""


def _pull(nll: Array, y: Array, tau: Array, beta: Array, axis: int) -> _Pull:
    # Where the largest entry has the label, all of f is near 0 once that is certain,
    # and the reference is 0. Elsewhere the unlabelled entries have f = p^τ, near 1 for
    # small τ: the reference is that of the largest one.
    power = _power(nll, 1 + beta)
    total = _sum(power, axis)
    total = jnp.where(total == 0, 1, total)
    least = jnp.min(nll, axis=axis, keepdims=True, initial=jnp.inf)
    right = _sum(jnp.where(nll == least, y, 0), axis) > 0.5
    # A row without classes has no entry to refer to.
    least = jnp.where(least == jnp.inf, 0, least)
    gone = nll == jnp.inf
    change = jnp.expm1(-tau * jnp.where(gone, 0, nll - least))
    change = jnp.where(gone & (tau > 0), -1, change)
    height = jnp.where(right, _power(nll, tau), _power(least, tau) * change)
    apart = power * height - y * _power(nll, tau + beta)
    pull = jnp.where(right, _power(nll, tau + beta) * surplus(-nll, y), apart)
    return _Pull(power / total, height, pull, _sum(pull, axis) / total)


def _balanced(v: Array, q: Array, axis: int) -> Array:
    """v_j - q_j Σ v, a sum over the others for the one that has most of the weight."""
    most = q > 0.5
    others = jnp.where(most, 0, v)
    lighter = _sum(jnp.where(most, 0, q), axis)
    heavy = v * lighter - q * _sum(others, axis)
    return jnp.where(most, heavy, v - q * _sum(v, axis))


def _centred(v: Array, q: Array, axis: int) -> Array:
    """v_j - Σ q v, of differences to the one that has most of the weight."""
    v = v - _sum(jnp.where(q > 0.5, v, 0), axis)
    return v - _sum(q * v, axis)


@functools.partial(jax.custom_jvp, nondiff_argnums=(4,))
def tempered_row(x: Array, y: Array, tau: Array, beta: Array, axis: int) -> TemperedRow:
    """The loss of logits x and masses y of the classes, which sum to 1."""
    nll = _nll(x, beta, axis)
    loss = _sum(_divergence(nll, y, tau), axis)
    pulled = _pull(nll, y, tau, beta, axis)
    return TemperedRow(loss, nll, _balanced(pulled.pull, pulled.q, axis))


def _tempered_row_jvp(axis, primals, tangents):
    # From log p_j = -log(1 + β (λ - x_j)) / β follows dp_j = P_j (dx_j - dλ), where
    # P = p^{1+β}, and dλ = Σ q dx with q = P / Σ P keeps Σ dp = 0. A change of β adds
    # to dx_j what has the same effect, l² (e^b (b - 1) + 1) / b² dβ with l = -log p_j
    # and b = β l.
    #
    # ∂B/∂p = p^{τ-1} (p - y) = f, so the loss has the slopes, for c = P f,
    #   g_j = c_j - q_j Σ c = Σ_i c_i (δ_ij - q_j),
    # in which P f = p^{τ+β} (p - y) overflows nowhere. They change, with
    # F = Σ q f and e = dx - dλ, by
    #   dg_j = P_j (h_j e_j - Σ q h e),    P h = dP/dp (f - F) P + P² df/dp
    #        = p^{1+2β} ((1+β) (p^τ - F) + τ p^τ) - (τ+β) y p^{τ+2β}:
    # the labelled terms that cancel for τ = β = 0 are added up on paper. At fixed p,
    # dg = -l g + q Σ l g for β, and dc = -l c for τ, -p^{τ+β} for y.
    #
    # ∂B/∂τ = log y B - y^α (s(τ d) - s(α d)) d² with s = `residual_ratio`, or
    # -p^α (l / α + 1 / α²) at y = 0. ∂B/∂y = ∫_p^y u^{τ-1} du.
    (x, y, tau, beta), (dx, dy, dtau, dbeta) = primals, tangents
    row = tempered_row(x, y, tau, beta, axis)
    nll, slope = row.nll, row.slope
    q, height, _, mean = _pull(nll, y, tau, beta, axis)
    length = jnp.where(nll == jnp.inf, 0, nll)
    labelled = _power(nll, tau + beta)
    dloss, dnll, dslope = map(jnp.zeros_like, row)

    if not (is_zero(dx) and is_zero(dbeta)):
        moved = jnp.zeros_like(nll) if is_zero(dx) else dx
        if not is_zero(dbeta):
            moved += length**2 * residual_ratio(beta * length) * dbeta
            dslope -= _balanced(length * slope, q, axis) * dbeta
        dloss += _sum(slope * moved, axis)
        centred = _centred(moved, q, axis)
        sharp = _power(nll, beta)
        dnll -= sharp * centred
        own = (1 + beta) * (height - mean) + tau * _power(nll, tau)
        bend = _power(nll, 1 + beta) * own - (tau + beta) * y * labelled
        dslope += _balanced(sharp * bend * centred, q, axis)
    if not is_zero(dtau):
        alpha = 1 + tau
        empty = y == 0
        positive = jnp.where(empty, 1, y)
        # As good as infinitely far, where p = 0.
        d = jnp.maximum(log_ratio(-nll, positive), -1e15)
        spread = residual_ratio(tau * d) - residual_ratio(alpha * d)
        by_tau = jnp.log(positive) * _divergence(nll, y, tau)
        by_tau -= jnp.power(y, alpha) * d**2 * spread
        by_power = _power(nll, alpha) * (length / alpha + 1 / alpha**2)
        dloss += _sum(jnp.where(empty, -by_power, by_tau), axis) * dtau
        pull = length * labelled * surplus(-nll, y)
        dslope -= _balanced(pull, q, axis) * dtau
    if not is_zero(dy):
        by_y = quotient(jnp.log(y), tau) - quotient(-nll, tau) + unknown(y)
        dloss += _sum(by_y * dy, axis)
        dslope -= _balanced(labelled * dy, q, axis)
    return row, TemperedRow(dloss, dnll, dslope)


tempered_row.defjvp(_tempered_row_jvp, symbolic_zeros=True)
