"""Executes the notebooks, from the top, and fails on the first error in any of them.

    python notebooks/execute.py                     # all of them
    python notebooks/execute.py drop_in preference  # two
    python notebooks/execute.py --out build/notebooks

What it needs is the extra `notebooks`: `make notebooks` installs it and runs this. The
files themselves stay as they are, without outputs; with `--out` the executed ones,
pictures and all, are written to a folder.
"""

import argparse
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

FOLDER = Path(__file__).resolve().parent
# Far above what any cell takes: against one that never returns.
SECONDS_A_CELL = 600


def execute(path: Path, out: Path | None, progress: Progress) -> tuple[str, float]:
    """What went wrong, or nothing, and the seconds it took."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    task = progress.add_task(path.stem, total=len(code))
    client = NotebookClient(
        notebook,
        timeout=SECONDS_A_CELL,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        on_cell_executed=lambda **_: progress.advance(task),
    )
    start, failure = time.perf_counter(), ""
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        failure = str(error)
    seconds = time.perf_counter() - start
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, out / path.name)
    return failure, seconds


def main() -> int:
    known = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}"
    )
    parser.add_argument("--out", type=Path, help="where to write the executed ones")
    options = parser.parse_args()
    unknown = set(options.names) - set(known)
    if unknown:
        parser.error(f"no such notebook: {', '.join(sorted(unknown))}")

    console = Console()
    failures, table = {}, Table("notebook", "result")
    table.add_column("seconds", justify="right")
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=console) as progress:
        for name in options.names or known:
            path = FOLDER / f"{name}.ipynb"
            failure, seconds = execute(path, options.out, progress)
            if failure:
                failures[name] = failure
            outcome = "[red]failed[/]" if failure else "executed"
            console.print(f"{name}: {outcome} in {seconds:.1f} s")
            table.add_row(name, outcome, f"{seconds:.1f}")
    for name, failure in failures.items():
        console.rule(name)
        console.print(Text.from_ansi(failure))
    console.print(table)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
