"""What `benchmarks.kernels` shows: a table of each problem, the targets, a roofline."""

import datetime
from collections.abc import Sequence
from pathlib import Path

import jax
from rich.table import Table

from benchmarks.contest import Line

TARGETS: tuple[tuple[str, str, str], ...] = (
    ("T1", "head, llama3, 4096", "H200: at most 18.0 ms"),
    ("T2", "head, llama3, 8192", "H200: at most 36.5 ms"),
    ("T3", "head, llama3, 32768", "H200: at most 146 ms"),
    ("T4", "head", "1.4 times tokamax, xla, at a third of its temporaries"),
    ("T5", "head", "2.7 times tokamax, chunked_xla"),
    ("T6", "head, llama3, 4096", "7.5 times Liger"),
    ("T7", "head", "1.4 times cut-cross-entropy, exact"),
    ("T8", "head, llama3, 8192", "at most 2,040 MiB of temporaries"),
    ("T9", "head, llama3, 8192", "with least memory: 256 MiB and the float32 states"),
    ("T10", "llama3", "H200, value and gradient: at most 1.25 ms"),
    ("T11", "llama3", "1.6 times optax, value and gradient"),
    ("T12", "every problem", "error of the value at most 1e-5"),
    ("T13", "head", "error of the gradients at most 3e-3, whatever the chunks"),
    ("T14", "tests/test_kernels.py", "every transformation"),
    ("T15", "several devices", "90 % of the speed of one, vocabulary over 8"),
    ("T16", "head", "TPU: 1.10 times tokamax's kernel"),
    ("T17", "head", "TPU, recomputing: no slower than tokamax"),
    ("T18", "JSD, llama3", "3.5 times Liger at half its memory"),
    ("T19", "head, JSD, llama3", "3 times Liger, no float32 array of losses"),
)


def table(title: str, lines: Sequence[Line]) -> Table:
    shown = Table(title=f"{title}, in bfloat16", title_justify="left")
    for heading in ("task", "program"):
        shown.add_column(heading, overflow="fold")
    for heading in ("ms", "GB/s or TFLOP/s", "of the ceiling", "temporaries", "error"):
        shown.add_column(heading, justify="right", overflow="fold")
    for line in lines:
        speed = ""
        if line.gigabytes_per_second:
            speed = f"{line.gigabytes_per_second:,.1f} GB/s"
        elif line.teraflops:
            speed = f"{line.teraflops:,.2f} TFLOP/s"
        taken = f"{line.status} {line.note}".strip()
        if line.seconds:
            taken = f"{1e3 * line.seconds:,.3f}"
        shown.add_row(
            line.task,
            line.contender,
            taken,
            speed,
            "" if line.share is None else f"{line.share:.0%}",
            "" if line.temp_bytes is None else f"{line.temp_bytes / 2**20:,.0f} MiB",
            "" if line.error is None else f"{line.error:.1e}",
        )
    return shown


def targets(lines: Sequence[Line]) -> Table:
    """What is aimed at, and what of ours was measured beside it."""
    shown = Table(title="Targets, and what was measured of ours in this run")
    for heading in ("", "problem", "target", "measured"):
        shown.add_column(heading, overflow="fold")
    for name, problem, target in TARGETS:
        ours = [
            f"{line.contender}: {1e3 * line.seconds:,.2f} ms"
            for line in lines
            if line.problem == problem
            and line.seconds
            and line.task != "value"
            and line.contender.startswith("jaxloss")
        ]
        shown.add_row(name, problem, target, "\n".join(ours) or "not in this run")
    return shown


def draw(lines: Sequence[Line], path: Path) -> None:
    """A roofline: how far from what the device reached in the same run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [line for line in lines if line.share is not None]
    labels = [f"{line.contender}\n{line.problem}, {line.task}" for line in rows]
    figure, axes = plt.subplots(figsize=(9, 1 + 0.45 * max(len(rows), 1)))
    colours = [
        "#1f5f9e" if line.contender.startswith("jaxloss") else "#c8641b"
        for line in rows
    ]
    axes.barh(labels, [100 * (line.share or 0.0) for line in rows], color=colours)
    axes.axvline(100, color="#333333", lw=1.2)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlabel("% of a copy's bandwidth, or of a matmul's speed, in the same run")
    kind = jax.devices()[0].device_kind
    axes.set_title(f"{kind}, {datetime.date.today().isoformat()}", loc="left")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
