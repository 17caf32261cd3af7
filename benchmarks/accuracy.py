"""Every public loss against its formula in 120 digits, and optax's twin beside it.

    python -m benchmarks.accuracy [--only REGEX] [--rows all] [--processes 2]
        [--json PATH] [--markdown PATH] [--plot PNG]

Inputs, formulas and what is allowed are those of the tests: `tests/cases`,
`tests/oracle.py`, `tests/contract.py`. This program measures by how much each result
is off, in three dtypes and on the five scales of the table. The same seeds give the
same inputs in every run.
"""

import argparse
import dataclasses
import datetime
import functools
import multiprocessing
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax.losses
from rich.console import Console
from rich.table import Table

from benchmarks import accuracy_plot, accuracy_report, accuracy_results, display
from benchmarks.accuracy_results import DTYPES, OURS, TWIN, Errors, Row, summary
from benchmarks.measure import plain_jax
from benchmarks.results import environment
from tests import contract, oracle
from tests.case import SCALES, Case
from tests.cases import CASES
from tests.compiled import derivatives, draw, hessian_diagonal, loss_of, signs
from tests.contract import Contract, Judged


def first_rows() -> list[Case]:
    """The row of a loss whose options are the usual ones, for every loss."""
    return list({case.name: case for case in reversed(CASES)}.values())[::-1]


def twin_of(case: Case) -> Case | None:
    """The row with optax's loss in the place of ours, or None."""
    if case.optax is not None:
        return dataclasses.replace(case, call=case.optax, options={}, keywords=())
    public = getattr(optax.losses, case.name, None)
    if public is None or case.call is not None:
        return None
    return dataclasses.replace(case, call=public)


def program(case: Case, hessian: bool) -> Callable[..., tuple[jax.Array, ...]]:
    """All that is measured, compiled once for a dtype."""

    def run(arrays: Any, direction: Any) -> tuple[jax.Array, ...]:
        loss = loss_of(case)
        found = derivatives(loss, case, arrays, direction)
        return (*found, hessian_diagonal(loss, case, arrays)) if hessian else found

    return jax.jit(run)


def judge(
    row: Row,
    at: str,
    exact: Contract,
    results: Sequence[np.ndarray],
    direction: np.ndarray,
) -> None:
    """Value, gradient and tangent, and where it is there the Hessian, into a row."""
    judges: dict[str, Callable[[np.ndarray], Judged]] = {
        "value": exact.value,
        "gradient": exact.gradient,
        "jvp": lambda tangent: exact.tangent(tangent, direction),
        "Hessian": exact.hessian,
    }
    for (what, judged), result in zip(judges.items(), results, strict=False):
        try:
            row.found[f"{at} {what}"] = Errors.of(judged(result))
        except ZeroDivisionError:
            row.notes[f"{at} {what}"] = "the formula divides by zero there"
        except AssertionError as other:  # a twin may give another shape
            row.notes[f"{at} {what}"] = str(other).splitlines()[0][:120]


def measure_dtype(
    case: Case, row: Row, contracts: dict[str, Contract], dtype: str, inputs: Any
) -> None:
    """Fill in what a library gives in one dtype; say so where it gives nothing."""
    for hessian in (True, False) if case.hessian else (False,):
        run, found = program(case, hessian), {}
        try:
            for scale, arrays in inputs.items():
                direction = signs(arrays[case.argument])
                found[scale] = [np.asarray(r) for r in run(arrays, direction)]
        except Exception as refusal:  # whatever another library raises is its answer
            message = f"{type(refusal).__name__}: {refusal}".splitlines()[0][:120]
            row.notes[f"{dtype} Hessian" if hessian else dtype] = message
            continue
        for scale, results in found.items():
            direction = signs(inputs[scale][case.argument])
            judge(row, f"{dtype} {scale}", contracts[scale], results, direction)
        return


def measure(case: Case) -> list[Row]:
    """A row of the table: ours, and its twin."""
    rows = [Row(case.id, case.name, library) for library in (OURS, TWIN)]
    twin = twin_of(case)
    with plain_jax():
        for dtype in DTYPES:
            inputs = {
                scale: draw(case, scale, jnp.dtype(dtype)) for scale in case.scales
            }
            # What is exact is found once, for both.
            contracts = {scale: Contract(case, a) for scale, a in inputs.items()}
            for library, row in zip((case, twin), rows, strict=True):
                if library is not None:
                    measure_dtype(library, row, contracts, dtype, inputs)
    if twin is None:
        rows[1].twin = "no twin"
    elif not rows[1].found:
        rows[1].twin = "refuses"
    return rows


