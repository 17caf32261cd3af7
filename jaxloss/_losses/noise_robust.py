"""Cross entropies for labels that may be wrong, mixed, or too confidently learnt."""

import jax.numpy as jnp

from jaxloss._core import rows
from jaxloss._core.entropy import softmax_entropy
from jaxloss._core.exponential import tsallis
from jaxloss._core.labels import LabelledRows, labelled_rows, reduced, with_label
from jaxloss._core.numerics import weighted
from jaxloss._core.public import public
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check, is_off


@public
def generalized_cross_entropy(
    logits: Input,
    labels: Input,
    *,
    q: Number = 0.7,
    class_weights: Input | None = None,
    ignore_index: int | None = None,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Generalized cross entropy, between cross entropy and absolute error.

    .. math::
        \ell = \frac{1 - p_y^q}{q}, \qquad p = \operatorname{softmax}(x)

    with :math:`y` the label. :math:`q = 1` is :math:`1 - p_y`, half the absolute error
    of the probabilities, which wrong labels cannot pull far; :math:`q \to 0` is the
    cross entropy, which learns fast.

    Args:
      logits: unnormalised log-probabilities, floating, shape `[..., classes]`.
      labels: integer class indices from 0, the shape of `logits` without `axis`.
      q: in [0, 1]: a number, or an array that fits the losses.
      class_weights: shape `[classes]`; multiplies, and the label's weight counts in
        the denominator of the mean.
      ignore_index: examples with this label contribute nothing. Static.
      axis: the axis of the classes; several are flattened in the order given. Static.
      where: mask of the shape of `labels` (examples kept) or of `logits` (classes kept;
        an example whose label is removed contributes nothing). Axes may be 1.
      weights: weight of each example, the shape of `labels`.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The losses, in [0, 1/q] (nats at q = 0), float32 (float64 for float64 inputs): the
      shape of `labels`, or a scalar when reduced.

    Numerics:
      From :math:`-\log p_y` by way of :math:`e^z - 1`, so confident rows keep their
      digits, and q may pass through 0. -inf logits are absent classes. A label outside
      [0, classes) gives NaN in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial x_j = p_y^q (p_j - [j = y])`.

    Raises:
      TypeError: `logits` not floating, `labels` not integer, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[2.0, 1.0, 0.1], [0.5, 2.5, 0.3]])
      >>> print(jaxloss.generalized_cross_entropy(logits, jnp.array([0, 2])).round(4))
      [0.3617 1.166 ]

    References:
      Zhang, Sabuncu, *Generalized Cross Entropy Loss for Training Deep Neural Networks
      with Noisy Labels*, arXiv:1805.07836; Wu et al. (dynamic fine-tuning),
      arXiv:2508.05629.

    Elsewhere: `keras.losses.CategoricalGeneralizedCrossEntropy` (on probabilities, q
    0.5 by default); not in optax or torch. The token-scaled cross entropy of dynamic
    fine-tuning, :math:`-p_y \log p_y` with its factor held fixed (TRL's
    `loss_type="dft"`, Liger Kernel's `use_token_scaling`), has the gradient of
    :math:`q = 1`, which is the loss that it minimises.
    """
    check = Check("generalized_cross_entropy")
    check.reduction(reduction)
    x = labelled_rows(check, axis, where, ignore_index, labels, logits=logits)
    loss = _nll(x)
    if not is_off(q, 0):
        loss = tsallis(loss, x.rows.spread(_share(check, "q", q, x)))
    return reduced(
        check,
        x,
        loss,
        class_weights=class_weights,
        weights=weights,
        reduction=reduction,
    )


@public
def symmetric_cross_entropy(
    logits: Input,
    labels: Input,
    *,
    alpha: Number = 0.1,
    beta: Number = 1.0,
    log_zero: Number = -4.0,
    class_weights: Input | None = None,
    ignore_index: int | None = None,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Cross entropy plus its reverse, which wrong labels cannot pull far.

    .. math::
        \ell = -\alpha \log p_y - \beta \sum_c p_c \log t_c
             = -\alpha \log p_y - \beta A\, (1 - p_y)

    with :math:`p = \operatorname{softmax}(x)`, :math:`t` the one-hot vector of the
    label :math:`y`, and :math:`A < 0` what stands for :math:`\log 0`.

    Args:
      logits: unnormalised log-probabilities, floating, shape `[..., classes]`.
      labels: integer class indices from 0, the shape of `logits` without `axis`.
      alpha: coefficient of the cross entropy, at least 0.
      beta: coefficient of the reverse cross entropy, at least 0.
      log_zero: A, at most 0. All three are numbers, or arrays that fit the losses.
      class_weights: shape `[classes]`; multiplies, and the label's weight counts in
        the denominator of the mean.
      ignore_index: examples with this label contribute nothing. Static.
      axis: the axis of the classes; several are flattened in the order given. Static.
      where: mask of the shape of `labels` (examples kept) or of `logits` (classes kept;
        an example whose label is removed contributes nothing). Axes may be 1.
      weights: weight of each example, the shape of `labels`.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The losses, float32 (float64 for float64 inputs): the shape of `labels`, or a
      scalar when reduced. Both terms take log in nats.

    Numerics:
      :math:`1 - p_y = 1 - e^{\log p_y}` loses nothing, so confident rows keep their
      digits. -inf logits are absent classes. A label outside [0, classes) gives NaN in
      value and gradient.

    Gradient:
      :math:`\partial \ell / \partial x_j = (\alpha - \beta A\, p_y)(p_j - [j = y])`.

    Raises:
      TypeError: `logits` not floating, `labels` not integer, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[2.0, 1.0, 0.1], [0.5, 2.5, 0.3]])
      >>> print(jaxloss.symmetric_cross_entropy(logits, jnp.array([0, 2])).round(4))
      [1.4057 3.8863]

    References:
      Wang et al., *Symmetric Cross Entropy for Robust Learning with Noisy Labels*,
      arXiv:1908.06112 (alpha 0.1, beta 1 and A = -4 for CIFAR-10; 6 and 0.1 for
      CIFAR-100).

    Elsewhere: not in optax, torch or keras. Code that clips the one-hot labels to
    [c, 1] has A = log c.
    """
    check = Check("symmetric_cross_entropy")
    check.reduction(reduction)
    x = labelled_rows(check, axis, where, ignore_index, labels, logits=logits)
    like = x.rows.like
    forward = check.parameter("alpha", alpha, like, low=0)
    backward = check.parameter("beta", beta, like, low=0)
    floor = check.parameter("log_zero", log_zero, like, high=0)
    forward, slope = x.rows.spread(forward), x.rows.spread(-backward * floor)
    nll = _nll(x)
    missed = tsallis(nll, jnp.ones((), nll.dtype))
    loss = weighted(nll, forward) + slope * missed
    return reduced(
        check,
        x,
        loss,
        class_weights=class_weights,
        weights=weights,
        reduction=reduction,
    )


@public
def confidence_penalty_cross_entropy(
    logits: Input,
    labels: Input,
    *,
    penalty: Number = 0.1,
    class_weights: Input | None = None,
    ignore_index: int | None = None,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Cross entropy less a share of the entropy: overconfidence is penalised.

    .. math::
        \ell = -\log p_y - \beta H(p), \qquad H(p) = -\sum_c p_c \log p_c

    with :math:`p = \operatorname{softmax}(x)` and :math:`y` the label. The loss may be
    negative: its minimum is not at certainty.

    Args:
      logits: unnormalised log-probabilities, floating, shape `[..., classes]`.
      labels: integer class indices from 0, the shape of `logits` without `axis`.
      penalty: :math:`\beta`: a number, or an array that fits the losses.
      class_weights: shape `[classes]`; multiplies the whole loss, and the label's
        weight counts in the denominator of the mean.
      ignore_index: examples with this label contribute nothing. Static.
      axis: the axis of the classes; several are flattened in the order given. Static.
      where: mask of the shape of `labels` (examples kept) or of `logits` (classes kept;
        an example whose label is removed contributes nothing). Axes may be 1.
      weights: weight of each example, the shape of `labels`.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `labels`, or a scalar when reduced.

    Numerics:
      Either term is exact to a few roundings, with :math:`0 \log 0 = 0`; where they
      cancel, the loss is exact beside them. -inf logits are absent classes. A label
      outside [0, classes) gives NaN in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial x_j = p_j - [j = y]
      + \beta\, p_j (\log p_j + H(p))`.

    Raises:
      TypeError: `logits` not floating, `labels` not integer, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[2.0, 1.0, 0.1], [0.5, 2.5, 0.3]])
      >>> labels = jnp.array([0, 2])
      >>> print(jaxloss.confidence_penalty_cross_entropy(logits, labels).round(4))
      [0.3324 2.3568]

    References:
      Pereyra et al., *Regularizing Neural Networks by Penalizing Confident Output
      Distributions*, arXiv:1701.06548.

    Elsewhere: not in optax, torch or keras.
    """
    check = Check("confidence_penalty_cross_entropy")
    check.reduction(reduction)
    check.base(base)
    x = labelled_rows(check, axis, where, ignore_index, labels, logits=logits)
    loss = _nll(x)
    if not is_off(penalty, 0):
        share = x.rows.spread(check.parameter("penalty", penalty, x.rows.like))
        loss = loss - share * softmax_entropy(x.rows.predictions, x.rows.axis)
    return reduced(
        check,
        x,
        loss,
        class_weights=class_weights,
        weights=weights,
        reduction=reduction,
        base=base,
    )


@public
def mixup_cross_entropy(
    logits: Input,
    labels: Input,
    *,
    other_labels: Input,
    mix: Number,
    ignore_index: int | None = None,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Cross entropy with two labels: of an example that is a mixture of two.

    .. math::
        \ell = -\lambda \log p_y - (1 - \lambda) \log p_{y'},
        \qquad p = \operatorname{softmax}(x)

    for mixup, CutMix and their kin: no one-hot vector is made.

    Args:
      logits: unnormalised log-probabilities, floating, shape `[..., classes]`.
      labels: integer class indices from 0, the shape of `logits` without `axis`.
      other_labels: those of the examples mixed in, of the same shape.
      mix: :math:`\lambda` in [0, 1], the share of the first label: a number, or an
        array that fits the losses.
      ignore_index: examples with this label, on either side, contribute nothing.
        Static.
      axis: the axis of the classes; several are flattened in the order given. Static.
      where: mask of the shape of `labels` (examples kept) or of `logits` (classes kept;
        an example that loses either label contributes nothing). Axes may be 1.
      weights: weight of each example, the shape of `labels`.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `labels`, or a scalar when reduced.

    Numerics:
      As for `softmax_cross_entropy_with_integer_labels`; a label with no share counts
      for nothing, also where its class is absent. A label outside [0, classes) gives
      NaN in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial x_j = p_j - \lambda [j = y]
      - (1 - \lambda) [j = y']`;
      :math:`\partial \ell / \partial \lambda = \log p_{y'} - \log p_y`.

    Raises:
      TypeError: `logits` not floating, labels not integer, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[2.0, 1.0, 0.1], [0.5, 2.5, 0.3]])
      >>> labels = jnp.array([0, 2])
      >>> loss = jaxloss.mixup_cross_entropy(
      ...     logits, labels, other_labels=labels[::-1], mix=0.75)
      >>> print(loss.round(4))
      [0.8920 2.37 ]

    References:
      Zhang et al., *mixup: Beyond Empirical Risk Minimization*, arXiv:1710.09412; Yun
      et al., *CutMix*, arXiv:1905.04899.

    Elsewhere: `timm.loss.SoftTargetCrossEntropy` on mixed one-hot vectors; torch and
    keras take those vectors too.
    """
    check = Check("mixup_cross_entropy")
    check.reduction(reduction)
    check.base(base)
    first = labelled_rows(check, axis, where, ignore_index, labels, logits=logits)
    x = with_label(check, first.rows, ignore_index, other_labels=other_labels)
    # A row may be dropped for its second label.
    kept = True if x.rows.keep is None else jnp.expand_dims(x.rows.keep, x.rows.axis)
    first = LabelledRows(x.rows, jnp.where(kept, first.label, 0))
    share = x.rows.spread(_share(check, "mix", mix, x))
    loss = weighted(_nll(first), share) + weighted(_nll(x), 1 - share)
    return reduced(check, x, loss, weights=weights, reduction=reduction, base=base)


# ------------------------------------------------------------------ what they share


def _nll(x: LabelledRows) -> Array:
    """-log p_y."""
    return rows.label_nll(x.rows.predictions, x.label, x.rows.axis)


def _share(check: Check, name: str, value: Number, x: LabelledRows) -> Array:
    """A parameter in [0, 1]."""
    return check.parameter(name, value, x.rows.like, low=0, high=1)
