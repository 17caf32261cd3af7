"""Cosine similarity and cosine distance."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core import inputs, norms
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check, is_off


def cosine_similarity(
    predictions: Input,
    targets: Input,
    *,
    epsilon: Number = 0.0,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Cosine of the angle between two vectors.

    .. math::
        s = \frac{a \cdot b}{\max(|a|, \sqrt\epsilon)\, \max(|b|, \sqrt\epsilon)}

    Args:
      predictions: the vectors :math:`a`, floating, shape `[..., dim]` (the entries
        along `axis`).
      targets: the vectors :math:`b`, real, the shape of `predictions`.
      epsilon: least squared length to divide by, at least 0.
      axis: the axis of the entries; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `predictions`
        (entries kept; an example that loses all of them contributes nothing). Axes may
        be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The similarities in [-1, 1], float32 (float64 for float64 inputs): the shape of
      `predictions` without `axis`, or a scalar when reduced.

    Numerics:
      Vectors of any length, from the smallest float to the largest; the zero vector has
      similarity 0, and without `epsilon` no gradient. Infinite vectors give NaN.

    Gradient:
      :math:`\partial s / \partial a = (\hat b - s\, \hat a) / |a|` with
      :math:`\hat a = a / |a|`, and :math:`\hat b / \sqrt\epsilon` where
      :math:`|a| < \sqrt\epsilon`.

    Raises:
      TypeError: `predictions` not floating, `targets` not real, a traced static option.
      ValueError: shapes that differ, a negative `epsilon` (NaN, if it is an array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> a = jnp.array([[3.0, 4.0], [1.0, 0.0]])
      >>> b = jnp.array([[4.0, 3.0], [-2.0, 0.0]])
      >>> print(jaxloss.cosine_similarity(a, b).round(4))
      [ 0.96 -1.  ]

    References:
      Salton, McGill, *Introduction to Modern Information Retrieval*, 1983.

    Elsewhere: `optax.cosine_similarity`, `torch.nn.functional.cosine_similarity`;
    `keras.losses.CosineSimilarity` is its negative.
    """
    check = Check("cosine_similarity")
    angle, keep = _angle(check, predictions, targets, epsilon, axis, where, reduction)
    loss = angle.similarity
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


