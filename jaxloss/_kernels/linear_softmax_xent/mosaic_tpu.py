"""The kernels for TPU: a tile of logits is made in VMEM, used there, and gone.

Each of the three goes over all tiles of tokens and classes, and makes the logits of a
tile by a product with all hidden units. What it is after stays in VMEM while the tiles
of one axis stream by:

* "losses": of some tokens, the statistics of their rows, merged tile by tile;
* "hidden": of some tokens, their gradient, summed over the classes in float32;
* "kernel": of some classes, their gradient, summed over the tokens in float32, and that
  of the bias.

The last tile may reach over the end of an array, where memory holds garbage. Classes
that are not there do not count in a statistic, and where a sum goes over tokens or
classes those that are not there are zeros; elsewhere garbage is not written back.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxloss._core.mesh import shaped_as
from jaxloss._core.types import Array
from jaxloss._kernels import tile
from jaxloss._kernels.chips import LANES
from jaxloss._kernels.linear_softmax_xent.config import Part, Shape, Tiles
from jaxloss._kernels.tile import Features, Row, Slope, Statistic

TOKENS, UNITS = 0, 1
"""The axes of the hidden states."""


@dataclasses.dataclass(frozen=True)
class _Refs:
    """The blocks that a kernel works on."""

    hidden: Any
    weight: Any
    """Of the head."""
    told: Any
    """The columns of `Row` and, for a gradient, those of `Slope`."""
    bias: Any
    class_weights: Any
    logits: Any
    """Scratch, `[rows, columns]`."""


@dataclasses.dataclass(frozen=True)
class _Head:
    """What is known when a kernel is compiled."""

    shape: Shape
    on: Features
    tiles: Tiles
    class_axis: int
    """Of the kernel."""

    def product(self, a: Array, b: Array, contract: tuple[int, int]) -> Array:
        """Summed in float32, exact products; see `jaxloss._linear.product`."""
        exact = self.shape.factor.itemsize >= 4
        return jax.lax.dot_general(
            a.astype(self.shape.factor),
            b.astype(self.shape.factor),
            (((contract[0],), (contract[1],)), ((), ())),
            precision=jax.lax.Precision.HIGHEST if exact else None,
            preferred_element_type=jnp.float32,
        )

    def make_logits(self, refs: _Refs) -> None:
        contract = UNITS, 1 - self.class_axis
        refs.logits[...] = self.product(refs.hidden[...], refs.weight[...], contract)

    def each_group(self, work: Callable[[Any], None]) -> None:
        """`work(rows)` for some rows of the tile after the other."""
        size = self.tiles.group

        def body(i, carry):
            work(pl.ds(pl.multiple_of(i * size, size), size))
            return carry

        count = jnp.int32(self.tiles.rows // size)
        jax.lax.fori_loop(jnp.int32(0), count, body, jnp.int32(0))

    def of_rows(self, refs: _Refs, rows: Any, start: Array):
        """The logits of some rows, what is told of them, and where their labels and
        their columns are."""
        x = refs.logits[rows, :]
        if refs.bias is not None:
            x = x + refs.bias[...]
        table = refs.told[rows, :]
        columns = [table[:, i : i + 1] for i in range(table.shape[1])]
        row, rest = Row(*columns[: len(Row._fields)]), columns[len(Row._fields) :]
        column = start + jax.lax.broadcasted_iota(jnp.int32, x.shape, 1)
        return x, row, rest, column == row.label.astype(jnp.int32), column

    def slopes(
        self, refs: _Refs, rows: Any, start: Array, exists: Callable | None
    ) -> Array:
        """The derivative of some rows, 0 where there is nothing."""
        x, row, rest, is_label, column = self.of_rows(refs, rows, start)
        of_row = Slope(*rest)
        weights = None if refs.class_weights is None else refs.class_weights[...]
        slope = tile.slope(x, is_label, row, of_row, weights, self.on)
        return slope if exists is None else jnp.where(exists(column), slope, 0.0)


def _at_the_end(
    index: Array, size: int, total: int, step: Callable[[bool], None]
) -> None:
    """`step(ragged)`: whether the tile reaches over the end, known when compiled."""
    if total % size == 0:
        step(False)
        return
    count = pl.cdiv(total, size)
    pl.when(index < count - 1)(functools.partial(step, False))
    pl.when(index == count - 1)(functools.partial(step, True))


def _clear(block: Any, axis: int, total: int) -> None:
    """Zeros behind the end of an axis of the whole array, in its last block."""
    size = block.shape[axis]
    rest = total % size
    # From a multiple of what a register holds, of either axis.
    begin = rest // LANES * LANES
    place = [slice(None)] * 2
    place[axis] = slice(begin, size)
    here = block[tuple(place)]
    column = jax.lax.broadcasted_iota(jnp.int32, here.shape, axis)
    # Only one width of comparisons is known everywhere.
    kept = jnp.where(column < rest - begin, here.astype(jnp.float32), 0.0)
    block[tuple(place)] = kept.astype(block.dtype)


def _losses(head: _Head, refs: _Refs, out: Any) -> None:
    j = pl.program_id(1)
    width, classes = head.tiles.columns, head.shape.classes
    start = j * width

    @pl.when(j == 0)
    def _():
        nothing = tile.empty(jnp.zeros((head.tiles.rows, 1), jnp.float32))
        out[...] = jnp.concatenate(nothing, axis=1)

    head.make_logits(refs)

    def step(ragged: bool) -> None:
        def merge(rows):
            x, row, _, is_label, column = head.of_rows(refs, rows, start)
            counts = column < classes if ragged else None
            weights = None if refs.class_weights is None else refs.class_weights[...]
            here = tile.statistic(x, is_label, row, weights, head.on, counts)
            table = out[rows, :]
            seen = Statistic(*(table[:, i : i + 1] for i in range(table.shape[1])))
            merged = tile.merged(seen, here, row, head.on)
            out[rows, :] = jnp.concatenate(merged, axis=1)

        head.each_group(merge)

    _at_the_end(j, width, classes, step)


def _hidden(head: _Head, refs: _Refs, out: Any, slopes: Any, total: Any) -> None:
    j = pl.program_id(1)
    width, classes = head.tiles.columns, head.shape.classes
    start = j * width

    @pl.when(j == 0)
    def _():
        total[...] = jnp.zeros_like(total)

    head.make_logits(refs)

    def step(ragged: bool) -> None:
        if ragged:
            _clear(refs.weight, head.class_axis, classes)
        exists = (lambda column: column < classes) if ragged else None

        def write(rows):
            slope = head.slopes(refs, rows, start, exists)
            slopes[rows, :] = slope.astype(slopes.dtype)

        head.each_group(write)

    _at_the_end(j, width, classes, step)
    total[...] += head.product(slopes[...], refs.weight[...], (1, head.class_axis))

    @pl.when(j == pl.num_programs(1) - 1)
    def _():
        out[...] = total[...].astype(out.dtype)


def _kernel(
    head: _Head, refs: _Refs, out: Any, of_bias: Any, slopes: Any, total: Any
) -> None:
    i = pl.program_id(1)
    start = pl.program_id(0) * head.tiles.columns
    height, tokens = head.tiles.rows, head.shape.tokens
    first = i * height

    @pl.when(i == 0)
    def _():
        if total is not None:
            total[...] = jnp.zeros_like(total)
        if of_bias is not None:
            of_bias[...] = jnp.zeros_like(of_bias)

    head.make_logits(refs)

    def step(ragged: bool) -> None:
        if ragged:
            _clear(refs.hidden, TOKENS, tokens)

        def write(rows):
            def exists(column):
                place = jax.lax.broadcasted_iota(jnp.int32, column.shape, 0)
                return first + rows.start + place < tokens

            slope = head.slopes(refs, rows, start, exists if ragged else None)
            if of_bias is not None:
                of_bias[...] += jnp.sum(slope, axis=0, keepdims=True)
            slopes[rows, :] = slope.astype(slopes.dtype)

        head.each_group(write)

    _at_the_end(i, height, tokens, step)

    if total is not None:
        a, b = refs.hidden[...], slopes[...]
        if head.class_axis == 0:
            a, b = b, a
        total[...] += head.product(a, b, (TOKENS, TOKENS))

        @pl.when(i == pl.num_programs(1) - 1)
        def _():
            out[...] = total[...].astype(out.dtype)


def head(
    part: Part,
    hidden: Array,
    kernel: Array,
    told: Array,
    bias: Array | None,
    class_weights: Array | None,
    *,
    on: Features,
    class_axis: int,
    tiles: Tiles,
    of_kernel: bool = True,
    of_bias: bool = False,
    interpret: Any = False,
) -> list[Array]:
    """What one of the kernels computes.

    Args:
      part: "losses", the statistics `[tokens, 5]`; "hidden", the gradient of the hidden
        states, in their dtype; "kernel", that of the kernel, in its dtype, and of the
        bias, `[1, classes]` in float32.
      hidden: `[tokens, units]`, bfloat16 or float32.
      kernel: `[units, classes]`, or `[classes, units]`.
      told: the columns of `Row` and, for a gradient, those of `Slope`.
      bias: `[1, classes]`, float32.
      class_weights: `[1, classes]`, float32.
      on: the options that are on.
      class_axis: the axis of the classes in the kernel.
      tiles: how much at a time.
      of_kernel: for "kernel", whether its own gradient is wanted.
      of_bias: for "kernel", whether that of the bias is.
      interpret: whether, and how, to interpret instead of compiling.
    """
    shape = Shape.of(hidden, kernel, class_axis)
    tokens, units, classes = shape.tokens, shape.hidden, shape.classes
    setting = _Head(shape, on, tiles, class_axis)
    rows, columns = tiles.rows, tiles.columns
    # A Python 0 would be 64 bits wide where JAX has those.
    zero = np.int32(0)
    grid = pl.cdiv(tokens, rows), pl.cdiv(classes, columns)
    if part == "kernel":
        grid = grid[::-1]

    def block(size: tuple[int, int], place: Callable) -> pl.BlockSpec:
        """Where it stands, from the places of the tokens and of the classes."""
        if part == "kernel":
            return pl.BlockSpec(size, lambda j, i: place(i, j))
        return pl.BlockSpec(size, place)

    states = block((rows, units), lambda i, j: (i, zero))
    of_classes = block((1, columns), lambda i, j: (zero, j))
    if class_axis == 1:
        part_of_kernel = units, columns
        weights = block(part_of_kernel, lambda i, j: (zero, j))
    else:
        part_of_kernel = columns, units
        weights = block(part_of_kernel, lambda i, j: (j, zero))

    def of_tokens(width: int) -> pl.BlockSpec:
        return block((rows, width), lambda i, j: (i, zero))

    options = {"bias": bias, "class_weights": class_weights}
    given = {name: array for name, array in options.items() if array is not None}
    out: dict[str, tuple[pl.BlockSpec, jax.ShapeDtypeStruct]] = {}
    scratch: dict[str, Any] = {"logits": pltpu.VMEM((rows, columns), jnp.float32)}
    if part == "losses":
        width = len(Statistic._fields)
        result = shaped_as(hidden, (tokens, width), jnp.dtype("float32"))
        out["out"] = of_tokens(width), result
    else:
        scratch["slopes"] = pltpu.VMEM((rows, columns), shape.factor)
    if part == "hidden":
        out["out"] = states, shaped_as(hidden, hidden.shape, hidden.dtype)
        scratch["total"] = pltpu.VMEM((rows, units), jnp.float32)
    elif part == "kernel":
        if of_kernel:
            out["out"] = weights, shaped_as(kernel, kernel.shape, kernel.dtype)
            scratch["total"] = pltpu.VMEM(part_of_kernel, jnp.float32)
        if of_bias:
            result = shaped_as(hidden, (1, classes), jnp.dtype("float32"))
            out["of_bias"] = of_classes, result
    names = ["hidden", "weight", "told", *given, *out, *scratch]

    def body(*blocks):
        named = dict.fromkeys((*options, "out", "of_bias", "slopes", "total"))
        named |= dict(zip(names, blocks, strict=True))
        inputs = ("hidden", "weight", "told", *options, "logits")
        refs = _Refs(*(named[name] for name in inputs))
        if part == "losses":
            _losses(setting, refs, named["out"])
        elif part == "hidden":
            _hidden(setting, refs, named["out"], named["slopes"], named["total"])
        else:
            results = (named[name] for name in ("out", "of_bias", "slopes", "total"))
            _kernel(setting, refs, *results)

    products = 1 if part == "losses" or not (of_kernel or part == "hidden") else 2
    states_read = hidden.size * hidden.dtype.itemsize
    kernel_read = kernel.size * kernel.dtype.itemsize
    if part == "kernel":
        states_read *= grid[0]
    else:
        kernel_read *= grid[0]
    results = [result for _, result in out.values()]
    written = sum(math.prod(r.shape) * r.dtype.itemsize for r in results)
    return list(
        pl.pallas_call(
            body,
            grid=grid,
            in_specs=[states, weights, of_tokens(told.shape[1])]
            + [of_classes] * len(given),
            out_specs=[spec for spec, _ in out.values()],
            out_shape=results,
            scratch_shapes=list(scratch.values()),
            compiler_params=pltpu.CompilerParams(
                dimension_semantics=("parallel", "arbitrary"),
                vmem_limit_bytes=tiles.vmem,
            ),
            cost_estimate=pl.CostEstimate(
                flops=2 * products * tokens * units * classes,
                transcendentals=tokens * classes,
                bytes_accessed=states_read + kernel_read + written,
            ),
            interpret=interpret,
            name=f"jaxloss_linear_softmax_xent_{part}",
        )(hidden, kernel, told, *given.values())
    )
