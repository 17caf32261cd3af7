"""Weights of the pairs of a list: how much it matters that they stand in order."""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxloss._core import dcg
from jaxloss._core.lists import differences, lists
from jaxloss._core.public import public
from jaxloss._core.types import Array, Input
from jaxloss._core.validate import Check, computing


@public
def label_difference_lambda_weights(labels: Input, *, axis: int = -1) -> Array:
    r"""Weights of pairs of items: the difference of their labels.

    .. math::
        \lambda_{ij} = |y_i - y_j|

    Args:
      labels: relevance of the items, real, shape `[..., items]` (the items along
        `axis`).
      axis: the axis of the items. Static.

    Returns:
      Weights for `lambda_weights` of the pairwise losses, in the unit of the labels,
      float32 (float64 for float64 inputs): the shape of `labels` and one axis of the
      items more, behind all; item :math:`i` is on `axis`, :math:`j` on the last one.

    Raises:
      TypeError: `labels` not real, a traced `axis`.
      ValueError: `axis` out of range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> print(jaxloss.label_difference_lambda_weights(jnp.array([2.0, 0.0, 1.0])))
      [[0. 2. 1.]
       [2. 0. 1.]
       [1. 1. 0.]]

    References:
      Burges, *From RankNet to LambdaRank to LambdaMART*, MSR-TR-2010-82.

    Elsewhere: `rax.labeldiff_lambdaweight`.
    """
    check = Check("label_difference_lambda_weights")
    y = check.real("labels", labels)
    (place,) = check.axes(axis, y.ndim, of="labels")
    (y,) = computing(y)
    weights = jnp.abs(differences(jnp.moveaxis(y, place, -1)))
    return jnp.moveaxis(weights, -2, place)


@public
def dcg_lambda_weights(
    logits: Input,
    labels: Input,
    *,
    formula: Literal["lambdarank", "lambdaloss"] = "lambdarank",
    gain: dcg.Gain = "exponential",
    topn: int | None = None,
    normalize: bool = False,
    axis: int = -1,
    where: Input | None = None,
    segments: Input | None = None,
) -> Array:
    r"""Weights of pairs of items: what their exchange changes in the DCG.

    .. math::
        \lambda_{ij} = |G_i - G_j|\, |D(r_i) - D(r_j)|, \qquad
        D(r) = \frac{1}{\log_2 (1 + r)}

    with :math:`r` the rank of an item among the scores, from 1, and :math:`G` its gain.
    With `formula="lambdaloss"`, the NDCG-Loss2 of LambdaLoss, the second factor is
    :math:`D(|r_i - r_j|) - D(|r_i - r_j| + 1)`.

    Args:
      logits: scores of the items, floating, shape `[..., items]` (the items along
        `axis`). Of equal ones the first ranks first.
      labels: relevance of the items, real, at least 0, the shape of `logits`.
      formula: `"lambdarank"` or `"lambdaloss"`. Static.
      gain: `"exponential"`, :math:`2^y - 1`, or `"linear"`, :math:`y`. Static.
      topn: ranks beyond have no discount, so that pairs beyond weigh nothing; None for
        all. Static.
      normalize: divide by the largest DCG that the list can have. Static.
      axis: the axis of the items. Static.
      where: mask of the shape of `logits` (items kept) or of that of the lists (lists
        kept). Axes may be 1. What is not kept has weight 0.
      segments: integers of the shape of `logits`: items with the same one form a list.

    Returns:
      Weights for `lambda_weights` of the pairwise losses, without unit, float32
      (float64 for float64 inputs): the shape of `logits` and one axis of the items
      more, behind all; item :math:`i` is on `axis`, :math:`j` on the last one. They
      are constants to differentiation.

    Raises:
      TypeError: `logits` not floating, `labels` not real, `segments` not integer, a
        traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> scores, labels = jnp.array([0.3, 0.1, 0.2]), jnp.array([1.0, 0.0, 2.0])
      >>> weights = jaxloss.dcg_lambda_weights(scores, labels)
      >>> print(weights.round(4))
      [[0.     0.5    0.7381]
       [0.5    0.     0.3928]
       [0.7381 0.3928 0.    ]]
      >>> loss = jaxloss.pairwise_logistic_loss(scores, labels, lambda_weights=weights)
      >>> print(f"{loss:.4f}")
      1.1017

    References:
      Burges et al., *Learning to Rank with Nonsmooth Cost Functions*, NeurIPS 2006;
      Wang et al., *The LambdaLoss Framework for Ranking Metric Optimization*, CIKM
      2018.

    Elsewhere: `rax.dcg_lambdaweight` and `rax.dcg2_lambdaweight`, which multiply by the
    size of the list; of the second, `topn` weighs pairs beyond it more instead.
    """
    check = Check("dcg_lambda_weights")
    check.choice("formula", formula, ("lambdarank", "lambdaloss"))
    check.choice("gain", gain, ("exponential", "linear"))
    check.choice("normalize", normalize, (False, True))
    check.static(topn=topn)
    if topn is not None and not (isinstance(topn, int) and topn > 0):
        raise check.value_error(
            "topn",
            "None or a number of ranks, at least 1",
            repr(topn),
            "Leave it out for all ranks.",
        )
    x = lists(check, axis, where, segments, logits=logits, labels=labels)
    meet, dtype = x.meet, x.scores.dtype
    rank = dcg.ranks(dcg.before(x.scores, meet), dtype)
    worth = dcg.discount(rank)
    if topn is not None:
        worth = jnp.where(rank <= topn, worth, 0)
    if formula == "lambdarank":
        change = jnp.abs(differences(worth))
    else:
        distance = jnp.abs(differences(rank))
        apart = jnp.maximum(distance, 1)
        change = dcg.discount(apart) - dcg.discount(apart + 1)
        counts = jnp.maximum(worth[..., :, None], worth[..., None, :]) > 0
        change = jnp.where((distance > 0) & counts, change, 0)
    weights = dcg.gain_differences(x.labels, gain) * change
    if normalize:
        best = dcg.ranks(dcg.before(x.labels, meet), dtype)
        whole = dcg.ideal(x, dcg.gains(x.labels, gain), best, topn)[..., None]
        weights = weights / jnp.where(whole == 0, 1, whole)
    kept = meet if x.keep is None else meet & x.keep[..., None, None]
    weights = jax.lax.stop_gradient(jnp.where(kept, weights, 0))
    return jnp.moveaxis(weights, -2, x.axis)
