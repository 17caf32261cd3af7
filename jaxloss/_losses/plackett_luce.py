"""Likelihoods of choices and orders: Bradley and Terry, Plackett and Luce."""

import jax
import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.lists import lists
from jaxloss._core.numerics import in_base, softplus
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.tails import order_nll
from jaxloss._core.types import Array, Input, Reduction
from jaxloss._core.validate import Check


@public
def plackett_luce_nll(
    logits: Input,
    ranking: Input,
    *,
    ignore_index: int | None = None,
    axis: int = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of a ranking: the items drawn one after another.

    .. math::
        \ell = -\sum_{k=1}^{K} \log \frac{e^{s_{\pi_k}}}
            {\sum_{j \notin \{\pi_1, \ldots, \pi_{k-1}\}} e^{s_j}}

    with :math:`s` the scores and :math:`\pi` the ranking, of all items or of the first
    ones. For two items it is Bradley and Terry's model.

    Args:
      logits: scores of the items, floating, shape `[..., items]` (the items along
        `axis`); -inf is an absent item.
      ranking: integer indices of items, the first one first, shape `[..., ranks]` (the
        ranks along `axis`, at most as many as items). What is not ranked comes behind.
      ignore_index: entries of `ranking` with this number are no rank; None for none.
        Static.
      axis: the axis of the items, and of the ranks. Static.
      where: mask of the shape of `logits` (items kept, removed from the ranking too; a
        list without items contributes nothing) or of the losses' shape (lists kept).
        Axes may be 1.
      weights: weight of each list, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the lists with items).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses, in nats (or of `base`), float32 (float64 for float64 inputs): the
      shape of `logits` without `axis`, or a scalar when reduced.

    Numerics:
      Each draw is softplus of the others' log-sum-exp relative to the score drawn: an
      offset cancels exactly, likely rankings keep their value and gradient. All sums
      come from one scan over the items. An index that is no item, or one that comes
      twice, gives NaN in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial s_i = \sum_k p_k(i) - [i \text{ is ranked}]`,
      over the draws up to its own, with :math:`p_k` their probabilities.

    Raises:
      TypeError: `logits` not floating, `ranking` not integer, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> scores, ranking = jnp.array([2.0, 1.0, 0.0]), jnp.array([0, 2, 1])
      >>> loss = jaxloss.plackett_luce_nll(scores, ranking)
      >>> print(f"{loss:.4f}")
      1.7209

    References:
      Plackett, *The Analysis of Permutations*, J. R. Stat. Soc. C 24, 1975; Luce,
      *Individual Choice Behavior*, 1959.

    Elsewhere: `choix`; not in optax, torch or keras.
    """
    check = Check("plackett_luce_nll")
    check.reduction(reduction)
    check.base(base)
    check.static(ignore_index=ignore_index)
    x = inputs.rows(check, axis, where, logits=logits)
    if x.entries is not None:
        x = x.drop(jnp.any(x.entries, axis=x.axis))
    order = check.labels("ranking", ranking)
    ranks = order.shape[x.axis] if order.ndim == x.predictions.ndim else 0
    expected = list(x.predictions.shape)
    expected[x.axis] = min(ranks, x.classes)
    check.shape("ranking", order, expected)
    order = jnp.moveaxis(order, x.axis, -1)
    order = order.astype(jnp.int64 if order.dtype.itemsize == 8 else jnp.int32)
    scores = jnp.moveaxis(x.predictions, x.axis, -1)
    if x.entries is None:
        there = jnp.ones(scores.shape, bool)
    else:
        there = jnp.moveaxis(x.entries, x.axis, -1)

    named = (
        jnp.ones(order.shape, bool) if ignore_index is None else (order != ignore_index)
    )
    if x.keep is not None:
        named &= x.keep[..., None]
    exists = (order >= 0) & (order < x.classes)
    # Each item's rank; behind all of them, that of an item which is not ranked.
    pairs = (*scores.shape, ranks)
    item = jax.lax.broadcasted_iota(order.dtype, pairs, len(pairs) - 2)
    hits = (order[..., None, :] == item) & named[..., None, :]
    times = jnp.sum(hits, axis=-1)
    index = jax.lax.broadcasted_iota(jnp.int32, pairs, len(pairs) - 1)
    rank = jnp.min(jnp.where(hits, index, ranks), axis=-1, initial=ranks)
    valid = jnp.all(exists | ~named, axis=-1) & jnp.all(times <= 1, axis=-1)
    rank = jnp.where(there, rank, ranks + 1)

    by_rank = jnp.argsort(rank, axis=-1, stable=True)
    rank, there, scores = (
        jnp.take_along_axis(a, by_rank, axis=-1) for a in (rank, there, scores)
    )
    valid = jnp.where(valid[..., None], 0, jnp.nan).astype(scores.dtype)
    scores = scores + valid
    ends = jnp.zeros_like(there).at[..., -1:].set(True)
    loss = order_nll(scores, there, ends, rank < ranks)
    loss = in_base(_loud(loss, scores, there), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def listmle_loss(
    logits: Input,
    labels: Input,
    *,
    key: jax.Array | None = None,
    segments: Input | None = None,
    axis: int = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""ListMLE: the negative log-likelihood of the order that the labels give.

    .. math::
        \ell = -\sum_i \log \frac{e^{s_{\pi_i}}}{\sum_{j \ge i} e^{s_{\pi_j}}},
        \qquad y_{\pi_1} \ge y_{\pi_2} \ge \ldots

    with :math:`s` the scores and :math:`y` the labels.

    Args:
      logits: scores of the items, floating, shape `[..., items]` (the items along
        `axis`).
      labels: relevance of each item, real, the shape of `logits`; only their order
        counts.
      key: a random key, by which equal labels are put in a random order; without one
        they keep theirs.
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
      As for `plackett_luce_nll`: a sort and a scan; offsets cancel exactly and well
      ordered lists keep their value and gradient.

    Gradient:
      :math:`\partial \ell / \partial s_{\pi_i} = \sum_{k \le i} p_k(\pi_i) - 1` with
      :math:`p_k` the softmax of the items from the k-th on.

    Raises:
      TypeError: `logits` not floating, `labels` not real, `segments` not integer, a
        traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> scores, labels = jnp.array([2.0, 1.0, 0.0]), jnp.array([2.0, 0.0, 1.0])
      >>> loss = jaxloss.listmle_loss(scores, labels)
      >>> print(f"{loss:.4f}")
      1.7209

    References:
      Xia et al., *Listwise Approach to Learning to Rank: Theory and Algorithm*, ICML
      2008.

    Elsewhere: `rax.listmle_loss`.
    """
    check = Check("listmle_loss")
    check.reduction(reduction)
    check.base(base)
    x = lists(check, axis, where, segments, logits=logits, labels=labels)
    there = x.kept
    segment = x.segments
    if segment is None:
        segment = jnp.zeros(there.shape, jnp.int32)
    keys = [~there, segment, -x.labels]
    if key is not None:
        keys.append(jax.random.bits(key, there.shape))
    index = jax.lax.broadcasted_iota(jnp.int32, there.shape, there.ndim - 1)
    *_, order = jax.lax.sort((*keys, index), num_keys=len(keys) + 1)
    scores, there, segment = (
        jnp.take_along_axis(a, order, axis=-1) for a in (x.scores, there, segment)
    )
    # What is removed stands behind all lists.
    changes = (segment[..., 1:] != segment[..., :-1]) | ~there[..., 1:]
    ends = jnp.concatenate([changes, jnp.ones_like(there[..., -1:])], axis=-1)
    loss = x.loud(order_nll(scores, there, ends, there))
    loss = in_base(loss, base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def bayesian_personalized_ranking_loss(
    positives: Input,
    negatives: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Bayesian personalized ranking: what was chosen against what was not.

    .. math::
        \ell = -\log \sigma(s^+ - s^-)

    Args:
      positives: scores :math:`s^+` of the items chosen, floating, any shape.
      negatives: scores :math:`s^-` of the others, floating, the shape of `positives`;
        for several of them broadcast the positive one.
      where: mask of the same shape, the pairs kept. Axes may be 1.
      weights: weight of each pair, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the pairs kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses, in nats (or of `base`), float32 (float64 for float64 inputs): the
      shape of `positives`, or a scalar when reduced.

    Numerics:
      The difference is rounded once; both tails keep their relative accuracy.

    Gradient:
      :math:`\partial \ell / \partial s^+ = -\sigma(s^- - s^+)`, the opposite for
      :math:`s^-`.

    Raises:
      TypeError: `positives` or `negatives` not floating.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> chosen, others = jnp.array([2.0, 0.0]), jnp.array([0.0, 1.0])
      >>> print(jaxloss.bayesian_personalized_ranking_loss(chosen, others).round(4))
      [0.1269 1.3133]

    References:
      Rendle et al., *BPR: Bayesian Personalized Ranking from Implicit Feedback*, UAI
      2009; Bradley and Terry, *Biometrika* 39, 1952.

    Elsewhere: `recbole.model.loss.BPRLoss` (with 1e-10 in the logarithm);
    not in optax, torch or keras.
    """
    check = Check("bayesian_personalized_ranking_loss")
    check.reduction(reduction)
    check.base(base)
    (chosen, other), keep = inputs.aligned(
        check, where, {"positives": positives, "negatives": negatives}, {}
    )
    loss = in_base(softplus(other - chosen), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


# ------------------------------------------------------------------ what they share


def _loud(loss: Array, scores: Array, there: Array) -> Array:
    """The losses, NaN in value and gradient where a score is NaN, which may be last."""
    bad = jnp.any(jnp.isnan(scores) & there, axis=-1)
    poison = jnp.sum(jnp.where(bad[..., None], scores, 0), axis=-1)
    return loss + jnp.where(bad, jnp.nan, 0) * poison
