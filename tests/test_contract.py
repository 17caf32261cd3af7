"""What judges the results: an error too large is seen, and no larger one excused."""

import dataclasses

import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from tests.case import Case
from tests.contract import GRADIENT, HESSIAN, VALUE, Contract


def cube(x, factor=1):
    return factor * x**3


ROW = Case(
    name="squared_error",
    inputs=lambda rng, scale: (rng.normal(size=4),),
    formula=cube,
    gradient=lambda x: 3 * x**2,
    event=(0,),
)
X = np.array([1.0, -2.0, 0.5, 4.0])
# What one unit in the last place of x moves a cube by, relative to it; the slope of the
# cube moves by two thirds of that, its second derivative by a third.
EPS = float(jnp.finfo(jnp.float32).eps)
EXACT = {"value": X**3, "gradient": 3 * X**2, "hessian": 6 * X}
ALLOWED = {
    "value": VALUE + 3 * EPS,
    "gradient": GRADIENT + 2 * EPS,
    "hessian": HESSIAN + EPS,
}


def judge(what, actual, dtype=np.float32, row=ROW):
    return getattr(Contract(row, (X.astype(dtype),)), what)(actual)


@pytest.mark.parametrize("what", EXACT)
def test_the_tolerance_and_the_sensitivity_are_all_that_is_allowed(what):
    # float64 results of float32 inputs, so that nothing is lost in giving them.
    inside = EXACT[what] * (1 + 0.99 * ALLOWED[what])
    outside = EXACT[what] * (1 + 1.01 * ALLOWED[what])
    assert not judge(what, inside).wrong.any()
    assert judge(what, outside).wrong.all()
    with pytest.raises(AssertionError, match="4 of 4 entries are off"):
        judge(what, outside).check()


def test_half_precision_is_excused_one_rounding_of_its_result():
    eps = float(jnp.finfo(jnp.bfloat16).eps)
    one = jnp.bfloat16(1)
    found = judge("gradient", jnp.full(4, 3 * one), jnp.bfloat16)
    assert found.wrong.tolist() == [False, True, True, True]
    next_one = np.asarray(EXACT["gradient"] * (1 + 2 * eps), jnp.bfloat16)
    assert judge("gradient", next_one, jnp.bfloat16).wrong.all()
    # The value comes back in float32, and has no such excuse.
    value = np.asarray(EXACT["value"] * (1 + eps / 4), np.float32)
    assert judge("value", value, jnp.bfloat16).wrong.all()


