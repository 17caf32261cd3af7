"""JAX with both dtypes and ordinary promotion, which other packages rely on."""

import os

# Before keras is imported.
os.environ["KERAS_BACKEND"] = "jax"

import jax

from tests import folder

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_x64", True)


def pytest_collection_modifyitems(items):
    if jax.config.jax_numpy_dtype_promotion == "standard":
        return
    reason = (
        "NOT RUN: other packages need ordinary promotion, which the tests around these "
        "forbid; `make parity` runs them"
    )
    folder.skip(items, __file__, reason)
