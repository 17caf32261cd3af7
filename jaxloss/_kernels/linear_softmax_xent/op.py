"""A head and its cross entropy by a kernel: the seam to the rest of the library.

There are three kernels, which compute a tile of the logits each time that they need it:
one for the losses, one for the gradient of the hidden states, one for that of the
kernel and the bias. Of the size of the logits nothing is held but that tile, and of the
size of the kernel nothing but its gradient. Value and both gradients take five matmuls
of the head's size.

The derivative of the losses, and of the gradients, is that of the same mathematics in
plain JAX: `jaxloss._linear.engine`, which has it without the logits of all tokens too.
"""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp

from jaxloss._core.cross_entropy import Options
from jaxloss._core.types import Array, Implementation
from jaxloss._kernels import chips, told
from jaxloss._kernels.linear_softmax_xent import call, config
from jaxloss._kernels.linear_softmax_xent.config import PARTS, Shape
from jaxloss._kernels.tile import Features, Statistic, slope_of
from jaxloss._kernels.told import Told


class Head(NamedTuple):
    """A head, and what the losses of its tokens depend on."""

    hidden: Array
    """`[tokens, units]`."""
    kernel: Array
    """`[units, classes]`, or `[classes, units]`."""
    bias: Array | None
    """`[classes]`."""
    label: Array
    """`[tokens]`, integers."""
    options: Options
    """Each a number or `[tokens, 1]`; the class weights `[1, classes]`."""


@dataclasses.dataclass(frozen=True)
class How:
    """By what the losses are computed."""

    function: str
    implementation: Implementation
    class_axis: int
    """Of the kernel."""
    base: float | None = None
    columns: int | None = None
    """Classes at a time; None chooses."""


class Sizes(NamedTuple):
    """The tiles of the kernels, tokens and classes of each."""

    losses: config.Tiles
    hidden: config.Tiles
    kernel: config.Tiles


def fit(
    implementation: Implementation,
    shape: Shape,
    options: Options,
    columns: int | None,
) -> Sizes | str:
    """The tiles, or why the kernels cannot run."""
    if implementation == "mosaic_gpu":
        return "has no kernel of the whole head"
    no = config.refusal(shape)
    if no is not None:
        return no
    if columns is not None and columns % chips.LANES and columns < shape.classes:
        return f"takes classes in multiples of {chips.LANES}, and not {columns}"
    on = told.features(options)
    sizes = [config.tiles(p, shape, on, chips.vmem(), columns) for p in PARTS]
    found = [size for size in sizes if size is not None]
    if len(found) == len(PARTS):
        return Sizes(*found)
    at_a_time = "" if columns is None else f" and {columns:,} classes at a time"
    return config.TOO_LARGE + at_a_time


def budget() -> int:
    """Bytes that a head may hold beside its inputs and outputs without being asked."""
    return config.budget()


def _tell(how: How, head: Head, weights: Array) -> Told:
    classes = head.kernel.shape[how.class_axis]
    return told.tell(head.label, None, head.options, classes, weights, how.base)


def _call(how: How, part: config.Part, on: Features, bias: Array | None) -> call.Call:
    return call.Call(
        how.function,
        how.implementation,
        part,
        on,
        how.class_axis,
        how.columns,
        bias is not None,
    )


class _Seen(NamedTuple):
    """What is known of a head after its losses."""

    known: Told
    losses: Array
    statistic: Statistic
    bias: Array | None
    """`[1, classes]`, in float32."""


def _see(how: How, head: Head, weights: Array) -> _Seen:
    known = _tell(how, head, weights)
    bias = None if head.bias is None else head.bias.astype(jnp.float32)[None]
    row = jnp.concatenate(known.row, axis=1)
    shared = bias, head.options.class_weights
    asked = _call(how, "losses", known.on, bias)
    (total,) = call.head(asked, head.hidden, head.kernel, row, *shared)
    statistic = Statistic(*(total[:, i : i + 1] for i in range(total.shape[1])))
    return _Seen(known, told.losses(known, statistic), statistic, bias)


def losses(how: How, head: Head) -> Array:
    """The losses, `[tokens]`, in float32."""
    weights = jnp.ones(head.label.shape, jnp.float32)
    return _see(how, head, weights).losses


class Wanted(NamedTuple):
    """Which gradients."""

    hidden: bool
    kernel: bool
    bias: bool


def gradients(
    how: How, head: Head, weights: Array, wanted: Wanted
) -> tuple[Array, list[Array]]:
    """The losses, and the gradients of their weighted sum, in the arrays' dtypes."""
    seen = _see(how, head, weights)
    known = seen.known
    of_row = slope_of(seen.statistic, known.row, known.on)
    rows = jnp.concatenate((*known.row, *of_row), axis=1)
    shared = seen.bias, head.options.class_weights

    def run(part: config.Part, **of: bool) -> list[Array]:
        asked = dataclasses.replace(_call(how, part, known.on, seen.bias), **of)
        return call.head(asked, head.hidden, head.kernel, rows, *shared)

    found = run("hidden") if wanted.hidden else []
    if wanted.kernel or wanted.bias:
        found += run("kernel", of_kernel=wanted.kernel, of_bias=wanted.bias)
    if wanted.bias and head.bias is not None:
        found[-1] = found[-1][0].astype(head.bias.dtype)
    return seen.losses, found
