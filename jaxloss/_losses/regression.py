"""Regression: losses of the residual."""

import math

import jax.numpy as jnp

from jaxloss._core import inputs, norms, residual
from jaxloss._core.elementwise import residuals
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check, is_off


@public
def squared_error(
    predictions: Input,
    targets: Input | None = None,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Squared error.

    .. math::
        \ell = e^2, \qquad e = \hat{y} - y

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`; zeros if left out.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the squared unit of the predictions, float32 (float64 for float64
      inputs): the shape of `predictions`, or a scalar when reduced.

    Numerics:
      The residual is rounded once, however large the values that it is the difference
      of; half precision is widened before the subtraction.

    Gradient:
      :math:`\partial \ell / \partial \hat{y} = 2 e`.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.squared_error(predictions, targets))
      [0.25 2.25]

    References:
      Gauss, *Theoria combinationis observationum*, 1823.

    Elsewhere: `optax.squared_error`, `torch.nn.functional.mse_loss`,
    `keras.losses.MeanSquaredError`.
    """
    check = Check("squared_error")
    check.reduction(reduction)
    error, keep = _residual(check, predictions, targets, where)
    loss = jnp.square(error)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def l2_loss(
    predictions: Input,
    targets: Input | None = None,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Half the squared error, whose gradient is the residual.

    .. math::
        \ell = \tfrac12 e^2, \qquad e = \hat{y} - y

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`; zeros if left out.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the squared unit of the predictions, float32 (float64 for float64
      inputs): the shape of `predictions`, or a scalar when reduced.

    Numerics:
      As for `squared_error`; finite wherever half the square is representable.

    Gradient:
      :math:`\partial \ell / \partial \hat{y} = e`, exactly.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.l2_loss(predictions, targets))
      [0.125 1.125]

    References:
      Bishop, *Pattern Recognition and Machine Learning*, 1.1.

    Elsewhere: `optax.l2_loss`; `torch.nn.functional.mse_loss` and
    `keras.losses.MeanSquaredError` are twice its mean.
    """
    check = Check("l2_loss")
    check.reduction(reduction)
    x, y, keep = _elements(check, predictions, targets, where)
    if x.dtype != predictions.dtype:
        # Of what is widened XLA on CPU stores each array: better their difference.
        x, y = x - y, jnp.zeros_like(x)
    loss = residual.half_square(x, y)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def absolute_error(
    predictions: Input,
    targets: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Absolute error.

    .. math::
        \ell = |e|, \qquad e = \hat{y} - y

    Proper for the median: twice `quantile_loss` at 0.5.

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the unit of the predictions, float32 (float64 for float64 inputs):
      the shape of `predictions`, or a scalar when reduced.

    Numerics:
      The residual is rounded once.

    Gradient:
      :math:`\partial \ell / \partial \hat{y} = \operatorname{sign}(e)`, 0 at a
      perfect fit.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.absolute_error(predictions, targets))
      [0.5 1.5]

    References:
      Laplace, *Théorie analytique des probabilités*, second supplement, 1818.

    Elsewhere: `torch.nn.functional.l1_loss`, `keras.losses.MeanAbsoluteError`.
    """
    x = residuals("absolute_error", predictions, targets, where, reduction)
    return x.reduced(residual.magnitude(x.residual), weights)


