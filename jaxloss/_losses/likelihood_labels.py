"""Likelihoods of labels, under the names of their laws: Bernoulli, categorical."""

import jax.numpy as jnp

from jaxloss._core import inputs, rows
from jaxloss._core.labels import labelled_rows
from jaxloss._core.numerics import in_base, logistic_loss
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Reduction
from jaxloss._core.validate import Check


@public
def bernoulli_nll(
    logits: Input,
    labels: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of a Bernoulli law: sigmoid cross entropy.

    .. math::
        \ell = -y \log \sigma(x) - (1 - y) \log \sigma(-x)

    Args:
      logits: log-odds :math:`x` of the label 1, floating, any shape.
      labels: 0, 1 or a probability between them, the shape of `logits`; outside the
        loss is NaN.
      where: mask of the shape of `logits`, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `logits`, or a scalar when reduced.

    Numerics:
      The same function as `sigmoid_binary_cross_entropy`, which has more options, under
      the name of its law.

    Gradient:
      :math:`\partial \ell / \partial x = \sigma(x) - y`.

    Raises:
      TypeError: `logits` not floating, `labels` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits, labels = jnp.array([2.0, -1.0]), jnp.array([1.0, 0.0])
      >>> print(jaxloss.bernoulli_nll(logits, labels).round(4))
      [0.1269 0.3133]

    References:
      Goodfellow, Bengio, Courville, *Deep Learning*, 6.2.2.2.

    Elsewhere: `optax.sigmoid_binary_cross_entropy`,
    `torch.nn.functional.binary_cross_entropy_with_logits`,
    `-torch.distributions.Bernoulli(logits=logits).log_prob(labels)`.
    """
    check = Check("bernoulli_nll")
    check.reduction(reduction)
    check.base(base)
    x = inputs.observed(check, where, {"logits": logits}, {"labels": labels}, {})
    one = jnp.ones((), x.output.dtype)
    loss = logistic_loss(x.output, x.targets, 1 - x.targets, one)
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)


@public
def categorical_nll(
    logits: Input,
    labels: Input,
    *,
    axis: Axis = -1,
    ignore_index: int | None = None,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of a categorical law: softmax cross entropy.

    .. math::
        \ell = -\log p_y = \log \sum_j e^{x_j} - x_y

    Args:
      logits: unnormalised log-probabilities :math:`x`, floating, shape `[..., classes]`
        (the classes along `axis`).
      labels: integers from 0 to `classes - 1`, the shape of `logits` without `axis`;
        any other label gives NaN.
      axis: the axis of the classes; several, or None for all. Static.
      ignore_index: examples with this label contribute nothing. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `logits`
        (classes kept). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `labels`, or a scalar when reduced.

    Numerics:
      The same function as `softmax_cross_entropy_with_integer_labels`, which has more
      options, under the name of its law (also called multinoulli).

    Gradient:
      :math:`\partial \ell / \partial x_j = p_j - [j = y]`.

    Raises:
      TypeError: `logits` not floating, `labels` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[2.0, 1.0, 0.1], [0.0, 3.0, 0.0]])
      >>> print(jaxloss.categorical_nll(logits, jnp.array([0, 2])).round(4))
      [0.4170 3.0949]

    References:
      Goodfellow, Bengio, Courville, *Deep Learning*, 6.2.2.3.

    Elsewhere: `optax.softmax_cross_entropy_with_integer_labels`,
    `torch.nn.functional.cross_entropy`,
    `-torch.distributions.Categorical(logits=logits).log_prob(labels)`.
    """
    check = Check("categorical_nll")
    check.reduction(reduction)
    check.base(base)
    x, label = labelled_rows(check, axis, where, ignore_index, labels, logits=logits)
    loss = jnp.squeeze(rows.label_nll(x.predictions, label, x.axis), x.axis)
    loss = in_base(loss, base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)
