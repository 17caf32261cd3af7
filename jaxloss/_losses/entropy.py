"""The entropy of what a model predicts: a regulariser, and the least cross entropy."""

import jax.numpy as jnp

from jaxloss._core import inputs, probabilities
from jaxloss._core.entropy import softmax_entropy as entropy_of_logits
from jaxloss._core.public import public
from jaxloss._core.types import Array, Axis, Input, Reduction
from jaxloss._core.validate import Check


@public
def entropy(
    probs: Input,
    *,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Entropy of distributions given by their probabilities.

    .. math::
        H(p) = -\sum_c p_c \log p_c

    Of logits, take `softmax_entropy`. It is not a loss to be minimised by itself: a
    policy or a classifier is kept from overconfidence by subtracting it.

    Args:
      probs: probabilities, not negative, floating, shape `[..., classes]` (the classes
        along `axis`). They are taken as they are, not divided by their sum.
      axis: the axis of the classes; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `probs`
        (classes kept). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The entropies in nats (or of `base`), float32 (float64 for float64 inputs): the
      shape of `probs` without `axis`, or a scalar when reduced.

    Numerics:
      :math:`0 \log 0 = 0`: a one-hot distribution has entropy 0, the uniform one
      :math:`\log C`. Negative numbers give NaN in value and gradient.

    Gradient:
      :math:`\partial H / \partial p_j = -\log p_j - 1`, and 0 at :math:`p_j = 0`, where
      the limit is infinite: what vanishes there, such as the slope of a softmax that
      has underflowed, vanishes faster.

    Raises:
      TypeError: `probs` not floating, a traced static option.
      ValueError: a mask or weights that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> probs = jnp.array([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0]])
      >>> print(jaxloss.entropy(probs, base=2))
      [2. 0.]

    References:
      Shannon, *A Mathematical Theory of Communication*, 1948.

    Elsewhere: `scipy.stats.entropy` (which divides by the sum).
    """
    check = Check("entropy")
    check.reduction(reduction)
    check.base(base)
    x = inputs.rows(check, axis, where, probs=probs)
    terms = probabilities.entropy_term(x.predictions)
    loss = jnp.sum(terms, axis=x.axis, keepdims=True)
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)


@public
def softmax_entropy(
    logits: Input,
    *,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Entropy of the softmax of logits.

    .. math::
        H = -\sum_c p_c \log p_c, \qquad p = \operatorname{softmax}(x)

    The confidence penalty and the entropy bonus of policies subtract it.

    Args:
      logits: unnormalised log-probabilities, floating, shape `[..., classes]` (the
        classes along `axis`); -inf is an absent class.
      axis: the axis of the classes; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `logits`
        (classes kept). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The entropies in nats (or of `base`), float32 (float64 for float64 inputs): the
      shape of `logits` without `axis`, or a scalar when reduced.

    Numerics:
      A sum of non-negative terms: confident rows keep their entropy down to the
      smallest float, and offsets cancel exactly.

    Gradient:
      :math:`\partial H / \partial x_j = -p_j (\log p_j + H)`.

    Raises:
      TypeError: `logits` not floating, a traced static option.
      ValueError: a mask or weights that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[0.0, 0.0, 0.0], [9.0, 0.0, -jnp.inf]])
      >>> print(jaxloss.softmax_entropy(logits).round(4))
      [1.0986 0.0012]

    References:
      Pereyra et al., *Regularizing Neural Networks by Penalizing Confident Output
      Distributions*, arXiv:1701.06548.

    Elsewhere: `distrax.Categorical(logits).entropy()`.
    """
    check = Check("softmax_entropy")
    check.reduction(reduction)
    check.base(base)
    x = inputs.rows(check, axis, where, -jnp.inf, logits=logits)
    loss = entropy_of_logits(x.predictions, x.axis)
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)
