"""Rows of logits: the softmax, its logarithm and their exact derivatives.

Two statistics of a row carry the softmax family. With m = max x,

* with a label y:    gap = m - x_y,  r = Σ_{j≠y} e^{x_j - m},  s = r + e^-gap;
  -log p_y = gap + log s where gap > 0, else log1p(r);  1 - p_y = r / s;
* without a label:   r = Σ_{x_j < m} e^{x_j - m} + (number of maxima - 1);
  log Σ e^{x_j} = m + log1p(r).

Only differences x_j - m are exponentiated, so a common offset cancels; 1 - p is a sum,
not a difference, so a saturated row keeps its value, gradient and curvature.

An entry of -inf is a class that is not there. A row without any class has p = 0. One
entry of +inf is the limit: p = 1 there. Two of them have no limit: NaN.

Every function takes the axis of the classes and keeps it with size 1 when it reduces.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core.types import Array


def _sum(x: Array, axis: int) -> Array:
    return jnp.sum(x, axis=axis, keepdims=True)


def _peak(x: Array, axis: int) -> Array:
    return jnp.max(x, axis=axis, keepdims=True, initial=-jnp.inf)


def _relative_exp(x: Array, peak: Array) -> Array:
    """e^{x - peak}, also where the peak is infinite: 1 at +inf, 0 at -inf."""
    limit = jnp.finfo(x.dtype).max
    return jnp.exp(jnp.minimum(x - jnp.clip(peak, -limit, limit), 0))


def _scale(peak: Array, total: Array) -> Array:
    """What turns e^{x - peak} into p: 1 / total, or the contract at infinite peaks."""
    scale = jnp.where(peak == -jnp.inf, 0, 1 / total)
    return jnp.where((peak == jnp.inf) & (total >= 2), jnp.nan, scale)


def take(x: Array, index: Array, axis: int) -> Array:
    """`x` at one index of the axis for each row; the index has size 1 there."""
    index = jnp.clip(index, 0, x.shape[axis] - 1)
    return jnp.take_along_axis(x, index, axis=axis, mode="promise_in_bounds")


# ------------------------------------------------------------------ with a label


class LabelSoftmax(NamedTuple):
    """The softmax of a row, split at its label."""

    others: Array
    """p_j, with 0 in the label's place."""
    label: Array
    """p_y."""
    complement: Array
    """1 - p_y, without cancellation."""


def _label_row(x: Array, label: Array, axis: int) -> tuple[Array, LabelSoftmax]:
    """The negative log-likelihood of the label, and the softmax split at it."""
    peak = _peak(x, axis)
    hit = jax.lax.broadcasted_iota(label.dtype, x.shape, axis) == label
    others = jnp.where(hit, 0, _relative_exp(x, peak))
    rest = _sum(others, axis)
    at_label = take(x, label, axis)
    gap = jnp.where(at_label == peak, 0, peak - at_label)
    own = jnp.exp(-gap)
    total = rest + own
    # Two infinite peaks, or a label out of range, poison the row through `scale`.
    exists = (label >= 0) & (label < x.shape[axis])
    scale = jnp.where(exists, _scale(peak, total), jnp.nan)
    loss = jnp.where(gap > 0, gap + jnp.log(total), jnp.log1p(rest))
    loss = jnp.where(peak == -jnp.inf, jnp.inf, loss)
    loss = jnp.where(jnp.isnan(scale) & (loss != jnp.inf) | ~exists, jnp.nan, loss)
    return loss, LabelSoftmax(others * scale, own * scale, rest * scale)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def label_softmax(x: Array, label: Array, axis: int) -> LabelSoftmax:
    """The softmax split at a label: exact p_j for the others, p_y and 1 - p_y."""
    return _label_row(x, label, axis)[1]


@label_softmax.defjvp
def _(axis, primals, tangents):
    # dp_j = p_j (dx_j - Σ_k p_k dx_k). The bracket is a mean of differences
    # dx_j - dx_k; where one class holds most of the mass, they are taken relative to
    # its dx, so that its own bracket is a sum over the others and does not cancel.
    (x, label), (dx, _) = primals, tangents
    p = label_softmax(x, label, axis)
    dx_label = take(dx, label, axis)
    largest = jnp.argmax(p.others, axis=axis, keepdims=True)
    reference = jnp.where(
        take(p.others, largest, axis) > 0.5, take(dx, largest, axis), 0
    )
    reference = jnp.where(p.label > 0.5, dx_label, reference)
    dx, dx_label = dx - reference, dx_label - reference
    mean = _sum(p.others * dx, axis) + p.label * dx_label
    dlabel = p.label * (dx_label - mean)
    return p, LabelSoftmax(p.others * (dx - mean), dlabel, -dlabel)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def label_nll(x: Array, label: Array, axis: int) -> Array:
    """-log p_y: the softmax cross entropy with an integer label."""
    return _label_row(x, label, axis)[0]