def cosine_distance(
    predictions: Input,
    targets: Input,
    *,
    epsilon: Number = 0.0,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""One minus the cosine of the angle between two vectors.

    .. math::
        \ell = 1 - \frac{a \cdot b}{|a| |b|} = \tfrac12 |\hat a - \hat b|^2,
        \qquad \hat a = \frac{a}{|a|}, \quad \hat b = \frac{b}{|b|}

    Args:
      predictions: the vectors :math:`a`, floating, shape `[..., dim]` (the entries
        along `axis`).
      targets: the vectors :math:`b`, real, the shape of `predictions`.
      epsilon: least squared length to divide by in the similarity, at least 0.
      axis: the axis of the entries; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `predictions`
        (entries kept; an example that loses all of them contributes nothing). Axes may
        be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The distances in [0, 2], float32 (float64 for float64 inputs): the shape of
      `predictions` without `axis`, or a scalar when reduced.

    Numerics:
      Accurate in relative terms for nearly parallel vectors, in value and gradient, and
      never negative; vectors of any length. The zero vector has distance 1, and without
      `epsilon` no gradient. Infinite vectors give NaN.

    Gradient:
      :math:`\partial \ell / \partial a = (\hat a \cos\theta - \hat b) / |a|`, and
      :math:`-\hat b / \sqrt\epsilon` where :math:`|a| < \sqrt\epsilon`.

    Raises:
      TypeError: `predictions` not floating, `targets` not real, a traced static option.
      ValueError: shapes that differ, a negative `epsilon` (NaN, if it is an array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> a = jnp.array([[3.0, 4.0], [1.0, 0.0]])
      >>> b = jnp.array([[4.0, 3.0], [-2.0, 0.0]])
      >>> print(jaxloss.cosine_distance(a, b).round(4))
      [0.04 2.  ]

    References:
      Salton, McGill, *Introduction to Modern Information Retrieval*, 1983.

    Elsewhere: `optax.cosine_distance`, `torch.nn.functional.cosine_embedding_loss`
    (with targets of 1); `keras.losses.CosineSimilarity` is it minus 1.
    """
    check = Check("cosine_distance")
    angle, keep = _angle(check, predictions, targets, epsilon, axis, where, reduction)
    loss = angle.distance
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


# ------------------------------------------------------------------ what they share


class _Angle(NamedTuple):
    """The cosine of an angle, and what it lacks to 1."""

    similarity: Array
    distance: Array


def _angle(
    check: Check,
    predictions: Input,
    targets: Input,
    epsilon: Number,
    axis: Axis,
    where: Input | None,
    reduction: Reduction,
) -> tuple[_Angle, Array | None]:
    """The angles between predictions and targets, and the examples kept."""
    check.reduction(reduction)
    x = inputs.rows(check, axis, where, predictions=predictions, targets=targets)
    if x.entries is not None:
        x = x.drop(jnp.any(x.entries, axis=x.axis))
    least = None
    if not is_off(epsilon, 0):
        square = x.spread(check.parameter("epsilon", epsilon, x.like, low=0))
        vanishes = square == 0
        least = jnp.where(vanishes, 0, jnp.sqrt(jnp.where(vanishes, 1, square)))
        least = jnp.broadcast_to(least, x.spread(jnp.zeros(x.shape)).shape)
    cosine = _cosine(x.predictions, x.targets, least, x.axis)
    return jax.tree.map(lambda each: jnp.squeeze(each, x.axis), cosine), x.keep


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
        share.append(length.size / norms.nonzero(divisor.size))
    return _Directions(
        norms.direction(a, lengths[0], part),
        norms.direction(b, lengths[1], part),
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
    upper = jax.lax.reduce_precision(
        jax.lax.stop_gradient(ratio), info.nexp, info.nmant - half - 1
    )
    # Adding and subtracting a large number rounds to its last place; the barrier hides
    # from the compiler that they are opposite constants.
    anchor = jax.lax.optimization_barrier(
        jnp.asarray(1.5 * 2.0 ** (info.nmant - half) / part**2, a.dtype)
    )
    high = jax.lax.stop_gradient((a + anchor) - anchor)
    low = a - high
    difference = ((b - upper * high) - upper * low) - (ratio - upper) * a
    return difference * (part / b_size)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _cosine(a: Array, b: Array, least: Array | None, axis: int) -> _Angle:
    # 1 - u·v = |v - u|² / 2. The shares s, of which that of a zero vector is 0, scale
    # the similarity: the distance is (1 - s) + s (1 - u·v), of terms not negative.
    x = _directions(a, b, least, axis, 2)
    share = x.share[0] * x.share[1]
    distance = jnp.sum(jnp.square(x.chord), axis=axis, keepdims=True) / 2
    similarity = jnp.sum(x.a * x.b, axis=axis, keepdims=True)
    # Not `clip`, which XLA on CPU would not fuse.
    similarity = -jnp.maximum(-jnp.maximum(similarity, -1), -1)
    return _Angle(
        # Without a least length the share of a zero vector is in its direction.
        similarity if least is None else share * similarity,
        (1 - share) + share * jnp.minimum(distance, 2),
    )


def _cosine_jvp(axis, primals, tangents):
    # With u = a/|a|, v = b/|b| and the chord c = v - u, the gradient of the similarity
    # by a is (v - u(u·v))/|a| = (c - u(u·c))/|a|, where nothing cancels even if u and v
    # nearly agree; by b it is -(c - v(v·c))/|b|. A vector shorter than the least length
    # is divided by that, a constant: its gradient is v / least, and the similarity
    # falls with `least` by itself / least. The share of the other vector multiplies.
    a, b, least = primals
    da, db, dleast = tangents
    x = _directions(a, b, least, axis, 8)
    angle = _cosine(a, b, least, axis)
    change = jnp.zeros_like(angle.similarity)

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
        change -= angle.similarity * shorter / norms.nonzero(least) * dleast
    return angle, _Angle(change, -change)


_cosine.defjvp(_cosine_jvp, symbolic_zeros=True)
