"""The fused head against full logits, and against other fused heads.

    python -m benchmarks.heads [--shape NAME ...] [--only REGEX] [--rounds N]
        [--json PATH] [--plot PNG]
    python -m benchmarks.heads --kept 0.25 [--shape NAME ...]

Value and both gradients of the mean cross entropy of a linear head. Every program is
checked against float64 before it is timed, compiled apart, and run in turn with the
others. tokamax takes part where it is installed (`pip install jaxloss[tokamax]`).

With `--kept` only that share of the tokens counts, as in a batch of prompts and
answers: a mask alone, against a mask and the promise `max_tokens`.
"""

import argparse
import datetime
import functools
import importlib
import importlib.util
import json
import re
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
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
from benchmarks.measure import Program, build
from benchmarks.results import environment

Loss = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


@dataclass(frozen=True)
class Shape:
    """A head: how many tokens, hidden units and classes, and the device it is for."""

    tokens: int
    hidden: int
    classes: int
    dtype: str = "float32"
    accelerator: bool = False


SHAPES = {
    "small": Shape(256, 32, 1000),
    "gpt2": Shape(1024, 768, 50257),
    "llama3-narrow": Shape(4096, 256, 128256),
    "llama3-4096": Shape(4096, 4096, 128256, "bfloat16", accelerator=True),
    "llama3-8192": Shape(8192, 4096, 128256, "bfloat16", accelerator=True),
    "llama3-32768": Shape(32768, 4096, 128256, "bfloat16", accelerator=True),
    "gemma-16384": Shape(16384, 3840, 262144, "bfloat16", accelerator=True),
}

# Sums of some thousand rounded products, in float32; a derivative rounded to bfloat16
# before its matmul, and the result after it. What stores logits in bfloat16 loses more.
TOLERANCE = {"float32": 2e-4, "bfloat16": 3e-2}


def full_logits(hidden, kernel, labels):
    logits = jnp.matmul(hidden, kernel, preferred_element_type=jnp.float32)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.mean(losses)


# 128 MiB of float32 logits of 8,192 tokens at a time.
least_memory = functools.partial(
    jaxloss.linear_softmax_cross_entropy, class_chunk_size=4096
)


def contenders() -> Iterator[tuple[str, Loss]]:
    """Ours first, and optax second: the ratios are to it."""
    yield "jaxloss", jaxloss.linear_softmax_cross_entropy
    yield "optax, full logits", full_logits
    yield "optax, jax.checkpoint", jax.checkpoint(full_logits)
    if importlib.util.find_spec("tokamax") is not None:
        tokamax = importlib.import_module("tokamax")
        # It reads flags, and would take this program's arguments for its own.
        importlib.import_module("absl.flags").FLAGS(sys.argv[:1])

        def fused(hidden, kernel, labels, implementation):
            return tokamax.linear_softmax_cross_entropy_loss(
                hidden, labels, kernel, reduction="mean", implementation=implementation
            )

        for implementation in ("xla", "chunked_xla"):
            name = f"tokamax, {implementation}"
            yield name, functools.partial(fused, implementation=implementation)


@dataclass
class Line:
    """One program at one shape."""

    shape: str
    contender: str
    status: str
    seconds: float | None = None
    spread_seconds: float | None = None
    ratio: float | None = None
    """Median over the rounds of optax's time, or a mask's, by this one's."""
    temp_bytes: int | None = None
    compile_seconds: float | None = None
    teraflops: float | None = None
    """2 · 3 · tokens · hidden · classes a second, whatever is computed."""
    share_of_matmul: float | None = None
    """Of what a plain matmul of this size reaches in the same run."""
    error: float | None = None


def arguments_of(shape: Shape) -> tuple[jax.Array, ...]:
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((shape.tokens, shape.hidden), np.float32)
    kernel = rng.standard_normal((shape.hidden, shape.classes), np.float32)
    kernel /= np.float32(np.sqrt(shape.hidden))
    labels = rng.integers(shape.classes, size=shape.tokens, dtype=np.int32)
    dtype = jnp.dtype(shape.dtype)
    return jnp.asarray(hidden, dtype), jnp.asarray(kernel, dtype), jnp.asarray(labels)


