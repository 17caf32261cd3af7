"""The table: one row or more for every public loss."""

import importlib
import pkgutil

import pytest

from tests.case import Case

CASES: list[Case] = [
    case
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__))
    for case in importlib.import_module(f"{__name__}.{module}").CASES
]

_first = {case.name: case for case in reversed(CASES)}


def marks(case: Case) -> list[pytest.MarkDecorator]:
    """`exhaustive` for the further rows of a loss; its first one is always run."""
    return [] if _first[case.name] is case else [pytest.mark.exhaustive]
