"""What keeps XLA from storing an array of the size of the inputs."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxloss._core.mesh import Tree, beside
from jaxloss._core.types import Array


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def sums(axis: int, *arrays: Array) -> tuple[Array, ...]:
    """The sums of several arrays over an axis, which stays with size 1, in one pass.

    Sums of their own would each read, or on CPU even store, what they share.
    """
    zeros = tuple(jnp.zeros((), array.dtype) for array in arrays)

    def add(first, second):
        return tuple(a + b for a, b in zip(first, second, strict=True))

    totals = jax.lax.reduce(arrays, zeros, add, (axis % arrays[0].ndim,))
    return tuple(jnp.expand_dims(total, axis) for total in totals)


@sums.defjvp
def _(axis, arrays, tangents):
    return sums(axis, *arrays), tuple(
        jnp.sum(tangent, axis=axis, keepdims=True) for tangent in tangents
    )


def afresh(*arrays: Array) -> tuple[Array, ...]:
    """The same arrays, from which XLA on CPU starts anew.

    It would store what a value and its slope share. Elsewhere a barrier would do harm:
    what was widened just before it would be stored.
    """

    def barrier(*values):
        return jax.lax.optimization_barrier(values)

    return jax.lax.platform_dependent(
        *beside(arrays), cpu=barrier, default=lambda *values: values
    )


def again(numbers: Tree, turn: int) -> Tree:
    """The same numbers of rows, of which XLA does not know that they are the same.

    What is computed from them and from the rows is computed once more in each turn,
    where it would else be shared and go through memory.
    """
    return jax.tree.map(lambda x: jnp.where(x > jnp.inf, turn, x), numbers)


def again_elsewhere(numbers: Tree, turn: int) -> Tree:
    """The same, where sharing is dear: not on CPU, where it is computed but once."""
    return jax.lax.platform_dependent(
        numbers,
        cpu=lambda numbers: numbers,
        default=functools.partial(again, turn=turn),
    )


def separately(
    functions: Sequence[Callable[..., Array]], *arrays: Array
) -> tuple[Array, ...]:
    """Several reductions of the same arrays, each of which starts from the arrays.

    XLA on CPU would store what they share. Elsewhere they stay one pass.
    """

    def barrier(*values):
        return jax.lax.optimization_barrier(values)

    # As the barrier has them: all differ over the mesh axes over which any does.
    arrays = beside(arrays)
    results: list[Array] = []
    for function in functions:
        inputs, results = jax.lax.platform_dependent(
            arrays, results, cpu=barrier, default=lambda *values: values
        )
        results = [*results, function(*inputs)]
    return tuple(results)


def constants(dtype: jnp.dtype, *numbers: float) -> tuple[Array, ...]:
    """Numbers of a formula that share no storage with those of its derivative.

    On CPU the sum of a loss and the loop of its gradient are compiled apart, and a
    constant of both is stored for them, once for every element.
    """
    return jax.lax.optimization_barrier(tuple(jnp.asarray(n, dtype) for n in numbers))
