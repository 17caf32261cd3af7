"""Robust regression for gross outliers, whose pull fades with their distance."""

from jaxloss._core import robust
from jaxloss._core.elementwise import residuals
from jaxloss._core.public import public
from jaxloss._core.types import Array, Input, Number, Reduction


@public
def cauchy_loss(
    predictions: Input,
    targets: Input,
    *,
    scale: Number = 2.385,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Cauchy (Lorentzian) loss: it grows as a logarithm.

    .. math::
        \ell = \tfrac12 c^2 \log\bigl(1 + (e/c)^2\bigr), \qquad e = \hat{y} - y

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`.
      scale: :math:`c`, above 0: a number, or an array that fits the losses. The default
        keeps 95% efficiency where the residuals are standard normal.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the squared unit of the predictions, float32 (float64 for float64
      inputs): the shape of `predictions`, or a scalar when reduced.

    Numerics:
      Accurate in relative terms for residuals of every size.

    Gradient:
      With :math:`q = (e/c)^2`: :math:`\partial \ell / \partial \hat{y} = e / (1 + q)`;
      the second derivative is :math:`(1 - q) / (1 + q)^2`;
      :math:`\partial \ell / \partial c = c\,(\log(1 + q) - q / (1 + q))`.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an option out of its range (NaN, if it is an
        array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.cauchy_loss(predictions, targets).round(4))
      [0.1223 0.9479]

    References:
      Holland and Welsch, *Robust regression using iteratively reweighted least
      squares*, Comm. Statist. A6, 1977; Black and Anandan, CVIU 63, 1996.

    Elsewhere: `scipy.optimize.least_squares(loss="cauchy")`, Ceres `CauchyLoss`;
    `robust_loss` with `alpha=0` is it with another scale.
    """
    x = residuals("cauchy_loss", predictions, targets, where, reduction)
    scale = x.parameter("scale", scale, low=0, open_low=True, open_high=True)
    return x.reduced(robust.scaled(robust.CAUCHY, x.residual, scale), weights)


@public
def welsch_loss(
    predictions: Input,
    targets: Input,
    *,
    scale: Number = 2.985,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Welsch (Leclerc) loss: bounded, an inverted bell.

    .. math::
        \ell = \tfrac12 c^2 \bigl(1 - e^{-(e/c)^2}\bigr), \qquad e = \hat{y} - y

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`.
      scale: :math:`c`, above 0: a number, or an array that fits the losses. The default
        keeps 95% efficiency where the residuals are standard normal.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the squared unit of the predictions, float32 (float64 for float64
      inputs): the shape of `predictions`, or a scalar when reduced.

    Numerics:
      Accurate in relative terms for residuals of every size. The gradient of a gross
      outlier is below every float: start near the solution.

    Gradient:
      With :math:`q = (e/c)^2`: :math:`\partial \ell / \partial \hat{y} = e\, e^{-q}`
      (the residual times the exponential); the second derivative is
      :math:`(1 - 2 q) e^{-q}`;
      :math:`\partial \ell / \partial c = c\,(1 - (1 + q) e^{-q})`.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an option out of its range (NaN, if it is an
        array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.welsch_loss(predictions, targets).round(4))
      [0.1233     0.9942    ]

    References:
      Dennis and Welsch, *Techniques for nonlinear least squares and robust regression*,
      Comm. Statist. B7, 1978.

    Elsewhere: `robust_loss` with `alpha=-jnp.inf` is it with another scale.
    """
    x = residuals("welsch_loss", predictions, targets, where, reduction)
    scale = x.parameter("scale", scale, low=0, open_low=True, open_high=True)
    return x.reduced(robust.scaled(robust.WELSCH, x.residual, scale), weights)


@public
def geman_mcclure_loss(
    predictions: Input,
    targets: Input,
    *,
    scale: Number = 1.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Geman-McClure loss: bounded, with a tail that still pulls a little.

    .. math::
        \ell = \tfrac12 \frac{e^2}{1 + (e/c)^2}, \qquad e = \hat{y} - y

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`.
      scale: :math:`c`, above 0: a number, or an array that fits the losses. The loss
        stays below :math:`c^2 / 2`.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the squared unit of the predictions, float32 (float64 for float64
      inputs): the shape of `predictions`, or a scalar when reduced.

    Numerics:
      Accurate in relative terms for residuals of every size.

    Gradient:
      With :math:`q = (e/c)^2`:
      :math:`\partial \ell / \partial \hat{y} = e / (1 + q)^2`; the second derivative is
      :math:`(1 - 3 q) / (1 + q)^3`;
      :math:`\partial \ell / \partial c = c\, q^2 / (1 + q)^2`.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an option out of its range (NaN, if it is an
        array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.geman_mcclure_loss(predictions, targets).round(4))
      [0.1        0.3462    ]

    References:
      Geman and McClure, *Statistical methods for tomographic image reconstruction*,
      Bull. Int. Stat. Inst. 52, 1987.

    Elsewhere: Ceres has none; `robust_loss` with `alpha=-2` is it with another scale.
    """
    x = residuals("geman_mcclure_loss", predictions, targets, where, reduction)
    scale = x.parameter("scale", scale, low=0, open_low=True, open_high=True)
    return x.reduced(robust.scaled(robust.GEMAN_MCCLURE, x.residual, scale), weights)


@public
def tukey_biweight_loss(
    predictions: Input,
    targets: Input,
    *,
    scale: Number = 4.685,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Tukey's biweight (bisquare) loss: constant beyond its scale.

    .. math::
        \ell = \frac{c^2}{6} \Bigl(1 - \bigl(1 - \min((e/c)^2, 1)\bigr)^3\Bigr),
        \qquad e = \hat{y} - y

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`.
      scale: :math:`c`, above 0: a number, or an array that fits the losses. The default
        keeps 95% efficiency where the residuals are standard normal.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the squared unit of the predictions, float32 (float64 for float64
      inputs): the shape of `predictions`, or a scalar when reduced.

    Numerics:
      Accurate in relative terms for residuals of every size. Beyond the scale the
      gradient is exactly 0: that is the loss, so start near the solution.

    Gradient:
      With :math:`q = \min((e/c)^2, 1)`:
      :math:`\partial \ell / \partial \hat{y} = e\, (1 - q)^2`; the second derivative is
      :math:`(1 - q)(1 - 5 q)`;
      :math:`\partial \ell / \partial c = c\, q^2 (1 - \tfrac23 q)`.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an option out of its range (NaN, if it is an
        array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.tukey_biweight_loss(predictions, targets).round(4))
      [0.1236 1.0136]

    References:
      Beaton and Tukey, *The fitting of power series, meaning polynomials, illustrated
      on band-spectroscopic data*, Technometrics 16, 1974.

    Elsewhere: Ceres `TukeyLoss`, `statsmodels.robust.norms.TukeyBiweight`.
    """
    x = residuals("tukey_biweight_loss", predictions, targets, where, reduction)
    scale = x.parameter("scale", scale, low=0, open_low=True, open_high=True)
    return x.reduced(robust.scaled(robust.TUKEY, x.residual, scale), weights)
