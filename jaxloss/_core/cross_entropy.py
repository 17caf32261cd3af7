"""The softmax cross entropy of rows of logits, with everything that may modify it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core import axes, inputs, rows
from jaxloss._core.numerics import in_base, tanh, weighted
from jaxloss._core.types import Array, Input, Number
from jaxloss._core.validate import Check, is_off


class Options(NamedTuple):
    """What modifies the logits or the loss, lined up with them; None compiles to
    nothing."""

    label_smoothing: Array | None = None
    class_weights: Array | None = None
    z_loss: Array | None = None
    logit_softcap: Array | None = None
    temperature: Array | None = None

    @staticmethod
    def check(
        check: Check,
        like: jax.ShapeDtypeStruct,
        classes: int,
        *,
        label_smoothing: Number,
        class_weights: Input | None,
        z_loss: Number,
        logit_softcap: Number | None,
        temperature: Number,
    ) -> "Options":
        """The options, for losses of this shape and dtype; not lined up yet."""

        def parameter(name, value, neutral, **interval):
            if is_off(value, neutral):
                return None
            return check.parameter(name, value, like, low=0, **interval)

        cap = logit_softcap
        return Options(
            parameter("label_smoothing", label_smoothing, 0, high=1),
            check.class_weights(class_weights, classes, like.dtype),
            parameter("z_loss", z_loss, 0),
            parameter("logit_softcap", cap, jnp.inf, open_low=True),
            parameter("temperature", temperature, 1, open_low=True),
        )

    def along(self, x: inputs.Rows) -> "Options":
        """Lined up with these rows."""
        weights = self.class_weights
        others = self._replace(class_weights=None)
        per_loss = (None if option is None else x.spread(option) for option in others)
        return Options(*per_loss)._replace(
            class_weights=None if weights is None else x.along(weights)
        )


class Loss(NamedTuple):
    """The losses of rows, with size 1 along the axis of the classes."""

    loss: Array
    label_weight: Array | None
    """The class weight of each row's label: it counts in the mean's denominator."""


def of_label(
    logits: Array,
    label: Array,
    options: Options,
    axis: axes.RowAxis,
    *,
    kept: Array | None = None,
    base: float | None = None,
) -> Loss:
    """With an integer label; `kept` masks the classes there are."""
    z, offset = modified(logits, options, axis)
    loss = rows.label_nll(z, label, axis)
    label_weight = None
    if options.class_weights is not None:
        weights = jnp.broadcast_to(options.class_weights, z.shape)
        label_weight = axes.take(weights, label, axis)
        loss = weighted(loss, label_weight)
    if options.label_smoothing is not None:
        spread = uniform(z, kept, axis) * options.label_smoothing
        if options.class_weights is not None:
            spread = spread * options.class_weights
        spread = rows.soft_nll(z, spread, axis)
        loss = (1 - options.label_smoothing) * loss + spread
    return Loss(_finish(z, offset, loss, options, axis, base), label_weight)


def of_distribution(
    logits: Array,
    targets: Array,
    options: Options,
    axis: axes.RowAxis,
    *,
    kept: Array | None = None,
    base: float | None = None,
) -> Loss:
    """With a mass for each class."""
    z, offset = modified(logits, options, axis)
    label_weight = None
    if options.class_weights is not None:
        label_weight = axes.total(targets * options.class_weights, axis)
    if options.label_smoothing is not None:
        spread = uniform(z, kept, axis) * options.label_smoothing
        targets = (1 - options.label_smoothing) * targets + spread
    if options.class_weights is not None:
        targets = targets * options.class_weights
    loss = rows.soft_nll(z, targets, axis)
    return Loss(_finish(z, offset, loss, options, axis, base), label_weight)


def modified(
    logits: Array, options: Options, axis: axes.RowAxis
) -> tuple[Array, Array | None]:
    """The logits after cap and temperature, and what was subtracted from them.

    A temperature divides the differences to the largest logit, so that an offset still
    cancels exactly; the loss does not depend on what is subtracted, the z-loss does.
    """
    z = logits
    if options.logit_softcap is not None:
        z = capped(z, options.logit_softcap)
    if options.temperature is None:
        return z, None
    peak = axes.peak(z, axis)
    peak = jax.lax.stop_gradient(jnp.where(jnp.isfinite(peak), peak, 0))
    return (z - peak) / options.temperature, peak / options.temperature


def capped(z: Array, cap: Array) -> Array:
    """cap · tanh(z / cap); an absent class stays absent."""
    return jnp.where(z == -jnp.inf, z, cap * tanh(z / cap))


def uniform(z: Array, kept: Array | None, axis: axes.RowAxis) -> Array:
    """The uniform distribution over the classes kept."""
    if kept is None:
        return jnp.full_like(z, 1 / max(axes.classes(z, axis), 1))
    count = axes.total(kept.astype(z.dtype), axis)
    return kept.astype(z.dtype) / jnp.maximum(count, 1)


def _finish(
    z: Array,
    offset: Array | None,
    loss: Array,
    options: Options,
    axis: axes.RowAxis,
    base: float | None,
) -> Array:
    """z-loss and unit: the common end."""
    if options.z_loss is not None:
        log_partition = rows.log_sum_exp(z, axis)
        if offset is not None:
            log_partition = log_partition + offset
        loss = loss + options.z_loss * log_partition**2
    return in_base(loss, base)
