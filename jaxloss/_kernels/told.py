"""What a kernel is told of rows with a label each, and what their statistics make.

The kernels know no options and no labels that do not exist, and give no losses: only
the few numbers of `tile.Row` go in, and those of `tile.Statistic` come out.
"""

from typing import NamedTuple

import jax.numpy as jnp

from jaxloss._core.cross_entropy import Options
from jaxloss._core.numerics import in_base, weighted
from jaxloss._core.types import Array
from jaxloss._kernels import tile
from jaxloss._kernels.tile import Features, Row, Statistic


class Told(NamedTuple):
    """What is known of the rows beforehand, a column each."""

    row: Row
    exists: Array
    label_weight: Array | None
    keep: Array | None
    """`[rows]`: the others have the loss 0, whatever they hold."""
    options: Options
    base: float | None
    on: Features


def features(options: Options) -> Features:
    """What a kernel is compiled with for them."""
    smoothing = options.label_smoothing is not None
    return Features(
        softcap=options.logit_softcap is not None,
        temperature=options.temperature is not None,
        smoothing=smoothing,
        class_weights=smoothing and options.class_weights is not None,
        z_loss=options.z_loss is not None,
    )


def of_label(class_weights: Array, label: Array) -> Array:
    """The class weight of each label, `[rows]`, from `[1, classes]`."""
    return class_weights[0][jnp.clip(label, 0, class_weights.shape[1] - 1)]


def tell(
    label: Array,
    keep: Array | None,
    options: Options,
    classes: int,
    weights: Array,
    base: float | None,
) -> Told:
    """Of labels `[rows]`, options that are each a number or `[rows, 1]` (the class
    weights `[1, classes]`), and the weights `[rows]` of the derivative."""
    shape = (label.shape[0], 1)
    labels = label[:, None]
    exists = (labels >= 0) & (labels < classes)
    at = jnp.where(exists, labels, tile.ABSENT).astype(jnp.float32)
    weight = jnp.where(exists, in_base(weights[:, None], base), jnp.nan)
    if keep is not None:
        at = jnp.where(keep[:, None], at, tile.MASKED)
    own, label_weight, total = 1.0, None, float(classes)
    if options.class_weights is not None:
        own = label_weight = of_label(options.class_weights, label)[:, None]
        total = jnp.sum(options.class_weights)
    smoothing = options.label_smoothing
    if smoothing is None:
        smoothing = jnp.zeros((), jnp.float32)
    spread = smoothing / classes

    def column(value: Array | float | None) -> Array:
        value = 0.0 if value is None else value
        return jnp.broadcast_to(jnp.asarray(value, jnp.float32), shape)

    row = Row(
        label=at,
        weight=column(weight),
        label_mass=column((1 - smoothing) * own + spread * own),
        others_mass=column(spread * (total - own)),
        spread=column(spread),
        z_loss=column(options.z_loss),
        softcap=column(options.logit_softcap),
        temperature=column(options.temperature),
    )
    return Told(row, exists, label_weight, keep, options, base, features(options))


def losses(told: Told, seen: Statistic) -> Array:
    """The losses from the statistics: as in `_core`, `[rows]`."""
    options = told.options
    peak, rest = seen.peak, seen.rest
    none, inf = peak == -jnp.inf, peak == jnp.inf
    rest = jnp.where(none, 0, jnp.where(inf & (rest >= 1), jnp.nan, rest))
    near = seen.at_label == peak
    gap = jnp.where(near, 0, peak - jnp.where(near, 0, seen.at_label))
    level, offset = jnp.log1p(rest), peak
    if options.temperature is not None:
        gap, offset = gap / options.temperature, peak / options.temperature
    loss = jnp.where(none | (gap == jnp.inf), jnp.inf, gap + level)
    loss = jnp.where(told.exists, loss, jnp.nan)
    if told.label_weight is not None:
        loss = weighted(loss, told.label_weight)
    if options.label_smoothing is not None:
        # Next to an infinite logit every other class is infinitely far.
        far = jnp.where(inf & (seen.distance > 0), jnp.inf, seen.distance)
        far = weighted(far + seen.weights * level, told.row.spread)
        loss = (1 - options.label_smoothing) * loss + far
    if options.z_loss is not None:
        loss = loss + options.z_loss * (offset + level) ** 2
    loss = in_base(loss, told.base)[:, 0]
    return loss if told.keep is None else jnp.where(told.keep, loss, 0)
