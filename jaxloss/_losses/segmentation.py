"""Overlap losses of segmentation: soft Dice, Tversky and generalized Dice."""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxloss._core.explicit import automatic
from jaxloss._core.overlap import Overlap, fraction, overlap_of
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check


@automatic
def dice_loss(
    predictions: Input,
    targets: Input,
    *,
    class_weights: Input | None = None,
    smooth: Number = 1.0,
    alpha: Number = 0.5,
    beta: Number = 0.5,
    apply_softmax: bool = True,
    reduction: Reduction = "mean",
    ignore_background: bool = False,
    axis: Axis = None,
    where: Input | None = None,
    squared_denominator: bool = False,
) -> Array:
    r"""Soft Dice loss of a segmentation, or Tversky loss where alpha and beta differ.

    .. math::
        \ell_c = 1 - \frac{I_c + s}{I_c + \alpha F_c + \beta M_c + s}
               = \frac{\alpha F_c + \beta M_c}{I_c + \alpha F_c + \beta M_c + s}

    with, over the pixels, :math:`I_c = \sum p_c t_c` the intersection, :math:`F_c =
    \sum p_c (1 - t_c)` the false positives, :math:`M_c = \sum (1 - p_c)\, t_c` the
    misses and :math:`s` the smoothing; then the mean, weighted, over the classes. With
    :math:`\alpha = \beta = 1/2` the fraction is the Dice coefficient
    :math:`(2I + 2s) / (P + T + 2s)`, whose smoothing is twice the usual one, as in
    optax.

    Args:
      predictions: logits (probabilities, without `apply_softmax`), floating, shape
        `[batch, ..., classes]`; one class is binary segmentation.
      targets: one-hot or soft masks, in [0, 1], the shape of `predictions`. Where a
        binary mask of one of them lacks the axis of its one class, it is added.
      class_weights: shape `[classes]`; multiplies, and does not count in the mean.
      smooth: added to both parts of the fraction, at least 0.
      alpha: weight of the false positives, at least 0.
      beta: weight of the misses, at least 0. All three are numbers, or arrays that fit
        the losses of the classes, `[batch, classes]`.
      apply_softmax: whether `predictions` are logits: of a softmax over the classes, of
        a sigmoid for one class. Static.
      reduction: over the classes: `"mean"`, `"sum"` or `"none"`. Static.
      ignore_background: leave class 0 out, unless it is the only one. Static.
      axis: the axes of the pixels; None for all between the first and the last. Static.
      where: mask of the shape of `predictions` without the classes (pixels kept). Axes
        may be 1.
      squared_denominator: V-Net's form, whose errors are squares: :math:`F_c = \sum
        \max(p_c - t_c, 0)^2` and :math:`M_c = \sum \max(t_c - p_c, 0)^2`, so that
        :math:`I_c + (F_c + M_c) / 2 = \tfrac12 \sum (p_c^2 + t_c^2)`. Static.

    Returns:
      The losses, in [0, 1] before weights, float32 (float64 for float64 inputs): shape
      `[batch]`, or `[batch, classes]` for `reduction="none"`.

    Numerics:
      The errors are summed, not subtracted from 1, so that a nearly perfect
      segmentation keeps its value and gradient, and the loss is never negative. Nothing
      predicted where nothing is costs 0, without smoothing too. Infinite logits have
      their limits. Probabilities are checked where their values are known; under a
      trace those outside [0, 1] give NaN, as targets outside do anywhere.

    Gradient:
      With :math:`D` the denominator: :math:`\partial \ell_c / \partial p =
      \bigl(\alpha (1 - t) (I_c + s) - \beta t (I_c + s) - t (\alpha F_c + \beta M_c)
      \bigr) / D^2`, through the softmax. With `squared_denominator` and
      :math:`\alpha = \beta = 1/2` it is :math:`\bigl(p (I_c + s) - t D\bigr) / D^2`.

    Raises:
      TypeError: `predictions` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an option out of its range, probabilities that
        are not.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[[2.0, -1.0], [0.5, 1.5]]])
      >>> targets = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
      >>> print(jaxloss.dice_loss(logits, targets).round(4))
      [0.0793]

    References:
      Milletari et al., *V-Net*, arXiv:1606.04797; Salehi et al., *Tversky loss*,
      arXiv:1706.05721.

    Elsewhere: `optax.losses.dice_loss`, `monai.losses.DiceLoss`,
    `keras.losses.Dice`, `keras.losses.Tversky`; not in torch.
    """
    check = Check("dice_loss")
    check.static(apply_softmax=apply_softmax)
    check.choice("squared_denominator", squared_denominator, (False, True))
    predictions, targets = (
        check.floating("predictions", predictions),
        check.real("targets", targets),
    )
    classes = predictions.ndim != targets.ndim - 1
    axes = _pixels(check, axis, predictions.ndim, classes)
    if not classes:
        predictions = predictions[..., None]
    elif targets.ndim == predictions.ndim - 1:
        targets = targets[..., None]
    overlap, _ = overlap_of(
        check, predictions, targets, apply_softmax, axes, where, squared_denominator
    )
    return _dice(
        check,
        overlap,
        class_weights,
        smooth,
        alpha,
        beta,
        reduction,
        ignore_background,
    )


