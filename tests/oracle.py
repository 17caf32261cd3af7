"""Exact values and derivatives of a case's formula, by mpmath at high precision.

The derivatives are central differences of the formula at 120 digits with a step of
1e-30: their error, about 1e-60, is nothing. They share no code with the library and
none with the closed form in the table, which is held to them.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import mpmath as mp
import numpy as np

from tests.case import Case

DIGITS = 120
STEP = mp.mpf(10) ** -30


def exact(array: np.ndarray) -> Any:
    """An array as exact numbers: mpf for floats, integers and bools as they are."""
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return array if np.ndim(array) else array[()]
    wide = np.asarray(array, np.float64)
    if not wide.ndim:
        return mp.mpf(float(wide))
    return np.vectorize(lambda v: mp.mpf(float(v)), otypes=[object])(wide)


def floats(value: Any) -> np.ndarray:
    """Exact numbers as float64."""
    return np.asarray(value, object).astype(np.float64)


def total(value: Any) -> mp.mpf:
    """The sum of a formula's outputs."""
    return mp.fsum(np.ravel(value)) if isinstance(value, np.ndarray) else mp.mpf(value)


def scaled(arguments: list[Any], factor: mp.mpf) -> list[Any]:
    """Every real input times a factor, integers as they are."""
    return [value * factor if _real(value) else value for value in arguments]


def _real(value: Any) -> bool:
    return isinstance(value, mp.mpf) or (
        isinstance(value, np.ndarray) and value.dtype == object
    )


def shifted(array: Any, index: tuple[int, ...], by: mp.mpf) -> Any:
    """The array with one entry moved."""
    if not isinstance(array, np.ndarray):
        return array + by
    array = array.copy()
    array[index] += by
    return array


def gradient(case: Case, arguments: list[Any]) -> np.ndarray:
    """d(sum of the formula) / d(argument), entry by entry."""

    def difference(index: tuple[int, ...]) -> mp.mpf:
        ends = []
        for by in (STEP, -STEP):
            moved = list(arguments)
            moved[case.argument] = shifted(moved[case.argument], index, by)
            ends.append(total(case.formula(*moved)))
        return (ends[0] - ends[1]) / (2 * STEP)

    return _each_entry(difference, arguments[case.argument])


def stated_gradient(case: Case, arguments: list[Any]) -> Any:
    """The closed form, which is held to the derivative; else the derivative."""
    if case.gradient is None or case.kinks:
        return gradient(case, arguments)
    return case.gradient(*arguments)


SUSPICIOUS = mp.mpf(10) ** 15
"""A second derivative as large may be a kink over the step."""


def hessian_diagonal(case: Case, arguments: list[Any]) -> np.ndarray:
    """d²(sum of the formula) / d(argument)², entry by entry; NaN where there is none.

    At a kink, on which inputs rounded to half precision may fall, the difference grows
    as the step shrinks.
    """
    middle = total(case.formula(*arguments))

    def quotient(index: tuple[int, ...], step: mp.mpf) -> mp.mpf:
        ends = []
        for by in (step, -step):
            moved = list(arguments)
            moved[case.argument] = shifted(moved[case.argument], index, by)
            ends.append(total(case.formula(*moved)))
        return (ends[0] - 2 * middle + ends[1]) / step**2

    def difference(index: tuple[int, ...]) -> mp.mpf:
        found = quotient(index, STEP)
        if abs(found) < SUSPICIOUS or abs(quotient(index, STEP / 100)) < 10 * abs(
            found
        ):
            return found
        return mp.nan

    return _each_entry(difference, arguments[case.argument])


def _each_entry(f: Callable[[tuple[int, ...]], mp.mpf], like: Any) -> np.ndarray:
    result = np.empty(np.shape(like), object)
    for index in np.ndindex(result.shape):
        result[index] = f(index)
    return result


@dataclass
class Measure:
    """An exact quantity of every example, and how much rounding may move it."""

    quantity: Callable[[list[Any]], Any]
    examples: list[list[Any]]
    eps: float

    @functools.cached_property
    def exact(self) -> np.ndarray:
        """float64, shape [examples, ...]."""
        return np.stack([floats(value) for value in self._values])

    @functools.cached_property
    def _values(self) -> list[Any]:
        with mp.workdps(DIGITS):
            return [self.quantity(arguments) for arguments in self.examples]

    @functools.cached_property
    def sensitivity(self) -> np.ndarray:
        """What it moves by when every real input grows by one unit in its last place.

        All inputs grow together, so that a common offset, which must cancel, excuses
        nothing; what remains is the conditioning of the function itself, such as the d
        units that e^-d inherits from d. It takes as long as the quantity, and most
        results are right without an excuse: it is computed when one is asked for.
        """
        with mp.workdps(DIGITS):
            growth = 1 + mp.mpf(self.eps)
            moves = [
                np.abs(floats(self.quantity(scaled(arguments, growth)) - value))
                for arguments, value in zip(self.examples, self._values, strict=True)
            ]
        return np.nan_to_num(np.stack(moves), nan=0.0, posinf=0.0)


def measure(
    case: Case,
    quantity: Callable[[Case, list[Any]], Any],
    examples: list[list[Any]],
    eps: float,
) -> Measure:
    """A quantity of every example of a case, with its sensitivity."""
    return Measure(functools.partial(quantity, case), examples, eps)


def value(case: Case, arguments: list[Any]) -> Any:
    """The formula itself."""
    return case.formula(*arguments)


def examples(case: Case, arrays: tuple[np.ndarray, ...]) -> list[list[Any]]:
    """The examples of a batch, in exact numbers."""
    return [[exact(array[i]) for array in arrays] for i in range(len(arrays[0]))]
