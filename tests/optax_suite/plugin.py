"""A pytest plugin that puts jaxloss in the place of `optax.losses`.

It is a plugin, not a fixture, so that the names are replaced before a test module is
imported, in every process that collects tests.
"""

import functools
import pathlib
import pkgutil
import sys
from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import optax
import optax.losses
import pytest

import jaxloss

# Tests of optax that demand what jaxloss's contract forbids: "file::class::test" and
# the reason. Each must fail; one that passes is an error, so the list cannot go stale.
FORBIDDEN: dict[str, str] = {}

# Public names that no test of optax calls.
UNTESTED: frozenset[str] = frozenset()

FOLDER = pathlib.Path(optax.losses.__file__).parent

_calls: Counter[str] = Counter()


def public_names() -> list[str]:
    """The functions `optax.losses` exports."""
    return sorted(
        name
        for name, value in vars(optax.losses).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    )


def _private_modules() -> list[ModuleType]:
    """The modules of `optax.losses` that define its functions."""
    names = [module.name for module in pkgutil.iter_modules([str(FOLDER)])]
    return [
        sys.modules[f"optax.losses.{name}"]
        for name in names
        if not name.endswith("_test")
    ]


def _counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, unchanged but for a note that it was called."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        _calls[name] += 1
        return function(*args, **kwargs)

    return call


def replace() -> None:
    """Replaces each public name wherever optax's tests could look it up."""
    names = public_names()
    missing = [name for name in names if not hasattr(jaxloss, name)]
    if missing:
        raise pytest.UsageError(f"jaxloss has no {', '.join(missing)}")
    private = _private_modules()
    for name in names:
        theirs = getattr(optax.losses, name)
        ours = _counted(name, getattr(jaxloss, name))
        places = [m for m in (*private, optax.losses, optax) if hasattr(m, name)]
        if not any(module in private for module in places):
            raise pytest.UsageError(f"optax defines {name} where it was not expected")
        for module in places:
            if getattr(module, name) is not theirs:
                raise pytest.UsageError(f"{module.__name__}.{name} is something else")
            setattr(module, name, ours)


def pytest_configure(config: pytest.Config) -> None:
    np.random.seed(0)  # some tests draw their parameters while they are collected
    replace()
    config.pluginmanager.register(_Workers())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    found = {f"{i.path.name}::{i.nodeid.partition('::')[2]}": i for i in items}
    if unknown := FORBIDDEN.keys() - found.keys():
        raise pytest.UsageError(f"optax has no test {', '.join(sorted(unknown))}")
    for name, reason in FORBIDDEN.items():
        found[name].add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture(autouse=True)
def _seed() -> None:
    """optax's tests draw from NumPy's global generator without seeding it."""
    np.random.seed(0)


class _Workers:
    """Adds up what the worker processes of pytest-xdist called."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        _calls.update(getattr(node, "workeroutput", {}).get("jaxloss_calls", {}))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails a whole run whose tests did not call what they should have called."""
    worker = getattr(session.config, "workeroutput", None)
    if worker is not None:
        worker["jaxloss_calls"] = dict(_calls)
        return
    whole = session.exitstatus == 0 and not session.config.option.keyword
    if whole and set(public_names()) - _calls.keys() != UNTESTED:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    names = public_names()
    uncalled = set(names) - _calls.keys()
    terminalreporter.section("jaxloss in the place of optax.losses")
    terminalreporter.line(f"jaxloss {jaxloss.__version__} of {jaxloss.__file__}")
    terminalreporter.line(
        f"{len(names)} names replaced, {len(names) - len(uncalled)} of them called, "
        f"{_calls.total()} calls, {len(FORBIDDEN)} tests forbidden by contract"
    )
    if unexpected := uncalled - UNTESTED:
        terminalreporter.line(f"never called: {', '.join(sorted(unexpected))}")
    if stale := UNTESTED - uncalled:
        terminalreporter.line(f"called after all: {', '.join(sorted(stale))}")
