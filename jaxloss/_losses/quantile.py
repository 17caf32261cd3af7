"""Asymmetric regression: quantiles and expectiles."""

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core.elementwise import residuals
from jaxloss._core.numerics import (
    logistic_slope,
    positive_part,
    sigmoid,
    softplus,
    step,
)
from jaxloss._core.public import public
from jaxloss._core.residual import clipped_ratio, magnitude, smooth_l1
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import is_off


@public
def quantile_loss(
    predictions: Input,
    targets: Input,
    *,
    quantile: Number = 0.5,
    delta: Number | None = None,
    smoothing: Number | None = None,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Quantile (pinball) loss, whose minimiser is a quantile of the targets.

    .. math::
        \ell = \max(\tau u, (\tau - 1) u), \qquad u = y - \hat{y}

    Proper for the quantile :math:`\tau`: at `quantile=0.5` half the absolute error. The
    kink can be rounded off in two ways, from below and from above. With :math:`\delta >
    0` it is the quantile Huber loss of distributional reinforcement learning, quadratic
    up to there and at most the loss above,

    .. math::
        \ell = |\tau - [u < 0]| \begin{cases}
            u^2 / 2\delta & |u| \le \delta \\ |u| - \delta / 2 & |u| > \delta
        \end{cases}

    and with a smoothing :math:`\beta > 0` the smooth pinball loss, infinitely
    differentiable and at least the loss above, by :math:`\beta \log 2` at :math:`u = 0`
    and by less elsewhere,

    .. math::
        \ell = \tau u + \beta \log \bigl( 1 + e^{-u / \beta} \bigr)

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`.
      quantile: :math:`\tau`, in (0, 1): a number, or an array that fits the losses,
        such as one level for each entry of the last axis, shape `[1, levels]` beside
        predictions `[batch, levels]`.
      delta: :math:`\delta`, at least 0: a number, or an array that fits the losses.
        None or 0 for the kink.
      smoothing: :math:`\beta`, likewise. Not together with `delta`.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the unit of the predictions, float32 (float64 for float64 inputs):
      the shape of `predictions`, or a scalar when reduced.

    Numerics:
      The residual is rounded once. The smooth loss is the sharp one and :math:`\beta
      \log(1 + e^{-|u| / \beta})`, both at least 0: accurate in relative terms for any
      :math:`\beta`, and the sharp loss itself where that is an array of zeros.

    Gradient:
      :math:`\partial \ell / \partial \hat{y} = [u < 0] - \tau`, and at a perfect fit
      the mean of both sides, :math:`\tfrac12 - \tau`;
      :math:`\partial \ell / \partial \tau = u`. With :math:`\delta` it is
      :math:`-|\tau - [u < 0]| \min(\max(u / \delta, -1), 1)`, with :math:`\beta` it is
      :math:`\sigma(-u / \beta) - \tau`, and :math:`\partial \ell / \partial \beta` the
      entropy of a coin with probability :math:`\sigma(u / \beta)`.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an option out of its range (NaN, if it is an
        array), `delta` and `smoothing` together.

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
      >>> rounded = jaxloss.quantile_loss(targets, targets, smoothing=1.0)
      >>> print(rounded.round(4))  # log 2 at a perfect fit
      [[0.6931 0.6931 0.6931]]

    References:
      Koenker and Bassett, *Regression quantiles*, Econometrica 46, 1978; Dabney et al.,
      *Distributional reinforcement learning with quantile regression*,
      arXiv:1710.10044; Zheng, *Gradient descent algorithms for quantile regression with
      smooth approximation*, Int. J. Mach. Learn. Cyber. 2, 2011.

    Elsewhere: `sklearn.metrics.mean_pinball_loss` (targets first, mean);
    `rlax.quantile_regression_loss`, of all pairs of quantiles and samples.
    """
    x = residuals("quantile_loss", predictions, targets, where, reduction)
    level = x.parameter(
        "quantile", quantile, low=0, high=1, open_low=True, open_high=True, masked=0.5
    )
    e = x.residual
    if delta is not None and smoothing is not None:
        raise x.check.value_error(
            "smoothing",
            "left out where `delta` is given",
            "given too",
            "Both round off the same kink: choose one of them.",
        )
    if smoothing is not None and not is_off(smoothing, 0):
        loss = _smooth_pinball(e, level, x.parameter("smoothing", smoothing, low=0))
    elif delta is not None and not is_off(delta, 0):
        side = (1 - level) * step(e) + level * step(-e)
        loss = side * smooth_l1(e, x.parameter("delta", delta, low=0))
    else:
        loss = _pinball(e, level)
    return x.reduced(loss, weights)


def _pinball(e: Array, level: Array) -> Array:
    """max(-τ e, (1 - τ) e)."""
    return (1 - level) * positive_part(e) + level * positive_part(-e)


@jax.custom_jvp
def _smooth_pinball(e: Array, level: Array, width: Array) -> Array:
    """-τ e + β log(1 + e^{e / β})."""
    size = jnp.abs(_in_units(e, width))
    return _pinball(e, level) + width * jnp.log1p(jnp.exp(-size))


def _smooth_pinball_jvp(primals, tangents):
    # With x = e / β: σ(x) - τ = (1 - τ) σ(x) - τ σ(-x) by e, -e by τ, and by β
    # log(1 + e^x) - x σ(x) = log(1 + e^-|x|) + |x| σ(-|x|).
    (e, level, width), (de, dlevel, dwidth) = primals, tangents
    loss, x = _smooth_pinball(e, level, width), _in_units(e, width)
    dloss = jnp.zeros_like(loss)
    if not isinstance(de, SymbolicZero):
        dloss += logistic_slope(x, level, 1 - level) * de
    if not isinstance(dlevel, SymbolicZero):
        dloss -= e * dlevel
    if not isinstance(dwidth, SymbolicZero):
        size = magnitude(x)
        dloss += (softplus(-size) + size * sigmoid(-size)) * dwidth
    return loss, dloss


_smooth_pinball.defjvp(_smooth_pinball_jvp, symbolic_zeros=True)


# Beyond so many times the smoothing the loss is the sharp one, to the last place of
# float64 and further: e^-1024 is 0. A power of two scales without rounding.
_SHARP = 1024


def _in_units(e: Array, width: Array) -> Array:
    """e / β, at most 1024 in magnitude, also where β is 0."""
    return _SHARP * clipped_ratio(e, _SHARP * width)


@public
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