@label_nll.defjvp
def _(axis, primals, tangents):
    # d(-log p_y) = Σ_{j≠y} p_j dx_j - (1 - p_y) dx_y. The label's share is a gather,
    # because its transpose is a scatter into the buffer of the others' share.
    (x, label), (dx, _) = primals, tangents
    p = label_softmax(x, label, axis)
    dloss = _sum(p.others * dx, axis) - p.complement * take(dx, label, axis)
    return label_nll(x, label, axis), dloss


# ------------------------------------------------------------------ without a label


def _row(x: Array, axis: int) -> tuple[Array, Array]:
    """The statistic (m, r)."""
    peak = _peak(x, axis)
    below = _sum(jnp.where(x < peak, _relative_exp(x, peak), 0), axis)
    maxima = _sum((x == peak).astype(x.dtype), axis)
    rest = below + jnp.maximum(maxima - 1, 0)
    return peak, jnp.where(jnp.isnan(_scale(peak, 1 + rest)), jnp.nan, rest)


class Softmax(NamedTuple):
    """The softmax of a row."""

    p: Array
    complement: Array
    """1 - max p, without cancellation."""


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def softmax(x: Array, axis: int) -> Softmax:
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
    dx = dx - _sum(jnp.where(dominant, dx, 0), axis)
    dp = p * (dx - _sum(p * dx, axis))
    largest = jnp.argmax(p, axis=axis, keepdims=True)
    return Softmax(p, complement), Softmax(dp, -take(dp, largest, axis))


def complements(p: Softmax) -> Array:
    """1 - p_j for every entry, without cancellation."""
    return jnp.where(p.p > 0.5, p.complement, 1 - p.p)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def log_sum_exp(x: Array, axis: int) -> Array:
    """log Σ e^{x_j}: -inf for a row without classes."""
    peak, rest = _row(x, axis)
    return peak + jnp.log1p(rest)


@log_sum_exp.defjvp
def _(axis, primals, tangents):
    (x,), (dx,) = primals, tangents
    return log_sum_exp(x, axis), _sum(softmax(x, axis).p * dx, axis)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def nll(x: Array, axis: int) -> Array:
    """-log p_j for every entry, as (m - x_j) + log1p(r), both terms non-negative."""
    peak, rest = _row(x, axis)
    return _below(x, peak) + jnp.log1p(rest)


@nll.defjvp
def _(axis, primals, tangents):
    # d(-log p_j) = Σ_k p_k dx_k - dx_j, relative to the dominant entry as in `softmax`.
    (x,), (dx,) = primals, tangents
    p = softmax(x, axis).p
    dx = dx - _sum(jnp.where(p > 0.5, dx, 0), axis)
    return nll(x, axis), _sum(p * dx, axis) - dx


def _below(x: Array, peak: Array) -> Array:
    """m - x_j, 0 at an infinite peak itself; inf at a class that is not there."""
    finite = jnp.maximum(peak, -jnp.finfo(x.dtype).max)
    return jnp.where(x == finite, 0, finite - x)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def soft_nll(x: Array, targets: Array, axis: int) -> Array:
    """-Σ t_j log p_j = (Σt) log1p(r) + Σ t_j (m - x_j), with 0 · inf = 0."""
    peak, rest = _row(x, axis)
    distance = jnp.where(targets == 0, 0, _below(x, peak))
    mass = _sum(targets, axis)
    loss = mass * jnp.log1p(rest) + _sum(targets * distance, axis)
    # A row without classes: nothing to explain the mass with.
    return jnp.where(peak == -jnp.inf, jnp.where(mass == 0, 0, jnp.inf), loss)


def _soft_nll_jvp(axis, primals, tangents):
    # dL/dx_j = (Σt) p_j - t_j. For the entry with p_j > 1/2, where this cancels, it is
    # (Σ_{k≠j} t_k) p_j - t_j (1 - p_j), each factor a sum without cancellation.
    # dL/dt_j = -log p_j.
    (x, targets), (dx, dtargets) = primals, tangents
    dloss = jnp.zeros_like(_sum(x, axis))
    if not isinstance(dx, SymbolicZero):
        p, complement = softmax(x, axis)
        dominant = p > 0.5
        rest = _sum(jnp.where(dominant, 0, targets), axis)
        mass = _sum(targets, axis)
        there = (_peak(jax.lax.stop_gradient(x), axis) != -jnp.inf).astype(x.dtype)
        gradient = jnp.where(dominant, rest, mass) * p - targets * jnp.where(
            dominant, complement, there
        )
        dloss += _sum(gradient * dx, axis)
    if not isinstance(dtargets, SymbolicZero):
        dloss += _sum(nll(x, axis) * dtargets, axis)
    return soft_nll(x, targets, axis), dloss


soft_nll.defjvp(_soft_nll_jvp, symbolic_zeros=True)
