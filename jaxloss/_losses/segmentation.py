"""Overlap losses of segmentation: soft Dice, Tversky and generalized Dice."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check, computing


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
      \bigr) / D^2`, through the softmax.

    Raises:
      TypeError: `predictions` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an option out of its range, probabilities that
        are not.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[[2.0, -1.0], [0.5, 1.5]]])
      >>> targets = jnp.array([[[1.0, 0.0], [0.0, 1.0]]])
      >>> print(jaxloss.dice_loss(logits, targets).round(4))
      [0.0846]

    References:
      Milletari et al., *V-Net*, arXiv:1606.04797; Salehi et al., *Tversky loss*,
      arXiv:1706.05721.

    Elsewhere: `optax.losses.dice_loss`, `monai.losses.DiceLoss`,
    `keras.losses.Dice`, `keras.losses.Tversky`; not in torch.
    """
    check = Check("dice_loss")
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
    overlap, _ = _overlap(check, predictions, targets, apply_softmax, axes, where)
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


def binary_dice_loss(
    predictions: Input,
    targets: Input,
    *,
    smooth: Number = 1.0,
    apply_sigmoid: bool = True,
    axis: Axis = None,
    where: Input | None = None,
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
      [0.1274]

    References:
      Milletari et al., *V-Net*, arXiv:1606.04797.

    Elsewhere: `optax.losses.binary_dice_loss`, `monai.losses.DiceLoss(sigmoid=True)`,
    `keras.losses.Dice`; not in torch.
    """
    check = Check("binary_dice_loss")
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
    overlap, _ = _overlap(check, predictions, targets, apply_sigmoid, axes, where)
    return _dice(check, overlap, None, smooth, 0.5, 0.5, "mean", False)


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
      >>> print(jaxloss.multiclass_generalized_dice_loss(logits, targets).round(4))
      0.1449

    References:
      Sudre et al., *Generalised Dice overlap*, arXiv:1707.03237.

    Elsewhere: `optax.losses.multiclass_generalized_dice_loss`,
    `monai.losses.GeneralizedDiceLoss` (Sudre's); not in torch or keras.
    """
    check = Check("multiclass_generalized_dice_loss")
    check.choice("formula", formula, ("mean", "sudre"))
    predictions, targets = (
        check.floating("predictions", predictions),
        check.real("targets", targets),
    )
    axes = _pixels(check, None, predictions.ndim, True)
    overlap, frequency = _overlap(
        check, predictions, targets, apply_softmax, axes, where
    )
    check.static(ignore_background=ignore_background)
    if ignore_background and frequency.shape[0] > 1:
        overlap = _Overlap(*(sums[..., 1:] for sums in overlap))
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
    return _fraction((false + missed) / 2, both + smooth)


# ------------------------------------------------------------------ overlap


class _Overlap(NamedTuple):
    """How prediction and target overlap, summed over pixels: `[..., classes]`."""

    intersection: Array
    """Σ p t."""
    false: Array
    """Σ p (1 - t)."""
    missed: Array
    """Σ (1 - p) t."""


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


def _overlap(
    check: Check,
    predictions: Array,
    targets: Array,
    logits: bool,
    axes: tuple[int, ...],
    where: Input | None,
) -> tuple[_Overlap, Array]:
    """The overlap of logits or probabilities with targets; and the classes' frequency.

    The frequency is the sum of the targets over the whole batch, `[classes]`.
    """
    check.static(apply_softmax=logits)
    check.same_shape(predictions=predictions, targets=targets)
    given = predictions.dtype
    keep, _ = check.where(where, loss=predictions.shape[:-1])
    x, present = computing(predictions, targets)
    absent = 1 - present
    if keep is not None:
        keep = keep[..., None]
        x, present, absent = (jnp.where(keep, a, 0) for a in (x, present, absent))
    if not logits:
        x = _checked(check, x, given, keep)
    frequency = jnp.sum(present, axis=tuple(range(present.ndim - 1)))
    binary = x.shape[-1] == 1
    if binary:
        # XLA's reductions on CPU are slow before an axis of size 1.
        x, present, absent = x[..., 0], present[..., 0], absent[..., 0]
    if not logits:
        p, rest = x, 1 - x
    else:
        p, rest = _binary(x) if binary else _softmax(x)
    # A target outside [0, 1] is none: its class has no loss.
    excess = jnp.sum(jnp.maximum(present * present - present, 0), axis=axes)
    sums = _Overlap(
        intersection=jnp.sum(p * present, axis=axes),
        false=jnp.sum(p * absent, axis=axes) + jnp.where(excess == 0, 0, jnp.nan),
        missed=jnp.sum(rest * present, axis=axes),
    )
    if binary:
        sums = _Overlap(*(each[..., None] for each in sums))
    return sums, frequency


@jax.custom_jvp
def _binary(x: Array) -> tuple[Array, Array]:
    """σ(x) and 1 - σ(x) = σ(-x), each accurate where it is small."""
    return 1 / (1 + jnp.exp(-x)), 1 / (1 + jnp.exp(x))


@_binary.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    p, rest = _binary(x)
    dp = p * rest * dx
    return (p, rest), (dp, -dp)


@jax.custom_jvp
def _softmax(x: Array) -> tuple[Array, Array]:
    """p and 1 - p of every class, each accurate where it is small."""
    # An infinite logit takes the pixel: as the largest float, which no other reaches.
    x = jnp.minimum(x, jnp.finfo(x.dtype).max)
    e = jnp.exp(x - jnp.max(x, axis=-1, keepdims=True))
    p = e / jnp.sum(e, axis=-1, keepdims=True)
    # 1 - p_j is what the maximum leaves, r, and what p_j leaves of the maximum: of
    # two terms that are not negative, the first a sum over all classes but one.
    peak = jnp.max(p, axis=-1, keepdims=True)
    below = jnp.sign(peak - p)
    maxima = x.shape[-1] - jnp.sum(below, axis=-1, keepdims=True)
    rest = jnp.sum(p * below, axis=-1, keepdims=True) + peak * (maxima - 1)
    return p, rest + (peak - p)


@_softmax.defjvp
def _(primals, tangents):
    # dp_j = p_j (dx_j - Σ_k p_k dx_k). For a class d that holds more than half, dx is
    # taken relative to dx_d, and dp_d is minus the sum of the others. The transpose
    # does the same in the opposite order, so that neither direction cancels.
    (x,), (dx,) = primals, tangents
    p, rest = _softmax(x)
    dominant = p > 0.5

    def dominated(v: Array) -> Array:
        return jnp.where(dominant, 0, v)

    dx_dominant = jnp.sum(jnp.where(dominant, dx, 0), axis=-1, keepdims=True)
    dx = dominated(dx - dx_dominant)
    dp = p * (dx - jnp.sum(p * dx, axis=-1, keepdims=True))
    others = jnp.sum(dominated(dp), axis=-1, keepdims=True)
    dp = jnp.where(dominant, -others, dp)
    return (p, rest), (dp, -dp)


def _checked(check: Check, p: Array, given: jnp.dtype, keep: Array | None) -> Array:
    """Probabilities: checked now if their values are known, else NaN if invalid."""
    slack = max(1e-5, float(jnp.finfo(given).eps))
    inside = (p >= -slack) & (p <= 1 + slack)
    if not isinstance(p, jax.core.Tracer):
        totals = jnp.sum(p, axis=-1, keepdims=True)
        good = jnp.all(inside, axis=-1, keepdims=True)
        if p.shape[-1] > 1:
            good &= jnp.abs(totals - 1) <= slack
        if keep is not None:
            good |= ~keep
        good |= jnp.any(jnp.isnan(p), axis=-1, keepdims=True)
        if not good.all():
            raise check.value_error(
                "predictions",
                "valid probability distributions over the last axis",
                f"from {p.min():.6g} to {p.max():.6g}, with sums from "
                f"{totals.min():.6f} to {totals.max():.6f}",
                "Leave the logits to the loss, or normalise them.",
            )
    return jnp.where(inside, p, jnp.nan)


# ------------------------------------------------------------------ loss


@jax.custom_jvp
def _fraction(part: Array, rest: Array) -> Array:
    """part / (part + rest), and 0 where both are 0."""
    whole = part + rest
    return jnp.where(whole == 0, 0, part / jnp.where(whole == 0, 1, whole))


@_fraction.defjvp
def _(primals, tangents):
    # d(e / (e + r)) = (r de - e dr) / (e + r)²: no difference of nearly equal parts.
    (part, rest), (dpart, drest) = primals, tangents
    whole = part + rest
    fraction = _fraction(part, rest)
    numerator = _fraction(rest, part) * dpart - fraction * drest
    return fraction, numerator / jnp.where(whole == 0, 1, whole)


def _dice(
    check: Check,
    overlap: _Overlap,
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
    loss = _fraction(errors, overlap.intersection + smooth)
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
