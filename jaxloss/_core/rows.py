"""Rows of logits: the softmax, its logarithm and their exact derivatives.

Two statistics of a row carry the softmax family. With m = max x,

* with a label y:    gap = m - x_y,  r = Σ_{j≠y} e^{x_j - m},  s = r + e^-gap;
  -log p_y = gap + log s where gap > 0, else log1p(r);  1 - p_y = r / s;
* without a label:   r = Σ_{x_j < m} e^{x_j - m} + (number of maxima - 1);
  log Σ e^{x_j} = m + log1p(r).

Only differences x_j - m are exponentiated, so a common offset cancels; 1 - p is a sum,
not a difference, so a saturated row keeps its value, gradient and curvature. An entry
of -inf is a class that is not there. A row without any class has p = 0. One entry of
+inf is the limit: p = 1 there. Two of them have no limit: NaN.

Every function takes the axis of the classes and keeps it with size 1 when it reduces.
The classes may be spread over devices (`axes.SpreadAxis`).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core import axes
from jaxloss._core.fusion import again_elsewhere
from jaxloss._core.numerics import unknown
from jaxloss._core.passes import along, bounded
from jaxloss._core.types import Array


def _relative_exp(x: Array, peak: Array) -> Array:
    """e^{x - peak}, also where the peak is infinite: 1 at +inf, 0 at -inf."""
    return jnp.exp(jnp.minimum(x - bounded(peak), 0))


def empty(peak: Array, total: Array) -> Array:
    """Whether a row has no class; a maximum on CPU may drop NaN, but no sum does."""
    return (peak == -jnp.inf) & ~jnp.isnan(total)


def _scale(peak: Array, total: Array) -> Array:
    """What turns e^{x - peak} into p: 1 / total, or the contract at infinite peaks."""
    scale = jnp.where(empty(peak, total), 0, 1 / total)
    return jnp.where((peak == jnp.inf) & (total >= 2), jnp.nan, scale)


# ------------------------------------------------------------------ with a label


class LabelSoftmax(NamedTuple):
    """The softmax of a row, split at its label."""

    others: Array
    """p_j, with 0 in the label's place."""
    label: Array
    """p_y."""
    complement: Array
    """1 - p_y, without cancellation."""


def _at_label(
    x: Array, label: Array, axis: axes.RowAxis, peak: Array, rest: Array
) -> tuple[Array, Array, Array, Array]:
    """The negative log-likelihood, e^-gap, r and the scale.

    From the maximum, and the sum r over what this device has of the row.
    """
    rest, at_label = axes.across(axis, rest, axes.value_at(x, label, axis))
    at_peak = at_label == peak
    gap = jnp.where(at_peak, 0, peak - jnp.where(at_peak, 0, at_label))
    exists = axes.exists(x, label, axis)
    loss, _, scale = of_statistic(peak, gap, rest, exists)
    return loss, jnp.exp(-gap), rest, scale


def of_statistic(
    peak: Array, gap: Array, rest: Array, exists: Array
) -> tuple[Array, Array, Array]:
    """-log p_y, log s and 1 / s from the statistic of a row with a label.

    NaN for a label that does not exist, and for two infinite peaks.
    """
    loss, log_total = _from_gap(gap, rest)
    scale = jnp.where(exists, _scale(peak, rest + jnp.exp(-gap)), jnp.nan)
    loss = jnp.where(empty(peak, rest), jnp.inf, loss)
    loss = jnp.where(jnp.isnan(scale) & (loss != jnp.inf) | ~exists, jnp.nan, loss)
    return loss, log_total, scale


@jax.custom_jvp
def _from_gap(gap: Array, rest: Array) -> tuple[Array, Array]:
    """gap + log s and log s, where s = rest + e^-gap."""
    log_total = jnp.where(gap > 0, jnp.log(rest + jnp.exp(-gap)), jnp.log1p(rest))
    return gap + log_total, log_total