@automatic
def binary_dice_loss(
    predictions: Input,
    targets: Input,
    *,
    smooth: Number = 1.0,
    apply_sigmoid: bool = True,
    axis: Axis = None,
    where: Input | None = None,
    squared_denominator: bool = False,
) -> Array:
    r"""Soft Dice loss of a binary segmentation.

    .. math::
        \ell = 1 - \frac{I + s}{I + (F + M) / 2 + s}

    with, over the pixels, :math:`I = \sum p t`, :math:`F = \sum p (1 - t)`,
    :math:`M = \sum (1 - p)\, t` and :math:`p = \sigma(x)`.

    Args:
      predictions: logits (probabilities, without `apply_sigmoid`), floating, shape
        `[batch, ...]` or `[batch, ..., 1]`.
      targets: masks in [0, 1], of the same shape.
      smooth: added to both parts of the fraction, at least 0.
      apply_sigmoid: whether `predictions` are logits. Static.
      axis: the axes of the pixels; None for all but the first. Static.
      where: mask of the shape of the pixels `[batch, ...]` (those kept). Axes may be 1.
      squared_denominator: V-Net's form, as in `dice_loss`. Static.

    Returns:
      The losses, in [0, 1], float32 (float64 for float64 inputs), shape `[batch]`.

    Numerics:
      As for `dice_loss`; a probability need not sum to 1 with anything.

    Gradient:
      That of `dice_loss` for one class.

    Raises:
      TypeError: `predictions` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[2.0, -1.0, 0.5]])
      >>> print(jaxloss.binary_dice_loss(logits, jnp.array([[1.0, 0.0, 1.0]])).round(4))
      [0.1327]

    References:
      Milletari et al., *V-Net*, arXiv:1606.04797.

    Elsewhere: `optax.losses.binary_dice_loss`, `monai.losses.DiceLoss(sigmoid=True)`,
    `keras.losses.Dice`; not in torch.
    """
    check = Check("binary_dice_loss")
    check.static(apply_sigmoid=apply_sigmoid)
    check.choice("squared_denominator", squared_denominator, (False, True))
    predictions, targets = (
        check.floating("predictions", predictions),
        check.real("targets", targets),
    )
    bare = predictions.ndim < targets.ndim or (
        predictions.ndim == targets.ndim and predictions.shape[-1:] != (1,)
    )
    axes = _pixels(check, axis, predictions.ndim, not bare)
    if targets.ndim < predictions.ndim or (bare and targets.ndim == predictions.ndim):
        targets = targets[..., None]
    if bare:
        predictions = predictions[..., None]
    overlap, _ = overlap_of(
        check, predictions, targets, apply_sigmoid, axes, where, squared_denominator
    )
    return _dice(check, overlap, None, smooth, 0.5, 0.5, "mean", False)


