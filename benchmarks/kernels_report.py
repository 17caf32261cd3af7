"""What `benchmarks.kernels` found, as Markdown: for the README, and all of it."""

import re
from pathlib import Path

from benchmarks import kernels_targets
from benchmarks.contest import Line
from benchmarks.kernels_results import (
    Group,
    Run,
    error,
    fastest,
    figure,
    groups,
    read,
    refusal,
    share,
    speed,
    temporaries,
    untimed,
)
from benchmarks.markdown import table
from benchmarks.results import conditions

# Of the README: a column of these contenders, of which it shows the fastest.
PLAIN = r"optax|jax\.numpy"
COLUMNS = {
    "jaxloss, kernel": "jaxloss, (mosaic|interpret)",
    "jaxloss, XLA": "jaxloss, xla",
    "optax": PLAIN,
    "tokamax": "tokamax",
    "Liger-Kernel": "Liger",
    "cut-cross-entropy, exact": "cut-cross-entropy, exact",
    "QuACK": "QuACK",
    "torch": "torch",
}


def size_of(sizes: dict[str, int]) -> str:
    if "hidden" in sizes:
        return (
            f"{sizes['rows']:,} tokens, {sizes['hidden']:,} hidden units, "
            f"{sizes['classes']:,} classes"
        )
    return f"{sizes['rows']:,} x {sizes['classes']:,} logits"


def _of(group: Group, names: str) -> list[Line]:
    return [line for line in group.lines if re.match(names, line.contender)]


def _cell(lines: list[Line]) -> str:
    """The fastest; and by their variant's name those that were not timed."""
    others = [line for line in lines if not line.seconds]
    parts = list(dict.fromkeys(map(untimed, others)))
    best = fastest(lines)
    if best is not None and best.seconds is not None:
        _, _, variant = best.contender.partition(", ")
        name = f"{variant}: " if others and variant else ""
        taken = f"{name}{figure(1e3 * best.seconds)} ms"
        parts.append(", ".join(filter(None, (taken, share(best)))))
    return "; ".join(parts)


def _row(run: Run, group: Group) -> list[str]:
    ours, plain = group.ours, fastest(_of(group, PLAIN))
    ratio = memory = ""
    if ours is not None and plain is not None and ours.seconds and plain.seconds:
        ratio = f"{plain.seconds / ours.seconds:.2f}"
        memory = f"{temporaries(ours)} / {temporaries(plain)}"
    return [
        *(group.problem, group.task),
        *(_cell(_of(group, names)) for names in COLUMNS.values()),
        *(ratio, memory),
    ]


def render(path: Path) -> str:
    """A line for each problem, without what is slower than its like."""
    run = read(path)
    heads = [
        *("problem", "task", *COLUMNS),
        *("optax / jaxloss", "temporaries, jaxloss / optax"),
    ]
    rows = [_row(run, group) for group in groups(run.lines)]
    sizes = "; ".join(f"{name}: {size_of(of)}" for name, of in run.problems.items())
    return "\n".join(
        [
            conditions(run.header),
            "",
            *table([heads, *rows], 2),
            "",
            "Milliseconds, and the share of what the device reached in the same run: "
            "of the bandwidth of a copy for logits, of the speed of a matmul for "
            "heads, whose three matmuls are counted. All in bfloat16. Of jaxloss "
            "the faster of logits stored in float32 and in bfloat16, of tokamax the "
            "faster of its two, of JSD `jax.numpy` in optax's place, which has none. "
            f"An answer that is wrong is not timed. {sizes}.",
        ]
    )


def _line(line: Line, ours: Line | None) -> list[str]:
    taken, ratio = refusal(line), ""
    if line.seconds:
        spread = 1e3 * (line.spread_seconds or 0.0)
        taken = f"{1e3 * line.seconds:,.3f} ±{spread:,.3f}"
        if ours is not None and ours.seconds:
            ratio = f"{line.seconds / ours.seconds:.2f}"
    return [
        *(line.contender, taken, speed(line), share(line), ratio),
        *(temporaries(line), error(line)),
    ]


def programs(path: Path) -> str:
    """The picture, and a table of every program for each problem."""
    run = read(path)
    picture = f"benchmarks/results/{path.with_suffix('.png').name}"
    heads = ["program", "ms ±spread", "speed", "of the ceiling"]
    heads += ["this / jaxloss' fastest", "temporaries", "error"]
    parts = [
        conditions(run.header),
        f"![How far the programs are from the ceiling]({picture})",
    ]
    for group in groups(run.lines):
        size = size_of(run.problems[group.problem])
        limit = f": {group.limit}" if group.limit else ""
        parts += [
            f"**{group.problem}, {group.task}** ({size}){limit}.",
            "\n".join(
                table([heads, *(_line(line, group.ours) for line in group.lines)], 1)
            ),
        ]
    return "\n\n".join(parts)


def targets(path: Path) -> str:
    """What is aimed at, and what of it was reached."""
    run = read(path)
    rows = kernels_targets.cells(run.lines, run.header)
    headings = list(kernels_targets.HEADINGS)
    return "\n".join(table([headings, *rows], len(headings)))
