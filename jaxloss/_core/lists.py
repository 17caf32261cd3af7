"""Lists of scored items: which are there, and which of them meet.

The items stand on the last axis. Several lists may lie behind one another in one row,
told apart by their segments: then only items of one segment meet.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.numerics import weighted
from jaxloss._core.types import Array, Input
from jaxloss._core.validate import Check


class Lists(NamedTuple):
    """Scores and labels, `[..., items]`."""

    scores: Array
    """In the dtype of computation; what is removed holds 0."""
    labels: Array
    items: Array | None
    """The items kept by the mask, `[..., items]`."""
    segments: Array | None
    keep: Array | None
    """The lists kept by the mask, `[...]`."""
    axis: int
    """Where the items stood in the arguments."""

    @property
    def like(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the losses."""
        return jax.ShapeDtypeStruct(self.scores.shape[:-1], self.scores.dtype)

    @property
    def kept(self) -> Array:
        """The items kept, all of them if there is no mask."""
        if self.items is None:
            return jnp.ones(self.scores.shape, bool)
        return self.items

    @property
    def meet(self) -> Array:
        """Whether both items are kept and of one segment, `[..., items, items]`."""
        both = self.kept[..., :, None] & self.kept[..., None, :]
        if self.segments is None:
            return both
        return both & (self.segments[..., :, None] == self.segments[..., None, :])

    @property
    def itself(self) -> Array:
        """Whether both items are the same one, `[..., items, items]`."""
        first, second = places(self.scores.shape)
        return first == second

    def loud(self, loss: Array) -> Array:
        """The losses, NaN in value and gradient where a score or a label is NaN.

        A comparison with a NaN is false, so that an item may otherwise go unnoticed.
        """
        nan = jnp.isnan(self.scores) | jnp.isnan(self.labels)
        bad = jnp.any(nan, axis=-1, keepdims=True)
        poison = jnp.sum(jnp.where(bad, self.scores, 0), axis=-1)
        return loss + jnp.where(jnp.any(nan, axis=-1), jnp.nan, 0) * poison


def lists(
    check: Check,
    axis: int,
    where: Input | None,
    segments: Input | None,
    /,
    **arguments: Input,
) -> Lists:
    """The model's output and labels of its shape, by name; lists without items go."""
    check.static(axis=axis)
    x = inputs.rows(check, axis, where, **arguments)
    if not isinstance(axis, int):
        raise check.type_error(
            "axis",
            "the axis of the items, an integer",
            repr(axis),
            "Pass for instance axis=-1.",
        )
    if x.entries is not None:
        x = x.drop(jnp.any(x.entries, axis=x.axis))
    if segments is not None:
        segments = check.labels("segments", segments)
        check.shape("segments", segments, x.predictions.shape)
        segments = jnp.moveaxis(segments, x.axis, -1)
    items = None if x.entries is None else jnp.moveaxis(x.entries, x.axis, -1)
    return Lists(
        scores=jnp.moveaxis(x.predictions, x.axis, -1),
        labels=jnp.moveaxis(x.require_targets(), x.axis, -1),
        items=items,
        segments=segments,
        keep=x.keep,
        axis=x.axis,
    )


def places(shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Where the items i and j of a pair stand, `[..., items, items]`."""
    pairs, last = (*shape, shape[-1]), len(shape)
    return (
        jax.lax.broadcasted_iota(jnp.int32, pairs, last - 1),
        jax.lax.broadcasted_iota(jnp.int32, pairs, last),
    )


def differences(x: Array) -> Array:
    """x_i - x_j, `[..., i, j]`."""
    return x[..., :, None] - x[..., None, :]


def spread(parameter: Array, axes: int) -> Array:
    """A value per list, or one for all, lined up with its items or their pairs."""
    if not parameter.ndim:
        return parameter
    return parameter.reshape(parameter.shape + (1,) * axes)


def pair_weights(check: Check, weights: Input | None, x: Lists) -> Array | None:
    """Weights of the pairs (i, j): i on the axis of the items, j on one behind all."""
    if weights is None:
        return None
    given = check.real("lambda_weights", weights).astype(x.scores.dtype)
    lists, size = x.scores.shape[:-1], x.scores.shape[-1]
    expected = (*lists[: x.axis], size, *lists[x.axis :], size)
    check.shape("lambda_weights", given, expected)
    return jnp.moveaxis(given, x.axis, -2)


def over_pairs(terms: Array, pairs: Array, weights: Array | None) -> Array:
    """Σ over the pairs that count, `[...]`."""
    if weights is not None:
        terms = weighted(terms, jnp.where(pairs, weights, 0))
    return jnp.sum(jnp.sum(jnp.where(pairs, terms, 0), axis=-1), axis=-1)
