"""The speed-ups as a picture."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt

from benchmarks.results import Result, geometric_mean

COLOURS = {
    ("forward", "float32"): "#7fb2e5",
    ("forward", "bfloat16"): "#1f5f9e",
    ("value_and_grad", "float32"): "#f2b37a",
    ("value_and_grad", "bfloat16"): "#c8641b",
}
LABELS = {
    ("forward", "float32"): "value, float32",
    ("forward", "bfloat16"): "value, bfloat16",
    ("value_and_grad", "float32"): "value and gradient, float32",
    ("value_and_grad", "bfloat16"): "value and gradient, bfloat16",
}


def draw(results: Sequence[Result], path: Path) -> None:
    """One dot a case, on a logarithmic axis; right of the line, ours is faster."""
    rows = [r for r in results if r.ratio is not None]
    by_loss: dict[str, list[float]] = {}
    for r in rows:
        by_loss.setdefault(r.loss, []).append(r.ratio or 1.0)
    order = sorted(by_loss, key=lambda loss: geometric_mean(by_loss[loss]))
    height = {loss: i for i, loss in enumerate(order)}
    figure, axes = plt.subplots(figsize=(10, 1.2 + 0.34 * max(len(order), 1)))
    for index, (key, colour) in enumerate(COLOURS.items()):
        mine = [r for r in rows if (r.mode, r.dtype) == key]
        axes.scatter(
            [r.ratio or 1.0 for r in mine],
            [height[r.loss] + 0.16 * (index - 1.5) for r in mine],
            color=colour,
            label=LABELS[key],
            s=30,
            edgecolors="white",
            linewidths=0.6,
            zorder=3,
        )
    for loss, ratios in by_loss.items():
        mean, at = geometric_mean(ratios), height[loss]
        axes.plot([mean, mean], [at - 0.38, at + 0.38], color="#333333", lw=2, zorder=2)
    axes.axvline(1.0, color="#888888", lw=1.2, zorder=1)
    axes.set_xscale("log")
    ticks = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
    low, high = axes.get_xlim()
    shown = [t for t in ticks if low <= t <= high]
    axes.set_xticks(shown, [f"{t:g}x" for t in shown])
    axes.minorticks_off()
    axes.set_yticks(range(len(order)), order, family="monospace", fontsize=9)
    axes.set_ylim(-0.6, max(len(order), 1) - 0.4)
    axes.grid(axis="x", color="#e4e4e4", zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("optax time / jaxloss time (bar: geometric mean of the loss)")
    axes.set_title("Speed against optax.losses", loc="left", fontweight="bold")
    if rows:
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.3, -0.9 / figure.get_figheight()),
            ncols=4,
            frameon=False,
            fontsize=9,
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)
