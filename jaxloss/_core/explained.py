"""What losses say of how they would be run, to `explain`, if it is listening."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

_collected: contextvars.ContextVar[list[Any] | None] = contextvars.ContextVar(
    "plans", default=None
)


def note(plan: Any) -> None:
    """Tells the listener, if there is one."""
    plans = _collected.get()
    if plans is not None:
        plans.append(plan)


def listening() -> bool:
    """Whether there is a listener."""
    return _collected.get() is not None


@contextlib.contextmanager
def collecting() -> Iterator[list[Any]]:
    """Listens, inside the block."""
    plans: list[Any] = []
    token = _collected.set(plans)
    try:
        yield plans
    finally:
        _collected.reset(token)
