"""How far the programs of `benchmarks.kernels` are from the ceiling, as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.patches import Patch

from benchmarks.contest import Line
from benchmarks.kernels_results import Group, figure, groups, untimed

# By how the contender's name begins.
COLOURS = {
    "jaxloss": "#1f5f9e",
    "optax": "#c8641b",
    "jax.numpy": "#e0a878",
    "tokamax": "#5b8c5a",
    "": "#8a8a8a",
}
LABELS = {**{name: name for name in COLOURS}, "": "kernels of torch's world"}
GAP = 1.9
"""Between two groups, in bars."""
EDGE = 116
"""Where the axis ends."""
CLOSE = 90
"""To the ceiling, in per cent."""


def _family(line: Line) -> str:
    return next(name for name in COLOURS if line.contender.startswith(name))


def _columns(shown: Sequence[Group]) -> list[list[Group]]:
    """Two of about the same height, in the order of the groups."""
    heights = [len(group.lines) + GAP for group in shown]
    total, before = sum(heights), 0.0
    columns: list[list[Group]] = [[], []]
    for group, height in zip(shown, heights, strict=True):
        columns[before + height / 2 > total / 2].append(group)
        before += height
    return [column for column in columns if column]


def _draw_column(axes: Any, column: Sequence[Group]) -> None:
    at, ticks, names = 0.0, [], []
    for group in column:
        title = f"{group.problem}: {group.task}"
        axes.text(0, at, title, fontsize=9, fontweight="bold", va="bottom")
        axes.text(0, at + 0.05, group.limit, fontsize=6.5, color="#555555", va="top")
        at += 1.1
        for line in group.lines:
            # What a slow ceiling puts beyond the edge ends there, with what is said.
            share = min(100 * (line.share or 0.0), EDGE)
            said = untimed(line)
            if line.seconds:
                said = f"{figure(1e3 * line.seconds)} ms"
            axes.barh(at, share, height=0.78, color=COLOURS[_family(line)], zorder=2)
            # Beside its bar, or within one that reaches the line.
            inside = {"x": share - 1, "ha": "right", "color": "white"}
            where = inside if share > CLOSE else {"x": share + 1}
            axes.text(y=at, s=said, fontsize=7, va="center", zorder=3, **where)
            ticks.append(at)
            names.append(line.contender)
            at += 1
        at += GAP - 1.1
    axes.set_yticks(ticks, names, fontsize=7)
    axes.set_ylim(at, -1.0)
    axes.axvline(100, color="#333333", lw=1.2, zorder=1)
    axes.set_xlim(0, EDGE)
    axes.set_xticks(range(0, 101, 20), [f"{x} %" for x in range(0, 101, 20)])
    axes.grid(axis="x", color="#e4e4e4", zorder=0)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel("of a copy's bandwidth, or of a matmul's speed", fontsize=8)


def draw(lines: Sequence[Line], header: dict[str, Any], path: Path) -> None:
    """A bar a program; what is not timed has none, and says why."""
    shown = list(groups(lines))
    columns = _columns(shown)
    highest = max(
        (sum(len(g.lines) + GAP for g in column) for column in columns), default=1.0
    )
    figures, axes = plt.subplots(
        *(1, max(len(columns), 1)),
        figsize=(5.6 * max(len(columns), 1), 1.6 + 0.215 * highest),
        squeeze=False,
        layout="constrained",
    )
    for cell, column in zip(axes[0], columns, strict=False):
        _draw_column(cell, column)
    families = {_family(line) for group in shown for line in group.lines}
    figures.legend(
        [Patch(color=COLOURS[name]) for name in COLOURS if name in families],
        [LABELS[name] for name in COLOURS if name in families],
        loc="outside lower center",
        ncols=len(COLOURS),
        frameon=False,
        fontsize=8,
    )
    where = (
        f"{header['device']}, JAX {header['versions']['jax']}, {header['date'][:10]}"
    )
    figures.suptitle(f"{where}: share of the ceiling (100 %)", fontweight="bold")
    path.parent.mkdir(parents=True, exist_ok=True)
    figures.savefig(path, dpi=130)
    plt.close(figures)
