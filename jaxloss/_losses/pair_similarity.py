"""Losses of the cosines of all pairs of a batch, weighted by how wrong each one is."""

import jax
import jax.numpy as jnp

from jaxloss._core import batch, norms, rows
from jaxloss._core.numerics import positive_part, softplus
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def circle_loss(
    embeddings: Input,
    labels: Input,
    *,
    margin: Number = 0.4,
    scale: Number = 80.0,
    detach_pace: bool = True,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    axis_name: str | None = None,
) -> Array:
    r"""Circle loss: each similarity moves at a pace of its own.

    .. math::
        \ell_i = \log \Bigl( 1 + \sum_{n \in N_i} e^{\gamma \alpha_n (s_n - m)}
        \sum_{p \in P_i} e^{-\gamma \alpha_p (s_p - 1 + m)} \Bigr), \qquad
        \begin{aligned}
        \alpha_p &= \max(0, 1 + m - s_p) \\ \alpha_n &= \max(0, s_n + m)
        \end{aligned}

    with :math:`s` the cosines between example :math:`i` and its positives :math:`P_i`
    (the others with its label) and negatives :math:`N_i`. Where one of them is empty
    the loss is 0.

    Args:
      embeddings: floating, shape `[batch, features]`.
      labels: integers, shape `[batch]`.
      margin: :math:`m`, at least 0.
      scale: :math:`\gamma`, above 0.
      detach_pace: whether the paces :math:`\alpha` are constants to the gradient, as in
        the paper. Static.
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
      Independent of the lengths of the embeddings. A logit is good to a rounding of
      :math:`\gamma`. One product of matrices, memory :math:`O(B^2 + B D)`.

    Gradient:
      With :math:`Z = 1 - e^{-\ell_i}` and the softmaxes :math:`q` over each sum:
      :math:`Z q_n \gamma \alpha_n` to :math:`s_n`, :math:`-Z q_p \gamma \alpha_p` to
      :math:`s_p`; without `detach_pace`, :math:`2 s_n` (where :math:`\alpha_n > 0`) and
      :math:`2 (1 - s_p)` take the places of the paces.

    Raises:
      TypeError: `embeddings` not floating, or `labels` not integers.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> embeddings = jnp.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
      >>> labels = jnp.array([0, 0, 1, 1])
      >>> print(jaxloss.circle_loss(embeddings, labels, scale=8.0).round(4))
      [0.3983 1.0996 1.0996 0.3983]

    References:
      Sun et al., *Circle Loss: A Unified Perspective of Pair Similarity Optimization*,
      arXiv:2002.10857 (for faces, margin 0.25 and scale 256).

    Elsewhere: `CircleLoss` of pytorch-metric-learning, with the same defaults;
    `keras.losses.Circle`, too, but it differentiates the paces.
    """
    check = Check("circle_loss")
    check.reduction(reduction)
    check.static(detach_pace=detach_pace)
    x, cosines, of = _cosines(check, embeddings, where, axis_name)
    positive, negative = of.pairs(labels)
    like = jax.ShapeDtypeStruct((of.size,), x.dtype)
    m = batch.spread(check.parameter("margin", margin, like, low=0))
    gamma = batch.spread(check.parameter("scale", scale, like, low=0, open_low=True))
    pace_p, pace_n = positive_part((1 - cosines) + m), positive_part(cosines + m)
    if detach_pace:
        pace_p, pace_n = jax.lax.stop_gradient((pace_p, pace_n))
    pull = gamma * pace_p * ((1 - cosines) - m)
    push = gamma * pace_n * (cosines - m)
    loss = softplus(_sum_of(pull, positive) + _sum_of(push, negative))
    some = jnp.any(positive, axis=1) & jnp.any(negative, axis=1)
    return reduce(
        loss,
        where=of.keep,
        weights=check.weights(weights, loss),
        normalizer=some.astype(x.dtype),
        reduction=reduction,
        axis_name=axis_name,
    )


