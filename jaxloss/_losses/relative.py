"""Regression on the scale of the targets: ratios, percentages, logarithms."""

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core.elementwise import residuals
from jaxloss._core.numerics import step
from jaxloss._core.public import public
from jaxloss._core.residual import magnitude
from jaxloss._core.types import Array, Input, Number, Reduction


@public
def squared_log_error(
    predictions: Input,
    targets: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Squared error of the logarithms of one plus the numbers.

    .. math::
        \ell = d^2, \qquad d = \log(1 + \hat{y}) - \log(1 + y)

    For targets that are counts or sizes: what matters is their ratio.

    Args:
      predictions: floating, at least -1, any shape.
      targets: real, above -1, the shape of `predictions`.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, float32 (float64 for float64 inputs): the shape of `predictions`, or a
      scalar when reduced.

    Numerics:
      The difference of the logarithms is taken as the logarithm of the ratio, and is
      accurate in relative terms however near the two are. Below -1: NaN; a prediction
      of -1: inf.

    Gradient:
      :math:`\partial \ell / \partial \hat{y} = 2 d / (1 + \hat{y})`;
      :math:`\partial \ell / \partial y = -2 d / (1 + y)`.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.squared_log_error(predictions, targets).round(4))
      [0.0828 0.1272]

    References:
      Hyndman and Koehler, *Another look at measures of forecast accuracy*, Int. J.
      Forecast. 22, 2006.

    Elsewhere: `keras.losses.MeanSquaredLogarithmicError` (which raises what is below
    1e-7 to it), `sklearn.metrics.mean_squared_log_error` (targets first).
    """
    x = residuals("squared_log_error", predictions, targets, where, reduction)
    return x.reduced(jnp.square(_log1p_ratio(*x.arrays)), weights)


@public
def absolute_percentage_error(
    predictions: Input,
    targets: Input,
    *,
    epsilon: Number = 0.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Absolute error in percent of the target.

    .. math::
        \ell = 100\, \frac{|\hat{y} - y|}{\max(|y|, \varepsilon)}

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`.
      epsilon: the smallest size of a target that errors are divided by, at least 0: a
        number, or an array that fits the losses. With 0, a target of 0 costs inf,
        unless it is met exactly.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses in percent, float32 (float64 for float64 inputs): the shape of
      `predictions`, or a scalar when reduced.

    Numerics:
      The residual is rounded once. 0/0 is 0, with derivative 0.

    Gradient:
      :math:`\partial \ell / \partial \hat{y} =
      100 \operatorname{sign}(\hat{y} - y) / \max(|y|, \varepsilon)`, 0 at a perfect
      fit.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an option out of its range (NaN, if it is an
        array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.absolute_percentage_error(predictions, targets))
      [100.   37.5]

    References:
      Hyndman and Koehler, *Another look at measures of forecast accuracy*, Int. J.
      Forecast. 22, 2006.

    Elsewhere: `keras.losses.MeanAbsolutePercentageError` (`epsilon` 1e-7),
    `sklearn.metrics.mean_absolute_percentage_error` (targets first, a fraction, 2e-16).
    """
    x = residuals("absolute_percentage_error", predictions, targets, where, reduction)
    epsilon = x.parameter("epsilon", epsilon, low=0, open_high=True)
    size = magnitude(x.arrays[1])
    size = jnp.where(size >= epsilon, size, epsilon)
    error = magnitude(x.residual)
    nothing = (error == 0) & (size == 0)
    ratio = jnp.where(nothing, 0, error / jnp.where(nothing, 1, size))
    return x.reduced(100 * ratio, weights)


