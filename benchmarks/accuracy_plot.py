"""The errors that `benchmarks.accuracy` found, as a heat map."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import colors, pyplot as plt

from benchmarks.accuracy_results import DTYPES, OURS, QUANTITIES, TWIN, Row
from tests.case import SCALES

LOW, HIGH = 1e-8, 1.0


def grid(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Worst errors, and which are outside: a line a row, a column a measurement."""
    keys = [f"{d} {s} {q}" for d in DTYPES for q in QUANTITIES for s in SCALES]
    errors = np.full((len(rows), len(keys)), np.nan)
    outside = np.zeros(errors.shape, bool)
    for i, row in enumerate(rows):
        for j, key in enumerate(keys):
            found = row.found.get(key)
            if found is not None:
                errors[i, j] = HIGH if found.worst is None else found.worst
                outside[i, j] = bool(found.wrong)
    return np.clip(errors, LOW, HIGH), outside


def heat(axes: Any, rows: Sequence[Row], title: str) -> Any:
    """One library: colour is the worst error, a cross what is outside the contract."""
    errors, outside = grid(rows)
    norm = colors.LogNorm(LOW, HIGH)
    shown = axes.imshow(errors, aspect="auto", cmap="viridis_r", norm=norm)
    y, x = np.nonzero(outside)
    axes.plot(x, y, "x", color="#e02020", markersize=2.6, markeredgewidth=0.7)
    wide, block = len(SCALES), len(SCALES) * len(QUANTITIES)
    starts = range(0, errors.shape[1], wide)
    axes.set_xticks(
        [start + (wide - 1) / 2 for start in starts],
        [*QUANTITIES] * len(DTYPES),
        rotation=90,
        fontsize=7,
    )
    for start in starts:
        bold = start % block == 0
        axes.axvline(start - 0.5, color="white", lw=2.5 if bold else 0.8)
    for i, dtype in enumerate(DTYPES):
        place = ((i + 0.5) / len(DTYPES), 1.0)
        axes.annotate(
            *(dtype, place, (0, 3)),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set_title(title, fontsize=10, fontweight="bold", pad=16)
    axes.set_facecolor("#eeeeee")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return shown


def draw_side_by_side(
    rows: Sequence[Row], path: Path, keep: Callable[[Row], bool]
) -> None:
    """Ours, and where a twin was measured optax beside it."""
    twins = {row.row: row for row in rows if row.library == TWIN and keep(row)}
    ours = [row for row in rows if row.library == OURS and row.row in twins]
    height = 1.9 + 0.155 * max(len(ours), 3)
    figure, axes = plt.subplots(1, 2, figsize=(12, height), layout="constrained")
    heat(axes[0], ours, "jaxloss")
    theirs = [twins[row.row] for row in ours]
    shown = heat(axes[1], theirs, "optax (grey: no twin, or refuses)")
    names = [row.row for row in ours]
    axes[0].set_yticks(range(len(names)), names, fontsize=7, family="monospace")
    axes[1].set_yticks([])
    figure.colorbar(
        shown,
        ax=axes,
        location="bottom",
        # The same on paper, whatever the height.
        fraction=0.3 / height,
        pad=0.2 / height,
        aspect=50,
        shrink=0.6,
        label="worst relative error (cross: outside the contract); "
        "in each column the scales " + ", ".join(SCALES),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw(rows: Sequence[Row], path: Path) -> None:
    """All rows; beside it, in `<name>-optax.png`, only those that have a twin."""
    draw_side_by_side(rows, path, lambda row: True)
    if any(row.twin != "no twin" for row in rows):
        beside = path.with_name(f"{path.stem}-optax{path.suffix}")
        draw_side_by_side(rows, beside, lambda row: row.twin != "no twin")
