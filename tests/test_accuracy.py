"""The numerics contract, for every row of the table: value, gradient, jvp, Hessian.

The oracle is the row's formula in mpmath on the inputs rounded to the dtype under test.
"""

import chex
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from tests import oracle, selection
from tests.case import Case, Scale
from tests.cases import CASES
from tests.compiled import compiled, draw

DTYPES = {
    "float32": jnp.float32,
    "bfloat16": jnp.bfloat16,
    "float16": jnp.float16,
    "float64": jnp.float64,
}

# Tolerances in float32, relative to the exact number, beside its own sensitivity to
# one unit in the last place of the inputs. A value passes through a handful of
# roundings (6e-8 each); a derivative through twice as many; a second one through more.
VALUE, GRADIENT, HESSIAN = 5e-7, 2e-6, 1e-5
# float64 rounds 2^29 times finer; exp and log are good to some units there.
FINER = {"float64": 2e-7}

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


def slack(expected: oracle.Measure, error: np.ndarray, allowed: np.ndarray):
    """The tolerance beside the sensitivity, which is computed where it is needed."""
    return allowed if (error <= allowed).all() else allowed + expected.sensitivity


def close(
    actual: np.ndarray,
    expected: oracle.Measure,
    rtol: float,
    what: str,
    *,
    rounding: float = 0.0,
    smallest: float = 0.0,
    floor: np.ndarray | float = 0.0,
):
    """Within the tolerance, the sensitivity and the rounding of the result's dtype."""
    actual = np.asarray(actual, np.float64)
    exact = expected.exact
    chex.assert_equal_shape([actual, exact])
    infinite = np.isinf(exact)
    np.testing.assert_array_equal(
        actual[infinite], exact[infinite], err_msg=f"{what}: infinite entries"
    )
    error = np.where(infinite, 0, np.abs(actual - np.where(infinite, 0, exact)))
    allowed = np.where(infinite, 0, (rtol + rounding) * np.abs(exact))
    allowed = slack(expected, error, allowed + smallest + floor)
    wrong = ~(error <= allowed)
    if wrong.any():
        worst = np.unravel_index(
            np.argmax(np.where(wrong, error / np.maximum(allowed, 1e-300), 0)),
            error.shape,
        )
        raise AssertionError(
            f"{what}: {wrong.sum()} of {wrong.size} entries are off; the worst, at "
            f"{tuple(map(int, worst))}, is {actual[worst]!r} where {exact[worst]!r} is "
            f"true (error {error[worst]:.3g}, allowed {np.asarray(allowed)[worst]:.3g})"
        )


@rows_and_dtypes
def test_value_gradient_and_tangent(case: Case, scale: Scale, dtype: str):
    arrays = draw(case, scale, DTYPES[dtype])
    examples = oracle.examples(case, arrays)
    computed = jnp.float64 if dtype == "float64" else jnp.float32
    eps, tiny = (float(getattr(jnp.finfo(computed), a)) for a in ("eps", "tiny"))
    finer = FINER.get(dtype, 1.0) * case.rtol / VALUE
    floor = np.zeros(len(examples))
    if case.floor is not None:
        floor = np.array([float(case.floor(*example)) for example in examples])
    x = arrays[case.argument]
    rng = np.random.default_rng(0)
    direction = rng.choice([-1.0, 1.0], size=x.shape).astype(x.dtype)

    value, gradient, tangent, *_ = compiled(case).plain(arrays, direction)

    exact_value = oracle.measure(case, oracle.value, examples, eps)
    assert value.dtype == computed
    close(
        value,
        exact_value,
        VALUE * finer,
        "value",
        smallest=tiny,
        floor=floor.reshape(-1, *[1] * (value.ndim - 1)),
    )
    assert gradient.dtype == x.dtype
    exact_gradient = oracle.measure(case, oracle.stated_gradient, examples, eps)
    # The last step rounds the gradient to the dtype of the input.
    info = jnp.finfo(x.dtype)
    half = dtype in ("bfloat16", "float16")
    half_floor = np.zeros(len(examples))
    if half and case.half_floor is not None:
        eps = float(info.eps)
        half_floor = np.array([eps * case.half_floor(*example) for example in examples])
    close(
        gradient,
        exact_gradient,
        GRADIENT * finer,
        "gradient",
        rounding=float(info.eps) / 2 if half else 0,
        smallest=max(tiny, float(info.smallest_subnormal) if half else 0),
        floor=(floor + half_floor).reshape(-1, *[1] * (gradient.ndim - 1)),
    )
    # Forward mode: against the exact gradient along the direction, term by term.
    axes = tuple(range(1, x.ndim))
    terms = exact_gradient.exact * direction.astype(np.float64)
    allowed = np.sum(GRADIENT * finer * np.abs(terms), axis=axes)
    allowed += tiny * x[0].size + floor + half_floor * x[0].size + 1e-300
    per_example = np.asarray(tangent, np.float64).reshape(len(x), -1).sum(-1)
    error = np.abs(per_example - terms.sum(axis=axes))
    if not (error <= allowed).all():
        allowed += np.sum(exact_gradient.sensitivity, axis=axes)
    np.testing.assert_array_less(error, allowed)


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
    examples = oracle.examples(case, arrays)
    eps, tiny = (float(getattr(jnp.finfo(jnp.float32), a)) for a in ("eps", "tiny"))
    actual = compiled(case).hessian(arrays)
    expected = oracle.measure(case, oracle.hessian_diagonal, examples, eps)
    floor = 0.0
    if case.floor is not None:
        floor = np.array([float(case.floor(*example)) for example in examples])
        floor = floor.reshape(-1, *[1] * (np.ndim(actual) - 1))
    close(
        actual,
        expected,
        HESSIAN * case.rtol / VALUE,
        "Hessian",
        smallest=tiny,
        floor=floor,
    )


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
