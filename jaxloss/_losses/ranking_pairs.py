"""Ranking losses of pairs: the more relevant item is to have the higher score."""

from collections.abc import Callable

import jax.numpy as jnp

from jaxloss._core.lists import differences, lists, over_pairs, pair_weights, spread
from jaxloss._core.numerics import in_base, positive_part, sigmoid, softplus
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def pairwise_logistic_loss(
    logits: Input,
    labels: Input,
    *,
    lambda_weights: Input | None = None,
    segments: Input | None = None,
    axis: int = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Pairwise logistic loss (RankNet): Bradley and Terry's likelihood of pairs.

    .. math::
        \ell = \sum_{y_i > y_j} \lambda_{ij} \log \bigl(1 + e^{-(s_i - s_j)}\bigr)

    with :math:`s` the scores and :math:`y` the labels.

    Args:
      logits: scores of the items, floating, shape `[..., items]` (the items along
        `axis`).
      labels: relevance of each item, real, the shape of `logits`.
      lambda_weights: weights of the pairs, such as those of `dcg_lambda_weights`: the
        shape of `logits` and one axis of the items more, behind all (item :math:`i` on
        `axis`, :math:`j` on the last one).
      segments: integers of the shape of `logits`: items with the same one form a list,
        and only they are compared; the loss is the sum over these lists.
      axis: the axis of the items. Static.
      where: mask of the shape of `logits` (items kept; a list without items contributes
        nothing) or of the losses' shape (lists kept). Axes may be 1.
      weights: weight of each list, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the lists with items).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses, in nats (or of `base`), float32 (float64 for float64
      inputs): the shape of `logits` without `axis`, or a scalar when reduced.

    Numerics:
      Scores enter by their differences, so that an offset cancels exactly. Items that
      are removed may hold anything. A NaN among the others reaches their whole list.
      Well ordered pairs keep their value and gradient.

    Gradient:
      :math:`\partial \ell / \partial s_i = -\sum_{j: y_i > y_j} \lambda_{ij}\,
      \sigma(s_j - s_i) + \sum_{j: y_j > y_i} \lambda_{ji}\, \sigma(s_i - s_j)`.

    Raises:
      TypeError: `logits` not floating, `labels` not real, `segments` not integer, a
        traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> scores, labels = jnp.array([2.0, 1.0, 0.0]), jnp.array([1.0, 0.0, 2.0])
      >>> loss = jaxloss.pairwise_logistic_loss(scores, labels)
      >>> print(f"{loss:.4f}")
      3.7535

    References:
      Burges et al., *Learning to Rank using Gradient Descent*, ICML 2005.

    Elsewhere: `rax.pairwise_logistic_loss`, by default the mean over all pairs.
    """
    check = Check("pairwise_logistic_loss")
    check.base(base)
    return in_base(
        _over_pairs(
            check,
            logits,
            labels,
            lambda d, _: softplus(-d),
            lambda_weights,
            segments,
            axis,
            where,
            weights,
            reduction,
        ),
        base,
    )


@public
def pairwise_hinge_loss(
    logits: Input,
    labels: Input,
    *,
    margin: Number = 1.0,
    lambda_weights: Input | None = None,
    segments: Input | None = None,
    axis: int = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Pairwise hinge loss (RankSVM): a lead of `margin` for every pair.

    .. math::
        \ell = \sum_{y_i > y_j} \lambda_{ij} \max\bigl(0,\; m - (s_i - s_j)\bigr)

    with :math:`s` the scores, :math:`y` the labels and :math:`m` the margin.

    Args:
      logits: scores of the items, floating, shape `[..., items]` (the items along
        `axis`).
      labels: relevance of each item, real, the shape of `logits`.
      margin: the lead :math:`m`: a number, or an array that fits the losses.
      lambda_weights: weights of the pairs, such as those of `dcg_lambda_weights`: the
        shape of `logits` and one axis of the items more, behind all (item :math:`i` on
        `axis`, :math:`j` on the last one).
      segments: integers of the shape of `logits`: items with the same one form a list,
        and only they are compared; the loss is the sum over these lists.
      axis: the axis of the items. Static.
      where: mask of the shape of `logits` (items kept; a list without items contributes
        nothing) or of the losses' shape (lists kept). Axes may be 1.
      weights: weight of each list, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the lists with items).

    Returns:
      The losses, in the unit of the scores, float32 (float64 for float64
      inputs): the shape of `logits` without `axis`, or a scalar when reduced.

    Numerics:
      Scores enter by their differences, so that an offset cancels exactly. Items that
      are removed may hold anything. A NaN among the others reaches their whole list.

    Gradient:
      :math:`\partial \ell / \partial s_i = -\sum_{j: y_i > y_j} \lambda_{ij}\,
      [s_i - s_j < m] + \sum_{j: y_j > y_i} \lambda_{ji}\, [s_j - s_i < m]`; at the kink
      the mean of both sides.

    Raises:
      TypeError: `logits` not floating, `labels` not real, `segments` not integer, a
        traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> scores, labels = jnp.array([2.0, 1.5, 0.0]), jnp.array([1.0, 0.0, 2.0])
      >>> print(jaxloss.pairwise_hinge_loss(scores, labels))
      6.0

    References:
      Joachims, *Optimizing Search Engines using Clickthrough Data*, KDD 2002.

    Elsewhere: `rax.pairwise_hinge_loss`, by default the mean over all pairs;
    `torch.nn.functional.margin_ranking_loss` takes the pairs themselves.
    """
    check = Check("pairwise_hinge_loss")
    return _over_pairs(
        check,
        logits,
        labels,
        lambda d, margin: positive_part(margin - d),
        lambda_weights,
        segments,
        axis,
        where,
        weights,
        reduction,
        margin=margin,
    )


