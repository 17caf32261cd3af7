"""Tables in Markdown."""

from collections.abc import Sequence


def table(lines: Sequence[Sequence[str]], left: int) -> list[str]:
    """A table whose first columns are text, and the others numbers."""
    heads, *rest = lines
    rule = ["---"] * left + ["---:"] * (len(heads) - left)
    return ["| " + " | ".join(line) + " |" for line in (heads, rule, *rest)]
