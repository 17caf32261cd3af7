"""The axis of the entries of a row, such as its classes, on one device or on many.

Inside `jax.shard_map` the entries may be spread over devices (`SpreadAxis`): each holds
a part of every row, labels count from the first entry of all, and what is reduced is
the same on every device.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core.types import Array


class SpreadAxis(NamedTuple):
    """An axis of an array whose entries are spread over the devices of a mesh axis."""

    place: int
    name: str


RowAxis = int | SpreadAxis


def index(axis: RowAxis) -> int:
    """Which axis of the array it is."""
    return axis.place if isinstance(axis, SpreadAxis) else axis


def classes(x: Array, axis: RowAxis) -> int:
    """The number of classes, on all devices."""
    here = x.shape[index(axis)]
    return here * jax.lax.axis_size(axis.name) if isinstance(axis, SpreadAxis) else here


def position(label: Array, x: Array, axis: RowAxis) -> Array:
    """The label counted from the first class that this device holds."""
    if not isinstance(axis, SpreadAxis):
        return label
    first = jax.lax.axis_index(axis.name) * x.shape[axis.place]
    return label - first.astype(label.dtype)


def across(axis: RowAxis, *here: Array) -> tuple[Array, ...]:
    """Sums over the devices of what each has of a row, in one message."""
    if not isinstance(axis, SpreadAxis):
        return here
    return tuple(jax.lax.psum(jnp.stack(jnp.broadcast_arrays(*here)), axis.name))


def sum_here(x: Array, axis: RowAxis) -> Array:
    """The sum of the part of a row that this device holds."""
    return jnp.sum(x, axis=index(axis), keepdims=True)


def total(x: Array, axis: RowAxis) -> Array:
    """The sum of a row."""
    return across(axis, sum_here(x, axis))[0]


def peak(x: Array, axis: RowAxis) -> Array:
    """The maximum of a row, -inf for an empty one. It has no derivative."""
    here = jnp.max(x, axis=index(axis), keepdims=True, initial=-jnp.inf)
    if not isinstance(axis, SpreadAxis):
        return here
    return jax.lax.pmax(jax.lax.stop_gradient(here), axis.name)


def first_peak(x: Array, axis: RowAxis) -> Array:
    """The index of the maximum of a row, the first of several; -1 in a row with NaN.

    A number of float32, in which indices below 2^24 are exact. (`argmax` keeps index
    and value at once, which XLA has a far slower loop for on CPU.)
    """
    along, here = index(axis) % x.ndim, x.shape[index(axis)]
    each = jax.lax.broadcasted_iota(jnp.float32, x.shape, along)
    first = jnp.where(x == peak(x, axis), each, here)
    first = jnp.min(first, axis=along, keepdims=True)
    everywhere = classes(x, axis)
    if isinstance(axis, SpreadAxis):
        before = (here * jax.lax.axis_index(axis.name)).astype(first.dtype)
        first = jnp.where(first < here, first + before, everywhere)
        first = jax.lax.pmin(first, axis.name)
    return jnp.where(first < everywhere, first, -1)


def take_here(x: Array, label: Array, axis: RowAxis) -> Array:
    """`x` at one index of the axis for each row, or 0 where another device holds it."""
    at = position(label, x, axis)
    last = x.shape[index(axis)] - 1
    there = jnp.take_along_axis(
        x, jnp.clip(at, 0, last), axis=index(axis), mode="promise_in_bounds"
    )
    if not isinstance(axis, SpreadAxis):
        return there
    return jnp.where((at >= 0) & (at <= last), there, 0)


def value_at(x: Array, label: Array, axis: RowAxis) -> Array:
    """`take_here` for logits that were widened just before. It has no derivative.

    A gather from them would have XLA on TPU write the widened logits to memory first,
    for all classes; a selection fuses with the sums beside it.
    """

    def gather(x, label):
        return take_here(x, label, axis)

    def select(x, label):
        return sum_here(jnp.where(is_label(x, label, axis), x, 0), axis)

    return jax.lax.platform_dependent(x, label, tpu=select, default=gather)


def tangent_at(dx: Array, label: Array, axis: RowAxis) -> Array:
    """`take_here` for a tangent, of which mostly the transpose is run: the gradient.

    On CPU, a scatter into the array of the other gradients is the fastest. Elsewhere it
    is a pass of its own, which needs that array in full precision; a selection fuses
    with what computes it and what rounds it.
    """

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def select(dx, label):
        # The mask is not kept until then.
        return sum_here(jnp.where(is_label(dx, label, axis), dx, 0), axis)

    def gather(dx, label):
        return take_here(dx, label, axis)

    return jax.lax.platform_dependent(dx, label, cpu=gather, default=select)


def take(x: Array, label: Array, axis: RowAxis) -> Array:
    """`x` at one index of the axis for each row; the index has size 1 there."""
    return across(axis, take_here(x, label, axis))[0]


def is_label(x: Array, label: Array, axis: RowAxis) -> Array:
    """Where the row's label stands."""
    along = index(axis) % x.ndim
    each = jax.lax.broadcasted_iota(label.dtype, x.shape, along)
    return each == position(label, x, axis)


def exists(x: Array, label: Array, axis: RowAxis) -> Array:
    """Whether the label is one of the classes."""
    return (label >= 0) & (label < classes(x, axis))
