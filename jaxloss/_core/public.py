"""What every public function on arrays is wrapped in."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from jaxloss._core.compiled import compiled
from jaxloss._core.explicit import automatic

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def public(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """One program when it is called outside of `jax.jit`, and automatic inside where
    mesh axes are explicit.

    Functions that look at the values of arrays, or ask how they are traced, are
    `automatic` alone.
    """
    return compiled(automatic(function))
