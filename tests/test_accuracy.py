"""The numerics contract, for every row of the table: value, gradient, jvp, Hessian.

The oracle is the row's formula in mpmath on the inputs rounded to the dtype under test;
the tolerances are those of `tests/contract.py`.
"""

import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from tests import oracle, selection
from tests.case import Case, Scale
from tests.cases import CASES
from tests.compiled import compiled, draw, signs
from tests.contract import Contract

DTYPES = {
    "float32": jnp.float32,
    "bfloat16": jnp.bfloat16,
    "float16": jnp.float16,
    "float64": jnp.float64,
}

rows = [(case, scale) for case in CASES for scale in case.scales]

rows_and_dtypes = pytest.mark.parametrize(
    ("case", "scale", "dtype"),
    selection.parameters(
        [
            (
                f"{case.id}-{scale}-{dtype}",
                (case, scale, dtype),
                selection.accuracy_runs(case, scale, dtype),
            )
            for case, scale in rows
            for dtype in DTYPES
        ]
    ),
)


@rows_and_dtypes
def test_value_gradient_and_tangent(case: Case, scale: Scale, dtype: str):
    arrays = draw(case, scale, DTYPES[dtype])
    contract, direction = Contract(case, arrays), signs(arrays[case.argument])

    value, gradient, tangent, *_ = compiled(case).plain(arrays, direction)

    assert value.dtype == contract.computed
    contract.value(value).check()
    assert gradient.dtype == contract.x.dtype
    contract.gradient(gradient).check()
    assert tangent.dtype == contract.computed
    contract.tangent(tangent, direction).check()


@pytest.mark.parametrize(
    ("case", "scale"),
    selection.parameters(
        [
            (f"{case.id}-{scale}", (case, scale), selection.hessian_runs(case, scale))
            for case, scale in rows
            if case.hessian
        ]
    ),
)
def test_hessian_diagonal(case: Case, scale: Scale):
    arrays = draw(case, scale, jnp.float32)
    Contract(case, arrays).hessian(compiled(case).hessian(arrays)).check()


@pytest.mark.parametrize(
    "case",
    selection.parameters(
        [
            (case.id, (case,), selection.once_runs(case))
            for case in CASES
            if case.gradient is not None
        ]
    ),
)
def test_closed_form_gradient_is_the_derivative(case: Case):
    """The gradient that the documentation states is the derivative of the formula."""
    for scale in case.scales:
        # Two examples of each scale: what holds for one holds for its neighbours.
        for example in oracle.examples(case, draw(case, scale, jnp.float32))[:2]:
            with mp.workdps(oracle.DIGITS):
                numeric = oracle.gradient(case, example)
                stated = case.gradient(*example)
                error = np.abs(oracle.floats(numeric - stated))
                size = np.abs(oracle.floats(numeric))
            # Central differences at 120 digits leave nothing to excuse.
            assert (error <= 1e-20 * size + 1e-40).all(), (scale, numeric, stated)
