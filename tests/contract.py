"""The numerics contract: what a row's results may differ by from the exact ones.

A result is within the contract when its error is at most the tolerance times the exact
number, beside the number's own sensitivity to one unit in the last place of all inputs
together, and one rounding to the dtype in which it is returned. The tests hold every
row to it, and `benchmarks.accuracy` reports by how much.
"""

import dataclasses
import functools
from dataclasses import dataclass

import chex
import jax.numpy as jnp
import numpy as np

from tests import oracle
from tests.case import Case

# Tolerances in float32, relative to the exact number. A value passes through a handful
# of roundings (6e-8 each); a derivative through twice as many; a second one through
# more.
VALUE, GRADIENT, HESSIAN = 5e-7, 2e-6, 1e-5
# float64 rounds 2^29 times finer; exp and log are good to some units there.
FINER = {"float64": 2e-7}


@dataclass(frozen=True)
class Judged:
    """A computed quantity beside the exact one, entry by entry."""

    what: str
    actual: np.ndarray
    exact: np.ndarray
    size: np.ndarray
    """What an error is relative to: the exact number, or the terms of a sum."""
    error: np.ndarray
    """0 where both are the same infinity; infinite where one is and the other not."""
    allowed: np.ndarray
    negligible: float
    """The smallest normal number of the dtype of computation."""

    @property
    def wrong(self) -> np.ndarray:
        """NaN is wrong."""
        return ~(self.error <= self.allowed)

    @property
    def _visible(self) -> np.ndarray:
        """The error, unless both numbers are so small that hardware flushes them."""
        both = np.maximum(np.abs(self._wide), np.abs(self.exact))
        unseen = (both < self.negligible) | np.isinf(self.allowed)
        return np.where(unseen, 0.0, self.error)

    @property
    def _wide(self) -> np.ndarray:
        return self.actual.astype(np.float64)

    @property
    def _normal(self) -> np.ndarray:
        return np.maximum(self.size, float(jnp.finfo(self.actual.dtype).tiny))

    @property
    def relative(self) -> np.ndarray:
        """The error in terms of the exact number, or of the smallest normal one."""
        return self._visible / self._normal

    @property
    def units(self) -> np.ndarray:
        """The error in units in the last place of the dtype of the result."""
        _, exponent = np.frexp(self._normal)
        eps = float(jnp.finfo(self.actual.dtype).eps)
        return self._visible / np.ldexp(eps, exponent - 1)

    @property
    def share(self) -> np.ndarray:
        """The error in terms of what is allowed: at most 1 within the contract."""
        return self.error / np.maximum(self.allowed, 1e-300)

    def check(self) -> None:
        """Within the contract, or an error that names the worst entry."""
        wrong = self.wrong
        if wrong.any():
            share = np.nan_to_num(np.where(wrong, self.share, 0), nan=np.inf)
            worst = np.unravel_index(np.argmax(share), share.shape)
            raise AssertionError(
                f"{self.what}: {wrong.sum()} of {wrong.size} entries are off; the "
                f"worst, at {tuple(map(int, worst))}, is {self._wide[worst]!r} where "
                f"{self.exact[worst]!r} is true (error {self.error[worst]:.3g}, "
                f"allowed {self.allowed[worst]:.3g})"
            )


