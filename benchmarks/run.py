"""The command line of the benchmarks."""

import argparse
import datetime
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import display, results
from benchmarks.inputs import SHAPES
from benchmarks.measure import TWIN, measure
from benchmarks.registry import DTYPES, MODES, Case, cases

# Wide enough for the table where the output is a file or a pipe.
PIPE_WIDTH = 170


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time and memory of every loss against its twin in optax.losses.",
    )
    add = parser.add_argument
    add("--only", metavar="REGEX", help="cases whose loss/shape/dtype/mode matches")
    add("--mode", choices=(*MODES, "all"), default="all")
    add("--dtype", choices=(*DTYPES, "all"), default="all")
    add("--shape", choices=tuple(SHAPES), nargs="+", default=tuple(SHAPES))
    add("--small", action="store_true", help="tiny shapes, to try the program out")
    add("--repeats", type=int, metavar="N", help="pairs a case; default: by --budget")
    add("--budget", type=float, default=1.0, metavar="S", help="seconds a case")
    add("--check", action="store_true", help="check the answers, time nothing")
    add("--json", type=Path, metavar="PATH", help="write the results there")
    add("--plot", type=Path, metavar="PNG", help="draw the speed-ups there")
    add("--list", action="store_true", help="name the cases and stop")
    add(
        "--ours",
        choices=("jaxloss", "optax"),
        default="jaxloss",
        help="what is measured; optax against itself shows the noise floor",
    )
    options = parser.parse_args(argv)
    if options.repeats is not None and options.repeats < 1:
        parser.error("--repeats must be at least 1")
    return options


def plan(options: argparse.Namespace) -> list[Case]:
    modes = MODES if options.mode == "all" else (options.mode,)
    dtypes = DTYPES if options.dtype == "all" else (options.dtype,)
    found = cases(modes, dtypes, tuple(options.shape), options.small)
    pattern = re.compile(options.only or "")
    return [case for case in found if pattern.search(case.name)]


def run(
    todo: Sequence[Case], options: argparse.Namespace, console: Console
) -> list[results.Result]:
    module = TWIN if options.ours == "optax" else options.ours
    found = []
    with display.progress(console) as progress:
        task = progress.add_task("benchmarks", total=len(todo))
        for case in todo:
            progress.update(task, description=case.name)
            try:
                result = measure(
                    case,
                    module=module,
                    budget=options.budget,
                    repeats=options.repeats,
                    timed=not options.check,
                )
            except Exception as failure:
                # One broken case must not lose an hour of others; it is listed, and
                # the exit status says so.
                note = f"{type(failure).__name__}: {failure}".splitlines()[0]
                result = results.Result.about(case).but(note=note[:300])
            found.append(result)
            progress.advance(task)
        progress.update(task, description="benchmarks")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for. 0 when every case has a right answer."""
    options = arguments(argv)
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    todo = plan(options)
    if options.list:
        for case in todo:
            console.print(case.name, highlight=False)
        return 0
    if not todo:
        console.print("[bold red]no case matches[/]")
        return 2
    found = run(todo, options, console)
    # By loss, not in the order they ran, which only spares drawing inputs twice.
    found.sort(key=lambda r: (r.loss, list(SHAPES).index(r.shape), r.dtype, r.mode))
    display.show(console, found)
    if options.json:
        given = sys.argv[1:] if argv is None else argv
        command = shlex.join(["python", "-m", "benchmarks", *given])
        now = datetime.datetime.now(datetime.UTC)
        results.write(
            options.json, found, results.environment(options.ours, command, now)
        )
        console.print(f"results: {options.json}")
    if options.plot:
        from benchmarks.plot import draw

        draw(found, options.plot)
        console.print(f"picture: {options.plot}")
    return 1 if results.summarise(found).not_measured else 0


if __name__ == "__main__":
    raise SystemExit(main())
