"""The strict environment of the tests, on the accelerator that is there."""

import jax

from tests import folder

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_collection_modifyitems(items):
    if jax.default_backend() != "cpu":
        return
    reason = "NOT RUN: there is no accelerator; `make accelerator` runs them on one"
    folder.skip(items, __file__, reason)
