"""What README.md shows of committed results, made from them.

python -m benchmarks.report [RESULTS] [--write | --check]

Where the picture beside a file is made from that file alone, it is drawn again too.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import (
    accuracy_report,
    accuracy_results,
    kernels_plot,
    kernels_report,
    kernels_results,
    memory_results,
    results,
    speed_report,
)

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
COMMITTED = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True)
class Section:
    """A part of the README that a program writes.

    Attributes:
      name: of the markers between which it stands.
      files: the names of its files, which end with the date.
      render: what stands there, from a file.
      draw: the picture beside a file, if it is made here.
    """

    name: str
    files: str
    render: Callable[[Path], str]
    draw: Callable[[Path, Path], None] | None = None

    @property
    def begin(self) -> str:
        return f"<!-- {self.name}:begin -->"

    @property
    def end(self) -> str:
        return f"<!-- {self.name}:end -->"

    def newest(self, folder: Path = COMMITTED) -> Path | None:
        """The last results: the date is in the name."""
        found = sorted(folder.glob(self.files))
        return found[-1] if found else None

    def insert(self, readme: str, text: str) -> str:
        """`readme` with what stands between the markers replaced."""
        before, begin, rest = readme.partition(self.begin)
        _, end, after = rest.partition(self.end)
        if not begin or not end:
            raise ValueError(
                f"the text lacks the markers {self.begin} and {self.end}, in order"
            )
        return f"{before}{self.begin}\n{text}\n{self.end}{after}"


def accuracy(path: Path) -> str:
    picture = f"benchmarks/results/{path.stem}-optax.png"
    text = accuracy_report.render(*accuracy_results.read(path))
    return f"{text}\n\n![Worst errors of jaxloss and optax]({picture})"


def roofline(path: Path, picture: Path) -> None:
    run = kernels_results.read(path)
    kernels_plot.draw(run.lines, run.header, picture)


SPEED = Section(
    "benchmarks", "cpu-*.json", lambda path: speed_report.render(*results.read(path))
)
ACCURACY = Section("accuracy", "accuracy-cpu-*.json", accuracy)
MEMORY = Section(
    "memory",
    "memory-*.json",
    lambda path: memory_results.render(path, memory_results.SHOWN),
)
KERNELS = Section("kernels", "kernels-h200-*.json", kernels_report.render, roofline)
SECTIONS = (ACCURACY, MEMORY, SPEED, KERNELS)

ON_THE_PAGE = (
    Section("programs", KERNELS.files, kernels_report.programs),
    Section("targets", KERNELS.files, kernels_report.targets),
)
"""Those of `docs/kernels.md`, made when the site is built."""


def section_of(path: Path) -> Section:
    """Which section a file is for, by its name."""
    for section in SECTIONS:
        if path.match(section.files):
            return section
    patterns = ", ".join(section.files for section in SECTIONS)
    raise ValueError(f"{path.name} is none of {patterns}")


def chosen(
    path: Path | None, say: Callable[[str], object]
) -> list[tuple[Section, Path]]:
    """The sections asked for, with their files."""
    if path is not None:
        return [(section_of(path), path)]
    found = []
    for section in SECTIONS:
        newest = section.newest()
        if newest is None:
            say(f"no results for the section {section.name!r} in {COMMITTED.name}/")
        else:
            found.append((section, newest))
    return found


def main(
    argv: Sequence[str] | None = None,
    readme: Path = README,
    say: Callable[[str], object] = print,
) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report")
    parser.add_argument(
        "results", nargs="?", type=Path, help="default: the newest of every section"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--write", action="store_true", help="put it into the README")
    what.add_argument("--check", action="store_true", help="fail if it is not there")
    options = parser.parse_args(argv)
    try:
        found = chosen(options.results, say)
        sections = [(section, section.render(path)) for section, path in found]
        if not (options.write or options.check):
            say("\n\n".join(text for _, text in sections))
            return 0
        old = new = readme.read_text()
        for section, text in sections:
            new = section.insert(new, text)
    except (OSError, ValueError) as problem:
        print(f"benchmarks.report: {problem}", file=sys.stderr)
        return 2
    if options.write:
        readme.write_text(new)
        for section, path in found:
            if section.draw is not None:
                section.draw(path, path.with_suffix(".png"))
    elif new != old:
        say("README.md is not what the results say: run with --write")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
