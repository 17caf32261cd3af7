"""Discounted cumulative gain: Σ_i G_i D(rank_i), with D(r) = 1 / log2(1 + r)."""

import math
from typing import Literal

import jax.numpy as jnp

from jaxloss._core.lists import Lists, differences, places
from jaxloss._core.types import Array

Gain = Literal["exponential", "linear"]
"""2^y - 1, or the label y itself."""


def gains(labels: Array, gain: Gain) -> Array:
    """What an item of this relevance is worth."""
    if gain == "linear":
        return labels
    return jnp.expm1(labels * math.log(2))


def gain_differences(labels: Array, gain: Gain) -> Array:
    """|G_i - G_j|, `[..., i, j]`, of labels that are nearly equal too."""
    difference = jnp.abs(differences(labels))
    if gain == "linear":
        return difference
    lower = jnp.minimum(labels[..., :, None], labels[..., None, :])
    return jnp.exp2(lower) * jnp.expm1(difference * math.log(2))


def discount(rank: Array) -> Array:
    """D(r)."""
    return math.log(2) / jnp.log1p(rank)


def before(values: Array, meet: Array) -> Array:
    """Whether j stands before i in decreasing order, the first of equals first."""
    own, other = values[..., :, None], values[..., None, :]
    i, j = places(values.shape)
    return meet & ((other > own) | ((other == own) & (j < i)))


def ranks(before: Array, dtype: jnp.dtype) -> Array:
    """1 for the first, from who stands before whom."""
    return 1 + jnp.sum(before, axis=-1).astype(dtype)


def ideal(x: Lists, gain: Array, rank: Array, topn: int | None = None) -> Array:
    """The DCG of the items in the order of their labels: of each one's list."""
    worth = gain * discount(rank)
    if topn is not None:
        worth = jnp.where(rank <= topn, worth, 0)
    return jnp.sum(jnp.where(x.meet, worth[..., None, :], 0), axis=-1)