def measure_named(row: str) -> list[Row]:
    """For another process, to which no formula can be sent."""
    found = measure(next(case for case in CASES if case.id == row))
    jax.clear_caches()
    return found


def run(todo: Sequence[Case], processes: int, console: Console) -> list[Row]:
    found: dict[str, list[Row]] = {}
    with display.progress(console) as progress:
        task = progress.add_task("accuracy", total=len(todo))
        names = [case.id for case in todo]
        for name, rows in _measured(names, processes):
            found[name] = rows
            progress.update(task, advance=1, description=name[:40])
        progress.update(task, description="accuracy")
    return [row for name in names for row in found[name]]


def _measured(names: Sequence[str], processes: int) -> Iterator[tuple[str, list[Row]]]:
    if processes == 1:
        for name in names:
            yield name, measure_named(name)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        futures = {pool.submit(measure_named, name): name for name in names}
        for future in as_completed(futures):
            yield futures[future], future.result()


# ------------------------------------------------------------------ command line


def show(console: Console, rows: Sequence[Row]) -> None:
    heads, *lines = summary(rows)
    table = Table(title="Losses within the contract", title_justify="left")
    for head in heads:
        table.add_column(head, justify="left" if head in heads[:2] else "right")
    for line in lines:
        table.add_row(*line, end_section=line[1] == DTYPES[-1])
    console.print(table)
    for row in rows:
        if row.library == OURS and row.complaint:
            console.print(f"[bold red]{row.row}:[/] {row.complaint}", highlight=False)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy",
        description=(__doc__ or "").split("\n")[0],
    )
    add = parser.add_argument
    add("--only", default="", metavar="REGEX", help="rows whose name matches")
    add(
        "--rows",
        choices=("first", "all"),
        default="first",
        help="one row a loss, or those of all options too",
    )
    add("--processes", type=int, default=1, metavar="N")
    add("--json", type=Path, metavar="PATH", help="write the results there")
    add(
        "--update",
        action="store_true",
        help="keep what else the file of --json holds",
    )
    add("--results", type=Path, metavar="JSON", help="show these, measure nothing")
    add("--markdown", type=Path, metavar="PATH", help="write the table there")
    add("--plot", type=Path, metavar="PNG", help="draw the heat map there")
    options = parser.parse_args(argv)
    if options.update and not (options.json and options.json.exists()):
        parser.error("--update needs the --json file that it updates")
    return options


def header_of(given: Sequence[str]) -> dict[str, Any]:
    """Where, when, with what, by which command, and what the results are judged by."""
    command = shlex.join(["python", "-m", "benchmarks.accuracy", *given])
    header = environment("jaxloss", command, datetime.datetime.now(datetime.UTC))
    header["contract"] = {
        "value": contract.VALUE,
        "gradient": contract.GRADIENT,
        "Hessian": contract.HESSIAN,
        "digits of the formulas": oracle.DIGITS,
        "scales": SCALES,
    }
    return header


def main(argv: Sequence[str] | None = None) -> int:
    """0 when all of ours was measured and is within the contract, else 1."""
    options = arguments(argv)
    console = Console()
    if options.results:
        rows, header = accuracy_results.read(options.results)
    else:
        cases = CASES if options.rows == "all" else first_rows()
        todo = [case for case in cases if re.search(options.only, case.id)]
        if not todo:
            console.print("[bold red]no row matches[/]")
            return 2
        rows = run(todo, options.processes, console)
        header = header_of(sys.argv[1:] if argv is None else argv)
    show(console, rows)
    ours = [row for row in rows if row.library == OURS]
    if options.update:
        try:
            rows, header = accuracy_results.updated(options.json, rows, header)
        except ValueError as problem:
            console.print(f"[bold red]{problem}[/]")
            return 2
    writers: tuple[tuple[Path | None, Callable[[Path], object]], ...] = (
        (
            options.json,
            functools.partial(accuracy_results.write, rows=rows, header=header),
        ),
        (
            options.markdown,
            lambda path: path.write_text(accuracy_report.page(rows, header) + "\n"),
        ),
        (options.plot, functools.partial(accuracy_plot.draw, rows)),
    )
    for path, writer in writers:
        if path is not None:
            writer(path)
            console.print(f"written: {path}")
    return 1 if any(row.complaint for row in ours) else 0


if __name__ == "__main__":
    raise SystemExit(main())
