"""Cosine similarity and cosine distance."""

import jax
import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.angle import Angle, angle
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check, is_off


@public
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
    cosine, keep = _angle(check, predictions, targets, epsilon, axis, where, reduction)
    loss = cosine.similarity
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
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
    cosine, keep = _angle(check, predictions, targets, epsilon, axis, where, reduction)
    loss = cosine.distance
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


# ------------------------------------------------------------------ what they share


def _angle(
    check: Check,
    predictions: Input,
    targets: Input,
    epsilon: Number,
    axis: Axis,
    where: Input | None,
    reduction: Reduction,
) -> tuple[Angle, Array | None]:
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
    cosine = angle(x.predictions, x.require_targets(), least, x.axis)
    return jax.tree.map(lambda each: jnp.squeeze(each, x.axis), cosine), x.keep
