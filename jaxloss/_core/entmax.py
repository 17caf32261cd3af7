"""Rows of scores mapped to sparse distributions: the α-entmax and its derivatives.

With β = α - 1 > 0 the α-entmax of x is p_j = (β max(0, x_j - θ))^{1/β}, with the
threshold θ for which Σ p = 1: the maximiser of <p, x> - Ω(p) over the simplex, where
Ω(p) = (Σ p^α - 1) / (α β). It is the softmax as α → 1, and the sparsemax at α = 2.

Σ p - 1 decreases in θ. Newton's method finds its zero in a few passes, kept inside a
bracket that is halved now and then, because for α > 2 the slope is infinite where an
entry enters the support: there a height far below the last place of θ still is a
probability, so that θ is kept in two parts. There is no sort.

An entry of -inf is a class that is not there. A row without any class has p = 0. One
entry of +inf is the limit: p = 1 there. Two of them have no limit: NaN.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core.axes import exists, is_label, take
from jaxloss._core.exact import Twofold, split, two_sum
from jaxloss._core.exponential import lack
from jaxloss._core.mesh import beside
from jaxloss._core.numerics import positive_part
from jaxloss._core.passes import bounded
from jaxloss._core.types import Array

_MOST_STEPS = 200


class LabelEntmax(NamedTuple):
    """The entmax of a row, split at its label."""

    nll: Array
    """max_p (<p, x> - Ω(p)) - x_y over the simplex: the loss."""
    others: Array
    """p_j, with 0 in the label's place."""
    own: Array
    """p_y."""
    complement: Array
    """1 - p_y, without cancellation."""


class _Threshold(NamedTuple):
    """β (θ - peak) = level: β (x - θ) keeps its digits at any offset."""

    peak: Array
    level: Twofold

    def heights(self, x: Array, beta: Array) -> Array:
        """β (x - θ)."""
        # Far below the support nothing counts, and -inf has no difference.
        reach = 4 * jnp.maximum(jnp.abs(self.peak) * jnp.finfo(x.dtype).eps, 1 / beta)
        near = jnp.maximum(jnp.minimum(x, self.peak), self.peak - reach)
        distance, first = two_sum(near, -self.peak)
        height, second = two_sum(beta * distance, -self.level.rounded)
        return height + ((beta * first + second) - self.level.dropped)

    def missing(self, p: Array, beta: Array, axis: int) -> tuple[Array, Array]:
        """Σ p - 1, and the size of what cancels in it."""
        # Where one entry alone is above 1/2 it is the peak, and what it lacks to 1 is
        # known to its last place: 1 - (1 - drop)^{1/β}.
        drop = (1 + self.level.rounded) + self.level.dropped
        short = -jnp.expm1(jnp.log1p(-jnp.minimum(drop, 0.5)) / beta)
        alone = (drop < 0.5) & (_sum((p > 0.5).astype(p.dtype), axis) == 1)
        high, low = split(p)
        spread = (_sum(high, axis) - 1) + _sum(low, axis)
        missing = jnp.where(alone, _rest(p, axis) - short, spread)
        return missing, jnp.where(alone, short, 1)


def _sum(x: Array, axis: int) -> Array:
    return jnp.sum(x, axis=axis, keepdims=True)


def _power(height: Array, beta: Array) -> Array:
    """max(0, h)^{1/β}."""
    return jnp.power(jnp.maximum(height, 0), 1 / beta)


def _slope(p: Array, beta: Array) -> Array:
    """p^{1-β} = β dp / dh on the support, 0 elsewhere."""
    inside = p > 0
    return jnp.where(inside, jnp.power(jnp.where(inside, p, 1), 1 - beta), 0)


