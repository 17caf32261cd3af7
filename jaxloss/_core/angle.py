"""The angle between two vectors: its cosine, and what that lacks to 1.

For nearly parallel vectors 1 - cos is computed from the chord between their directions,
and so are both derivatives: nothing cancels.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core import norms
from jaxloss._core.fusion import constants
from jaxloss._core.types import Array


class Angle(NamedTuple):
    """The cosine of an angle, and what it lacks to 1."""

    similarity: Array
    distance: Array


class _Directions(NamedTuple):
    """Two vectors divided by their lengths."""

    a: Array
    b: Array
    chord: Array
    """b - a, accurate also where they nearly agree."""
    inverse: tuple[Array, Array]
    """1 / max(length, least), 0 for a length of 0."""
    share: tuple[Array, Array]
    """length / max(length, least): 1, or less for a shorter vector, or 0 for zeros."""


def _directions(
    a: Array, b: Array, least: Array | None, axis: int, part: int
) -> _Directions:
    inverse, share = [], []
    lengths = norms.lengths(a, b, axis=axis)
    for length in lengths:
        divisor = length
        if least is not None:
            smallest = least * length.factor
            # In this order a NaN is chosen, not hidden.
            size = jnp.where(length.size >= smallest, length.size, smallest)
            divisor = norms.Length(size, length.factor)
        inverse.append(divisor.inverse)
        share.append(length.size / norms.divisor(divisor.size))
    # Directions in halves of the part, so that they share nothing with the lengths. The
    # chord may: where all is one pass on CPU, it is so within the most steps of a pass.
    return _Directions(
        norms.direction(a, lengths[0], 2 * part),
        norms.direction(b, lengths[1], 2 * part),
        _chord(a, b, lengths[0], lengths[1], part),
        (inverse[0], inverse[1]),
        (share[0], share[1]),
    )


def _chord(
    a: Array, b: Array, a_length: norms.Length, b_length: norms.Length, part: int
) -> Array:
    """b / |b| - a / |a|, with the rounding of a difference, not of its terms.

    It is (B - ratio A) / |B|, where the scaled vectors A, B are exact. The product is
    taken in parts of half the digits, so that the part which nearly cancels is exact.
    """
    info = jnp.finfo(a.dtype)
    half = (info.nmant + 1) // 2
    a_size, b_size = norms.divisor(a_length.size), norms.divisor(b_length.size)
    # No number that is spread over the vectors is the same for two parts: XLA would
    # spread it once, and store it for both.
    a, b = a * (a_length.factor / part**2), b * (b_length.factor / part)
    ratio = part * b_size / a_size
    # Cut to half its digits (Veltkamp), in arithmetic alone.
    constant = jax.lax.stop_gradient(ratio)
    product = constant * (2.0 ** (half + 1) + 1)
    upper = product - (product - constant)
    # Adding and subtracting a large number rounds to its last place; the barrier hides
    # from the compiler that they are opposite constants.
    anchor = jax.lax.optimization_barrier(
        jnp.asarray(1.5 * 2.0 ** (info.nmant - half) / part**2, a.dtype)
    )
    high = jax.lax.stop_gradient((a + anchor) - anchor)
    low = a - high
    difference = ((b - upper * high) - upper * low) - (ratio - upper) * a
    return difference * (part / b_size)


def angle(a: Array, b: Array, least: Array | None, axis: int) -> Angle:
    """Between vectors along an axis, which is kept with size 1.

    `least` is the least length to divide by, of the vectors' shape with size 1 there.
    """
    return _angle(a, b, least, axis, 1)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _angle(a: Array, b: Array, least: Array | None, axis: int, part: int) -> Angle:
    """The angle, from vectors taken at a part of their factors (`norms.direction`)."""
    # 1 - u·v = |v - u|² / 2. The shares s, of which that of a zero vector is 0, scale
    # the similarity: the distance is (1 - s) + s (1 - u·v), of terms not negative.
    x = _directions(a, b, least, axis, part)
    share = x.share[0] * x.share[1]
    distance = jnp.sum(jnp.square(x.chord), axis=axis, keepdims=True) / 2
    similarity = jnp.sum(x.a * x.b, axis=axis, keepdims=True)
    # Not `clip`, which XLA on CPU would not fuse. For the order see `passes`; a plain
    # number would be moved to the second place.
    least_cosine, most = constants(similarity.dtype, -1, 2)
    similarity = -jnp.maximum(least_cosine, -jnp.maximum(least_cosine, similarity))
    return Angle(
        # Without a least length the share of a zero vector is in its direction.
        similarity if least is None else share * similarity,
        (1 - share) + share * jnp.minimum(most, distance),
    )


def _angle_jvp(axis, part, primals, tangents):
    del part
    # With u = a/|a|, v = b/|b| and the chord c = v - u, the gradient of the similarity
    # by a is (v - u(u·v))/|a| = (c - u(u·c))/|a|, where nothing cancels even if u and v
    # nearly agree; by b it is -(c - v(v·c))/|b|. A vector shorter than the least length
    # is divided by that, a constant: its gradient is v / least, and the similarity
    # falls with `least` by itself / least. The share of the other vector multiplies.
    a, b, least = primals
    da, db, dleast = tangents
    # The lengths have the vectors at the whole factor; value and gradient, in programs
    # of their own, at parts.
    x = _directions(a, b, least, axis, 8)
    value = _angle(a, b, least, axis, 2)
    change = jnp.zeros_like(value.similarity)

    def along(vector, dvector):
        return jnp.sum(vector * dvector, axis=axis, keepdims=True)

    def by(own, sign, other, inverse, share, other_share, dvector):
        gradient = sign * (x.chord - own * along(own, x.chord))
        if least is not None:
            gradient = jnp.where(share < 1, other, gradient)
        return along(gradient, dvector) * (inverse * other_share)

    if not isinstance(da, SymbolicZero):
        change += by(x.a, 1, x.b, x.inverse[0], x.share[0], x.share[1], da)
    if not isinstance(db, SymbolicZero):
        change += by(x.b, -1, x.a, x.inverse[1], x.share[1], x.share[0], db)
    if least is not None and not isinstance(dleast, SymbolicZero):
        shorter = sum((share < 1).astype(a.dtype) for share in x.share)
        change -= value.similarity * shorter / norms.nonzero(least) * dleast
    return value, Angle(change, -change)


_angle.defjvp(_angle_jvp, symbolic_zeros=True)
