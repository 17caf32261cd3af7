"""What was built: one wheel and one sdist."""

import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "build" / "package"


def built(pattern: str) -> pathlib.Path:
    found = sorted(FOLDER.glob(pattern))
    if not found:
        pytest.skip(f"NOT RUN: no {pattern} in {FOLDER}; `make package` builds one")
    (path,) = found
    return path


@pytest.fixture(scope="session")
def wheel() -> pathlib.Path:
    return built("*.whl")


@pytest.fixture(scope="session")
def sdist() -> pathlib.Path:
    return built("*.tar.gz")
