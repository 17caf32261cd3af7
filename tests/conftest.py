"""The strict environment of the tests: what works here works for every user."""

import gc
import os

import jax
import pytest

from tests.case import Case
from tests.cases import CASES

# On the CPU, unless it is said otherwise: on a GPU, JAX_PLATFORMS=cuda,cpu.
jax.config.update("jax_platforms", os.environ.get("JAX_PLATFORMS") or "cpu")
# float64 oracles beside explicit float32 and half-precision inputs.
jax.config.update("jax_enable_x64", True)
# No implicit promotion of dtypes or ranks anywhere in the library.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def case_of(item) -> str:
    """The row that a test is about, or nothing."""
    callspec = getattr(item, "callspec", None)
    case = callspec and callspec.params.get("case")
    return case.id if isinstance(case, Case) else ""


@pytest.fixture
def monkeypatch(monkeypatch):
    """As pytest has it; and what was traced before a change is traced again."""

    def change(*args, **options):
        pytest.MonkeyPatch.setattr(monkeypatch, *args, **options)
        jax.clear_caches()

    monkeypatch.setattr = change
    yield monkeypatch
    jax.clear_caches()


# Before pytest-xdist reads the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """The tests of one row share what they compile, and so do those of one file: they
    stand together, in one process. The files come first, as the longer ones."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(case_of(item) or item.path.stem))
    order = {case.id: place for place, case in enumerate(CASES)}
    items.sort(key=lambda item: order.get(case_of(item), -1))


# What JAX has traced and compiled serves few tests beyond its own row or file, and
# piles up: a process held 5 GB after a thousand tests.
CLEARED_EVERY = 400
_run = 0


def pytest_runtest_teardown(item, nextitem):
    global _run
    _run += 1
    done = nextitem is None or not case_of(item) or case_of(item) != case_of(nextitem)
    if _run >= CLEARED_EVERY and done:
        _run = 0
        jax.clear_caches()
        gc.collect()
