"""The mathematics of a tile of logits, the same in every kernel and without one.

A tile holds some columns of some rows, in float32. Of a row, tile by tile, two numbers
are kept, with T the temperature:

    m = max x,   r = Σ_{x_j < m} e^{(x_j - m) / T} + (number of maxima - 1),

so that log Σ e^{x_j / T} = m / T + log1p(r) without cancellation. Where there is
nothing yet, m = -inf and r = -1: a sum of 0. Two pairs with m1 >= m2 are one with

    r = r1 + e^{(m2 - m1) / T} (1 + r2).

The label's probability needs no sum of its own. With gap = (m - x_y) / T,

    p_y = e^-gap / (1 + r),   1 - p_y = (r - expm1(-gap)) / (1 + r),

two terms that are never negative.

Only what every compiler of kernels has is used here: no gather, no expm1 or log1p.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxloss._core.types import Array

Exponential = Callable[[Array], Array]

LARGEST = float(np.finfo(np.float32).max)
# Two Python numbers would be a float64 where JAX has those.
ONE, ZERO = np.float32(1), np.float32(0)


class Features(NamedTuple):
    """What a kernel is compiled with: an option that is off compiles to nothing."""

    softcap: bool = False
    temperature: bool = False
    smoothing: bool = False
    class_weights: bool = False
    """Under label smoothing; else the label's weight is all there is of them."""
    z_loss: bool = False


class Row(NamedTuple):
    """What a kernel is told of a row, a column of float32 each.

    With label smoothing ε over C classes and class weights w, the targets are
    t_j = (1 - ε) w_y [j = y] + ε w_j / C.
    """

    label: Array
    """The class; float32 holds 262,144 exactly. `ABSENT`, or `MASKED`: such a row has
    the derivative 0, whatever its logits hold."""
    weight: Array
    """Multiplies the derivative: NaN poisons it."""
    label_mass: Array
    """t_y."""
    others_mass: Array
    """Σ_{j≠y} t_j."""
    spread: Array
    """ε / C."""
    z_loss: Array
    softcap: Array
    temperature: Array


ABSENT, MASKED = -1, -2


class Statistic(NamedTuple):
    """Of the columns of a row seen so far; a column of float32 each."""

    peak: Array
    """m."""
    rest: Array
    """r."""
    at_label: Array
    """x_y, or 0 if it was not among them."""
    distance: Array
    """Σ w_j (m - x_j) / T, where smoothing is on."""
    weights: Array
    """Σ w_j, where smoothing is on."""


def bounded(peak: Array) -> Array:
    """An infinite peak as the largest float: differences to it exist."""
    return jnp.minimum(jnp.maximum(peak, -LARGEST), LARGEST)


def capped(x: Array, row: Row, on: Features) -> Array:
    """The logits after the soft cap; a class that is not there stays so."""
    if not on.softcap:
        return x
    return jnp.where(x == -jnp.inf, x, row.softcap * jnp.tanh(x / row.softcap))


def _cap_slope(x: Array, row: Row) -> Array:
    """Its derivative, sech² = 4 e^-2|u| / (1 + e^-2|u|)²."""
    tail = jnp.exp(-2 * jnp.abs(x / row.softcap))
    slope = 4 * tail / ((1 + tail) * (1 + tail))
    return jnp.where(x == -jnp.inf, 1.0, slope)


def _cooled(difference: Array, row: Row, on: Features) -> Array:
    return difference / row.temperature if on.temperature else difference


def empty(zero: Array) -> Statistic:
    """Of no columns yet; a zero a row, or a lane."""
    return Statistic(zero - jnp.inf, zero - 1, zero, zero, zero)


def _sum(x: Array) -> Array:
    return jnp.sum(x, axis=-1, keepdims=x.ndim > 1)


def statistic(
    x: Array,
    is_label: Array,
    row: Row,
    class_weights: Array | None,
    on: Features,
    counts: Array | None = None,
) -> Statistic:
    """Of the columns of a tile that count, all if it is not said which.

    A tile of one row may have one axis only.
    """
    z = capped(x, row, on)
    if counts is not None:
        z = jnp.where(counts, z, -jnp.inf)
    peak = jnp.max(z, axis=-1, keepdims=z.ndim > 1)
    bound = bounded(peak)
    # A NaN is not at the peak, wherever that is: it goes into the sum.
    at_peak = z >= bound
    term = jnp.where(at_peak, 0.0, jnp.exp(_cooled(z - bound, row, on)))
    rest = _sum(term) + (_sum(jnp.where(at_peak, ONE, ZERO)) - 1)
    here = is_label if counts is None else is_label & counts
    at_label = _sum(jnp.where(here, z, 0.0))
    distance = weights = jnp.zeros_like(peak)
    if on.smoothing:
        share = jnp.ones_like(z) if class_weights is None else class_weights
        share = share + jnp.zeros_like(z)
        if counts is not None:
            share = jnp.where(counts, share, 0.0)
        far = _cooled(jnp.where(at_peak, 0.0, bound - z), row, on)
        # A class that weighs nothing may be infinitely far.
        distance = _sum(jnp.where(share == 0, 0.0, share * far))
        weights = _sum(share)
    return Statistic(peak, rest, at_label, distance, weights)


def merged(a: Statistic, b: Statistic, row: Row, on: Features) -> Statistic:
    """Of the columns of both."""
    bound_a, bound_b = bounded(a.peak), bounded(b.peak)
    first = bound_a >= bound_b
    peak = jnp.maximum(a.peak, b.peak)
    apart = _cooled(jnp.abs(bound_a - bound_b), row, on)
    high, low = jnp.where(first, a.rest, b.rest), jnp.where(first, b.rest, a.rest)
    rest = high + jnp.exp(-apart) * (1 + low)
    distance = weights = a.distance
    if on.smoothing:
        # Those of the lower peak are further from the higher one. What weighs nothing
        # has no distance, however low its peak.
        lower = jnp.where(first, b.weights, a.weights)
        moved = jnp.where(lower == 0, 0.0, lower * apart)
        distance = a.distance + b.distance + moved
        weights = a.weights + b.weights
    return Statistic(peak, rest, a.at_label + b.at_label, distance, weights)


