"""Tile sizes, and where a kernel runs without being asked for; each with its reason.

The numbers for TPU follow from the sizes of the chips, and from what the compilers say
of the programs; those for GPU were chosen on an NVIDIA H200.
"""

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxloss._core.mesh import is_alone
from jaxloss._core.types import Implementation
from jaxloss._kernels.chips import (
    KIB,
    LANES,
    MIB,
    MOST_CLASSES,
    SHARE_OF_VMEM,
    SMALLEST,
    is_hopper,
    up,
    vmem,
)
from jaxloss._kernels.tile import Features

IN_PLACE = jax.__version_info__ >= (0, 11)
"""Whether the kernel for GPU can write over its logits."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """Where a kernel was seen to win."""

    result: str
    rows: int
    """At least."""
    classes: int
    dtypes: tuple[str, ...]


BY_DEFAULT: Mapping[Implementation, Measured] = {
    "mosaic_gpu": Measured(
        "1.2 to 2.3 times as fast as XLA on an NVIDIA H200, 2026-11-26 and 27",
        256,
        32_000,
        ("bfloat16",),
    )
}
"""The kernels that run where none is asked for, and why.

For GPU: milliseconds on an H200 of 8,192 rows, logits in bfloat16 that are written
over (`benchmarks/results/kernels-h200-2026-11-27.json`):

                           value           value and gradient
    classes             XLA   kernel          XLA   kernel
     50,257            0.57     0.25         1.20     0.77
    128,256            1.21     0.56         2.51     1.43

256 rows of 128,256, a gradient: 0.123 and 0.099; 1,024 of 32,000: 0.128 and 0.082
(`tiles-h200-chosen-2026-11-26.json`). Between the matmuls of a head it gains little
time (with logits in bfloat16 20.6 ms against 20.7, 4,096 tokens; 42.2 against 43.5,
8,192; 163 against 165, 32,768), and takes less memory where there are several chunks:
2,132 MiB against 3,134.

For TPU there is none: no kernel was measured on one yet, and the bytes of the compiled
programs do not decide alone. Times the bytes of the logits, at 1,024 x 128,256, by the
compilers for TPU v5e, v5p, v6e and 7x, which agree (`tests/verify` holds them to it):

                          XLA    kernel
    value                 2.0     1.0
    value and gradient    4.0     2.0

The kernel wins by that if its arithmetic hides behind the reading. In the schedule of
bundles that the compiler made for a v5e (1.5 GHz, 819 GB/s), a tile of 65,536 bfloat16
logits takes 311 cycles for the value, 0.21 µs, and 466 with the derivative, 0.31 µs;
its reads and writes take 0.16 µs and 0.32 µs, those of XLA 0.32 µs and 0.64 µs. So
there it should take two thirds of the time, and half. A v6e has twice the bandwidth
with little more arithmetic: by the same sum, nothing is gained.
"""


def reluctance(
    implementation: Implementation, dtype: jnp.dtype, shape: tuple[int, int]
) -> str | None:
    """Why a kernel that could run does not without being asked for, or None."""
    measured = BY_DEFAULT.get(implementation)
    if measured is None:
        return "was not yet measured on a device; it can be asked for"
    if implementation == "mosaic_gpu":
        if not IN_PLACE:
            return "writes over the logits from JAX 0.11 on; it can be asked for"
        if not is_hopper():
            return "was measured on Hopper GPUs only; it can be asked for"
    if not is_alone():
        return (
            "would have all logits gathered on each device of a program that JAX "
            "spreads over several; it can be asked for, and runs inside jax.shard_map"
        )
    rows, classes = shape
    if rows < measured.rows or classes < measured.classes:
        return (
            f"was measured with {measured.rows:,} rows or more of {measured.classes:,} "
            "classes or more; it can be asked for"
        )
    if dtype.name not in measured.dtypes:
        return f"was measured in {', '.join(measured.dtypes)}; it can be asked for"
    return None


TOO_LONG = "has no tiles that fit in the memory of the chip with rows so long"


def refusal(
    implementation: Implementation, dtype: jnp.dtype, classes: int
) -> str | None:
    """Why a kernel cannot run on logits of this kind, or None if it can."""
    if classes > MOST_CLASSES:
        return f"takes at most {MOST_CLASSES:,} classes, and there are {classes:,}"
    if classes < 2:
        return "takes at least two classes"
    dtypes = {
        "mosaic_tpu": ("bfloat16", "float32"),
        "mosaic_gpu": ("bfloat16", "float16", "float32"),
        "interpret": ("bfloat16", "float16", "float32"),
    }[implementation]
    if dtype.name in dtypes:
        return None
    if implementation == "mosaic_tpu" and dtype == jnp.float16:
        return "cannot load float16, which the compiler of TPU kernels refuses"
    return f"takes logits in {', '.join(dtypes)}, and these are {dtype.name}"


@dataclasses.dataclass(frozen=True)
class TpuTiles:
    """How the kernel for TPU goes over the logits."""

    rows: int
    """In VMEM at a time."""
    group: int
    """Of them, worked on at a time."""
    columns: int
    """Of a tile."""
    vmem: int
    """Bytes of VMEM that the compiler may use."""

    def __str__(self) -> str:
        return (
            f"{self.rows} rows in VMEM, tiles of {self.group} x {self.columns:,}, "
            f"{self.vmem // MIB} MiB"
        )


# A fetch of so many bytes takes longer than its latency by far: 2.4 µs at the 819 GB/s
# of a v5e.
_BLOCK = 2 * MIB
# A tile fills the 64 vector registers. In the compiler's schedule for a v5e the loop
# then takes 4.9 bundles a register of logits, and 2.4 more where it writes the
# derivative; half the tile takes 5.3 and 2.7, twice the tile the same.
_TILE = 64 * 8 * LANES
# Tiles on their way between registers and memory, and the columns of the rows.
_SCRATCH = 8 * MIB


def tpu_tiles(
    rows: int,
    classes: int,
    dtype: jnp.dtype,
    slope: jnp.dtype | None,
    on: Features,
    vmem: int = SMALLEST.vmem,
) -> TpuTiles | None:
    """The tiles for a chip with so much VMEM, or None if a row does not fit.

    Rows stand in VMEM whole, twice (one set is worked on while the next is fetched),
    and so does their derivative: logits are read once and the derivative is written
    once, whatever it is computed from.
    """
    # Rows of one register: 8 of float32, 16 of bfloat16.
    itemsizes = [jnp.dtype(d).itemsize for d in (dtype, slope) if d is not None]
    group = 8 * 4 // min(itemsizes)
    width = up(classes, LANES)
    a_row = 2 * width * sum(itemsizes)
    # One row of float32 for all; were it padded to a register, eight.
    shared = 2 * width * 4 * 8 if on.class_weights else 0
    most = int(vmem * SHARE_OF_VMEM) - shared - _SCRATCH
    count = min(
        most // a_row, max(_BLOCK // (width * itemsizes[0]), 1), up(rows, group)
    )
    count = max(count // group * group, group)
    if count * a_row > most:
        return None
    columns = min(_TILE // group, up(classes, LANES))
    return TpuTiles(count, group, columns, count * a_row + shared + _SCRATCH)


def tiles(implementation: Implementation, shape: tuple[int, int], dtype: jnp.dtype):
    """Those of a value and its derivative, without options; for `explain`."""
    if implementation == "mosaic_gpu":
        return gpu_tiles(shape[1], dtype)
    return tpu_tiles(*shape, dtype, dtype, Features(), vmem())


WARPGROUP = 128
"""Threads."""


@dataclasses.dataclass(frozen=True)
class GpuTiles:
    """How the kernel for GPU goes over the logits."""

    columns: int
    """Of a piece of a row: a vector for each thread of a warpgroup."""
    vector: int
    """Logits that a thread loads at once."""
    pieces: int
    """Of a step: on their way from memory while those before are worked on."""
    blocks: int
    """Rows worked on at a time by a multiprocessor."""
    scratch: int
    """Bytes of shared memory asked for so that there are no more blocks than that."""
    warpgroups: int = 1
    """That share a row."""
    fast: bool = False
    """Whether powers of e are the chip's own of two."""

    def __str__(self) -> str:
        return (
            f"a row a block of {self.warpgroups * WARPGROUP} threads, {self.blocks} a "
            f"multiprocessor, steps of {self.pieces} x {self.columns:,} in vectors of "
            f"{self.vector}"
        )


