"""What the engine asks of JAX's transformations: what is to stay in one piece, and what
is mapped.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxloss._core.mesh import Tree
from jaxloss._core.tangents import jvp


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
