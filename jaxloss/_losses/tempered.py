"""The bi-tempered logistic loss: bounded, and of probabilities with heavy tails."""

import jax.numpy as jnp

from jaxloss._core import axes, rows
from jaxloss._core.cross_entropy import uniform
from jaxloss._core.labels import LabelledRows, labelled_rows, reduced
from jaxloss._core.public import public
from jaxloss._core.tempered import tempered_row
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check, is_off


@public
def bi_tempered_logistic_loss(
    logits: Input,
    labels: Input,
    *,
    t1: Number = 0.8,
    t2: Number = 1.2,
    label_smoothing: Number = 0.0,
    class_weights: Input | None = None,
    ignore_index: int | None = None,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Bi-tempered logistic loss: bounded by one temperature, heavy-tailed by another.

    .. math::
        \ell = \sum_c \Bigl( t_c \bigl(\log_{t_1} t_c - \log_{t_1} p_c\bigr)
             - \frac{t_c^{2 - t_1} - p_c^{2 - t_1}}{2 - t_1} \Bigr),
        \qquad p_c = \exp_{t_2}(x_c - \lambda)

    with :math:`\log_t u = (u^{1-t} - 1) / (1 - t)`, its inverse
    :math:`\exp_t u = [1 + (1 - t) u]_+^{1/(1-t)}`, :math:`\lambda` for which
    :math:`\sum_c p_c = 1`, and :math:`t` the one-hot vector of the label :math:`y`, or
    what label smoothing makes of it. For a one-hot vector

    .. math::
        \ell = \frac{1 - p_y^{1 - t_1}}{1 - t_1}
             - \frac{1 - \sum_c p_c^{2 - t_1}}{2 - t_1}.

    Below :math:`t_1 = 1` the loss is bounded, so a wrong label far from the boundary
    cannot dominate; above :math:`t_2 = 1` the probabilities have heavy tails, so a
    wrong label near it does not pull the boundary over. :math:`t_1 = t_2 = 1` is the
    softmax cross entropy.

    Args:
      logits: the model's scores, floating, shape `[..., classes]`.
      labels: integer class indices from 0, the shape of `logits` without `axis`.
      t1: temperature of the loss, in [0, 1].
      t2: temperature of the probabilities, in [1, 5]. Both are numbers, or arrays that
        fit the losses. (For t2 below 1, where probabilities may be 0, there is
        `entmax_loss`.)
      label_smoothing: share of the uniform distribution over the classes (kept) in the
        targets, in [0, 1]: a number, or an array that fits the losses.
      class_weights: shape `[classes]`; multiplies the whole loss, and the label's
        weight counts in the denominator of the mean.
      ignore_index: examples with this label contribute nothing. Static.
      axis: the axis of the classes; several are flattened in the order given. Static.
      where: mask of the shape of `labels` (examples kept) or of `logits` (classes kept;
        an example whose label is removed contributes nothing). Axes may be 1.
      weights: weight of each example, the shape of `labels`.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The losses, at least 0 and without smoothing at most
      :math:`1 / (1 - t_1)`, float32 (float64 for float64 inputs): the shape of
      `labels`, or a scalar when reduced. At :math:`t_1 = 1` they are nats, with
      smoothing the Kullback-Leibler divergence from the smoothed targets.

    Numerics:
      The normaliser is found by Newton's method to the last places, not by a fixed
      number of crude steps, in differences to the largest logit, so that offsets
      cancel. The loss is a sum of terms that are not negative and keeps its digits down
      to 0, as :math:`1 - p_y` does in the gradient. Where the slope of a class without
      the label changes sign, which it does, it is exact beside its terms. -inf logits
      are absent classes, one +inf has probability 1. A label outside [0, classes) gives
      NaN in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial x_j = c_j - q_j \sum_i c_i` with
      :math:`c_j = p_j^{t_2 - t_1} (p_j - t_j)` and
      :math:`q_j = p_j^{t_2} / \sum_i p_i^{t_2}`. Derivatives with respect to t1, t2 and
      `label_smoothing` are defined too.

    Raises:
      TypeError: `logits` not floating, `labels` not integer, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[2.0, 1.0, 0.1], [0.5, 2.5, 0.3]])
      >>> labels = jnp.array([0, 2])
      >>> print(jaxloss.bi_tempered_logistic_loss(logits, labels).round(4))
      [0.3472 1.5687 ]
      >>> loss = jaxloss.bi_tempered_logistic_loss(logits, labels, t1=1.0, t2=1.0)
      >>> print(loss.round(4))
      [0.417  2.42]

    References:
      Amid, Warmuth, Anil, Koren, *Robust Bi-Tempered Logistic Loss Based on Bregman
      Divergences*, arXiv:1906.03361.

    Elsewhere: `bi_tempered_logistic_loss` of google/bi-tempered-loss, on one-hot
    labels, whose smoothing takes its share from the label alone: there
    `label_smoothing` is (C - 1) / C of what it is here. Not in optax, torch or keras.
    """
    check = Check("bi_tempered_logistic_loss")
    check.reduction(reduction)
    x = labelled_rows(check, axis, where, ignore_index, labels, logits=logits)
    like, at = x.rows.like, x.rows.axis
    if is_off(t1, 1) and is_off(t2, 1) and is_off(label_smoothing, 0):
        loss = rows.label_nll(x.rows.predictions, x.label, at)
    else:
        tau = 1 - check.parameter("t1", t1, like, low=0, high=1)
        beta = check.parameter("t2", t2, like, low=1, high=5) - 1
        targets = _targets(x)
        if not is_off(label_smoothing, 0):
            share = check.parameter(
                "label_smoothing", label_smoothing, like, low=0, high=1
            )
            share = x.rows.spread(share)
            spread = uniform(x.rows.predictions, x.rows.entries, at)
            targets = (1 - share) * targets + share * spread
        tau, beta = x.rows.spread(tau), x.rows.spread(beta)
        loss = tempered_row(x.rows.predictions, targets, tau, beta, at).loss
    return reduced(
        check,
        x,
        loss,
        class_weights=class_weights,
        weights=weights,
        reduction=reduction,
    )


def _targets(x: LabelledRows) -> Array:
    """One-hot vectors; NaN for a label that does not exist."""
    at = x.rows.axis
    one_hot = axes.is_label(x.rows.predictions, x.label, at)
    one_hot = one_hot.astype(x.rows.predictions.dtype)
    return jnp.where(axes.exists(x.rows.predictions, x.label, at), one_hot, jnp.nan)
