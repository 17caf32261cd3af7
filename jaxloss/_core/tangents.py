"""Tangents of which some are symbolic zeros: which leaves move."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.custom_derivatives import SymbolicZero

from jaxloss._core.mesh import Tree
from jaxloss._core.types import Array


def is_zero(tangent: Any) -> bool:
    return isinstance(tangent, SymbolicZero)


class Split(NamedTuple):
    """A tree, apart into the leaves that have a tangent and the others."""

    active: list[Array]
    fixed: list[Array]
    mask: tuple[bool, ...]
    structure: Any

    @staticmethod
    def of(tree: Tree, mask: Sequence[bool]) -> "Split":
        leaves, structure = jax.tree.flatten(tree)
        active = [x for x, is_active in zip(leaves, mask, strict=True) if is_active]
        fixed = [x for x, is_active in zip(leaves, mask, strict=True) if not is_active]
        return Split(active, fixed, tuple(mask), structure)

    def join(self, active: Sequence[Array], fixed: Sequence[Array]) -> Tree:
        ones, others = iter(active), iter(fixed)
        leaves = [next(ones if is_active else others) for is_active in self.mask]
        return jax.tree.unflatten(self.structure, leaves)


def mask(tangents: Tree) -> tuple[bool, ...]:
    leaves = jax.tree.leaves(tangents, is_leaf=is_zero)
    return tuple(not is_zero(t) for t in leaves)


def nonzero(tangents: Tree) -> list[Array]:
    return [t for t in jax.tree.leaves(tangents, is_leaf=is_zero) if not is_zero(t)]


def jvp(function: Callable, primals: tuple, tangents: tuple) -> tuple[Tree, Tree]:
    """`jax.jvp`, for symbolic zeros among the tangents."""
    split = Split.of(primals, mask(tangents))

    def of_active(*active):
        return function(*split.join(active, split.fixed))

    return jax.jvp(of_active, tuple(split.active), tuple(nonzero(tangents)))
