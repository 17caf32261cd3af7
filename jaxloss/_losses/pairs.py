"""Losses of pairs: two embeddings that belong together or not, two scores in order."""

import jax
import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.angle import angle
from jaxloss._core.distances import between
from jaxloss._core.exact import add3
from jaxloss._core.numerics import positive_part
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check, computing


@public
def contrastive_loss(
    first: Input,
    second: Input,
    *,
    labels: Input,
    margin: Number = 1.0,
    positive_margin: Number = 0.0,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Contrastive loss: pairs that belong together close, all others a margin apart.

    .. math::
        \ell = y \max(0,\; d - m_+)^2 + (1 - y) \max(0,\; m - d)^2, \qquad d = |a - b|

    Args:
      first: embeddings :math:`a`, floating, shape `[..., dim]` (the entries along
        `axis`).
      second: embeddings :math:`b`, real, the shape of `first`.
      labels: :math:`y`, of the losses' shape: 1 for a pair that belongs together, 0 for
        one that does not (or bool, or a share in between).
      margin: :math:`m`, at least 0, beyond which the others do not matter.
      positive_margin: :math:`m_+`, at least 0, within which pairs do not matter.
      axis: the axis of the entries; several, or None for all. Static.
      where: mask of the losses' shape (pairs kept) or of the shape of `first` (entries
        kept). Axes may be 1.
      weights: weight of each pair, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the pairs kept).

    Returns:
      The losses, in the squared unit of the embeddings, float32 (float64 for float64
      inputs): the shape of `first` without `axis`, or a scalar when reduced.

    Numerics:
      Equal embeddings have distance 0 and no gradient; a distance of any size neither
      overflows nor vanishes before it is squared. A label outside [0, 1] gives NaN.

    Gradient:
      :math:`\partial \ell / \partial a = 2 \bigl( y \max(0, d - m_+) - (1 - y)
      \max(0, m - d) \bigr) (a - b) / d`.

    Raises:
      TypeError: `first` not floating, the others not real, a traced static option.
      ValueError: shapes that differ, an option out of its range (NaN, if an array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> first = jnp.array([[0.0, 0.0], [1.0, 1.0]])
      >>> second = jnp.array([[0.3, 0.4], [1.3, 1.4]])
      >>> print(jaxloss.contrastive_loss(first, second, labels=jnp.array([1, 0])))
      [0.25 0.25]

    References:
      Hadsell, Chopra, LeCun, *Dimensionality Reduction by Learning an Invariant
      Mapping*, CVPR 2006 (there with factors of 1/2, and with 0 for what belongs
      together).

    Elsewhere: `ContrastiveLoss` of pytorch-metric-learning, `contrastive_loss` of
    TensorFlow Addons.
    """
    check = Check("contrastive_loss")
    check.reduction(reduction)
    x = inputs.rows(check, axis, where, first=first, second=second)
    y = check.real("labels", labels)
    check.shape("labels", y, x.shape)
    y = _kept(y, x.keep).astype(x.like.dtype)
    y = jnp.where((y >= 0) & (y <= 1), y, jnp.nan)
    m = check.parameter("margin", margin, x.like, low=0)
    inner = check.parameter("positive_margin", positive_margin, x.like, low=0)
    d = between(x.predictions, x.require_targets(), "euclidean", x.axis)
    d = jnp.squeeze(d, x.axis)
    near, far = positive_part(d - inner), positive_part(m - d)
    loss = y * jnp.square(near) + (1 - y) * jnp.square(far)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def cosine_embedding_loss(
    first: Input,
    second: Input,
    *,
    labels: Input,
    margin: Number = 0.0,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Cosine embedding loss: pairs at an angle of 0, or at least at a margin.

    .. math::
        \ell = \begin{cases} 1 - \cos(a, b) & y = 1 \\
        \max(0,\; \cos(a, b) - m) & y = -1 \end{cases}

    Args:
      first: embeddings :math:`a`, floating, shape `[..., dim]` (the entries along
        `axis`).
      second: embeddings :math:`b`, real, the shape of `first`.
      labels: :math:`y`, of the losses' shape: 1 or -1, or bool (False is -1).
      margin: :math:`m`, in [-1, 1].
      axis: the axis of the entries; several, or None for all. Static.
      where: mask of the losses' shape (pairs kept) or of the shape of `first` (entries
        kept). Axes may be 1.
      weights: weight of each pair, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the pairs kept).

    Returns:
      The losses in [0, 2], float32 (float64 for float64 inputs): the shape of `first`
      without `axis`, or a scalar when reduced.

    Numerics:
      As `cosine_distance`: accurate for nearly parallel vectors, of any length; the
      zero vector has cosine 0 and no gradient. A number other than 1 and -1 as a label
      gives NaN.

    Gradient:
      :math:`(\hat a \cos\theta - \hat b) / |a|` to :math:`a` for :math:`y = 1`, its
      opposite for :math:`y = -1` where :math:`\cos\theta > m`; half of that at the
      kink.

    Raises:
      TypeError: `first` not floating, the others not real, a traced static option.
      ValueError: shapes that differ, an option out of its range (NaN, if an array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> first = jnp.array([[3.0, 4.0], [3.0, 4.0]])
      >>> second = jnp.array([[4.0, 3.0], [4.0, 3.0]])
      >>> loss = jaxloss.cosine_embedding_loss(
      ...     first, second, labels=jnp.array([1, -1]), margin=0.5)
      >>> print(loss.round(4))
      [0.04 0.46]

    References:
      `torch.nn.CosineEmbeddingLoss`; Salton, McGill, *Introduction to Modern
      Information Retrieval*, 1983.

    Elsewhere: `torch.nn.functional.cosine_embedding_loss`.
    """
    check = Check("cosine_embedding_loss")
    check.reduction(reduction)
    x = inputs.rows(check, axis, where, first=first, second=second)
    if x.entries is not None:
        x = x.drop(jnp.any(x.entries, axis=x.axis))
    y = check.real("labels", labels)
    check.shape("labels", y, x.shape)
    y = _signs(_kept(y, x.keep), x.like)
    m = check.parameter("margin", margin, x.like, low=-1, high=1)
    cosine = angle(x.predictions, x.require_targets(), None, x.axis)
    cosine = jax.tree.map(lambda each: jnp.squeeze(each, x.axis), cosine)
    apart = positive_part(cosine.similarity - m)
    # Near 1 the cosine is rounded in a coarser unit than what it lacks to 1.
    apart = jnp.where(
        cosine.distance < 0.5, positive_part((1 - m) - cosine.distance), apart
    )
    loss = jnp.where(y > 0, cosine.distance, apart) * jnp.abs(y)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def hinge_embedding_loss(
    distances: Input,
    labels: Input,
    *,
    margin: Number = 1.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Hinge embedding loss of the distances of pairs.

    .. math::
        \ell = \begin{cases} d & y = 1 \\ \max(0,\; m - d) & y = -1 \end{cases}

    Args:
      distances: :math:`d`, floating, any shape.
      labels: :math:`y`, of the same shape: 1 for a pair that belongs together, -1 for
        one that does not, or bool (False is -1).
      margin: :math:`m`, by how much the others are to be apart.
      where: mask of the same shape, the pairs kept. Axes may be 1.
      weights: weight of each pair, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the pairs kept).

    Returns:
      The losses, in the unit of the distances, float32 (float64 for float64 inputs):
      the shape of `distances`, or a scalar when reduced.

    Numerics:
      Rounded once. Infinite distances give the limits. A number other than 1 and -1 as
      a label gives NaN.

    Gradient:
      1 for :math:`y = 1`; -1 for :math:`y = -1` where :math:`d < m`, and -1/2 at the
      kink.

    Raises:
      TypeError: `distances` not floating, or `labels` not real.
      ValueError: shapes that differ, an unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> distances = jnp.array([0.25, 0.25, 3.0])
      >>> print(jaxloss.hinge_embedding_loss(distances, jnp.array([1, -1, -1])))
      [0.25 0.75 0.  ]

    References:
      `torch.nn.HingeEmbeddingLoss`.

    Elsewhere: `torch.nn.functional.hinge_embedding_loss`.
    """
    check = Check("hinge_embedding_loss")
    check.reduction(reduction)
    d, y = check.floating("distances", distances), check.real("labels", labels)
    check.same_shape(distances=d, labels=y)
    keep, _ = check.where(where, loss=d.shape)
    (d,) = computing(d)
    y = _signs(_kept(y, keep), d)
    if keep is not None:
        d = jnp.where(keep, d, 0)
    m = check.parameter("margin", margin, d)
    loss = jnp.where(y > 0, d, positive_part(m - d)) * jnp.abs(y)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def margin_ranking_loss(
    first: Input,
    second: Input,
    *,
    labels: Input,
    margin: Number = 0.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Margin ranking loss: of two scores, which one is to lead, and by how much.

    .. math::
        \ell = \max(0,\; -y (x_1 - x_2) + m)

    Args:
      first: scores :math:`x_1`, floating, any shape.
      second: scores :math:`x_2`, real, the same shape.
      labels: :math:`y`, the same shape: 1 where the first is to lead, -1 where the
        second is, or bool (False is -1).
      margin: :math:`m`, the lead demanded.
      where: mask of the same shape, the pairs kept. Axes may be 1.
      weights: weight of each pair, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the pairs kept).

    Returns:
      The losses, in the unit of the scores, float32 (float64 for float64 inputs): the
      shape of `first`, or a scalar when reduced.

    Numerics:
      Exact to its last place, however far from 0 the scores are. A number other than 1
      and -1 as a label gives NaN.

    Gradient:
      :math:`\mp y` to the scores where the lead is less than :math:`m`; half of that at
      the kink.

    Raises:
      TypeError: `first` not floating, the others not real.
      ValueError: shapes that differ, an unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> first, second = jnp.array([2.0, 2.0]), jnp.array([0.5, 0.5])
      >>> labels = jnp.array([1, -1])
      >>> print(jaxloss.margin_ranking_loss(first, second, labels=labels, margin=1.0))
      [0.  2.5]

    References:
      Herbrich, Graepel, Obermayer, *Large Margin Rank Boundaries for Ordinal
      Regression*, 2000.

    Elsewhere: `torch.nn.functional.margin_ranking_loss`.
    """
    check = Check("margin_ranking_loss")
    check.reduction(reduction)
    a = check.floating("first", first)
    b, y = check.real("second", second), check.real("labels", labels)
    check.same_shape(first=a, second=b, labels=y)
    keep, _ = check.where(where, loss=a.shape)
    a, b = computing(a, b)
    y = _signs(_kept(y, keep), a)
    if keep is not None:
        a, b = jnp.where(keep, a, 0), jnp.where(keep, b, 0)
    m = check.parameter("margin", margin, a)
    loss = positive_part(add3(-y * a, y * b, m + jnp.zeros_like(a)))
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


# ------------------------------------------------------------------ what they share


def _kept(labels: Array, keep: Array | None) -> Array:
    """The labels, 1 for the pairs that are not kept."""
    return labels if keep is None else jnp.where(keep, labels, jnp.ones_like(labels))


def _signs(labels: Array, like: Array | jax.ShapeDtypeStruct) -> Array:
    """-1 and 1, of which bools stand for False and True; NaN for all else."""
    y = labels.astype(like.dtype)
    if labels.dtype == jnp.bool_:
        y = 2 * y - 1
    return jnp.where(jnp.abs(y) == 1, y, jnp.nan)
