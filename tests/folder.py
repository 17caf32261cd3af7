"""A folder of tests with a run of its own: skipped, loudly, in any other."""

import pathlib

import pytest


def skip(items, conftest: str, reason: str) -> None:
    """Skips what stands beside a `conftest.py`, given as its `__file__`."""
    here = pathlib.Path(conftest).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.skip(reason=reason))
