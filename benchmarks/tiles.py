"""What the sizes in `jaxloss._kernels.softmax_xent.config` and the chunks of a head do.

    python -m benchmarks.tiles [--json PATH] [--only REGEX] [--rounds N] [--few]

On a GPU: the kernel of rows of logits with other tiles, and the fused head with other
chunks, beside a copy of the logits and one matmul of the head. What is wrong is not
timed. With `--few` the chosen tiles alone.
"""

import dataclasses
import functools
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import jaxloss
from benchmarks import kernels, kernels_heads, kernels_logits
from benchmarks.contest import Contest, Entry, Line, compiling
from benchmarks.kernels_data import BITS
from benchmarks.kernels_heads import Head
from benchmarks.kernels_logits import GRADIENT, VALUE, Logits, Truth
from jaxloss._core.cross_entropy import Options
from jaxloss._kernels import tile, told
from jaxloss._kernels.softmax_xent import config, mosaic_gpu
from jaxloss._kernels.softmax_xent.config import GpuTiles

# Sums of a row in float32 and their mean; a derivative that may be rounded to the other
# neighbour. An error is given in these.
ALLOWED = {VALUE: 2e-6, GRADIENT: 2.0**-8}


@dataclass(frozen=True)
class Tiled(Logits):
    """Rows of logits, for one task, by tiles around the chosen ones or those alone."""

    task: str
    few: bool


def problems(few: bool) -> dict[str, Tiled | Head]:
    rows: dict[str, Tiled | Head] = {
        f"{rows} x {classes}, {name}": Tiled(rows, classes, task, few)
        for name, task in (("gradient", GRADIENT), ("value", VALUE))
        for rows, classes in (
            (8192, 128256),
            (8192, 50257),
            (4096, 262144),
            (8192, 32000),
            (1024, 32000),
            (256, 128256),
            (65536, 1024),
        )
    }
    return rows | {"head": Head(8192, 4096, 128256)}


def candidates(classes: int, slope: bool, few: bool) -> Iterator[GpuTiles]:
    """The chosen tiles, and others: pieces, warpgroups to a row, rows at a time."""
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
        yield dataclasses.replace(
            chosen,
            pieces=pieces,
            warpgroups=groups,
            blocks=blocks,
            scratch=config.scratch_for(blocks) if slope else 0,
            fast=fast,
        )


def by_kernel(tiles: GpuTiles, slope: bool) -> Callable[..., Any]:
    """The mean loss, and with it its derivative, written over the logits."""

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
        return (value, *written) if slope else value

    return run


def entries(
    shape: Tiled, logits: jax.Array, labels: jax.Array
) -> Iterator[tuple[str, Entry]]:
    slope, args = shape.task == GRADIENT, (logits, labels)
    enter = functools.partial(compiling, args=args, in_place=slope)
    xla = functools.partial(
        jaxloss.softmax_cross_entropy_with_integer_labels,
        reduction="mean",
        implementation="xla",
    )
    yield shape.task, enter("xla", jax.value_and_grad(xla) if slope else xla)
    for tiles in dict.fromkeys(candidates(shape.classes, slope, shape.few)):
        yield shape.task, enter(f"jaxloss, {tiles!r}", by_kernel(tiles, slope))
    if slope:
        # What writing over the logits takes at least. It is no loss, and has no error.
        negated = enter("negated in place", lambda x, y: (jnp.float32(0), -x))
        yield shape.task, dataclasses.replace(negated, tolerance=math.inf)


def error(truth: Truth, result: Any, task: str) -> float:
    """The larger of two, each in what is allowed of it."""
    pairs = zip(truth.errors(result, task), ALLOWED.values(), strict=True)
    return max(found / allowed for found, allowed in pairs)


def chunks() -> Iterator[tuple[str, Callable[..., Any]]]:
    """The fused head in chunks of several lengths."""
    for chunk, stored, by in itertools.product(
        (1024, 2048, 4096), (None, BITS), ("mosaic_gpu", "xla")
    ):
        yield (
            f"jaxloss, {by}, chunks of {chunk:,}, logits in {stored or 'float32'}",
            functools.partial(
                jaxloss.linear_softmax_cross_entropy,
                chunk_size=chunk,
                logits_dtype=stored,
                implementation=by,
            ),
        )


def measure(name: str, problem: Tiled | Head, contest: Contest) -> list[Line]:
    match problem:
        case Tiled():
            return kernels_logits.measure(
                name,
                problem,
                contest,
                functools.partial(entries, problem),
                error,
                dict.fromkeys(ALLOWED, 1.0),
            )
        case Head():
            return kernels_heads.measure(
                name, problem, contest, chunks, lambda part, whole: ()
            )


def main(argv: Sequence[str] | None = None) -> int:
    begin = time.perf_counter()
    arguments = kernels.parser("tiles", __doc__ or "")
    arguments.add_argument("--few", action="store_true", help="the chosen tiles alone")
    options = arguments.parse_args(argv)
    if jax.default_backend() != "gpu":
        kernels.show("The kernel with tiles of its own is for GPU, and here is none.")
        return 1
    about = {"environment": kernels.header("tiles", argv or sys.argv[1:])}
    found = kernels.run(problems(options.few), measure, options, about, begin)
    return kernels.status(found)


if __name__ == "__main__":
    raise SystemExit(main())