def gathered(
    lanes: Statistic,
    pieces: Sequence[Array],
    shares: Sequence[Array] | None,
    row: Row,
    on: Features,
    exp: Exponential = jnp.exp,
) -> Statistic:
    """Of what the lanes have seen and of one more column each from every piece.

    What is at a lane's peak is left out once, as its statistic has it, without a
    comparison: of a peak and a newcomer the lower one is what remains of both. The
    label's logit is the caller's.

    Args:
      lanes: one statistic a lane.
      pieces: of columns after the soft cap, one a lane.
      shares: their class weights, under label smoothing; None for 1.
      row, on: of the row.
      exp: the power of e.
    """
    peak, lower = lanes.peak, []
    for z in pieces:
        lower.append(jnp.minimum(peak, z))
        peak = jnp.maximum(peak, z)
    bound = bounded(peak)
    rest = lanes.rest * exp(_cooled(jnp.minimum(lanes.peak - bound, 0.0), row, on))
    for z in lower:
        rest = rest + exp(_cooled(z - bound, row, on))
    distance, weights = lanes.distance, lanes.weights
    if on.smoothing:
        fallen = _cooled(bound - bounded(lanes.peak), row, on)
        distance = distance + jnp.where(weights == 0, 0.0, weights * fallen)
        for k, z in enumerate(pieces):
            share = jnp.ones_like(z) if shares is None else shares[k]
            far = _cooled(jnp.maximum(bound - z, 0.0), row, on)
            distance = distance + jnp.where(share == 0, 0.0, share * far)
            weights = weights + share
    return Statistic(peak, rest, lanes.at_label, distance, weights)


def _log1p(x: Array) -> Array:
    """log(1 + x): the error that 1 + x makes is divided out."""
    sum_ = 1 + x
    return jnp.where(sum_ == 1, x, jnp.log(sum_) * (x / (sum_ - 1)))


def _one_less(gap: Array) -> Array:
    """1 - e^-gap = tanh(gap / 2) (1 + e^-gap)."""
    return jnp.tanh(gap / 2) * (1 + jnp.exp(-gap))


class Slope(NamedTuple):
    """What the derivative of a row needs beside its logits; a column each."""

    bound: Array
    factor: Array
    """∂/∂x_j = factor · e^{(x_j - m) / T} - spread · w_j, but at the label."""
    spread: Array
    at_label: Array


def slope_of(total: Statistic, row: Row, on: Features) -> Slope:
    """With t_j as in `Row`, λ the z-loss and g the weight of the row,

        ∂/∂x_j = g ((Σ t + 2 λ log Σ e^x) p_j - t_j) / T,

    at the label ((Σ t - t_y + ...) p_y - t_y (1 - p_y)), which does not cancel.
    """
    peak, rest = total.peak, total.rest
    # Two infinite peaks have no limit; a row without classes has no derivative.
    scale = jnp.where((peak == jnp.inf) & (rest >= 1), jnp.nan, 1 / (1 + rest))
    scale = jnp.where(peak == -jnp.inf, 0.0, scale)
    near = total.at_label == peak
    gap = _cooled(jnp.where(near, 0.0, bounded(peak) - total.at_label), row, on)
    label_p = jnp.exp(-gap) * scale
    complement = (rest + _one_less(gap)) * scale
    mass, others_mass = row.label_mass, jnp.zeros_like(scale)
    if on.smoothing:
        mass, others_mass = mass + row.others_mass, row.others_mass
    if on.z_loss:
        extra = 2 * row.z_loss * (_cooled(peak, row, on) + _log1p(rest))
        mass, others_mass = mass + extra, others_mass + extra
    weight = _cooled(row.weight, row, on)
    there = jnp.where(peak == -jnp.inf, 0.0, weight)
    at_label = weight * (others_mass * label_p - row.label_mass * complement)
    spread = there * row.spread if on.smoothing else jnp.zeros_like(scale)
    masked = row.label == MASKED

    def kept(x):
        return jnp.where(masked, 0.0, x)

    factor = kept(weight * mass * scale)
    return Slope(bounded(peak), factor, kept(spread), kept(at_label))


def is_ordinary(total: Statistic, row: Row) -> Array:
    """Whether a row has a finite peak, and counts."""
    return (bounded(total.peak) == total.peak) & (row.label != MASKED)


def slope(
    x: Array,
    is_label: Array | None,
    row: Row,
    of_row: Slope,
    class_weights: Array | None,
    on: Features,
    exp: Exponential = jnp.exp,
) -> Array:
    """The derivative of a tile. A NaN is in the factor of its row, and need not be
    anywhere else: so a masked row may hold one.

    Without `is_label` the tile has no label, and its row is an ordinary one.
    """
    if on.softcap and is_label is not None:
        x = jnp.where(x == x, x, 0.0)
    z = capped(x, row, on)
    below = z - of_row.bound
    if is_label is not None:
        # Nothing lies above the peak but an infinity, where the sum is 1.
        below = jnp.where(z < of_row.bound, below, 0.0)
    result = of_row.factor * exp(_cooled(below, row, on))
    if on.smoothing:
        share = of_row.spread
        result = result - (share if class_weights is None else share * class_weights)
    if is_label is not None:
        result = jnp.where(is_label, of_row.at_label, result)
    return result * _cap_slope(x, row) if on.softcap else result
