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
    """The length of factor * x: at least 1/2, or 0."""
    factor: Array
    """The power of two that brings the largest entry below 1; constant to autodiff."""

    @property
    def inverse(self) -> Array:
        """1 / length; 0 for the zero vector."""
        return jnp.where(self.size == 0, 0, self.factor / nonzero(self.size))


def nonzero(size: Array) -> Array:
    """A divisor: 1 in the place of 0."""
    return jnp.where(size == 0, 1, size)


def largest(*arrays: Array, axis: int) -> list[Array]:
    """The largest magnitude in each vector, of all arrays in one pass; a constant."""

    def larger(ours, theirs):
        return tuple(map(jnp.maximum, ours, theirs))

    magnitudes = tuple(jnp.abs(jax.lax.stop_gradient(x)) for x in arrays)
    zeros = tuple(jnp.zeros((), x.dtype) for x in arrays)
    peaks = jax.lax.reduce(magnitudes, zeros, larger, (axis % arrays[0].ndim,))
    return [jnp.expand_dims(peak, axis) for peak in peaks]


def lengths(*arrays: Array, axis: int) -> list[Length]:
    """The lengths of the vectors of some arrays of one shape."""
    peaks = largest(*arrays, axis=axis)
    return [_length(x, peak, axis) for x, peak in zip(arrays, peaks, strict=True)]


def _length(x: Array, peak: Array, axis: int) -> Length:
    # The factor, and a part of it for directions, stay within the normal numbers.
    limit = -jnp.finfo(x.dtype).minexp - 8
    exponent = jnp.clip(jnp.frexp(peak)[1], -limit, limit)
    factor = jnp.ldexp(jnp.ones_like(peak), -exponent)
    square = jnp.sum(jnp.square(x * factor), axis=axis, keepdims=True)
    zero = square == 0
    size = jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, square)))
    return Length(size, factor)


def direction(x: Array, length: Length, part: int = 2) -> Array:
    """x / |x| for finite vectors; zeros for the zero vector.

    The scaled vector is taken at a part of its factor, because of the factor itself XLA
    would see that it has a second use, and would store it between the two. Another pass
    over x in the same program takes another part, for the same reason.
    """
    zero = length.size == 0
    shorten = jnp.where(zero, 0, part / nonzero(length.size))
    return (x * (length.factor / part)) * shorten


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
