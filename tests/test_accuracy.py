"""The numerics contract, for every row of the table: value, gradient, jvp, Hessian.

The oracle is the row's formula in mpmath on the inputs rounded to the dtype under test.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from tests import oracle
from tests.case import Case, Scale
from tests.cases import CASES, marks

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


def exhaustive(case: Case, scale: Scale, dtype: str) -> list[pytest.MarkDecorator]:
    """The first row of a loss is always run, at every scale in float32, at unit scale
    in every dtype; the further rows at unit scale in float32; all in all dtypes and at
    all scales in the exhaustive run."""
    further = bool(marks(case))
    usual = scale == "unit" if further or dtype != "float32" else True
    always = usual and not (further and dtype != "float32")
    return [] if always else [pytest.mark.exhaustive]


rows_and_dtypes = pytest.mark.parametrize(
    ("case", "scale", "dtype"),
    [
        pytest.param(
            *(case, scale, dtype),
            id=f"{case.id}-{scale}-{dtype}",
            marks=exhaustive(case, scale, dtype),
        )
        for case, scale in rows
        for dtype in DTYPES
    ],
)


def loss_of(case: Case):
    """The loss of a batch of examples, one or more numbers each."""
    loss = functools.partial(case.loss, **case.options)
    return jax.vmap(loss) if case.vmapped else loss


def draw(case: Case, scale: Scale, dtype) -> tuple[np.ndarray, ...]:
    """Inputs of a case, rounded to a dtype, the same in every run."""
    seed = sum(map(ord, f"{case.id}{scale}"))
    arrays = case.inputs(np.random.default_rng(seed), scale)

    def rounded(array: np.ndarray) -> np.ndarray:
        if not np.issubdtype(array.dtype, np.floating):
            return array
        largest = np.max(np.abs(array), initial=0, where=np.isfinite(array))
        if largest > jnp.finfo(dtype).max:  # float16 ends at 65504
            array = array * (2.0**15 / largest)
        return array.astype(dtype)

    return tuple(map(rounded, map(np.asarray, arrays)))


@functools.cache
def measured(case_id: str, dtype: str):
    """The compiled value, gradient and tangent of a case, shared by all scales."""
    case = next(case for case in CASES if case.id == case_id)
    at = case.argument

    @jax.jit
    def run(arrays, direction):
        def loss(x):
            return loss_of(case)(*arrays[:at], x, *arrays[at + 1 :])

        value, tangent = jax.jvp(loss, (arrays[at],), (direction,))
        return value, jax.grad(lambda x: jnp.sum(loss(x)))(arrays[at]), tangent

    return run


@functools.cache
def measured_hessian(case_id: str):
    """The compiled diagonal of the Hessian of every example, forward over reverse."""
    case = next(case for case in CASES if case.id == case_id)
    at = case.argument

    @jax.jit
    def run(arrays):
        x = arrays[at]
        entries = x[0].size

        def gradient(x):
            return jax.grad(
                lambda x: jnp.sum(loss_of(case)(*arrays[:at], x, *arrays[at + 1 :]))
            )(x)

        def entry(direction):
            row = jnp.broadcast_to(direction.reshape(x.shape[1:]), x.shape)
            column = jax.jvp(gradient, (x,), (row,))[1]
            return jnp.sum((column * row).reshape(len(x), -1), axis=1)

        columns = jax.lax.map(entry, jnp.eye(entries, dtype=x.dtype))
        return columns.T.reshape(x.shape)

    return run


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
    allowed = (
        (rtol + rounding) * np.abs(exact) + expected.sensitivity + smallest + floor
    )
    infinite = np.isinf(exact)
    np.testing.assert_array_equal(
        actual[infinite], exact[infinite], err_msg=f"{what}: infinite entries"
    )
    error = np.where(infinite, 0, np.abs(actual - np.where(infinite, 0, exact)))
    wrong = ~(error <= np.where(infinite, np.inf, allowed))
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

    value, gradient, tangent = measured(case.id, dtype)(
        tuple(map(jnp.asarray, arrays)), jnp.asarray(direction)
    )

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
    slack = np.sum(
        GRADIENT * finer * np.abs(terms) + exact_gradient.sensitivity, axis=axes
    )
    per_example = np.asarray(tangent, np.float64).reshape(len(x), -1).sum(-1)
    error = np.abs(per_example - terms.sum(axis=axes))
    floor = floor + half_floor * x[0].size
    np.testing.assert_array_less(error, slack + tiny * x[0].size + floor + 1e-300)


hessian_rows = [(case, scale) for case, scale in rows if case.hessian]


@pytest.mark.parametrize(
    ("case", "scale"),
    [
        pytest.param(
            *(case, scale), id=f"{case.id}-{scale}", marks=exhaustive(case, scale, "")
        )
        for case, scale in hessian_rows
    ],
)
def test_hessian_diagonal(case: Case, scale: Scale):
    arrays = draw(case, scale, jnp.float32)
    examples = oracle.examples(case, arrays)
    eps, tiny = (float(getattr(jnp.finfo(jnp.float32), a)) for a in ("eps", "tiny"))
    actual = measured_hessian(case.id)(tuple(map(jnp.asarray, arrays)))
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


closed = [case for case in CASES if case.gradient is not None]


@pytest.mark.parametrize("case", closed, ids=[case.id for case in closed])
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
