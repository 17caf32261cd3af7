"""What `benchmarks.heads` found, as Markdown."""

import json
from pathlib import Path
from typing import Any

from benchmarks.markdown import table
from benchmarks.results import conditions
from benchmarks.units import seconds


def line(row: dict[str, Any]) -> list[str]:
    taken = row["status"]
    if row["seconds"] is not None:
        spread = seconds(row["spread_seconds"] or 0.0)
        taken = f"{seconds(row['seconds'])} ±{spread}"
    temporaries, ratio, error = row["temp_bytes"], row["ratio"], row["error"]
    return [
        row["contender"],
        taken,
        "" if ratio is None else f"{ratio:.2f}",
        "" if temporaries is None else f"{temporaries / 2**20:,.0f} MiB",
        "" if error is None else f"{error:.1e}",
    ]


def render(path: Path) -> str:
    """A table for each shape of a file."""
    body = json.loads(path.read_text())
    parts = [conditions(body["environment"])]
    for shape in dict.fromkeys(row["shape"] for row in body["results"]):
        size = body["shapes"][shape.partition(",")[0]]
        rows = [row for row in body["results"] if row["shape"] == shape]
        # The ratios are to one of the programs, whose own is 1.
        own = [row["contender"] for row in rows if row["ratio"] == 1.0]
        against = own[0] if own else "reference"
        heads = ["program", "time ±spread", f"{against}: time / this"]
        heads += ["temporaries", "error"]
        parts += [
            f"**{shape}**: {size['tokens']:,} tokens, {size['hidden']:,} hidden units, "
            f"{size['classes']:,} classes, {size['dtype']}",
            "\n".join(table([heads, *map(line, rows)], 1)),
        ]
    return "\n\n".join(parts)