@dataclass(frozen=True)
class Truth:
    """The right answer in float64: all of the value, some of the gradients."""

    value: float
    rows: np.ndarray
    of_hidden: np.ndarray
    columns: np.ndarray
    of_kernel: np.ndarray

    @staticmethod
    def of(hidden: jax.Array, kernel: jax.Array, labels: jax.Array) -> "Truth":
        rng = np.random.default_rng(1)
        x, w, y = (np.asarray(a) for a in (hidden, kernel, labels))
        x, w = x.astype(np.float64), w.astype(np.float64)
        tokens, classes = x.shape[0], w.shape[1]
        rows = np.sort(rng.choice(tokens, min(8, tokens), replace=False))
        columns = np.unique([*rng.choice(classes, min(8, classes)), *y[:8]])
        total, of_hidden, at = 0.0, [], []
        for start in range(0, tokens, 256):
            part = slice(start, start + 256)
            z = x[part] @ w
            peak = z.max(axis=1, keepdims=True)
            logs = peak[:, 0] + np.log(np.exp(z - peak).sum(axis=1))
            total += float(np.sum(logs - z[np.arange(len(z)), y[part]]))
            p = np.exp(z[:, columns] - logs[:, None]) - (y[part][:, None] == columns)
            at.append(p)
            for row in rows[(rows >= start) & (rows < start + 256)]:
                q = np.exp(z[row - start] - logs[row - start])
                q[y[row]] -= 1
                of_hidden.append(w @ q)
        of_kernel = x.T @ np.concatenate(at)
        return Truth(
            total / tokens,
            rows,
            np.array(of_hidden) / tokens,
            columns,
            of_kernel / tokens,
        )

    def error(self, result: Any) -> float:
        """The largest error of value and gradients, relative to their lengths."""
        value, (of_hidden, of_kernel) = result
        pairs = (
            (np.asarray(value, np.float64), np.asarray(self.value)),
            (np.asarray(of_hidden[self.rows], np.float64), self.of_hidden),
            (np.asarray(of_kernel[:, self.columns], np.float64), self.of_kernel),
        )
        norm = np.linalg.norm
        return max(float(norm(a - e) / norm(e)) for a, e in pairs)


def measure(name: str, rounds: int, advance: Callable[[], None]) -> list[Line]:
    shape = SHAPES[name]
    args = arguments_of(shape)
    truth = Truth.of(*args)
    lines: list[Line] = []
    programs: dict[str, Program] = {}
    for contender, loss in contenders():
        line = Line(name, contender, "failed")
        lines.append(line)
        try:
            program = build(jax.value_and_grad(loss, (0, 1)), args)
            line.error = truth.error(program.call(*args))
        except Exception as refusal:  # whatever another library raises is its answer
            line.status = f"refuses: {str(refusal).splitlines()[0][:80]}"
            continue
        line.temp_bytes, line.compile_seconds = (
            program.temp_bytes,
            program.compile_seconds,
        )
        if not line.error <= TOLERANCE[shape.dtype]:
            line.status = f"wrong by {line.error:.1e}"
            continue
        line.status = "measured"
        programs[contender] = program
    matmul = build(
        lambda x, w, y: jnp.matmul(x, w, preferred_element_type=jnp.float32), args
    )
    samples: dict[str, list[float]] = {key: [] for key in [*programs, "matmul"]}
    for turn in range(rounds):
        order = [*programs.items(), ("matmul", matmul)]
        for key, program in order if turn % 2 == 0 else order[::-1]:
            start = time.perf_counter()
            jax.block_until_ready(program.call(*args))
            samples[key].append(time.perf_counter() - start)
        advance()
    flops = 2 * shape.tokens * shape.hidden * shape.classes
    ceiling = flops / statistics.median(samples["matmul"])
    for line in lines:
        taken = samples.get(line.contender)
        if not taken:
            continue
        line.seconds = statistics.median(taken)
        line.spread_seconds = max(taken) - min(taken)
        line.teraflops = 3 * flops / line.seconds / 1e12
        line.share_of_matmul = 3 * flops / line.seconds / ceiling
        theirs = samples.get("optax, full logits")
        if theirs:
            ratios = [b / a for a, b in zip(taken, theirs, strict=True)]
            line.ratio = statistics.median(ratios)
    return lines


