"""The kernel for Hopper GPUs and newer: a block of threads a row, in two loops.

The first loop reads the row from memory for its statistic. The second, where the
derivative is asked for, reads it again, from the cache, and writes the derivative, over
the logits if it may. A row ends where it ends: the last tile lies over the one before
it, and what was counted there does not count again. In the second loop it is read
first and written last, so that writing over the logits changes nothing in it.
"""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from jaxloss._core.mesh import shaped_as
from jaxloss._core.types import Array
from jaxloss._kernels import tile
from jaxloss._kernels.softmax_xent.config import GpuTiles
from jaxloss._kernels.tile import Features, Row, Statistic

# What an earlier JAX lacks: a reference that a kernel writes to, and before that a load
# without an index.
_index = inspect.signature(plgpu.load).parameters.get("idx")
IN_PLACE = _index is None
_INDEXED: dict[str, Any] = {}
if _index is not None and _index.default is inspect.Parameter.empty:
    _INDEXED["idx"] = ()


def _load(ref, layout) -> Array:
    return plgpu.load(ref, **_INDEXED, layout=layout)


def _kernel(*refs, on: Features, tiles: GpuTiles, classes: int, slope: bool):
    x_ref, row_ref, *refs = refs
    weights_ref = refs.pop(0) if on.class_weights else None
    statistic_ref, *slope_ref = refs
    i = jax.lax.axis_index("row")
    row = Row(*(row_ref[i, k] for k in range(len(Row._fields))))
    label = row.label.astype(jnp.int32)
    width = tiles.columns
    layout = plgpu.Layout.WG_STRIDED((width,), vec_size=tiles.vector)
    column = plgpu.broadcasted_iota(jnp.int32, (width,), 0, layout=layout)

    def read(start):
        span = pl.ds(start, width)
        x = _load(x_ref.at[i, span], layout).astype(jnp.float32)
        weights = None
        if weights_ref is not None:
            weights = _load(weights_ref.at[0, span], layout)
        return x, column == label - start, weights

    def counted(seen: Statistic, x, is_label, weights, counts=None) -> Statistic:
        here = tile.statistic(x, is_label, row, weights, on, counts)
        return tile.merged(seen, here, row, on)

    whole, rest = divmod(classes, width)
    total = jax.lax.fori_loop(
        jnp.int32(0),
        jnp.int32(whole),
        lambda j, seen: counted(seen, *read(j * width)),
        tile.empty(row.label),
    )
    end, last = None, max(classes - width, 0)
    if rest:
        # It stays in registers until it is written. That a sum over all threads follows
        # the load makes every thread have its part before any of them writes.
        end = read(last)
        counts = column < classes if whole == 0 else column >= width - rest
        total = counted(total, *end, counts)
    for k, value in enumerate(total):
        statistic_ref[i, k] = value
    if not slope:
        return
    of_row = tile.slope_of(total, row, on)

    def write(start, x, is_label, weights):
        result = tile.slope(x, is_label, row, of_row, weights, on)
        result = result.astype(slope_ref[0].dtype)
        slope_ref[0][i, pl.ds(start, width)] = result

    def body(j, carry):
        write(j * width, *read(j * width))
        return carry

    jax.lax.fori_loop(jnp.int32(0), jnp.int32(whole), body, jnp.int32(0))
    if end is not None:
        write(last, *end)


def rows(
    logits: Array,
    row: Array,
    class_weights: Array | None,
    *,
    on: Features,
    tiles: GpuTiles,
    slope: jnp.dtype | None,
    in_place: bool,
    interpret=None,
) -> tuple[Array, ...]:
    """The statistics `[rows, 5]`, and in the dtype `slope` the derivative.

    The arguments are those of the kernel for TPU.
    """
    count, classes = logits.shape
    padding = max(tiles.columns - classes, 0)
    in_place = in_place and IN_PLACE and slope == logits.dtype and not padding
    if padding:
        # A row shorter than any tile: what is read beyond it must be its own.
        logits = jnp.pad(logits, ((0, 0), (0, padding)))
        if class_weights is not None:
            class_weights = jnp.pad(class_weights, ((0, 0), (0, padding)))

    def shape(columns, dtype):
        return shaped_as(logits, (count, columns), dtype)

    out_type = [shape(len(Statistic._fields), jnp.float32)]
    if slope is not None and not in_place:
        out_type.append(shape(classes + padding, slope))
    arguments = [logits, row, *([class_weights] if on.class_weights else [])]
    scratch = tiles.scratch if slope is not None else 0

    def kernel(*refs):
        if scratch:
            *refs, _ = refs
        if in_place:
            refs = (*refs, refs[0])
        _kernel(*refs, on=on, tiles=tiles, classes=classes, slope=slope is not None)

    run = plgpu.kernel(
        kernel,
        out_type=out_type,
        scratch_types=[plgpu.SMEM((scratch,), jnp.int8)] if scratch else [],
        grid=(count,),
        grid_names=("row",),
        **({} if interpret is None else {"interpret": interpret}),
    )
    if in_place:
        ref = jax.new_ref(logits)
        (total,) = run(ref, *arguments[1:])
        return total, jax.freeze(ref)
    total, *written = run(*arguments)
    return total, *(x[:, :classes] for x in written)
