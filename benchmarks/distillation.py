"""Divergences from a teacher, for `benchmarks.kernels`: of logits, and of two heads.

Jensen and Shannon's, the one whose fused forms others have too. Value and gradient by
the student; the teacher has none.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxloss
from benchmarks import kernels_torch
from benchmarks.contest import (
    BITS,
    Contender,
    Line,
    compete,
    compiled,
    of_heads,
    of_torch,
)

# The gradient of logits is rounded to bfloat16; that of a head comes from rounded
# products as well.
PAIR_TOLERANCE, HEADS_TOLERANCE = 2.0**-7, 3e-2
CHECKED = 256
"""Rows whose gradient is compared; two heads are checked on so many tokens."""


@dataclass(frozen=True)
class Pair:
    """Rows of logits of a student and of a teacher."""

    rows: int
    classes: int


@dataclass(frozen=True)
class Distillation:
    """Two linear heads on the same tokens."""

    rows: int
    hidden: int
    teacher_hidden: int
    classes: int


def truth(x: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    """Jensen and Shannon's divergence summed over the rows, and its gradient by x."""

    def log_softmax(z: np.ndarray) -> np.ndarray:
        z = z - z.max(axis=1, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=1, keepdims=True))

    log_q, log_p = log_softmax(x), log_softmax(t)
    q = np.exp(log_q)
    log_m = np.logaddexp(log_q, log_p) - np.log(2)
    of_teacher = np.sum(np.exp(log_p) * (log_p - log_m), axis=1)
    surprise = log_q - log_m
    of_student = np.sum(q * surprise, axis=1)
    # dL/dq_j = log(q_j / m_j) / 2, and dq_j/dx_k = q_j ([j = k] - q_k).
    gradient = q * (surprise - of_student[:, None]) / 2
    return float(np.sum(of_teacher + of_student)) / 2, gradient


def relative(actual: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(actual - exact) / np.linalg.norm(exact))


def full(x: jax.Array, t: jax.Array) -> jax.Array:
    """As a textbook has it, in float32."""
    log_q, log_p = (jax.nn.log_softmax(z.astype(jnp.float32)) for z in (x, t))
    q, p = jnp.exp(log_q), jnp.exp(log_p)
    log_m = jnp.log((q + p) / 2)
    each = jnp.sum(p * (log_p - log_m) + q * (log_q - log_m), axis=-1) / 2
    return jnp.mean(each)


def measure_pair(name: str, shape: Pair, rounds: int, budget: float) -> list[Line]:
    rng = np.random.default_rng(0)
    x = 2 * rng.standard_normal((shape.rows, shape.classes), np.float32)
    t = x + rng.standard_normal(x.shape, np.float32)
    args = jnp.asarray(x, BITS), jnp.asarray(t, BITS)
    del x, t
    total, gradient = 0.0, np.zeros(0)
    for start in range(0, shape.rows, CHECKED):
        part = [np.asarray(a[start : start + CHECKED]).astype(np.float64) for a in args]
        value, of_rows = truth(*part)
        total += value
        gradient = of_rows if start == 0 else gradient
    exact = total / shape.rows, gradient / shape.rows

    def error(result: Any) -> float:
        value, slope = result
        first = np.asarray(slope[: len(gradient)]).astype(np.float64)
        return max(abs(float(value) - exact[0]) / exact[0], relative(first, exact[1]))

    ours = functools.partial(jaxloss.js_divergence, reduction="mean")
    programs: list[tuple[str, Callable[[], Contender]]] = [
        (label, functools.partial(compiled, label, jax.value_and_grad(loss), args))
        for label, loss in (("jaxloss, xla", ours), ("jax.numpy", full))
    ]
    for label, make in kernels_torch.pairs(*args):
        programs.append((label, functools.partial(of_torch, label, make)))
    copy = compiled("copy", lambda x, t: -x, args)
    lines, seconds = compete(
        name,
        "value and gradient",
        iter(programs),
        args,
        error,
        PAIR_TOLERANCE,
        copy,
        rounds,
        budget,
    )
    # Both logits are read, and one gradient is written; a copy moves two of the three.
    size = shape.rows * shape.classes * BITS.itemsize
    for line in lines:
        if line.seconds:
            line.gigabytes_per_second = 3 * size / line.seconds / 1e9
            line.share = 1.5 * seconds / line.seconds
    speed = 2 * size / seconds / 1e9
    ceiling = Line(name, "value and gradient", "a copy", "measured", "", seconds)
    ceiling.gigabytes_per_second = speed
    return [*lines, ceiling]


def losses_of_heads() -> Iterator[tuple[str, Callable[..., Any]]]:
    yield (
        "jaxloss, xla",
        functools.partial(
            jaxloss.linear_distillation_loss, divergence="jensen_shannon"
        ),
    )

    def of_full_logits(h: jax.Array, w: jax.Array, g: jax.Array, v: jax.Array):
        product = functools.partial(jnp.matmul, preferred_element_type=jnp.float32)
        return full(product(h, w), jax.lax.stop_gradient(product(g, v)))

    yield "jax.numpy, full logits", of_full_logits


def error_of_heads(part: Sequence[jax.Array]) -> Callable[[Any], float]:
    """Of value and of the student's two gradients."""
    h, w, g, v = (np.asarray(a).astype(np.float64) for a in part)
    total, slope = truth(h @ w, g @ v)
    exact = total / len(h), slope @ w.T / len(h), h.T @ slope / len(h)

    def error(result: Any) -> float:
        value, gradients = result
        found = (np.asarray(a).astype(np.float64) for a in (value, *gradients))
        return max(
            relative(a, np.asarray(e)) for a, e in zip(found, exact, strict=True)
        )

    return error


def measure_heads(
    name: str, shape: Distillation, rounds: int, budget: float
) -> list[Line]:
    rng = np.random.default_rng(0)

    def drawn(rows: int, columns: int, scale: float = 1.0) -> jax.Array:
        values = rng.standard_normal((rows, columns), np.float32)
        return jnp.asarray(values * np.float32(scale), BITS)

    h, g = drawn(shape.rows, shape.hidden), drawn(shape.rows, shape.teacher_hidden)
    w = drawn(shape.hidden, shape.classes, shape.hidden**-0.5)
    v = drawn(shape.teacher_hidden, shape.classes, shape.teacher_hidden**-0.5)
    args = h, w, g, v
    few = slice(0, min(shape.rows, CHECKED))
    part = h[few], w, g[few], v
    error_of = error_of_heads(part)
    # Three of the student's, and the teacher's logits.
    matmuls = 3 + shape.teacher_hidden / shape.hidden
    return of_heads(
        name,
        losses_of_heads(),
        kernels_torch.distillations(error_of, part, args),
        args,
        part,
        error_of,
        HEADS_TOLERANCE,
        matmuls,
        rounds,
        budget,
    )