@automatic
def multiclass_generalized_dice_loss(
    predictions: Input,
    targets: Input,
    *,
    smooth: Number = 1.0,
    apply_softmax: bool = True,
    ignore_background: bool = False,
    formula: Literal["mean", "sudre"] = "mean",
    where: Input | None = None,
) -> Array:
    r"""Dice loss whose classes weigh by the inverse square of their frequency.

    .. math::
        \ell = \operatorname{mean}_b \sum_c w_c\, \ell_{bc},
        \qquad w_c \propto \frac{1}{T_c^2}, \quad \sum_c w_c = 1

    with :math:`\ell_{bc}` the Dice loss of a class (`dice_loss`) and :math:`T_c` the
    sum of its targets over the whole batch: optax's formula. With `formula="sudre"` it
    is Sudre's one ratio of weighted sums over the batch, errors to all:

    .. math::
        \ell = \frac{\sum_c w_c (F_c + M_c) / 2}
                    {\sum_c w_c \bigl(I_c + (F_c + M_c) / 2\bigr) + s}
             \overset{s = 0}{=} 1 - 2 \frac{\sum_c w_c I_c}{\sum_c w_c (P_c + T_c)}

    Args:
      predictions: logits (probabilities, without `apply_softmax`), floating, shape
        `[batch, ..., classes]`.
      targets: one-hot or soft masks, in [0, 1], the shape of `predictions`.
      smooth: added to both parts of the fractions, at least 0.
      apply_softmax: whether `predictions` are logits. Static.
      ignore_background: leave class 0 out, of the weights too. Static.
      formula: `"mean"` of the fractions, or one fraction, `"sudre"`. Static.
      where: mask of the shape of `predictions` without the classes (pixels kept). Axes
        may be 1.

    Returns:
      The loss of the batch, in [0, 1], a float32 (float64 for float64 inputs) scalar.

    Numerics:
      Frequencies are counted in floating point. A class that does not occur weighs 0,
      and so does nothing: the others are weighted among themselves.

    Gradient:
      That of `dice_loss` for each class, weighted; the weights depend on the targets
      alone.

    Raises:
      TypeError: `predictions` not floating, `targets` not real, a traced static option.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[[2.0, -1.0], [0.5, 1.5], [0.0, 0.5]]])
      >>> targets = jnp.array([[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]])
      >>> loss = jaxloss.multiclass_generalized_dice_loss(logits, targets)
      >>> print(f"{loss:.4f}")
      0.1464

    References:
      Sudre et al., *Generalised Dice overlap*, arXiv:1707.03237.

    Elsewhere: `optax.losses.multiclass_generalized_dice_loss`,
    `monai.losses.GeneralizedDiceLoss` (Sudre's); not in torch or keras.
    """
    check = Check("multiclass_generalized_dice_loss")
    check.static(apply_softmax=apply_softmax)
    check.choice("formula", formula, ("mean", "sudre"))
    predictions, targets = (
        check.floating("predictions", predictions),
        check.real("targets", targets),
    )
    axes = _pixels(check, None, predictions.ndim, True)
    overlap, mass = overlap_of(check, predictions, targets, apply_softmax, axes, where)
    frequency = jnp.sum(mass, axis=0)
    check.static(ignore_background=ignore_background)
    if ignore_background and frequency.shape[0] > 1:
        overlap = Overlap(*(sums[..., 1:] for sums in overlap))
        frequency = frequency[1:]
    weights = _rarity(frequency)
    if formula == "mean":
        losses = _dice(check, overlap, None, smooth, 0.5, 0.5, "none", False)
        weights = jnp.broadcast_to(weights, losses.shape)
        return jnp.mean(jnp.sum(losses * weights, axis=-1))
    total = jax.ShapeDtypeStruct((), weights.dtype)
    smooth = check.parameter("smooth", smooth, total, low=0, open_high=True)
    both, false, missed = (
        jnp.sum(jnp.broadcast_to(weights, sums.shape) * sums) for sums in overlap
    )
    return fraction((false + missed) / 2, both + smooth)


# ------------------------------------------------------------------ what they share


def _pixels(check: Check, axis: Axis, ndim: int, classes: bool) -> tuple[int, ...]:
    """The axes of the pixels: by default all but the first and that of the classes."""
    last = ndim - 1 if classes else ndim
    if axis is None:
        return tuple(range(1, last))
    axes = check.axes(axis, ndim, of="predictions")
    if last in axes:
        raise check.value_error(
            "axis",
            "axes of pixels",
            f"{axis!r}, with the axis of the classes",
            "The classes are the last axis; `reduction` says what becomes of them.",
        )
    return axes


def _dice(
    check: Check,
    overlap: Overlap,
    class_weights: Input | None,
    smooth: Number,
    alpha: Number,
    beta: Number,
    reduction: Reduction,
    ignore_background: bool,
) -> Array:
    """The Dice losses of the classes, weighted and reduced over them."""
    check.reduction(reduction)
    check.static(ignore_background=ignore_background)
    like = overlap.intersection
    smooth, alpha, beta = (
        check.parameter(name, value, like, low=0, open_high=True)
        for name, value in (("smooth", smooth), ("alpha", alpha), ("beta", beta))
    )
    errors = alpha * overlap.false + beta * overlap.missed
    loss = fraction(errors, overlap.intersection + smooth)
    weights = check.class_weights(class_weights, like.shape[-1], like.dtype)
    if weights is not None:
        loss = loss * jnp.broadcast_to(weights, loss.shape)
    if ignore_background and loss.shape[-1] > 1:
        loss = loss[..., 1:]
    if reduction == "none":
        return loss
    return jnp.mean(loss, axis=-1) if reduction == "mean" else jnp.sum(loss, axis=-1)


def _rarity(frequency: Array) -> Array:
    """Weights in proportion to 1 / frequency², 0 for what does not occur."""
    occurs = frequency > 0
    rarest = jnp.min(frequency, where=occurs, initial=jnp.inf)
    relative = jax.lax.stop_gradient(rarest) / jnp.where(occurs, frequency, 1)
    weights = jnp.where(occurs, relative, 0) ** 2
    total = jnp.sum(weights)
    # NaN frequencies, of targets that are not, must not pass for absence.
    weights = jnp.where(jnp.isnan(frequency), jnp.nan, weights)
    return weights / jnp.where(total == 0, 1, total)
