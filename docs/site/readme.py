"""The README's table of losses, made from the package.

python docs/site/readme.py [--check]
"""

import importlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
families = importlib.import_module("families")

README = pathlib.Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- losses:begin -->", "<!-- losses:end -->"


def table() -> str:
    found = families.families()
    count = sum(len(names) for names in found.values())
    lines = [f"{count} names, by family:", "", "| | |", "| --- | --- |"]
    for heading, names in found.items():
        lines.append(f"| {heading} | {', '.join(f'`{name}`' for name in names)} |")
    return "\n".join(lines)


def written(text: str) -> str:
    """The README with the table as it should be."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> int:
    text = README.read_text()
    if "--check" in sys.argv[1:]:
        if written(text) != text:
            print(f"the losses in {README.name} are not those of the package")
            return 1
        return 0
    README.write_text(written(text))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
