"""One case: compile, check the answer, then time both libraries turn by turn."""

import contextlib
import functools
import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.registry import Case, primary
from benchmarks.results import Result, Side

TWIN = "optax.losses"

# A sample shorter than this is mostly timer and scheduler; short programs are called
# as often as it takes.
SAMPLE_SECONDS = 1e-3
FEWEST_PAIRS, MOST_PAIRS = 5, 101

# A gradient in bfloat16 is rounded to 8 bits: half a unit in the last place is 2^-9 of
# it, and twice that is allowed.
BFLOAT16_GRADIENT_TOLERANCE = 2.0**-8
# The twin need only compute the same quantity: in float32 it cancels where we do not,
# in bfloat16 it rounds every intermediate.
TWIN_TOLERANCE = {"float32": 1e-3, "bfloat16": 0.25}


@contextlib.contextmanager
def plain_jax() -> Iterator[None]:
    """JAX as most people run it, whatever strictness the caller has switched on."""
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
        jax.debug_nans(False),
        jax.debug_infs(False),
    ):
        yield


@dataclass(frozen=True)
class Program:
    """A compiled program, and what its compiler said of it."""

    call: Callable[..., Any]
    compile_seconds: float
    temp_bytes: int
    output_bytes: int


def build(function: Callable[..., Any], args: tuple[jax.Array, ...]) -> Program:
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*args).compile()
    seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    if memory is None:
        raise RuntimeError("the compiler of this device tells nothing of its memory")
    return Program(
        compiled, seconds, memory.temp_size_in_bytes, memory.output_size_in_bytes
    )


@functools.lru_cache(maxsize=1)
def right_answer(case: Case) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Loss and gradient of its mean, in float64 on the same, already rounded inputs."""
    entry = case.entry
    loss = entry.find(TWIN)
    if entry.oracle is not None:
        loss = functools.partial(entry.oracle, case.dtype)
    if loss is None:
        raise LookupError(f"{TWIN} has no {entry.loss}")

    def mean_and_loss(*args: jax.Array) -> tuple[jax.Array, jax.Array]:
        result = primary(loss(*args))
        return jnp.mean(result), result

    rounded = [np.asarray(a) for a in case.arguments()]
    with jax.enable_x64(True):
        wide = [
            jnp.asarray(a.astype(np.int32 if a.dtype.kind in "iub" else np.float64))
            for a in rounded
        ]
        if "value_and_grad" not in entry.modes:
            return np.asarray(jax.jit(mean_and_loss)(*wide)[1]), ()
        gradient = jax.grad(mean_and_loss, argnums=entry.wrt, has_aux=True)
        grads, result = jax.jit(gradient)(*wide)
        return np.asarray(result), tuple(np.asarray(g) for g in grads)


def error(got: Any, want: np.ndarray) -> float:
    """Largest difference, relative to the largest component of the right answer."""
    difference = np.abs(np.asarray(got).astype(np.float64) - want)
    worst = float(np.max(difference, initial=0.0))
    scale = float(np.max(np.abs(want), initial=0.0)) or 1.0
    return worst / scale if math.isfinite(worst) else math.inf


def errors(
    case: Case, loss: Callable[..., Any], result: Any
) -> list[tuple[str, float]]:
    """The error of each part of the result, and of each example's loss."""
    key = Case(case.entry, case.shape, case.dtype, case.entry.modes[0], case.small)
    want, gradients = right_answer(key)
    mean = np.asarray(np.mean(want))
    if case.mode == "value_and_grad":
        value, grads = result
        return [("mean", error(value, mean))] + [
            (f"gradient {i}", error(g, w))
            for i, g, w in zip(case.entry.wrt, grads, gradients, strict=True)
        ]
    # What else a function returns (CTC's forward variables) is not compared:
    # impossible states are -1e5 in one convention and -inf in another.
    each = jax.jit(lambda *args: primary(loss(*args)))(*case.arguments())
    found = [("loss", error(each, want))]
    if result is not None:
        found.append(("mean", error(primary(result), mean)))
    return found


