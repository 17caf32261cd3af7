"""Temporary memory of a linear head's cross entropy against the number of tokens.

    python -m benchmarks.memory [--target cpu h100 ...] [--only REGEX]
        [--json PATH] [--plot PNG]

Value and both gradients of the mean, for the fused head and for optax on full logits.
Nothing is run and nothing is timed: the figures are what the compiler sets aside beside
operands and results, and the same on every machine. The accelerators of
`tests/verify/targets.py` need not be there, only their compilers
(`pip install jaxloss[verify]`).
"""

import argparse
import datetime
import importlib
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import jaxloss
from benchmarks.heads import full_logits, least_memory
from benchmarks.measure import plain_jax
from benchmarks.memory_results import (
    FULL,
    HEADS,
    OURS,
    Line,
    cells,
    panels,
    read,
    write,
)
from benchmarks.results import environment

TOKENS = (1024, 2048, 4096, 8192, 16384, 32768)
HERE = "cpu"
CONTENDERS: dict[str, Callable[..., jax.Array]] = {
    OURS: jaxloss.linear_softmax_cross_entropy,
    "jaxloss, class_chunk_size": least_memory,
    FULL: full_logits,
    "optax, jax.checkpoint": jax.checkpoint(full_logits),
}


def compiled(target: str, function: Callable[..., Any], shapes: Sequence[Any]) -> Any:
    if target == HERE:
        return jax.jit(function).lower(*shapes).compile()
    targets = importlib.import_module("tests.verify.targets")
    return targets.compiled(target, function, *shapes)


def measure(target: str, name: str, tokens: int, contender: str) -> Line:
    head = HEADS[name]
    dtype = jnp.dtype(head.dtype)
    shapes = (
        jax.ShapeDtypeStruct((tokens, head.hidden), dtype),
        jax.ShapeDtypeStruct((head.hidden, head.classes), dtype),
        jax.ShapeDtypeStruct((tokens,), jnp.int32),
    )
    function = jax.value_and_grad(CONTENDERS[contender], (0, 1))
    with plain_jax():
        memory = compiled(target, function, shapes).memory_analysis()
    return Line(
        *(target, name, tokens, contender),
        memory.temp_size_in_bytes,
        memory.argument_size_in_bytes,
        memory.output_size_in_bytes,
    )


# ------------------------------------------------------------------ reporting


def table(lines: Sequence[Line]) -> Table:
    heads, *rest = cells(lines)
    shown = Table(title="Temporaries of value and both gradients, in MiB")
    for head in heads:
        shown.add_column(head, justify="left" if head in heads[:2] else "right")
    for row in rest:
        shown.add_row(*row)
    return shown


def draw(lines: Sequence[Line], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = panels(lines)
    rows = -(-len(shown) // 2)
    figure, axes = plt.subplots(
        *(rows, min(len(shown), 2)),
        figsize=(4.6 * min(len(shown), 2), 3.4 * rows),
        squeeze=False,
        layout="constrained",
    )
    looks = (("#1f5f9e", "o"), ("#7fb2e5", "v"), ("#c8641b", "s"), ("#8a8a8a", "x"))
    styles = dict(zip(CONTENDERS, looks, strict=True))
    for cell, ((target, name), of) in zip(axes.flat, shown.items(), strict=False):
        for contender, sizes in of.items():
            colour, marker = styles[contender]
            tokens = sorted(sizes)
            gigabytes = [sizes[t] / 2**30 for t in tokens]
            cell.plot(tokens, gigabytes, marker=marker, color=colour, label=contender)
        cell.set_xscale("log", base=2)
        cell.set_yscale("log", base=2)
        ticks = sorted({t for sizes in of.values() for t in sizes})
        cell.set_xticks(ticks, [f"{t:,}" for t in ticks], rotation=45)
        cell.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        cell.grid(color="#e4e4e4")
        cell.set_xlabel("tokens")
        cell.set_title(f"{target}\n{HEADS[name].label}", fontsize=9)
        cell.spines[["top", "right"]].set_visible(False)
    for left in axes[:, 0]:
        left.set_ylabel("temporaries, GiB")
    axes[0][0].legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("--target", nargs="+", default=[HERE], help="cpu, or an accelerator's compiler")
    add("--only", default="", metavar="REGEX", help="target/head/tokens/program")
    add("--results", type=Path, metavar="JSON", help="show these, compile nothing")
    add("--json", type=Path, metavar="PATH")
    add("--plot", type=Path, metavar="PNG")
    options = parser.parse_args(argv)
    if options.results:
        lines, _ = read(options.results)
        Console().print(table(lines))
        if options.plot:
            draw(lines, options.plot)
        return 0
    todo = [
        (target, name, tokens, contender)
        for target in options.target
        for name in HEADS
        for tokens in TOKENS
        for contender in CONTENDERS
        if re.search(options.only, f"{target}/{name}/{tokens}/{contender}")
    ]
    if options.target != [HERE]:
        importlib.import_module("tests.verify.environment").tell()
        jax.config.update("jax_platforms", "cpu")
    console = Console()
    if not todo:
        console.print("[bold red]nothing matches[/]")
        return 2
    lines = []
    with Progress(console=console) as progress:
        task = progress.add_task("programs", total=len(todo))
        for program in todo:
            lines.append(measure(*program))
            progress.advance(task)
    console.print(table(lines))
    if options.json:
        given = sys.argv[1:] if argv is None else argv
        command = shlex.join(["python", "-m", "benchmarks.memory", *given])
        now = datetime.datetime.now(datetime.UTC)
        write(options.json, lines, environment("jaxloss", command, now))
    if options.plot:
        draw(lines, options.plot)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
