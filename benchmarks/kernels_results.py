"""What `benchmarks.kernels` found, from its JSON, and how it is said."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contest import Line

CEILINGS = ("a copy", "a matmul")
"""The contenders that show what the device can do."""
LEAST_MEMORY = "jaxloss, least memory"
"""The fused head with classes in chunks."""


@dataclass(frozen=True)
class Run:
    """What one command found."""

    lines: list[Line]
    header: dict[str, Any]
    problems: dict[str, dict[str, int]]
    """Their sizes, by name."""


def read(path: Path) -> Run:
    body = json.loads(path.read_text())
    lines = [Line(**line) for line in body["results"]]
    return Run(lines, body["environment"], body["problems"])


def is_ours(line: Line) -> bool:
    return line.contender.startswith("jaxloss")


def fastest(lines: Iterable[Line]) -> Line | None:
    """Of those that were timed."""
    return min(
        (line for line in lines if line.seconds),
        key=lambda line: line.seconds or 0.0,
        default=None,
    )


@dataclass(frozen=True)
class Group:
    """The programs of one task on one problem, and what shows the ceiling."""

    problem: str
    task: str
    lines: list[Line]
    ceiling: Line | None

    @property
    def ours(self) -> Line | None:
        """The fastest of ours."""
        return fastest(filter(is_ours, self.lines))

    @property
    def limit(self) -> str:
        """How fast the device was, and what the task would take at that speed."""
        best = fastest(self.lines)
        if self.ceiling is None or best is None or not (best.seconds and best.share):
            return ""
        return (
            f"{self.ceiling.contender} reached {speed(self.ceiling)}, at which this "
            f"takes {figure(1e3 * best.seconds * best.share)} ms"
        )


def groups(lines: Sequence[Line]) -> Iterator[Group]:
    """In the order in which they were run."""
    ceilings = [line for line in lines if line.contender in CEILINGS]
    others = [line for line in lines if line.contender not in CEILINGS]
    for problem, task in dict.fromkeys((line.problem, line.task) for line in others):
        of_problem = [line for line in ceilings if line.problem == problem]
        # A head has one task, and its ceiling another: one matmul.
        of_task = [line for line in of_problem if line.task == task]
        yield Group(
            problem,
            task,
            [line for line in others if (line.problem, line.task) == (problem, task)],
            next(iter(of_task or of_problem), None),
        )


def figure(value: float) -> str:
    """To three digits, or to the unit."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:#.3g}"


def speed(line: Line) -> str:
    if line.gigabytes_per_second:
        return f"{figure(line.gigabytes_per_second)} GB/s"
    return f"{figure(line.teraflops)} TFLOP/s" if line.teraflops else ""


def share(line: Line) -> str:
    return "" if line.share is None else f"{line.share:.0%}"


def temporaries(line: Line) -> str:
    return "" if line.temp_bytes is None else f"{figure(line.temp_bytes / 2**20)} MiB"


def error(line: Line) -> str:
    return "" if line.error is None else f"{line.error:.1e}"


def refusal(line: Line) -> str:
    """Why it was not timed."""
    return f"{line.status} {line.note}".strip()


def untimed(line: Line) -> str:
    """The same where there is little room: what an error says is long."""
    return refusal(line) if line.status == "wrong" else line.status
