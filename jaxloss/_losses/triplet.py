"""Triplet losses: an anchor is to be nearer to its positive than to its negative.

The triplets are given (`triplet_loss`), or found among the examples of a batch.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxloss._core import batch, inputs
from jaxloss._core.distances import (
    DISTANCES,
    Distance,
    between,
    check_distance,
    pairwise,
    triplet,
)
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check, computing


@public
def triplet_loss(
    anchors: Input,
    positives: Input,
    negatives: Input,
    *,
    margin: Number | None = 1.0,
    distance: Distance | Callable[[Array, Array], Array] = "euclidean",
    swap: bool = False,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Triplet loss with a choice of distance, a soft margin and swapped anchors.

    .. math::
        \ell = \max(0,\; d(a, p) - d(a, n) + m) \qquad\text{or}\qquad
        \ell = \log \bigl( 1 + e^{d(a, p) - d(a, n)} \bigr)

    Args:
      anchors: embeddings :math:`a`, floating, shape `[..., dim]` (the entries along
        `axis`).
      positives: embeddings :math:`p` of the same kind, real, the shape of `anchors`.
      negatives: embeddings :math:`n` of another kind, real, the shape of `anchors`.
      margin: :math:`m`, by how much the negative is to be farther away; None for the
        second form, the soft margin.
      distance: `"euclidean"`, `"squared_euclidean"`, `"cosine"` (one minus the cosine),
        or a function of two arrays of vectors to their distances, without `axis`.
        Static.
      swap: whether :math:`d(p, n)` takes the place of :math:`d(a, n)` where it is
        smaller. Static.
      axis: the axis of the entries; several, or None for all. Static.
      where: mask of the losses' shape (triplets kept) or of the shape of `anchors`
        (entries kept, removed from all three). Axes may be 1.
      weights: weight of each triplet, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the triplets kept).

    Returns:
      The losses, float32 (float64 for float64 inputs): the shape of `anchors` without
      `axis`, or a scalar when reduced.

    Numerics:
      Equal embeddings have distance 0 and no gradient. Euclidean distances of any size
      neither overflow nor vanish; cosine distances of nearly parallel vectors are
      accurate.

    Gradient:
      With :math:`g` = 1 where the loss is positive, 1/2 at the kink, or
      :math:`\sigma(d(a, p) - d(a, n))` for the soft margin: :math:`-g\,(a - p) /
      d(a, p)` to the positive for the Euclidean distance.

    Raises:
      TypeError: `anchors` not floating, the others not real, a traced static option.
      ValueError: shapes that differ, an unknown distance.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> anchors = jnp.array([[0.0, 0.0], [1.0, 1.0]])
      >>> positives = jnp.array([[0.3, 0.4], [1.3, 1.4]])
      >>> negatives = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> print(jaxloss.triplet_loss(anchors, positives, negatives))
      [0.5 0.5]
      >>> loss = jaxloss.triplet_loss(anchors, positives, negatives, margin=None)
      >>> print(loss.round(4))
      [0.4741 0.4741]

    References:
      Schroff et al., *FaceNet*, arXiv:1503.03832; Hermans et al., *In Defense of the
      Triplet Loss for Person Re-Identification*, arXiv:1703.07737 (soft margin);
      Balntas et al., *Learning local feature descriptors with triplets and shallow
      convolutional neural networks*, BMVC 2016 (swap).

    Elsewhere: `torch.nn.TripletMarginLoss` (which adds 1e-6 to the differences) and
    `TripletMarginWithDistanceLoss`. `triplet_margin_loss` has optax's signature, other
    degrees of the norm and an epsilon under the root.
    """
    check = Check("triplet_loss")
    check.reduction(reduction)
    check.static(swap=swap)
    if not callable(distance):
        check.choice("distance", distance, DISTANCES)
    x = inputs.rows(check, axis, where, anchors=anchors, positives=positives)
    y = inputs.rows(check, axis, where, anchors=anchors, negatives=negatives)
    a, p, n = computing(x.predictions, x.require_targets(), y.require_targets())
    like = jax.ShapeDtypeStruct(x.shape, a.dtype)
    m = None if margin is None else check.parameter("margin", margin, like)

    def distances(a: Array, b: Array) -> Array:
        if not callable(distance):
            return jnp.squeeze(between(a, b, distance, x.axis), x.axis)
        result = distance(a, b)
        check.shape("distance", result, x.shape)
        return result.astype(a.dtype)

    near, far = distances(a, p), distances(a, n)
    if swap:
        swapped = distances(p, n)
        # Where they are equal, the mean of both derivatives; a NaN stays.
        smaller = jnp.where(swapped < far, swapped, far)
        far = jnp.where(swapped == far, (swapped + far) / 2, smaller)
    loss = triplet(near, far, m)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def batch_hard_triplet_loss(
    embeddings: Input,
    labels: Input,
    *,
    margin: Number | None = 1.0,
    distance: Distance = "euclidean",
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    axis_name: str | None = None,
) -> Array:
    r"""Triplet loss of each example, its farthest positive and its nearest negative.

    .. math::
        \ell_i = \max \Bigl( 0,\; \max_{p \in P_i} d(x_i, x_p)
        - \min_{n \in N_i} d(x_i, x_n) + m \Bigr)

    with :math:`P_i` the other examples with the label of :math:`i`, :math:`N_i` those
    with other labels. Where one of them is empty the loss is 0.

    Args:
      embeddings: :math:`x`, floating, shape `[batch, features]`.
      labels: integers, shape `[batch]`.
      margin: :math:`m`, by how much the negative is to be farther away: a number, or
        one for each example; None for the soft margin, :math:`\log(1 + e^{d_p - d_n})`.
      distance: `"euclidean"`, `"squared_euclidean"` or `"cosine"` (one minus the
        cosine). Static.
      where: mask of the examples kept, `[batch]`; the others take part nowhere.
      weights: weight of each example as :math:`i`, `[batch]`.
      reduction: `"none"`, `"sum"` or `"mean"`, which counts the examples that have a
        positive and a negative.
      axis_name: inside `jax.shard_map`, the mesh axis over which the examples are
        spread; each then meets those of all devices, and sums are those of all. Static.

    Returns:
      The losses, `[batch]`, float32 (float64 for float64 embeddings), or a scalar when
      reduced.

    Numerics:
      Both distances are computed from differences, as in `triplet_loss`; which examples
      they are of is decided by distances that are too, so that an offset or a collapsed
      batch does not blur the choice. Among equally hard ones the first is taken. Time
      :math:`O(B^2 D)`, memory :math:`O(B^2 + B D)`.

    Gradient:
      That of `triplet_loss` for the triplet found.

    Raises:
      TypeError: `embeddings` not floating, or `labels` not integers.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> embeddings = jnp.array([[0.0, 0.0], [0.0, 3.0], [4.0, 0.0], [4.0, 1.0]])
      >>> labels = jnp.array([0, 0, 1, 1])
      >>> loss = jaxloss.batch_hard_triplet_loss(embeddings, labels, margin=2.0)
      >>> print(loss.round(3))
      [1.    0.528 0.    0.   ]

    References:
      Hermans et al., *In Defense of the Triplet Loss for Person Re-Identification*,
      arXiv:1703.07737.

    Elsewhere: `TripletHardLoss` of TensorFlow Addons; `BatchHardMiner` with
    `TripletMarginLoss` of pytorch-metric-learning.
    """
    check = Check("batch_hard_triplet_loss")
    check.reduction(reduction)
    check_distance(check, distance)
    (x,), of = batch.embeddings(check, where, axis_name, embeddings=embeddings)
    positive, negative = of.pairs(labels)
    everyone = of.all(x)
    d = jax.lax.stop_gradient(pairwise(x, everyone, distance))
    # A NaN counts as the largest and as the smallest number: it is found.
    hardest = jnp.argmax(jnp.where(positive, d, -jnp.inf), axis=1)
    nearest = jnp.argmin(jnp.where(negative, d, jnp.inf), axis=1)
    some = jnp.any(positive, axis=1) & jnp.any(negative, axis=1)
    # Without a triplet: the example itself.
    hardest, nearest = (jnp.where(some, i, of.place()) for i in (hardest, nearest))
    near, far = (
        jnp.squeeze(between(x, everyone[i], distance, 1), 1) for i in (hardest, nearest)
    )
    loss = jnp.where(some, triplet(near, far, _margin(check, margin, of, x)), 0)
    return reduce(
        loss,
        where=of.keep,
        weights=check.weights(weights, loss),
        normalizer=some.astype(x.dtype),
        reduction=reduction,
        axis_name=axis_name,
    )


