"""Programs against each other on an accelerator: checked, then timed in turn."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxloss._core.types import Implementation

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
    names: dict[str, Implementation] = {"tpu": "mosaic_tpu", "gpu": "mosaic_gpu"}
    return names.get(jax.default_backend(), "interpret"), "xla"


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
