"""Proper scores of probabilities and of prediction intervals."""

import functools

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core import inputs, rows
from jaxloss._core.elementwise import entries
from jaxloss._core.numerics import positive_part
from jaxloss._core.others import others
from jaxloss._core.public import public
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def brier_score(
    probs: Input,
    targets: Input,
    *,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Brier score: the squared distance of probabilities from what happened.

    .. math::
        \ell = \sum_c (p_c - t_c)^2

    Strictly proper, and bounded by 2 for distributions. Of two classes it is twice the
    squared error of one probability.

    Args:
      probs: probabilities, floating, shape `[..., classes]` (the classes along `axis`).
      targets: a one-hot vector or a distribution over the classes, the shape of
        `probs`.
      axis: the axis of the classes; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `probs`
        (classes kept, removed from both). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The scores, float32 (float64 for float64 inputs): the shape of `probs` without
      `axis`, or a scalar when reduced.

    Numerics:
      Each difference is rounded once. A model that has logits takes
      `softmax_brier_score`, which knows 1 - p of a confident row.

    Gradient:
      :math:`\partial \ell / \partial p_j = 2 (p_j - t_j)`.

    Raises:
      TypeError: `probs` not floating, `targets` not real, a traced axis.
      ValueError: shapes that do not fit, an unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> probs, targets = jnp.array([0.7, 0.2, 0.1]), jnp.array([1.0, 0.0, 0.0])
      >>> print(f"{jaxloss.brier_score(probs, targets):.2f}")
      0.14

    References:
      Brier, *Verification of forecasts expressed in terms of probability*, Mon. Weather
      Rev. 78, 1950.

    Elsewhere: `sklearn.metrics.brier_score_loss` (targets first, mean; half of it for
    two classes).
    """
    check = Check("brier_score")
    check.reduction(reduction)
    x = inputs.rows(check, axis, where, probs=probs, targets=targets)
    surplus = x.predictions - x.require_targets()
    loss = jnp.sum(jnp.square(surplus), axis=x.axis, keepdims=True)
    return x.reduced(check, loss, weights=weights, reduction=reduction)


@public
def softmax_brier_score(
    logits: Input,
    targets: Input,
    *,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Brier score of the softmax of logits.

    .. math::
        \ell = \sum_c (p_c - t_c)^2, \qquad p = \operatorname{softmax}(x)

    Strictly proper and bounded, but not convex: a confident and wrong row has hardly
    any gradient, where `softmax_cross_entropy` has one of size 1.

    Args:
      logits: unnormalised log-probabilities, floating, shape `[..., classes]` (the
        classes along `axis`); -inf is an absent class.
      targets: a one-hot vector or a distribution over the classes, the shape of
        `logits`.
      axis: the axis of the classes; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `logits`
        (classes kept, removed from both). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The scores, float32 (float64 for float64 inputs): the shape of `logits` without
      `axis`, or a scalar when reduced.

    Numerics:
      Offsets cancel exactly, and confident rows keep their value and gradient down to
      the smallest float: 1 - p is a sum, not a difference.

    Gradient:
      :math:`\partial \ell / \partial x_j = 2 p_j (d_j - \sum_k p_k d_k)`, with
      :math:`d = p - t`.

    Raises:
      TypeError: `logits` not floating, `targets` not real, a traced axis.
      ValueError: shapes that do not fit, an unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits, targets = jnp.array([2.0, 1.0, 0.1]), jnp.array([1.0, 0.0, 0.0])
      >>> print(f"{jaxloss.softmax_brier_score(logits, targets):.4f}")
      0.1848

    References:
      Brier, *Verification of forecasts expressed in terms of probability*, Mon. Weather
      Rev. 78, 1950.

    Elsewhere: only of probabilities, as `brier_score`.
    """
    check = Check("softmax_brier_score")
    check.reduction(reduction)
    x = inputs.rows(check, axis, where, -jnp.inf, logits=logits, targets=targets)
    t = x.require_targets()
    p = rows.softmax(x.predictions, x.axis)
    # p - t, of which the entry above 1/2 is 1 - t less all that is missing.
    surplus = jnp.where(p.p > 0.5, (1 - t) - p.complement, p.p - t)
    loss = jnp.sum(jnp.square(surplus), axis=x.axis, keepdims=True)
    return x.reduced(check, loss, weights=weights, reduction=reduction)


@public
def spherical_score(
    probs: Input,
    targets: Input,
    *,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Spherical score, negative: the cosine of probabilities and what happened.

    .. math::
        \ell = -\frac{\sum_c t_c p_c}{\lVert p \rVert_2}

    Strictly proper. It is between -1 (certain and right) and 0 (certain and wrong).

    Args:
      probs: probabilities, not negative, floating, shape `[..., classes]` (the classes
        along `axis`). Their sum does not matter.
      targets: a one-hot vector or a distribution over the classes, the shape of
        `probs`.
      axis: the axis of the classes; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `probs`
        (classes kept, removed from both). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The scores, float32 (float64 for float64 inputs): the shape of `probs` without
      `axis`, or a scalar when reduced.

    Numerics:
      The gradient is made of sums over the other classes, and keeps its accuracy where
      a prediction is almost certain. Zeros for all classes score 0, with derivative 0.

    Gradient:
      :math:`\partial \ell / \partial p_j = \lVert p \rVert^{-3}
      \sum_{k \ne j} p_k (t_k p_j - t_j p_k)`.

    Raises:
      TypeError: `probs` not floating, `targets` not real, a traced axis.
      ValueError: shapes that do not fit, an unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> probs, targets = jnp.array([0.7, 0.2, 0.1]), jnp.array([1.0, 0.0, 0.0])
      >>> print(f"{jaxloss.spherical_score(probs, targets):.4f}")
      -0.9526

    References:
      Gneiting and Raftery, *Strictly Proper Scoring Rules, Prediction, and Estimation*,
      JASA 102, 2007, 3.2.

    Elsewhere: in books on elicitation, with the opposite sign.
    """
    check = Check("spherical_score")
    check.reduction(reduction)
    x = inputs.rows(check, axis, where, probs=probs, targets=targets)
    score = _spherical(x.predictions, x.require_targets(), x.axis)
    return x.reduced(check, score, weights=weights, reduction=reduction)


@public
def interval_score(
    lower: Input,
    targets: Input,
    *,
    upper: Input,
    alpha: Number = 0.1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Interval (Winkler) score: the width of an interval, and what it misses.

    .. math::
        \ell = (u - l) + \frac2\alpha \max(l - y, 0) + \frac2\alpha \max(y - u, 0)

    Proper for the central interval that holds the target with probability
    :math:`1 - \alpha`: it is :math:`2/\alpha` times the sum of the `quantile_loss` of
    `lower` at :math:`\alpha/2` and of `upper` at :math:`1 - \alpha/2`.

    Args:
      lower: the lower end :math:`l`, floating, any shape.
      targets: :math:`y`, real, the shape of `lower`.
      upper: the upper end :math:`u`, floating, the shape of `lower`.
      alpha: the share of the targets outside, in (0, 1): a number, or an array that
        fits the losses.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The scores, in the unit of the targets, float32 (float64 for float64 inputs): the
      shape of `lower`, or a scalar when reduced.

    Numerics:
      Each of the three differences is rounded once. Ends in the wrong order are scored
      by the formula as it stands.

    Gradient:
      :math:`\partial \ell / \partial l = -1 + \frac2\alpha [y < l]` and
      :math:`\partial \ell / \partial u = 1 - \frac2\alpha [y > u]`, at the kinks the
      mean of both sides.

    Raises:
      TypeError: `lower` or `upper` not floating, `targets` not real.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> lower, upper = jnp.array([0.0, 0.0]), jnp.array([1.0, 1.0])
      >>> targets = jnp.array([0.5, 1.25])
      >>> print(jaxloss.interval_score(lower, targets, upper=upper, alpha=0.1))
      [1. 6.]

    References:
      Winkler, *A decision-theoretic approach to interval estimation*, JASA 67, 1972;
      Gneiting and Raftery, JASA 102, 2007, 6.2.

    Elsewhere: `gluonts.evaluation.metrics.msis` (scaled, mean).
    """
    x = entries(
        "interval_score",
        where,
        reduction,
        {"lower": lower, "upper": upper},
        {"targets": targets},
    )
    low, high, target = x.arrays
    share = x.parameter("alpha", alpha, low=0, high=1, open_low=True, open_high=True)
    missed = positive_part(low - target) + positive_part(target - high)
    return x.reduced((high - low) + 2 / share * missed, weights)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _spherical(p: Array, t: Array, axis: int) -> Array:
    """-Σ t p / |p|."""
    return -jnp.sum(t * p, axis=axis, keepdims=True) / _length(p, axis)


def _length(p: Array, axis: int) -> Array:
    square = jnp.sum(p * p, axis=axis, keepdims=True)
    return jnp.sqrt(jnp.where(square == 0, 1, square))


def _spherical_jvp(axis, primals, tangents):
    # d(t·p / |p|)/dp_j = (t_j |p|² - (t·p) p_j) / |p|³, of which both terms hold
    # t_j p_j²; and by t_j: p_j / |p|.
    (p, t), (dp, dt) = primals, tangents
    score, length = _spherical(p, t, axis), _length(p, axis)
    dscore = jnp.zeros_like(score)
    if not isinstance(dp, SymbolicZero):
        slope = p * others(t * p, axis) - t * others(p * p, axis)
        dscore += jnp.sum(slope / length**3 * dp, axis=axis, keepdims=True)
    if not isinstance(dt, SymbolicZero):
        dscore -= jnp.sum(p / length * dt, axis=axis, keepdims=True)
    return score, dscore


_spherical.defjvp(_spherical_jvp, symbolic_zeros=True)
