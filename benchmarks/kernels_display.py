"""What `benchmarks.kernels` shows while it runs: tables of problems, and targets."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from benchmarks import kernels_targets
from benchmarks.contest import Line
from benchmarks.kernels_results import error, refusal, share, speed, temporaries


def table(title: str, lines: Sequence[Line]) -> Table:
    shown = Table(title=f"{title}, in bfloat16", title_justify="left")
    for heading in ("task", "program"):
        shown.add_column(heading, overflow="fold")
    for heading in ("ms", "GB/s or TFLOP/s", "of the ceiling", "temporaries", "error"):
        shown.add_column(heading, justify="right", overflow="fold")
    for line in lines:
        taken = f"{1e3 * line.seconds:,.3f}" if line.seconds else refusal(line)
        shown.add_row(
            *(line.task, line.contender, taken, speed(line)),
            *(share(line), temporaries(line), error(line)),
        )
    return shown


def targets(lines: Sequence[Line], header: dict[str, Any]) -> Table:
    """What is aimed at, and what of ours was measured beside it."""
    shown = Table(title="Targets, and what was measured of ours in this run")
    for heading in kernels_targets.HEADINGS:
        shown.add_column(heading, overflow="fold")
    for cells in kernels_targets.cells(lines, header):
        shown.add_row(*cells)
    return shown
