"""Labels and options of a head's tokens, on their way to the rows of a chunk."""

import jax.numpy as jnp

from jaxloss._core import axes
from jaxloss._core.cross_entropy import Options
from jaxloss._core.types import Array, Input
from jaxloss._core.validate import Check
from jaxloss._linear.head import Head, Kept, masked


def labelled(
    check: Check,
    x: Head,
    name: str,
    labels: Input,
    where: Input | None,
    ignore_index: int | None,
) -> tuple[Head, Array, Kept]:
    """The head and its labels, `[tokens]`, without the tokens not kept."""
    check.static(ignore_index=ignore_index)
    y = check.labels(name, labels)
    check.shape(name, y, x.shape)
    y = x.flat(y.astype(jnp.int64 if y.dtype.itemsize == 8 else jnp.int32))
    x, kept = masked(check, x, where)
    if ignore_index is not None:
        x = x.drop(y != ignore_index)
    mask = kept.row()
    if mask is not None:
        # A label that does not exist is not a class removed: it stays, and is NaN.
        here = axes.take_here(mask, y[:, None], x.axis).astype(jnp.float32)
        there = axes.across(x.axis, here)[0][:, 0] > 0
        x = x.drop(there | (y < 0) | (y >= x.classes))
    return x, y if x.keep is None else jnp.where(x.keep, y, 0), kept


def apart(x: Head, options: Options) -> tuple[Options, Options]:
    """The options that hold for all tokens, and those that differ."""

    def differs(name, option):
        return option is not None and option.ndim > 0 and name != "class_weights"

    each = {
        name: x.flat(jnp.broadcast_to(option, x.shape))
        for name, option in options._asdict().items()
        if differs(name, option)
    }
    return options._replace(**dict.fromkeys(each)), Options(**each)


def count(options: Options) -> int:
    """How many are on: each may hold one more array of a chunk's size."""
    return sum(option is not None for option in options)


def together(of_all: Options, of_each: Options) -> Options:
    """The options lined up with a chunk of logits."""
    pairs = zip(of_all, of_each, strict=True)
    options = Options(*(a if e is None else e[:, None] for a, e in pairs))
    weights = options.class_weights
    return options._replace(class_weights=None if weights is None else weights[None])