@public
def pairwise_soft_zero_one_loss(
    logits: Input,
    labels: Input,
    *,
    lambda_weights: Input | None = None,
    segments: Input | None = None,
    axis: int = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Pairwise soft zero-one loss: the expected number of pairs in disorder.

    .. math::
        \ell = \sum_{y_i > y_j} \lambda_{ij} \bigl(1 - \sigma(s_i - s_j)\bigr)

    with :math:`s` the scores and :math:`y` the labels.

    Args:
      logits: scores of the items, floating, shape `[..., items]` (the items along
        `axis`).
      labels: relevance of each item, real, the shape of `logits`.
      lambda_weights: weights of the pairs, such as those of `dcg_lambda_weights`: the
        shape of `logits` and one axis of the items more, behind all (item :math:`i` on
        `axis`, :math:`j` on the last one).
      segments: integers of the shape of `logits`: items with the same one form a list,
        and only they are compared; the loss is the sum over these lists.
      axis: the axis of the items. Static.
      where: mask of the shape of `logits` (items kept; a list without items contributes
        nothing) or of the losses' shape (lists kept). Axes may be 1.
      weights: weight of each list, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the lists with items).

    Returns:
      The losses, float32 (float64 for float64
      inputs): the shape of `logits` without `axis`, or a scalar when reduced.

    Numerics:
      Scores enter by their differences, so that an offset cancels exactly. Items that
      are removed may hold anything. A NaN among the others reaches their whole list.
      Well ordered pairs keep their value and gradient.

    Gradient:
      :math:`\partial \ell / \partial s_i = -\sum_{j: y_i > y_j} \lambda_{ij}\,
      \sigma'(s_i - s_j) + \sum_{j: y_j > y_i} \lambda_{ji}\, \sigma'(s_j - s_i)` with
      :math:`\sigma'(d) = \sigma(d)\, \sigma(-d)`.

    Raises:
      TypeError: `logits` not floating, `labels` not real, `segments` not integer, a
        traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> scores, labels = jnp.array([2.0, 1.0, 0.0]), jnp.array([1.0, 0.0, 2.0])
      >>> loss = jaxloss.pairwise_soft_zero_one_loss(scores, labels)
      >>> print(f"{loss:.4f}")
      1.8808

    References:
      Pasumarthi et al., *TF-Ranking*, KDD 2019.

    Elsewhere: `rax.pairwise_soft_zero_one_loss`, by default the mean over all pairs.
    """
    check = Check("pairwise_soft_zero_one_loss")
    return _over_pairs(
        check,
        logits,
        labels,
        lambda d, _: sigmoid(-d),
        lambda_weights,
        segments,
        axis,
        where,
        weights,
        reduction,
    )


@public
def pairwise_mse_loss(
    logits: Input,
    labels: Input,
    *,
    lambda_weights: Input | None = None,
    segments: Input | None = None,
    axis: int = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Pairwise squared error: of the differences of scores and of labels.

    .. math::
        \ell = \sum_i \sum_j \lambda_{ij} \bigl((s_i - s_j) - (y_i - y_j)\bigr)^2

    with :math:`s` the scores and :math:`y` the labels: both orders of a pair count.

    Args:
      logits: scores of the items, floating, shape `[..., items]` (the items along
        `axis`).
      labels: relevance of each item, real, the shape of `logits`.
      lambda_weights: weights of the pairs, such as those of `dcg_lambda_weights`: the
        shape of `logits` and one axis of the items more, behind all (item :math:`i` on
        `axis`, :math:`j` on the last one).
      segments: integers of the shape of `logits`: items with the same one form a list,
        and only they are compared; the loss is the sum over these lists.
      axis: the axis of the items. Static.
      where: mask of the shape of `logits` (items kept; a list without items contributes
        nothing) or of the losses' shape (lists kept). Axes may be 1.
      weights: weight of each list, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the lists with items).

    Returns:
      The losses, in the squared unit of the labels, float32 (float64 for float64
      inputs): the shape of `logits` without `axis`, or a scalar when reduced.

    Numerics:
      Scores enter by their differences, so that an offset cancels exactly. Items that
      are removed may hold anything. A NaN among the others reaches their whole list.

    Gradient:
      :math:`\partial \ell / \partial s_i = 2 \sum_j (\lambda_{ij} + \lambda_{ji})
      \bigl((s_i - s_j) - (y_i - y_j)\bigr)`.

    Raises:
      TypeError: `logits` not floating, `labels` not real, `segments` not integer, a
        traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> scores, labels = jnp.array([2.0, 1.0, 0.5]), jnp.array([1.0, 0.0, 2.0])
      >>> print(jaxloss.pairwise_mse_loss(scores, labels))
      25.0

    References:
      Pasumarthi et al., *TF-Ranking*, KDD 2019.

    Elsewhere: `rax.pairwise_mse_loss`, by default the mean over all pairs.
    """
    check = Check("pairwise_mse_loss")
    check.reduction(reduction)
    x = lists(check, axis, where, segments, logits=logits, labels=labels)
    pairs = x.meet
    error = differences(x.scores) - differences(x.labels)
    error = jnp.where(pairs, error, 0)
    by_pair = pair_weights(check, lambda_weights, x)
    loss = x.loud(over_pairs(jnp.square(error), pairs, by_pair))
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


# ------------------------------------------------------------------ what they share


def _over_pairs(
    check: Check,
    logits: Input,
    labels: Input,
    term: Callable[[Array, Array], Array],
    lambda_weights: Input | None,
    segments: Input | None,
    axis: int,
    where: Input | None,
    weights: Input | None,
    reduction: Reduction,
    *,
    margin: Number = 0.0,
) -> Array:
    """Σ of a term of s_i - s_j over the pairs with y_i > y_j, reduced."""
    check.reduction(reduction)
    x = lists(check, axis, where, segments, logits=logits, labels=labels)
    demanded = spread(check.parameter("margin", margin, x.like), 2)
    above = x.labels[..., :, None] > x.labels[..., None, :]
    pairs = x.meet & above
    # Replaced before and after: what is no pair has no value and no derivative.
    lead = jnp.where(pairs, differences(x.scores), 0)
    by_pair = pair_weights(check, lambda_weights, x)
    loss = x.loud(over_pairs(term(lead, demanded), pairs, by_pair))
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)
