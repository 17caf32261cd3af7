"""The kernel for Hopper GPUs and newer: a block of threads a row, in two loops.

The first loop reads the row from memory for its statistic: each lane of the threads has
one of its own, of the columns that it loads, and they are put together at the end of
the row. The second loop, where the derivative is asked for, reads the row again, from
the cache, and writes the derivative, over the logits if it may.

The columns are dealt to the warpgroups of the block in pieces, a vector a thread, and
several pieces make a step. What does not fill a step of every warpgroup is dealt piece
by piece, the last of which may lie over the one before it: what was counted there does
not count again. All that lies over another piece is read before anything is written.
"""

import functools
import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu

from jaxloss._core.mesh import shaped_as
from jaxloss._core.types import Array
from jaxloss._kernels import tile
from jaxloss._kernels.softmax_xent.config import IN_PLACE, WARPGROUP, GpuTiles
from jaxloss._kernels.tile import Features, Row, Statistic

# What an earlier JAX lacks: a load without an index.
_index = inspect.signature(plgpu.load).parameters.get("idx")
_INDEXED: dict[str, Any] = {}
if _index is not None and _index.default is inspect.Parameter.empty:
    _INDEXED["idx"] = ()


def _load(ref, layout) -> Array:
    return plgpu.load(ref, **_INDEXED, layout=layout)


def _fast_exp(columns: int, layout) -> tile.Exponential:
    """By the chip's own power of two: its error is that of a difference of logits."""
    result = plgpu.ShapeDtypeStruct((columns,), jnp.float32, layout=layout)

    def exp(context, x):
        return x.exp(approx=True)

    inline: Any = plgpu.inline_mgpu(arg_types=(layout,), return_type=result)
    return inline(exp)


class Shared(NamedTuple):
    """Shared memory of a block."""

    lanes: Any
    """[warpgroup, field, lane]."""
    rows: Any
    """[warpgroup, field]."""
    barrier: Any
    """Of all warpgroups, if there are several."""


def _fields(on: Features) -> int:
    """How many fields of a statistic lanes have: the label's logit is read apart."""
    return 4 if on.smoothing else 2


def _of_block(
    lanes: Statistic, row: Row, on: Features, width: int, group, shared: Shared
) -> Statistic:
    """The statistics of all lanes of all warpgroups as one, the same in each thread."""
    names = ("peak", "rest", "distance", "weights")[: _fields(on)]
    layout = plgpu.Layout.WG_STRIDED((WARPGROUP,), vec_size=1)
    zero = jnp.zeros_like(row.label)

    def statistic(values) -> Statistic:
        given = dict(zip(names, values, strict=True))
        return Statistic(
            given["peak"],
            given["rest"],
            zero,
            given.get("distance", zero),
            given.get("weights", zero),
        )

    def put(seen: Statistic, starts):
        for k, name in enumerate(names):
            for at in starts:
                span = pl.ds(at, getattr(seen, name).shape[0])
                shared.lanes[group, k, span] = getattr(seen, name)
        plgpu.commit_smem()

    def taken(at) -> Statistic:
        span = pl.ds(at, WARPGROUP)
        return statistic(
            _load(shared.lanes.at[group, k, span], layout) for k in range(len(names))
        )

    def merged(parts) -> Statistic:
        return functools.reduce(lambda a, b: tile.merged(a, b, row, on), parts)

    # A lane of classes that are not there holds none, whatever it counted.
    rest = jnp.where(lanes.peak == -jnp.inf, -1.0, lanes.rest)
    lanes = lanes._replace(rest=rest)
    if width > WARPGROUP:
        put(lanes, [0])
        lanes = merged(taken(at) for at in range(0, width, WARPGROUP))
        plgpu.commit_smem()
    # Each lane and the one so many further, in turn in one half of the memory and in
    # the other, so that none is written while it may yet be read.
    for turn, shift in enumerate((64, 32, 16, 8, 4, 2, 1)):
        start = 2 * WARPGROUP * (turn % 2)
        put(lanes, [start, start + WARPGROUP])
        lanes = merged([lanes, taken(start + shift)])
    # The lanes may differ in their last bit: the first one's is everyone's.
    put(lanes, [2 * WARPGROUP])
    first = [shared.lanes[group, k, 2 * WARPGROUP] for k in range(len(names))]
    if shared.barrier is None:
        return statistic(first)
    for k, value in enumerate(first):
        shared.rows[group, k] = value
    plgpu.barrier_arrive(shared.barrier)
    plgpu.barrier_wait(shared.barrier)
    return merged(
        statistic([shared.rows[g, k] for k in range(len(names))])
        for g in range(shared.rows.shape[0])
    )


