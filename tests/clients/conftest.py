"""JAX as users have it, which `tests/conftest.py` would change."""

import jax

from tests import folder

# The tolerances are those of float32 sums, not of an accelerator's matmuls.
jax.config.update("jax_platforms", "cpu")


def pytest_collection_modifyitems(items):
    if not jax.config.jax_enable_x64:
        return
    reason = (
        "NOT RUN: these tests are of JAX as it comes, and x64 is on; "
        "`make clients` runs them"
    )
    folder.skip(items, __file__, reason)
