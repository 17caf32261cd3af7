"""The kernels against XLA and against other libraries, beside what the device can do.

    python -m benchmarks.kernels [--json PATH] [--plot PNG] [--rounds N] [--only REGEX]

On whatever accelerator there is: the plain cross entropy of logits, its value and its
value and gradient, in GB/s of what it must move, beside a copy of the logits measured
in the same run; the fused head in TFLOP/s of the three matmuls it must do, beside a
matmul measured in the same run; Jensen and Shannon's divergence from a teacher, of
logits and of two heads. Every program is checked against float64 before it is
timed, and a wrong one is not timed. On a CPU everything is tiny, the kernels are
interpreted, and no figure means anything: that the command works is all it shows.
"""

import argparse
import contextlib
import datetime
import functools
import importlib
import importlib.metadata
import importlib.util
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import jaxloss
from benchmarks import distillation, kernels_torch
from benchmarks.contest import (
    BITS,
    Contender,
    Line,
    compete,
    compiled,
    implementations,
    of_heads,
    of_torch,
)
from benchmarks.distillation import Distillation, Pair
from benchmarks.heads import Truth
from benchmarks.results import environment


@dataclass(frozen=True)
class Logits:
    """Rows of logits, as they come from a head."""

    rows: int
    classes: int


@dataclass(frozen=True)
class Head:
    """A linear head."""

    rows: int
    hidden: int
    classes: int


Problem = Logits | Head | Pair | Distillation

PROBLEMS: dict[str, Problem] = {
    "gpt2": Logits(8192, 50257),
    "llama3": Logits(8192, 128256),
    "gemma": Logits(4096, 262144),
    "head, llama3, 4096": Head(4096, 4096, 128256),
    "head, llama3, 8192": Head(8192, 4096, 128256),
    "head, llama3, 32768": Head(32768, 4096, 128256),
    "JSD, llama3": Pair(8192, 128256),
    "head, JSD, llama3": Distillation(8192, 4096, 4096, 128256),
}
TINY: dict[str, Problem] = {
    "gpt2": Logits(16, 300),
    "head, llama3, 4096": Head(16, 8, 300),
    "JSD, llama3": Pair(16, 300),
    "head, JSD, llama3": Distillation(16, 8, 6, 300),
}

# Sums of rounded products, of logits that some of them store in bfloat16.
LOGITS_TOLERANCE = {"value": 2e-5, "value and gradient": 2.0**-7}
HEAD_TOLERANCE = 3e-2

TARGETS: tuple[tuple[str, str, str], ...] = (
    ("T1", "head, llama3, 4096", "H200: at most 18.0 ms"),
    ("T2", "head, llama3, 8192", "H200: at most 36.5 ms"),
    ("T3", "head, llama3, 32768", "H200: at most 146 ms"),
    ("T4", "head", "1.4 times tokamax, xla, at a third of its temporaries"),
    ("T5", "head", "2.7 times tokamax, chunked_xla"),
    ("T6", "head, llama3, 4096", "7.5 times Liger"),
    ("T7", "head", "1.4 times cut-cross-entropy, exact"),
    ("T8", "head, llama3, 8192", "at most 2,040 MiB of temporaries"),
    ("T9", "head, llama3, 8192", "with least memory: 256 MiB and the float32 states"),
    ("T10", "llama3", "H200, value and gradient: at most 1.25 ms"),
    ("T11", "llama3", "1.6 times optax, value and gradient"),
    ("T12", "every problem", "error of the value at most 1e-5"),
    ("T13", "head", "error of the gradients at most 3e-3, whatever the chunks"),
    ("T14", "tests/test_kernels.py", "every transformation"),
    ("T15", "several devices", "90 % of the speed of one, vocabulary over 8"),
    ("T16", "head", "TPU: 1.10 times tokamax's kernel"),
    ("T17", "head", "TPU, recomputing: no slower than tokamax"),
    ("T18", "JSD, llama3", "3.5 times Liger at half its memory"),
    ("T19", "head, JSD, llama3", "3 times Liger, no float32 array of losses"),
)


# ------------------------------------------------------------------ programs


def logits_losses() -> Iterator[tuple[str, Callable[..., Any]]]:
    ours = jaxloss.softmax_cross_entropy_with_integer_labels
    for name in implementations():
        yield (
            f"jaxloss, {name}",
            functools.partial(ours, reduction="mean", implementation=name),
        )

    def of_optax(logits: jax.Array, labels: jax.Array) -> jax.Array:
        wide = logits.astype(jnp.float32)
        each = optax.softmax_cross_entropy_with_integer_labels(wide, labels)
        return jnp.mean(each)

    yield "optax", of_optax


