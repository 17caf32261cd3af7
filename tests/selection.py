"""Which test of the table runs where: the only place that says it.

The usual run is `make test`, the exhaustive one `make exhaustive`; together they are
everything. Compiling is what costs, so that the usual run compiles for a loss what
only that loss can have wrong, and once.

Of the laws (`tests/test_laws.py`) there are three kinds:

* a law of the row holds by what the row's own options do: masks, NaN, axes, batches;
* a law of the loss holds by what it does with its arguments, whatever the options;
* a law of the machinery holds because of what all losses share (a transformation of
  JAX, the reduction, the parsing of a mask), and fails for a loss only with the others.

| law of        | first row of a loss | of a flagship | of a sibling | further rows |
| ------------- | ------------------- | ------------- | ------------ | ------------ |
| the row       | usual               | usual         | exhaustive   | exhaustive   |
| the loss      | usual               | usual         | exhaustive   | not run      |
| the machinery | exhaustive          | usual         | exhaustive   | not run      |

Of accuracy (`tests/test_accuracy.py`), siblings like the others ("unit" is another
scale where a row has none of that name):

|                                     | first row  | of a flagship | further rows |
| ----------------------------------- | ---------- | ------------- | ------------ |
| float32 at unit scale               | usual      | usual         | usual        |
| float32 at the other scales         | usual      | usual         | exhaustive   |
| bfloat16 at unit scale              | exhaustive | usual         | exhaustive   |
| bfloat16 at the other scales        | exhaustive | exhaustive    | exhaustive   |
| float16, float64 at unit scale      | exhaustive | usual         | exhaustive   |
| float16, float64 at other scales    | exhaustive | exhaustive    | not run      |
| Hessian at unit and wide scale      | usual      | usual         | exhaustive   |
| Hessian at the other scales         | exhaustive | exhaustive    | exhaustive   |

A test of a family (`tests/test_<family>.py`) is in the usual run if it takes about
half a second of one core. Slower ones are marked `exhaustive` there, and of a
parameter the usual run has the values that fail first (`rarely`), except where no
other test of the usual run notices what they test.
"""

from typing import Literal

import pytest

from tests.case import Case, Scale
from tests.cases import CASES, FLAGSHIPS, declared

Of = Literal["row", "loss", "machinery"]
Run = Literal["usual", "exhaustive", "none"]

SIBLINGS = declared("SIBLINGS")
_first_rows = {case.name: case for case in reversed(CASES)}


def is_first(case: Case) -> bool:
    """Whether a row is the first of its loss."""
    return _first_rows[case.name] is case


def law_runs(case: Case, of: Of) -> Run:
    """Where a law of the row, of the loss or of the machinery is run on a row."""
    if not is_first(case):
        return "exhaustive" if of == "row" else "none"
    if case.name in SIBLINGS:
        return "exhaustive"
    if of == "machinery" and case.name not in FLAGSHIPS:
        return "exhaustive"
    return "usual"


def accuracy_runs(case: Case, scale: Scale, dtype: str) -> Run:
    """Where value, gradient and tangent of a row are measured."""
    unit, first = scale == case.ordinary, is_first(case)
    match dtype:
        case "float32":
            return "usual" if unit or first else "exhaustive"
        case _:
            if dtype != "bfloat16" and not unit and not first:
                return "none"
            flagship = first and case.name in FLAGSHIPS
            return "usual" if unit and flagship else "exhaustive"


def hessian_runs(case: Case, scale: Scale) -> Run:
    """Where the diagonal of the Hessian is measured."""
    often = scale in (case.ordinary, "wide")
    return "usual" if often and is_first(case) else "exhaustive"


def once_runs(case: Case) -> Run:
    """Where a row is held to something beside the laws, such as its twin in optax."""
    return "usual" if is_first(case) else "exhaustive"


def rarely(*values) -> list:
    """Values of a parameter that only the exhaustive run has."""
    return [pytest.param(value, marks=pytest.mark.exhaustive) for value in values]


def parameters(rows: list[tuple[str, tuple, Run]]) -> list:
    """Rows of parameters, with their identifier and where they run."""
    return [
        pytest.param(
            *values,
            id=identifier,
            marks=[pytest.mark.exhaustive] if run == "exhaustive" else [],
        )
        for identifier, values, run in rows
        if run != "none"
    ]
