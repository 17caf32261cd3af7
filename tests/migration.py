"""The migration tables of the documentation, as data."""

import pathlib
import re

PAGE = pathlib.Path(__file__).parent.parent / "docs" / "migration.md"


def tables() -> dict[str, list[tuple[str, list[str]]]]:
    """By heading: (their name, our names) of every row of the migration tables."""
    found, heading = {}, ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            heading = line[3:]
            found[heading] = []
        elif line.startswith("| `"):
            theirs, ours, _ = (cell.strip() for cell in line.split("|")[1:-1])
            found[heading].append((theirs, re.findall(r"`([\w.]+)`", ours)))
    return found
