"""What the compilers for TPU need to be told where there is none, and the table."""

import importlib.util
import os
import pathlib

import pytest

COMPILERS = ("libtpu", "jax_plugins.xla_cuda13")

ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    # Ask no metadata server which machine this is, and share the library.
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
# Before JAX is imported.
for name, value in ENVIRONMENT.items():
    os.environ.setdefault(name, value)


def found(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def pytest_collection_modifyitems(items):
    missing = [module for module in COMPILERS if not found(module)]
    reason = f"no {' and no '.join(missing)} here: `make verify-kernels` has them"
    here = pathlib.Path(__file__).parent
    for item in items:
        if missing and item.path.is_relative_to(here):
            item.add_marker(pytest.mark.skip(reason=reason))


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