class Contract:
    """What is exact at the inputs of a row, and what a result may differ by from it."""

    def __init__(self, case: Case, arrays: tuple[np.ndarray, ...]):
        self.case = case
        self.examples = oracle.examples(case, arrays)
        self.x = arrays[case.argument]
        self._own = jnp.finfo(self.x.dtype)
        self.half = self._own.bits == 16
        # Half precision is computed in float32.
        self.computed = np.dtype(np.float32 if self.half else self.x.dtype)
        self._info = jnp.finfo(self.computed)
        self._finer = FINER.get(self.computed.name, 1.0) * case.rtol / VALUE

    def _measure(self, quantity) -> oracle.Measure:
        eps = float(self._info.eps)
        return oracle.measure(self.case, quantity, self.examples, eps)

    @functools.cached_property
    def _value(self) -> oracle.Measure:
        return self._measure(oracle.value)

    @functools.cached_property
    def _gradient(self) -> oracle.Measure:
        return self._measure(oracle.stated_gradient)

    @functools.cached_property
    def _hessian(self) -> oracle.Measure:
        return self._measure(oracle.hessian_diagonal)

    def _each(self, function) -> np.ndarray:
        if function is None:
            return np.zeros(len(self.examples))
        return np.array([float(function(*example)) for example in self.examples])

    @functools.cached_property
    def _floor(self) -> np.ndarray:
        """Of every example: the error below which nothing is demanded."""
        return self._each(self.case.floor)

    @functools.cached_property
    def _slope_floor(self) -> np.ndarray:
        """The same of derivatives alone."""
        return self._each(self.case.slope_floor)

    @functools.cached_property
    def _half_floor(self) -> np.ndarray:
        """The same of derivatives, in half precision."""
        rounded = float(self._own.eps) * self._each(self.case.half_floor)
        return rounded if self.half else np.zeros(len(self.examples))

    @functools.cached_property
    def _unit(self) -> np.ndarray:
        """Of every entry: what its derivatives are in the units of."""
        units = np.ones(self.x.shape)
        if self.case.unit is not None:
            for i, example in enumerate(self.examples):
                units[i] = oracle.floats(self.case.unit(*example))
        return units

    def _at_entries(self, floor: np.ndarray) -> np.ndarray:
        """One number of every example, for all its entries."""
        return floor.reshape(-1, *[1] * (self.x.ndim - 1))

    def _floor_of(self, derivative: int) -> np.ndarray:
        """The floor of every entry of the first or second derivative."""
        floor = self._at_entries(self._floor) / self._unit**derivative
        return floor + self._at_entries(self._slope_floor)

    def value(self, actual: np.ndarray) -> Judged:
        """The losses."""
        floor = self._floor.reshape(-1, *[1] * (actual.ndim - 1))
        return self._judged("value", actual, self._value, VALUE, floor)

    def gradient(self, actual: np.ndarray) -> Judged:
        """The gradient of the sum of the losses."""
        floor = self._floor_of(1) + self._at_entries(self._half_floor)
        return self._judged("gradient", actual, self._gradient, GRADIENT, floor)

    def hessian(self, actual: np.ndarray) -> Judged:
        """The diagonal of the Hessian of the sum of the losses.

        Where the oracle has none nothing is demanded.
        """
        floor = self._floor_of(2) + self._at_entries(self._half_floor)
        missing = np.isnan(self._hessian.exact)
        judged = self._judged("Hessian", actual, self._hessian, HESSIAN, floor)
        if not missing.any():
            return judged
        return dataclasses.replace(
            judged,
            exact=np.where(missing, 0, judged.exact),
            size=np.where(missing, 0, judged.size),
            error=np.where(missing, 0, judged.error),
            allowed=np.where(missing, np.inf, judged.allowed),
        )

    def tangent(self, actual: np.ndarray, direction: np.ndarray) -> Judged:
        """The tangents along a direction of ones and minus ones.

        Against the exact gradient along it, relative to the terms of that sum.
        """
        x, dtype = self.x, actual.dtype
        axes = tuple(range(1, x.ndim))
        terms = self._gradient.exact * direction.astype(np.float64)
        exact, size = terms.sum(axis=axes), np.abs(terms).sum(axis=axes)
        per_example = actual.astype(np.float64).reshape(len(x), -1).sum(-1)
        error = np.abs(per_example - exact)
        allowed = (GRADIENT * self._finer + rounding(dtype)) * size
        # Of what is rounded alike in all entries the directions leave that of a few.
        allowed += np.max(self._floor_of(1), axis=axes)
        allowed += self._smallest(dtype) * x[0].size
        allowed += self._half_floor * x[0].size
        if not (error <= allowed).all():
            allowed += np.sum(self._gradient.sensitivity, axis=axes)
        return Judged(
            *("tangent", per_example.astype(dtype), exact, size, error, allowed),
            float(self._info.tiny),
        )

    def _smallest(self, dtype: np.dtype) -> float:
        """What hardware may flush to 0, or the last step round to it."""
        subnormal = jnp.finfo(dtype).smallest_subnormal if is_half(dtype) else 0
        return max(float(self._info.tiny), float(subnormal))

    def _judged(
        self,
        what: str,
        actual: np.ndarray,
        expected: oracle.Measure,
        rtol: float,
        floor: np.ndarray,
    ) -> Judged:
        exact = in_range(expected.exact, actual.dtype)
        chex.assert_equal_shape([actual, exact])
        wide, infinite = actual.astype(np.float64), np.isinf(exact)
        finite = np.where(infinite, 0, exact)
        error = np.abs(wide - finite)
        error = np.where(infinite, np.where(wide == exact, 0, np.inf), error)
        size = np.abs(finite)
        allowed = (rtol * self._finer + rounding(actual.dtype)) * size
        allowed += self._smallest(actual.dtype)
        allowed += floor
        # The sensitivity takes as long as the quantity, and is rarely needed.
        if not (error <= allowed).all():
            allowed = allowed + expected.sensitivity
        negligible = float(self._info.tiny)
        return Judged(what, actual, exact, size, error, allowed, negligible)


def in_range(exact: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Numbers that round to infinity in half precision, as infinity."""
    if not is_half(dtype):
        return exact
    info = jnp.finfo(dtype)
    last = float(info.max) * (1 + float(info.eps) / 4)
    return np.where(np.abs(exact) >= last, np.copysign(np.inf, exact), exact)


def is_half(dtype: np.dtype) -> bool:
    return jnp.finfo(dtype).bits == 16


def rounding(dtype: np.dtype) -> float:
    """Half a unit in the last place, where the last step rounds to half precision."""
    return float(jnp.finfo(dtype).eps) / 2 if is_half(dtype) else 0.0