def verdict(case: Case, found: list[tuple[str, float]], loose: bool) -> str:
    """Empty when every part is within its tolerance, else what is wrong."""
    complaints = []
    for part, size in found:
        allowed = case.entry.tolerance
        if loose:
            allowed = TWIN_TOLERANCE[case.dtype]
        elif part.startswith("gradient") and case.dtype == "bfloat16":
            allowed = BFLOAT16_GRADIENT_TOLERANCE
        if not size <= allowed:
            complaints.append(f"{part} off by {size:.1e}, allowed {allowed:.1e}")
    return "; ".join(complaints)


def sample(program: Program, args: tuple[jax.Array, ...], calls: int) -> float:
    """Seconds a call, each call waited for."""
    start = time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(program.call(*args))
    return (time.perf_counter() - start) / calls


def pairs(
    ours: Program,
    theirs: Program,
    args: tuple[jax.Array, ...],
    budget: float,
    repeats: int | None,
) -> tuple[list[float], list[float], int]:
    """Samples of both, taken in turn, the first of a pair changing every time.

    A machine that slows down slows both halves of a pair, so the ratio within pairs
    keeps its meaning where medians of separate runs would not.
    """
    guess = [min(sample(p, args, 1) for _ in range(2)) for p in (ours, theirs)]
    calls = max(1, math.ceil(SAMPLE_SECONDS / min(guess)))
    count = repeats or int(budget / (calls * sum(guess)))
    if repeats is None:
        count = min(max(count, FEWEST_PAIRS), MOST_PAIRS)
    samples: tuple[list[float], list[float]] = ([], [])
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        for i in range(count):
            turn = ((0, ours), (1, theirs)) if i % 2 == 0 else ((1, theirs), (0, ours))
            for side, program in turn:
                samples[side].append(sample(program, args, calls))
    finally:
        if was_collecting:
            gc.enable()
    return samples[0], samples[1], calls


def quartiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _side(
    program: Program, seconds: list[float], moved: int, found: list[tuple[str, float]]
) -> Side:
    low, middle, high = quartiles(seconds)
    return Side(
        median_seconds=middle,
        spread_seconds=high - low,
        gigabytes_per_second=moved / middle / 1e9,
        compile_seconds=program.compile_seconds,
        temp_bytes=program.temp_bytes,
        output_bytes=program.output_bytes,
        error=max(size for _, size in found),
    )


def measure(
    case: Case,
    module: str = "jaxloss",
    budget: float = 1.0,
    repeats: int | None = None,
    timed: bool = True,
) -> Result:
    """Check one case and, if its answer is right and `timed`, time it."""
    blank = Result.about(case)
    with plain_jax():
        loss, twin = case.entry.find(module), case.entry.find(TWIN)
        if loss is None or twin is None:
            absent = module if loss is None else TWIN
            return blank.but(status="missing", note=f"{absent} has no such name")
        args = case.arguments()
        if not timed and case.mode == "forward":
            # The mean is not ours to check, and compiling it is half of the work.
            wrong = verdict(case, errors(case, loss, None), loose=module == TWIN)
            return blank.but(status="wrong" if wrong else "checked", note=wrong)
        ours = build(case.program(loss), args)
        our_errors = errors(case, loss, ours.call(*args))
        # Measured against itself, optax is held to what it can hold.
        wrong = verdict(case, our_errors, loose=module == TWIN)
        if wrong:
            return blank.but(status="wrong", note=wrong)
        if not timed:
            return blank.but(status="checked")
        try:
            theirs = build(case.program(twin), args)
        except (TypeError, ValueError) as refusal:
            theirs, their_errors = None, []
            doubt = f"cannot: {str(refusal).splitlines()[0]}"
        else:
            their_errors = errors(case, twin, theirs.call(*args))
            doubt = verdict(case, their_errors, loose=True)
        blank = blank.but(note=doubt and f"optax {doubt}")
        # Without a rival we still run in pairs, against ourselves.
        a, b, calls = pairs(ours, theirs or ours, args, budget, repeats)
        moved = case.compulsory_bytes(loss)
        blank = blank.but(
            status="measured",
            ours=_side(ours, a, moved, our_errors),
            pairs=len(a),
            calls_per_sample=calls,
            compulsory_bytes=moved,
        )
        if theirs is None:
            return blank
    low, middle, high = quartiles([y / x for x, y in zip(a, b, strict=True)])
    return blank.but(
        theirs=_side(theirs, b, moved, their_errors),
        ratio=middle,
        ratio_spread=high - low,
    )