def head_losses() -> Iterator[tuple[str, Callable[..., Any]]]:
    ours = jaxloss.linear_softmax_cross_entropy
    for stored in (None, BITS):
        for name in implementations():
            label = f"jaxloss, {name}" + ("" if stored is None else ", bfloat16 logits")
            yield (
                label,
                functools.partial(ours, implementation=name, logits_dtype=stored),
            )

    def full(hidden: jax.Array, kernel: jax.Array, labels: jax.Array) -> jax.Array:
        logits = jnp.matmul(hidden, kernel, preferred_element_type=jnp.float32)
        each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.mean(each)

    yield "optax, full logits", full
    if importlib.util.find_spec("tokamax") is not None:
        tokamax = importlib.import_module("tokamax")
        # It reads flags, and would take this program's arguments for its own.
        importlib.import_module("absl.flags").FLAGS(sys.argv[:1])
        names = ("mosaic_tpu", "xla", "chunked_xla")
        for name in names if jax.default_backend() == "tpu" else names[1:]:
            yield (
                f"tokamax, {name}",
                lambda h, w, y, name=name: tokamax.linear_softmax_cross_entropy_loss(
                    h, y, w, reduction="mean", implementation=name
                ),
            )


# ------------------------------------------------------------------ answers


def logits_truth(logits: jax.Array, labels: jax.Array) -> tuple[float, np.ndarray]:
    """The mean loss in float64, and the gradient of its first rows."""
    x, y = np.asarray(logits), np.asarray(labels)
    total, first = 0.0, np.zeros(0)
    for start in range(0, len(x), 256):
        part = x[start : start + 256].astype(np.float64)
        at = np.arange(len(part)), y[start : start + 256]
        peak = part.max(axis=1, keepdims=True)
        logs = peak + np.log(np.exp(part - peak).sum(axis=1, keepdims=True))
        total += float(np.sum(logs[:, 0] - part[at]))
        if start == 0:
            first = np.exp(part - logs)
            first[at] -= 1
    return total / len(x), first / len(x)


def logits_error(truth: tuple[float, np.ndarray], result: Any, task: str) -> float:
    value = result if task == "value" else result[0]
    error = abs(float(value) - truth[0]) / abs(truth[0])
    if task == "value":
        return error
    count = len(truth[1])
    gradient = np.asarray(result[1][:count]).astype(np.float64)
    norm = np.linalg.norm
    return max(error, float(norm(gradient - truth[1]) / norm(truth[1])))


# ------------------------------------------------------------------ measuring


def measure_logits(name: str, shape: Logits, rounds: int, budget: float) -> list[Line]:
    rng = np.random.default_rng(0)
    x = 3 * rng.standard_normal((shape.rows, shape.classes), np.float32)
    y = rng.integers(shape.classes, size=shape.rows, dtype=np.int32)
    args = jnp.asarray(x, BITS), jnp.asarray(y)
    del x
    truth = logits_truth(*args)
    size = shape.rows * shape.classes * BITS.itemsize
    # Reads and writes the logits; a negation is not optimised away.
    copy = compiled("copy", lambda x, y: -x, args)
    lines = []
    for task, times in (("value", 1), ("value and gradient", 2)):
        programs: list[tuple[str, Callable[[], Contender]]] = []
        for label, loss in logits_losses():
            function = loss if task == "value" else jax.value_and_grad(loss)
            make = functools.partial(compiled, label, function, args)
            programs.append((label, make))
        for label, make in kernels_torch.logits(task, *args):
            programs.append((label, functools.partial(of_torch, label, make)))
        error_of = functools.partial(logits_error, truth, task=task)
        found, seconds = compete(
            name,
            task,
            iter(programs),
            args,
            error_of,
            LOGITS_TOLERANCE[task],
            copy,
            rounds,
            budget,
        )
        ceiling = 2 * size / seconds
        for line in found:
            if line.seconds:
                line.gigabytes_per_second = times * size / line.seconds / 1e9
                line.share = times * size / line.seconds / ceiling
        lines += found
        lines.append(
            Line(name, task, "a copy", "measured", "", seconds, None, ceiling / 1e9)
        )
    return lines


def measure_head(name: str, shape: Head, rounds: int, budget: float) -> list[Line]:
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((shape.rows, shape.hidden), np.float32)
    kernel = rng.standard_normal((shape.hidden, shape.classes), np.float32)
    kernel /= np.float32(np.sqrt(shape.hidden))
    y = rng.integers(shape.classes, size=shape.rows, dtype=np.int32)
    args = jnp.asarray(hidden, BITS), jnp.asarray(kernel, BITS), jnp.asarray(y)
    few = slice(0, min(shape.rows, 256))
    part = args[0][few], args[1], args[2][few]
    truth = Truth.of(*part)
    return of_heads(
        name,
        head_losses(),
        kernels_torch.heads(truth.error, part, args),
        args,
        part,
        truth.error,
        HEAD_TOLERANCE,
        3,
        rounds,
        budget,
    )


