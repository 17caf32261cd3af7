"""The table of speed and memory, as Markdown."""

from collections.abc import Sequence
from typing import Any

from benchmarks import results
from benchmarks.inputs import SHAPES
from benchmarks.registry import DTYPES, MODES
from benchmarks.results import Result
from benchmarks.units import memory


def ratio_cell(rows: Sequence[Result]) -> str:
    """Geometric mean over shapes, and the least where there are several."""
    ratios = [r.ratio for r in rows if r.ratio is not None]
    if not ratios:
        return "only ours" if any(r.ours for r in rows) else ""
    mean = f"{results.geometric_mean(ratios):.2f}"
    return f"{mean} ({min(ratios):.2f})" if len(ratios) > 1 else mean


def memory_cell(rows: Sequence[Result]) -> str:
    """Temporaries of the case in which optax needs the most of them."""
    best: tuple[int, int] | None = None
    for r in rows:
        if r.ours is None or r.theirs is None:
            continue
        if best is None or r.theirs.temp_bytes > best[1]:
            best = (r.ours.temp_bytes, r.theirs.temp_bytes)
    return f"{memory(best[0])} / {memory(best[1])}" if best else ""


def summary_lines(rows: Sequence[Result], header: dict[str, Any]) -> list[str]:
    found = results.summarise(rows)
    lines = [
        results.conditions(header),
        "",
        f"**Geometric mean over {found.compared} cases: optax takes "
        f"{found.geometric_mean:.2f} times as long as jaxloss.** "
        f"Least: {found.minimum:.2f} (`{found.slowest}`). "
        f"{len(found.slow)} cases under {results.SLOW}; "
        f"{len(found.more_memory)} in which jaxloss needs more temporary memory.",
    ]
    if found.not_measured:
        lines += ["", f"Not measured: {'; '.join(found.not_measured)}."]
    return lines


def render(rows: Sequence[Result], header: dict[str, Any]) -> str:
    """The section as Markdown. Depends on its arguments alone."""
    short = {"float32": "f32", "bfloat16": "bf16"}
    verb = {"forward": "value", "value_and_grad": "value and gradient"}
    columns = [
        (f"{verb[mode]}, {short[dtype]}", mode, dtype)
        for mode in MODES
        for dtype in DTYPES
    ]
    heads = ["loss", "shapes", *(c[0] for c in columns), "temporaries, ours / optax"]
    lines = [*summary_lines(rows, header), ""]
    lines.append("| " + " | ".join(heads) + " |")
    lines.append("| --- | --- |" + " ---: |" * (len(heads) - 2))
    for loss in sorted({r.loss for r in rows}):
        mine = [r for r in rows if r.loss == loss]
        shapes = [name for name in SHAPES if any(r.shape == name for r in mine)]
        cells = [
            ratio_cell([r for r in mine if (r.mode, r.dtype) == (mode, dtype)])
            for _, mode, dtype in columns
        ]
        row = [f"`{loss}`", ", ".join(shapes), *cells, memory_cell(mine)]
        lines.append("| " + " | ".join(row) + " |")
    used = {r.shape: r.dims for r in rows}
    shapes = "; ".join(
        f"{name} {'x'.join(map(str, used[name]))} ({SHAPES[name].origin})"
        for name in SHAPES
        if name in used
    )
    lines += [
        "",
        "Numbers are optax's time divided by ours, the geometric mean over the shapes "
        "and in brackets the least. Temporaries are what the compiler sets aside "
        "beside operands and results, in the case where optax needs most. The answer "
        "of every case was checked against float64 before it was timed.",
        "",
        f"Shapes: {shapes}.",
    ]
    return "\n".join(lines)
