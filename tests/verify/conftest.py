"""Skips loudly where there are no compilers; the table of memory at the end."""

import importlib.util

import pytest

from tests import folder
from tests.verify import environment

COMPILERS = ("libtpu", "jax_plugins.xla_cuda13")

# Before JAX is imported.
environment.tell()


def found(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def pytest_collection_modifyitems(items):
    missing = [module for module in COMPILERS if not found(module)]
    if not missing:
        return
    reason = f"no {' and no '.join(missing)} here: `make verify-kernels` has them"
    folder.skip(items, __file__, reason)


@pytest.fixture(scope="session")
def table(request):
    """Rows of (target, program, figures in MiB), printed after the tests."""
    return request.config.stash.setdefault(ROWS, [])


ROWS = pytest.StashKey[list]()


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash.get(ROWS, [])
    if rows:
        terminalreporter.section("temporaries in MiB")
        for row in rows:
            terminalreporter.write_line("{:<6} {:<44} {:>9.0f}  {}".format(*row))
