"""The entropy of a softmax, from its logits."""

import functools

import jax
import jax.numpy as jnp

from jaxloss._core import axes, rows
from jaxloss._core.numerics import weighted
from jaxloss._core.types import Array


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def softmax_entropy(x: Array, axis: axes.RowAxis) -> Array:
    """-Σ p_j log p_j, a sum of non-negative terms with 0 · inf = 0."""
    return axes.total(weighted(rows.nll(x, axis), rows.softmax(x, axis).p), axis)


@softmax_entropy.defjvp
def _(axis, primals, tangents):
    # dH = Σ_j p_j (-log p_j - H) dx_j: what log p_j varies by weighs nothing, since
    # Σ p_j d log p_j = d Σ p_j = 0.
    (x,), (dx,) = primals, tangents
    entropy = softmax_entropy(x, axis)
    p = rows.softmax(x, axis).p
    surplus = jnp.where(p == 0, 0, rows.nll(x, axis) - entropy)
    return entropy, axes.total(p * surplus * dx, axis)
