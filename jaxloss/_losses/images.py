"""Losses of images as images: structural similarity."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss._core import inputs
from jaxloss._core.lists import spread
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def ssim_loss(
    predictions: Input,
    targets: Input,
    *,
    max_value: Number = 1.0,
    window: int = 11,
    sigma: Number = 1.5,
    k1: Number = 0.01,
    k2: Number = 0.03,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Structural dissimilarity of images: 1 minus the mean SSIM of their windows.

    .. math::
        \ell = 1 - \operatorname{mean} \left(
            \frac{2 \mu_x \mu_y + c_1}{\mu_x^2 + \mu_y^2 + c_1} \cdot
            \frac{2 \sigma_{xy} + c_2}{\sigma_x^2 + \sigma_y^2 + c_2} \right),
        \qquad c_i = (k_i L)^2

    with the means, variances and covariance under a Gaussian window, at every place
    where the window lies inside the image, for every channel.

    Args:
      predictions: images :math:`x`, floating, shape `[..., height, width, channels]`.
      targets: images :math:`y`, real, the shape of `predictions`.
      max_value: :math:`L` above 0, the range of the values: 1, or 255. A number or an
        array that fits the losses.
      window: the side of the window in pixels, odd. Static.
      sigma: the standard deviation of the window in pixels, above 0.
      k1: :math:`k_1`, above 0.
      k2: :math:`k_2`, above 0.
      where: mask of the losses' shape (images kept). Axes may be 1.
      weights: weight of each image, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the images kept).

    Returns:
      The losses, in [0, 2], float32 (float64 for float64 inputs): one for each image,
      the shape of `predictions` without its last three axes, or a scalar when reduced.

    Numerics:
      Variances are means of squares of differences, first along the rows of a window
      and then across them (the law of total variance), never differences of mean
      squares. What a window lacks of 1 is :math:`a + (1 - a)\, b` with :math:`a =
      (\mu_x - \mu_y)^2 / (\mu_x^2 + \mu_y^2 + c_1)` and :math:`b = \sigma_{x-y}^2 /
      (\sigma_x^2 + \sigma_y^2 + c_2)`: nearly equal images keep value and gradient.

    Gradient:
      By autodiff of these sums; 0 where the images are equal.

    Raises:
      TypeError: `predictions` not floating, `targets` not real, a traced static option.
      ValueError: shapes that differ, images smaller than the window, an option out of
        its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> x = jnp.linspace(0.0, 1.0, 16 * 16).reshape(1, 16, 16, 1)
      >>> print(jaxloss.ssim_loss(x, x), jaxloss.ssim_loss(x, 1 - x).round(4))
      [0.] [1.8262]

    References:
      Wang, Bovik, Sheikh, Simoncelli, *Image quality assessment: from error visibility
      to structural similarity*, IEEE Trans. Image Process. 13, 2004.

    Elsewhere: `dm_pix.ssim`, `tf.image.ssim`, `kornia.losses.ssim_loss` (half of it,
    with padded borders); not in optax, torch or keras.
    """
    check = Check("ssim_loss")
    check.reduction(reduction)
    check.static(window=window)
    x = check.floating("predictions", predictions)
    if isinstance(window, bool) or not (
        isinstance(window, int) and window > 0 and window % 2
    ):
        raise check.value_error(
            "window", "an odd number of pixels", repr(window), "Pass for instance 11."
        )
    if x.ndim < 3 or min(x.shape[-3:-1]) < window or not x.shape[-1]:
        raise check.value_error(
            "predictions",
            f"of shape [..., height, width, channels] with at least {window} rows and "
            "columns",
            f"of shape {x.shape}",
            "Add the axis of the channels, or choose a smaller `window`.",
        )
    lead = x.shape[:-3]
    keep, _ = check.where(where, loss=lead)
    pixels = None if keep is None else keep[..., None, None, None]
    (x, y), _ = inputs.aligned(
        check, pixels, {"predictions": predictions}, {"targets": targets}
    )
    like = jax.ShapeDtypeStruct(lead, x.dtype)
    range_, k1, k2 = (
        spread(check.parameter(name, value, like, low=0, open_low=True), 3)
        for name, value in (("max_value", max_value), ("k1", k1), ("k2", k2))
    )
    one = jax.ShapeDtypeStruct((), x.dtype)
    taps = _gaussian(window, check.parameter("sigma", sigma, one, low=0, open_low=True))
    # The difference first: its mean and variance are exact where the images agree.
    mean_x, var_x = _moments(x, taps)
    mean_y, var_y = _moments(y, taps)
    mean_d, var_d = _moments(x - y, taps)
    c1, c2 = jnp.square(k1 * range_), jnp.square(k2 * range_)
    light = jnp.square(mean_d) / (jnp.square(mean_x) + jnp.square(mean_y) + c1)
    structure = var_d / (var_x + var_y + c2)
    lack = light + (1 - light) * structure
    loss = jnp.mean(lack, axis=(-3, -2, -1))
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


def _gaussian(window: int, sigma: Array) -> list[Array]:
    """The weights of a row of the window."""
    place = np.arange(window) - window // 2
    taps = jnp.exp(-jnp.square(jnp.asarray(place, sigma.dtype) / sigma) / 2)
    return list(taps / jnp.sum(taps))


def _moments(x: Array, taps: list[Array]) -> tuple[Array, Array]:
    """Mean and variance of every window: of its rows, then of the rows' means."""
    # Relative to the image's mean, by which nothing is lost: a mean of numbers far
    # from 0 would be as coarse as they are, and that of the rows' differences with it.
    centre = jax.lax.stop_gradient(jnp.mean(x, axis=(-3, -2), keepdims=True))
    mean, within = _moments_along(x - centre, taps, x.ndim - 2)
    whole, between = _moments_along(mean, taps, x.ndim - 3)
    variance = _average(_shifts(within, taps, x.ndim - 3), taps) + between
    return centre + whole, variance


def _moments_along(x: Array, taps: list[Array], axis: int) -> tuple[Array, Array]:
    """Mean and variance of every stretch of an axis."""
    shifts = _shifts(x, taps, axis)
    mean = _average(shifts, taps)
    return mean, _average([jnp.square(each - mean) for each in shifts], taps)


def _shifts(x: Array, taps: list[Array], axis: int) -> list[Array]:
    """What each place of the window sees."""
    size = x.shape[axis] - len(taps) + 1
    return [
        jax.lax.slice_in_dim(x, start, start + size, axis=axis)
        for start in range(len(taps))
    ]


def _average(shifts: list[Array], taps: list[Array]) -> Array:
    total = jnp.zeros_like(shifts[0])
    for tap, each in zip(taps, shifts, strict=True):
        total += tap * each
    return total
