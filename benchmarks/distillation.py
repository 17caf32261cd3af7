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
from benchmarks.contest import Contest, Entry, Line, compiling, of_heads
from benchmarks.kernels_data import BITS, evenly, normal, pair, relative, summed, wide

# The gradient of logits is rounded to bfloat16; that of a head comes from rounded
# products as well.
PAIR_TOLERANCE, HEADS_TOLERANCE = 2.0**-7, 3e-2
CHECKED = 128
"""Rows whose gradient is compared; two heads are checked on so many tokens."""
COLUMNS = 512
"""Of a kernel's gradient: the classes at which it is compared."""


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


def full(x: jax.Array, t: jax.Array) -> jax.Array:
    """As a textbook has it, in float32."""
    log_q, log_p = (jax.nn.log_softmax(z.astype(jnp.float32)) for z in (x, t))
    q, p = jnp.exp(log_q), jnp.exp(log_p)
    log_m = jnp.log((q + p) / 2)
    each = jnp.sum(p * (log_p - log_m) + q * (log_q - log_m), axis=-1) / 2
    return jnp.mean(each)


def measure_pair(name: str, shape: Pair, contest: Contest) -> list[Line]:
    with contest.spending("data"):
        args = pair(0, (shape.rows, shape.classes))
        jax.block_until_ready(args)

    def answer() -> Callable[[Any], float]:
        x, t = (np.asarray(a) for a in args)
        rows = evenly(shape.rows, CHECKED)
        _, gradient = truth(wide(x[rows]), wide(t[rows]))
        value = summed(lambda x, t: truth(x, t)[0], x, t) / shape.rows

        def error(result: Any) -> float:
            of_rows = relative(wide(result[1][rows]), gradient / shape.rows)
            return max(abs(float(result[0]) - value) / value, of_rows)

        return error

    def entries() -> Iterator[Entry]:
        ours = functools.partial(jaxloss.js_divergence, reduction="mean")
        for label, loss in (("jaxloss, xla", ours), ("jax.numpy", full)):
            yield compiling(label, jax.value_and_grad(loss), args, in_place=True)
        yield from kernels_torch.pairs(*args)

    copying = compiling("a copy", lambda x, t: jnp.copy(x), args)
    copy, started, error_of = contest.prepare(copying, entries(), answer)
    lines, seconds = contest.compete(
        name,
        "value and gradient",
        started,
        args,
        error_of,
        PAIR_TOLERANCE,
        copy,
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
    """Of value and of the student's two gradients, of its kernel's in some columns."""
    h, w, g, v = (wide(a) for a in part)
    total, slope = truth(h @ w, g @ v)
    columns = evenly(w.shape[1], COLUMNS)
    value = total / len(h)
    of_hidden = slope @ w.T / len(h)
    of_kernel = h.T @ slope[:, columns] / len(h)

    def error(result: Any) -> float:
        found, (by_hidden, by_kernel) = result
        return max(
            abs(float(found) - value) / value,
            relative(wide(by_hidden), of_hidden),
            relative(wide(by_kernel[:, columns]), of_kernel),
        )

    return error


def measure_heads(name: str, shape: Distillation, contest: Contest) -> list[Line]:
    with contest.spending("data"):
        h = normal(0, (shape.rows, shape.hidden))
        g = normal(1, (shape.rows, shape.teacher_hidden))
        w = normal(2, (shape.hidden, shape.classes), shape.hidden**-0.5)
        v = normal(3, (shape.teacher_hidden, shape.classes), shape.teacher_hidden**-0.5)
        few = slice(0, min(shape.rows, CHECKED))
        args, part = (h, w, g, v), (h[few], w, g[few], v)
        jax.block_until_ready((args, part))
    return of_heads(
        name,
        losses_of_heads(),
        kernels_torch.distillations(part, args),
        args,
        part,
        lambda: error_of_heads(part),
        HEADS_TOLERANCE,
        # Three of the student's, and the teacher's logits.
        3 + shape.teacher_hidden / shape.hidden,
        contest,
    )
