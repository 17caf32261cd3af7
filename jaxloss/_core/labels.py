"""Rows of scores with labels: an integer each, or a distribution each."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core import axes, inputs
from jaxloss._core.numerics import in_base, weighted
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Reduction
from jaxloss._core.validate import Check


def signed(check: Check, targets: Input) -> Array:
    """Labels of two classes as -1 and +1, which may come as bool."""
    sign = check.real("targets", targets)
    return 2 * sign.astype(jnp.int32) - 1 if sign.dtype == jnp.bool_ else sign


class LabelledRows(NamedTuple):
    """Scores, and the label of each row."""

    rows: inputs.Rows
    label: Array
    """Signed and at least 32 bits wide, with size 1 along the axis of the classes."""


def labelled_rows(
    check: Check,
    axis: Axis,
    where: Input | None,
    ignore_index: int | None,
    labels: Input,
    /,
    **scores: Input,
) -> LabelledRows:
    """The model's output, by name, and its labels, without the rows not kept.

    A removed class holds -inf; a row whose own class is removed is dropped, as is one
    whose label is `ignore_index`. A row that is dropped holds zeros and the label 0.
    """
    check.static(ignore_index=ignore_index)
    x = inputs.rows(check, axis, where, -jnp.inf, **scores)
    return with_label(check, x, ignore_index, labels=labels)


def with_label(
    check: Check, x: inputs.Rows, ignore_index: int | None, /, **labels: Input
) -> LabelledRows:
    """Rows, and a label of each by its argument's name, as `labelled_rows` has them."""
    ((name, given),) = labels.items()
    y = check.labels(name, given)
    check.shape(name, y, x.shape)
    # In a narrow or unsigned type neither the number of the classes nor a negative
    # `ignore_index` may exist.
    y = y.astype(jnp.int64 if y.dtype.itemsize == 8 else jnp.int32)
    if ignore_index is not None:
        x = x.drop(y != ignore_index)
    label = jnp.expand_dims(y, x.axis)
    if x.entries is not None:
        # A label that does not exist is not a class removed: it stays, and is NaN.
        there = axes.exists(x.entries, label, x.axis)
        kept = axes.take(x.entries, label, x.axis) | ~there
        x = x.drop(jnp.squeeze(kept, x.axis))
    if x.keep is not None:
        label = jnp.where(jnp.expand_dims(x.keep, x.axis), label, 0)
    return LabelledRows(x, label)


def distributed_rows(
    check: Check,
    axis: Axis,
    where: Input | None,
    ignore_index: int | None,
    /,
    **arguments: Input,
) -> tuple[inputs.Rows, Array]:
    """The model's output and one-hot or soft labels, without the rows not kept.

    What holds for an integer label holds for its one-hot vector: a row that had mass
    and loses all of it with the classes removed is dropped, as is one whose labels are
    the one-hot vector of `ignore_index` (zeros, for an index out of range).
    """
    check.static(ignore_index=ignore_index)
    x = inputs.rows(check, axis, where, -jnp.inf, **arguments)
    targets = x.require_targets()
    if x.entries is not None:
        given = inputs.rows(check, axis, None, **arguments).require_targets()
        had, has = (jnp.any(t != 0, axis=x.axis) for t in (given, targets))
        x = x.drop(has | ~had)
    if ignore_index is not None:
        ignored = x.along(jax.nn.one_hot(ignore_index, x.classes, dtype=x.like.dtype))
        x = x.drop(jnp.any(targets != ignored, axis=x.axis))
    return x, x.require_targets()


def reduced(
    check: Check,
    x: LabelledRows,
    loss: Array,
    *,
    class_weights: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    """The common end of losses of labels: class weights, unit, weights and reduction.

    `loss` has size 1 along the axis of the classes. The class weight of a label counts
    in the denominator of the mean.
    """
    rows, label = x
    per_class = check.class_weights(class_weights, rows.classes, rows.like.dtype)
    normalizer = None
    if per_class is not None:
        each = jnp.broadcast_to(rows.along(per_class), rows.predictions.shape)
        label_weight = axes.take(each, label, rows.axis)
        loss = weighted(loss, label_weight)
        normalizer = jnp.squeeze(label_weight, rows.axis)
    loss = in_base(jnp.squeeze(loss, rows.axis), base)
    return reduce(
        loss,
        where=rows.keep,
        weights=check.weights(weights, loss),
        normalizer=normalizer,
        reduction=reduction,
    )


def check_blank(check: Check, blank_id: int, classes: int) -> None:
    """The blank is one of the classes, known beforehand."""
    check.static(blank_id=blank_id)
    if not isinstance(blank_id, int) or isinstance(blank_id, bool):
        raise check.type_error(
            "blank_id",
            "the index of a class, a Python integer",
            repr(blank_id),
            "Pass for instance blank_id=0.",
        )
    if not 0 <= blank_id < classes:
        raise check.value_error(
            "blank_id",
            f"a class of `logits`, in [0, {classes})",
            repr(blank_id),
            "Indices do not wrap: the last class is logits.shape[-1] - 1.",
        )