@public
def symmetric_absolute_percentage_error(
    predictions: Input,
    targets: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Absolute error in percent of the mean size of prediction and target.

    .. math::
        \ell = 200\, \frac{|\hat{y} - y|}{|\hat{y}| + |y|}

    It is at most 200, which it is wherever the signs differ: there it is flat, so it
    suits numbers of one sign.

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses in percent, float32 (float64 for float64 inputs): the shape of
      `predictions`, or a scalar when reduced.

    Numerics:
      The residual is rounded once. 0/0 is 0, with derivative 0; different signs give
      exactly 200 and gradient 0.

    Gradient:
      For numbers of one sign :math:`\partial \ell / \partial \hat{y} =
      400 \operatorname{sign}(\hat{y} - y)\, |y| / (|\hat{y}| + |y|)^2`, and the
      negative of that with :math:`|\hat{y}|` for :math:`y`; else 0.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(
      ...     jaxloss.symmetric_absolute_percentage_error(predictions, targets).round(4)
      ... )
      [66.6667 46.1538]

    References:
      Makridakis, *Accuracy measures: theoretical and practical concerns*, Int. J.
      Forecast. 9, 1993.

    Elsewhere: `gluonts.evaluation.metrics.smape` (a fraction of 2, mean).
    """
    x = residuals(
        "symmetric_absolute_percentage_error", predictions, targets, where, reduction
    )
    return x.reduced(200 * _relative_difference(*x.arrays), weights)


@public
def symlog_squared_error(
    predictions: Input,
    targets: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Squared error of predictions of the symmetric logarithm of the targets.

    .. math::
        \ell = \bigl(\hat{y} - \operatorname{symlog}(y)\bigr)^2, \qquad
        \operatorname{symlog}(y) = \operatorname{sign}(y) \log(1 + |y|)

    For targets of unknown and varying size, of either sign. The model predicts in the
    logarithmic domain; :math:`\operatorname{sign}(\hat{y}) (e^{|\hat{y}|} - 1)` leads
    back.

    Args:
      predictions: of the symmetric logarithm, floating, any shape.
      targets: as they are, real, the shape of `predictions`.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, float32 (float64 for float64 inputs): the shape of `predictions`, or a
      scalar when reduced.

    Numerics:
      The logarithm is accurate in relative terms for every target, also near 0.

    Gradient:
      :math:`\partial \ell / \partial \hat{y} = 2 (\hat{y} - \operatorname{symlog}(y))`;
      :math:`\partial \ell / \partial y` is its negative over :math:`1 + |y|`.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, -7.0]), jnp.array([2.0, -1000.0])
      >>> print(jaxloss.symlog_squared_error(predictions, targets).round(4))
      [0.0097 0.0083]

    References:
      Hafner et al., *Mastering Diverse Domains through World Models*, arXiv:2301.04104.

    Elsewhere: in DreamerV3.
    """
    x = residuals("symlog_squared_error", predictions, targets, where, reduction)
    prediction, target = x.arrays
    return x.reduced(jnp.square(prediction - _symlog(target)), weights)


# ------------------------------------------------------------------ functions of both


@jax.custom_jvp
def _log1p_ratio(x: Array, y: Array) -> Array:
    """log(1 + x) - log(1 + y)."""
    # As log1p of the difference over the smaller of the two: a positive number.
    smaller = 1 + jnp.where(x < y, x, y)
    ratio = jnp.log1p(jnp.abs(x - y) / smaller)
    valid = (x >= -1) & (y >= -1)
    return jnp.where(valid, jnp.where(x < y, -ratio, ratio), jnp.nan)


@_log1p_ratio.defjvp
def _(primals, tangents):
    (x, y), (dx, dy) = primals, tangents
    return _log1p_ratio(x, y), dx / (1 + x) - dy / (1 + y)


@jax.custom_jvp
def _symlog(y: Array) -> Array:
    return jnp.sign(y) * jnp.log1p(jnp.abs(y))


@_symlog.defjvp
def _(primals, tangents):
    # Through the sign and the size, the slope at 0 would be 0.
    (y,), (dy,) = primals, tangents
    return _symlog(y), dy / (1 + jnp.abs(y))


@jax.custom_jvp
def _relative_difference(x: Array, y: Array) -> Array:
    """|x - y| / (|x| + |y|), 0 at 0/0."""
    size = jnp.abs(x) + jnp.abs(y)
    return jnp.abs(x - y) / jnp.where(size == 0, 1, size)


def _relative_difference_jvp(primals, tangents):
    # For numbers of one sign, 2 sign(x - y) (|y| dx - |x| dy) / (|x| + |y|)²; constant
    # for numbers of different signs, where a quotient rule would leave its roundings.
    (x, y), (dx, dy) = primals, tangents
    ratio = _relative_difference(x, y)
    size = magnitude(x) + magnitude(y)
    size = jnp.where(size == 0, 1, size)
    slope = 2 * jnp.sign(x - y) * step(jnp.sign(x) * jnp.sign(y)) / size
    dratio = jnp.zeros_like(ratio)
    if not isinstance(dx, SymbolicZero):
        dratio += slope * (magnitude(y) / size) * dx
    if not isinstance(dy, SymbolicZero):
        dratio -= slope * (magnitude(x) / size) * dy
    return ratio, dratio


_relative_difference.defjvp(_relative_difference_jvp, symbolic_zeros=True)
