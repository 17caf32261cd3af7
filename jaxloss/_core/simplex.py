"""Rows of scores projected onto the simplex: the sparsemax and its exact derivatives.

The projection of x is p_j = max(0, x_j - θ), with the threshold θ for which Σ p = 1.
Σ max(0, x_j - θ) - 1 is convex, decreasing and piecewise linear in θ, so Newton's
method from below climbs to its zero without passing it, and ends after finitely many
steps, when the support stays the same: a handful of passes over a row, and no sort.

An entry of -inf is a class that is not there. A row without any class has p = 0. One
entry of +inf is the limit: p = 1 there. Two of them have no limit: NaN.

Every function takes the axis of the classes and keeps it with size 1 when it reduces.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core.axes import exists, is_label, take
from jaxloss._core.exact import split, two_sum
from jaxloss._core.fusion import constants, sums
from jaxloss._core.numerics import positive_part
from jaxloss._core.types import Array


def _sum(x: Array, axis: int) -> Array:
    return jnp.sum(x, axis=axis, keepdims=True)


class Threshold(NamedTuple):
    """θ = peak + level + correction, exact to about twice the precision of its dtype.

    x - θ then keeps its digits for scores far from 0, whose differences to the peak are
    what counts, and for an entry that barely belongs to the support.
    """

    peak: Array
    """max x, of which infinities are replaced by the largest float."""
    level: Array
    """In [-1, 0), to the rounding of its dtype."""
    correction: Array
    """What `level` lacks."""
    size: Array
    """The number of entries in the support."""

    def below(self, x: Array) -> tuple[Array, Array]:
        """x - peak - level as a rounded number and what the rounding dropped."""
        # Far below the support nothing counts, and -inf has no difference: entries stop
        # within reach of the peak, though apart from it at any offset.
        reach = 4 * jnp.maximum(jnp.abs(self.peak) * jnp.finfo(x.dtype).eps, 1)
        near = jnp.maximum(jnp.minimum(x, self.peak), self.peak - reach)
        distance, first = two_sum(near, -self.peak)
        height, second = two_sum(distance, -self.level)
        return height, first + second

    def project(self, x: Array) -> Array:
        """p = max(0, x - θ)."""
        (zero,) = constants(x.dtype, 0)
        height, rest = self.below(x)
        return jnp.maximum(height + (rest - self.correction), zero)

    def again(self) -> "Threshold":
        """The same, from which XLA computes again instead of keeping a whole array."""
        return Threshold(*jax.lax.optimization_barrier(tuple(self)))


def _bottom(dtype: jnp.dtype) -> float:
    """The peak of a row without classes: low, and yet out of reach of its entries."""
    info = jnp.finfo(dtype)
    return float(info.min * (1 - 8 * info.eps))


def _threshold(x: Array, axis: int) -> Threshold:
    """The threshold of every row."""
    peak = jnp.max(x, axis=axis, keepdims=True, initial=_bottom(x.dtype))
    peak = jnp.minimum(peak, jnp.finfo(x.dtype).max)

    def climb(state):
        level, size, _ = state
        # Held back, or the difference would be stored once for all steps.
        top, level = jax.lax.optimization_barrier((peak, level))
        height = (jnp.minimum(x, top) - top) - level
        inside = height > 0
        mass, now = sums(axis, jnp.where(inside, height, 0), inside.astype(x.dtype))
        now = jnp.maximum(now, 1)
        return level + (mass - 1) / now, now, size

    def shrinks(state):
        _, size, before = state
        return jnp.any(size < before)

    whole = jnp.full_like(peak, jnp.inf)
    start = climb((jnp.full_like(peak, -1), whole, whole))
    level, size, _ = jax.lax.while_loop(shrinks, climb, start)

    # The same step twice more, with an exact remainder: once for the rounding of the
    # level, once because that may move an entry across the edge of the support.
    threshold = Threshold(peak, level, jnp.zeros_like(level), size)
    for _ in range(2):
        threshold = threshold.again()
        height, rest = threshold.below(x)
        # A NaN is not outside: it shall reach the sums.
        inside = ~(height + (rest - threshold.correction) <= 0)
        high, low = split(height)
        size, high, low = sums(
            axis,
            inside.astype(x.dtype),
            jnp.where(inside, high, 0),
            jnp.where(inside, low + rest, 0),
        )
        size = jnp.maximum(size, 1)
        correction = ((high - 1) + low) / size
        threshold = threshold._replace(correction=correction, size=size)
    return threshold.again()


class LabelSparsemax(NamedTuple):
    """The sparsemax of a row, split at its label."""

    nll: Array
    """max_p (<p, x> - |p|²/2) + 1/2 - x_y over the simplex: the loss."""
    others: Array
    """p_j, with 0 in the label's place."""
    own: Array
    """p_y."""
    complement: Array
    """1 - p_y, without cancellation."""


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def label_sparsemax(x: Array, label: Array, axis: int) -> LabelSparsemax:
    """The sparsemax split at a label, and its loss."""
    threshold = _threshold(x, axis)
    there = exists(x, label, axis)
    infinite = threshold.peak == jnp.finfo(x.dtype).max
    defined = there & ~(infinite & (threshold.size > 1))
    correction = jnp.where(defined, threshold.correction, jnp.nan)
    threshold = threshold._replace(correction=correction)

    at_label = take(x, label, axis)
    height, rest = threshold.below(at_label)
    own = jnp.maximum(height + (rest - correction), 0)
    complement = jnp.where(own > 0, (1 - height) - (rest - correction), 1 - own)
    absent = threshold.peak == _bottom(x.dtype)
    complement = jnp.where(absent, 0, complement)

    # With x_j = θ + p_j on the support the loss is |p - e_y|²/2 + max(0, θ - x_y): what
    # is large in it has cancelled, and no term is negative. In |p - e_y|² the label's
    # (1 - p_y)² stands where p_y² would; as p_j <= 1 - p_y for all others, a cap on all
    # entries puts it there if 1 - p_y < p_y, and else (1 - p_y)² - p_y² = 1 - 2 p_y.
    p = threshold.project(x)
    squares = _sum(jnp.square(jnp.minimum(p, complement)), axis)
    squares += positive_part(complement - own)
    behind = (threshold.peak - at_label) + threshold.level + correction
    behind = jnp.where(own > 0, 0, positive_part(behind))
    nll = squares / 2 + behind
    nll = jnp.where(there & infinite & (at_label < jnp.inf), jnp.inf, nll)
    others = jnp.where(is_label(x, label, axis), 0, p)
    return LabelSparsemax(nll, others, own, complement)


@label_sparsemax.defjvp
def _(axis, primals, tangents):
    # The loss has the gradient p - e_y, p being the maximiser (the envelope theorem).
    # On the support S, p_j = x_j - θ with dθ the mean of dx over S; elsewhere p = 0.
    (x, label), (dx, _) = primals, tangents
    p = label_sparsemax(x, label, axis)
    hit = is_label(x, label, axis)
    slope = jnp.where(hit, -p.complement, p.others)
    support = jnp.where(hit, p.own, p.others) > 0
    size = jnp.maximum(_sum(support.astype(x.dtype), axis), 1)
    mean = _sum(jnp.where(support, dx, 0), axis) / size
    down = jnp.where(p.own > 0, take(dx, label, axis) - mean, 0)
    return p, LabelSparsemax(
        nll=_sum(slope * dx, axis),
        others=jnp.where(support & ~hit, dx - mean, 0),
        own=down,
        complement=-down,
    )
