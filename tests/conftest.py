"""The strict environment of the tests: what works here works for every user."""

import gc

import jax
import pytest

from tests.case import Case

jax.config.update("jax_platforms", "cpu")
# float64 oracles beside explicit float32 and half-precision inputs.
jax.config.update("jax_enable_x64", True)
# No implicit promotion of dtypes or ranks anywhere in the library.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_collection_modifyitems(items):
    """The tests of one row share what they compile: keep them in one process."""
    for item in items:
        case = getattr(item, "callspec", None) and item.callspec.params.get("case")
        if isinstance(case, Case):
            item.add_marker(pytest.mark.xdist_group(case.id))


# What JAX has traced and compiled serves few tests beyond its own, and piles up: a
# process held 5 GB after a thousand tests.
CLEARED_EVERY = 50
_run = 0


def pytest_runtest_teardown(item):
    global _run
    _run += 1
    if _run % CLEARED_EVERY == 0:
        jax.clear_caches()
        gc.collect()
