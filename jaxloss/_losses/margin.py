"""Margin losses: hinges and perceptrons, binary and multiclass."""

from typing import Literal

from jaxloss._core import inputs
from jaxloss._core.hinge import all_rivals, signed_hinge, strongest_rival
from jaxloss._core.labels import labelled_rows, signed
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def hinge_loss(
    predictor_outputs: Input,
    targets: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Hinge loss of a binary classifier with labels -1 and +1.

    .. math::
        \ell = \max(0, 1 - t x)

    with :math:`x` the output and :math:`t` the target.

    Args:
      predictor_outputs: outputs of the decision function, floating, any shape.
      targets: -1 or +1, or bool (False is -1), of the same shape.
      where, weights: entries kept, and their weights, of the same shape (or axes of 1).
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the unit of the outputs, float32 or float64: the shape of
      `predictor_outputs`, or a scalar when reduced.

    Numerics:
      Rounded once. Infinite outputs give the limits, inf and 0. NaN outputs give NaN in
      value and gradient, and so does a number other than -1 and +1 as a target: labels
      0 and 1 would be trained on wrongly without a sign of it.

    Gradient:
      :math:`\partial \ell / \partial x = -t` where :math:`t x < 1`, else 0. At the kink
      :math:`t x = 1` it is the mean of both sides, :math:`-t / 2`.

    Raises:
      TypeError, ValueError: dtypes or shapes that do not fit, an unknown option.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> outputs = jnp.array([2.0, 0.3, 0.3])
      >>> print(jaxloss.hinge_loss(outputs, jnp.array([1, 1, -1])))
      [0.  0.7 1.3]

    References:
      Cortes, Vapnik, *Support-vector networks*, Machine Learning 20, 1995.

    Elsewhere: `optax.hinge_loss`, `keras.losses.Hinge`.
    """
    return _binary(
        Check("hinge_loss"),
        predictor_outputs,
        targets,
        margin=1.0,
        power=1,
        where=where,
        weights=weights,
        reduction=reduction,
    )


@public
def squared_hinge_loss(
    predictor_outputs: Input,
    targets: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Squared hinge loss of a binary classifier with labels -1 and +1.

    .. math::
        \ell = \max(0, 1 - t x)^2

    with :math:`x` the output, :math:`t` the target: a hinge without a kink.

    Args:
      predictor_outputs: outputs of the decision function, floating, any shape.
      targets: -1 or +1, or bool (False is -1), of the same shape.
      where, weights: entries kept, and their weights, of the same shape (or axes of 1).
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the squared unit of the outputs, float32 or float64: the shape of
      `predictor_outputs`, or a scalar when reduced.

    Numerics:
      As for `hinge_loss`.

    Gradient:
      :math:`\partial \ell / \partial x = -2 t \max(0, 1 - t x)`.

    Raises:
      TypeError, ValueError: dtypes or shapes that do not fit, an unknown option.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> outputs = jnp.array([2.0, 0.5, 0.5])
      >>> print(jaxloss.squared_hinge_loss(outputs, jnp.array([1, 1, -1])))
      [0.   0.25 2.25]

    References:
      Tang, *Deep learning using linear support vector machines*, arXiv:1306.0239.

    Elsewhere: `keras.losses.SquaredHinge`; not in optax.
    """
    return _binary(
        Check("squared_hinge_loss"),
        predictor_outputs,
        targets,
        margin=1.0,
        power=2,
        where=where,
        weights=weights,
        reduction=reduction,
    )


@public
def perceptron_loss(
    predictor_outputs: Input,
    targets: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Perceptron loss of a binary classifier with labels -1 and +1.

    .. math::
        \ell = \max(0, -t x)

    with :math:`x` the output and :math:`t` the target: a hinge without a margin.

    Args:
      predictor_outputs: outputs of the decision function, floating, any shape.
      targets: -1 or +1, or bool (False is -1), of the same shape.
      where, weights: entries kept, and their weights, of the same shape (or axes of 1).
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the unit of the outputs, float32 or float64: the shape of
      `predictor_outputs`, or a scalar when reduced.

    Numerics:
      Exact; limits and NaN as for `hinge_loss`.

    Gradient:
      :math:`\partial \ell / \partial x = -t` where :math:`t x < 0`, else 0. At
      :math:`x = 0` it is the mean of both sides, :math:`-t / 2`.

    Raises:
      TypeError, ValueError: dtypes or shapes that do not fit, an unknown option.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> outputs = jnp.array([2.0, 0.5, 0.5])
      >>> print(jaxloss.perceptron_loss(outputs, jnp.array([1, 1, -1])))
      [0.  0.  0.5]

    References:
      Rosenblatt, *The perceptron*, Psychological Review 65, 1958.

    Elsewhere: `optax.perceptron_loss`.
    """
    return _binary(
        Check("perceptron_loss"),
        predictor_outputs,
        targets,
        margin=0.0,
        power=1,
        where=where,
        weights=weights,
        reduction=reduction,
    )


@public
def multiclass_hinge_loss(
    scores: Input,
    labels: Input,
    *,
    margin: Number = 1.0,
    power: Literal[1, 2] = 1,
    variant: Literal["crammer_singer", "weston_watkins"] = "crammer_singer",
    ignore_index: int | None = None,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Multiclass hinge loss: the label's score is to lead by a margin.

    .. math::
        \ell_\text{Crammer-Singer}
          = \max\bigl(0,\ \max_{j \ne y} (m + s_j - s_y)\bigr)^p
        \qquad
        \ell_\text{Weston-Watkins} = \sum_{j \ne y} \max(0, m + s_j - s_y)^p

    with :math:`s` the scores, :math:`y` the label, :math:`m` the margin and :math:`p`
    the power. Crammer and Singer count the strongest rival, Weston and Watkins all.

    Args:
      scores: outputs of the decision functions, floating, shape `[..., classes]`.
      labels: integer class indices from 0, the shape of `scores` without `axis`.
      margin: the lead demanded, at least 0; one number, or one for each loss.
      power: 1, or 2 for the squared hinge. Static.
      variant: `"crammer_singer"` or `"weston_watkins"`. Static.
      ignore_index: examples with this label contribute nothing. Static.
      axis: the axis of the classes; several are flattened in the order given. Static.
      where: mask of the shape of `labels` (examples kept) or of `scores` (classes kept;
        an example whose label is removed contributes nothing). Axes may be 1.
      weights, reduction: as for `hinge_loss`, of the shape of `labels`.

    Returns:
      The losses, in the unit of the scores to the power, float32 (float64 for float64
      inputs): the shape of `labels`, or a scalar when reduced.

    Numerics:
      m + s_j - s_y is right to its last place, so an offset of the scores cancels
      exactly and a hinge beside its kink keeps its digits. -inf scores are absent
      classes; +inf gives the limit. A label outside [0, classes) gives NaN in value and
      gradient, and so does a NaN score.

    Gradient:
      Crammer-Singer, p = 1: where the hinge is positive, -1 for the label and 1 for the
      strongest rival; rivals that tie share it equally. At the kink the label ties with
      them and has a share too: with k rivals :math:`1 / (k + 1)` for each of them and
      :math:`-k / (k + 1)` for the label. Weston-Watkins, p = 1: 1 for every rival with
      a positive term (1/2 at its kink), minus their sum for the label. At p = 2, twice
      the hinge times that.

    Raises:
      TypeError, ValueError: dtypes or shapes that do not fit, an option out of range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> scores = jnp.array([[2.0, 1.5, 1.25], [0.0, 2.0, 0.5]])
      >>> labels = jnp.array([0, 1])
      >>> print(jaxloss.multiclass_hinge_loss(scores, labels))
      [0.5 0. ]
      >>> print(jaxloss.multiclass_hinge_loss(scores, labels, power=2))
      [0.25 0.  ]

    References:
      Crammer, Singer, *On the algorithmic implementation of multiclass kernel-based
      vector machines*, JMLR 2, 2001; Weston, Watkins, *Support vector machines for
      multi-class pattern recognition*, ESANN 1999.

    Elsewhere: `optax.multiclass_hinge_loss` (Crammer-Singer, margin and power 1);
    `torch.nn.functional.multi_margin_loss` (Weston-Watkins, averaged).
    """
    check = Check("multiclass_hinge_loss")
    check.choice("power", power, (1, 2))
    check.choice("variant", variant, ("crammer_singer", "weston_watkins"))
    return _multiclass(
        check,
        scores,
        labels,
        margin=margin,
        power=power,
        variant=variant,
        ignore_index=ignore_index,
        axis=axis,
        where=where,
        weights=weights,
        reduction=reduction,
    )


@public
def multiclass_perceptron_loss(
    scores: Input,
    labels: Input,
    *,
    ignore_index: int | None = None,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Multiclass perceptron loss: the label's score is to be the largest.

    .. math::
        \ell = \max_j s_j - s_y

    with :math:`s` the scores, :math:`y` the label: Crammer-Singer without a margin.

    Args:
      scores: outputs of the decision functions, floating, shape `[..., classes]`.
      labels: integer class indices from 0, the shape of `scores` without `axis`.
      ignore_index: examples with this label contribute nothing. Static.
      axis: the axis of the classes; several are flattened in the order given. Static.
      where: mask of the shape of `labels` (examples kept) or of `scores` (classes kept;
        an example whose label is removed contributes nothing). Axes may be 1.
      weights, reduction: as for `hinge_loss`, of the shape of `labels`.

    Returns:
      The losses, in the unit of the scores, float32 or float64: the shape of `labels`,
      or a scalar when reduced.

    Numerics:
      One rounded difference of two scores; limits and NaN as for
      `multiclass_hinge_loss`.

    Gradient:
      -1 for the label and 1 for the largest score where they differ, else 0. All
      classes that tie for the largest score share the 1 equally, the label included.

    Raises:
      TypeError, ValueError: dtypes or shapes that do not fit, an option out of range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> scores = jnp.array([[2.0, 1.5, 1.25], [0.0, 2.0, 0.5]])
      >>> print(jaxloss.multiclass_perceptron_loss(scores, jnp.array([2, 1])))
      [0.75 0.  ]

    References:
      Collins, *Discriminative training methods for hidden Markov models*, EMNLP 2002.

    Elsewhere: `optax.multiclass_perceptron_loss`.
    """
    return _multiclass(
        Check("multiclass_perceptron_loss"),
        scores,
        labels,
        margin=0.0,
        power=1,
        variant="crammer_singer",
        ignore_index=ignore_index,
        axis=axis,
        where=where,
        weights=weights,
        reduction=reduction,
    )


# ------------------------------------------------------------------ what they share


def _binary(
    check: Check,
    predictor_outputs: Input,
    targets: Input,
    *,
    margin: float,
    power: int,
    where: Input | None,
    weights: Input | None,
    reduction: Reduction,
) -> Array:
    """A hinge of signed labels, from the arguments to the reduction."""
    check.reduction(reduction)
    outputs = {"predictor_outputs": predictor_outputs}
    (x, sign), keep = inputs.aligned(
        check, where, outputs, {"targets": signed(check, targets)}, {"targets": 1.0}
    )
    loss = signed_hinge(x, sign, margin, power)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


def _multiclass(
    check: Check,
    scores: Input,
    labels: Input,
    *,
    margin: Number,
    power: int,
    variant: str,
    ignore_index: int | None,
    axis: Axis,
    where: Input | None,
    weights: Input | None,
    reduction: Reduction,
) -> Array:
    """A hinge of labelled rows, from the arguments to the reduction."""
    check.reduction(reduction)
    x, label = labelled_rows(check, axis, where, ignore_index, labels, scores=scores)
    lead = x.spread(check.parameter("margin", margin, x.like, low=0))
    hinge = strongest_rival if variant == "crammer_singer" else all_rivals
    loss = hinge(x.predictions, label, lead, power, x.axis)
    return x.reduced(check, loss, weights=weights, reduction=reduction)
