"""Images of logits, a class for each pixel to be found, and what is kept of them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core.overlap import Overlap, overlap_of
from jaxloss._core.types import Array, Axis, Input
from jaxloss._core.validate import Check, computing


class Images(NamedTuple):
    """Logits and masks, `[..., classes]`, of which some axes are those of pixels."""

    logits: Array
    """In the dtype of computation; what is masked holds 0."""
    targets: Array
    """How much of each class a pixel holds."""
    labels: Array | None
    """The class of each pixel, if it was given so; 0 where it is masked."""
    pixels: Array | None
    """The pixels kept, the shape of the logits without the classes."""
    keep: Array | None
    """The images kept, of the losses' shape."""
    axes: tuple[int, ...]
    """Those of the pixels."""

    @property
    def like(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the losses."""
        shape = self.logits.shape[:-1]
        lead = tuple(size for i, size in enumerate(shape) if i not in self.axes)
        return jax.ShapeDtypeStruct(lead, self.logits.dtype)

    def overlap(self, check: Check, squared: bool = False) -> tuple[Overlap, Array]:
        """The overlap of each class, `[..., classes]`, and the targets' sums."""
        return overlap_of(
            check, self.logits, self.targets, True, self.axes, self.pixels, squared
        )


def images(
    check: Check,
    axis: Axis,
    where: Input | None,
    logits: Input,
    *,
    targets: Input | None = None,
    labels: Input | None = None,
    ignore_index: int | None = None,
) -> Images:
    """Logits with soft masks, or with the class of each pixel.

    A mask of the losses' shape keeps images, one with the axes of the pixels too keeps
    pixels. An image without pixels is dropped. A label that is no class is NaN.
    """
    x = check.floating("logits", logits)
    if x.ndim < 1:
        check.axes(-1, 0, of="logits")
    last = x.ndim - 1
    axes = tuple(range(1, last))
    if axis is not None:
        axes = check.axes(axis, x.ndim, of="logits")
    if last in axes:
        raise check.value_error(
            "axis",
            "axes of pixels",
            f"{axis!r}, with the axis of the classes",
            "The classes are the last axis.",
        )
    pixels = x.shape[:-1]
    lead = tuple(size for i, size in enumerate(pixels) if i not in axes)
    y = None
    if labels is not None:
        check.static(ignore_index=ignore_index)
        y = check.labels("labels", labels)
        check.shape("labels", y, pixels)
        y = y.astype(jnp.int64 if y.dtype.itemsize == 8 else jnp.int32)
    of = "labels" if y is not None else "logits"
    keep, there = check.where(where, loss=lead, output=pixels, output_name=of)
    if keep is not None:
        there = jnp.broadcast_to(jnp.expand_dims(keep, axes), pixels)
    if y is not None and ignore_index is not None:
        named = y != ignore_index
        there = named if there is None else there & named
    if there is not None:
        keep = jnp.any(there, axis=axes)

    (x,) = computing(x)
    if y is not None:
        t = _masks(x, y if there is None else jnp.where(there, y, 0))
    else:
        if targets is None:
            raise AssertionError("images have targets or labels")
        t = check.real("targets", targets)
        check.same_shape(logits=x, targets=t)
        x, t = computing(x, t)
    if there is not None:
        x, t = (jnp.where(there[..., None], a, 0) for a in (x, t))
        y = None if y is None else jnp.where(there, y, 0)
    return Images(x, t, y, there, keep, axes)


def _masks(x: Array, labels: Array) -> Array:
    """A mask for each class; for one class, the labels 0 and 1 themselves."""
    classes = x.shape[-1]
    if classes == 1:
        return labels[..., None].astype(x.dtype)
    masks = jax.nn.one_hot(labels, classes, dtype=x.dtype)
    exists = (labels >= 0) & (labels < classes)
    return jnp.where(exists[..., None], masks, jnp.nan)


def over_classes(
    check: Check,
    losses: Array,
    class_weights: Input | None,
    ignore_background: bool,
) -> Array:
    """The mean over the classes, of losses times weights: the last axis."""
    check.choice("ignore_background", ignore_background, (False, True))
    weights = check.class_weights(class_weights, losses.shape[-1], losses.dtype)
    if weights is not None:
        losses = losses * jnp.broadcast_to(weights, losses.shape)
    if ignore_background and losses.shape[-1] > 1:
        losses = losses[..., 1:]
    return jnp.mean(losses, axis=-1)