def measure_kept(
    name: str, share: float, rounds: int, advance: Callable[[], None]
) -> list[Line]:
    """A mask alone, and with the promise that no more tokens are kept."""
    shape = SHAPES[name]
    hidden, kernel, labels = arguments_of(shape)
    count = max(1, round(share * shape.tokens))
    chosen = np.random.default_rng(2).permutation(shape.tokens)[:count]
    keep = np.zeros(shape.tokens, bool)
    keep[chosen] = True
    truth = Truth.of(hidden[np.flatnonzero(keep)], kernel, labels[np.flatnonzero(keep)])
    truth = replace(truth, rows=np.flatnonzero(keep)[truth.rows])
    args = hidden, kernel, labels
    lines, programs = [], []
    for contender, bound in (("a mask", None), ("a mask and max_tokens", count)):

        def loss(hidden, kernel, labels, bound=bound):
            return jaxloss.linear_softmax_cross_entropy(
                hidden, kernel, labels, where=jnp.asarray(keep), max_tokens=bound
            )

        program = build(jax.value_and_grad(loss, (0, 1)), args)
        error = truth.error(program.call(*args))
        line = Line(
            f"{name}, {share:.0%} kept",
            contender,
            "measured" if error <= TOLERANCE[shape.dtype] else f"wrong by {error:.1e}",
            temp_bytes=program.temp_bytes,
            compile_seconds=program.compile_seconds,
            error=error,
        )
        lines.append(line)
        programs.append(program)
    if any(line.status != "measured" for line in lines):
        return lines
    samples: list[list[float]] = [[], []]
    for _ in range(rounds):
        for taken, program in zip(samples, programs, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(program.call(*args))
            taken.append(time.perf_counter() - start)
        advance()
    for line, taken in zip(lines, samples, strict=True):
        line.seconds = statistics.median(taken)
        line.spread_seconds = max(taken) - min(taken)
        pairs = zip(taken, samples[0], strict=True)
        line.ratio = statistics.median(b / a for a, b in pairs)
    return lines


def table(lines: Sequence[Line], against: str) -> Table:
    shown = Table(title="Value and both gradients of a linear head's cross entropy")
    for heading in ("head", "program", "ms", f"{against} time / this", "temporaries"):
        shown.add_column(heading, justify="left" if heading == "program" else "right")
    shown.add_column("share of a matmul's speed", justify="right")
    shown.add_column("error", justify="right")
    for line in lines:
        memory = (
            "" if line.temp_bytes is None else f"{line.temp_bytes / 2**20:,.0f} MiB"
        )
        error = "" if line.error is None else f"{line.error:.1e}"
        if line.seconds is None:
            row = (line.shape, line.contender, line.status, "", memory, "", error)
        else:
            row = (
                line.shape,
                line.contender,
                f"{1e3 * line.seconds:,.1f}",
                "" if line.ratio is None else f"{line.ratio:.2f}",
                memory,
                "" if line.share_of_matmul is None else f"{line.share_of_matmul:.0%}",
                error,
            )
        shown.add_row(*row)
    return shown


def draw(lines: Sequence[Line], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = list(dict.fromkeys(line.shape for line in lines))
    figure, axes = plt.subplots(2, len(names), figsize=(4.5 * len(names), 6))
    for column, name in enumerate(names):
        rows = [line for line in lines if line.shape == name and line.seconds]
        labels = [line.contender for line in rows]
        values = (
            ("seconds", [line.seconds or 0.0 for line in rows]),
            ("temporaries, MiB", [(line.temp_bytes or 0) / 2**20 for line in rows]),
        )
        for place, (what, heights) in enumerate(values):
            cell = np.atleast_2d(axes.reshape(2, -1))[place, column]
            cell.barh(labels, heights, color="#1f5f9e")
            cell.invert_yaxis()
            cell.set_xlabel(what)
            if place == 0:
                shape = SHAPES[name]
                cell.set_title(
                    f"{shape.tokens:,} x {shape.hidden:,} x {shape.classes:,}"
                )
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.heads", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--shape", choices=tuple(SHAPES), nargs="+")
    parser.add_argument("--only", default="", metavar="REGEX", help="shapes that match")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--kept", type=float, metavar="SHARE", help="in (0, 1)")
    parser.add_argument("--json", type=Path, metavar="PATH")
    parser.add_argument("--plot", type=Path, metavar="PNG")
    options = parser.parse_args(argv)
    if options.kept is not None and not 0 < options.kept < 1:
        parser.error("--kept is a share of the tokens, between 0 and 1")
    on_device = jax.default_backend() != "cpu"
    chosen = options.shape or [
        name
        for name, shape in SHAPES.items()
        if shape.accelerator == on_device and name != "small"
    ]
    chosen = [name for name in chosen if re.search(options.only, name)]
    console = Console()
    lines: list[Line] = []
    with Progress(console=console) as progress:
        for name in chosen:
            task = progress.add_task(name, total=options.rounds)
            run = measure
            if options.kept is not None:
                run = functools.partial(measure_kept, share=options.kept)
            advance = functools.partial(progress.advance, task)
            lines += run(name, rounds=options.rounds, advance=advance)
    console.print(table(lines, "optax's" if options.kept is None else "the mask's"))
    if options.json:
        given = sys.argv[1:] if argv is None else argv
        command = shlex.join(["python", "-m", "benchmarks.heads", *given])
        now = datetime.datetime.now(datetime.UTC)
        body = {
            "environment": environment("jaxloss", command, now),
            "shapes": {name: asdict(SHAPES[name]) for name in chosen},
            "results": [asdict(line) for line in lines],
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(body, indent=1) + "\n")
    if options.plot:
        draw(lines, options.plot)
    measured = {line.contender for line in lines if line.status == "measured"}
    wanted = (
        {"jaxloss"} if options.kept is None else {"a mask", "a mask and max_tokens"}
    )
    return 0 if wanted <= measured else 1


if __name__ == "__main__":
    raise SystemExit(main())