def measure(name: str, problem: Problem, rounds: int, budget: float) -> list[Line]:
    match problem:
        case Logits():
            return measure_logits(name, problem, rounds, budget)
        case Head():
            return measure_head(name, problem, rounds, budget)
        case Pair():
            return distillation.measure_pair(name, problem, rounds, budget)
        case Distillation():
            return distillation.measure_heads(name, problem, rounds, budget)


# ------------------------------------------------------------------ reporting


def table(lines: Sequence[Line]) -> Table:
    shown = Table(title="The kernels, in bfloat16")
    for heading in ("problem", "task", "program"):
        shown.add_column(heading)
    for heading in ("ms", "GB/s or TFLOP/s", "of the ceiling", "temporaries", "error"):
        shown.add_column(heading, justify="right")
    for line in lines:
        speed = ""
        if line.gigabytes_per_second:
            speed = f"{line.gigabytes_per_second:,.1f} GB/s"
        elif line.teraflops:
            speed = f"{line.teraflops:,.2f} TFLOP/s"
        taken = f"{line.status} {line.note}".strip()
        if line.seconds:
            taken = f"{1e3 * line.seconds:,.3f}"
        shown.add_row(
            line.problem,
            line.task,
            line.contender,
            taken,
            speed,
            "" if line.share is None else f"{line.share:.0%}",
            "" if line.temp_bytes is None else f"{line.temp_bytes / 2**20:,.0f} MiB",
            "" if line.error is None else f"{line.error:.1e}",
        )
    return shown


def targets(lines: Sequence[Line]) -> Table:
    """What is aimed at, and what of ours was measured beside it."""
    shown = Table(title="Targets, and what was measured of ours in this run")
    for heading in ("", "problem", "target", "measured"):
        shown.add_column(heading)
    for name, problem, target in TARGETS:
        ours = [
            f"{line.contender}: {1e3 * line.seconds:,.2f} ms"
            for line in lines
            if line.problem == problem
            and line.seconds
            and line.task != "value"
            and line.contender.startswith("jaxloss")
        ]
        shown.add_row(name, problem, target, "\n".join(ours) or "not in this run")
    return shown


def draw(lines: Sequence[Line], path: Path) -> None:
    """A roofline: how far from what the device reached in the same run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [line for line in lines if line.share is not None]
    labels = [f"{line.contender}\n{line.problem}, {line.task}" for line in rows]
    figure, axes = plt.subplots(figsize=(9, 1 + 0.45 * max(len(rows), 1)))
    colours = [
        "#1f5f9e" if line.contender.startswith("jaxloss") else "#c8641b"
        for line in rows
    ]
    axes.barh(labels, [100 * (line.share or 0.0) for line in rows], color=colours)
    axes.axvline(100, color="#333333", lw=1.2)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlabel("% of a copy's bandwidth, or of a matmul's speed, in the same run")
    kind = jax.devices()[0].device_kind
    axes.set_title(f"{kind}, {datetime.date.today().isoformat()}", loc="left")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def versions() -> dict[str, str]:
    """Of all that takes part."""
    found = {}
    for name in ("jax", "jaxlib", "libtpu", "tokamax", "torch", "liger-kernel"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernels", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument("--rounds", type=int, default=20, metavar="N")
    parser.add_argument(
        "--budget", type=float, default=20.0, metavar="S", help="seconds a comparison"
    )
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument("--plot", type=Path, metavar="PNG")
    options = parser.parse_args(argv)
    console = Console()
    problems = TINY if jax.default_backend() == "cpu" else PROBLEMS
    if problems is TINY:
        console.print("No accelerator here: tiny problems, interpreted kernels.")
    chosen = {name: p for name, p in problems.items() if re.search(options.only, name)}
    lines: list[Line] = []
    with Progress(console=console) as progress:
        task = progress.add_task("problems", total=len(chosen))
        for name, problem in chosen.items():
            limits = options.rounds, options.budget
            lines += measure(name, problem, *limits)
            progress.advance(task)
    console.print(table(lines))
    console.print(targets(lines))
    if options.json:
        given = sys.argv[1:] if argv is None else argv
        command = shlex.join(["python", "-m", "benchmarks.kernels", *given])
        header = environment("jaxloss", command, datetime.datetime.now(datetime.UTC))
        header["versions"] |= versions()
        body = {
            "environment": header,
            "problems": {name: asdict(p) for name, p in chosen.items()},
            "targets": [list(target) for target in TARGETS],
            "results": [asdict(line) for line in lines],
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(body, indent=1) + "\n")
    if options.plot:
        draw(lines, options.plot)
    ours = [line for line in lines if line.contender.startswith("jaxloss")]
    return 0 if ours and all(line.status == "measured" for line in ours) else 1


if __name__ == "__main__":
    raise SystemExit(main())
