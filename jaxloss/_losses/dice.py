"""Dice losses: of integer labels, generalized, and beside the cross entropy."""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxloss._core import rows
from jaxloss._core.numerics import logistic_loss
from jaxloss._core.overlap import Overlap, fraction
from jaxloss._core.public import public
from jaxloss._core.reduce import divided, reduce
from jaxloss._core.segmented import Images, images, over_classes
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def dice_loss_with_integer_labels(
    logits: Input,
    labels: Input,
    *,
    smooth: Number = 1.0,
    class_weights: Input | None = None,
    ignore_background: bool = False,
    ignore_index: int | None = None,
    squared_denominator: bool = False,
    axis: Axis = None,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Soft Dice loss of a segmentation, from the class of each pixel.

    .. math::
        \ell = \operatorname{mean}_c
            \frac{(F_c + M_c) / 2}{I_c + (F_c + M_c) / 2 + s}

    with, over the pixels, :math:`I_c = \sum p_c t_c` the intersection, :math:`F_c =
    \sum p_c (1 - t_c)` the false positives, :math:`M_c = \sum (1 - p_c)\, t_c` the
    misses and :math:`s` the smoothing, where
    :math:`t` is 1 for the pixel's class and 0 for the others: `dice_loss` of one-hot
    masks, with the grammar of the other losses.

    Args:
      logits: floating, shape `[batch, ..., classes]`: of a softmax over the classes, of
        a sigmoid for one class.
      labels: the class of each pixel, integer, the shape of `logits` without the
        classes; 0 or 1 for one class.
      smooth: added to both parts of the fraction, at least 0: a number, or an array
        that fits the losses of the classes, `[batch, classes]`.
      class_weights: shape `[classes]`; multiplies, and does not count in the mean.
      ignore_background: leave class 0 out, unless it is the only one. Static.
      ignore_index: pixels with this label are left out; None for none. Static.
      squared_denominator: V-Net's form, as in `dice_loss`. Static.
      axis: the axes of the pixels; None for all between the first and the last. Static.
      where: mask of the shape of `logits` without the classes (pixels kept; an image
        without pixels contributes nothing) or of the losses' shape (images kept). Axes
        may be 1.
      weights: weight of each image, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the images kept).

    Returns:
      The losses, in [0, 1] before weights of classes, float32 (float64 for float64
      inputs): one for each image, `[batch]`, or a scalar when reduced.

    Numerics:
      As for `dice_loss`. A label that is no class gives NaN in value and gradient.

    Gradient:
      That of `dice_loss`.

    Raises:
      TypeError: `logits` not floating, `labels` not integer, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[[2.0, -1.0], [0.5, 1.5]]])
      >>> labels = jnp.array([[0, 1]])
      >>> print(jaxloss.dice_loss_with_integer_labels(logits, labels).round(4))
      [0.0793]

    References:
      Milletari et al., *V-Net*, arXiv:1606.04797.

    Elsewhere: `monai.losses.DiceLoss(to_onehot_y=True, softmax=True)`,
    `segmentation_models_pytorch.losses.DiceLoss`; not in optax, torch or keras.
    """
    check = Check("dice_loss_with_integer_labels")
    check.reduction(reduction)
    x = images(check, axis, where, logits, labels=labels, ignore_index=ignore_index)
    losses = _dice(check, x, smooth, squared_denominator)
    loss = over_classes(check, losses, class_weights, ignore_background)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def dice_cross_entropy_loss(
    logits: Input,
    labels: Input,
    *,
    dice_weight: Number = 1.0,
    cross_entropy_weight: Number = 1.0,
    smooth: Number = 1.0,
    ignore_background: bool = False,
    ignore_index: int | None = None,
    squared_denominator: bool = False,
    axis: Axis = None,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Dice loss and cross entropy of a segmentation, summed.

    .. math::
        \ell = \lambda_D \operatorname{mean}_c
            \frac{(F_c + M_c) / 2}{I_c + (F_c + M_c) / 2 + s}
            - \lambda_C \operatorname{mean}_i \log p_{i y_i}

    with the sums of `dice_loss_with_integer_labels` over the pixels :math:`i` of an
    image, whose classes are :math:`y_i`: the loss of nnU-Net.

    Args:
      logits: floating, shape `[batch, ..., classes]`: of a softmax over the classes, of
        a sigmoid for one class.
      labels: the class of each pixel, integer, the shape of `logits` without the
        classes; 0 or 1 for one class.
      dice_weight: :math:`\lambda_D`, a number or an array that fits the losses.
      cross_entropy_weight: :math:`\lambda_C`, likewise.
      smooth: added to both parts of the fraction, at least 0: a number, or an array
        that fits the losses of the classes, `[batch, classes]`.
      ignore_background: leave class 0 out of the Dice loss, unless it is the only one.
        Static.
      ignore_index: pixels with this label are left out; None for none. Static.
      squared_denominator: V-Net's form, as in `dice_loss`. Static.
      axis: the axes of the pixels; None for all between the first and the last. Static.
      where: mask of the shape of `logits` without the classes (pixels kept; an image
        without pixels contributes nothing) or of the losses' shape (images kept). Axes
        may be 1.
      weights: weight of each image, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the images kept).

    Returns:
      The losses, float32 (float64 for float64 inputs), the cross entropy in nats: one
      for each image, `[batch]`, or a scalar when reduced.

    Numerics:
      As for `dice_loss` and `softmax_cross_entropy_with_integer_labels`. A label that
      is no class gives NaN in value and gradient.

    Gradient:
      The sum of both: :math:`\lambda_C (p - t) / n` for :math:`n` pixels, and that of
      `dice_loss`.

    Raises:
      TypeError: `logits` not floating, `labels` not integer, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[[2.0, -1.0], [0.5, 1.5]]])
      >>> labels = jnp.array([[0, 1]])
      >>> print(f"{jaxloss.dice_cross_entropy_loss(logits, labels)[0]:.4f}")
      0.2603

    References:
      Isensee et al., *nnU-Net*, Nature Methods 18, 2021; Taghanaki et al., *Combo
      loss*, arXiv:1805.02798.

    Elsewhere: `monai.losses.DiceCELoss`, nnU-Net's `DC_and_CE_loss`; not in optax,
    torch or keras.
    """
    check = Check("dice_cross_entropy_loss")
    check.reduction(reduction)
    x = images(check, axis, where, logits, labels=labels, ignore_index=ignore_index)
    losses = _dice(check, x, smooth, squared_denominator)
    dice = over_classes(check, losses, None, ignore_background)
    dice_weight, cross_entropy_weight = (
        check.parameter(name, value, dice)
        for name, value in (
            ("dice_weight", dice_weight),
            ("cross_entropy_weight", cross_entropy_weight),
        )
    )
    loss = dice_weight * dice + cross_entropy_weight * _mean_nll(x)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def generalized_dice_loss(
    logits: Input,
    targets: Input,
    *,
    smooth: Number = 0.0,
    absent_classes: Literal["ignore", "rarest"] = "ignore",
    ignore_background: bool = False,
    axis: Axis = None,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Generalized Dice loss: one ratio, in which rare classes weigh more.

    .. math::
        \ell = 1 - 2\, \frac{\sum_c w_c I_c}{\sum_c w_c (P_c + T_c)}
            = \frac{\sum_c w_c (F_c + M_c) / 2}
                   {\sum_c w_c \bigl(I_c + (F_c + M_c) / 2\bigr)},
        \qquad w_c \propto \frac{1}{T_c^2}

    with the sums of `tversky_loss` over the pixels of an image, and a smoothing
    :math:`s` added to numerator and denominator of the overlap where it is asked for;
    :math:`\sum_c w_c = 1`. `multiclass_generalized_dice_loss` is optax's, of a batch.

    Args:
      logits: floating, shape `[batch, ..., classes]`: of a softmax over the classes, of
        a sigmoid for one class.
      targets: one-hot or soft masks, in [0, 1], the shape of `logits`.
      smooth: added to both parts of the overlap, at least 0: a number, or an array that
        fits the losses.
      absent_classes: a class that does not occur in the image weighs nothing,
        `"ignore"`, so that predicting it costs only what others lose; or as much as the
        rarest that occurs, `"rarest"`. Static.
      ignore_background: leave class 0 out, of the weights too, unless it is the only
        one. Static.
      axis: the axes of the pixels; None for all between the first and the last. Static.
      where: mask of the shape of `logits` without the classes (pixels kept; an image
        without pixels contributes nothing) or of the losses' shape (images kept). Axes
        may be 1.
      weights: weight of each image, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the images kept).

    Returns:
      The losses, in [0, 1], float32 (float64 for float64 inputs): one for each image,
      `[batch]`, or a scalar when reduced.

    Numerics:
      Frequencies are counted in floating point, and their inverse squares taken
      relative to the rarest class: nothing overflows. Errors are summed, as in
      `dice_loss`.

    Gradient:
      With :math:`I = \sum_c w_c I_c` and :math:`W = \sum_c w_c (P_c + T_c)`:
      :math:`\partial \ell / \partial p_c = 2 w_c (I - t_c W) / W^2`, through the
      softmax.

    Raises:
      TypeError: `logits` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[[2.0, -1.0], [0.5, 1.5]]])
      >>> targets = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
      >>> print(jaxloss.generalized_dice_loss(logits, targets).round(4))
      [0.1582]

    References:
      Sudre et al., *Generalised Dice overlap as a deep learning loss function for
      highly unbalanced segmentations*, arXiv:1707.03237.

    Elsewhere: `monai.losses.GeneralizedDiceLoss` (absent classes as `"rarest"`); not in
    optax, torch or keras.
    """
    check = Check("generalized_dice_loss")
    check.reduction(reduction)
    x = images(check, axis, where, logits, targets=targets)
    check.choice("absent_classes", absent_classes, ("ignore", "rarest"))
    check.choice("ignore_background", ignore_background, (False, True))
    overlap, mass = x.overlap(check)
    if ignore_background and mass.shape[-1] > 1:
        overlap = Overlap(*(sums[..., 1:] for sums in overlap))
        mass = mass[..., 1:]
    rarity = _rarity(mass, absent_classes == "rarest")
    both, false, missed = (jnp.sum(rarity * sums, axis=-1) for sums in overlap)
    smooth_ = check.parameter("smooth", smooth, both, low=0, open_high=True)
    loss = fraction((false + missed) / 2, both + smooth_)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


# ------------------------------------------------------------------ what they share


def _dice(check: Check, x: Images, smooth: Number, squared: bool) -> Array:
    """The losses of the classes, `[..., classes]`."""
    check.choice("squared_denominator", squared, (False, True))
    overlap, _ = x.overlap(check, squared)
    like = overlap.intersection
    smooth = check.parameter("smooth", smooth, like, low=0, open_high=True)
    return fraction((overlap.false + overlap.missed) / 2, like + smooth)


def _mean_nll(x: Images) -> Array:
    """The cross entropy, of the pixels kept in an image."""
    if x.labels is None:
        raise AssertionError("these images were made without labels")
    if x.logits.shape[-1] == 1:
        y, one = x.targets, jnp.ones((), x.logits.dtype)
        nll = logistic_loss(x.logits, y, 1 - y, one)
    else:
        nll = rows.label_nll(x.logits, x.labels[..., None], -1)
    nll = jnp.squeeze(nll, -1)
    if x.pixels is None:
        return jnp.mean(nll, axis=x.axes)
    total = jnp.sum(jnp.where(x.pixels, nll, 0), axis=x.axes)
    return divided(total, jnp.sum(x.pixels.astype(total.dtype), axis=x.axes))


def _rarity(frequency: Array, absent: bool) -> Array:
    """Weights in proportion to 1 / frequency², 0 or the largest for what is absent."""
    occurs = frequency > 0
    rarest = jnp.min(frequency, axis=-1, keepdims=True, where=occurs, initial=jnp.inf)
    relative = jax.lax.stop_gradient(rarest) / jnp.where(occurs, frequency, 1)
    weights = jnp.where(occurs, relative, float(absent)) ** 2
    total = jnp.sum(weights, axis=-1, keepdims=True)
    # NaN frequencies, of targets that are not, must not pass for absence.
    weights = jnp.where(jnp.isnan(frequency), jnp.nan, weights)
    return weights / jnp.where(total == 0, 1, total)
