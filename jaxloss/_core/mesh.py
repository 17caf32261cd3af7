"""Inside `jax.shard_map`: over which mesh axes a value differs between devices."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxloss._core.types import Array

Tree = Any
"""Arrays nested in tuples, dicts or None."""


def mesh_axes(x: Array) -> frozenset[str]:
    """The mesh axes over which `x` differs, inside a `jax.shard_map` that checks it."""
    kind = jax.typeof(x)
    # The attribute had another name in earlier releases of JAX.
    manual = getattr(kind, "manual_axis_type", None)
    return getattr(kind, "vma", frozenset()) if manual is None else manual.varying


def is_alone() -> bool:
    """Whether what is traced is surely for one device: there is no other, or this is
    inside a `jax.shard_map` over all of a mesh."""
    if jax.device_count() == 1:
        return True
    mesh = jax.sharding.get_abstract_mesh()
    manual = jax.sharding.AxisType.Manual
    return not mesh.empty and all(kind == manual for kind in mesh.axis_types)


def all_mesh_axes(tree: Tree) -> frozenset[str]:
    """The mesh axes over which anything of a tree differs."""
    return frozenset().union(*(mesh_axes(leaf) for leaf in jax.tree.leaves(tree)))


def varying(tree: Tree, names: frozenset[str]) -> Tree:
    """The same arrays, said to differ over these mesh axes too.

    What is the same everywhere and used where something differs has its cotangents
    summed over the devices there. Said before a loop, that is done once, after it.
    """

    def cast(x):
        missing = tuple(names - mesh_axes(x))
        return jax.lax.pcast(x, missing, to="varying") if missing else x

    return jax.tree.map(cast, tree)


def beside(tree: Tree, *others: Tree) -> Tree:
    """The same arrays, said to differ wherever they or any of the others do.

    The first state of a loop, for instance, beside what the loop reads.
    """
    return varying(tree, all_mesh_axes((tree, others)))


def shaped_as(
    x: Array, shape: tuple[int, ...], dtype: jnp.dtype
) -> jax.ShapeDtypeStruct:
    """A shape and dtype that differs over the mesh axes over which `x` does."""
    kind = jax.typeof(x)
    names = ("manual_axis_type", "vma")
    known = {name: getattr(kind, name) for name in names if hasattr(kind, name)}
    # The newer name alone, where there are both.
    name = next((name for name in names if name in known), None)
    options = {} if name is None else {name: known[name]}
    return jax.ShapeDtypeStruct(shape, dtype, **options)
