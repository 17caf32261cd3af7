"""What the kernels are to reach, and what of it a run of `benchmarks.kernels` shows."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.contest import Line
from benchmarks.kernels_results import (
    LEAST_MEMORY,
    Group,
    fastest,
    groups,
    is_ours,
    temporaries,
)

HEADINGS = ("", "problem", "target", "measured", "reached")
NOT_HERE = "not in this run"
MIB = 2**20


@dataclass(frozen=True)
class Finding:
    """What was measured of a target on one problem, and whether that is enough."""

    measured: str
    reached: bool


Judge = Callable[[Group], Finding | None]
"""Says nothing of a problem on which it was not measured."""


def _elsewhere(group: Group) -> None:
    """Of targets that other programs than this one look after."""


@dataclass(frozen=True)
class Target:
    """One aim.

    Attributes:
      name: as it is known.
      problem: how the names of its problems begin.
      text: what is aimed at.
      judge: of the value with its gradients, on one of these problems.
      device: the only one for which the figure is meant.
      where: what holds it, if not this program.
      part: what was looked at, if that is not all of it.
    """

    name: str
    problem: str
    text: str
    judge: Judge = _elsewhere
    device: str = ""
    where: str = NOT_HERE
    part: str = ""

    def cells(self, lines: Sequence[Line], header: dict[str, Any]) -> list[str]:
        """A row of the table. On a CPU nothing is reached: no figure means anything."""
        found = {}
        for group in groups(lines):
            if group.problem.startswith(self.problem):
                finding = self.judge(group)
                if finding is not None:
                    found[group.problem] = finding
        several = len(found) > 1
        measured = [
            f"{name}: {finding.measured}" if several else finding.measured
            for name, finding in found.items()
        ]
        reached = ""
        if found and header["platform"] != "cpu" and self.device in header["device"]:
            reached = "no"
            if all(finding.reached for finding in found.values()):
                reached = f"yes, of {self.part}" if self.part else "yes"
        problem = self.problem or "every problem"
        return [
            *(self.name, problem, self.text),
            *("; ".join(measured) or self.where, reached),
        ]


def _with_gradient(group: Group) -> Line | None:
    return None if group.task == "value" else group.ours


def within(most: float) -> Judge:
    """At most so many milliseconds."""

    def judge(group: Group) -> Finding | None:
        ours = _with_gradient(group)
        if ours is None or ours.seconds is None:
            return None
        taken = 1e3 * ours.seconds
        return Finding(f"{taken:.4g} ms ({ours.contender})", taken <= most)

    return judge


def faster(
    least: float, rival: str, share: float | None = None, most: float | None = None
) -> Judge:
    """At least so many times as fast as the fastest of these contenders.

    Args:
      least: their time by ours.
      rival: a regular expression of their names.
      share: the most of their temporaries that ours may need.
      most: the most temporaries that ours may need, in bytes.
    """

    def judge(group: Group) -> Finding | None:
        ours = _with_gradient(group)
        theirs = fastest(
            line for line in group.lines if re.match(rival, line.contender)
        )
        if ours is None or theirs is None or not (ours.seconds and theirs.seconds):
            return None
        ratio = theirs.seconds / ours.seconds
        said, reached = f"{ratio:.2f} times {theirs.contender}", ratio >= least
        if share is not None or most is not None:
            said += f", {temporaries(ours)} to {temporaries(theirs)}"
            mine, limit = ours.temp_bytes or 0, most or 0.0
            if share is not None:
                limit = share * (theirs.temp_bytes or 0)
            reached = reached and mine <= limit
        return Finding(said, reached)

    return judge


def smaller(most: float) -> Judge:
    """At most so many bytes of temporaries, for the one of ours with the least that was
    not asked for that."""

    def judge(group: Group) -> Finding | None:
        sizes = [
            line
            for line in group.lines
            if is_ours(line)
            and line.contender != LEAST_MEMORY
            and line.temp_bytes is not None
        ]
        if group.task == "value" or not sizes:
            return None
        least = min(sizes, key=lambda line: line.temp_bytes or 0)
        said = f"{temporaries(least)} ({least.contender})"
        return Finding(said, (least.temp_bytes or 0) <= most)

    return judge


def lean(most: float, milliseconds: float) -> Judge:
    """At most so many bytes of temporaries, and so long, where the least memory was
    asked for."""

    def judge(group: Group) -> Finding | None:
        for line in group.lines:
            if line.contender == LEAST_MEMORY and line.seconds and line.temp_bytes:
                taken = 1e3 * line.seconds
                return Finding(
                    f"{temporaries(line)}, {taken:.4g} ms",
                    line.temp_bytes <= most and taken <= milliseconds,
                )
        return None

    return judge


def right(most: float, value: bool) -> Judge:
    """An error of at most so much: of the value alone, or of gradients too."""

    def judge(group: Group) -> Finding | None:
        errors = [line.error for line in filter(is_ours, group.lines) if line.error]
        if (group.task == "value") != value or not errors:
            return None
        return Finding(f"{max(errors):.1e}", max(errors) <= most)

    return judge


HEAD, H200 = "head, llama3", "H200"
TARGETS = (
    Target("T1", f"{HEAD}, 4096", "H200: at most 18.0 ms", within(18.0), H200),
    Target("T2", f"{HEAD}, 8192", "H200: at most 36.5 ms", within(36.5), H200),
    Target("T3", f"{HEAD}, 32768", "H200: at most 146 ms", within(146.0), H200),
    Target(
        *("T4", HEAD, "1.4 times tokamax, xla, at a third of its temporaries"),
        faster(1.4, "tokamax, xla", share=1 / 3),
    ),
    Target(
        *("T5", HEAD, "2.7 times tokamax, chunked_xla"),
        faster(2.7, "tokamax, chunked_xla"),
    ),
    Target("T6", f"{HEAD}, 4096", "7.5 times Liger", faster(7.5, "Liger")),
    Target(
        *("T7", HEAD, "1.4 times cut-cross-entropy, exact"),
        faster(1.4, "cut-cross-entropy, exact"),
    ),
    Target(
        *("T8", f"{HEAD}, 8192", "at most 2,040 MiB of temporaries"),
        smaller(2040 * MIB),
    ),
    Target(
        *("T9", f"{HEAD}, 8192"),
        "H200, least memory: 256 MiB and the float32 states, at most 58 ms",
        *(lean((256 + 128) * MIB, 58.0), H200),
    ),
    Target(
        *("T10", "llama3", "H200, value and gradient: at most 1.25 ms"),
        *(within(1.25), H200),
    ),
    Target(
        *("T11", "llama3", "1.6 times optax, value and gradient"),
        faster(1.6, "optax"),
    ),
    Target(
        *("T12", "", "error of the value at most 1e-5"),
        right(1e-5, value=True),
        part="logits",
    ),
    Target(
        *("T13", HEAD, "error of the gradients at most 3e-3, whatever the chunks"),
        right(3e-3, value=False),
        part="one chunk",
    ),
    Target(
        *("T14", "tests/test_kernels.py", "every transformation"),
        where="the tests hold it",
    ),
    Target("T15", "several devices", "90 % of the speed of one, vocabulary over 8"),
    Target(
        *("T16", HEAD, "TPU: 1.10 times tokamax's kernel"),
        faster(1.1, "tokamax, mosaic_tpu"),
        "TPU",
    ),
    Target("T17", HEAD, "TPU, recomputing: no slower than tokamax"),
    Target(
        *("T18", "JSD, llama3", "3.5 times Liger at half its memory"),
        faster(3.5, "Liger", share=1 / 2),
    ),
    Target(
        *("T19", "head, JSD, llama3", "3 times Liger, no float32 array of losses"),
        faster(3.0, "Liger", most=4 * 8192 * 128256 - 1),
    ),
)


def cells(lines: Sequence[Line], header: dict[str, Any]) -> list[list[str]]:
    """A row for each target."""
    return [target.cells(lines, header) for target in TARGETS]
