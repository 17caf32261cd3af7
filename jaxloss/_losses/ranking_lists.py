"""Ranking losses of whole lists: distributions over items, and smooth metrics."""

import math

import jax.numpy as jnp

from jaxloss._core import dcg, rows
from jaxloss._core.lists import Lists, differences, lists, places, spread
from jaxloss._core.numerics import in_base, sigmoid, weighted
from jaxloss._core.public import public
from jaxloss._core.reduce import divided, reduce
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def listnet_loss(
    logits: Input,
    labels: Input,
    *,
    segments: Input | None = None,
    axis: int = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""ListNet: cross entropy of the softmax of the labels and that of the scores.

    .. math::
        \ell = -\sum_i \frac{e^{y_i}}{\sum_j e^{y_j}}
            \log \frac{e^{s_i}}{\sum_j e^{s_j}}

    with :math:`s` the scores and :math:`y` the labels: the probabilities that an item
    comes first. `ranking_softmax_loss` takes the labels as they are.

    Args:
      logits: scores of the items, floating, shape `[..., items]` (the items along
        `axis`).
      labels: relevance of each item, real, the shape of `logits`.
      segments: integers of the shape of `logits`: items with the same one form a list;
        the loss is the sum over these lists.
      axis: the axis of the items. Static.
      where: mask of the shape of `logits` (items kept; a list without items contributes
        nothing) or of the losses' shape (lists kept). Axes may be 1.
      weights: weight of each list, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the lists with items).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses, in nats (or of `base`), float32 (float64 for float64 inputs): the
      shape of `logits` without `axis`, or a scalar when reduced. Their minimum is the
      entropy of the labels' softmax.

    Numerics:
      Those of `softmax_cross_entropy`: offsets of scores and of labels cancel exactly.

    Gradient:
      :math:`\partial \ell / \partial s = \operatorname{softmax}(s) -
      \operatorname{softmax}(y)`; by the labels
      :math:`q_i (-\log p_i - \ell)` with :math:`q` their softmax and :math:`p` that of
      the scores.

    Raises:
      TypeError: `logits` not floating, `labels` not real, `segments` not integer, a
        traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> scores, labels = jnp.array([2.0, 1.0, 0.0]), jnp.array([2.0, 0.0, 1.0])
      >>> loss = jaxloss.listnet_loss(scores, labels)
      >>> print(f"{loss:.4f}")
      0.9871

    References:
      Cao et al., *Learning to Rank: From Pairwise Approach to Listwise Approach*, ICML
      2007.

    Elsewhere: `rax.softmax_loss` with `label_fn=jax.nn.softmax`.
    """
    check = Check("listnet_loss")
    check.reduction(reduction)
    check.base(base)
    x = lists(check, axis, where, segments, logits=logits, labels=labels)
    if x.segments is None:
        scores, labels = _only(x.scores, x.kept), _only(x.labels, x.kept)
        targets = rows.softmax(labels, -1).p
        loss = jnp.squeeze(rows.soft_nll(scores, targets, -1), -1)
    else:
        # Each item among those of its list.
        share = rows.label_softmax(_only(x.labels, x.meet), _itself(x), -1).label
        nll = rows.label_nll(_only(x.scores, x.meet), _itself(x), -1)
        terms = weighted(nll, jnp.where(x.kept[..., None], share, 0))
        loss = jnp.sum(jnp.squeeze(terms, -1), axis=-1)
    loss = in_base(x.loud(loss), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def unique_softmax_loss(
    logits: Input,
    labels: Input,
    *,
    gain: dcg.Gain = "exponential",
    segments: Input | None = None,
    axis: int = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Unique softmax: each relevant item against the items that are less relevant.

    .. math::
        \ell = -\sum_i G_i \log
            \frac{e^{s_i}}{e^{s_i} + \sum_{j: y_j < y_i} e^{s_j}}

    with :math:`s` the scores, :math:`y` the labels and :math:`G` the gain: relevant
    items do not compete with each other, as they do in `ranking_softmax_loss`.

    Args:
      logits: scores of the items, floating, shape `[..., items]` (the items along
        `axis`); -inf is an absent item.
      labels: relevance of each item, real, the shape of `logits`.
      gain: the weight of an item: `"exponential"`, :math:`2^y - 1`, or `"linear"`,
        :math:`y`. Static.
      segments: integers of the shape of `logits`: items with the same one form a list;
        the loss is the sum over these lists.
      axis: the axis of the items. Static.
      where: mask of the shape of `logits` (items kept; a list without items contributes
        nothing) or of the losses' shape (lists kept). Axes may be 1.
      weights: weight of each list, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the lists with items).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses, in nats (or of `base`), float32 (float64 for float64 inputs): the
      shape of `logits` without `axis`, or a scalar when reduced.

    Numerics:
      Each term is that of `softmax_cross_entropy_with_integer_labels`: offsets cancel
      exactly, and items far above the less relevant ones keep their value and gradient.

    Gradient:
      :math:`\partial \ell / \partial s_k = \sum_{i: y_k < y_i} G_i p_i(k) - G_k (1 -
      p_k(k))` with :math:`p_i` the softmax over item :math:`i` and those below it.

    Raises:
      TypeError: `logits` not floating, `labels` not real, `segments` not integer, a
        traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> scores, labels = jnp.array([2.0, 1.0, 0.0]), jnp.array([1.0, 0.0, 2.0])
      >>> loss = jaxloss.unique_softmax_loss(scores, labels)
      >>> print(f"{loss:.4f}")
      7.5361

    References:
      Zhu and Klabjan, *Listwise Learning to Rank by Exploring Unique Ratings*, WSDM
      2020.

    Elsewhere: `rax.unique_softmax_loss`.
    """
    check = Check("unique_softmax_loss")
    check.reduction(reduction)
    check.base(base)
    check.choice("gain", gain, ("exponential", "linear"))
    x = lists(check, axis, where, segments, logits=logits, labels=labels)
    below = x.labels[..., None, :] < x.labels[..., :, None]
    nll = rows.label_nll(_only(x.scores, (x.meet & below) | x.itself), _itself(x), -1)
    worth = jnp.where(x.kept, dcg.gains(x.labels, gain), 0)
    loss = jnp.sum(weighted(jnp.squeeze(nll, -1), worth), axis=-1)
    loss = in_base(x.loud(loss), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def approx_ndcg_loss(
    logits: Input,
    labels: Input,
    *,
    temperature: Number = 1.0,
    gain: dcg.Gain = "exponential",
    segments: Input | None = None,
    axis: int = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""ApproxNDCG: 1 minus the NDCG of smooth ranks.

    .. math::
        \ell = 1 - \frac{\sum_i G_i D(r_i)}{\max_\pi \sum_i G_i D(\pi_i)},
        \qquad r_i = 1 + \sum_{j \ne i} \sigma\!\left(\frac{s_j - s_i}{T}\right),
        \quad D(r) = \frac{1}{\log_2(1 + r)}

    with :math:`s` the scores, :math:`G` the gains of the labels and :math:`T` the
    temperature.

    Args:
      logits: scores of the items, floating, shape `[..., items]` (the items along
        `axis`).
      labels: relevance of each item, real, at least 0, the shape of `logits`.
      temperature: :math:`T` above 0, a number or an array that fits the losses; towards
        0 the ranks become those of the scores, and their gradient vanishes.
      gain: `"exponential"`, :math:`2^y - 1`, or `"linear"`, :math:`y`. Static.
      segments: integers of the shape of `logits`: items with the same one form a list;
        the loss is the sum over these lists.
      axis: the axis of the items. Static.
      where: mask of the shape of `logits` (items kept; a list without items contributes
        nothing) or of the losses' shape (lists kept). Axes may be 1.
      weights: weight of each list, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the lists with items).

    Returns:
      The losses, in [0, 1] for a list, float32 (float64 for float64 inputs): the shape
      of `logits` without `axis`, or a scalar when reduced. A list in which nothing is
      relevant costs 0.

    Numerics:
      What the ranks lack of the ideal ones is summed, and from it what the discounts
      lack: a list in nearly perfect order keeps its value and gradient.

    Gradient:
      :math:`\partial \ell / \partial s_k = -\frac{1}{T Z} \sum_i \bigl(G_i D'(r_i) -
      G_k D'(r_k)\bigr)\, \sigma'\bigl((s_k - s_i) / T\bigr)` with :math:`Z` the ideal
      DCG.

    Raises:
      TypeError: `logits` not floating, `labels` not real, `segments` not integer, a
        traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> scores, labels = jnp.array([2.0, 1.0, 0.0]), jnp.array([1.0, 0.0, 2.0])
      >>> loss = jaxloss.approx_ndcg_loss(scores, labels)
      >>> print(f"{loss:.4f}")
      0.3348

    References:
      Qin et al., *A general approximation framework for direct optimization of
      information retrieval measures*, Information Retrieval 13, 2010; Bruch et al., *A
      Stochastic Treatment of Learning to Rank Scoring Functions*, WSDM 2020.

    Elsewhere: `rax.approx_t12n(rax.ndcg_metric)`, minus the NDCG; TF-Ranking's
    `ApproxNDCGLoss`, of temperature 0.1.
    """
    check = Check("approx_ndcg_loss")
    check.reduction(reduction)
    check.choice("gain", gain, ("exponential", "linear"))
    x = lists(check, axis, where, segments, logits=logits, labels=labels)
    temperature = spread(
        check.parameter("temperature", temperature, x.like, low=0, open_low=True), 2
    )
    meet = x.meet & ~x.itself
    before = dcg.before(x.labels, meet)
    rank = dcg.ranks(before, x.scores.dtype)
    worth = jnp.where(x.kept, dcg.gains(x.labels, gain), 0)
    whole = dcg.ideal(x, worth, rank)
    # r - rank: who should stand before i adds σ(d) - 1 = -σ(-d), who should not, σ(d).
    ahead = jnp.where(meet, -differences(x.scores), 0) / temperature
    share = sigmoid(jnp.where(before, -ahead, ahead))
    excess = jnp.sum(jnp.where(meet, jnp.where(before, -share, share), 0), axis=-1)
    # D(k) - D(k + e) = D(k) D(k + e) log2(1 + e / (1 + k)).
    lost = dcg.discount(rank) * dcg.discount(rank + excess)
    lost = lost * jnp.log1p(excess / (1 + rank)) / math.log(2)
    loss = x.loud(jnp.sum(divided(worth * lost, whole), axis=-1))
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


def _only(x: Array, there: Array) -> Array:
    """Rows of what is there, `[..., items]` or of each item with those it meets."""
    if there.ndim > x.ndim:
        x = x[..., None, :]
    return jnp.where(there, x, -jnp.inf)


def _itself(x: Lists) -> Array:
    """The place of each item in its row, `[..., items, 1]`."""
    return places(x.scores.shape)[0][..., :1]
