"""What a run finds, its summary, and its JSON."""

import dataclasses
import datetime
import importlib
import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from benchmarks.registry import Case

# A ratio under this counts as slow.
SLOW = 0.9
# Differences in temporaries below a page are the alignment of scalars and row sums.
PAGE = 4096


@dataclass(frozen=True)
class Side:
    """One library in one case."""

    median_seconds: float
    spread_seconds: float
    gigabytes_per_second: float
    compile_seconds: float
    temp_bytes: int
    output_bytes: int
    error: float


@dataclass(frozen=True)
class Result:
    """One case. `status`: measured, checked (not timed), missing, wrong or failed.

    `ratio` is the median over pairs of the twin's time by ours: above 1, ours is
    faster. Spreads are interquartile. `theirs` and `ratio` are None where the twin
    refuses the inputs; `note` then says why.
    """

    loss: str
    shape: str
    dims: tuple[int, ...]
    dtype: str
    mode: str
    status: str = "failed"
    note: str = ""
    ours: Side | None = None
    theirs: Side | None = None
    ratio: float | None = None
    ratio_spread: float | None = None
    pairs: int = 0
    calls_per_sample: int = 0
    compulsory_bytes: int = 0

    @classmethod
    def about(cls, case: Case) -> "Result":
        return cls(case.entry.loss, case.shape, case.dims, case.dtype, case.mode)

    def but(self, **changes: Any) -> "Result":
        return dataclasses.replace(self, **changes)

    @property
    def name(self) -> str:
        return f"{self.loss}/{self.shape}/{self.dtype}/{self.mode}"

    @property
    def more_memory(self) -> bool:
        """Whether our temporaries exceed the twin's by more than a page."""
        if self.ours is None or self.theirs is None:
            return False
        return self.ours.temp_bytes > self.theirs.temp_bytes + PAGE


def geometric_mean(values: Sequence[float]) -> float:
    if not values:
        return math.nan
    return math.exp(math.fsum(math.log(v) for v in values) / len(values))


@dataclass(frozen=True)
class Summary:
    """The run in a few numbers."""

    measured: int
    compared: int
    geometric_mean: float
    minimum: float
    slowest: str
    slow: list[str]
    more_memory: list[str]
    not_measured: list[str]


def summarise(results: Sequence[Result]) -> Summary:
    ratios = {r.name: r.ratio for r in results if r.ratio is not None}
    slowest = min(ratios, key=lambda name: ratios[name], default="")
    return Summary(
        measured=sum(r.ours is not None for r in results),
        compared=len(ratios),
        geometric_mean=geometric_mean(list(ratios.values())),
        minimum=ratios.get(slowest, math.nan),
        slowest=slowest,
        slow=[name for name, ratio in ratios.items() if ratio < SLOW],
        more_memory=[r.name for r in results if r.more_memory],
        not_measured=[
            f"{r.name} ({r.status}: {r.note})"
            for r in results
            if r.status not in ("measured", "checked")
        ],
    )


def cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(name: str) -> str:
    return str(getattr(importlib.import_module(name), "__version__", "unknown"))


def environment(module: str, command: str, now: datetime.datetime) -> dict[str, Any]:
    """Where, when, with what, and by which command."""
    device = jax.devices()[0]
    versions = {n: _version(n) for n in ("jax", "jaxlib", "optax", "jaxloss")}
    return {
        "date": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": command,
        "ours": module,
        "platform": device.platform,
        "device": device.device_kind,
        "cpu": cpu_model(),
        "cores": len(jax.devices()) if device.platform != "cpu" else _cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def conditions(header: dict[str, Any]) -> str:
    """Where, when, with what, and by which command, as one line."""
    versions = ", ".join(f"{k} {v}" for k, v in header["versions"].items())
    if header["platform"] == "cpu":
        where = f"{header['cpu']}, {header['cores']} cores"
    else:
        where = f"{header['cores']} {header['device']}"
    return (
        f"{header['platform'].upper()}: {where}; "
        f"{versions}, Python {header['python']}; {header['date'][:10]}. "
        f"Made by `{header['command']}`."
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def write(path: Path, results: Sequence[Result], header: dict[str, Any]) -> None:
    summary = dataclasses.asdict(summarise(results))
    body = {
        "environment": header,
        "summary": {k: _finite(v) for k, v in summary.items()},
        "results": [dataclasses.asdict(r) for r in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body, indent=1, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read(path: Path) -> tuple[list[Result], dict[str, Any]]:
    body = json.loads(path.read_text())
    results = []
    for row in body["results"]:
        for side in ("ours", "theirs"):
            row[side] = Side(**row[side]) if row[side] else None
        row["dims"] = tuple(row["dims"])
        results.append(Result(**row))
    return results, body["environment"]