# Of an H100, an H200 and a B200 the smallest: multiprocessors, their shared memory in
# bytes, what one block may have of it, and the second-level cache, of which a fifth is
# left to the rest.
_MULTIPROCESSORS = 132
_SHARED, _SHARED_BLOCK = 228 * KIB, 227 * KIB
_CACHE = 50 * MIB * 4 // 5
# Bytes of logits that a thread fetches at a time, and the most loads that it has in its
# code: those of one logit each take long to compile.
_STEP, _MOST_LOADS = 64, 16
# Bytes of the widest load.
_WIDEST = 16
# More blocks than registers allow do not run.
_MOST_BLOCKS = 4
# On an H200, a row of 251 KiB takes 1.12 times as long with one warpgroup as with four,
# one of 98 KiB 1.13 times (`python -m benchmarks.tiles`).
_SHARED_ROW = 64 * KIB


def gpu_tiles(classes: int, dtype: jnp.dtype, slope: bool = True) -> GpuTiles:
    """The tiles for rows of so many classes, of a value alone or with its derivative.

    A row begins at a multiple of its length, so that a vector may be no longer than
    what divides that: one logit of 50,257, eight of 128,256 in bfloat16. Where the row
    is read again, the rows being worked on, all multiprocessors together, fit in the
    cache: long ones are worked on by several warpgroups, one at a time.
    """
    itemsize = jnp.dtype(dtype).itemsize
    vector = math.gcd(classes, _WIDEST // itemsize)
    while vector > 1 and WARPGROUP * vector > classes:
        vector //= 2
    columns = WARPGROUP * vector
    row = classes * itemsize
    groups = 4 if slope and row > _SHARED_ROW else 1
    pieces = min(_STEP // (vector * itemsize), max(classes // columns, 1), _MOST_LOADS)
    blocks, scratch = _MOST_BLOCKS, 0
    if slope:
        blocks = min(max(_CACHE // (_MULTIPROCESSORS * row), 1), _MOST_BLOCKS // groups)
        scratch = scratch_for(blocks)
    return GpuTiles(columns, vector, pieces, blocks, scratch, groups, itemsize < 4)


def scratch_for(blocks: int) -> int:
    """Bytes of shared memory of which one block more would not have enough."""
    if blocks >= _MOST_BLOCKS:
        return 0
    return min(_SHARED // (blocks + 1), _SHARED_BLOCK // 2) + KIB
