"""Two runs of a benchmark: what changed by more than their noise.

    python -m benchmarks.compare OLD.json NEW.json [--only REGEX] [--force]

Reads what `benchmarks.run`, `benchmarks.heads` and `benchmarks.kernels` write. Where
optax was timed in turn with us in both runs, its time by ours is compared: what slows
the machine down slows both. Else the seconds are. A change exceeds the noise when it is
larger than the spreads of both runs together.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.results import PAGE, conditions
from benchmarks.units import memory, seconds

SAME = ("platform", "device", "cpu", "cores")
"""What must be equal for two times to mean the same."""


@dataclass(frozen=True)
class Timing:
    """One program in one run."""

    seconds: float
    spread_seconds: float
    ratio: float | None = None
    """The twin's time by ours, where a spread of it is known."""
    ratio_spread: float | None = None
    temp_bytes: int | None = None


@dataclass(frozen=True)
class Change:
    """One program in two runs."""

    name: str
    old: Timing
    new: Timing

    @property
    def paired(self) -> bool:
        """Whether it is compared by the twin that ran in turn with it."""
        return None not in (self.old.ratio, self.new.ratio)

    @property
    def speedup(self) -> float:
        """Above 1, the new run is faster."""
        if self.old.ratio is not None and self.new.ratio is not None:
            return self.new.ratio / self.old.ratio
        return self.old.seconds / self.new.seconds

    @property
    def noise(self) -> float:
        """The spreads of both runs, each relative to its median, together."""

        def relative(timing: Timing) -> float:
            if self.paired and timing.ratio:
                return (timing.ratio_spread or 0.0) / timing.ratio
            return timing.spread_seconds / timing.seconds

        return relative(self.old) + relative(self.new)

    @property
    def verdict(self) -> str:
        if self.speedup > 1 + self.noise:
            return "faster"
        return "slower" if self.speedup < 1 / (1 + self.noise) else ""

    @property
    def memory(self) -> str:
        """Both runs' temporaries, where they differ by more than a page."""
        old, new = self.old.temp_bytes, self.new.temp_bytes
        if old is None or new is None or abs(old - new) <= PAGE:
            return ""
        return f"{memory(old)} → {memory(new)}"


def timings(body: dict[str, Any]) -> dict[str, Timing]:
    """What was timed of ours, by name."""
    found = {}
    for row in body["results"]:
        if "loss" in row:
            side = row["ours"]
            if side is None:
                continue
            name = "/".join(row[k] for k in ("loss", "shape", "dtype", "mode"))
            found[name] = Timing(
                side["median_seconds"],
                side["spread_seconds"],
                row["ratio"],
                row["ratio_spread"],
                side["temp_bytes"],
            )
        elif row.get("seconds"):
            parts = (row.get(k) for k in ("shape", "problem", "task", "contender"))
            found[", ".join(part for part in parts if part)] = Timing(
                row["seconds"],
                row.get("spread_seconds") or 0.0,
                temp_bytes=row.get("temp_bytes"),
            )
    return found


def changes(old: dict[str, Timing], new: dict[str, Timing]) -> list[Change]:
    """What both runs timed."""
    return [Change(name, old[name], new[name]) for name in old if name in new]


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [
        f"{what}: {old.get(what)} and {new.get(what)}"
        for what in SAME
        if old.get(what) != new.get(what)
    ]


def table(found: Sequence[Change]) -> Table:
    shown = Table(title="New against old: above 1, the new run is faster")
    shown.add_column("program", overflow="fold")
    for heading in ("old ±spread", "new ±spread", "new speed / old", "", "temporaries"):
        shown.add_column(heading, justify="right", no_wrap=True)
    styles = {"faster": "green", "slower": "bold red"}
    for change in sorted(found, key=lambda c: c.speedup):
        both = [
            f"{seconds(t.seconds)} ±{seconds(t.spread_seconds)}"
            for t in (change.old, change.new)
        ]
        speed = f"{change.speedup:.2f} ±{change.noise:.2f}"
        verdict = change.verdict or "within the noise"
        row = (change.name, *both, speed, verdict, change.memory)
        shown.add_row(*row, style=styles.get(change.verdict, ""))
    return shown


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument(
        "--force", action="store_true", help="compare different devices all the same"
    )
    options = parser.parse_args(argv)
    try:
        old, new = (json.loads(p.read_text()) for p in (options.old, options.new))
        before, after = timings(old), timings(new)
    except (OSError, ValueError, KeyError) as problem:
        print(f"benchmarks.compare: {problem!r}", file=sys.stderr)
        return 2
    apart = differences(old["environment"], new["environment"])
    if apart and not options.force:
        print(
            "benchmarks.compare: not the same device (--force compares all the same): "
            + "; ".join(apart),
            file=sys.stderr,
        )
        return 2
    found = [c for c in changes(before, after) if re.search(options.only, c.name)]
    console = Console()
    if not console.is_terminal:
        console = Console(width=150)
    for label, body in (("old", old), ("new", new)):
        console.print(f"{label}: {conditions(body['environment'])}", highlight=False)
    for difference in apart:
        console.print(f"[bold red]not the same {difference}[/]")
    console.print(table(found))
    for label, names in (
        ("only in the old run", [name for name in before if name not in after]),
        ("only in the new run", [name for name in after if name not in before]),
    ):
        for name in names:
            console.print(f"{label}: {name}", highlight=False)
    verdicts = [change.verdict for change in found]
    console.print(
        f"{len(found)} compared: {verdicts.count('faster')} faster, "
        f"{verdicts.count('slower')} slower, {verdicts.count('')} within the noise"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
