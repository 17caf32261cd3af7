"""The families of public names, as `jaxloss/__init__.py` lists them."""

import ast
import pathlib
import re

INIT = pathlib.Path(__file__).parents[2] / "jaxloss" / "__init__.py"


def families() -> dict[str, list[str]]:
    """By heading: the public names below it, in their order."""
    text = INIT.read_text()
    headings = {
        number: line[2:]
        for number, line in enumerate(text.splitlines(), start=1)
        if line.startswith("# ")
    }
    found: dict[str, list[str]] = {}
    for node in ast.parse(text).body:
        names = [
            alias.asname
            for alias in getattr(node, "names", [])
            if isinstance(node, ast.ImportFrom) and alias.asname
        ]
        above = [number for number in headings if number < node.lineno]
        if names and above:
            found.setdefault(headings[max(above)], []).extend(names)
    return found


def slug(heading: str) -> str:
    """The file name of a family's page."""
    return re.sub(r"[^a-z]+", "-", heading.lower()).strip("-")
