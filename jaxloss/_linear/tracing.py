"""What the engine asks of JAX's transformations: which inputs have a tangent, which
are mapped, what is to stay in one piece.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
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


def whole(function: Callable) -> Callable:
    """The same function, which JAX takes apart only to differentiate it.

    While something else is linearized, JAX would go through a scan whose inputs are
    all known, and hoist what is the same for all chunks: the numbers of the classes,
    the zeros of a mask, arrays of a chunk's size. And it would forget the rules of
    what is inside, which a second derivative needs.
    """
    whole = jax.custom_jvp(function)
    whole.defjvp(functools.partial(jvp, function), symbolic_zeros=True)
    return whole


def is_mapped(tree: Tree) -> bool:
    """Whether `jax.vmap` is tracing any of these arrays at this moment."""
    found = []

    @jax.custom_batching.custom_vmap
    def probe(tree):
        return jnp.zeros(())

    @probe.def_vmap
    def _(size, batched, tree):
        found.append(size)
        return jnp.zeros(()), False

    probe(jax.lax.stop_gradient(tree))
    return bool(found)
