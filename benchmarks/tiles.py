"""What the sizes in `jaxloss._kernels.softmax_xent.config` and the chunks of a head do.

    python -m benchmarks.tiles [--json PATH] [--only REGEX] [--rounds N]

On a GPU: the kernel of rows of logits with other tiles, and the fused head with other
chunks, beside a copy of the logits and one matmul of the head. Each program's answer is
compared with XLA's before it is timed.
"""

import argparse
import datetime
import functools
import itertools
import json
import os
import re
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

import jaxloss
from benchmarks.results import environment
from jaxloss._core.cross_entropy import Options
from jaxloss._kernels import tile, told
from jaxloss._kernels.softmax_xent import config, mosaic_gpu
from jaxloss._kernels.softmax_xent.config import GpuTiles

BITS = jnp.dtype("bfloat16")
ROWS = (
    (8192, 128256),
    (8192, 50257),
    (4096, 262144),
    (8192, 32000),
    (1024, 32000),
    (256, 128256),
    (65536, 1024),
)
# Calls a sample: that one is launched and waited for is not what is timed.
CALLS = 10
HEAD = (8192, 4096, 128256)
# What XLA computes otherwise than the kernel: sums in another order, and a derivative
# that may be rounded to the other neighbour.
VALUE, SLOPE = 2e-6, 2.0**-8


@dataclass
class Line:
    problem: str
    program: str
    note: str = ""
    milliseconds: float | None = None
    share: float | None = None
    """Of the copy's bandwidth, or of the matmul's speed."""
    temp_bytes: int | None = None
    error: float | None = None


@dataclass
class Program:
    """What is compiled, and what it is called with: its first argument is donated, and
    its result, of the same shape and dtype, is the next run's."""

    line: Line
    traced: Any
    arguments: list[Any]
    compiled: Any = None

    def build(self) -> None:
        try:
            self.compiled = self.traced.lower().compile()
            memory = self.compiled.memory_analysis()
            self.line.temp_bytes = memory.temp_size_in_bytes
        except Exception as refusal:  # tiles that do not fit are an answer too
            self.line.note = (str(refusal).splitlines() or ["refused"])[0][:120]


