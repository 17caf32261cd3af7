"""Eight virtual devices, which must be asked for before JAX starts."""

import pathlib

import jax
import pytest


def pytest_collection_modifyitems(items):
    if jax.device_count() == 8:
        return
    reason = (
        f"NOT RUN: these tests need 8 devices, and there are {jax.device_count()}; "
        "`make devices` runs them on virtual ones"
    )
    here = pathlib.Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.skip(reason))
