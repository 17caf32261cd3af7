"""What the engine asks of JAX's transformations: what is to stay in one piece, and what
is mapped.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxloss._core.mesh import Tree
from jaxloss._core.tangents import jvp


def whole(function: Callable, reference: Callable | None = None) -> Callable:
    """The same function, which JAX takes apart only to differentiate it: as the
    reference, if there is one.

    While something else is linearized, JAX would go through a scan whose inputs are
    all known, and hoist what is the same for all chunks: the numbers of the classes,
    the zeros of a mask, arrays of a chunk's size. And it would forget the rules of
    what is inside, which a second derivative needs.
    """
    whole = jax.custom_jvp(function)

    def rule(primals, tangents):
        if reference is None:
            return jvp(function, primals, tangents)
        return whole(*primals), jvp(reference, primals, tangents)[1]

    whole.defjvp(rule, symbolic_zeros=True)
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
