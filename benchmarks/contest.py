"""Programs against each other on an accelerator: checked, then timed in turn."""

import functools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxloss._core.types import Implementation
from jaxloss._kernels import chips

BITS = jnp.dtype("bfloat16")
"""In which everything is given."""


@dataclass
class Line:
    """One program on one problem. `status`: measured, wrong, refuses or checked."""

    problem: str
    task: str
    contender: str
    status: str = "failed"
    note: str = ""
    seconds: float | None = None
    spread_seconds: float | None = None
    gigabytes_per_second: float | None = None
    """Of what must be moved: the logits once, and their gradient once."""
    teraflops: float | None = None
    """2 · 3 · tokens · hidden · classes a second, whatever is computed."""
    share: float | None = None
    """Of the copy's, or the matmul's, in the same run."""
    temp_bytes: int | None = None
    error: float | None = None


@dataclass(frozen=True)
class Contender:
    """A program that someone may run, and what it is called with."""

    name: str
    run: Callable[..., Any]
    """Waits for its result, and gives it as NumPy can read it."""
    temp_bytes: int | None = None


def implementations() -> tuple[Implementation, Implementation]:
    """Ours on this platform, and XLA."""
    return chips.of_platform(jax.default_backend()) or "interpret", "xla"


def compiled(name: str, function: Callable[..., Any], args: Sequence[Any]) -> Contender:
    """A JAX program. What it is given it keeps: nothing is donated, so that a gradient
    written over the logits costs a copy here, that it does not cost in training."""
    program = jax.jit(function).lower(*args).compile()
    memory = program.memory_analysis()
    temporaries = None if memory is None else memory.temp_size_in_bytes

    def run(*args: Any) -> Any:
        return jax.block_until_ready(program(*args))

    return Contender(name, run, temporaries)


def timed(
    contenders: Sequence[Contender], args: Sequence[Any], rounds: int, budget: float
) -> dict[str, list[float]]:
    """Samples of all, taken in turn, forth and back."""
    samples: dict[str, list[float]] = {c.name: [] for c in contenders}
    start = time.perf_counter()
    for turn in range(rounds):
        for contender in contenders if turn % 2 == 0 else contenders[::-1]:
            begin = time.perf_counter()
            contender.run(*args)
            samples[contender.name].append(time.perf_counter() - begin)
        if turn >= 2 and time.perf_counter() - start > budget:
            break
    return samples


def compete(
    problem: str,
    task: str,
    programs: Iterator[tuple[str, Callable[[], Contender]]],
    args: Sequence[Any],
    error_of: Callable[[Any], float],
    tolerance: float,
    ceiling: Contender,
    rounds: int,
    budget: float,
) -> tuple[list[Line], float]:
    """Checks, and times what is right; also the ceiling's seconds."""
    lines, right = [], []
    for name, make in programs:
        line = Line(problem, task, name)
        lines.append(line)
        try:
            contender = make()
            line.error = error_of(contender.run(*args))
        except Exception as refusal:  # whatever another library raises is its answer
            line.status = "refuses"
            line.note = (str(refusal).splitlines() or [type(refusal).__name__])[0][:100]
            continue
        line.temp_bytes = contender.temp_bytes
        if not line.error <= tolerance:
            line.status, line.note = "wrong", f"by {line.error:.1e}: not timed"
            continue
        line.status = "measured"
        right.append(contender)
    samples = timed([*right, ceiling], args, rounds, budget)
    for line in lines:
        taken = samples.get(line.contender)
        if taken and line.status == "measured":
            line.seconds = statistics.median(taken)
            line.spread_seconds = max(taken) - min(taken)
    return lines, statistics.median(samples[ceiling.name])


def of_torch(label: str, make: Callable[[], Callable[[], Any]]) -> Contender:
    """It has tensors of its own, on the same device."""
    run = make()
    return Contender(label, lambda *args: run())


def of_heads(
    name: str,
    losses: Iterator[tuple[str, Callable[..., Any]]],
    others: Iterator[tuple[str, Callable[[], Callable[[], Any]]]],
    args: Sequence[Any],
    part: Sequence[Any],
    error_of: Callable[[Any], float],
    tolerance: float,
    matmuls: float,
    rounds: int,
    budget: float,
) -> list[Line]:
    """Losses of heads, value and both gradients, beside one matmul of the first head.

    Args:
      name: of the problem.
      losses: JAX functions of `args`, by contender.
      others: what makes programs with arrays of their own.
      args: hidden states and kernel first.
      part: the same of few tokens, on which the answers are checked: in float64 all of
        the value would take minutes.
      error_of: of a result on that part.
      tolerance: of that error.
      matmuls: how many of the first head's size must be done.
      rounds, budget: of `timed`.
    """

    def checked(loss: Callable[..., Any], label: str) -> Contender:
        both = jax.value_and_grad(loss, (0, 1))
        error = error_of(compiled(label, both, part).run(*part))
        if not error <= tolerance:
            raise ArithmeticError(f"wrong by {error:.1e}")
        whole = compiled(label, both, args)

        def run(*args: Any) -> Any:
            return whole.run(*args), error

        return Contender(label, run, whole.temp_bytes)

    programs: list[tuple[str, Callable[[], Contender]]] = [
        (label, functools.partial(checked, loss, label)) for label, loss in losses
    ]
    programs += [
        (label, functools.partial(of_torch, label, make)) for label, make in others
    ]
    matmul = compiled("matmul", lambda h, w, *rest: jnp.matmul(h, w), args)
    lines, seconds = compete(
        name,
        "value and both gradients",
        iter(programs),
        args,
        lambda result: result[1],
        tolerance,
        matmul,
        rounds,
        budget,
    )
    (tokens, hidden), classes = args[0].shape, args[1].shape[1]
    flops = 2 * tokens * hidden * classes
    for line in lines:
        if line.seconds:
            line.teraflops = matmuls * flops / line.seconds / 1e12
            line.share = matmuls * seconds / line.seconds
    ceiling = Line(name, "one matmul", "a matmul", "measured", "", seconds)
    ceiling.teraflops = flops / seconds / 1e12
    return [*lines, ceiling]