@_from_gap.defjvp
def _(primals, tangents):
    # d log s = (drest - e^-gap dgap) / s, to which dgap adds up to rest / s of itself.
    (gap, rest), (dgap, drest) = primals, tangents
    own = jnp.exp(-gap)
    total = rest + own
    return _from_gap(gap, rest), (
        (rest * dgap + drest) / total,
        (drest - own * dgap) / total,
    )


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _label_row(
    x: Array, label: Array, axis: axes.RowAxis
) -> tuple[Array, LabelSoftmax]:
    """The negative log-likelihood of the label, and the softmax split at it."""
    # On CPU one array of exponentials serves the sum and the probabilities; that it
    # exists anyway makes a mask by selection the right one here, unlike in `label_nll`.
    peak = axes.peak(x, axis)
    hit = axes.is_label(x, label, axis)
    here = axes.sum_here(jnp.where(hit, 0, _relative_exp(x, peak)), axis)
    loss, own, rest, scale = _at_label(x, label, axis, peak, here)
    others = jnp.where(hit, 0, _relative_exp(x, again_elsewhere(peak, 1)))
    return loss, LabelSoftmax(others * scale, own * scale, rest * scale)


@_label_row.defjvp
def _(axis, primals, tangents):
    # d(-log p_y) = Σ_{j≠y} p_j dx_j - (1 - p_y) dx_y.
    #
    # dp_j = p_j (dx_j - Σ_k p_k dx_k). The bracket is a mean of differences
    # dx_j - dx_k; where one class holds most of the mass, they are taken relative to
    # its dx, so that its own bracket is a sum over the others and does not cancel.
    (x, label), (dx, _) = primals, tangents
    loss, p = _label_row(x, label, axis)
    here = axes.sum_here(p.others * dx, axis), axes.tangent_at(dx, label, axis)
    mean, dx_label = axes.across(axis, *here)
    dloss = mean - p.complement * dx_label
    reference = axes.total(jnp.where(p.others > 0.5, dx, 0), axis)
    reference = jnp.where(p.label > 0.5, dx_label, reference)
    dx, dx_label = dx - reference, dx_label - reference
    mean = axes.total(p.others * dx, axis) + p.label * dx_label
    dlabel = p.label * (dx_label - mean)
    dp = LabelSoftmax(p.others * (dx - mean), dlabel, -dlabel)
    return (loss, p), (dloss, dp)


def label_softmax(x: Array, label: Array, axis: axes.RowAxis) -> LabelSoftmax:
    """The softmax split at a label: exact p_j for the others, p_y and 1 - p_y."""
    return _label_row(x, label, axis)[1]


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def label_nll(x: Array, label: Array, axis: axes.RowAxis) -> Array:
    """-log p_y: the softmax cross entropy with an integer label."""
    peak = axes.peak(x, axis)

    def others(x, peak, distance):
        # e^{x_j - m} <= 1 <= |j - y| for all but the label: the smaller leaves it out.
        return jnp.minimum(distance, jnp.exp(x - peak))

    here = along(axes.sum_here, axis, others, (x,), (bounded(peak),), label=label)
    return _at_label(x, label, axis, peak, here)[0]


@label_nll.defjvp
def _(axis, primals, tangents):
    (x, label), (dx, _) = primals, tangents
    return jax.jvp(lambda x: _label_row(x, label, axis)[0], (x,), (dx,))


# ------------------------------------------------------------------ without a label


def _below(x: Array, peak: Array, zero: Array) -> Array:
    """e^{x_j - m} below the maximum, 0 at it."""
    # m - x_j rounded up is 0 at the maximum, and elsewhere at least 1 and e^{x_j - m}.
    drop = jnp.maximum(zero, peak - x)
    return jnp.minimum(jnp.ceil(drop), jnp.exp(-drop))


def _is_below(x: Array, peak: Array, zero: Array, one: Array) -> Array:
    """1 below the maximum, 0 at it."""
    return jnp.minimum(one, jnp.ceil(jnp.maximum(zero, peak - x)))


def _statistic(x: Array, axis: axes.RowAxis) -> tuple[Array, Array]:
    """(m, r), infinite peaks counted like finite ones."""
    peak = along(axes.peak, axis, lambda x: x, (x,))
    zero = jnp.zeros_like(peak)
    narrow = (bounded(peak), zero)
    below = along(axes.total, axis, _below, (x,), narrow)
    # After the first sum, so that the barriers of the two differ.
    narrow, below = jax.lax.optimization_barrier(((*narrow, zero + 1), below))
    ties = axes.classes(x, axis) - 1 - along(axes.total, axis, _is_below, (x,), narrow)
    return peak, below + jnp.maximum(ties, 0)


def _row(x: Array, axis: axes.RowAxis) -> tuple[Array, Array]:
    """The statistic (m, r)."""
    peak, rest = _statistic(x, axis)
    return peak, jnp.where(jnp.isnan(_scale(peak, 1 + rest)), jnp.nan, rest)


