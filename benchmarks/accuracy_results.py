"""What `benchmarks.accuracy` finds, how many losses keep the contract, and its JSON."""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DTYPES = ("float32", "bfloat16", "float16")
QUANTITIES = ("value", "gradient", "jvp", "Hessian")
OURS, TWIN = "jaxloss", "optax"


class Errors(NamedTuple):
    """Of one quantity at one scale, over its entries. None is NaN or infinite."""

    worst: float | None
    """Relative to the exact number."""
    median: float | None
    worst_units: float | None
    """In units in the last place of the dtype in which the result is returned."""
    median_units: float | None
    share: float | None
    """The worst, in terms of what the contract allows there."""
    wrong: int
    """Entries outside the contract."""
    entries: int

    @staticmethod
    def of(judged: Any) -> "Errors":
        def spread(errors: np.ndarray) -> tuple[float | None, float | None]:
            known = np.where(np.isnan(errors), np.inf, errors)
            return rounded(np.max(known)), rounded(np.median(known))

        return Errors(
            *spread(judged.relative),
            *spread(judged.units),
            spread(judged.share)[0],
            int(judged.wrong.sum()),
            judged.wrong.size,
        )


def rounded(value: Any) -> float | None:
    """Three digits say all that an error has to say."""
    return float(f"{float(value):.2e}") if np.isfinite(value) else None


@dataclass
class Row:
    """One row of the table in one library."""

    row: str
    loss: str
    library: str
    found: dict[str, Errors] = field(default_factory=dict)
    """By `"dtype scale quantity"`."""
    notes: dict[str, str] = field(default_factory=dict)
    """Why there is no result, by `"dtype"`, or as above where the formula has none."""
    twin: str = "measured"
    """"measured", or why there is none: "no twin", "refuses"."""

    def errors(self, dtype: str, quantity: str) -> list[Errors]:
        """Of all scales."""
        return [
            errors
            for key, errors in self.found.items()
            if (key.split()[0], key.split()[2]) == (dtype, quantity)
        ]

    def within(self, dtype: str, quantity: str) -> bool | None:
        """Whether the contract holds at all scales; None where nothing was measured."""
        found = self.errors(dtype, quantity)
        return not any(errors.wrong for errors in found) if found else None

    @property
    def complaint(self) -> str:
        """What is outside the contract, or was not measured; else nothing."""
        wrong = [
            f"{key}: outside" for key, errors in self.found.items() if errors.wrong
        ]
        return "; ".join(
            [*(f"{key}: {note}" for key, note in self.notes.items()), *wrong]
        )


def worst(found: Sequence[Errors], what: str = "worst") -> float:
    """The largest of all scales; infinite where there is no number."""
    values = [getattr(errors, what) for errors in found]
    return max((math.inf if v is None else v for v in values), default=math.nan)


def losses(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows by loss."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.loss, []).append(row)
    return found


def count(
    mine: Sequence[Row], ours: Sequence[Row], dtype: str, quantities: Sequence[str]
) -> tuple[int, int]:
    """Losses within the contract, and those of which ours was measured.

    What a twin refuses it does not hold.
    """
    measured = {
        (row.row, quantity)
        for row in ours
        for quantity in quantities
        if row.errors(dtype, quantity)
    }
    good = total = 0
    for rows in losses(mine).values():
        held = [
            row.within(dtype, quantity) is True
            for row in rows
            for quantity in quantities
            if (row.row, quantity) in measured
        ]
        total += bool(held)
        good += bool(held) and all(held)
    return good, total


def groups(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """All of ours; those of ours that have a twin; the twins."""
    ours = [row for row in rows if row.library == OURS]
    twins = [row for row in rows if row.library == TWIN and row.twin != "no twin"]
    names = {row.row for row in twins}
    paired = [row for row in ours if row.row in names]
    return [
        (f"jaxloss, all {len(losses(ours))} losses", ours),
        (f"jaxloss, the {len(losses(twins))} with a twin in optax", paired),
        (f"optax, these {len(losses(twins))}", twins),
    ]


def summary(rows: Sequence[Row]) -> list[list[str]]:
    """Headings, then lines: how many losses are within the contract at all scales."""
    ours = [row for row in rows if row.library == OURS]
    lines = [["within the contract at all scales", "dtype", *QUANTITIES, "all four"]]
    for label, mine in groups(rows):
        for dtype in DTYPES:
            asked = [*((quantity,) for quantity in QUANTITIES), QUANTITIES]
            counts = [count(mine, ours, dtype, quantities) for quantities in asked]
            lines.append([label, dtype, *(f"{g} of {n}" for g, n in counts)])
    return lines


def write(path: Path, rows: Sequence[Row], header: dict[str, Any]) -> None:
    """One line a row, so that two runs can be compared line by line."""
    lines = ",\n  ".join(
        json.dumps(dataclasses.asdict(row), allow_nan=False) for row in rows
    )
    head = json.dumps(header, indent=1).replace("\n", "\n ")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'{{\n "environment": {head},\n "errors": {json.dumps(Errors._fields)},\n'
        f' "rows": [\n  {lines}\n ]\n}}\n'
    )


def read(path: Path) -> tuple[list[Row], dict[str, Any]]:
    body = json.loads(path.read_text())
    rows = []
    for row in body["rows"]:
        found = {key: Errors(*errors) for key, errors in row.pop("found").items()}
        rows.append(Row(found=found, **row))
    return rows, body["environment"]


def updated(
    path: Path, rows: Sequence[Row], header: dict[str, Any]
) -> tuple[list[Row], dict[str, Any]]:
    """The rows of a file with these in their places, or at its end."""
    old, environment = read(path)
    for what in ("device", "cpu", "python", "versions"):
        if environment[what] != header[what]:
            raise ValueError(
                f"{path.name} was measured with another {what}: measure all of it again"
            )
    found = {(row.row, row.library): row for row in (*old, *rows)}
    update = {what: header[what] for what in ("date", "command")}
    environment["updates"] = [*environment.get("updates", []), update]
    return list(found.values()), environment
