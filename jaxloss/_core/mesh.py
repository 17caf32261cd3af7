"""Inside `jax.shard_map`: over which mesh axes a value differs between devices."""

from typing import Any

import jax

from jaxloss._core.types import Array

Tree = Any
"""Arrays nested in tuples, dicts or None."""


def mesh_axes(x: Array) -> frozenset[str]:
    """The mesh axes over which `x` differs, inside a `jax.shard_map` that checks it."""
    kind = jax.typeof(x)
    # The attribute had another name in earlier releases of JAX.
    manual = getattr(kind, "manual_axis_type", None)
    return getattr(kind, "vma", frozenset()) if manual is None else manual.varying


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