class Softmax(NamedTuple):
    """The softmax of a row."""

    p: Array
    complement: Array
    """1 - max p, without cancellation."""


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def softmax(x: Array, axis: axes.RowAxis) -> Softmax:
    """p, and the complement of its largest entry."""
    peak, rest = _row(x, axis)
    scale = _scale(peak, 1 + rest)
    return Softmax(_relative_exp(x, peak) * scale, rest * scale)


@softmax.defjvp
def _(axis, primals, tangents):
    # As for `label_softmax`: relative to the entry that holds more than half.
    (x,), (dx,) = primals, tangents
    p, complement = softmax(x, axis)
    dominant = p > 0.5
    dx = dx - axes.total(jnp.where(dominant, dx, 0), axis)
    dp = p * (dx - axes.total(p * dx, axis))
    largest = p == axes.peak(p, axis)
    ties = axes.total(largest.astype(p.dtype), axis)
    dlargest = axes.total(jnp.where(largest, dp, 0), axis) / ties
    return Softmax(p, complement), Softmax(dp, -dlargest)


def complements(p: Softmax) -> Array:
    """1 - p_j for every entry, without cancellation."""
    return jnp.where(p.p > 0.5, p.complement, 1 - p.p)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def log_sum_exp(x: Array, axis: axes.RowAxis) -> Array:
    """log Σ e^{x_j}: -inf for a row without classes."""
    peak, rest = _row(x, axis)
    return peak + jnp.log1p(rest)


@log_sum_exp.defjvp
def _(axis, primals, tangents):
    (x,), (dx,) = primals, tangents
    return log_sum_exp(x, axis), axes.total(softmax(x, axis).p * dx, axis)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def nll(x: Array, axis: axes.RowAxis) -> Array:
    """-log p_j for every entry, as (m - x_j) + log1p(r), both terms non-negative."""
    peak, rest = _row(x, axis)
    return _distance(x, peak) + jnp.log1p(rest)


@nll.defjvp
def _(axis, primals, tangents):
    # d(-log p_j) = Σ_k p_k dx_k - dx_j, relative to the dominant entry as in `softmax`.
    (x,), (dx,) = primals, tangents
    p = softmax(x, axis).p
    dx = dx - axes.total(jnp.where(p > 0.5, dx, 0), axis)
    return nll(x, axis), axes.total(p * dx, axis) - dx


def _distance(x: Array, peak: Array) -> Array:
    """m - x_j, 0 at an infinite peak itself; inf at a class that is not there."""
    finite = jnp.maximum(peak, -jnp.finfo(x.dtype).max)
    return jnp.where(x == finite, 0, finite - x)


def _share(
    x: Array, t: Array, peak: Array, level: Array, zero: Array, one: Array
) -> Array:
    """t_j (m - x_j + log1p(r)), with 0 · inf = 0."""
    # The limit is finite for t = 0, and infinite for every other t.
    largest = jnp.finfo(x.dtype).max
    limit = largest * (one + jnp.abs(t) * largest)
    return t * (jnp.minimum(limit, jnp.maximum(zero, peak - x)) + level)


def _poly_share(
    x: Array,
    t: Array,
    peak: Array,
    level: Array,
    zero: Array,
    one: Array,
    rest: Array,
    factor: Array,
) -> Array:
    """The same and factor · t_j (r + 1 - e^{x_j - m}), of which r + 1 - e is exact."""
    missed = rest - jnp.expm1(-jnp.maximum(zero, peak - x))
    return _share(x, t, peak, level, zero, one) + factor * (t * missed)


