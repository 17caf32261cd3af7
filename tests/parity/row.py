"""One comparison: a loss of ours and another package's, on the same numbers."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

# Of the largest entry, in roundings of the dtype: both sides sum a few terms of that
# size, each rounded a few times, and exponentials and logarithms round them again.
ROUNDINGS = 32


def as_it_is(function, *arguments):
    return function(*arguments)


@dataclasses.dataclass(frozen=True)
class Row:
    """
    Args:
      theirs: the other package's function, as the migration table names it.
      ours: the name in jaxloss.
      inputs: real arrays by which both sides are differentiated.
      fixed: further arrays; what is real among them has the dtype of the inputs.
      call: ours, `call(function, *inputs, *fixed)`.
      their_call: likewise theirs, with arrays of their package.
      case: which of several rows of the two names.
      differs: what differs on purpose, and how both sides are made to agree.
      package: which package, where that is not the one of the table.
      expression: what is evaluated of the package, where the name does not do.
      by_gradient: whether theirs can be differentiated here.
      tolerance: what is allowed of the largest entry, where that is more than
        `ROUNDINGS`.
      why: the reason for it.
    """

    theirs: str
    ours: str
    inputs: tuple[Any, ...]
    their_call: Callable[..., Any] = as_it_is
    call: Callable[..., Any] = as_it_is
    fixed: tuple[Any, ...] = ()
    case: str = ""
    differs: str = ""
    package: str = ""
    expression: str = ""
    by_gradient: bool = True
    tolerance: float = 0.0
    why: str = ""

    def __post_init__(self):
        assert bool(self.tolerance) == bool(self.why), (
            f"{self.theirs}: a reason is missing"
        )

    @property
    def id(self) -> str:
        return "-".join(filter(None, (self.theirs, self.ours, self.case)))

    def arrays(self, dtype) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The inputs and the fixed arrays, both sides' reals in one dtype."""
        fixed = [np.array(x) for x in self.fixed]
        real = [np.issubdtype(x.dtype, np.floating) for x in fixed]
        return (
            [np.array(x, dtype) for x in self.inputs],
            [x.astype(dtype) if r else x for x, r in zip(fixed, real, strict=True)],
        )

    def assert_close(self, ours, theirs, dtype, what: str) -> None:
        ours, theirs = (np.asarray(x, np.float64) for x in (ours, theirs))
        allowed = max(ROUNDINGS * np.finfo(dtype).eps, self.tolerance)
        assert ours.shape == theirs.shape, f"{what}: {ours.shape} and {theirs.shape}"
        # Of nothing but zeros, or without a largest entry, little would be compared.
        assert np.all(np.isfinite(theirs)) and np.any(theirs), f"{what}: {theirs}"
        np.testing.assert_allclose(
            ours,
            theirs,
            rtol=0,
            atol=allowed * np.max(np.abs(theirs)),
            err_msg=f"{what} of {self.ours}",
        )


def cotangent(shape) -> np.ndarray:
    """Weights of the entries of a loss whose gradient is taken, no two alike."""
    return 1.5 + np.cos(np.arange(np.prod(shape, dtype=int))).reshape(shape)


def normal(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=scale, size=shape)


def uniform(seed: int, *shape: int, low: float = 0.1, high: float = 0.9) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, size=shape)


def distributions(seed: int, *shape: int) -> np.ndarray:
    weights = uniform(seed, *shape)
    return weights / weights.sum(-1, keepdims=True)


def signs(seed: int, *shape: int) -> np.ndarray:
    return np.where(normal(seed, *shape) > 0, 1, -1)
