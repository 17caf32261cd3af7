"""The picture of a loss: its value and its gradient along a cut, by the library."""

import io
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import pyplot as plt

POINTS = 401
FLAT = 0.01
COLOURS = ("#1f5f9e", "#c8641b", "#3a8f57", "#8a5aa8")
# The browser has fonts; the same picture in every build.
STYLE: Mapping[str, Any] = {"svg.fonttype": "none", "svg.hashsalt": "jaxloss"}


def along(cut) -> tuple[np.ndarray, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """The points of a cut; by legend: losses and their derivatives."""
    points = jnp.linspace(cut.low, cut.high, POINTS, dtype=jnp.float32)

    @jax.jit
    def run(points):
        return {
            legend: jax.vmap(jax.value_and_grad(curve))(points)
            for legend, curve in cut.curves.items()
        }

    # JAX sorts the keys; a legend has an order of its own.
    found = jax.tree.map(np.asarray, run(points))
    for legend, both in found.items():
        if not all(np.isfinite(numbers).all() for numbers in both):
            raise ValueError(f"{cut.what}, {legend!r}: the cut leaves what is finite")
    return np.asarray(points), {legend: found[legend] for legend in cut.curves}


def draw(cut) -> bytes:
    """An SVG: the loss on the left, its derivative on the right."""
    points, found = along(cut)
    with plt.rc_context(dict(STYLE)):
        figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.5), layout="constrained")
        for axis, which, title in ((axes[0], 0, "loss"), (axes[1], 1, "gradient")):
            for colour, legend in zip(COLOURS, cut.curves, strict=False):
                axis.plot(points, found[legend][which], color=colour, lw=1.8)
            axis.axhline(0, color="#999999", lw=0.8, zorder=0)
            low, high = axis.get_ylim()
            if high - low < FLAT:  # rounding is not to be looked at
                axis.set_ylim(low - 1, high + 1)
            axis.set_title(title, fontsize=10, loc="left")
            axis.grid(color="#ececec")
            axis.spines[["top", "right"]].set_visible(False)
            axis.tick_params(labelsize=8)
        figure.supxlabel(cut.what, fontsize=9)
        if len(cut.curves) > 1:
            axes[0].legend(list(cut.curves), frameon=False, fontsize=8)
        written = io.BytesIO()
        figure.savefig(written, format="svg", metadata={"Date": None})
        plt.close(figure)
    return written.getvalue()
