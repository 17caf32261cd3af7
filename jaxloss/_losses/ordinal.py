"""Ordinal regression: labels that are ranks, 0 < 1 < ... < K - 1."""

import jax
import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.numerics import (
    in_base,
    logistic_loss,
    sigmoid,
    sigmoid_difference,
    softplus,
    weighted,
)
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Reduction
from jaxloss._core.validate import Check, computing


@public
def coral_loss(
    logits: Input,
    labels: Input,
    *,
    importance_weights: Input | None = None,
    ignore_index: int | None = None,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""CORAL: one binary cross entropy for each threshold between ranks.

    .. math::
        \ell = -\sum_{k=0}^{K-2} w_k \bigl([y > k] \log \sigma(x_k)
               + [y \le k] \log \sigma(-x_k)\bigr)

    with :math:`y` the rank and :math:`\sigma(x_k)` the probability that it is above k.
    In CORAL the logits are one score plus a bias each, :math:`x_k = f + b_k`, which
    keeps the probabilities in order; nothing here depends on it.

    Args:
      logits: log-odds that the rank is above k, floating, shape `[..., K - 1]`.
      labels: ranks, integers from 0 to K - 1, the shape of `logits` without `axis`.
      importance_weights: :math:`w`, shape `[K - 1]`. They do not count in the
        denominator of the mean.
      ignore_index: examples with this label contribute nothing. Static.
      axis: the axis of the thresholds; several are flattened in the order given.
        Static.
      where: mask of the shape of `labels` (examples kept) or of `logits` (thresholds
        kept). Axes may be 1.
      weights: weight of each example, the shape of `labels`.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `labels`, or a scalar when reduced.

    Numerics:
      Every term is accurate in relative terms for every logit. A label outside [0, K)
      gives NaN in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial x_k = w_k (\sigma(x_k) - [y > k])`.

    Raises:
      TypeError: `logits` not floating, `labels` not integer, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[2.0, 0.5, -1.0], [1.0, -0.5, -2.0]])
      >>> print(jaxloss.coral_loss(logits, jnp.array([2, 0])).round(4))
      [0.9143 1.9143 ]

    References:
      Cao, Mirjalili, Raschka, *Rank consistent ordinal regression for neural networks*,
      arXiv:1901.07884.

    Elsewhere: `coral_pytorch.losses.coral_loss` (ranks as K - 1 levels of 0 and 1;
    `"mean"` by default); not in optax, torch or keras.
    """
    check = Check("coral_loss")
    check.reduction(reduction)
    check.base(base)
    x, label = _ranked(check, axis, where, ignore_index, labels, logits)
    each = _above(x, label)
    if importance_weights is not None:
        tasks = check.real("importance_weights", importance_weights)
        check.shape("importance_weights", tasks, (x.classes,))
        each = weighted(each, x.along(tasks.astype(each.dtype)))
    if x.entries is not None:
        each = jnp.where(x.entries, each, 0)
    loss = in_base(jnp.sum(each, axis=x.axis), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def corn_loss(
    logits: Input,
    labels: Input,
    *,
    ignore_index: int | None = None,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""CORN: the negative log-likelihood of a rank under conditional probabilities.

    .. math::
        \ell = -\sum_{k < y} \log \sigma(x_k) - [y < K - 1] \log \sigma(-x_y)

    with :math:`y` the rank and :math:`\sigma(x_k) = P(y > k \mid y \ge k)`: a threshold
    learns from the examples that have come as far as it.

    Args:
      logits: log-odds that the rank is above k given that it is not below, floating,
        shape `[..., K - 1]`.
      labels: ranks, integers from 0 to K - 1, the shape of `logits` without `axis`.
      ignore_index: examples with this label contribute nothing. Static.
      axis: the axis of the thresholds; several are flattened in the order given.
        Static.
      where: mask of the shape of `labels` (examples kept) or of `logits` (thresholds
        kept). Axes may be 1.
      weights: weight of each example, the shape of `labels`.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `labels`, or a scalar when reduced.

    Numerics:
      Every term is accurate in relative terms for every logit; those that an example
      has not come to are not there, in value and gradient. A label outside [0, K) gives
      NaN in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial x_k = \sigma(x_k) - [y > k]` for
      :math:`k \le y`, else 0.

    Raises:
      TypeError: `logits` not floating, `labels` not integer, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[2.0, 0.5, -1.0], [1.0, -0.5, -2.0]])
      >>> print(jaxloss.corn_loss(logits, jnp.array([2, 0])).round(4))
      [0.9143 1.3133 ]

    References:
      Shi, Cao, Raschka, *Deep Neural Networks for Rank-Consistent Ordinal Regression
      Based On Conditional Probabilities*, arXiv:2111.08851.

    Elsewhere: `coral_pytorch.losses.corn_loss` (a scalar: the sum of these losses over
    the number of pairs of an example and a threshold it has come to); not in optax,
    torch or keras.
    """
    check = Check("corn_loss")
    check.reduction(reduction)
    check.base(base)
    x, label = _ranked(check, axis, where, ignore_index, labels, logits)
    reached = _levels(x) <= label
    # NaN logits are loud also where an example has not come to them.
    reached |= (label < 0) | jnp.isnan(x.predictions)
    if x.entries is not None:
        reached &= x.entries
    z = jnp.where(reached, x.predictions, 0)
    each = jnp.where(reached, _above(x._replace(predictions=z), label), 0)
    loss = in_base(jnp.sum(each, axis=x.axis), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def cumulative_link_loss(
    predictions: Input,
    labels: Input,
    *,
    thresholds: Input,
    ignore_index: int | None = None,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of the proportional odds model.

    .. math::
        \ell = -\log \bigl(\sigma(a) - \sigma(b)\bigr)
             = -\log \sigma(a) - \log \sigma(-b) - \log(1 - e^{b - a}), \qquad
        a = \theta_y - \eta,\quad b = \theta_{y-1} - \eta

    with :math:`\eta` the prediction, :math:`y` its rank and :math:`\theta` the
    thresholds, of which :math:`\theta_{-1} = -\infty` and
    :math:`\theta_{K-1} = \infty`.

    Args:
      predictions: :math:`\eta`, floating, any shape.
      labels: ranks, integers from 0 to K - 1, the shape of `predictions`.
      thresholds: :math:`\theta_0 < \dots < \theta_{K-2}`, floating, `[K - 1]`, or
        `[..., K - 1]` for thresholds of each example. Parameters stay in order as
        `first + jnp.cumsum(jax.nn.softplus(gaps))`.
      ignore_index: examples with this label contribute nothing. Static.
      where: mask of the shape of `predictions` (examples kept). Axes may be 1.
      weights: weight of each example, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `predictions`, or a scalar when reduced.

    Numerics:
      By the second form, whose terms are not negative and of which the last does not
      depend on the prediction: exact however far the prediction is from the thresholds,
      where the difference of two sigmoids is 0. Thresholds out of order give NaN, and a
      label outside [0, K) gives NaN in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial \eta = \sigma(-a) - \sigma(b)`;
      :math:`\partial \ell / \partial \theta_y = -\sigma(-a) - 1/(e^{a - b} - 1)`;
      :math:`\partial \ell / \partial \theta_{y-1} = \sigma(b) + 1/(e^{a - b} - 1)`.

    Raises:
      TypeError: arrays not of the kind described, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, thresholds = jnp.array([0.5, -2.0]), jnp.array([-1.0, 0.0, 2.0])
      >>> loss = jaxloss.cumulative_link_loss(
      ...     predictions, jnp.array([2, 0]), thresholds=thresholds)
      >>> print(loss.round(4))
      [0.8209 0.3133]

    References:
      McCullagh, *Regression Models for Ordinal Data*, JRSS B 42, 1980.

    Elsewhere: `statsmodels.miscmodels.ordinal_model.OrderedModel`,
    `spacecutter.losses.CumulativeLinkLoss` (probabilities clipped at 1e-15); not in
    optax, torch or keras.
    """
    check = Check("cumulative_link_loss")
    check.reduction(reduction)
    check.base(base)
    check.static(ignore_index=ignore_index)
    y = check.labels("labels", labels)
    (eta, y), keep = inputs.aligned(
        check, where, {"predictions": predictions}, {"labels": y}
    )
    # Ranks are small: exact in floating point, and a mask has put 0 for garbage.
    rank = y
    cuts = check.floating("thresholds", thresholds)
    if cuts.shape[:-1] not in ((), eta.shape) or cuts.ndim == 0:
        raise check.value_error(
            "thresholds",
            f"of shape (K - 1,) or {(*eta.shape, 'K - 1')}",
            f"of shape {cuts.shape}",
            "Give all examples the same thresholds, or each its own.",
        )
    eta, cuts = computing(eta, cuts)
    dtype = eta.dtype
    if ignore_index is not None:
        ignored = check.labels("labels", labels) == ignore_index
        keep = inputs.both(keep, ~ignored)
        eta, rank = jnp.where(ignored, 0, eta), jnp.where(ignored, 0, rank)
    if keep is not None and cuts.ndim > 1:
        steps = jnp.arange(cuts.shape[-1], dtype=dtype)
        cuts = jnp.where(keep[..., None], cuts, steps)
    ranks = cuts.shape[-1] + 1
    label = rank.astype(jnp.int32)
    valid = (rank >= 0) & (rank < ranks)
    label = jnp.where(valid, label, 0)
    ends = jnp.full((*cuts.shape[:-1], 1), jnp.inf, dtype)
    every = jnp.concatenate([-ends, cuts, ends], axis=-1)
    every = jnp.broadcast_to(every, (*eta.shape, ranks + 1))
    lower = jnp.take_along_axis(every, label[..., None], axis=-1)[..., 0]
    upper = jnp.take_along_axis(every, label[..., None] + 1, axis=-1)[..., 0]
    # A rank that does not exist is NaN in value and gradient.
    eta = eta + jnp.where(valid, 0, jnp.nan)
    loss = in_base(_interval_nll(eta, lower, upper), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


# ------------------------------------------------------------------ what they share


def _ranked(
    check: Check,
    axis: Axis,
    where: Input | None,
    ignore_index: int | None,
    labels: Input,
    logits: Input,
) -> tuple[inputs.Rows, Array]:
    """Logits of the thresholds and the rank of each row, -1 for one out of range."""
    check.static(ignore_index=ignore_index)
    x = inputs.rows(check, axis, where, logits=logits)
    y = check.labels("labels", labels)
    check.shape("labels", y, x.shape)
    y = y.astype(jnp.int64 if y.dtype.itemsize == 8 else jnp.int32)
    if ignore_index is not None:
        x = x.drop(y != ignore_index)
    if x.keep is not None:
        y = jnp.where(x.keep, y, 0)
    y = jnp.where((y >= 0) & (y <= x.classes), y, -1).astype(jnp.int32)
    return x, jnp.expand_dims(y, x.axis)


def _levels(x: inputs.Rows) -> Array:
    """k for each threshold, lined up with the logits."""
    return x.along(jnp.arange(x.classes, dtype=jnp.int32))


def _above(x: inputs.Rows, label: Array) -> Array:
    """The binary cross entropy of [y > k] at each threshold."""
    dtype = x.predictions.dtype
    above = (label > _levels(x)).astype(dtype)
    above = jnp.where(label < 0, jnp.nan, above)
    return logistic_loss(x.predictions, above, 1 - above, jnp.ones((), dtype))


@jax.custom_jvp
def _interval_nll(eta: Array, lower: Array, upper: Array) -> Array:
    """-log(σ(upper - η) - σ(lower - η))."""
    a, b, width = _interval(eta, lower, upper)
    gap = jnp.where(width > 0, -jnp.log(-jnp.expm1(-width)), jnp.nan)
    return softplus(-a) + softplus(b) + gap


def _interval(eta: Array, lower: Array, upper: Array) -> tuple[Array, Array, Array]:
    """upper - η and lower - η, at infinite ends those, and upper - lower."""
    a = jnp.where(upper == jnp.inf, upper, upper - eta) + 0 * jnp.sign(eta)
    b = jnp.where(lower == -jnp.inf, lower, lower - eta)
    return a, b, upper - lower


@_interval_nll.defjvp
def _(primals, tangents):
    # With w = a - b, which does not depend on η: ∂/∂η = σ(-a) - σ(b),
    # ∂/∂upper = -σ(-a) - 1/(e^w - 1), ∂/∂lower = σ(b) + 1/(e^w - 1).
    (eta, lower, upper), (deta, dlower, dupper) = primals, tangents
    a, b, width = _interval(eta, lower, upper)
    pull = _pull(width)
    slope = sigmoid_difference(-a, b)
    dloss = slope * deta
    dloss -= (sigmoid(-a) + pull) * dupper
    dloss += (sigmoid(b) + pull) * dlower
    return _interval_nll(eta, lower, upper), dloss


@jax.custom_jvp
def _pull(width: Array) -> Array:
    """1 / (e^w - 1): 0 with all its derivatives where an end is infinite."""
    return 1 / jnp.expm1(width)


@_pull.defjvp
def _(primals, tangents):
    # -e^w / (e^w - 1)², without the quotient of two infinities.
    (width,), (dwidth,) = primals, tangents
    pull = _pull(width)
    return pull, -pull * (1 + pull) * dwidth
