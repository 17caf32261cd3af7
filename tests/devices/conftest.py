"""Eight virtual devices, which must be asked for before JAX starts."""

import jax
import pytest


def pytest_collection_modifyitems(items):
    if jax.device_count() == 8:
        return
    for item in items:
        item.add_marker(
            pytest.mark.skip(
                f"NOT RUN: these tests need 8 devices, and there are "
                f"{jax.device_count()}; `make devices` runs them on virtual ones"
            )
        )
