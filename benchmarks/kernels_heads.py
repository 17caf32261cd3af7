"""The cross entropy of a linear head, for `benchmarks.kernels`."""

import functools
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax

import jaxloss
from benchmarks import kernels_torch
from benchmarks.contest import Contest, Entry, Line, implementations, of_heads
from benchmarks.heads import Truth, full_logits, least_memory
from benchmarks.kernels_data import BITS, labels, normal
from benchmarks.kernels_results import LEAST_MEMORY

TOLERANCE = 3e-2
"""Sums of rounded products, of logits that some of them store in bfloat16."""
CHECKED = 128
"""Tokens on which the answers are checked."""


@dataclass(frozen=True)
class Head:
    """A linear head."""

    rows: int
    hidden: int
    classes: int


def losses() -> Iterator[tuple[str, Callable[..., Any]]]:
    ours = jaxloss.linear_softmax_cross_entropy
    for stored in (None, BITS):
        for name in implementations():
            label = f"jaxloss, {name}" + ("" if stored is None else ", bfloat16 logits")
            yield (
                label,
                functools.partial(ours, implementation=name, logits_dtype=stored),
            )

    yield LEAST_MEMORY, least_memory
    yield "optax, full logits", full_logits
    if importlib.util.find_spec("tokamax") is not None:
        names = ("mosaic_tpu", "xla", "chunked_xla")
        for name in names if jax.default_backend() == "tpu" else names[1:]:
            yield (
                f"tokamax, {name}",
                lambda h, w, y, name=name: tokamax().linear_softmax_cross_entropy_loss(
                    h, y, w, reduction="mean", implementation=name
                ),
            )


@functools.cache
def tokamax() -> Any:
    """tokamax, also where the profiler is missing that it imports for its own
    measurements: nothing of those is asked for here."""
    if importlib.util.find_spec("xprof") is None:
        *_, tools = (
            sys.modules.setdefault(name, types.ModuleType(name))
            for name in ("xprof", "xprof.cli", "xprof.cli.tools")
        )
        vars(tools)["get_kernel_stats_tool"] = None
    module = importlib.import_module("tokamax")
    # It reads flags, and would take this program's arguments for its own.
    importlib.import_module("absl.flags").FLAGS(sys.argv[:1])
    return module


@dataclass(frozen=True)
class Checks:
    """A kernel, and the few tokens on which every program with it is checked."""

    hidden: int
    classes: int
    errors: dict[str, float] = field(default_factory=dict)
    """By contender: heads that differ in their tokens only share this part."""

    @functools.cached_property
    def part(self) -> tuple[jax.Array, ...]:
        return (
            normal(2, (CHECKED, self.hidden)),
            normal(3, (self.hidden, self.classes), self.hidden**-0.5),
            labels(4, CHECKED, self.classes),
        )

    @functools.cached_property
    def truth(self) -> Truth:
        return Truth.of(*self.part)


@functools.lru_cache(maxsize=1)
def checks(hidden: int, classes: int) -> Checks:
    return Checks(hidden, classes)


def measure(
    name: str,
    shape: Head,
    contest: Contest,
    losses: Callable[[], Iterator[tuple[str, Callable[..., Any]]]] = losses,
    others: Callable[..., Iterable[Entry]] = kernels_torch.heads,
) -> list[Line]:
    """JAX functions of hidden states, kernel and labels, and who has arrays of their
    own, given those of the part and of the whole."""
    found = checks(shape.hidden, shape.classes)
    with contest.spending("data"):
        part = found.part
        args = (
            normal(0, (shape.rows, shape.hidden)),
            part[1],
            labels(1, shape.rows, shape.classes),
        )
        jax.block_until_ready((part, args))
    return of_heads(
        name,
        losses(),
        others(part, args),
        args,
        part,
        lambda: found.truth.error,
        TOLERANCE,
        3,
        contest,
        found.errors,
    )
