"""The cross entropy of logits, for `benchmarks.kernels`: a value, and a gradient."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxloss
from benchmarks import kernels_torch
from benchmarks.contest import Contest, Entry, Line, compiling, implementations
from benchmarks.kernels_data import BITS, evenly, labels, normal, relative, summed, wide

VALUE, GRADIENT = "value", "value and gradient"
# Sums of some thousand losses in float32; a gradient is rounded to bfloat16.
TOLERANCE = {VALUE: 2e-5, GRADIENT: 2.0**-7}
CHECKED = 128
"""Rows whose gradient is compared, from the first to the last."""


@dataclass(frozen=True)
class Logits:
    """Rows of logits, as they come from a head."""

    rows: int
    classes: int


def losses() -> Iterator[tuple[str, Callable[..., Any]]]:
    ours = jaxloss.softmax_cross_entropy_with_integer_labels
    for name in implementations():
        yield (
            f"jaxloss, {name}",
            functools.partial(ours, reduction="mean", implementation=name),
        )

    def of_optax(logits: jax.Array, labels: jax.Array) -> jax.Array:
        wide = logits.astype(jnp.float32)
        each = optax.softmax_cross_entropy_with_integer_labels(wide, labels)
        return jnp.mean(each)

    yield "optax", of_optax


@dataclass(frozen=True)
class Truth:
    """The mean loss in float64, and the gradient of some of its rows."""

    value: float
    rows: np.ndarray
    gradient: np.ndarray

    @staticmethod
    def of(logits: jax.Array, labels: jax.Array) -> "Truth":
        x, y = np.asarray(logits), np.asarray(labels)
        rows = evenly(len(x), CHECKED)
        some = wide(x[rows])
        some -= some.max(axis=1, keepdims=True)
        slope = np.exp(some)
        slope /= slope.sum(axis=1, keepdims=True)
        slope[np.arange(len(rows)), y[rows]] -= 1
        return Truth(summed(_losses, x, y) / len(x), rows, slope / len(x))

    def errors(self, result: Any, task: str) -> tuple[float, float]:
        """Those of the value and of the gradient, if there is one."""
        value = result if task == VALUE else result[0]
        error = abs(float(value) - self.value) / abs(self.value)
        if task == VALUE:
            return error, 0.0
        return error, relative(wide(result[1][self.rows]), self.gradient)

    def error(self, result: Any, task: str) -> float:
        return max(self.errors(result, task))


def _losses(x: np.ndarray, y: np.ndarray) -> float:
    x -= x.max(axis=1, keepdims=True)
    at_label = x[np.arange(len(x)), y]
    np.exp(x, out=x)
    return float(np.sum(np.log(x.sum(axis=1)) - at_label))


Entries = Callable[[jax.Array, jax.Array], Iterator[tuple[str, Entry]]]
"""By task, who takes part with logits and labels."""


def everyone(logits: jax.Array, labels: jax.Array) -> Iterator[tuple[str, Entry]]:
    args = logits, labels
    for label, loss in losses():
        yield VALUE, compiling(label, loss, args)
        both = jax.value_and_grad(loss)
        yield GRADIENT, compiling(label, both, args, in_place=True)
    for task in TOLERANCE:
        for entry in kernels_torch.logits(task == GRADIENT, *args):
            yield task, entry


def measure(
    name: str,
    shape: Logits,
    contest: Contest,
    entries: Entries = everyone,
    error: Callable[[Truth, Any, str], float] = Truth.error,
    tolerance: Mapping[str, float] = TOLERANCE,
) -> list[Line]:
    """Of each task that anyone takes part in, beside a copy of the logits.

    Args:
      name, shape: of the problem.
      contest: rounds and budget.
      entries: who takes part.
      error: of a result of a task.
      tolerance: of that error, by task.
    """
    with contest.spending("data"):
        args = (
            normal(0, (shape.rows, shape.classes), 3.0),
            labels(1, shape.rows, shape.classes),
        )
        jax.block_until_ready(args)
    taking_part = list(entries(*args))
    copying = compiling("a copy", lambda x, y: jnp.copy(x), args)
    copy, started, truth = contest.prepare(
        copying, (entry for _, entry in taking_part), lambda: Truth.of(*args)
    )
    size = shape.rows * shape.classes * BITS.itemsize
    tasks = {id(entry): task for task, entry in taking_part}
    lines = []
    for task, times in ((VALUE, 1), (GRADIENT, 2)):
        if task not in tasks.values():
            continue
        found, seconds = contest.compete(
            name,
            task,
            (begun for begun in started if tasks[id(begun[0])] == task),
            args,
            lambda result, task=task: error(truth, result, task),
            tolerance[task],
            copy,
        )
        ceiling = 2 * size / seconds
        for line in found:
            if line.seconds:
                line.gigabytes_per_second = times * size / line.seconds / 1e9
                line.share = times * size / line.seconds / ceiling
        lines += found
        lines.append(
            Line(name, task, "a copy", "measured", "", seconds, None, ceiling / 1e9)
        )
    return lines
