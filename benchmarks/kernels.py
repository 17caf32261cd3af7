"""The kernels against XLA and against other libraries, beside what the device can do.

    python -m benchmarks.kernels [--json PATH] [--plot PNG] [--rounds N] [--only REGEX]

On whatever accelerator there is: the plain cross entropy of logits, its value and its
value and gradient, in GB/s of what it must move, beside a copy of the logits measured
in the same run; the fused head in TFLOP/s of the three matmuls it must do, beside a
matmul measured in the same run; Jensen and Shannon's divergence from a teacher, of
logits and of two heads. Every program is checked against float64 before it is
timed, and a wrong one is not timed. On a CPU everything is tiny, the kernels are
interpreted, and no figure means anything: that the command works is all it shows.

In training, logits come out of a matmul of the same program and nobody needs them once
their gradient is known, which may be written over them. So every JAX program of a value
and gradient has logits of its own, which are donated, and the gradient that comes out
is what the next run has for logits; the answer that is checked is that of the first
run, which has the true ones. Programs of torch that write over their logits do the
same.

What is found is shown and written to the JSON after every problem. All of it ends
within ten minutes: after `--limit` seconds no problem, no check and no round is begun,
which is said of each program that it touches; and a program that keeps the device for
much longer yet ends the run, with a trace of where it stood.
"""

import argparse
import contextlib
import datetime
import faulthandler
import gc
import importlib.metadata
import json
import re
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from benchmarks import distillation, kernels_heads, kernels_logits, kernels_torch
from benchmarks.contest import Contest, Line
from benchmarks.distillation import Distillation, Pair
from benchmarks.kernels_display import table, targets
from benchmarks.kernels_heads import Head
from benchmarks.kernels_logits import Logits
from benchmarks.kernels_plot import draw
from benchmarks.kernels_targets import TARGETS
from benchmarks.results import environment

Problem = Logits | Head | Pair | Distillation

# What is cheap and matters most comes first: a run that is cut short keeps that.
PROBLEMS: dict[str, Problem] = {
    "llama3": Logits(8192, 128256),
    "gpt2": Logits(8192, 50257),
    "gemma": Logits(4096, 262144),
    "head, llama3, 4096": Head(4096, 4096, 128256),
    "head, llama3, 8192": Head(8192, 4096, 128256),
    "JSD, llama3": Pair(8192, 128256),
    "head, llama3, 32768": Head(32768, 4096, 128256),
    "head, JSD, llama3": Distillation(8192, 4096, 4096, 128256),
}
TINY: dict[str, Problem] = {
    "gpt2": Logits(16, 300),
    "head, llama3, 4096": Head(16, 8, 300),
    "head, llama3, 8192": Head(24, 8, 300),
    "JSD, llama3": Pair(16, 300),
    "head, JSD, llama3": Distillation(16, 8, 6, 300),
}

Measure = Callable[[str, Any, Contest], list[Line]]
"""What measures a problem, given its name."""

GRACE = 110
"""Seconds for what is under way when nothing more is begun: its programs to compile."""

WIDTH = 160
"""Of what is printed where no terminal says how wide it is."""

VERSIONS = (
    "jax",
    "jaxlib",
    "libtpu",
    "optax",
    "tokamax",
    "torch",
    "triton",
    "liger-kernel",
    "cut-cross-entropy",
    "quack-kernels",
)


def measure(name: str, problem: Problem, contest: Contest) -> list[Line]:
    match problem:
        case Logits():
            return kernels_logits.measure(name, problem, contest)
        case Head():
            return kernels_heads.measure(name, problem, contest)
        case Pair():
            return distillation.measure_pair(name, problem, contest)
        case Distillation():
            return distillation.measure_heads(name, problem, contest)


def measured(measure: Measure, name: str, problem: Any, contest: Contest) -> list[Line]:
    """Of a problem that fails as a whole, the failure: the others may do better."""
    try:
        return measure(name, problem, contest)
    except Exception as failure:
        traceback.print_exc()
        line = Line(name, "", "jaxloss and all others")
        line.refuse("failed", failure)
        return [line]
    finally:
        gc.collect()


