"""Overlap losses of segmentation: Tversky, focal Tversky and Jaccard."""

import jax
import jax.numpy as jnp

from jaxloss._core.overlap import Overlap, fraction
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.segmented import images, over_classes
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def tversky_loss(
    logits: Input,
    targets: Input,
    *,
    alpha: Number = 0.5,
    beta: Number = 0.5,
    smooth: Number = 1.0,
    class_weights: Input | None = None,
    ignore_background: bool = False,
    axis: Axis = None,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Tversky loss: overlap with a price for each kind of error.

    .. math::
        \ell = \operatorname{mean}_c
            \frac{\alpha F_c + \beta M_c}{I_c + \alpha F_c + \beta M_c + s}

    with, over the pixels, :math:`I_c = \sum p_c t_c` the intersection, :math:`F_c =
    \sum p_c (1 - t_c)` the false positives, :math:`M_c = \sum (1 - p_c)\, t_c` the
    misses and :math:`s` the smoothing. With :math:`\alpha = \beta = 1/2` it is the Dice
    loss, with 1 the Jaccard loss.

    Args:
      logits: floating, shape `[batch, ..., classes]`: of a softmax over the classes, of
        a sigmoid for one class.
      targets: one-hot or soft masks, in [0, 1], the shape of `logits`.
      alpha: weight of the false positives, at least 0.
      beta: weight of the misses, at least 0.
      smooth: added to both parts of the fraction, at least 0: a number, or an array
        that fits the losses of the classes, `[batch, classes]`.
      class_weights: shape `[classes]`; multiplies, and does not count in the mean.
      ignore_background: leave class 0 out, unless it is the only one. Static.
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
      As for `dice_loss`: the errors are summed, not subtracted from 1, so that a nearly
      perfect segmentation keeps its value and gradient; nothing predicted where nothing
      is costs 0, without smoothing too. A target outside [0, 1] gives NaN.

    Gradient:
      With :math:`D` the denominator: :math:`\partial \ell_c / \partial p =
      \bigl(\alpha (1 - t) (I_c + s) - \beta t (I_c + s) - t (\alpha F_c + \beta M_c)
      \bigr) / D^2`, through the softmax.

    Raises:
      TypeError: `logits` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[[2.0, -1.0], [0.5, 1.5]]])
      >>> targets = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
      >>> print(jaxloss.tversky_loss(logits, targets, alpha=0.3, beta=0.7).round(4))
      [0.0799]

    References:
      Salehi et al., *Tversky loss function for image segmentation using 3D fully
      convolutional deep networks*, arXiv:1706.05721.

    Elsewhere: `keras.losses.Tversky`, `monai.losses.TverskyLoss`; not in optax or
    torch.
    """
    check = Check("tversky_loss")
    check.reduction(reduction)
    x = images(check, axis, where, logits, targets=targets)
    overlap, _ = x.overlap(check)
    losses = _tversky(check, overlap, smooth, alpha, beta)
    loss = over_classes(check, losses, class_weights, ignore_background)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def focal_tversky_loss(
    logits: Input,
    targets: Input,
    *,
    gamma: Number = 0.75,
    alpha: Number = 0.7,
    beta: Number = 0.3,
    smooth: Number = 1.0,
    class_weights: Input | None = None,
    ignore_background: bool = False,
    axis: Axis = None,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Focal Tversky loss: a power of the Tversky loss of each class.

    .. math::
        \ell = \operatorname{mean}_c \left(
            \frac{\alpha F_c + \beta M_c}{I_c + \alpha F_c + \beta M_c + s}
            \right)^\gamma

    with, over the pixels, :math:`I_c = \sum p_c t_c` the intersection, :math:`F_c =
    \sum p_c (1 - t_c)` the false positives, :math:`M_c = \sum (1 - p_c)\, t_c` the
    misses and :math:`s` the smoothing. A power below 1 gives weight to
    what is nearly right, one above 1 to what is not.

    Args:
      logits: floating, shape `[batch, ..., classes]`: of a softmax over the classes, of
        a sigmoid for one class.
      targets: one-hot or soft masks, in [0, 1], the shape of `logits`.
      gamma: the power :math:`\gamma`, above 0.
      alpha: weight of the false positives, at least 0.
      beta: weight of the misses, at least 0.
      smooth: added to both parts of the fraction, at least 0: a number, or an array
        that fits the losses of the classes, `[batch, classes]`.
      class_weights: shape `[classes]`; multiplies, and does not count in the mean.
      ignore_background: leave class 0 out, unless it is the only one. Static.
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
      As for `dice_loss`: the errors are summed, not subtracted from 1, so that a nearly
      perfect segmentation keeps its value and gradient; nothing predicted where nothing
      is costs 0, without smoothing too. A target outside [0, 1] gives NaN.
      At a loss of 0 the power has no derivative: 0.

    Gradient:
      :math:`\gamma\, \ell_c^{\gamma - 1}` times that of `tversky_loss` for each class.

    Raises:
      TypeError: `logits` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[[2.0, -1.0], [0.5, 1.5]]])
      >>> targets = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
      >>> print(jaxloss.focal_tversky_loss(logits, targets).round(4))
      [0.1468]

    References:
      Abraham and Khan, *A Novel Focal Tversky Loss Function*, arXiv:1810.07842, with
      :math:`\gamma` for their :math:`1 / \gamma`.

    Elsewhere: `segmentation_models_pytorch.losses.TverskyLoss` with `gamma`; not in
    optax, torch or keras.
    """
    check = Check("focal_tversky_loss")
    check.reduction(reduction)
    x = images(check, axis, where, logits, targets=targets)
    overlap, _ = x.overlap(check)
    losses = _tversky(check, overlap, smooth, alpha, beta)
    losses = _power(
        losses, check.parameter("gamma", gamma, losses, low=0, open_low=True)
    )
    loss = over_classes(check, losses, class_weights, ignore_background)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def jaccard_loss(
    logits: Input,
    targets: Input,
    *,
    smooth: Number = 1.0,
    class_weights: Input | None = None,
    ignore_background: bool = False,
    axis: Axis = None,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Jaccard loss: 1 minus intersection over union.

    .. math::
        \ell = \operatorname{mean}_c
            \frac{F_c + M_c}{I_c + F_c + M_c + s}
            = \operatorname{mean}_c \left( 1 -
            \frac{I_c + s}{P_c + T_c - I_c + s} \right)

    with, over the pixels, :math:`I_c = \sum p_c t_c` the intersection, :math:`F_c =
    \sum p_c (1 - t_c)` the false positives, :math:`M_c = \sum (1 - p_c)\, t_c` the
    misses and :math:`s` the smoothing.

    Args:
      logits: floating, shape `[batch, ..., classes]`: of a softmax over the classes, of
        a sigmoid for one class.
      targets: one-hot or soft masks, in [0, 1], the shape of `logits`.
      smooth: added to both parts of the fraction, at least 0: a number, or an array
        that fits the losses of the classes, `[batch, classes]`.
      class_weights: shape `[classes]`; multiplies, and does not count in the mean.
      ignore_background: leave class 0 out, unless it is the only one. Static.
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
      As for `dice_loss`: the errors are summed, not subtracted from 1, so that a nearly
      perfect segmentation keeps its value and gradient; nothing predicted where nothing
      is costs 0, without smoothing too. A target outside [0, 1] gives NaN.

    Gradient:
      With :math:`U` the denominator: :math:`\partial \ell_c / \partial p =
      \bigl((1 - t) (I_c + s) - t\, U \bigr) / U^2`, through the
      softmax.

    Raises:
      TypeError: `logits` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[[2.0, -1.0], [0.5, 1.5]]])
      >>> targets = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
      >>> print(jaxloss.jaccard_loss(logits, targets).round(4))
      [0.147]

    References:
      Rahman and Wang, *Optimizing Intersection-Over-Union in Deep Neural Networks*,
      ISVC 2016.

    Elsewhere: `segmentation_models_pytorch.losses.JaccardLoss`, `monai.losses.DiceLoss`
    with `jaccard=True`; not in optax, torch or keras.
    """
    check = Check("jaccard_loss")
    check.reduction(reduction)
    x = images(check, axis, where, logits, targets=targets)
    overlap, _ = x.overlap(check)
    losses = _tversky(check, overlap, smooth, 1.0, 1.0)
    loss = over_classes(check, losses, class_weights, ignore_background)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


# ------------------------------------------------------------------ what they share


def _tversky(
    check: Check, overlap: Overlap, smooth: Number, alpha: Number, beta: Number
) -> Array:
    """The losses of the classes, `[..., classes]`."""
    like = overlap.intersection
    smooth, alpha, beta = (
        check.parameter(name, value, like, low=0, open_high=True)
        for name, value in (("smooth", smooth), ("alpha", alpha), ("beta", beta))
    )
    errors = alpha * overlap.false + beta * overlap.missed
    return fraction(errors, overlap.intersection + smooth)


@jax.custom_jvp
def _power(x: Array, exponent: Array) -> Array:
    """x^exponent, and 0 at 0 whatever the exponent."""
    nothing = x == 0
    return jnp.where(nothing, 0, jnp.power(jnp.where(nothing, 1, x), exponent))


@_power.defjvp
def _(primals, tangents):
    # d x^a = a x^(a-1) dx + x^a log x da, both 0 at x = 0.
    (x, exponent), (dx, dexponent) = primals, tangents
    power = _power(x, exponent)
    logarithm = jnp.log(jnp.where(x == 0, 1, x))
    dpower = exponent * _power(x, exponent - 1) * dx + power * logarithm * dexponent
    return power, dpower
