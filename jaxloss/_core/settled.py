"""Arrays as JAX takes them inside of its rules."""

import jax
from jax.core import Tracer

from jaxloss._core.mesh import Tree


def settled(tree: Tree) -> Tree:
    """The same arrays, none of them a tracer of one of NumPy; nothing is copied.

    Where `jax.vmap` maps one that a caller's function closes over, JAX (0.10 to 0.12)
    would give it to a custom rule as it is, and refuse it there. In what is compiled as
    a whole there are none.
    """
    return jax.tree.map(
        lambda x: jax.device_put(x) if isinstance(x, Tracer) else x, tree
    )