def _threshold(x: Array, beta: Array, axis: int) -> _Threshold:
    peak = bounded(jnp.max(x, axis=axis, keepdims=True, initial=-jnp.inf))
    # A maximum may drop NaN on CPU.
    peak = jnp.where(jnp.any(jnp.isnan(x), axis, keepdims=True), jnp.nan, peak)
    classes = max(x.shape[axis], 1)
    eps = float(jnp.finfo(x.dtype).eps)
    # At `low` the largest entry alone has p = 1, at `high` every one has 1/C at most.
    zero = jnp.zeros(jnp.broadcast_shapes(peak.shape, beta.shape), x.dtype)
    low = zero - 1
    high = low * jnp.power(jnp.full((), float(classes), x.dtype), -beta)

    def step(state):
        low, high, level, _, count = state
        threshold = _Threshold(peak, level)
        p = _power(threshold.heights(x, beta), beta)
        missing, size = threshold.missing(p, beta, axis)
        slope = _sum(_slope(p, beta), axis)
        low = level.where(missing >= 0, low)
        high = level.where(missing <= 0, high)
        newton = beta * missing / jnp.where(slope == 0, 1, slope)
        guess = level.plus(Twofold.of(newton))
        # The step from where roundings, which the power multiplies, are nearly all that
        # is missing is the last one.
        settled = ~(jnp.abs(missing) > 4 * eps * jnp.maximum(1, 1 / beta) * size)
        # Every third step halves, if Newton's has not arrived.
        inside = (guess.beyond(low) >= 0) & (high.beyond(guess) >= 0)
        inside = inside & (settled | (count % 3 != 2))
        width = high.beyond(low)
        other = level.where(settled, low.plus(Twofold.of(width / 2)))
        level = guess.where(inside, other)
        settled = settled | (width <= eps**2 * jnp.abs(level.rounded))
        return low, high, level, settled, count + 1

    def unsettled(state):
        return jnp.any(~state[3]) & (state[4] < _MOST_STEPS)

    start = Twofold.of(low), Twofold.of(high), zero != 0
    low, high, settled = beside(start, x, beta)
    start = low, high, low, settled, 0
    return _Threshold(peak, jax.lax.while_loop(unsettled, step, start)[2])


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def label_entmax(x: Array, label: Array, alpha: Array, axis: int) -> LabelEntmax:
    """The α-entmax split at a label, and its loss; α > 1."""
    beta = alpha - 1
    threshold = _threshold(x, beta, axis)
    there = exists(x, label, axis)
    infinite = _sum((x == jnp.inf).astype(x.dtype), axis)
    absent = jnp.all(x == -jnp.inf, axis=axis, keepdims=True)
    poison = jnp.where(there & (infinite <= 1), 0, jnp.nan) + 0 * beta

    heights = threshold.heights(x, beta) + poison
    p = jnp.where(absent & there, 0, _power(heights, beta) + poison)
    hit = is_label(x, label, axis)
    others = jnp.where(hit, 0, p)
    own = _sum(jnp.where(hit, p, 0), axis) + poison
    complement = jnp.where(own > 0.5, _sum(others, axis), 1 - own)
    complement = jnp.where(absent & there, 0, complement)

    # With x_j = θ + p_j^β / β on the support the loss is
    #   Σ_{j≠y} p_j^α / α + g(p_y) + max(0, θ - x_y),
    # g(p) = p^α / α - p^β / β + 1 / (α β) = ∫_p^1 t^{β-1} (1 - t) dt >= 0: no term is
    # negative, and g, of the order of (1 - p)²/2, is `lack(α log p, β / α) / α`.
    log_own = jnp.where(
        own > 0.5, jnp.log1p(-complement), jnp.log(jnp.where(own > 0, own, 1))
    )
    gap = jnp.where(
        own > 0, lack(alpha * log_own, beta / alpha) / alpha, 1 / (alpha * beta)
    )
    at_label = _sum(jnp.where(hit, heights, 0), axis)
    below = sum(threshold.level) / beta
    far = (threshold.peak - take(x, label, axis)) + below
    behind = jnp.where(-at_label < 1, -at_label / beta, far)
    behind = jnp.where(own > 0, 0, positive_part(behind))
    nll = _sum(jnp.power(others, alpha), axis) / alpha + gap + behind
    lost = absent | ((infinite == 1) & (take(x, label, axis) < jnp.inf))
    nll = jnp.where(there & lost, jnp.inf, nll) + poison
    return LabelEntmax(nll, others, own, complement)


@label_entmax.defjvp
def _(axis, primals, tangents):
    # The loss has the gradient p - e_y, p being the maximiser (the envelope theorem),
    # and ∂/∂α = -∂Ω/∂α at p.
    #
    # On the support dp_j = w_j (dx_j - dθ) + v_j dα, w_j = p_j^{2-α}, and dθ keeps
    # Σ dp = 0; v_j = p_j (1 - β log p_j) / β² follows from log p = log(β h) / β. Where
    # one entry has most of the weight, tangents are taken relative to its own.
    (x, label, alpha), (dx, _, dalpha) = primals, tangents
    result = label_entmax(x, label, alpha, axis)
    beta = alpha - 1
    hit = is_label(x, label, axis)
    p = jnp.where(hit, result.own, result.others)
    slope = jnp.where(hit, -result.complement, result.others)
    inside = p > 0
    log_p = jnp.log(jnp.where(inside, p, 1))
    most = p > 0.5
    # Without such an entry the rest is 1, whose logarithm may be NaN.
    log_p = jnp.where(most, jnp.log1p(-jnp.where(most, _rest(p, axis), 0)), log_p)
    powers = jnp.power(p, alpha)
    entropic = _sum(powers * log_p, axis)
    mass = _sum(jnp.where(inside, powers - p, 0), axis)
    by_alpha = mass * (alpha + beta) / (alpha * beta) ** 2 - entropic / (alpha * beta)
    dnll = _sum(jnp.where(slope == 0, 0, slope * dx), axis) + by_alpha * dalpha

    weight = _slope(p, beta)
    total = _sum(weight, axis)
    total = jnp.where(total == 0, 1, total)
    dx = dx - _sum(jnp.where(weight > total / 2, dx, 0), axis)
    drift = p * (1 - beta * log_p) / beta**2 * dalpha
    shift = (_sum(weight * dx, axis) + _sum(drift, axis)) / total
    dp = weight * (dx - shift) + drift
    down = _sum(jnp.where(hit, dp, 0), axis)
    return result, LabelEntmax(dnll, jnp.where(hit, 0, dp), down, -down)


def _rest(p: Array, axis: int) -> Array:
    """The mass of all entries but the one with more than half of it."""
    return _sum(jnp.where(p > 0.5, 0, p), axis)
