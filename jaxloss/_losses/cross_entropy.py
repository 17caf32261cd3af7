"""Cross entropies of models that give probabilities, or their logarithms."""

import jax.numpy as jnp

from jaxloss._core import axes, probabilities
from jaxloss._core.elementwise import entries
from jaxloss._core.labels import distributed_rows, labelled_rows
from jaxloss._core.numerics import in_base, weighted
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Reduction
from jaxloss._core.validate import Check


@public
def binary_cross_entropy(
    probs: Input,
    labels: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Binary cross entropy between probabilities and labels, entry by entry.

    .. math::
        \ell = -y \log p - (1 - y) \log (1 - p)

    A model that has logits takes `sigmoid_binary_cross_entropy`: a probability that has
    been rounded to 0 or 1 has lost what the logit knew.

    Args:
      probs: of the positive class, in [0, 1], floating, any shape.
      labels: 0, 1 or a probability between them, the shape of `probs`.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `probs`, or a scalar when reduced.

    Numerics:
      Exact, with :math:`0 \log 0 = 0` and nothing added to a logarithm: a certain and
      right prediction costs 0, a certain and wrong one inf, never a negative number.
      A probability or label outside [0, 1] gives NaN in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial p = (p - y) / (p (1 - p))`, which is
      :math:`-1/p` for :math:`y = 1` and :math:`1 / (1 - p)` for :math:`y = 0`;
      :math:`\partial^2 \ell / \partial p^2 = y / p^2 + (1 - y) / (1 - p)^2`;
      :math:`\partial \ell / \partial y = \log (1 - p) - \log p`.

    Raises:
      TypeError: `probs` not floating, `labels` not real, a traced static option.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> probs, labels = jnp.array([0.8, 0.1, 1.0]), jnp.array([1.0, 0.0, 1.0])
      >>> print(jaxloss.binary_cross_entropy(probs, labels).round(4))
      [0.2231 0.1054 0.    ]
      >>> print(jaxloss.binary_cross_entropy(probs, labels, base=2).round(4))
      [0.3219 0.152  0.    ]

    References:
      Goodfellow, Bengio, Courville, *Deep Learning*, 6.2.2.2.

    Elsewhere: `torch.nn.functional.binary_cross_entropy` (logarithms at least -100),
    `keras.losses.BinaryCrossentropy` (probabilities clipped to 1e-7),
    `sklearn.metrics.log_loss` (targets first); log loss, logistic loss.
    """
    check = Check("binary_cross_entropy")
    check.base(base)
    x = entries(check.function, where, reduction, {"probs": probs}, {"labels": labels})
    p, label = x.arrays
    loss = in_base(probabilities.bernoulli_nll(p, label, 1 - label), base)
    return x.reduced(loss, weights)


@public
def categorical_cross_entropy(
    probs: Input,
    targets: Input,
    *,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Cross entropy between probabilities of classes and a distribution.

    .. math::
        \ell = -\sum_c t_c \log p_c

    A model that has logits takes `softmax_cross_entropy`; one that has
    log-probabilities takes `cross_entropy` or, with integer labels, `nll_loss`.

    Args:
      probs: probabilities, not negative, floating, shape `[..., classes]` (the classes
        along `axis`). They are taken as they are, not divided by their sum.
      targets: a distribution over the classes, such as a one-hot vector (or any
        non-negative masses), the shape of `probs`.
      axis: the axis of the classes; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `probs`
        (classes kept, removed from both; an example that loses all of its mass
        contributes nothing). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `probs` without `axis`, or a scalar when reduced.

    Numerics:
      Exact, with :math:`0 \log 0 = 0` and nothing added to a logarithm: a target whose
      probability is 0 costs inf. Negative numbers give NaN in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial p_j = -t_j / p_j`, 0 where :math:`t_j = 0`;
      :math:`\partial \ell / \partial t_j = -\log p_j`.

    Raises:
      TypeError: `probs` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> probs, targets = jnp.array([0.7, 0.2, 0.1]), jnp.array([1.0, 0.0, 0.0])
      >>> print(f"{jaxloss.categorical_cross_entropy(probs, targets):.4f} nats")
      0.3567 nats
      >>> print(f"{jaxloss.categorical_cross_entropy(probs, targets, base=2):.4f} bits")
      0.5146 bits

    References:
      Goodfellow, Bengio, Courville, *Deep Learning*, 6.2.2.3.

    Elsewhere: `keras.losses.CategoricalCrossentropy` (which divides the probabilities
    by their sum and clips them to 1e-7).
    """
    check = Check("categorical_cross_entropy")
    check.reduction(reduction)
    check.base(base)
    x, t = distributed_rows(check, axis, where, None, probs=probs, targets=targets)
    p = x.predictions
    if x.entries is not None:
        p = jnp.where(x.entries, p, 1)
    terms = probabilities.cross_term(p, t)
    loss = in_base(jnp.sum(terms, axis=x.axis), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def cross_entropy(
    log_probs: Input,
    targets: Input,
    *,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Cross entropy between log-probabilities and a distribution.

    .. math::
        H(t, p) = -\sum_c t_c \log p_c
                = H(t) + \sum_c t_c (\log t_c - \log p_c)

    the entropy of the targets and the `kl_divergence` of the predictions from them.

    Args:
      log_probs: log-probabilities, floating, shape `[..., classes]` (the classes along
        `axis`); -inf is a probability of 0. They are taken as they are: of logits, take
        `softmax_cross_entropy`.
      targets: a distribution over the classes (or any non-negative masses), the shape
        of `log_probs`.
      axis: the axis of the classes; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `log_probs`
        (classes kept, removed from both; an example that loses all of its mass
        contributes nothing). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `log_probs` without `axis`, or a scalar when reduced.

    Numerics:
      A class of no target contributes nothing, whatever its probability; a target whose
      probability is 0 costs inf.

    Gradient:
      :math:`\partial \ell / \partial \log p_j = -t_j`;
      :math:`\partial \ell / \partial t_j = -\log p_j`.

    Raises:
      TypeError: `log_probs` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax, jax.numpy as jnp, jaxloss
      >>> log_probs = jax.nn.log_softmax(jnp.array([2.0, 1.0, 0.1]))
      >>> print(jaxloss.cross_entropy(log_probs, jnp.array([0.9, 0.1, 0.0])))
      0.517

    References:
      Cover and Thomas, *Elements of Information Theory*, 2.3.

    Elsewhere: `torch.nn.functional.cross_entropy` takes logits: it is
    `softmax_cross_entropy`.
    """
    check = Check("cross_entropy")
    check.reduction(reduction)
    check.base(base)
    x, t = distributed_rows(
        check, axis, where, None, log_probs=log_probs, targets=targets
    )
    # The slope -t does not depend on the log-probability: a NaN is made loud in it too.
    t = jnp.where(jnp.isnan(x.predictions), jnp.nan, t)
    loss = in_base(jnp.sum(weighted(-x.predictions, t), axis=x.axis), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def nll_loss(
    log_probs: Input,
    labels: Input,
    *,
    axis: Axis = -1,
    where: Input | None = None,
    class_weights: Input | None = None,
    ignore_index: int | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of integer labels, from log-probabilities.

    .. math::
        \ell = -w_y \log p_y

    with :math:`w` the class weights. A model that has logits takes
    `softmax_cross_entropy_with_integer_labels`.

    Args:
      log_probs: log-probabilities, floating, shape `[..., classes]` (the classes along
        `axis`); -inf is a probability of 0.
      labels: integer class indices from 0, the shape of `log_probs` without `axis`.
      axis: the axis of the classes; with several, the label indexes them flattened in
        the order given. Static.
      where: mask of the shape of `labels` (examples kept) or of `log_probs` (classes
        kept; an example whose label is removed contributes nothing). Axes may be 1.
      class_weights: shape `[classes]`; multiplies, and the label's weight counts in
        the denominator of the mean.
      ignore_index: examples with this label contribute nothing. Static.
      weights: weight of each example, the shape of `labels`.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `labels`, or a scalar when reduced.

    Numerics:
      The log-probability of the label is read and no other: what stands elsewhere in
      its row, NaN included, does not matter. A label outside [0, classes) gives NaN in
      value and gradient.

    Gradient:
      :math:`\partial \ell / \partial \log p_j = -w_y [j = y]`.

    Raises:
      TypeError: `log_probs` not floating, `labels` not integer, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax, jax.numpy as jnp, jaxloss
      >>> log_probs = jax.nn.log_softmax(jnp.array([[2.0, 1.0, 0.1], [0.5, 2.5, 0.3]]))
      >>> print(jaxloss.nll_loss(log_probs, jnp.array([0, 2])).round(4))
      [0.417  2.42]

    References:
      Goodfellow, Bengio, Courville, *Deep Learning*, 5.5.

    Elsewhere: `torch.nn.functional.nll_loss` (`ignore_index=-100`, mean).
    """
    check = Check("nll_loss")
    check.reduction(reduction)
    check.base(base)
    x, label = labelled_rows(
        check, axis, where, ignore_index, labels, log_probs=log_probs
    )
    log_prob = axes.take(x.predictions, label, x.axis)
    # In the value and, which is constant otherwise, in the slope.
    loud = jnp.isnan(log_prob) | ~axes.exists(x.predictions, label, x.axis)
    loss = -log_prob * jnp.where(loud, jnp.nan, 1)
    normalizer = check.class_weights(class_weights, x.classes, loss.dtype)
    if normalizer is not None:
        each = jnp.broadcast_to(x.along(normalizer), x.predictions.shape)
        normalizer = jnp.squeeze(axes.take(each, label, x.axis), x.axis)
    loss = in_base(jnp.squeeze(loss, x.axis), base)
    return reduce(
        loss if normalizer is None else weighted(loss, normalizer),
        where=x.keep,
        weights=check.weights(weights, loss),
        normalizer=normalizer,
        reduction=reduction,
    )
