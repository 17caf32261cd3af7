"""Sigmoid binary cross entropy: the negative log-likelihood of Bernoulli variables."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss._core import inputs
from jaxloss._core.numerics import in_base, logistic_loss
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check, is_off


@public
def sigmoid_binary_cross_entropy(
    logits: Input,
    labels: Input,
    *,
    pos_weight: Number | None = None,
    label_smoothing: Number = 0.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Binary cross entropy between logits and labels, entry by entry.

    .. math::
        \ell = -w\, y \log \sigma(x) - (1 - y) \log \sigma(-x)

    with :math:`x` the logit, :math:`y` the label, :math:`\sigma` the logistic sigmoid
    and :math:`w` the `pos_weight`. Label smoothing replaces :math:`y` by
    :math:`(1-\varepsilon) y + \varepsilon / 2`.

    Args:
      logits: log-odds of the positive class, floating, any shape.
      labels: 0, 1 or a probability between them, the shape of `logits`.
      pos_weight: weight of the positive class, at least 0: a number, an array of the
        rank of `logits` (axes may have size 1), or of shape `[classes]` for the last
        axis. It does not count in the denominator of the mean.
      label_smoothing: share of the target spread over both classes, in [0, 1].
      where: mask of the shape of `logits` (entries kept). Axes may be 1.
      weights: weight of each entry, the shape of `logits`. Axes may be 1.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `logits`, or a scalar when reduced.

    Numerics:
      Value, gradient and curvature are accurate in relative terms for every logit. At
      an infinite logit the right hard label costs 0 and the wrong one inf. Labels are
      never rounded to the dtype of the logits. A label outside [0, 1] gives NaN in
      value and gradient.

    Gradient:
      :math:`\partial \ell / \partial x = (1 - y)\, \sigma(x) - w\, y\, \sigma(-x)`,
      which is :math:`\sigma(x) - y` for :math:`w = 1`;
      :math:`\partial^2 \ell / \partial x^2 = (1 - y + w y)\, \sigma(x) \sigma(-x)`;
      :math:`\partial \ell / \partial y = \log \sigma(-x) - w \log \sigma(x)`.

    Raises:
      TypeError: `logits` not floating, `labels` not real, a traced static option.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([2.0, -1.0, jnp.inf])
      >>> labels = jnp.array([1.0, 0.3, 1.0])
      >>> print(jaxloss.sigmoid_binary_cross_entropy(logits, labels).round(4))
      [0.1269 0.6133 0.    ]

    References:
      Goodfellow, Bengio, Courville, *Deep Learning*, 6.2.2.2.

    Elsewhere: `optax.sigmoid_binary_cross_entropy`,
    `torch.nn.functional.binary_cross_entropy_with_logits`,
    `keras.losses.BinaryCrossentropy(from_logits=True)`.
    """
    check = Check("sigmoid_binary_cross_entropy")
    check.reduction(reduction)
    check.base(base)
    x = inputs.elements(check, where, logits=logits, labels=labels)
    label, other = x.targets, 1 - x.targets
    if not is_off(label_smoothing, 0):
        smoothing = check.parameter(
            "label_smoothing", label_smoothing, label, low=0, high=1
        )
        # Smoothing must not bring a label from outside [0, 1] back into it.
        label = jnp.where((label >= 0) & (other >= 0), label, jnp.nan)
        label = (1 - smoothing) * label + smoothing / 2
        other = (1 - smoothing) * other + smoothing / 2
    weight = _positive_weight(check, pos_weight, x.predictions)
    loss = in_base(logistic_loss(x.predictions, label, other, weight), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


def _positive_weight(check: Check, weight: Number | None, like: Array) -> Array:
    """The weight of the positive class, lined up with the logits."""
    if weight is None or is_off(weight, 1):
        return jnp.ones((), like.dtype)
    per_class = jax.ShapeDtypeStruct(like.shape[-1:], like.dtype)
    if np.ndim(weight) == 1 and np.shape(weight) == per_class.shape:
        array = check.parameter("pos_weight", weight, per_class, low=0)
        return array.reshape([1] * (like.ndim - 1) + [-1])
    return check.parameter("pos_weight", weight, like, low=0)
