"""What `benchmarks.memory` reads off, its JSON, and its part of the README."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.markdown import table
from benchmarks.results import conditions

MIB = 2**20
OURS, FULL = "jaxloss", "optax, full logits"


@dataclass(frozen=True)
class Head:
    """Hidden units and classes of a model's head, and the dtype of its operands."""

    hidden: int
    classes: int
    dtype: str

    @property
    def label(self) -> str:
        return f"{self.hidden:,} x {self.classes:,}, {self.dtype}"


HEADS = {
    "gpt2": Head(768, 50257, "float32"),
    "llama3": Head(4096, 128256, "bfloat16"),
}


@dataclass(frozen=True)
class Line:
    """One program at one number of tokens."""

    target: str
    head: str
    tokens: int
    contender: str
    temp_bytes: int
    argument_bytes: int
    output_bytes: int


def panels(lines: Sequence[Line]) -> dict[tuple[str, str], dict[str, dict[int, int]]]:
    """By target and head: by contender: temporaries by number of tokens."""
    found: dict[tuple[str, str], dict[str, dict[int, int]]] = {}
    for line in lines:
        of = found.setdefault((line.target, line.head), {})
        of.setdefault(line.contender, {})[line.tokens] = line.temp_bytes
    return found


def mib(size: int) -> str:
    return f"{size / MIB:,.0f}"


SHOWN = (1024, 8192, 32768)
"""Numbers of tokens in the README."""


def cells(lines: Sequence[Line]) -> list[list[str]]:
    """Headings, then a line a number of tokens."""
    contenders = list(dict.fromkeys(line.contender for line in lines))
    found = [["compiled for", "head", "tokens", *contenders, "optax / jaxloss"]]
    for (target, name), of in panels(lines).items():
        for tokens in sorted({t for sizes in of.values() for t in sizes}):
            sizes = [of.get(contender, {}).get(tokens) for contender in contenders]
            ours, full = of.get(OURS, {}).get(tokens), of.get(FULL, {}).get(tokens)
            found.append(
                [
                    *(target, HEADS[name].label, f"{tokens:,}"),
                    *("" if size is None else mib(size) for size in sizes),
                    f"{full / ours:.2f}" if ours and full else "",
                ]
            )
    return found


def write(path: Path, lines: Sequence[Line], header: dict[str, Any]) -> None:
    used = {line.head for line in lines}
    body = {
        "environment": header,
        "heads": {name: asdict(HEADS[name]) for name in HEADS if name in used},
        "results": [asdict(line) for line in lines],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body, indent=1) + "\n")


def read(path: Path) -> tuple[list[Line], dict[str, Any]]:
    body = json.loads(path.read_text())
    return [Line(**line) for line in body["results"]], body["environment"]


def render(path: Path, tokens: Sequence[int] | None = None) -> str:
    """Picture and table of a file, for these numbers of tokens or for all."""
    lines, header = read(path)
    lines = [line for line in lines if tokens is None or line.tokens in tokens]
    picture = f"benchmarks/results/{path.with_suffix('.png').name}"
    return "\n".join(
        [
            f"![Temporary memory against tokens]({picture})",
            "",
            "Temporaries of value and both gradients in MiB, as the compiler states "
            "them, beside operands and results. " + conditions(header),
            "",
            *table(cells(lines), 2),
        ]
    )