def candidates(classes: int, slope: bool, few: bool) -> Iterator[GpuTiles]:
    """Tiles around the chosen ones: pieces, warpgroups to a row, rows at a time."""
    chosen = config.gpu_tiles(classes, BITS, slope)
    yield chosen
    if few:
        return
    shapes = [(2, 1, 4), (4, 1, 4), (4, 2, 2), (4, 4, 1)]
    if slope:
        shapes = [
            (4, 1, 3),
            (8, 1, 2),
            (4, 2, 1),
            (8, 2, 1),
            (2, 4, 1),
            (4, 4, 1),
            (1, 4, 2),
            (1, 8, 1),
            (2, 8, 1),
        ]
    if chosen.vector == 1:
        # A piece is a load, and many of them take long to compile.
        shapes = [(16, 1, 3), (16, 2, 1), (8, 4, 1), (16, 4, 1)]
    exact = (True,) if chosen.vector == 1 else (False, True)
    for (pieces, groups, blocks), fast in itertools.product(shapes, exact):
        scratch = config.SHARED // (blocks + 1) + config.KIB if slope else 0
        yield GpuTiles(
            chosen.columns,
            chosen.vector,
            pieces,
            blocks,
            min(scratch, config.SHARED // 2 - config.KIB),
            groups,
            fast,
        )


def by_kernel(tiles: GpuTiles, slope: bool) -> Callable[..., Any]:
    """The mean loss, and its derivative written over the logits."""

    def run(logits: jax.Array, labels: jax.Array) -> Any:
        count, classes = logits.shape
        weights = jnp.full((count,), 1 / count, jnp.float32)
        known = told.tell(labels, None, Options(), classes, weights, None)
        seen, *written = mosaic_gpu.rows(
            logits,
            jnp.concatenate(known.row, axis=1),
            None,
            on=known.on,
            tiles=tiles,
            slope=logits.dtype if slope else None,
            in_place=True,
        )
        columns = (seen[:, i : i + 1] for i in range(len(tile.Statistic._fields)))
        value = jnp.mean(told.losses(known, tile.Statistic(*columns)))
        return (value, *written)

    return run


def by_xla(slope: bool) -> Callable[..., Any]:
    loss = functools.partial(
        jaxloss.softmax_cross_entropy_with_integer_labels,
        reduction="mean",
        implementation="xla",
    )
    return jax.value_and_grad(loss) if slope else lambda x, y: (loss(x, y),)


@jax.jit
def _apart(a: jax.Array, b: jax.Array) -> jax.Array:
    a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    return jnp.sqrt(jnp.sum((a - b) ** 2) / jnp.sum(b**2))


def measure_rows(
    rows: int, classes: int, slope: bool, few: bool, rounds: int
) -> list[Line]:
    task = "value and gradient" if slope else "value"
    problem = f"{rows:,} x {classes:,}, {task}"
    key = jax.random.key(0)
    x = (3 * jax.random.normal(key, (rows, classes), jnp.float32)).astype(BITS)
    y = jax.random.randint(key, (rows,), 0, classes, jnp.int32)
    donated = (0,) if slope else ()
    programs = []
    tiles = dict.fromkeys(candidates(classes, slope, few))
    functions = [("xla", by_xla(slope))]
    functions += [(repr(t), by_kernel(t, slope)) for t in tiles]
    for name, function in functions:
        traced = jax.jit(function, donate_argnums=donated).trace(x, y)
        programs.append(Program(Line(problem, name), traced, [x, y]))
    negated = jax.jit(lambda x, y: (y, -x), donate_argnums=0).trace(x, y)
    programs.append(Program(Line(problem, "negated in place"), negated, [x, y]))
    copy = jax.jit(lambda x, y: (y, jnp.copy(x))).trace(x, y)
    programs.append(Program(Line(problem, "a copy"), copy, [x, y]))
    with ThreadPoolExecutor() as pool:
        list(pool.map(Program.build, programs))
    right: Any = None
    kept = []
    for program in programs:
        if program.compiled is None:
            continue
        name = program.line.program
        writes = name != "a copy" and (slope or name == "negated in place")
        # The logits themselves are needed again: each is given a copy to write over.
        program.arguments[0] = jnp.copy(x) if writes else x
        result = jax.block_until_ready(program.compiled(*program.arguments))
        if name == "xla":
            right = result
        elif program.line.program.startswith("GpuTiles"):
            error = abs(float(result[0]) / float(right[0]) - 1) / VALUE
            if slope:
                error = max(error, float(_apart(result[1], right[1])) / SLOPE)
            program.line.error = error
            if not error <= 1:
                program.line.note = "wrong"
                continue
        kept.append(program)
        if writes:
            # One buffer serves all: what is timed does not depend on the numbers.
            program.arguments[0] = None
    buffer = jnp.copy(x)
    samples: dict[int, list[float]] = {id(p): [] for p in kept}
    for turn in range(rounds):
        for program in kept[:: 1 if turn % 2 == 0 else -1]:
            over = program.arguments[0] is None
            start = time.perf_counter()
            result: Any = None
            for _ in range(CALLS):
                given = buffer if over else program.arguments[0]
                result = program.compiled(given, y)
                if over:
                    buffer = result[1]
            jax.block_until_ready(result)
            samples[id(program)].append((time.perf_counter() - start) / CALLS)
    size = rows * classes * BITS.itemsize * (2 if slope else 1)
    of_copy = statistics.median(samples[id(kept[-1])])
    bandwidth = 2 * rows * classes * BITS.itemsize / of_copy
    for program in kept:
        seconds = statistics.median(samples[id(program)])
        program.line.milliseconds = 1e3 * seconds
        program.line.share = size / seconds / bandwidth
    kept[-1].line.share = 1.0
    return [program.line for program in programs]


def measure_head(rounds: int) -> list[Line]:
    tokens, hidden, classes = HEAD
    problem = f"{tokens:,} x {hidden:,} x {classes:,}, value and both gradients"
    keys = jax.random.split(jax.random.key(0), 3)
    h = jax.random.normal(keys[0], (tokens, hidden), BITS)
    w = jax.random.normal(keys[1], (hidden, classes), jnp.float32) * hidden**-0.5
    w = w.astype(BITS)
    y = jax.random.randint(keys[2], (tokens,), 0, classes, jnp.int32)
    programs = []
    for chunk, stored, by in itertools.product(
        (1024, 2048, 4096), (None, BITS), ("mosaic_gpu", "xla")
    ):
        loss = functools.partial(
            jaxloss.linear_softmax_cross_entropy,
            chunk_size=chunk,
            logits_dtype=stored,
            implementation=by,
        )
        name = f"{by}, chunks of {chunk:,}, logits in {stored or 'float32'}"
        traced = jax.jit(jax.value_and_grad(loss, (0, 1))).trace(h, w, y)
        programs.append(Program(Line(problem, name), traced, [h, w, y]))
    matmul = jax.jit(lambda h, w, y: (jnp.matmul(h, w),)).trace(h, w, y)
    programs.append(Program(Line(problem, "one matmul"), matmul, [h, w, y]))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(Program.build, programs))
    there = [p for p in programs if p.compiled is not None]
    values = [
        float(jax.block_until_ready(p.compiled(*p.arguments))[0]) for p in there[:-1]
    ]
    for program, value in zip(there, values, strict=False):
        program.line.error = abs(value / values[-1] - 1)
    samples: dict[int, list[float]] = {id(p): [] for p in there}
    for turn in range(rounds):
        for program in there[:: 1 if turn % 2 == 0 else -1]:
            start = time.perf_counter()
            jax.block_until_ready(program.compiled(*program.arguments))
            samples[id(program)].append(time.perf_counter() - start)
    one = statistics.median(samples[id(there[-1])])
    for program in there:
        seconds = statistics.median(samples[id(program)])
        program.line.milliseconds = 1e3 * seconds
        program.line.share = 3 * one / seconds
    there[-1].line.share = 1.0
    return [program.line for program in programs]