def versions() -> dict[str, str]:
    """Of all that takes part."""
    found = {}
    for name in VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def write(path: Path, body: dict[str, Any]) -> None:
    """All of it or nothing: who is stopped meanwhile keeps what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(body, indent=1) + "\n")
    new.replace(path)


def parser(module: str, what: str) -> argparse.ArgumentParser:
    """Of what every such program is told."""
    result = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}", description=what.split("\n")[0]
    )
    result.add_argument("--only", default="", metavar="REGEX", help="problems")
    result.add_argument(
        "--without", default="", metavar="REGEX", help="contenders to leave out"
    )
    result.add_argument("--rounds", type=int, default=20, metavar="N")
    result.add_argument(
        "--budget", type=float, default=6.0, metavar="S", help="seconds a comparison"
    )
    result.add_argument(
        "--limit",
        type=float,
        default=480.0,
        metavar="S",
        help=f"seconds after which nothing is begun; {GRACE} later all is over",
    )
    result.add_argument("--json", type=Path, metavar="PATH")
    return result


def header(module: str, given: Sequence[str]) -> dict[str, Any]:
    """What a file of results says of its run."""
    command = shlex.join(["python", "-m", f"benchmarks.{module}", *given])
    result = environment("jaxloss", command, datetime.datetime.now(datetime.UTC))
    result["versions"] |= versions()
    return result


def show(what: Any) -> None:
    Console(width=None if sys.stdout.isatty() else WIDTH).print(what)
    sys.stdout.flush()


@contextlib.contextmanager
def over_in_time(options: argparse.Namespace) -> Iterator[None]:
    """Nothing in Python stops a call that waits for a device: the process ends."""
    # The trace goes to standard error itself, whatever stands in its place.
    faulthandler.dump_traceback_later(max(options.limit, 0) + GRACE, exit=True, file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def run(
    problems: Mapping[str, Any],
    measure: Measure,
    options: argparse.Namespace,
    about: dict[str, Any],
    begin: float,
) -> list[Line]:
    """The problems chosen, one after the other, each shown and written at once.

    Args:
      problems: by name; dataclasses.
      measure: what measures one.
      options: those of `parser`.
      about: what the file of results holds beside them.
      begin: when the program began, by `time.perf_counter`.
    """
    chosen = {name: p for name, p in problems.items() if re.search(options.only, name)}
    lines: list[Line] = []
    left_out: list[str] = []
    seconds: dict[str, dict[str, float]] = {}
    with over_in_time(options):
        for name, problem in chosen.items():
            contest = Contest(
                options.rounds, options.budget, options.without, begin + options.limit
            )
            if contest.late:
                left_out.append(name)
                continue
            found = measured(measure, name, problem, contest)
            lines += found
            seconds[name] = contest.seconds
            show(table(name, found))
            spent = ", ".join(f"{on} {s:.1f} s" for on, s in contest.seconds.items())
            elapsed = time.perf_counter() - begin
            show(f"{name}: {spent}; {elapsed:.0f} s since the start\n")
            if options.json:
                body = about | {
                    "problems": {name: asdict(chosen[name]) for name in seconds},
                    "seconds": seconds,
                    "results": [asdict(line) for line in lines],
                }
                write(options.json, body)
    if left_out:
        show(f"Not begun after {options.limit:.0f} s: {'; '.join(left_out)}")
    return lines


def status(lines: Sequence[Line]) -> int:
    """Of the program: 0 if all of ours was measured."""
    ours = [line for line in lines if line.contender.startswith("jaxloss")]
    return 0 if ours and all(line.status == "measured" for line in ours) else 1


def main(argv: Sequence[str] | None = None) -> int:
    begin = time.perf_counter()
    arguments = parser("kernels", __doc__ or "")
    arguments.add_argument("--plot", type=Path, metavar="PNG")
    options = arguments.parse_args(argv)
    kernels_torch.share_the_device()
    problems = TINY if jax.default_backend() == "cpu" else PROBLEMS
    if problems is TINY:
        show("No accelerator here: tiny problems, interpreted kernels.")
    kernels_torch.load()
    about = {
        "environment": header("kernels", sys.argv[1:] if argv is None else argv),
        "targets": [[t.name, t.problem, t.text] for t in TARGETS],
    }
    lines = run(problems, measure, options, about, begin)
    show(targets(lines, about["environment"]))
    if options.plot:
        draw(lines, about["environment"], options.plot)
    return status(lines)


if __name__ == "__main__":
    raise SystemExit(main())