@pytest.mark.parametrize("lost", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("what", EXACT)
def test_what_is_not_finite_is_wrong(what, lost):
    actual = EXACT[what].copy()
    actual[2] = lost
    assert judge(what, actual).wrong.tolist() == [False, False, True, False]


def test_an_infinite_value_must_be_that_infinity():
    row = Case(
        name="squared_error",
        inputs=ROW.inputs,
        formula=lambda x: mp.mpf("-inf"),
        gradient=None,
        event=(0,),
    )
    actual = np.array([-np.inf, np.inf, -1e38, np.nan], np.float32)
    assert judge("value", actual, row=row).wrong.tolist() == [False, True, True, True]


def test_what_half_precision_cannot_hold_is_infinite():
    row = Case(
        name="squared_error",
        inputs=ROW.inputs,
        formula=lambda x: 3e4 * x,
        gradient=lambda x: mp.mpf(3e4) * abs(x),
        event=(0,),
    )
    actual = np.array([3e4, 6e4, 1.5e4, np.inf], np.float16)
    assert not judge("gradient", actual, np.float16, row).wrong.any()
    actual[3] = 65504
    assert judge("gradient", actual, np.float16, row).wrong.tolist()[3]


def test_a_tangent_is_judged_by_the_terms_of_its_sum():
    pairs = X.reshape(2, 2)
    row = Case(
        name="squared_error",
        inputs=ROW.inputs,
        formula=lambda x: mp.fsum(x**3),
        gradient=lambda x: 3 * x**2,
        event=(1,),
    )
    contract = Contract(row, (pairs.astype(np.float32),))
    direction = np.array([[1.0, -1.0], [1.0, 1.0]], np.float32)
    terms = 3 * pairs**2
    exact = np.sum(terms * direction, axis=1)
    room = (GRADIENT + 2 * EPS) * terms.sum(axis=1)
    assert not contract.tangent(exact + 0.99 * room, direction).wrong.any()
    assert contract.tangent(exact + 1.01 * room, direction).wrong.all()
    assert contract.tangent(np.array([np.nan, exact[1]]), direction).wrong[0]


def test_units_in_the_last_place():
    actual = EXACT["value"].astype(np.float32)
    actual = np.nextafter(actual, np.copysign(np.float32(np.inf), actual))
    found = judge("value", actual)
    np.testing.assert_allclose(found.units, 1)
    np.testing.assert_allclose(found.relative, found.error / np.abs(EXACT["value"]))


def test_at_a_kink_there_is_no_second_derivative():
    row = Case(
        name="absolute_error",
        inputs=ROW.inputs,
        formula=lambda x: abs(x - 1) + x**3,
        gradient=None,
        event=(0,),
    )
    # X[0] is on the kink; the others are held to theirs.
    actual = np.array([123.0, -12.0, 3.0, 24.0], np.float32)
    found = judge("hessian", actual, row=row)
    assert not found.wrong.any() and found.relative[0] == 0
    actual[1] += 0.01
    assert judge("hessian", actual, row=row).wrong.tolist() == [False, True] + 2 * [
        False
    ]


def test_a_large_second_derivative_is_one():
    row = Case(
        name="squared_error",
        inputs=ROW.inputs,
        formula=lambda x: mp.mpf(10) ** 25 * x**2,
        gradient=None,
        event=(0,),
    )
    exact = np.full(4, 2e25)
    assert not judge("hessian", exact, row=row).wrong.any()
    assert judge("hessian", exact * 1.01, row=row).wrong.all()


def test_a_row_of_its_own_tolerance():
    row = dataclasses.replace(
        ROW,
        rtol=10 * VALUE,
        floor=lambda x: 1e-3 if x == 1 else 0.0,
    )
    off = EXACT["value"] * (1 + 9 * VALUE)
    assert judge("value", off).wrong.all()
    assert not judge("value", off, row=row).wrong.any()
    off[:2] += 9e-4
    assert judge("value", off, row=row).wrong.tolist() == [False, True, False, False]


def test_a_floor_is_in_the_unit_of_the_derivative():
    row = dataclasses.replace(
        ROW,
        floor=lambda x: 1e-3,
        unit=lambda x: 0.1 if x == 1 else 10,
    )
    floors = {
        "value": [1e-3] * 4,
        "gradient": [1e-2, 1e-4, 1e-4, 1e-4],
        "hessian": [1e-1, 1e-5, 1e-5, 1e-5],
    }
    for what, floor in floors.items():
        exact, floor = EXACT[what], np.array(floor)
        room = floor + ALLOWED[what] * np.abs(exact)
        assert not judge(what, exact + 0.99 * room, row=row).wrong.any()
        assert judge(what, exact + 1.01 * room, row=row).wrong.all()
    # One number is the whole sum of a tangent here.
    contract = Contract(row, (X.astype(np.float32),))
    room = np.array(floors["gradient"]) + ALLOWED["gradient"] * EXACT["gradient"]
    for factor, wrong in ((0.99, False), (1.01, True)):
        tangent = EXACT["gradient"] + factor * room
        assert (contract.tangent(tangent, np.ones(4)).wrong == wrong).all()


def test_a_floor_of_derivatives_alone():
    row = dataclasses.replace(
        ROW,
        slope_floor=lambda x: 1e-2,
    )
    for what, exact in EXACT.items():
        floor = 0 if what == "value" else 1e-2
        room = floor + ALLOWED[what] * np.abs(exact)
        assert not judge(what, exact + 0.99 * room, row=row).wrong.any()
        assert judge(what, exact + 1.01 * room, row=row).wrong.all()
