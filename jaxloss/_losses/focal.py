"""Focal losses: cross entropies that fade out as the prediction becomes right.

A focal loss is m · ℓ with ℓ the cross entropy and m = (1 - p_t)^γ its modulation, p_t
the probability given to the truth.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxloss._core import axes, inputs, rows
from jaxloss._core.labels import distributed_rows, labelled_rows
from jaxloss._core.modulation import (
    class_focal,
    distance_modulation,
    distribution_focal,
    mixture_modulation,
    modulated,
)
from jaxloss._core.numerics import in_base, logistic_loss, weighted
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check, is_off


@public
def sigmoid_focal_loss(
    logits: Input,
    labels: Input,
    *,
    alpha: Number | None = None,
    gamma: Number = 2.0,
    modulation: Literal["mixture", "distance"] = "mixture",
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Binary focal loss between logits and labels, entry by entry.

    .. math::
        \ell = -\alpha_t (1 - p_t)^\gamma
               \bigl(y \log p + (1 - y) \log (1 - p)\bigr)

    with :math:`p = \sigma(x)` the probability of the positive class, :math:`y` the
    label, :math:`p_t = y p + (1 - y)(1 - p)` the probability given to it and
    :math:`\alpha_t = \alpha y + (1 - \alpha)(1 - y)`. Easy examples, :math:`p_t` near
    1, fade out; :math:`\gamma = 0` is the binary cross entropy.

    A soft label is a mixture of both classes, in :math:`1 - p_t` too, which is then
    never 0. Where it is a quality to be matched, such as an overlap of boxes, the
    `modulation` by the `"distance"`, :math:`|p - y|` in the place of :math:`1 - p_t`,
    fades out at the label: the quality focal loss. With labels 0 and 1 they are one.

    Args:
      logits: log-odds of the positive class, floating, any shape.
      labels: 0, 1 or a probability between them, the shape of `logits`.
      alpha: balance of positive against negative examples, in [0, 1]; None leaves it
        out. It does not count in the denominator of the mean.
      gamma: how fast easy examples fade out, at least 0. Both are numbers or arrays of
        the rank of `logits`, with axes equal or 1.
      modulation: `"mixture"` or `"distance"`. Static.
      where: mask of the shape of `logits` (entries kept). Axes may be 1.
      weights: weight of each entry, the shape of `logits`. Axes may be 1.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `logits`, or a scalar when reduced.

    Numerics:
      :math:`1 - p_t` is a sum of positive terms, so value, gradient and curvature are
      accurate for every logit and every :math:`\gamma \ge 0`, below 1 too. At an
      infinite logit they have their limits. Where :math:`p` nearly equals a soft label,
      :math:`p - y` is exact to a rounding of :math:`p`; its power has a kink there if
      :math:`\gamma \le 1`, with the derivative 0. A label outside [0, 1] gives NaN in
      value and gradient.

    Gradient:
      :math:`\partial \ell / \partial x = \alpha_t (1 - p_t)^\gamma \Bigl(p - y
      + \gamma \frac{(1 - 2y)\, p (1 - p)}{1 - p_t} \ell_0\Bigr)` with :math:`\ell_0`
      the binary cross entropy; by distance :math:`\alpha_t \bigl(|p - y|^\gamma (p - y)
      + \gamma |p - y|^{\gamma - 1} \operatorname{sign}(p - y)\, p (1 - p)\, \ell_0
      \bigr)`. Those with respect to labels, alpha and gamma are defined.

    Raises:
      TypeError: `logits` not floating, `labels` not real, a traced static option.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([2.0, -1.0, 0.5])
      >>> print(jaxloss.sigmoid_focal_loss(logits, jnp.array([1.0, 1.0, 0.0])).round(4))
      [0.0018 0.7019 0.3774]

    References:
      Lin et al., *Focal Loss for Dense Object Detection*, arXiv:1708.02002; Li et al.,
      *Generalized Focal Loss*, arXiv:2006.04388 (distance).

    Elsewhere: `optax.sigmoid_focal_loss`, `torchvision.ops.sigmoid_focal_loss` (alpha
    0.25 by default), `keras.losses.BinaryFocalCrossentropy(from_logits=True)`;
    `QualityFocalLoss` of mmdet is the one by distance.
    """
    check = Check("sigmoid_focal_loss")
    check.reduction(reduction)
    check.choice("modulation", modulation, ("mixture", "distance"))
    check.base(base)
    x = inputs.elements(check, where, logits=logits, labels=labels)
    logit, label, other = x.predictions, x.targets, 1 - x.targets
    loss = logistic_loss(logit, label, other, jnp.ones((), label.dtype))
    if not is_off(gamma, 0):
        gamma = check.parameter("gamma", gamma, loss, low=0)
        by = distance_modulation if modulation == "distance" else mixture_modulation
        loss = modulated(loss, by(logit, label, other, gamma))
    if alpha is not None:
        alpha = check.parameter("alpha", alpha, loss, low=0, high=1)
        loss = weighted(loss, alpha * label + (1 - alpha) * other)
    loss = in_base(loss, base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def softmax_focal_loss(
    logits: Input,
    labels: Input,
    *,
    gamma: Number = 2.0,
    alpha: Number | None = None,
    axis: Axis = -1,
    where: Input | None = None,
    ignore_index: int | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Focal loss between logits and class labels, integers or distributions.

    .. math::
        \ell = -\alpha_y (1 - p_y)^\gamma \log p_y
        \qquad\text{or}\qquad
        \ell = -\sum_c t_c\, \alpha_c (1 - p_c)^\gamma \log p_c

    with :math:`p = \operatorname{softmax}(x)`, :math:`y` an integer label or :math:`t`
    a one-hot or soft one. :math:`\gamma = 0` is the softmax cross entropy.

    Args:
      logits: unnormalised log-probabilities, floating, shape `[..., classes]` (the
        classes along `axis`).
      labels: integer class indices from 0, the shape of `logits` without `axis`; or a
        distribution over the classes, the shape of `logits`. The rank tells.
      gamma: how fast easy examples fade out, at least 0: a number, or an array of the
        losses' shape (axes may have size 1).
      alpha: weight of the classes, at least 0: a number or shape `[classes]`. It does
        not count in the denominator of the mean.
      axis: the axis of the classes; with several, the label indexes them flattened in
        the order given. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `logits`
        (classes kept; an example that loses its label contributes nothing). Axes may
        be 1.
      ignore_index: examples with this label contribute nothing. Static.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `logits` without `axis`, or a scalar when reduced.

    Numerics:
      With :math:`\ell_0 = -\log p_y`, exact for confident rows and under any offset,
      :math:`1 - p_y = 1 - e^{-\ell_0}` loses nothing. -inf logits are absent classes.
      An integer label outside [0, classes), or a share outside [0, 1], gives NaN in
      value and gradient.

    Gradient:
      :math:`\partial \ell / \partial x_j = \alpha_y (1 - p_y)^\gamma
      \Bigl(1 - \gamma \frac{p_y \log p_y}{1 - p_y}\Bigr) (p_j - [j = y])`, summed with
      :math:`t_c` over the classes for a distribution.

    Raises:
      TypeError: `logits` not floating, integer labels of another dtype, a traced static
        option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[2.0, 1.0, 0.1], [0.5, 2.5, 0.3]])
      >>> print(jaxloss.softmax_focal_loss(logits, jnp.array([0, 2])).round(4))
      [0.0485 2.0088]

    References:
      Lin et al., *Focal Loss for Dense Object Detection*, arXiv:1708.02002.

    Elsewhere: `keras.losses.CategoricalFocalCrossentropy(from_logits=True)` (alpha 0.25
    by default), `monai.losses.FocalLoss(use_softmax=True)`; not in optax or torch.
    """
    check = Check("softmax_focal_loss")
    check.reduction(reduction)
    check.base(base)
    check.static(ignore_index=ignore_index)
    if check.array("labels", labels).ndim < check.array("logits", logits).ndim:
        x, label = labelled_rows(
            check, axis, where, ignore_index, labels, logits=logits
        )
        loss = rows.label_nll(x.predictions, label, x.axis)
        if not is_off(gamma, 0):
            gamma = x.spread(check.parameter("gamma", gamma, x.like, low=0))
            loss = class_focal(loss, gamma)
        if alpha is not None:
            loss = weighted(
                loss, axes.take(_class_alpha(check, alpha, x), label, x.axis)
            )
    else:
        x, shares = distributed_rows(
            check, axis, where, ignore_index, logits=logits, labels=labels
        )
        shares = shares + jnp.where((shares >= 0) & (shares <= 1), 0, jnp.nan)
        if alpha is not None:
            shares = shares * _class_alpha(check, alpha, x)
        if is_off(gamma, 0):
            loss = rows.soft_nll(x.predictions, shares, x.axis)
        else:
            gamma = x.spread(check.parameter("gamma", gamma, x.like, low=0))
            loss = distribution_focal(x.predictions, shares, gamma, x.axis)
    loss = in_base(jnp.squeeze(loss, x.axis), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


def _class_alpha(check: Check, alpha: Number, x: inputs.Rows) -> Array:
    """The weight of each class, lined up with the logits."""
    per_class = jax.ShapeDtypeStruct((x.classes,), x.like.dtype)
    alpha = check.parameter("alpha", alpha, per_class, low=0)
    return x.along(jnp.broadcast_to(alpha, per_class.shape))
