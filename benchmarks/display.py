"""Results on the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from benchmarks.results import SLOW, Result, summarise
from benchmarks.units import memory, seconds


def progress(console: Console) -> Progress:
    """The bar of long work, with what is being done, how much of it, and how long."""
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def ratio_style(value: float) -> str:
    if value < SLOW:
        return "bold red"
    return "green" if value >= 1.1 else ""


def table(results: Sequence[Result]) -> Table:
    found = Table(title="optax time / our time", title_justify="left")
    for heading in ("loss", "shape", "dtype", "mode"):
        found.add_column(heading, no_wrap=heading != "loss", overflow="fold")
    for heading in ("ours ±iqr", "optax ±iqr", "ratio ±iqr", "ours GB/s"):
        found.add_column(heading, justify="right", no_wrap=True)
    for heading in ("temp o/x", "compile o/x", "error o/x"):
        found.add_column(heading, justify="right", no_wrap=True)
    for r in results:
        mode = "grad" if r.mode == "value_and_grad" else "forward"
        dtype = "bf16" if r.dtype == "bfloat16" else "f32"
        row = [r.loss, r.shape, dtype, mode]
        if r.ours is None:
            continue
        o, t = r.ours, r.theirs
        ours = f"{seconds(o.median_seconds)} ±{seconds(o.spread_seconds)}"
        speed = f"{o.gigabytes_per_second:.1f}"
        if t is None or r.ratio is None:
            found.add_row(*row, ours, "cannot", "", speed, style="yellow")
            continue
        style = ratio_style(r.ratio)
        ratio = f"{r.ratio:.2f} ±{r.ratio_spread or 0.0:.2f}"
        temp = f"{memory(o.temp_bytes)} / {memory(t.temp_bytes)}"
        found.add_row(
            *row,
            ours,
            f"{seconds(t.median_seconds)} ±{seconds(t.spread_seconds)}",
            f"[{style}]{ratio}[/]" if style else ratio,
            speed,
            f"[bold red]{temp}[/]" if r.more_memory else temp,
            f"{o.compile_seconds:.2f} / {t.compile_seconds:.2f}",
            f"{o.error:.0e} / {t.error:.0e}",
        )
    return found


def show(console: Console, results: Sequence[Result]) -> None:
    if any(r.ours for r in results):
        console.print(table(results))
    known = ("measured", "checked")
    doubts = [f"{r.name}: {r.note}" for r in results if r.status in known and r.note]
    found = summarise(results)
    lists = (
        ("not measured", found.not_measured, "bold red"),
        (f"under {SLOW}", found.slow, "red"),
        ("temporaries above optax's", found.more_memory, "red"),
        ("where optax refuses or is far off", doubts, "yellow"),
    )
    for heading, names, style in lists:
        if names:
            console.print(f"[{style}]{len(names)} {heading}:[/]")
            for name in names:
                console.print(f"  {name}", highlight=False)
    checked = sum(r.status == "checked" for r in results)
    console.print(f"{checked + found.measured} answers right, {found.measured} timed")
    if not found.compared:
        return
    console.print(
        f"[bold]{found.compared} compared, geometric mean {found.geometric_mean:.3f}, "
        f"minimum {found.minimum:.2f}[/] ({found.slowest}), "
        f"{len(found.slow)} under {SLOW}, "
        f"{len(found.more_memory)} with more temporaries than optax"
    )
