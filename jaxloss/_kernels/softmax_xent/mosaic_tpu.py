"""The kernel for TPU: rows stand in VMEM whole, and are read from HBM once.

A step of the grid has some rows, all of their columns. It goes over them in tiles: once
for the statistic, and, where the derivative is asked for, once more, in VMEM, to write
it. Pallas fetches the rows of the next step, and writes those of the last one, in the
meantime. The columns after the last whole tile are a narrower one; rows after the last
one are garbage that is never written back.
"""

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxloss._core.mesh import shaped_as
from jaxloss._core.types import Array
from jaxloss._kernels import tile
from jaxloss._kernels.softmax_xent.config import TpuTiles
from jaxloss._kernels.tile import Features, Row, Statistic


def _kernel(*refs, on: Features, tiles: TpuTiles, classes: int, slope: bool):
    x_ref, row_ref, *refs = refs
    weights_ref = refs.pop(0) if on.class_weights else None
    statistic_ref, *slope_ref = refs
    width = tiles.columns
    whole, rest = divmod(classes, width)

    def sweep(step, carry):
        """`step(carry, start, size)` over the tiles of some rows."""

        def body(i, carry):
            return step(carry, pl.multiple_of(i * width, width), width)

        if whole:
            carry = jax.lax.fori_loop(jnp.int32(0), jnp.int32(whole), body, carry)
        if rest:
            carry = step(carry, whole * width, rest)
        return carry

    def group(rows):
        table = row_ref[rows, :]
        row = Row(*(table[:, i : i + 1] for i in range(len(Row._fields))))
        label = row.label.astype(jnp.int32)

        def read(start, size):
            span = pl.ds(start, size)
            x = x_ref[rows, span].astype(jnp.float32)
            column = jax.lax.broadcasted_iota(jnp.int32, x.shape, 1)
            weights = None if weights_ref is None else weights_ref[:, span]
            return span, x, column == label - start, weights

        def count(seen: Statistic, start, size) -> Statistic:
            _, x, is_label, weights = read(start, size)
            here = tile.statistic(x, is_label, row, weights, on)
            return tile.merged(seen, here, row, on)

        total = sweep(count, tile.empty(jnp.zeros_like(row.label)))
        statistic_ref[rows, :] = jnp.concatenate(total, axis=1)
        if not slope:
            return
        of_row = tile.slope_of(total, row, on)

        def write(carry, start, size):
            span, x, is_label, weights = read(start, size)
            result = tile.slope(x, is_label, row, of_row, weights, on)
            slope_ref[0][rows, span] = result.astype(slope_ref[0].dtype)
            return carry

        sweep(write, jnp.int32(0))

    def each(i, carry):
        start = pl.multiple_of(i * tiles.group, tiles.group)
        group(pl.ds(start, tiles.group))
        return carry

    groups = jnp.int32(tiles.rows // tiles.group)
    jax.lax.fori_loop(jnp.int32(0), groups, each, jnp.int32(0))


def rows(
    logits: Array,
    row: Array,
    class_weights: Array | None,
    *,
    on: Features,
    tiles: TpuTiles,
    slope: jnp.dtype | None,
    in_place: bool,
    interpret=False,
) -> tuple[Array, ...]:
    """The statistics `[rows, 5]`, and in the dtype `slope` the derivative.

    Args:
      logits: `[rows, classes]`, bfloat16 or float32.
      row: the columns of `Row`, `[rows, 8]`.
      class_weights: `[1, classes]`.
      on: the options that are on.
      tiles: how much at a time.
      slope: the dtype of the derivative, if that is wanted.
      in_place: whether it is written over the logits.
      interpret: whether, and how, to interpret instead of compiling.
    """
    count, classes = logits.shape

    def shape(columns, dtype):
        return shaped_as(logits, (count, columns), dtype)

    def block(columns):
        return pl.BlockSpec((tiles.rows, columns), lambda i: (i, jnp.int32(0)))

    arguments = [logits, row]
    in_specs = [block(classes), block(row.shape[1])]
    if class_weights is not None:
        arguments.append(class_weights)
        everything = pl.BlockSpec((1, classes), lambda i: (jnp.int32(0), jnp.int32(0)))
        in_specs.append(everything)
    columns = len(Statistic._fields)
    out_shape, out_specs = [shape(columns, jnp.float32)], [block(columns)]
    moved = logits.size * logits.dtype.itemsize + 128 * 4 * 2 * count
    if slope is not None:
        out_shape.append(shape(classes, slope))
        out_specs.append(block(classes))
        moved += logits.size * jnp.dtype(slope).itemsize
    passes = 1 if slope is None else 2

    def kernel(*refs):
        _kernel(*refs, on=on, tiles=tiles, classes=classes, slope=slope is not None)

    return tuple(
        pl.pallas_call(
            kernel,
            grid=(pl.cdiv(count, tiles.rows),),
            in_specs=in_specs,
            out_specs=out_specs,
            out_shape=out_shape,
            input_output_aliases={0: 1} if in_place and slope is not None else {},
            compiler_params=pltpu.CompilerParams(
                dimension_semantics=("parallel",),
                vmem_limit_bytes=tiles.vmem,
            ),
            cost_estimate=pl.CostEstimate(
                flops=10 * passes * logits.size,
                transcendentals=passes * logits.size,
                bytes_accessed=moved,
            ),
            interpret=interpret,
            name="jaxloss_softmax_xent",
        )(*arguments)
    )
