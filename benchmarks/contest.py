"""Programs against each other on an accelerator: checked, then timed in turn."""

import contextlib
import functools
import math
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import jax
import jax.numpy as jnp

from jaxloss._core.types import Implementation
from jaxloss._kernels import chips

Answer = TypeVar("Answer")

LEAST_ROUNDS = 3
# A sample is of so many calls, one started after the other, that it takes at least so
# long: what is timed is the device, and not how soon a call is heard of.
SAMPLE_SECONDS, MOST_CALLS = 2e-2, 20


@dataclass
class Line:
    """One program on one problem.

    `status`: measured, wrong, refuses, failed, or late: there was no time for it.
    """

    problem: str
    task: str
    contender: str
    status: str = "failed"
    note: str = ""
    seconds: float | None = None
    spread_seconds: float | None = None
    gigabytes_per_second: float | None = None
    """Of what must be moved: the logits once, and their gradient once."""
    teraflops: float | None = None
    """2 · 3 · tokens · hidden · classes a second, whatever is computed."""
    share: float | None = None
    """Of the copy's, or the matmul's, in the same run."""
    temp_bytes: int | None = None
    error: float | None = None

    def refuse(self, status: str, refusal: Exception) -> None:
        # Some colour what they say.
        said = re.sub(r"\x1b\[[0-9;]*m", "", str(refusal)).strip().splitlines()
        self.status, self.note = status, (said or [type(refusal).__name__])[0][:100]


@dataclass
class Contender:
    """A program that someone may run, and what it is called with."""

    name: str
    run: Callable[..., Any]
    """Starts it, and gives what NumPy can read once it is there."""
    wait: Callable[[Any], Any] = jax.block_until_ready
    """Until a result of it, and all before, is there."""
    temp_bytes: int | None = None
    sample: Callable[[], Any] | None = None
    """Its answer on a part of the problem, where that of the whole is not known."""
    settle: Callable[[], int] | None = None
    """Runs it once more, since it compiles when it is called; gives its temporaries."""


Make = Callable[[], Contender]


@dataclass(frozen=True)
class Entry:
    """One that takes part."""

    name: str
    start: Callable[[Executor], Make]
    """Hands the compiler to the threads; what it gives waits for that to end."""
    tolerance: float | None = None
    """Of its error, if it is not everyone's."""


Started = tuple[Entry, Make]


def implementations() -> tuple[Implementation, Implementation]:
    """Ours on this platform, and XLA."""
    return chips.of_platform(jax.default_backend()) or "interpret", "xla"


# ------------------------------------------------------------------ JAX programs


class _InPlace:
    """A program whose gradient is written over its logits, as in training, where they
    come out of a matmul and nobody needs them afterwards. It has logits of its own: at
    first the true ones, and then whatever gradient the run before left in them."""

    def __init__(self, program: Callable[..., Any]):
        self.program = program
        self.logits: jax.Array | None = None

    def __call__(self, logits: jax.Array, *rest: Any) -> Any:
        mine = jnp.array(logits, copy=True) if self.logits is None else self.logits
        result = self.program(mine, *rest)
        self.logits = result[1]
        return result


def compiling(
    name: str,
    function: Callable[..., Any],
    args: Sequence[Any],
    *,
    in_place: bool = False,
    part: Sequence[Any] | None = None,
) -> Entry:
    """A JAX program.

    Args:
      name: of the contender.
      function: of `args`.
      args: what it is timed with.
      in_place: whether the first argument is donated, for the second result.
      part: arguments of the program that is checked, if that is another one.
    """

    def start(pool: Executor) -> Make:
        # What is traced depends on this thread's settings, so only compiling is left
        # to the others.
        donated = (0,) if in_place else ()
        whole = jax.jit(function, donate_argnums=donated).lower(*args)
        whole = pool.submit(whole.compile)
        few = pool.submit(jax.jit(function).lower(*part).compile) if part else None

        def make() -> Contender:
            program = whole.result()
            memory = program.memory_analysis()
            temporaries = None if memory is None else memory.temp_size_in_bytes
            sample = None
            if few is not None and part is not None:
                sample = functools.partial(_waited, few.result(), *part)
            run = _InPlace(program) if in_place else program
            return Contender(name, run, temp_bytes=temporaries, sample=sample)

        return make

    return Entry(name, start)


