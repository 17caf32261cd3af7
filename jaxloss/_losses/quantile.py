"""Asymmetric regression: quantiles and expectiles."""

import jax.numpy as jnp

from jaxloss._core.elementwise import residuals
from jaxloss._core.explicit import automatic
from jaxloss._core.numerics import positive_part, step
from jaxloss._core.residual import smooth_l1
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import is_off


@automatic
def quantile_loss(
    predictions: Input,
    targets: Input,
    *,
    quantile: Number = 0.5,
    delta: Number = 0.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Quantile (pinball) loss, whose minimiser is a quantile of the targets.

    .. math::
        \ell = \max(\tau u, (\tau - 1) u), \qquad u = y - \hat{y}

    Proper for the quantile :math:`\tau`: at `quantile=0.5` half the absolute error.
    With :math:`\delta > 0` it is the quantile Huber loss of distributional
    reinforcement learning, quadratic up to there,

    .. math::
        \ell = |\tau - [u < 0]| \begin{cases}
            u^2 / 2\delta & |u| \le \delta \\ |u| - \delta / 2 & |u| > \delta
        \end{cases}

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`.
      quantile: :math:`\tau`, in (0, 1): a number, or an array that fits the losses,
        such as one level for each entry of the last axis, shape `[1, levels]` beside
        predictions `[batch, levels]`.
      delta: :math:`\delta`, at least 0: a number, or an array that fits the losses.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the unit of the predictions, float32 (float64 for float64 inputs):
      the shape of `predictions`, or a scalar when reduced.

    Numerics:
      The residual is rounded once.

    Gradient:
      :math:`\partial \ell / \partial \hat{y} = [u < 0] - \tau`, and at a perfect fit
      the mean of both sides, :math:`\tfrac12 - \tau`;
      :math:`\partial \ell / \partial \tau = u`. With :math:`\delta` it is
      :math:`-|\tau - [u < 0]| \min(\max(u / \delta, -1), 1)`.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an option out of its range (NaN, if it is an
        array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.quantile_loss(predictions, targets, quantile=0.9).round(4))
      [0.05 1.35]
      >>> levels = jnp.array([[0.1, 0.5, 0.9]])
      >>> quantiles = jnp.array([[-1.0, 0.0, 1.0]])
      >>> targets = jnp.full((1, 3), 0.5)
      >>> print(jaxloss.quantile_loss(quantiles, targets, quantile=levels).round(4))
      [[0.15       0.25       0.05      ]]

    References:
      Koenker and Bassett, *Regression quantiles*, Econometrica 46, 1978; Dabney et al.,
      *Distributional reinforcement learning with quantile regression*,
      arXiv:1710.10044.

    Elsewhere: `sklearn.metrics.mean_pinball_loss` (targets first, mean);
    `rlax.quantile_regression_loss`, of all pairs of quantiles and samples.
    """
    x = residuals("quantile_loss", predictions, targets, where, reduction)
    level = x.parameter(
        "quantile", quantile, low=0, high=1, open_low=True, open_high=True, masked=0.5
    )
    e = x.residual
    if is_off(delta, 0):
        loss = (1 - level) * positive_part(e) + level * positive_part(-e)
    else:
        side = (1 - level) * step(e) + level * step(-e)
        loss = side * smooth_l1(e, x.parameter("delta", delta, low=0))
    return x.reduced(loss, weights)


@automatic
def expectile_loss(
    predictions: Input,
    targets: Input,
    *,
    expectile: Number = 0.5,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Expectile loss: the squared error, with its two sides weighed differently.

    .. math::
        \ell = |\tau - [u < 0]|\, u^2, \qquad u = y - \hat{y}

    Proper for the expectile :math:`\tau`: at `expectile=0.5` half the squared error.

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`.
      expectile: :math:`\tau`, in (0, 1): a number, or an array that fits the losses.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the squared unit of the predictions, float32 (float64 for float64
      inputs): the shape of `predictions`, or a scalar when reduced.

    Numerics:
      The residual is rounded once.

    Gradient:
      :math:`\partial \ell / \partial \hat{y} = -2\,|\tau - [u < 0]|\, u`;
      :math:`\partial \ell / \partial \tau = \operatorname{sign}(u)\, u^2`.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an option out of its range (NaN, if it is an
        array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.expectile_loss(predictions, targets, expectile=0.9).round(4))
      [0.025 2.025]

    References:
      Newey and Powell, *Asymmetric least squares estimation and testing*, Econometrica
      55, 1987; Kostrikov et al. (implicit Q-learning), arXiv:2110.06169.

    Elsewhere: `rlax.expectile_loss`.
    """
    x = residuals("expectile_loss", predictions, targets, where, reduction)
    level = x.parameter(
        "expectile",
        expectile,
        low=0,
        high=1,
        open_low=True,
        open_high=True,
        masked=0.5,
    )
    e = x.residual
    loss = (1 - level) * jnp.square(positive_part(e)) + level * jnp.square(
        positive_part(-e)
    )
    return x.reduced(loss, weights)
