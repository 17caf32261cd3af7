"""Lovász losses: the Jaccard index of a segmentation, extended to real errors."""

import math
from typing import Literal

import jax
import jax.numpy as jnp

from jaxloss._core import inputs, rows
from jaxloss._core.numerics import positive_part, sigmoid
from jaxloss._core.public import public
from jaxloss._core.reduce import divided, reduce
from jaxloss._core.segmented import images
from jaxloss._core.types import Array, Axis, Input, Reduction
from jaxloss._core.validate import Check


@public
def lovasz_hinge_loss(
    logits: Input,
    labels: Input,
    *,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Lovász hinge: the Jaccard loss of a binary segmentation, by hinges.

    .. math::
        \ell = \sum_i \max(0, m_{(i)}) \bigl( J(\{(1), \ldots, (i)\}) -
            J(\{(1), \ldots, (i - 1)\}) \bigr), \qquad m_i = 1 - x_i (2 y_i - 1)

    with the hinges in decreasing order and :math:`J` the Jaccard loss, 1 - intersection
    over union, of the segmentation in which these pixels are wrong.

    Args:
      logits: floating, shape `[..., pixels]` (the pixels along `axis`).
      labels: 0 or 1 (or bool) for each pixel, the shape of `logits`.
      axis: the axes of the pixels, such as `(-2, -1)`; None for all. Static.
      where: mask of the shape of `logits` (pixels kept; an image without pixels
        contributes nothing) or of the losses' shape (images kept). Axes may be 1.
      weights: weight of each image, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the images kept).

    Returns:
      The losses, at least 0, float32 (float64 for float64 inputs): the shape of
      `logits` without `axis`, or a scalar when reduced.

    Numerics:
      The steps of the Jaccard loss come from counts, :math:`1 / U` or :math:`I /
      (U (U - 1))`, not from differences of it, which would be all rounding in a large
      image. A label that is neither 0 nor 1 gives NaN.

    Gradient:
      :math:`\partial \ell / \partial x_i = -(2 y_i - 1)` times the step of the pixel,
      where its hinge is positive. Of equal hinges the first comes first: a subgradient.

    Raises:
      TypeError: `logits` not floating, `labels` not real, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits, labels = jnp.array([2.0, -1.0, 0.5]), jnp.array([1, 0, 0])
      >>> print(jaxloss.lovasz_hinge_loss(logits, labels))
      0.75

    References:
      Yu and Blaschko, *The Lovász Hinge*, arXiv:1512.07797; Berman et al., *The
      Lovász-Softmax loss*, arXiv:1705.08790.

    Elsewhere: `segmentation_models_pytorch.losses.LovaszLoss(mode="binary")`; not in
    optax, torch or keras.
    """
    check = Check("lovasz_hinge_loss")
    check.reduction(reduction)
    x = inputs.rows(check, axis, where, logits=logits, labels=labels)
    if x.entries is not None:
        x = x.drop(jnp.any(x.entries, axis=x.axis))
    scores = jnp.moveaxis(x.predictions, x.axis, -1)
    y = jnp.moveaxis(x.require_targets(), x.axis, -1)
    kept = None if x.entries is None else jnp.moveaxis(x.entries, x.axis, -1)
    sign = jnp.where((y == 0) | (y == 1), 2 * y - 1, jnp.nan)
    loss = _extension(1 - scores * sign, y == 1, kept)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def lovasz_softmax_loss(
    logits: Input,
    labels: Input,
    *,
    classes: Literal["present", "all"] = "present",
    ignore_index: int | None = None,
    axis: Axis = None,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Lovász-Softmax: the Jaccard loss of each class, by probabilities.

    .. math::
        \ell = \operatorname{mean}_c \sum_i m_{(i)} \bigl( J_c(\{(1), \ldots, (i)\}) -
            J_c(\{(1), \ldots, (i - 1)\}) \bigr), \qquad
        m_i = \begin{cases} 1 - p_{ic} & y_i = c \\ p_{ic} & y_i \ne c \end{cases}

    with the errors in decreasing order and :math:`J_c` the Jaccard loss, 1 -
    intersection over union, of the segmentation in which these pixels are wrong about
    class :math:`c`.

    Args:
      logits: floating, shape `[batch, ..., classes]`: of a softmax over the classes, of
        a sigmoid for one class.
      labels: the class of each pixel, integer, the shape of `logits` without the
        classes; 0 or 1 for one class.
      classes: the mean is over the classes that occur in the image, `"present"`, or
        over `"all"`. Static.
      ignore_index: pixels with this label are left out; None for none. Static.
      axis: the axes of the pixels; None for all between the first and the last. Static.
      where: mask of the shape of `labels` (pixels kept; an image without pixels
        contributes nothing) or of the losses' shape (images kept). Axes may be 1.
      weights: weight of each image, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the images kept).

    Returns:
      The losses, in [0, 1], float32 (float64 for float64 inputs): one for each image,
      `[batch]`, or a scalar when reduced.

    Numerics:
      As for `lovasz_hinge_loss`; 1 - p is a sum, so that a confident segmentation keeps
      its value and gradient. A label that is no class gives NaN in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial p_{ic} = \mp` the step of the pixel over the
      number of classes, minus where it is of the class; through the softmax. Of equal
      errors the first comes first: a subgradient.

    Raises:
      TypeError: `logits` not floating, `labels` not integer, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[[2.0, -1.0], [0.5, 1.5]]])
      >>> print(jaxloss.lovasz_softmax_loss(logits, jnp.array([[0, 1]])).round(4))
      [0.2136]

    References:
      Berman et al., *The Lovász-Softmax loss*, arXiv:1705.08790.

    Elsewhere: `segmentation_models_pytorch.losses.LovaszLoss(mode="multiclass")`; not
    in optax, torch or keras.
    """
    check = Check("lovasz_softmax_loss")
    check.reduction(reduction)
    check.choice("classes", classes, ("present", "all"))
    x = images(check, axis, where, logits, labels=labels, ignore_index=ignore_index)
    if x.logits.shape[-1] == 1:
        p, rest = sigmoid(x.logits), sigmoid(-x.logits)
    else:
        softmax = rows.softmax(x.logits, -1)
        p, rest = softmax.p, rows.complements(softmax)
    valid = (x.targets == 0) | (x.targets == 1)
    inside = x.targets == 1
    # A factor, so that the gradient is NaN too.
    factor = jnp.where(valid, 1, jnp.nan).astype(p.dtype)
    errors = factor * jnp.where(inside, rest, p)
    complements = jnp.where(inside, p, rest)
    # The pixels behind the classes, as one axis.
    last = tuple(range(errors.ndim - len(x.axes), errors.ndim))
    shape = (*x.like.shape, errors.shape[-1], -1)

    def by_class(a: Array) -> Array:
        if a.size == 0:
            return a.reshape(*shape[:-1], math.prod(a.shape[i] for i in x.axes))
        return jnp.moveaxis(a, x.axes, last).reshape(shape)

    kept = None
    if x.pixels is not None:
        kept = by_class(jnp.broadcast_to(x.pixels[..., None], errors.shape))
    inside = by_class(inside)
    losses = _extension(by_class(errors), inside, kept, by_class(complements))
    if classes == "all":
        loss = jnp.mean(losses, axis=-1)
    else:
        present = jnp.any(inside, axis=-1) | jnp.isnan(losses)
        total = jnp.sum(jnp.where(present, losses, 0), axis=-1)
        loss = divided(total, jnp.sum(present.astype(total.dtype), axis=-1))
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