def _kernel(
    x_ref,
    row_ref,
    weights_ref,
    statistic_ref,
    slope_ref,
    shared: Shared,
    *,
    on: Features,
    tiles: GpuTiles,
    classes: int,
):
    i = jax.lax.axis_index("row")
    groups = tiles.warpgroups
    group = jax.lax.axis_index("warpgroup") if groups > 1 else jnp.int32(0)
    row = Row(*(row_ref[i, k] for k in range(len(Row._fields))))
    label = row.label.astype(jnp.int32)
    width, pieces = tiles.columns, tiles.pieces
    layout = plgpu.Layout.WG_STRIDED((width,), vec_size=tiles.vector)
    column = plgpu.broadcasted_iota(jnp.int32, (width,), 0, layout=layout)
    exp = _fast_exp(width, layout) if tiles.fast else jnp.exp

    def load(starts):
        return tuple(_load(x_ref.at[i, pl.ds(at, width)], layout) for at in starts)

    def shares(starts):
        if weights_ref is None:
            return None
        return [_load(weights_ref.at[0, pl.ds(at, width)], layout) for at in starts]

    def step(j):
        first = (j * groups + group) * pieces
        return [(first + k) * width for k in range(pieces)]

    def counted(lanes: Statistic, starts, loaded, counts=None) -> Statistic:
        z = [tile.capped(x.astype(jnp.float32), row, on) for x in loaded]
        given = shares(starts)
        if counts is not None:
            z = [jnp.where(c, x, -jnp.inf) for c, x in zip(counts, z, strict=True)]
            if on.smoothing:
                given = [jnp.ones_like(x) for x in z] if given is None else given
                given = [
                    jnp.where(c, w, 0.0) for c, w in zip(counts, given, strict=True)
                ]
        return tile.gathered(lanes, z, given, row, on, exp)

    steps, rest = divmod(classes, groups * pieces * width)
    base = classes - rest
    others = -(-rest // (groups * width))
    meant = [base + (group * others + k) * width for k in range(others)]
    most = jnp.int32(max(classes - width, 0))
    starts = [jnp.minimum(at, most) for at in meant]

    zero = (column * 0).astype(jnp.float32)
    lanes = tile.empty(zero)
    here = ()
    if steps:
        # What comes next is on its way while this is worked on.
        def ahead(j, carry):
            lanes, here = carry
            after = load(step(j + 1))
            return counted(lanes, step(j), here), after

        first = load(step(jnp.int32(0)))
        lanes, here = jax.lax.fori_loop(
            jnp.int32(0), jnp.int32(steps - 1), ahead, (lanes, first)
        )
    of_others = load(starts)
    # What the second loop begins with is on its way while the lanes are put together.
    before = ()
    if steps > 1 and slope_ref is not None:
        before = load(step(jnp.int32(steps - 2)))
    if steps:
        lanes = counted(lanes, step(jnp.int32(steps - 1)), here)
    if others:
        counts = [
            (column >= first - at) & (column < classes - at)
            for first, at in zip(meant, starts, strict=True)
        ]
        lanes = counted(lanes, starts, of_others, counts)
    there = jnp.clip(label, 0, classes - 1)
    at_label = tile.capped(x_ref[i, there].astype(jnp.float32), row, on)
    total = _of_block(lanes, row, on, width, group, shared)
    total = total._replace(at_label=jnp.where(label < 0, 0.0, at_label))
    for k, value in enumerate(total):
        statistic_ref[i, k] = value
    if slope_ref is None:
        return
    of_row = tile.slope_of(total, row, on)

    ordinary = tile.is_ordinary(total, row)

    def write(starts, loaded):
        given = shares(starts)

        def stored(with_label):
            for k, (at, x) in enumerate(zip(starts, loaded, strict=True)):
                share = None if given is None else given[k]
                is_label = column == label - at if with_label else None
                x = x.astype(jnp.float32)
                result = tile.slope(x, is_label, row, of_row, share, on, exp)
                slope_ref[i, pl.ds(at, width)] = result.astype(slope_ref.dtype)

        # The label is in one step of many, and few rows are special: most is written
        # without a question asked of each number.
        plain = ordinary & ((label < starts[0]) | (label >= starts[-1] + width))
        pl.when(plain)(functools.partial(stored, False))
        pl.when(jnp.logical_not(plain))(functools.partial(stored, True))

    # From the end, which is the likeliest to be in the cache yet.
    if others:
        write(starts, of_others)
    if not steps:
        return
    write(step(jnp.int32(steps - 1)), here)

    def back(j, here):
        at = steps - 2 - j
        before = load(step(jnp.maximum(at - 1, 0)))
        write(step(at), here)
        return before

    if steps > 1:
        jax.lax.fori_loop(jnp.int32(0), jnp.int32(steps - 1), back, before)


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
    fields, groups = _fields(on), tiles.warpgroups
    lanes = max(tiles.columns, 4 * WARPGROUP)
    used = 4 * groups * fields * lanes
    unused = max(tiles.scratch - used, 0) if slope is not None else 0
    scratch: list[Any] = [
        plgpu.SMEM((groups, fields, lanes), jnp.float32),
        plgpu.SMEM((groups, fields), jnp.float32),
    ]
    if groups > 1:
        scratch.append(plgpu.Barrier(num_arrivals=groups))
    if unused:
        scratch.append(plgpu.SMEM((unused,), jnp.int8))

    def kernel(*refs):
        refs = list(refs)
        x_ref, row_ref = refs.pop(0), refs.pop(0)
        weights_ref = refs.pop(0) if on.class_weights else None
        statistic_ref = refs.pop(0)
        slope_ref = None
        if slope is not None:
            slope_ref = x_ref if in_place else refs.pop(0)
        shared = Shared(refs.pop(0), refs.pop(0), refs.pop(0) if groups > 1 else None)
        _kernel(
            x_ref,
            row_ref,
            weights_ref,
            statistic_ref,
            slope_ref,
            shared,
            on=on,
            tiles=tiles,
            classes=classes,
        )

    run = plgpu.kernel(
        kernel,
        out_type=out_type,
        scratch_types=scratch,
        grid=(count,),
        grid_names=("row",),
        # No thread reads what another one writes, but for what it has read before.
        compiler_params=plgpu.CompilerParams(unsafe_no_auto_barriers=True),
        **({"num_threads": groups, "thread_name": "warpgroup"} if groups > 1 else {}),
        **({} if interpret is None else {"interpret": interpret}),
    )
    if in_place:
        ref = jax.new_ref(logits)
        (total,) = run(ref, *arguments[1:])
        return total, jax.freeze(ref)
    total, *written = run(*arguments)
    return total, *(x[:, :classes] for x in written)
