"""What the two programs of `make demo` measured, on one screen.

    python -m examples.summary [--out FOLDER]

Reads what `train_digits` and `train_lm` wrote beside their plots.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

OUTPUT = Path(__file__).parent / "output"
PROGRAMS = ("train_digits", "train_lm")


def write(folder: Path, program: str, measured: dict[str, Any]) -> None:
    """For this summary: what a program measured, and where its plots are."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(measured, indent=1)
    (folder / f"{program}.json").write_text(text + "\n")


def of_digits(measured: dict[str, Any]) -> list[tuple[str, str]]:
    runs = measured["runs"]
    accuracies = [run["held_out_accuracy"] for run in runs]
    names = ", ".join(run["loss"] for run in runs)
    ran = f"{measured['digits']:,} handwritten digits, {measured['epochs']} epochs"
    accuracy = f"{min(accuracies):.1%}"
    if len(runs) > 1:
        accuracy += f" to {max(accuracies):.1%}, {len(runs)} losses"
    seconds = sum(run["seconds"] for run in runs)
    return [
        ("ran", f"{ran}: {names}"),
        ("held-out accuracy", accuracy),
        ("time", f"{seconds:.0f} s of training"),
    ]


def of_lm(measured: dict[str, Any]) -> list[tuple[str, str]]:
    full, fused = measured["runs"]
    mib = 2**20

    def against(key: str, unit: float, show: str) -> str:
        a, b = full[key] / unit, fused[key] / unit
        return f"{show.format(b)} against {show.format(a)}: {a / b:.1f} times less"

    head = f"{measured['tokens']:,} tokens a step, {measured['classes']:,} classes"
    return [
        ("ran", f"a language model, {measured['steps']} steps of both heads; {head}"),
        ("held out", f"{fused['held_out']:.3f} nats a token, {full['held_out']:.3f}"),
        ("memory of the loss", against("memory_of_loss", mib, "{:,.0f} MiB")),
        ("memory of a step", against("memory_of_step", mib, "{:,.0f} MiB")),
        ("time of a step", against("seconds", 1e-3, "{:,.0f} ms")),
    ]


SHOWN = {"train_digits": of_digits, "train_lm": of_lm}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--out",
        type=Path,
        default=OUTPUT,
        help="where the programs wrote (default: examples/output)",
    )
    folder = parser.parse_args().out
    console = Console()
    table = Table(title="jaxloss: what was run", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for program in PROGRAMS:
        path = folder / f"{program}.json"
        if not path.exists():
            console.print(f"{path} is not there: run python -m examples.{program}")
            return 1
        measured = json.loads(path.read_text())
        for name, text in SHOWN[program](measured):
            table.add_row(name, text)
        pictures = "\n".join(str(folder / name) for name in measured["plots"])
        table.add_row("pictures", pictures, end_section=True)
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