def _extension(
    errors: Array,
    inside: Array,
    kept: Array | None,
    complements: Array | None = None,
) -> Array:
    """Σ of the positive errors, in decreasing order, times the steps of the Jaccard
    loss: the last axis.

    With I pixels of the class still right, and U in the union with what is predicted
    in its place, a pixel of the class takes 1 from I, and 1 / U is lost; another one
    adds 1 to U, and I / (U - 1) - I / U is lost; all of it, if nothing was there.

    Errors that are all but 1 differ in what they lack of it, the complements, if those
    are given.
    """
    if kept is None:
        kept = jnp.ones(errors.shape, bool)
    inside = inside & kept
    errors = jnp.where(kept, errors, 0)
    keys = [jnp.where(kept, -jax.lax.stop_gradient(errors), jnp.inf)]
    if complements is not None:
        keys.append(jax.lax.stop_gradient(complements))
    index = jax.lax.broadcasted_iota(jnp.int32, errors.shape, errors.ndim - 1)
    *_, order = jax.lax.sort((*keys, index), num_keys=len(keys) + 1)
    errors, inside, kept = (
        jnp.take_along_axis(a, order, axis=-1) for a in (errors, inside, kept)
    )
    size = jnp.sum(inside, axis=-1, keepdims=True, dtype=jnp.int32)
    right = size - jnp.cumsum(inside, axis=-1, dtype=jnp.int32)
    union = size + jnp.cumsum(kept & ~inside, axis=-1, dtype=jnp.int32)
    right, union = right.astype(errors.dtype), union.astype(errors.dtype)
    grown = right / (jnp.maximum(union - 1, 1) * jnp.maximum(union, 1))
    grown = jnp.where((size == 0) & (union == 1), 1, grown)
    step = jnp.where(inside, 1 / jnp.maximum(union, 1), grown)
    step = jnp.where(kept, step, 0)
    return jnp.sum(positive_part(errors) * step, axis=-1)
