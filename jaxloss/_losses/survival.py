"""Likelihoods of times to an event, which may not have been seen."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from jaxloss._core import batch, weighted_sums
from jaxloss._core.numerics import in_base, softplus
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Reduction
from jaxloss._core.validate import Check, computing

Ties = Literal["breslow", "efron"]
"""Whom events at one time face."""


@public
def cox_partial_nll(
    log_hazards: Input,
    times: Input,
    *,
    events: Input,
    ties: Literal["breslow", "efron"] = "breslow",
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Negative log partial likelihood of Cox's proportional hazards.

    .. math::
        \ell_i = e_i \Bigl( \log \sum_{j : t_j \ge t_i} e^{\eta_j} - \eta_i \Bigr)

    Args:
      log_hazards: logarithm :math:`\eta` of each subject's relative hazard, floating
        and finite, shape `[subjects]`. For strata use `jax.vmap`.
      times: time :math:`t` of the event or of the end of observation, real, shape
        `[subjects]`, in any order.
      events: :math:`e`: 1 or True where the event was seen, 0 or False where
        observation ended before it, shape `[subjects]`.
      ties: `"breslow"`: events at one time each face all who are at risk then;
        `"efron"`: the :math:`l`-th of :math:`d` of them faces those less :math:`l / d`
        of the :math:`d` events (:math:`l = 0 \ldots d - 1`), and they share their
        losses equally. Static.
      where: mask of the subjects kept, shape `[subjects]`; the others are at nobody's
        risk.
      weights: weight of each subject's loss, shape `[subjects]`; not of its hazard.
      reduction: `"none"`, `"sum"` or `"mean"`: :math:`\sum w \ell / \sum w e`, 0
        without events.
      base: unit of the result: None for nats, 2 for bits.
      axis_name: inside `jax.shard_map`, the mesh axis over which the subjects are
        spread; each then faces those of all devices, and sums are those of all. Static.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): shape
      `[subjects]`, 0 without an event, or a scalar when reduced.

    Numerics:
      A sort and cumulative log-sum-exps, time :math:`O(n \log n)`, memory :math:`O(n)`.
      What is summed is the others at risk, as :math:`\log(1 + e^{L_i - \eta_i})`: a
      subject that outweighs them loses no digits, and common offsets cancel. A NaN
      among the times makes all losses NaN that it may concern. In a minibatch the
      risk sets are those of the subjects given.

    Gradient:
      :math:`\partial \sum \ell / \partial \eta_j = \sum_{i : t_i \le t_j} e_i\,
      e^{\eta_j} / \sum_{k : t_k \ge t_i} e^{\eta_k} - e_j` for Breslow's ties.

    Raises:
      TypeError: `log_hazards` not floating, `times` or `events` not real, a traced
        static option.
      ValueError: shapes that do not fit, unknown ties, reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> log_hazards, times = jnp.array([1.0, 0.0, -1.0]), jnp.array([2.0, 3.0, 5.0])
      >>> events = jnp.array([1, 0, 1])
      >>> print(jaxloss.cox_partial_nll(log_hazards, times, events=events).round(4))
      [0.4076 0.     0.    ]

    References:
      Cox, *Regression models and life-tables*, J. R. Stat. Soc. B 34, 1972; Efron, *The
      efficiency of Cox's likelihood function for censored data*, JASA 72, 1977.

    Elsewhere: `CoxPHLoss` of pycox (Breslow, without ties told apart), `CoxPHFitter` of
    lifelines (Efron).
    """
    check = Check("cox_partial_nll")
    check.reduction(reduction)
    check.base(base)
    check.choice("ties", ties, get_args(Ties))
    if axis_name is not None:
        check.axis_name(axis_name)
    x = check.floating("log_hazards", log_hazards)
    t = check.real("times", times)
    seen = check.real("events", events)
    if x.ndim != 1:
        raise check.value_error(
            "log_hazards",
            "of shape [subjects]",
            f"of shape {x.shape}",
            "Use jax.vmap for several strata.",
        )
    check.same_shape(log_hazards=x, times=t, events=seen)
    keep, _ = check.where(where, loss=x.shape)
    x, t = computing(x, t)
    event = seen.astype(bool)
    there = jnp.ones(x.shape, bool)
    if keep is not None:
        x, t = jnp.where(keep, x, 0), jnp.where(keep, t, 0)
        event, there = event & keep, keep
    # When a subject's time is not known, neither are the risk sets.
    x = jnp.where(jnp.isnan(t), jnp.nan, x)
    of = batch.Batch(check, x.size, keep, axis_name)
    t = of.all(t)
    order = jnp.argsort(t, descending=True, stable=True)
    x, at_risk, happened = (of.all(value)[order] for value in (x, there, event))
    loss = _sorted_losses(x, t[order], happened, at_risk, ties)
    loss = in_base(loss[jnp.argsort(order)][of.place()], base)
    return reduce(
        loss,
        where=keep,
        weights=check.weights(weights, loss),
        normalizer=event.astype(loss.dtype),
        reduction=reduction,
        axis_name=axis_name,
    )


def _sorted_losses(x: Array, t: Array, event: Array, there: Array, ties: str) -> Array:
    """The losses of subjects in the order of falling times."""
    first = jnp.concatenate([jnp.ones_like(t[:1], bool), t[1:] != t[:-1]])
    group = jnp.cumsum(first) - 1
    # Those at risk beside i: all of later times, and of its own time those without an
    # event and the others with one.
    everybody = weighted_sums.exp(x, there)
    later = weighted_sums.at(weighted_sums.before(everybody), _start(first))
    beside = weighted_sums.within(weighted_sums.exp(x, there & ~event), first)
    tied = weighted_sums.within(weighted_sums.exp(x, event), first)
    share = jnp.ones_like(x)
    count = jnp.ones_like(x)
    if ties == "efron":
        one = event.astype(x.dtype)
        count = jax.ops.segment_sum(one, group, x.size)[group]
        rank = (jnp.cumsum(one) - one) - (jnp.cumsum(one) - one)[_start(first)]
        count = jnp.where(count == 0, 1, count)
        share = jnp.where(event, (count - rank) / count, 1)
    others = weighted_sums.add(later, beside)
    others = weighted_sums.add(others, tied._replace(sum=tied.sum * share))
    # log(share e^x + others) - x.
    alone = others.sum == 0
    log_sum = jnp.log(jnp.where(alone, 1, others.sum))
    relative = (others.peak - x) + (log_sum - jnp.log(share))
    # `alone` leaves a NaN of the subject's own to be seen, and no -0.
    loss = jnp.where(alone, 0 * jnp.abs(x), softplus(jnp.where(alone, 0, relative)))
    loss = jnp.where(event, loss + jnp.log(share), 0)
    if ties == "efron":
        mean = jax.ops.segment_sum(loss, group, x.size)[group] / count
        loss = jnp.where(event, mean, 0)
    return loss


def _start(first: Array) -> Array:
    """Where the group of each place begins."""
    place = jnp.arange(first.size)
    return jax.lax.cummax(jnp.where(first, place, 0))