def table(lines: Sequence[Line]) -> Table:
    shown = Table(title="Tiles and chunks")
    for heading in ("problem", "program", "ms", "of the ceiling", "MiB", "error"):
        shown.add_column(heading)
    for line in lines:
        shown.add_row(
            line.problem,
            line.program,
            line.note or f"{line.milliseconds or 0:.3f}",
            "" if line.share is None else f"{line.share:.0%}",
            "" if line.temp_bytes is None else f"{line.temp_bytes >> 20:,}",
            "" if line.error is None else f"{line.error:.1e}",
        )
    return shown


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tiles")
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument(
        "--few", action="store_true", help="the chosen tiles alone, and XLA"
    )
    parser.add_argument("--rounds", type=int, default=9, metavar="N")
    parser.add_argument("--json", type=Path, metavar="PATH")
    options = parser.parse_args(argv)
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    console = Console(width=160)
    if jax.default_backend() != "gpu":
        console.print("The kernel with tiles of its own is for GPU, and here is none.")
        return 1
    problems: dict[str, Callable[[], list[Line]]] = {
        f"{rows} x {classes}, {'gradient' if slope else 'value'}": functools.partial(
            measure_rows, rows, classes, slope, options.few, options.rounds
        )
        for slope in (True, False)
        for rows, classes in ROWS
    }
    problems["head"] = functools.partial(measure_head, options.rounds)
    lines: list[Line] = []
    for name, run in problems.items():
        if not re.search(options.only, name):
            continue
        start = time.perf_counter()
        found = run()
        lines += found
        console.print(table(found))
        console.print(f"{name}: {time.perf_counter() - start:.0f} s")
        sys.stdout.flush()
        if options.json:
            given = sys.argv[1:] if argv is None else argv
            command = shlex.join(["python", "-m", "benchmarks.tiles", *given])
            now = datetime.datetime.now(datetime.UTC)
            body = {
                "environment": environment("jaxloss", command, now),
                "results": [asdict(line) for line in lines],
            }
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(body, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
