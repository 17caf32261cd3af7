"""One operation, and what it becomes on each platform: decided when it is lowered.

The operation has the statistics of rows of logits, and their derivative. On TPU and on
GPU it is a kernel, whose body, and with it Pallas, is imported there and then; without
one it is plain arithmetic.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.interpreters import batching

from jaxloss._core.mesh import all_mesh_axes, varying
from jaxloss._core.types import Array, Implementation
from jaxloss._kernels import tile
from jaxloss._kernels.chips import vmem
from jaxloss._kernels.lowering import Kernel, Primitive, refusal, register
from jaxloss._kernels.softmax_xent import config
from jaxloss._kernels.tile import Features, Row, Statistic


@dataclasses.dataclass(frozen=True)
class Call:
    """How the rows are gone over."""

    function: str
    """The public function that asks, for errors."""
    implementation: Implementation | None
    """None: a kernel where one is on by default, and plain arithmetic elsewhere."""
    on: Features
    slope: jnp.dtype | None = None
    """The dtype of the derivative, if that is wanted."""
    in_place: bool = False
    """Whether it is written over the logits; XLA copies them if they are needed yet."""


def rows(
    call: Call, logits: Array, row: Row, class_weights: Array | None
) -> tuple[Statistic, Array | None]:
    """The statistics of rows of logits, a column each, and their derivative."""
    table = jnp.concatenate(row, axis=1)
    arrays = [logits, table]
    if call.on.class_weights and class_weights is not None:
        arrays.append(class_weights)
    if logits.size == 0:
        result = _plain(*arrays, call=call)
    else:
        arrays = varying(arrays, all_mesh_axes(arrays))
        result = _rows.bind(*arrays, call=call)
    total, *slope = result
    columns = (total[:, i : i + 1] for i in range(len(Statistic._fields)))
    return Statistic(*columns), slope[0] if slope else None


# ------------------------------------------------------------------ what it is


def _plain(
    logits: Array, table: Array, class_weights: Array | None = None, *, call: Call
) -> list[Array]:
    """In one tile, by XLA."""
    row = Row(*(table[:, i : i + 1] for i in range(len(Row._fields))))
    x = logits.astype(jnp.float32)
    column = jax.lax.broadcasted_iota(jnp.int32, x.shape, 1)
    is_label = column == row.label.astype(jnp.int32)
    if logits.shape[0] == 0:
        total = tile.empty(jnp.zeros_like(row.label))
    else:
        total = tile.statistic(x, is_label, row, class_weights, call.on)
    result = [jnp.concatenate(total, axis=1)]
    if call.slope is not None:
        of_row = tile.slope_of(total, row, call.on)
        slope = tile.slope(x, is_label, row, of_row, class_weights, call.on)
        result.append(slope.astype(call.slope))
    return result


def _tpu(*arrays: Array, call: Call, interpret=False) -> list[Array]:
    logits, table, *class_weights = arrays
    count, classes = logits.shape
    tiles = config.tpu_tiles(count, classes, logits.dtype, call.slope, call.on, vmem())
    if tiles is None:
        if call.implementation is None:
            return _plain(*arrays, call=call)
        raise refusal(call, config.TOO_LONG)
    from jaxloss._kernels.softmax_xent import mosaic_tpu

    return list(
        mosaic_tpu.rows(
            logits,
            table,
            *(class_weights or [None]),
            on=call.on,
            tiles=tiles,
            slope=call.slope,
            in_place=call.in_place and call.slope == logits.dtype,
            interpret=interpret,
        )
    )


def _gpu(*arrays: Array, call: Call) -> list[Array]:
    from jaxloss._kernels.softmax_xent import mosaic_gpu

    logits, table, *class_weights = arrays
    slope = call.slope is not None
    tiles = config.gpu_tiles(logits.shape[1], logits.dtype, slope)
    return list(
        mosaic_gpu.rows(
            logits,
            table,
            *(class_weights or [None]),
            on=call.on,
            tiles=tiles,
            slope=call.slope,
            in_place=call.in_place and call.slope == logits.dtype,
        )
    )


_rows = Primitive("jaxloss_softmax_xent")
_rows.multiple_results = True


@_rows.def_impl
@functools.partial(jax.jit, static_argnames="call")
def _(*arrays: Array, call: Call) -> list[Array]:
    return _rows.bind(*arrays, call=call)


@_rows.def_abstract_eval
def _(logits, *others, call):
    count, classes = logits.shape

    def array(columns, dtype):
        shape = (count, columns)
        return logits.update(shape=shape, dtype=jnp.dtype(dtype), weak_type=False)

    result = [array(len(Statistic._fields), jnp.float32)]
    return result if call.slope is None else [*result, array(classes, call.slope)]


def _batched(arrays, batch_axes, *, call):
    """More rows; class weights that differ need a call each."""
    (size,) = {
        x.shape[at] for x, at in zip(arrays, batch_axes, strict=True) if at is not None
    }

    def first(x, at):
        if at is None:
            return jnp.broadcast_to(x, (size, *x.shape))
        return jnp.moveaxis(x, at, 0)

    weights = arrays[2:]
    if any(at is not None for at in batch_axes[2:]):
        mapped = [first(x, at) for x, at in zip(arrays, batch_axes, strict=True)]
        results = jax.lax.map(lambda each: _rows.bind(*each, call=call), mapped)
        return results, [0] * len(results)
    folded = (first(x, at) for x, at in zip(arrays[:2], batch_axes[:2], strict=True))
    folded = [x.reshape(-1, x.shape[-1]) for x in folded]
    results = _rows.bind(*folded, *weights, call=call)
    results = [x.reshape(size, -1, x.shape[-1]) for x in results]
    return results, [0] * len(results)


batching.primitive_batchers[_rows] = _batched


_KERNELS: dict[Implementation, Kernel] = {
    "mosaic_tpu": _tpu,
    "mosaic_gpu": _gpu,
    "interpret": functools.partial(_tpu, interpret=True),
}


def _unasked(here: tuple[Implementation, ...]) -> Kernel:
    chosen = [_KERNELS[name] for name in here if name in config.BY_DEFAULT]
    return (*chosen, _plain)[0]


register(_rows, _KERNELS, _unasked)
