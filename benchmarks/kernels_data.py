"""What kernels are given, drawn on the device, and the same in float64 on the host."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

BITS = jnp.dtype("bfloat16")
"""In which everything is given."""

BLOCK = 2**20
"""Numbers that a thread has in hand at once: 8 MiB in float64."""


# ------------------------------------------------------------------ on the device


@functools.partial(jax.jit, static_argnames=("shape", "scale"))
def normal(seed: int, shape: tuple[int, ...], scale: float = 1.0) -> jax.Array:
    values = jax.random.normal(jax.random.key(seed), shape, jnp.float32)
    return (jnp.float32(scale) * values).astype(BITS)


@functools.partial(jax.jit, static_argnames=("rows", "classes"))
def labels(seed: int, rows: int, classes: int) -> jax.Array:
    return jax.random.randint(jax.random.key(seed), (rows,), 0, classes, jnp.int32)


@functools.partial(jax.jit, static_argnames="shape")
def pair(seed: int, shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Logits of a student, and of a teacher that is not far from it."""
    of_student, apart = jax.random.split(jax.random.key(seed))
    x = 2 * jax.random.normal(of_student, shape, jnp.float32)
    t = x + jax.random.normal(apart, shape, jnp.float32)
    return x.astype(BITS), t.astype(BITS)


# ------------------------------------------------------------------ on the host


def _widened(host: np.ndarray) -> np.ndarray:
    if host.dtype != BITS:
        return host.astype(np.float64)
    # A bfloat16 is the upper half of a float32. NumPy's own conversion of this dtype
    # holds the interpreter's lock; these do not, so that threads run beside each other.
    bits = host.view(np.uint16).astype(np.uint32) << np.uint32(16)
    return bits.view(np.float32).astype(np.float64)


def _in_blocks(rows: int, columns: int, function: Callable[[slice], Any]) -> list[Any]:
    """Of blocks of rows, by all cores."""
    step = max(1, BLOCK // max(columns, 1))
    blocks = [slice(start, start + step) for start in range(0, rows, step)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, blocks))


def wide(array: Any) -> np.ndarray:
    """In float64."""
    host = np.asarray(array)
    if host.ndim < 2 or host.size <= BLOCK:
        return _widened(host)
    found = np.empty(host.shape)

    def fill(block: slice) -> None:
        found[block] = _widened(host[block])

    _in_blocks(len(host), host[0].size, fill)
    return found


def summed(function: Callable[..., float], logits: Any, *others: Any) -> float:
    """The sum over blocks of rows of what a function has of them, in float64.

    Args:
      function: of blocks of rows of all the arrays. It may write over them.
      logits: `[rows, classes]`.
      others: arrays with as many rows; integers stay what they are.
    """
    hosts = [np.asarray(a) for a in (logits, *others)]

    def of_block(block: slice) -> float:
        parts = (a[block] for a in hosts)
        return function(*(p if p.dtype.kind == "i" else _widened(p) for p in parts))

    rows, classes = hosts[0].shape
    return float(sum(_in_blocks(rows, classes, of_block)))


def evenly(count: int, most: int) -> np.ndarray:
    """Indices from the first to the last, not more than `most` of them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int32))


def relative(actual: np.ndarray, exact: np.ndarray | float) -> float:
    """How long the error is, to the length of what is right."""
    return float(np.linalg.norm(actual - exact) / np.linalg.norm(exact))
