"""How a fused head is run, from its shapes alone: chunks, work, memory.

`explain` shows the plans of the losses that a function calls.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxloss._core import explained
from jaxloss._core.validate import Check
from jaxloss._kernels.softmax_xent.op import RowsPlan

MIB = 2**20

# The float32 logits of a chunk, at most. CPU: each chunk's share of the kernel's
# gradient is written and added, so that few chunks are fast; for 4,096 tokens and a
# kernel of 256 x 128,256 all temporaries stay below a tenth of those of full logits
# (`python -m benchmarks.heads`).
# GPU and TPU: small beside the gradient of a kernel of 32,000 classes and more; fewer
# classes take larger chunks for it, so that the products stay large.
_LOGITS = {"cpu": 192 * MIB, "gpu": 128 * MIB, "tpu": 128 * MIB}
# A sum of products over so many tokens costs more arithmetic than it moves float32
# bytes of the kernel's gradient: 735 on an H200, 962 on a TPU v5e.
_FEWEST = {"cpu": 64, "gpu": 1024, "tpu": 1024}
# More gain nothing: at 4,096 that traffic is a fifth of what an H200 has time for, and
# half of what a TPU v6e has. (8,192 x 4,096 x 128,256 on an H200, logits stored in
# bfloat16: 44.5, 42.7 and 41.5 ms in chunks of 1,024, 2,048 and 4,096;
# `tiles-h200-heads-2026-11-27.json`.)
_MOST = {"cpu": 512, "gpu": 4096, "tpu": 4096}

# Rows of a matrix unit's tile.
_MULTIPLE = 8

# What does not grow with the tokens: workspaces of matmuls, partial sums.
_WORKSPACE = {"cpu": 1 * MIB, "gpu": 32 * MIB, "tpu": 32 * MIB}


def chunk_of(
    tokens: int,
    hidden: int,
    classes: int,
    dtype: str,
    platform: str,
    stored: str = "float32",
) -> int:
    """Tokens to a chunk, all chunks about equal.

    Args:
      tokens, hidden, classes: of the head.
      dtype: of the kernel.
      platform: by the name of JAX's backend.
      stored: the dtype that a chunk's logits are stored in.
    """
    kind = platform if platform in _LOGITS else "gpu"
    most = max(_LOGITS[kind] // (4 * max(classes, 1)), _FEWEST[kind])
    if kind != "cpu":
        # The logits of a single chunk are gone before the kernel's gradient, which is
        # as large if there are as many tokens as hidden units: one chunk needs the
        # memory of several (2,008 MiB for 4,096 tokens on an H200), and sums nothing.
        free = tokens if tokens <= hidden else _free_rows(hidden, dtype, stored)
        most = max(most, free)
    most = min(most, _MOST[kind])
    count = -(-tokens // most)
    if count <= 1:
        return max(tokens, 1)
    equal = -(-tokens // count)
    return -(-equal // _MULTIPLE) * _MULTIPLE


def _free_rows(hidden: int, dtype: str, stored: str) -> int:
    """Rows of logits that take no memory of their own on GPU, and on TPU before JAX
    0.11.

    Those of several chunks stand where the kernel's gradient is written at the end, in
    its dtype (8,192 x 4,096 x 128,256 in bfloat16: chunks of 2,048 take 2,004 MiB on a
    TPU v5e, of 4,096 6,012; with logits stored in bfloat16 those of 4,096 take 2,004
    too, and 2,072 on an H200). Since then chunks of 2,048 take 3,070 there. Fewer rows
    would save half of what was added, at the price of twice the traffic of the kernel's
    gradient, for which a v6e has no time.
    """
    return hidden * jnp.dtype(dtype).itemsize // jnp.dtype(stored).itemsize


# What is told of a token, its statistics and what its derivative is made of: a table of
# some columns each, as wide as a register.
_TABLES, _A_ROW = 6, 512


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Kernels that hold no logits but a tile of them: (tokens, classes) of each."""

    losses: tuple[int, int]
    hidden: tuple[int, int]
    """For the gradient of the hidden states."""
    kernel: tuple[int, int]
    """For that of the kernel."""
    gradients: bool
    """Whether they compute those; else the chunks of tokens do."""

    def __str__(self) -> str:
        names = ("losses", "hidden", "kernel") if self.gradients else ("losses",)

        def said(name):
            tokens, classes = getattr(self, name)
            return f"{name} {tokens:,} x {classes:,}"

        return ", ".join(map(said, names))


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a fused head does for one value and its gradients."""

    function: str
    implementation: str
    reason: str
    """Why that implementation."""
    tokens: int
    hidden: int
    classes: int
    """On this device."""
    dtype: str
    """Of the products' factors; they are summed in float32, or float64."""
    chunk: int
    reduced: bool
    """A sum or a mean: its gradients are taken along with it."""
    backward: str
    platform: str
    arrays: int
    """Of the size of a chunk's logits, in float32, held at once: the logits, their
    derivative, and what the loss itself needs; of a loss of one's own an estimate."""
    masked: bool
    """Whether tokens are left out."""
    class_chunk: int | None = None
    """Classes at a time, of all tokens, where the least memory was asked for."""
    tiles: Tiles | None = None
    """Where kernels hold no logits."""
    stored: str = "float32"
    """The dtype that a chunk's logits are stored in."""

    @property
    def in_tiles(self) -> Tiles | None:
        """Those of kernels that compute the gradients too."""
        return self.tiles if self.tiles is not None and self.tiles.gradients else None

    @property
    def chunks(self) -> int:
        """How many chunks there are, of tokens or of classes."""
        if self.in_tiles is not None:
            return 1
        if self.class_chunk is not None:
            return -(-self.classes // self.class_chunk)
        return -(-self.tokens // max(self.chunk, 1))

    @property
    def matmuls(self) -> dict[str, int]:
        """Products of [tokens, hidden, classes], by what is asked for."""
        again = 0 if self.reduced or self.backward == "save" else 1
        if self.in_tiles is not None:
            # The logits, for each gradient again.
            return {
                "value": 1,
                "value and one gradient": 3,
                "value and both gradients": 5,
            }
        if self.class_chunk is not None:
            again = 1
        return {
            "value": 1,
            "value and one gradient": 2 + again,
            "value and both gradients": 3 + again,
        }

    @property
    def flops(self) -> dict[str, int]:
        """Floating-point operations of these products."""
        one = 2 * self.tokens * self.hidden * self.classes
        return {asked: count * one for asked, count in self.matmuls.items()}

    @property
    def _sizes(self) -> tuple[int, int]:
        size = jnp.dtype(self.dtype).itemsize
        return size, max(4, size)

    @property
    def bytes_moved(self) -> int:
        """Memory traffic of value and both gradients, each array once a chunk."""
        size, wide = self._sizes
        kernel = self.hidden * self.classes
        tiles = self.in_tiles
        if tiles is not None:
            states = self.tokens * self.hidden
            over_tokens, again, _ = (
                -(-self.tokens // rows)
                for rows, _ in (tiles.losses, tiles.hidden, tiles.kernel)
            )
            over_classes = -(-self.classes // tiles.kernel[1])
            read = (over_tokens + again + 1) * kernel + (2 + over_classes) * states
            return size * (read + kernel + states)
        if self.class_chunk is not None:
            states = self.chunks * self.tokens * self.hidden
            twice = 2 * size * (kernel + states) + 6 * wide * self.tokens * self.classes
            return twice + size * kernel + (2 * wide + size) * states
        logits = self.chunk * self.classes
        a_chunk = 2 * size * kernel + 2 * wide * kernel + 4 * wide * logits
        return self.chunks * a_chunk + 3 * size * self.tokens * self.hidden

    @property
    def temporaries(self) -> int:
        """At most these bytes beside inputs and outputs, for value and both gradients.

        A chunk's arrays, the kernel's gradient in float32 before it is rounded, and
        copies of the hidden states and their gradient. That is what XLA allocates for
        the loss alone; in a larger program arrays may share memory, or not.
        """
        size, wide = self._sizes
        half, several = size < 4, self.chunks > 1
        workspace = _WORKSPACE.get(self.platform, 32 * MIB)
        if self.in_tiles is not None:
            # Zeros filled in, and the gradient without them.
            states = 2 * size * self.masked * self.hidden
            return (_TABLES * _A_ROW + states) * self.tokens + workspace
        if self.class_chunk is not None:
            logits = wide * self.tokens * self.class_chunk
            # The states' gradient is summed over the chunks; a chunk of the kernel is
            # cut out, and its gradient written in.
            states = (wide + size * self.masked) * self.tokens * self.hidden
            part = (size + wide) * self.hidden * self.class_chunk
            if self.platform == "cpu":
                # A product is an array of its own, and what is in half precision is
                # widened before it, the kernel once for all chunks.
                states += (1 + half) * wide * self.tokens * self.hidden
                part += half * wide * self.hidden * self.classes
            return self.arrays * logits + states + part + workspace
        logits = wide * self.chunk * self.classes
        kernel = wide * self.hidden * self.classes
        # The gradient before it is scaled; float16 would not hold it.
        state = self.hidden * (wide if self.dtype == "float16" else size)
        if self.masked or self.tokens % self.chunk:
            # Zeros or the last token filled in, and the gradient without them.
            state += self.hidden * 2 * size
        kept = 0
        if not self.reduced and self.backward == "save":
            kept = self.classes * size
        held = self.arrays * logits
        if self.platform == "cpu":
            # A chunk's share of the kernel's gradient is an array of its own, when
            # those of the loss are gone. What is not multiplied in bfloat16 is widened
            # once for all chunks: the states, and a float16 kernel. The derivatives
            # kept are widened, and written, whole.
            held = max(held, logits + kernel) + several * kernel
            if half:
                state += self.hidden * wide
                kept += bool(kept) * self.classes * wide
            if self.dtype == "float16":
                held += kernel
        elif several:
            # The logits may stand in the kernel's gradient's place: see `_free_rows`.
            free = self.chunk <= _free_rows(self.hidden, self.dtype, self.stored)
            held += kernel - free * logits
            # XLA on TPU does not let them share memory with those of a chunk.
            kept += kept * (self.platform == "tpu")
        else:
            held = max(held, logits + kernel)
        padded = self.chunks * self.chunk
        return held + (state + kept) * padded + workspace

    def __str__(self) -> str:
        def count(number):
            return f"{number:,}"

        def memory(number):
            return f"{number / MIB:,.1f} MiB"

        shape = " x ".join(map(count, (self.tokens, self.hidden, self.classes)))
        logits = memory(4 * self.tokens * self.classes)
        lines = {
            "implementation": f"{self.implementation}: {self.reason}",
            "tokens x hidden x classes": f"{shape}, {self.dtype}",
            "tiles": str(self.tiles),
            "chunks": f"{count(self.chunks)} of {count(self.chunk)} tokens"
            if self.class_chunk is None
            else f"{count(self.chunks)} of {count(self.class_chunk)} classes",
            "matmuls": ", ".join(f"{k}: {v}" for k, v in self.matmuls.items()),
            "FLOPs": ", ".join(f"{k}: {v:.3g}" for k, v in self.flops.items()),
            "bytes moved": memory(self.bytes_moved),
            "temporaries": f"at most {memory(self.temporaries)}, against {logits} for "
            "the logits alone",
        }
        if self.tiles is None:
            del lines["tiles"]
        elif self.tiles.gradients:
            del lines["chunks"]
        width = max(map(len, lines))
        body = "\n".join(f"  {name:<{width}}  {text}" for name, text in lines.items())
        return f"jaxloss.{self.function}\n{body}"


def explain(
    function: Callable[..., Any], *args: Any, **options: Any
) -> list[Plan | RowsPlan]:
    """Prints and returns how the losses that a function calls would be run.

    Nothing is computed: the function is traced with the shapes of its arguments.

    Args:
      function: a loss that may be run in several ways (the `linear_*` ones, and the
        softmax cross entropy with integer labels), or any function that calls some.
      *args: its arrays, or `jax.ShapeDtypeStruct` of them.
      **options: its keyword arguments; arrays and their shapes are traced, everything
        else is passed on as it is.

    Returns:
      A plan for each such loss, in the order of the calls: implementation and reason;
      of a fused one its tiles, chunks, matmuls, FLOPs, bytes and temporaries too.

    Raises:
      ValueError: no such loss was called.

    Examples:
      >>> import jax, jax.numpy as jnp, jaxloss
      >>> shape = jax.ShapeDtypeStruct
      >>> (plan,) = jaxloss.explain(
      ...     jaxloss.linear_softmax_cross_entropy,
      ...     shape((4096, 256), jnp.bfloat16), shape((256, 50_000), jnp.bfloat16),
      ...     shape((4096,), jnp.int32), chunk_size=256)  # doctest: +ELLIPSIS
      jaxloss.linear_softmax_cross_entropy
        implementation             xla: ...
      >>> plan.chunks, plan.matmuls["value and both gradients"]
      (16, 3)
    """

    def is_array(value):
        return all(
            hasattr(leaf, "shape") and hasattr(leaf, "dtype")
            for leaf in jax.tree.leaves(value)
        )

    arrays = {k: v for k, v in options.items() if v is not None and is_array(v)}
    static = {k: v for k, v in options.items() if k not in arrays}
    with explained.collecting() as plans:
        jax.eval_shape(lambda a, k: function(*a, **k, **static), args, arrays)
    if not plans:
        # A function under jax.jit that was called before is not traced again.
        raise Check("explain").value_error(
            "function",
            "one that calls a loss which may be run in several ways",
            f"{getattr(function, '__name__', function)!r}, in which none was traced",
            "Pass the loss itself, or the function before jax.jit.",
        )
    for plan in plans:
        print(plan)
    return plans
