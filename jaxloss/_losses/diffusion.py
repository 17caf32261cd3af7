"""Diffusion and flow matching: weights of noise levels, and the flow's loss."""

from typing import Literal, get_args

import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.exact import add3
from jaxloss._core.numerics import positive_part, sigmoid
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check, computing

Prediction = Literal["epsilon", "x0", "v"]
"""What the network predicts: the noise, the data, or the velocity."""


@public
def min_snr_weights(
    log_snr: Input,
    *,
    gamma: Number = 5.0,
    prediction: Prediction = "epsilon",
) -> Array:
    r"""Min-SNR weights of the squared errors of a diffusion model.

    .. math::
        w = \begin{cases}
            \min(s, \gamma) / s & \text{epsilon} \\
            \min(s, \gamma) & \text{x0} \\
            \min(s, \gamma) / (s + 1) & \text{v}
        \end{cases}
        \qquad s = \alpha_t^2 / \sigma_t^2

    Args:
      log_snr: :math:`\log s`, floating, any shape: pass the logarithm, for :math:`s`
        itself leaves the range of floats at both ends of a schedule.
      gamma: :math:`\gamma`, above 0: a number, or an array that fits.
      prediction: what the error is of. Static.

    Returns:
      The weights, float32 (float64 for float64 inputs), the shape of `log_snr`: the
      `weights` of `squared_error`, say.

    Numerics:
      Accurate in relative terms for every level, and never infinite.

    Gradient:
      By :math:`\log s`, with :math:`p = \sigma(\log s)`: 0 below :math:`\log \gamma`
      and :math:`-w` above for `"epsilon"`; :math:`w` and 0 for `"x0"`;
      :math:`w (1 - p)` and :math:`-w p` for `"v"`.

    Raises:
      TypeError: `log_snr` not floating.
      ValueError: `gamma` not above 0, an unknown `prediction`.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> snr = jnp.array([0.1, 1.0, 50.0])
      >>> print(jaxloss.min_snr_weights(jnp.log(snr)).round(4))
      [1.  1.  0.1]

    References:
      Hang et al., *Efficient Diffusion Training via Min-SNR Weighting Strategy*,
      arXiv:2303.09556.

    Elsewhere: `snr_gamma` of the training scripts of diffusers.
    """
    check = Check("min_snr_weights")
    check.choice("prediction", prediction, get_args(Prediction))
    (x,) = computing(check.floating("log_snr", log_snr))
    bound = check.parameter("gamma", gamma, x, low=0, open_low=True)
    if prediction == "x0":
        return bound * jnp.exp(-positive_part(jnp.log(bound) - x))
    share = jnp.exp(-positive_part(x - jnp.log(bound)))
    return share if prediction == "epsilon" else sigmoid(x) * share


@public
def edm_weights(log_snr: Input, *, sigma_data: Number = 0.5) -> Array:
    r"""Weights of a denoiser's squared errors that make all noise levels equal.

    .. math::
        \lambda = \frac{\sigma^2 + \sigma_d^2}{\sigma^2 \sigma_d^2}
            = s + \frac{1}{\sigma_d^2}, \qquad s = 1 / \sigma^2

    Args:
      log_snr: :math:`\log s = -2 \log \sigma`, floating, any shape.
      sigma_data: :math:`\sigma_d`, the standard deviation of the data, above 0: a
        number, or an array that fits.

    Returns:
      The weights, float32 (float64 for float64 inputs), the shape of `log_snr`.

    Numerics:
      A sum of two positive terms: accurate in relative terms for every level.

    Gradient:
      :math:`\partial \lambda / \partial \log s = s`.

    Raises:
      TypeError: `log_snr` not floating.
      ValueError: `sigma_data` not above 0.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> sigma = jnp.array([0.1, 0.5, 10.0])
      >>> print(jaxloss.edm_weights(-2 * jnp.log(sigma)).round(2))
      [104.     8.     4.01]

    References:
      Karras et al., *Elucidating the Design Space of Diffusion-Based Generative
      Models*, arXiv:2206.00364, table 1.

    Elsewhere: `EDMLoss` of NVIDIA's `edm`.
    """
    check = Check("edm_weights")
    (x,) = computing(check.floating("log_snr", log_snr))
    scale = check.parameter("sigma_data", sigma_data, x, low=0, open_low=True)
    return jnp.exp(x) + 1 / jnp.square(scale)


@public
def flow_matching_loss(
    velocities: Input,
    data: Input,
    *,
    noise: Input,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Conditional flow matching: the velocity that leads from noise to data.

    .. math::
        \ell = \left\| v - (x_1 - x_0) \right\|^2

    where :math:`v` is predicted at :math:`x_t = (1 - t)\, x_0 + t\, x_1`, with noise
    :math:`x_0` and data :math:`x_1`.

    Args:
      velocities: :math:`v`, floating, any shape.
      data: :math:`x_1`, the same shape.
      noise: :math:`x_0`, the same shape.
      axis: the axes of one example: an integer, a tuple, or None for all.
      where: mask of the examples kept, the shape of `velocities` without `axis`, or of
        the entries kept, the shape of `velocities`. Axes may be 1.
      weights: weight of each example, such as of its time.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The losses, float32 (float64 for float64 inputs): the shape of `velocities`
      without `axis`, or a scalar when reduced. Divide by the number of entries for the
      mean square.

    Numerics:
      The residual is summed from its three terms to the last place: nothing is lost
      where the model is good.

    Gradient:
      :math:`\partial \ell / \partial v = 2 (v - x_1 + x_0)`.

    Raises:
      TypeError: `velocities` not floating, or the others not real.
      ValueError: shapes that differ, an axis out of range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> noise, data = jnp.array([[0.0, 1.0]]), jnp.array([[2.0, 0.5]])
      >>> velocities = jnp.array([[1.5, 0.0]])
      >>> print(jaxloss.flow_matching_loss(velocities, data, noise=noise))
      [0.5]

    References:
      Lipman et al., *Flow Matching for Generative Modeling*, arXiv:2210.02747; Liu et
      al. (rectified flow), arXiv:2209.03003.

    Elsewhere: a mean squared error to `data - noise`, or with the opposite sign where
    time runs from data to noise, as in diffusers.
    """
    check = Check("flow_matching_loss")
    check.reduction(reduction)
    x = inputs.rows(check, axis, where, 0.0, 0.0, velocities=velocities, data=data)
    y = inputs.rows(check, axis, where, 0.0, 0.0, velocities=velocities, noise=noise)
    error = add3(*computing(x.predictions, -x.require_targets(), y.require_targets()))
    loss = jnp.sum(jnp.square(error), axis=x.axis)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)