@public
def multi_similarity_loss(
    embeddings: Input,
    labels: Input,
    *,
    alpha: Number = 2.0,
    beta: Number = 50.0,
    threshold: Number = 0.5,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    axis_name: str | None = None,
) -> Array:
    r"""Multi-similarity loss: pairs weigh by themselves and relative to the others.

    .. math::
        \ell_i = \frac{1}{\alpha} \log \Bigl( 1 + \sum_{p \in P_i}
        e^{-\alpha (s_p - \lambda)} \Bigr) + \frac{1}{\beta} \log \Bigl( 1 +
        \sum_{n \in N_i} e^{\beta (s_n - \lambda)} \Bigr)

    with :math:`s` the cosines between example :math:`i` and its positives :math:`P_i`
    (the others with its label) and negatives :math:`N_i`.

    Args:
      embeddings: floating, shape `[batch, features]`.
      labels: integers, shape `[batch]`.
      alpha: :math:`\alpha`, above 0, the sharpness for positives.
      beta: :math:`\beta`, above 0, the sharpness for negatives.
      threshold: :math:`\lambda`, the cosine that separates them.
      where: mask of the examples kept, `[batch]`; the others take part nowhere.
      weights: weight of each example as :math:`i`, `[batch]`.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      axis_name: inside `jax.shard_map`, the mesh axis over which the examples are
        spread; each then meets those of all devices, and sums are those of all. Static.

    Returns:
      The losses, `[batch]`, float32 (float64 for float64 embeddings), or a scalar when
      reduced.

    Numerics:
      Independent of the lengths of the embeddings; no exponential overflows. One
      product of matrices, memory :math:`O(B^2 + B D)`.

    Gradient:
      :math:`-e^{-\alpha (s_p - \lambda)} / (1 + \sum_{P_i} e^{-\alpha (s - \lambda)})`
      to a positive :math:`s_p`, :math:`e^{\beta (s_n - \lambda)} / (1 + \sum_{N_i}
      e^{\beta (s - \lambda)})` to a negative.

    Raises:
      TypeError: `embeddings` not floating, or `labels` not integers.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> embeddings = jnp.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
      >>> labels = jnp.array([0, 0, 1, 1])
      >>> print(jaxloss.multi_similarity_loss(embeddings, labels).round(4))
      [0.2187 0.3189 0.3189 0.2187]

    References:
      Wang et al., *Multi-Similarity Loss with General Pair Weighting for Deep Metric
      Learning*, CVPR 2019, arXiv:1904.06627. Its mining of pairs is not included.

    Elsewhere: `MultiSimilarityLoss` of pytorch-metric-learning, whose `base` is
    `threshold` here.
    """
    check = Check("multi_similarity_loss")
    check.reduction(reduction)
    x, cosines, of = _cosines(check, embeddings, where, axis_name)
    positive, negative = of.pairs(labels)
    like = jax.ShapeDtypeStruct((of.size,), x.dtype)
    a = check.parameter("alpha", alpha, like, low=0, open_low=True)
    b = check.parameter("beta", beta, like, low=0, open_low=True)
    level = batch.spread(check.parameter("threshold", threshold, like))
    pull = batch.spread(a) * (level - cosines)
    push = batch.spread(b) * (cosines - level)
    loss = softplus(_sum_of(pull, positive)) / a + softplus(_sum_of(push, negative)) / b
    return reduce(
        loss,
        where=of.keep,
        weights=check.weights(weights, loss),
        reduction=reduction,
        axis_name=axis_name,
    )


def _cosines(
    check: Check, embeddings: Input, where: Input | None, axis_name: str | None
) -> tuple[Array, Array, batch.Batch]:
    (x,), of = batch.embeddings(check, where, axis_name, embeddings=embeddings)
    u = norms.unit(x, 1)
    return x, batch.products(u, of.all(u)), of


def _sum_of(logits: Array, chosen: Array) -> Array:
    """log Σ e^x over the pairs chosen, -inf if there are none."""
    return rows.log_sum_exp(jnp.where(chosen, logits, -jnp.inf), 1)[:, 0]
