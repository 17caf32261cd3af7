"""Mesh axes of explicit type: automatic inside a loss, explicit at its border.

Over explicit axes the sharding of an array is part of its type, and JAX refuses what it
cannot type: a gather along a sharded axis, a matrix of all pairs of a sharded batch, a
scan over it. What a loss does between its arguments and its result is its own affair:
there the compiler chooses. The result is typed again, and so, by transposition, are the
gradients: each has the sharding of its argument.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def automatic(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """The same function, for arrays sharded over explicit axes too.

    Axes of the result that are axes of the first argument, the model's output, have its
    sharding. Where no argument knows of an explicit axis, nothing is added.
    """

    @functools.wraps(function)
    def bordered(*args: Parameters.args, **options: Parameters.kwargs) -> Result:
        mesh = _mesh((args, options))
        if mesh is None:
            return function(*args, **options)
        given = inspect.signature(function).bind(*args, **options).arguments
        output = next(iter(jax.tree.leaves(next(iter(given.values())))), None)
        types = dict.fromkeys(mesh.explicit_axes, AxisType.Auto)
        with jax.sharding.use_abstract_mesh(mesh.update_axis_types(types)):
            args, options = jax.tree.map(_untyped, (args, options))
            result = function(*args, **options)

        def typed(x: jax.Array) -> jax.Array:
            sharding = NamedSharding(mesh, _spec(x.shape, output))
            return jax.sharding.reshard(x, sharding)

        return jax.tree.map(typed, result)

    return bordered


def _is_explicit(x: Any) -> bool:
    return isinstance(x, jax.Array) and bool(jax.typeof(x).sharding.mesh.explicit_axes)


def _mesh(tree: Any) -> jax.sharding.AbstractMesh | None:
    """The mesh with explicit axes of any of these arrays."""
    known = filter(_is_explicit, jax.tree.leaves(tree))
    return next((jax.typeof(x).sharding.mesh for x in known), None)


def _untyped(x: Any) -> Any:
    """Without a sharding in its type; it stays where it is."""
    return jax.sharding.reshard(x, PartitionSpec()) if _is_explicit(x) else x


def _spec(shape: tuple[int, ...], output: Any) -> PartitionSpec:
    """Of a result: its axes are those of the model's output, but for some, in order."""
    if not _is_explicit(output):
        return PartitionSpec()
    axes = iter(zip(output.shape, jax.typeof(output).sharding.spec, strict=True))
    return PartitionSpec(
        *(next((name for size, name in axes if size == here), None) for here in shape)
    )
