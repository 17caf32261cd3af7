"""JAX as users have it, which `tests/conftest.py` would change."""

import jax
import pytest

# The tolerances are those of float32 sums, not of an accelerator's matmuls.
jax.config.update("jax_platforms", "cpu")


def pytest_collection_modifyitems(items):
    if not jax.config.jax_enable_x64:
        return
    for item in items:
        item.add_marker(
            pytest.mark.skip(
                "NOT RUN: these tests are of JAX as it comes, and x64 is on; "
                "`make clients` runs them"
            )
        )
