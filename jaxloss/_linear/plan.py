"""How a fused head is run, from its shapes alone: chunks, work, memory.

`explain` shows the plans of the fused losses that a function calls.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

MIB = 2**20

# The float32 logits of a chunk, at most. CPU: what stays near the caches; chunks of
# more than 64 MiB gained nothing at 128,256 classes on two AVX-512 cores. GPU and TPU:
# a sum of products over a chunk of 1,024 tokens and more costs more arithmetic than it
# moves float32 bytes of the kernel's gradient (735 tokens on an H200).
_LOGITS = {"cpu": 64 * MIB, "gpu": 1024 * MIB, "tpu": 512 * MIB}
_FEWEST = {"cpu": 64, "gpu": 1024, "tpu": 1024}
_MOST = {"cpu": 512, "gpu": 4096, "tpu": 2048}

# Rows of a matrix unit's tile.
_MULTIPLE = 8


def chunk_of(tokens: int, classes: int, platform: str) -> int:
    """Tokens to a chunk, all chunks about equal."""
    kind = platform if platform in _LOGITS else "gpu"
    fits = _LOGITS[kind] // (4 * max(classes, 1))
    most = min(max(fits, _FEWEST[kind]), _MOST[kind])
    count = -(-tokens // most)
    if count <= 1:
        return max(tokens, 1)
    equal = -(-tokens // count)
    return -(-equal // _MULTIPLE) * _MULTIPLE


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

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return -(-self.tokens // max(self.chunk, 1))

    @property
    def matmuls(self) -> dict[str, int]:
        """Products of [tokens, hidden, classes], by what is asked for."""
        again = 0 if self.reduced or self.backward == "save" else 1
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
        logits = self.chunk * self.classes
        a_chunk = 2 * size * kernel + 2 * wide * kernel + 4 * wide * logits
        return self.chunks * a_chunk + 3 * size * self.tokens * self.hidden

    @property
    def temporaries(self) -> int:
        """At most these bytes beside inputs and outputs, for value and both gradients.

        Three arrays of a chunk's logits (the logits, their exponentials, the
        derivative), the kernel's gradient in float32 before it is rounded, the
        gradient of the hidden states before it is scaled, and the padding.
        """
        size, wide = self._sizes
        logits = 3 * wide * self.chunk * self.classes
        kernel = wide * self.hidden * self.classes
        padded = self.chunks * self.chunk
        states = (2 * wide + size) * padded * self.hidden
        kept = 0
        if not self.reduced and self.backward == "save":
            kept = size * padded * self.classes
        return logits + kernel + states + kept + MIB

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
            "chunks": f"{count(self.chunks)} of {count(self.chunk)} tokens",
            "matmuls": ", ".join(f"{k}: {v}" for k, v in self.matmuls.items()),
            "FLOPs": ", ".join(f"{k}: {v:.3g}" for k, v in self.flops.items()),
            "bytes moved": memory(self.bytes_moved),
            "temporaries": f"at most {memory(self.temporaries)}, against {logits} for "
            "the logits alone",
        }
        width = max(map(len, lines))
        body = "\n".join(f"  {name:<{width}}  {text}" for name, text in lines.items())
        return f"jaxloss.{self.function}\n{body}"


_collected: contextvars.ContextVar[list[Plan] | None] = contextvars.ContextVar(
    "plans", default=None
)


def note(plan: Plan) -> None:
    """Tells `explain`, if it is listening."""
    plans = _collected.get()
    if plans is not None:
        plans.append(plan)


@contextlib.contextmanager
def collecting() -> Iterator[list[Plan]]:
    plans: list[Plan] = []
    token = _collected.set(plans)
    try:
        yield plans
    finally:
        _collected.reset(token)


def explain(function: Callable[..., Any], *args: Any, **options: Any) -> list[Plan]:
    """Prints and returns how the fused losses that a function calls would be run.

    Nothing is computed: the function is traced with the shapes of its arguments.

    Args:
      function: a `linear_*` loss, or any function that calls some.
      *args: its arrays, or `jax.ShapeDtypeStruct` of them.
      **options: its keyword arguments; arrays and their shapes are traced, everything
        else is passed on as it is.

    Returns:
      One `Plan` for each fused loss, in the order of the calls: implementation and
      reason, chunks, matmuls, FLOPs, bytes and temporaries.

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
    with collecting() as plans:
        jax.eval_shape(lambda a, k: function(*a, **k, **static), args, arrays)
    for plan in plans:
        print(plan)
    return plans
