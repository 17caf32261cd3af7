"""PolyLoss: cross entropies as polynomials of the probability that is missing."""

import jax.numpy as jnp

from jaxloss._core import rows
from jaxloss._core.labels import distributed_rows
from jaxloss._core.numerics import in_base
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def poly_loss_cross_entropy(
    logits: Input,
    labels: Input,
    *,
    epsilon: Number = 2.0,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""PolyLoss: cross entropy with its first polynomial coefficient shifted.

    .. math::
        \ell = -\sum_c t_c \log p_c + \epsilon \sum_c t_c (1 - p_c)

    The cross entropy is the series :math:`\sum_k (1 - p_y)^k / k`; :math:`\epsilon` is
    added to the coefficient of its first term.

    Args:
      logits: unnormalised log-probabilities, floating, shape `[..., classes]`.
      labels: one-hot or soft labels, the shape of `logits`.
      epsilon: shift of the first coefficient; 0 gives the cross entropy.
      axis: the axis of the classes; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `logits`
        (classes kept). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the whole loss: None for nats, 2 divides it by ln 2.

    Returns:
      The losses, float32 or float64: the shape of `logits` without `axis`, or a scalar.

    Numerics:
      1 - p is a sum over the other classes, so confident rows keep value and gradient.

    Gradient:
      :math:`\partial \ell / \partial x_j = (\sum_c t_c) p_j - t_j
      + \epsilon\, p_j (\sum_c t_c p_c - t_j)`.

    Raises:
      TypeError: `logits` not floating, `labels` not real, a traced static option.
      ValueError: shapes that do not fit.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[2.0, 1.0, 0.1]])
      >>> print(jaxloss.poly_loss_cross_entropy(logits, jnp.array([[1.0, 0.0, 0.0]])))
      [1.0991]

    References:
      Leng et al., *PolyLoss*, arXiv:2204.12511.

    Elsewhere: `optax.poly_loss_cross_entropy`.
    """
    check = Check("poly_loss_cross_entropy")
    check.reduction(reduction)
    check.base(base)
    x, t = distributed_rows(check, axis, where, None, logits=logits, labels=labels)
    epsilon = x.spread(check.parameter("epsilon", epsilon, x.like))
    loss = rows.poly_nll(x.predictions, t, epsilon, x.axis)
    loss = in_base(jnp.squeeze(loss, x.axis), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)
