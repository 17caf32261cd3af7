"""Runs optax's own loss tests against jaxloss: `python -m tests.optax_suite`.

Further arguments go to pytest. The run has a process of its own and reads no
configuration of ours: optax's tests expect JAX as it comes, without x64 and with
its ordinary promotion.
"""

import os
import pathlib
import sys

for _name in (
    "JAX_ENABLE_X64",
    "JAX_NUMPY_DTYPE_PROMOTION",
    "JAX_NUMPY_RANK_PROMOTION",
    "PYTEST_ADDOPTS",
):
    os.environ.pop(_name, None)  # before jax is imported


def main(arguments: list[str]) -> int:
    import optax.losses
    import pytest

    folder = pathlib.Path(optax.losses.__file__).parent
    files = sorted(str(path) for path in folder.glob("_*_test.py"))
    return pytest.main(
        [
            *("-q", "-c", os.devnull, "--rootdir", str(folder)),
            *("-p", "no:cacheprovider", "-p", "tests.optax_suite.plugin"),
            *arguments,
            *files,
        ]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
