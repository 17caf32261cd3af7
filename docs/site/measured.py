"""The pages of accuracy, speed and kernels, from the committed results."""

import importlib
import pathlib
import re
import sys

import mkdocs_gen_files

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
accuracy_report = importlib.import_module("benchmarks.accuracy_report")
accuracy_results = importlib.import_module("benchmarks.accuracy_results")
heads_report = importlib.import_module("benchmarks.heads_report")
memory_results = importlib.import_module("benchmarks.memory_results")
report = importlib.import_module("benchmarks.report")

DOCS = pathlib.Path(__file__).parents[1]
PICTURE = re.compile(r"\(benchmarks/results/([^)]+\.png)\)")


def page(name: str, *parts: str) -> None:
    """A page, with the committed pictures that it shows beside it."""
    text = "\n\n".join(parts)
    for picture in PICTURE.findall(text):
        with mkdocs_gen_files.open(f"measured/{picture}", "wb") as file:
            file.write((report.COMMITTED / picture).read_bytes())
    with mkdocs_gen_files.open(name, "w") as file:
        print(PICTURE.sub(r"(measured/\1)", text), file=file)


def section(of) -> str:
    """What it shows of the newest results."""
    newest = of.newest()
    if newest is None:
        return "No results are committed yet."
    return of.render(newest)


def accuracy() -> None:
    newest = report.ACCURACY.newest()
    stem = f"benchmarks/results/{newest.stem}"
    page(
        "accuracy.md",
        "# Accuracy",
        "Every loss against its formula in high precision, on the inputs as the dtype "
        "rounds them, and optax's loss beside it, called with the same arguments. "
        "`python -m benchmarks accuracy` measures all of it again.",
        "## Those that optax has",
        "In yellow what is exact to rounding, in blue what is not; a red cross is "
        "outside the contract. Half precision ends with one rounding of a derivative "
        "to its dtype, 2e-3 of it in bfloat16.",
        f"![Worst errors of jaxloss and optax]({stem}-optax.png)",
        "## All",
        accuracy_report.page(*accuracy_results.read(newest)),
        f"![Worst errors of every loss]({stem}.png)",
    )


def speed() -> None:
    newest = (
        sorted(report.COMMITTED.glob(files))[-1]
        for files in ("heads-cpu-*.json", "heads-kept-cpu-*.json")
    )
    heads = [heads_report.render(path) for path in newest]
    page(
        "speed.md",
        "# Speed and memory",
        "Every answer is checked before it is timed, and programs run in turn, so that "
        "what slows the machine down slows all of them. `python -m benchmarks --help` "
        "lists the programs; `python -m benchmarks compare` says which changes between "
        "two runs exceed their noise.",
        "## Losses",
        section(report.SPEED),
        "## The head of a language model",
        "Value and both gradients of the mean cross entropy, by "
        "`python -m benchmarks heads`.",
        *heads,
        "On a GPU: [kernels](kernels.md).",
        "## Memory against tokens",
        memory_results.render(report.MEMORY.newest()),
    )


def kernels() -> None:
    """The page that is there, with its tables."""
    text = (DOCS / "kernels.md").read_text()
    for of in report.ON_THE_PAGE:
        text = of.insert(text, section(of))
    page("kernels.md", text)


accuracy()
speed()
kernels()
