"""JAX as users have it, which `tests/conftest.py` would change."""

import pathlib

import jax
import pytest

# The tolerances are those of float32 sums, not of an accelerator's matmuls.
jax.config.update("jax_platforms", "cpu")


def pytest_collection_modifyitems(items):
    if not jax.config.jax_enable_x64:
        return
    reason = (
        "NOT RUN: these tests are of JAX as it comes, and x64 is on; "
        "`make clients` runs them"
    )
    here = pathlib.Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.skip(reason))
