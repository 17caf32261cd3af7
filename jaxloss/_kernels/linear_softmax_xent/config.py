"""Tile sizes of the fused head on TPU, each number with its reason.

The numbers follow from the sizes of the chips, and from what the compilers say of the
programs: not yet measured on a device.
"""

import dataclasses
import math
from typing import Literal

import jax.numpy as jnp

from jaxloss._core.types import Array
from jaxloss._kernels import chips
from jaxloss._kernels.chips import (
    LANES,
    MIB,
    MOST_CLASSES,
    SHARE_OF_VMEM,
    up,
)
from jaxloss._kernels.tile import Features

Part = Literal["losses", "hidden", "kernel"]
"""What a kernel computes: the losses' statistics, the gradient of the hidden states, or
that of the kernel and the bias."""

PARTS: tuple[Part, ...] = ("losses", "hidden", "kernel")

TOO_LARGE = "has no tiles that fit in the memory of the chip with so many hidden units"

# The rest is for the model, its optimizer and its activations.
_SHARE_OF_MEMORY = 1 / 8


def budget() -> int:
    """Bytes that a head may hold beside its inputs and outputs without being asked."""
    return int(chips.here().memory * _SHARE_OF_MEMORY)


@dataclasses.dataclass(frozen=True)
class Shape:
    """A head, as far as the tiles depend on it."""

    tokens: int
    hidden: int
    classes: int
    of_hidden: jnp.dtype
    """Dtype of the hidden states, which is that of their gradient."""
    of_kernel: jnp.dtype
    """Of the kernel, likewise."""

    @staticmethod
    def of(hidden: Array, kernel: Array, class_axis: int) -> "Shape":
        """That of these arrays."""
        tokens, units = hidden.shape
        classes = kernel.shape[class_axis]
        return Shape(tokens, units, classes, hidden.dtype, kernel.dtype)

    @property
    def factor(self) -> jnp.dtype:
        """In what the products' factors meet."""
        same = self.of_hidden == self.of_kernel
        return self.of_hidden if same else jnp.dtype("float32")


def refusal(shape: Shape) -> str | None:
    """Why the kernels cannot run on a head of this kind, or None if they can."""
    if shape.classes > MOST_CLASSES:
        classes = shape.classes
        return f"takes at most {MOST_CLASSES:,} classes, and there are {classes:,}"
    if not shape.tokens or not shape.hidden or not shape.classes:
        return "takes no head of nothing"
    for dtype in (shape.of_hidden, shape.of_kernel):
        if dtype.name not in ("bfloat16", "float32"):
            return f"takes heads in bfloat16 or float32, and this has {dtype.name}"
    return None


@dataclasses.dataclass(frozen=True)
class Tiles:
    """How one kernel goes over the logits."""

    rows: int
    """Tokens at a time."""
    columns: int
    """Classes at a time."""
    group: int
    """Of the tokens, between the matmuls, at a time."""
    vmem: int
    """Bytes of VMEM that the compiler may use."""

    def __str__(self) -> str:
        return f"{self.rows:,} x {self.columns:,}"


# The kernel's weights are read once for every so many tokens, and so are the tokens for
# as many classes: a tile of the value takes that many operations a byte, one of a
# gradient twice as many. A v5e has time for 240 (197 TFLOP/s, 819 GB/s), a v5p for 166,
# a v6e for 560, a core of a 7x for 312: twice that of the hungriest.
_MOST_ROWS = _MOST_COLUMNS = 1024
# Below that, matrix units of 256 x 256 idle: the last resort of a large hidden size.
_FEWEST_ROWS, _FEWEST_COLUMNS = 16, LANES
# Float32 numbers between the matmuls at a time: those of 64 vector registers.
_GROUP = 64 * 8 * LANES
# Registers that the compiler keeps in VMEM, and a product on its way to its sum.
_SCRATCH = 8 * MIB
# What is told of a row, and its statistics: a register's width each.
_A_ROW = 4 * LANES


def _vmem(part: Part, shape: Shape, on: Features, rows: int, columns: int) -> int:
    """Bytes of VMEM of one kernel: what is fetched or written stands there twice."""
    state = rows * up(shape.hidden, LANES)
    weight = up(shape.hidden, LANES) * columns
    size, size_of_kernel = shape.of_hidden.itemsize, shape.of_kernel.itemsize
    held = 2 * (state * size + weight * size_of_kernel)
    held += 2 * 2 * rows * _A_ROW
    # A bias and a class weight: one row each, as large as eight.
    held += 2 * 8 * 4 * columns * (1 + on.class_weights)
    # The logits, as they leave the matrix unit and where they are read again.
    held += 2 * 4 * rows * columns
    # A factor that a product contracts over the wrong axis is turned first.
    held += state * size if part == "kernel" else weight * size_of_kernel
    if part != "losses":
        held += shape.factor.itemsize * rows * columns
        # A gradient: the sum in float32, a product on its way there, and twice the
        # result.
        sum_ = state if part == "hidden" else weight
        own = size if part == "hidden" else size_of_kernel
        held += (2 * 4 + 2 * own) * sum_
    if shape.factor == jnp.float32:
        # Factors are split in pieces of bfloat16 to be multiplied exactly.
        held += 3 * 2 * (state + weight)
    return held + _SCRATCH


def _whole(total: int, most: int, multiple: int) -> int:
    """The largest tile of at most that size whose last one is not mostly empty, if
    there is any: a vocabulary of 128,256 is 167 times 768."""
    if total <= most:
        return total
    sizes = range(most, most // 2, -multiple)
    return min(sizes, key=lambda size: (-total % size / total > 0.005, -size))


def tiles(
    part: Part,
    shape: Shape,
    on: Features,
    vmem: int,
    columns: int | None = None,
) -> Tiles | None:
    """The tiles for a chip with so much VMEM, or None if not even the smallest fit.

    The sides of a tile are halved until it fits: first the one whose array streams by,
    as long as that keeps a matrix unit busy, for its size costs no traffic.

    Args:
      part: which kernel.
      shape: of the head.
      on: the options that are on.
      vmem: bytes of the chip.
      columns: classes at a time, where the caller knows.
    """
    most = {
        "rows": up(min(shape.tokens, _MOST_ROWS), 16),
        "columns": columns or _MOST_COLUMNS,
    }
    fewest = {
        "rows": min(_FEWEST_ROWS, most["rows"]),
        "columns": columns or _FEWEST_COLUMNS,
    }
    streams, stays = ("rows", "columns") if part == "kernel" else ("columns", "rows")

    def wide() -> int:
        if columns is None:
            return _whole(shape.classes, most["columns"], LANES)
        return min(columns, shape.classes)

    def needed() -> int:
        return _vmem(part, shape, on, most["rows"], up(wide(), LANES))

    def halve(side: str, least: int) -> bool:
        if most[side] // 2 < max(least, fewest[side]):
            return False
        most[side] = up(most[side] // 2, fewest[side])
        return True

    while needed() > vmem * SHARE_OF_VMEM:
        if not (
            halve(streams, 512)
            or halve(stays, 256)
            or halve(streams, 1)
            or halve(stays, 1)
        ):
            return None
    count = -(-shape.tokens // most["rows"])
    equal = up(-(-shape.tokens // count), 16 if most["rows"] < 512 else 64)
    most["rows"] = min(equal, most["rows"])
    power = 2 ** int(math.log2(max(_GROUP // up(wide(), LANES), 16)))
    group = math.gcd(most["rows"], power)
    return Tiles(most["rows"], wide(), group, int(vmem * SHARE_OF_VMEM))
