"""Which test of the table runs where: the only place that says it.

There are three runs, each without what is in the one before: the usual one (`make
test`), the thorough one (`make thorough`, which `.ci/run` calls too) and the exhaustive
one (`make exhaustive`). Compiling is what costs, so that the usual run compiles for a
loss what only that loss can have wrong, and once.

Of the laws (`tests/test_laws.py`) there are four kinds:

* a law of the row holds by what the row's own options do: masks, NaN, batches;
* a law of a program is one of the row that compiles a program of its own;
* a law of the loss holds by what it does with its arguments, whatever the options;
* a law of the machinery holds because of what all losses share (a transformation of
  JAX, the reduction, the parsing of a mask), and fails for a loss only with the others.

A flagship is a loss that stands for all that go through the same machinery; a sibling
shares all it has with another loss.

| law of        | of a flagship | first row of a loss | of a sibling | further rows |
| ------------- | ------------- | ------------------- | ------------ | ------------ |
| the row       | usual         | usual               | exhaustive   | exhaustive   |
| a program     | usual         | thorough            | exhaustive   | exhaustive   |
| the loss      | usual         | thorough            | exhaustive   | not run      |
| the machinery | usual         | exhaustive          | exhaustive   | not run      |

Of accuracy (`tests/test_accuracy.py`), siblings like the others ("unit" is another
scale where a row has none of that name):

|                                     | of a flagship | first row  | further rows |
| ----------------------------------- | ------------- | ---------- | ------------ |
| float32 at unit scale               | usual         | usual      | thorough     |
| float32 at the other scales         | usual         | usual      | exhaustive   |
| other dtypes at unit scale          | usual         | exhaustive | exhaustive   |
| bfloat16 at the other scales        | exhaustive    | exhaustive | exhaustive   |
| float16, float64 at other scales    | exhaustive    | exhaustive | not run      |
| Hessian at unit and wide scale      | usual         | thorough   | exhaustive   |
| Hessian at the other scales         | exhaustive    | exhaustive | exhaustive   |

A test of a family (`tests/test_<family>.py`) is in the usual run if it takes about
a second and a half of one core. Slower ones, and files of many that each compile a
program, are marked `thorough` or `exhaustive` there, and of a parameter the usual run
has the values that fail first (`rarely`), except where no other test of the usual run
notices what they test. A test with both marks is exhaustive.
"""

from typing import Literal

import pytest

from tests.case import Case, Scale
from tests.cases import CASES, FLAGSHIPS, declared

Of = Literal["row", "program", "loss", "machinery"]
Run = Literal["usual", "thorough", "exhaustive", "none"]

SIBLINGS = declared("SIBLINGS")
_first_rows = {case.name: case for case in reversed(CASES)}


def is_first(case: Case) -> bool:
    """Whether a row is the first of its loss."""
    return _first_rows[case.name] is case


def law_runs(case: Case, of: Of) -> Run:
    """Where a law of this kind is run on a row."""
    if not is_first(case):
        return "exhaustive" if of in ("row", "program") else "none"
    if case.name in SIBLINGS:
        return "exhaustive"
    if of == "row" or case.name in FLAGSHIPS:
        return "usual"
    return "exhaustive" if of == "machinery" else "thorough"


def accuracy_runs(case: Case, scale: Scale, dtype: str) -> Run:
    """Where value, gradient and tangent of a row are measured."""
    unit, first = scale == case.ordinary, is_first(case)
    if scale in case.collapsed and dtype in ("bfloat16", "float16"):
        return "none"
    if dtype == "float32":
        if first:
            return "usual"
        return "thorough" if unit else "exhaustive"
    if dtype != "bfloat16" and not unit and not first:
        return "none"
    return "usual" if unit and first and case.name in FLAGSHIPS else "exhaustive"


def hessian_runs(case: Case, scale: Scale) -> Run:
    """Where the diagonal of the Hessian is measured."""
    if scale not in (case.ordinary, "wide") or not is_first(case):
        return "exhaustive"
    return "usual" if case.name in FLAGSHIPS else "thorough"


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
            marks=[] if run == "usual" else [getattr(pytest.mark, run)],
        )
        for identifier, values, run in rows
        if run != "none"
    ]
