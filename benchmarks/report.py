"""The README's table of speed and memory, made from committed results.

python -m benchmarks.report [RESULTS] [--write | --check]
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.display import memory
from benchmarks.inputs import SHAPES
from benchmarks.registry import DTYPES, MODES
from benchmarks.results import Result

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
COMMITTED = Path(__file__).resolve().parent / "results"
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"


def newest(folder: Path = COMMITTED, device: str = "cpu") -> Path:
    """The last results of a device: the date is in the name."""
    found = sorted(folder.glob(f"{device}-*.json"))
    if not found:
        raise FileNotFoundError(
            f"no {device}-*.json in {folder}: "
            f"run python -m benchmarks --json {folder.name}/{device}-<date>.json"
        )
    return found[-1]


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
    versions = ", ".join(f"{k} {v}" for k, v in header["versions"].items())
    lines = [
        f"{header['platform'].upper()}: {header['cpu']}, {header['cores']} cores; "
        f"{versions}, Python {header['python']}; {header['date'][:10]}. "
        f"Made by `{header['command']}`.",
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


def insert(readme: str, section: str) -> str:
    """`readme` with what stands between the markers replaced."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README lacks the markers {BEGIN} and {END}, in order")
    return f"{before}{BEGIN}\n{section}\n{END}{after}"


def main(
    argv: Sequence[str] | None = None,
    readme: Path = README,
    say: Callable[[str], object] = print,
) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report")
    parser.add_argument("results", nargs="?", type=Path, help="default: the newest")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--write", action="store_true", help="put it into the README")
    what.add_argument("--check", action="store_true", help="fail if it is not there")
    options = parser.parse_args(argv)
    try:
        section = render(*results.read(options.results or newest()))
        if not (options.write or options.check):
            say(section)
            return 0
        old = readme.read_text()
        new = insert(old, section)
    except (OSError, ValueError) as problem:
        print(f"benchmarks.report: {problem}", file=sys.stderr)
        return 2
    if options.write:
        readme.write_text(new)
    elif new != old:
        say("README.md is not what the results say: run with --write")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
