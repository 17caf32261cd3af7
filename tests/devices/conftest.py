"""Eight virtual devices, which must be asked for before JAX starts."""

import jax

from tests import folder


def pytest_collection_modifyitems(items):
    if jax.device_count() == 8:
        return
    reason = (
        f"NOT RUN: these tests need 8 devices, and there are {jax.device_count()}; "
        "`make devices` runs them on virtual ones"
    )
    folder.skip(items, __file__, reason)