@public
def root_mean_squared_error(
    predictions: Input,
    targets: Input,
    *,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Root of the mean squared error of each row.

    .. math::
        \ell = \sqrt{\tfrac1n \sum_j e_j^2}, \qquad e = \hat{y} - y

    Args:
      predictions: floating, shape `[..., entries]` (the entries along `axis`).
      targets: real, the shape of `predictions`.
      axis: the axis of the entries; several, or None for all. Static.
      where: mask of the losses' shape (rows kept) or of the shape of `predictions`
        (entries kept, which are counted). Axes may be 1.
      weights: weight of each row, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the rows kept): the mean
        of roots, where `axis=None` has the root of the mean.

    Returns:
      The losses, in the unit of the predictions, float32 (float64 for float64 inputs):
      the shape of `predictions` without `axis`, or a scalar when reduced.

    Numerics:
      Squares neither overflow nor vanish. A row without entries gives 0, and is not
      counted.

    Gradient:
      :math:`\partial \ell / \partial \hat{y}_j = e_j / (n \ell)`, and 0 at a perfect
      fit, where a plain root has none.

    Raises:
      TypeError: `predictions` not floating, `targets` not real, a traced axis.
      ValueError: shapes that do not fit, an unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.root_mean_squared_error(predictions, targets).round(4))
      1.118

    References:
      Hyndman and Koehler, *Another look at measures of forecast accuracy*, Int. J.
      Forecast. 22, 2006.

    Elsewhere: `sklearn.metrics.root_mean_squared_error` (targets first),
    `keras.metrics.RootMeanSquaredError`.
    """
    check = Check("root_mean_squared_error")
    check.reduction(reduction)
    x = inputs.rows(check, axis, where, predictions=predictions, targets=targets)
    length = norms.norm(x.predictions - x.require_targets(), x.axis)
    count, keep = jnp.asarray(float(x.classes), length.dtype), x.keep
    if x.entries is not None:
        count = jnp.sum(x.entries.astype(length.dtype), axis=x.axis, keepdims=True)
        keep = inputs.both(keep, jnp.squeeze(count > 0, x.axis))
    loss = jnp.squeeze(length / jnp.sqrt(jnp.where(count == 0, 1, count)), x.axis)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def huber_loss(
    predictions: Input,
    targets: Input | None = None,
    *,
    delta: Number = 1.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Huber loss: half the squared error near zero, linear beyond `delta`.

    .. math::
        \ell = \begin{cases}
            \tfrac12 e^2 & |e| < \delta \\
            \delta\,(|e| - \tfrac12 \delta) & |e| \ge \delta
        \end{cases}
        \qquad e = \hat{y} - y

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`; zeros if left out.
      delta: residual at which the loss becomes linear, at least 0: a number, or an
        array that fits the losses. Infinity gives `l2_loss`.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the squared unit of the predictions, float32 (float64 for float64
      inputs): the shape of `predictions`, or a scalar when reduced.

    Numerics:
      The gradient is the clipped residual itself, down to the smallest float, whatever
      `delta` is.

    Gradient:
      :math:`\partial \ell / \partial \hat{y} = \operatorname{clip}(e, -\delta, \delta)`
      and :math:`\partial \ell / \partial \delta = \max(|e| - \delta, 0)`. The second
      derivative is 1 where :math:`|e| < \delta`, else 0.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, a negative `delta` (NaN, if it is an array), an
        unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.huber_loss(predictions, targets))
      [0.125 1.   ]

    References:
      Huber, *Robust estimation of a location parameter*, Ann. Math. Statist. 35, 1964.

    Elsewhere: `optax.huber_loss`, `torch.nn.functional.huber_loss`,
    `keras.losses.Huber`; `torch.nn.functional.smooth_l1_loss` is it divided by `beta`.
    """
    check = Check("huber_loss")
    check.reduction(reduction)
    error, keep = _residual(check, predictions, targets, where)
    delta_ = check.parameter("delta", delta, error, low=0)
    if keep is not None and delta_.ndim:
        delta_ = jnp.where(keep, delta_, 1)
    if is_off(delta, math.inf):
        loss = residual.half_square(error, jnp.zeros_like(error))
    else:
        loss = residual.huber(error, delta_)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def log_cosh(
    predictions: Input,
    targets: Input | None = None,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Logarithm of the hyperbolic cosine of the residual: a smooth Huber loss.

    .. math::
        \ell = \log \cosh e, \qquad e = \hat{y} - y

    It is :math:`\tfrac12 e^2` near zero and :math:`|e| - \log 2` far from it.

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`; zeros if left out.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, float32 (float64 for float64 inputs): the shape of `predictions`, or a
      scalar when reduced.

    Numerics:
      Accurate in relative terms for residuals of every size, and so are the gradient
      and the curvature.

    Gradient:
      :math:`\partial \ell / \partial \hat{y} = \tanh e`; the second derivative is
      :math:`1 / \cosh^2 e`.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.log_cosh(predictions, targets).round(4))
      [0.1201 0.8554]

    References:
      Chen et al., *Log Hyperbolic Cosine Loss Improves Variational Auto-Encoder*, 2019,
      https://openreview.net/pdf?id=rkglvsC9Ym.

    Elsewhere: `optax.log_cosh`, `keras.losses.LogCosh`.
    """
    check = Check("log_cosh")
    check.reduction(reduction)
    error, keep = _residual(check, predictions, targets, where)
    loss = residual.log_cosh(error)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


# ------------------------------------------------------------------ functions of e


def _elements(
    check: Check, predictions: Input, targets: Input | None, where: Input | None
) -> inputs.Elements:
    if targets is None:
        targets = jnp.zeros_like(check.floating("predictions", predictions))
    return inputs.elements(check, where, predictions=predictions, targets=targets)


def _residual(
    check: Check, predictions: Input, targets: Input | None, where: Input | None
) -> tuple[Array, Array | None]:
    """Predictions minus targets, 0 where not kept; and the entries kept."""
    x = _elements(check, predictions, targets, where)
    return x.predictions - x.targets, x.keep