def _waited(program: Callable[..., Any], *args: Any) -> Any:
    return jax.block_until_ready(program(*args))


# ------------------------------------------------------------------ the contest


@dataclass
class Contest:
    """How the programs of one problem meet, and where the seconds went."""

    rounds: int = 20
    budget: float = 6.0
    """Seconds that a comparison may take."""
    without: str = ""
    """A pattern of contenders that do not take part."""
    deadline: float = math.inf
    """By `time.perf_counter`: afterwards nobody is checked and no round is begun."""
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def late(self) -> bool:
        return time.perf_counter() > self.deadline

    @contextlib.contextmanager
    def spending(self, on: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            taken = time.perf_counter() - begin
            self.seconds[on] = self.seconds.get(on, 0.0) + taken

    def prepare(
        self, ceiling: Entry, entries: Iterable[Entry], truth: Callable[[], Answer]
    ) -> tuple[Contender, list[Started], Answer]:
        """Compiles all of them in threads, while the right answer is computed."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            with self.spending("compiling"):
                beside = ceiling.start(pool)
                started = [
                    (entry, _started(entry, pool))
                    for entry in entries
                    if not (self.without and re.search(self.without, entry.name))
                ]
            with self.spending("truth"):
                answer = truth()
            with self.spending("compiling"):
                pool.shutdown()
        return beside(), started, answer

    def compete(
        self,
        problem: str,
        task: str,
        started: Iterable[Started],
        args: Sequence[Any],
        error_of: Callable[[Any], float],
        tolerance: float,
        ceiling: Contender,
        known: dict[str, float] | None = None,
    ) -> tuple[list[Line], float]:
        """Checks, and times what is right; also the ceiling's seconds.

        Args:
          problem, task: for the lines.
          started: who takes part.
          args: what each is run with.
          error_of: of a result.
          tolerance: of that error.
          ceiling: what is timed beside them.
          known: errors of those whose answer on a part was checked before.
        """
        known = {} if known is None else known
        lines: list[Line] = []
        right: list[tuple[Line, Contender]] = []
        with self.spending("checking"):
            for entry, make in started:
                line = Line(problem, task, entry.name)
                lines.append(line)
                if self.late:
                    line.status = "late"
                    continue
                limit = tolerance if entry.tolerance is None else entry.tolerance
                try:
                    contender = _checked(make, args, error_of, limit, line, known)
                except Exception as refusal:  # another library's answer
                    line.refuse("refuses", refusal)
                else:
                    if contender is not None:
                        right.append((line, contender))
                _release()
            ceiling.wait(ceiling.run(*args))
        with self.spending("timing"):
            contenders = [contender for _, contender in right]
            samples, failures = self._timed([*contenders, ceiling], args)
        for line, contender in right:
            taken = samples[contender.name]
            if contender.name in failures:
                line.refuse("failed", failures[contender.name])
            else:
                line.status = "measured"
                line.seconds = statistics.median(taken)
                line.spread_seconds = max(taken) - min(taken)
        if ceiling.name in failures:
            raise failures[ceiling.name]
        return lines, statistics.median(samples[ceiling.name])

    def _timed(
        self, contenders: Sequence[Contender], args: Sequence[Any]
    ) -> tuple[dict[str, list[float]], dict[str, Exception]]:
        """Samples of all, taken in turn, forth and back; and who fell out."""
        samples: dict[str, list[float]] = {c.name: [] for c in contenders}
        failures: dict[str, Exception] = {}

        def ran(contender: Contender, calls: int) -> float:
            begin = time.perf_counter()
            try:
                result = None
                for _ in range(calls):
                    result = contender.run(*args)
                contender.wait(result)
            except Exception as failure:  # it ran before, but the device may be full
                failures[contender.name] = failure
            return (time.perf_counter() - begin) / calls

        # The first of torch's gets memory anew that had been given back.
        calls = {}
        for contender in contenders:
            once = min(ran(contender, 1) for _ in range(2))
            calls[contender.name] = min(math.ceil(SAMPLE_SECONDS / once), MOST_CALLS)
        start = time.perf_counter()
        for turn in range(max(self.rounds, 1)):
            for contender in contenders if turn % 2 == 0 else contenders[::-1]:
                if contender.name not in failures:
                    taken = ran(contender, calls[contender.name])
                    samples[contender.name].append(taken)
            spent = time.perf_counter() - start
            enough = turn + 1 >= LEAST_ROUNDS and spent > self.budget
            if enough or self.late:
                break
        return samples, failures


def _started(entry: Entry, pool: Executor) -> Make:
    try:
        return entry.start(pool)
    except Exception as refusal:
        return functools.partial(_refuse, refusal.with_traceback(None))


def _refuse(refusal: Exception) -> NoReturn:
    raise refusal


def _checked(
    make: Make,
    args: Sequence[Any],
    error_of: Callable[[Any], float],
    tolerance: float,
    line: Line,
    known: dict[str, float],
) -> Contender | None:
    """One whose answer is right, and which has run once on all of it."""
    contender = make()
    line.temp_bytes = contender.temp_bytes
    if line.contender in known:
        line.error = known[line.contender]
    else:
        sample, contender.sample = contender.sample, None
        result = contender.run(*args) if sample is None else sample()
        line.error = error_of(result)
        if sample is not None:
            known[line.contender] = line.error
    if not line.error <= tolerance:
        line.status, line.note = "wrong", f"by {line.error:.1e}: not timed"
        return None
    if contender.settle is not None:
        line.temp_bytes = contender.settle()
    elif line.contender in known:
        contender.run(*args)
    return contender


def _release() -> None:
    """What torch keeps of freed memory JAX could not have."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def of_heads(
    name: str,
    losses: Iterable[tuple[str, Callable[..., Any]]],
    others: Iterable[Entry],
    args: Sequence[Any],
    part: Sequence[Any],
    truth: Callable[[], Callable[[Any], float]],
    tolerance: float,
    matmuls: float,
    contest: Contest,
    known: dict[str, float] | None = None,
) -> list[Line]:
    """Losses of heads, value and both gradients, beside one matmul of the first head.

    Args:
      name: of the problem.
      losses: JAX functions of `args`, by contender.
      others: who has arrays of their own.
      args: hidden states and kernel first.
      part: the same of few tokens, on which the answers are checked: in float64 all of
        the value would take minutes.
      truth: gives the error of a result on that part.
      tolerance: of that error.
      matmuls: how many of the first head's size must be done.
      contest: rounds and budget.
      known: errors on that same part that were found before; those found are added.
    """

    def entries() -> Iterator[Entry]:
        for label, loss in losses:
            both = jax.value_and_grad(loss, (0, 1))
            checked = None if known and label in known else part
            yield compiling(label, both, args, part=checked)
        yield from others

    one = compiling("a matmul", lambda h, w, *rest: jnp.matmul(h, w), args)
    matmul, started, error_of = contest.prepare(one, entries(), truth)
    lines, seconds = contest.compete(
        name,
        "value and both gradients",
        started,
        args,
        error_of,
        tolerance,
        matmul,
        known,
    )
    (tokens, hidden), classes = args[0].shape, args[1].shape[1]
    flops = 2 * tokens * hidden * classes
    for line in lines:
        if line.seconds:
            line.teraflops = matmuls * flops / line.seconds / 1e12
            line.share = matmuls * seconds / line.seconds
    ceiling = Line(name, "one matmul", "a matmul", "measured", "", seconds)
    ceiling.teraflops = flops / seconds / 1e12
    return [*lines, ceiling]
