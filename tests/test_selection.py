"""Where tests run."""

import pytest


def test_groups_are_heard(request):
    """The tests of a row are in one process (`conftest.py`): pytest-xdist writes the
    group behind the name of a test, or has not seen it and deals them out one by one.
    """
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("in one process, or not distributed by groups")
    assert request.node.nodeid.endswith("@test_selection")
