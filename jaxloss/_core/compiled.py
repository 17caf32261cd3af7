"""Public functions as one program each: compiled when called, a part when traced.

Called on arrays, operation by operation, a loss would compile every operation by itself
and store what is between them. Called under `jax.jit` it is part of the caller's
program.
"""

import functools
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import jax
import numpy as np

from jaxloss._core import explained

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_ARRAY = jax.Array, np.ndarray, np.generic
_PLAIN = bool, np.bool_, int, float, str


class _Static(NamedTuple):
    """The arguments of a call without its arrays: what a program is compiled for."""

    structure: Hashable
    leaves: tuple[Any, ...]
    """With None in place of an array: the tree has no leaves that are None."""
    key: tuple[tuple[type, str], ...]
    """Not the values, of which 1, 1.0 and True are equal, and NaN is not."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Static) and self[::2] == other[::2]

    def __hash__(self) -> int:
        return hash(self[::2])


def compiled(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """The same function, compiled as a whole for the shapes and dtypes of its arrays
    and for the values of all else.

    It must not look at the values of arrays, nor ask how it is traced. With arguments
    that are neither arrays nor plain values, such as functions, it is called as it is;
    and so it is while `explain` listens, which a program traced before would not tell.
    """
    # For types: its arguments are taken apart and put together again.
    call: Callable[..., Result] = function

    def run(static: _Static, arrays: list[Any]) -> Result:
        rest = iter(arrays)
        leaves = [next(rest) if leaf is None else leaf for leaf in static.leaves]
        args, options = jax.tree.unflatten(static.structure, leaves)
        return call(*args, **options)

    # The name that profiles show. Not inlined: the transpose of a conditional would be
    # compiled again for each gradient that is taken outside of `jax.jit`.
    run.__name__ = run.__qualname__ = function.__name__
    program = jax.jit(run, static_argnums=0)

    @functools.wraps(function)
    def called(*args: Parameters.args, **options: Parameters.kwargs) -> Result:
        leaves, structure = jax.tree.flatten((args, options))
        arrays, others = [], []
        for leaf in leaves:
            if isinstance(leaf, _PLAIN):
                others.append(leaf)
            elif isinstance(leaf, _ARRAY):
                others.append(None)
                arrays.append(leaf)
        known = len(others) == len(leaves)
        if not arrays or not known or explained.listening():
            return function(*args, **options)
        key = tuple((type(leaf), repr(leaf)) for leaf in others)
        return program(_Static(structure, tuple(others), key), arrays)

    return called