def soft_sum(
    x: Array,
    targets: Array,
    axis: axes.RowAxis,
    *,
    epsilon: Array | None = None,
    missing: Array | None = None,
) -> Array:
    """Σ t_j (-log p_j), and with epsilon Σ t_j (-log p_j + epsilon (1 - p_j)); with a
    missing mass, and that times log Σ e^{x_j}."""
    # Arithmetic to the end, so that XLA on CPU may do all of it in one pass over short
    # rows. `beyond` is inf at an infinite peak, else 0. Two such peaks (r >= 1) take
    # the logarithm of a negative number; beside one, all else is infinitely far.
    peak, rest = _statistic(x, axis)
    beyond = jnp.maximum(peak - jnp.finfo(x.dtype).max, 0)
    level = jnp.log1p(rest - 3 * jnp.minimum(beyond, jnp.floor(rest)))
    zero = jnp.zeros_like(peak)
    narrow = (bounded(peak), level, zero, zero + 1)
    share = _share
    if epsilon is not None:
        share, narrow = _poly_share, (*narrow, rest, epsilon / (1 + rest))
    loss = along(axes.total, axis, share, (x, targets), narrow) * (1 + bounded(beyond))
    if missing is None:
        return loss
    return loss + jnp.where(missing == 0, 0, missing * (peak + level))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def soft_nll(x: Array, targets: Array, axis: axes.RowAxis) -> Array:
    """-Σ t_j log p_j = Σ t_j (m - x_j + log1p(r)), with 0 · inf = 0."""
    return soft_sum(x, targets, axis)


def _mass_below(x: Array, t: Array, peak: Array, zero: Array, one: Array) -> Array:
    return t * _is_below(x, peak, zero, one)


def soft_slope(
    x: Array, targets: Array, axis: axes.RowAxis, missing: Array | float = 0
) -> Array:
    """(Σt + missing) p_j - t_j, the derivative of `soft_sum` by x_j."""
    # For the entry with p_j > 1/2, where this cancels, it is
    # (Σ_{k≠j} t_k + missing) p_j - t_j (1 - p_j), each factor a sum without
    # cancellation.
    fixed = jax.lax.stop_gradient(x)
    peak = along(axes.peak, axis, lambda x: x, (fixed,))
    zero = jnp.zeros_like(peak)
    narrow = (bounded(peak), zero, zero + 1)
    below = along(axes.total, axis, _mass_below, (fixed, targets), narrow) + missing
    # A row without classes has no gradient. (And a selection keeps XLA on CPU from
    # spreading the sums over arrays of the logits' size.)
    absent = peak == -jnp.inf
    below = jnp.where(absent, 0, below)
    mass = jnp.where(absent, 0, axes.total(targets, axis) + missing)
    p, complement = softmax(x, axis)
    dominant = p > 0.5
    there = 1 - absent.astype(x.dtype)
    return jnp.where(dominant, below, mass) * p - targets * jnp.where(
        dominant, complement, there
    )


def _soft_nll_jvp(axis, primals, tangents):
    # dL/dt_j = -log p_j.
    (x, targets), (dx, dtargets) = primals, tangents
    loss = soft_nll(x, targets, axis)
    dloss = jnp.zeros_like(loss)
    if not isinstance(dx, SymbolicZero):
        dloss += axes.total(soft_slope(x, targets, axis) * dx, axis)
    if not isinstance(dtargets, SymbolicZero):
        dloss += axes.total((nll(x, axis) + unknown(targets)) * dtargets, axis)
    return loss, dloss


soft_nll.defjvp(_soft_nll_jvp, symbolic_zeros=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def poly_nll(x: Array, targets: Array, epsilon: Array, axis: axes.RowAxis) -> Array:
    """Σ t_j (-log p_j + epsilon (1 - p_j))."""
    return soft_sum(x, targets, axis, epsilon=epsilon)


def _poly_nll_jvp(axis, primals, tangents):
    # With f(ℓ) = ℓ + epsilon (1 - e^-ℓ), Σ t_j f(ℓ_j) changes with x as the cross
    # entropy Σ s_j ℓ_j with s_j = t_j f'(ℓ_j) = t_j (1 + epsilon p_j) held fixed does.
    (x, targets, epsilon), (dx, dtargets, depsilon) = primals, tangents
    loss = poly_nll(x, targets, epsilon, axis)
    dloss = jnp.zeros_like(loss)
    p = softmax(x, axis)
    if not isinstance(dx, SymbolicZero):
        shares = targets * (1 + epsilon * p.p)
        dloss += jax.jvp(lambda x: soft_nll(x, shares, axis), (x,), (dx,))[1]
    if not isinstance(dtargets, SymbolicZero):
        slope = nll(x, axis) + epsilon * complements(p) + unknown(targets)
        dloss += axes.total(slope * dtargets, axis)
    if not isinstance(depsilon, SymbolicZero):
        dloss += axes.total(targets * complements(p), axis) * depsilon
    return loss, dloss


poly_nll.defjvp(_poly_nll_jvp, symbolic_zeros=True)