@public
def semi_hard_triplet_loss(
    embeddings: Input,
    labels: Input,
    *,
    margin: Number | None = 1.0,
    distance: Distance = "euclidean",
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    axis_name: str | None = None,
) -> Array:
    r"""Triplet loss of each pair, with the nearest negative beyond its positive.

    .. math::
        \ell_i = \sum_{p \in P_i} \max \bigl( 0,\; d(x_i, x_p) - d_{ip} + m \bigr),
        \qquad d_{ip} = \min_{n \in N_i} \{ d(x_i, x_n) > d(x_i, x_p) \}

    with :math:`P_i` the other examples with the label of :math:`i`, :math:`N_i` those
    with other labels. Where no negative is beyond the positive, :math:`d_{ip}` is the
    distance of the farthest one; without any negative the loss is 0.

    Args:
      embeddings: :math:`x`, floating, shape `[batch, features]`.
      labels: integers, shape `[batch]`.
      margin: :math:`m`, by how much the negative is to be farther away: a number, or
        one for each example; None for the soft margin, :math:`\log(1 + e^{d_p - d_n})`.
      distance: `"euclidean"`, `"squared_euclidean"` or `"cosine"` (one minus the
        cosine). Static.
      where: mask of the examples kept, `[batch]`; the others take part nowhere.
      weights: weight of each example as :math:`i`, `[batch]`.
      reduction: `"none"` gives the sums :math:`\ell_i`, `"sum"` is :math:`\sum_i w_i
        \ell_i`, and `"mean"` divides it by the number of pairs, :math:`\sum_i w_i
        |P_i|` (over the examples that have a negative).
      axis_name: inside `jax.shard_map`, the mesh axis over which the examples are
        spread; each then meets those of all devices, and sums are those of all. Static.

    Returns:
      The losses, `[batch]`, float32 (float64 for float64 embeddings), or a scalar when
      reduced.

    Numerics:
      Distances are computed from differences. The derivative of the distance of a pair
      is good to a rounding of the spread of the batch over that distance. Time
      :math:`O(B^2 (D + \log B))`, memory :math:`O(B^2 + B D)`, also for the gradient.

    Gradient:
      The sum of those of `triplet_loss` for the triplets found.

    Raises:
      TypeError: `embeddings` not floating, or `labels` not integers.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> embeddings = jnp.array([[0.0, 0.0], [0.0, 3.0], [4.0, 0.0], [4.0, 1.0]])
      >>> labels = jnp.array([0, 0, 1, 1])
      >>> loss = jaxloss.semi_hard_triplet_loss(embeddings, labels, margin=2.0)
      >>> print(loss.round(3))
      [1.    0.528 0.    0.   ]

    References:
      Schroff et al., *FaceNet: A Unified Embedding for Face Recognition and
      Clustering*, arXiv:1503.03832 (with squared distances of unit vectors).

    Elsewhere: `TripletSemiHardLoss` of TensorFlow Addons, whose value is the mean.
    """
    check = Check("semi_hard_triplet_loss")
    check.reduction(reduction)
    check_distance(check, distance)
    (x,), of = batch.embeddings(check, where, axis_name, embeddings=embeddings)
    positive, negative = of.pairs(labels)
    d = pairwise(x, of.all(x), distance)
    # The distances of the negatives in order, then infinities; a search finds the first
    # of them beyond each positive.
    ordered = jnp.sort(jnp.where(negative, d, jnp.inf), axis=1)
    beyond = jax.vmap(lambda row, at: jnp.searchsorted(row, at, side="right"))(
        *jax.lax.stop_gradient((ordered, d))
    )
    last = jnp.sum(negative, axis=1, keepdims=True, dtype=beyond.dtype) - 1
    place = jnp.maximum(jnp.minimum(beyond, last), 0)
    far = jnp.take_along_axis(ordered, place, axis=1, mode="promise_in_bounds")
    chosen = positive & (last >= 0)
    near, far = jnp.where(chosen, d, 0), jnp.where(chosen, far, 0)
    margin_ = _margin(check, margin, of, x)
    if margin_ is not None:
        margin_ = batch.spread(margin_)
    loss = jnp.sum(jnp.where(chosen, triplet(near, far, margin_), 0), axis=1)
    return reduce(
        loss,
        where=of.keep,
        weights=check.weights(weights, loss),
        normalizer=jnp.sum(chosen.astype(x.dtype), axis=1),
        reduction=reduction,
        axis_name=axis_name,
    )


def _margin(
    check: Check, margin: Number | None, of: batch.Batch, x: Array
) -> Array | None:
    if margin is None:
        return None
    like = jax.ShapeDtypeStruct((of.size,), x.dtype)
    return check.parameter("margin", margin, like)
