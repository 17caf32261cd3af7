"""Lengths and directions of vectors, on the whole range of floats.

A vector is measured in a unit of its own, a power of two near its largest entry, so
that squares neither overflow nor vanish, and the unit rounds nothing. The zero vector
has length 0, direction 0 and zero derivatives. A vector with one infinite entry has
infinite length and the direction of that entry; with two of them it has no direction:
NaN.

Every function takes the axis of the entries and keeps it with size 1 when it reduces.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core.types import Array


class Length(NamedTuple):
    """The Euclidean length of a vector: size / factor."""

    size: Array
    """The length of factor * x, 0 or far from the ends of the range of floats."""
    factor: Array
    """The power of two that brings the largest entry near 1; constant to autodiff."""

    @property
    def inverse(self) -> Array:
        """1 / length; 0 for the zero vector."""
        return self.factor * (jnp.sign(self.size) / divisor(self.size))


def nonzero(size: Array) -> Array:
    """A divisor: 1 in the place of 0."""
    return jnp.where(size == 0, 1, size)


# What follows is arithmetic without comparisons, so that on CPU a row goes through the
# cache once (`passes`).


def divisor(size: Array) -> Array:
    """The size of a length; for that of the zero vector, a number below all others.

    The square of its inverse, which is part of a derivative, is finite.
    """
    return jnp.maximum(size, 2.0 ** -(jnp.finfo(size.dtype).maxexp // 2 - 8))


def lengths(*arrays: Array, axis: int) -> list[Length]:
    """The lengths of the vectors of some arrays of one shape."""
    return [_length(x, axis) for x in arrays]


def _length(x: Array, axis: int) -> Length:
    magnitude = jnp.abs(jax.lax.stop_gradient(x))
    peak = jnp.max(magnitude, axis=axis, keepdims=True, initial=0)
    factor = 1 / power_of_two(peak)
    return Length(_root(jnp.sum(jnp.square(x * factor), axis, keepdims=True)), factor)


def power_of_two(peak: Array) -> Array:
    """The one next to the number, within a range that leaves room for squares."""
    info = jnp.finfo(peak.dtype)
    limit = 2.0 ** (info.maxexp - info.nmant - 4)
    # Not `clip`, which XLA on CPU would not fuse.
    peak = -jnp.maximum(-jnp.maximum(peak, 1 / limit), -limit)
    # All digits but the first are below the last place of the product (Veltkamp).
    product = peak * (2.0**info.nmant + 1)
    return product - (product - peak)


@jax.custom_jvp
def _root(square: Array) -> Array:
    """The square root, with the derivative 0 at 0."""
    return jnp.sqrt(square)


@_root.defjvp
def _(primals, tangents):
    (square,), (dsquare,) = primals, tangents
    root = _root(square)
    zero = square == 0
    return root, jnp.where(zero, 0, 0.5 / jnp.where(zero, 1, root)) * dsquare


def direction(x: Array, length: Length, part: int = 2) -> Array:
    """x / |x| for finite vectors; zeros for the zero vector.

    The scaled vector is taken at a part of its factor, because of the factor itself XLA
    would see that it has a second use, and would store it between the two. Another pass
    over x in the same program takes another part, for the same reason.
    """
    inverse = part * jnp.sign(length.size) / divisor(length.size)
    return (x * (length.factor / part)) * inverse


def unit(x: Array, axis: int) -> Array:
    """x / |x|; zeros, with derivative 0, for the zero vector."""
    infinite = jnp.isinf(x)
    alone = jnp.sum(infinite.astype(x.dtype), axis=axis, keepdims=True) == 1
    x = jnp.where(alone, jnp.where(infinite, jnp.sign(x), 0), x)
    (length,) = lengths(x, axis=axis)
    return direction(x, length)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def norm(x: Array, axis: int) -> Array:
    """|x|, whose derivative is the direction of x."""
    (length,) = lengths(x, axis=axis)
    return length.size / length.factor


@norm.defjvp
def _(axis, primals, tangents):
    (x,), (dx,) = primals, tangents
    dnorm = jnp.sum(unit(x, axis) * dx, axis=axis, keepdims=True)
    return norm(x, axis), dnorm
