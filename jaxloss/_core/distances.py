"""Distances between vectors, pair by pair or of all pairs, and triplets of them."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from jaxloss._core import norms
from jaxloss._core.angle import angle
from jaxloss._core.exact import add3
from jaxloss._core.numerics import positive_part, softplus
from jaxloss._core.types import Array
from jaxloss._core.validate import Check

Distance = Literal["euclidean", "squared_euclidean", "cosine"]
"""|x - y|, its square, or 1 - cos(x, y)."""

DISTANCES: tuple[str, ...] = get_args(Distance)


def check_distance(check: Check, distance: Distance) -> None:
    """One of the names."""
    check.choice("distance", distance, DISTANCES)


def between(x: Array, y: Array, distance: Distance, axis: int) -> Array:
    """The distance of two vectors along an axis, which is kept with size 1.

    That of equal vectors is 0, with derivative 0.
    """
    if distance == "cosine":
        return angle(x, y, None, axis).distance
    if distance == "euclidean":
        return norms.norm(x - y, axis)
    return jnp.sum(jnp.square(x - y), axis=axis, keepdims=True)


def pairwise(x: Array, y: Array, distance: Distance) -> Array:
    """The distances of all pairs of rows, `[rows of x, rows of y]`."""
    if distance == "cosine":
        return squares(norms.unit(x, 1), norms.unit(y, 1)) / 2
    if distance == "squared_euclidean":
        return squares(x, y)
    peak = jnp.max(jnp.abs(jax.lax.stop_gradient(y)), initial=0)
    factor = 1 / norms.power_of_two(peak)
    square = squares(x * factor, y * factor)
    zero = square == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, square))) / factor


@jax.jit
def _differences_squared(x: Array, y: Array) -> Array:
    # A sum of what XLA computes on the way: the differences are never stored.
    return jnp.sum(jnp.square(x[:, None, :] - y[None, :, :]), axis=-1)


@jax.custom_jvp
def squares(x: Array, y: Array) -> Array:
    """|x_i - y_j|² of all pairs, from differences: near neighbours do not cancel."""
    return _differences_squared(x, y)


@squares.defjvp
def _(primals, tangents):
    # d|x_i - y_j|² = 2 (x_i - y_j)·(dx_i - dy_j), in products of matrices, whose
    # transposes never hold an array of all differences. Vectors are taken relative to
    # a point amid them, so that only their spread is rounded.
    (x, y), (dx, dy) = primals, tangents
    middle = jax.lax.stop_gradient(jnp.sum(y, 0, keepdims=True) / max(len(y), 1))
    a, b = x - middle, y - middle
    own = jnp.sum(a * dx, axis=1)[:, None] + jnp.sum(b * dy, axis=1)[None, :]
    return squares(x, y), 2 * (own - _products(a, dy) - _products(dx, b))


def _products(x: Array, y: Array) -> Array:
    return jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)


def triplet(near: Array, far: Array, margin: Array | None) -> Array:
    """max(0, near - far + margin), or softplus(near - far) without a margin."""
    if margin is None:
        return softplus(near - far)
    return positive_part(add3(near, margin + jnp.zeros_like(near), -far))
