"""Distances of two samples by their pairs: kernels and energies."""

from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss._core import samples
from jaxloss._core.exponential import expm1
from jaxloss._core.public import public
from jaxloss._core.reduce import divided
from jaxloss._core.types import Array, Input, Number
from jaxloss._core.validate import Check

Estimator = Literal["biased", "unbiased"]
"""Whether a sample is paired with itself."""


@public
def mmd_loss(
    predictions: Input,
    targets: Input,
    *,
    bandwidths: Number = 1.0,
    estimator: Literal["biased", "unbiased"] = "biased",
    where: Input | None = None,
    target_where: Input | None = None,
    weights: Input | None = None,
    target_weights: Input | None = None,
) -> Array:
    r"""Squared maximum mean discrepancy with Gaussian kernels.

    .. math::
        \ell = \overline{k(x, x')} + \overline{k(y, y')} - 2\, \overline{k(x, y)},
        \qquad k(x, y) = \frac1K \sum_{s} e^{-|x - y|^2 / 2 s^2}

    Args:
      predictions: samples :math:`x`, one a row, floating, shape `[n, features]`. For
        several pairs of samples use `jax.vmap`.
      targets: samples :math:`y`, real, shape `[m, features]`.
      bandwidths: the :math:`s` of the kernels, above 0: a number, or an array of shape
        `[K]`.
      estimator: `"biased"`: the means are over all pairs, and the loss is not negative;
        `"unbiased"`: over pairs of different samples within a cloud (at least two), and
        it may be.
      where: mask of the predictions kept, shape `[n]`.
      target_where: mask of the targets kept, shape `[m]`.
      weights: weight of each prediction, at least 0, shape `[n]`; they are divided by
        their sum.
      target_weights: likewise of each target, shape `[m]`.

    Returns:
      The loss, a scalar, float32 (float64 for float64 inputs); 0 where no predictions
      or no targets are kept.

    Numerics:
      The means are of :math:`1 - k`, which keeps its digits for close samples and of
      which the constant 1 does not cancel. Distances are of differences, so an offset
      costs no digits.

    Gradient:
      :math:`\partial \ell / \partial x_i = 2 \sum_j a_i a_j\, k'(x_i, x_j) - 2 \sum_j
      a_i b_j\, k'(x_i, y_j)` with :math:`k'(x, y) = -\tfrac1K \sum_s \tfrac{x - y}{s^2}
      e^{-|x - y|^2 / 2 s^2}` and :math:`a, b` the shares of the samples; without the
      first term's pairs :math:`i = j`, its factor is :math:`1 / (1 - \sum a_i^2)` for
      the unbiased form.

    Raises:
      TypeError: `predictions` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([[0.0], [1.0]]), jnp.array([[0.5], [2.0]])
      >>> print(f"{jaxloss.mmd_loss(predictions, targets):.4f}")
      0.2122

    References:
      Gretton et al., *A Kernel Two-Sample Test*, JMLR 13, 2012.

    Elsewhere: `geomloss.SamplesLoss("gaussian")` is half of it.
    """
    check = Check("mmd_loss")
    check.choice("estimator", estimator, get_args(Estimator))
    cloud = samples.pair(
        check,
        predictions,
        targets,
        where=where,
        target_where=target_where,
        weights=weights,
        target_weights=target_weights,
    )
    like = jax.ShapeDtypeStruct(np.shape(bandwidths), cloud.x.dtype)
    widths = check.parameter("bandwidths", bandwidths, like, low=0, open_low=True)
    if widths.ndim > 1:
        raise check.value_error(
            "bandwidths",
            "a number, or an array of shape [K]",
            f"of shape {widths.shape}",
            "Flatten it.",
        )
    rates = (0.5 / jnp.square(widths)).reshape(1, 1, -1)

    def dissimilarity(x, y):
        square = samples.squared_distances(x, y)[:, :, None]
        return jnp.mean(-expm1(-square * rates), axis=2)

    return _discrepancy(cloud, dissimilarity, estimator)


@public
def energy_distance(
    predictions: Input,
    targets: Input,
    *,
    estimator: Literal["biased", "unbiased"] = "biased",
    where: Input | None = None,
    target_where: Input | None = None,
    weights: Input | None = None,
    target_weights: Input | None = None,
) -> Array:
    r"""Energy distance of two clouds of points.

    .. math::
        \ell = 2\, \overline{|x - y|} - \overline{|x - x'|} - \overline{|y - y'|}

    Args:
      predictions: samples :math:`x`, one a row, floating, shape `[n, features]`. For
        several pairs of samples use `jax.vmap`.
      targets: samples :math:`y`, real, shape `[m, features]`.
      estimator: `"biased"`: the means are over all pairs, and the loss is not negative;
        `"unbiased"`: over pairs of different samples within a cloud (at least two), and
        it may be.
      where: mask of the predictions kept, shape `[n]`.
      target_where: mask of the targets kept, shape `[m]`.
      weights: weight of each prediction, at least 0, shape `[n]`; they are divided by
        their sum.
      target_weights: likewise of each target, shape `[m]`.

    Returns:
      The loss, a scalar, float32 (float64 for float64 inputs); 0 where no predictions
      or no targets are kept.

    Numerics:
      Lengths are those of differences, in a unit of their own: they neither overflow
      nor vanish, and an offset costs no digits. Equal points have the derivative 0.

    Gradient:
      :math:`\partial \ell / \partial x_i = 2 \sum_j a_i b_j\, u(x_i - y_j) - 2 \sum_j
      a_i a_j\, u(x_i - x_j)`, :math:`u` the direction and :math:`a, b` the shares of
      the samples; the second term times :math:`1 / (1 - \sum a_i^2)` for the unbiased
      form.

    Raises:
      TypeError: `predictions` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([[0.0], [1.0]]), jnp.array([[0.5], [2.0]])
      >>> print(f"{jaxloss.energy_distance(predictions, targets):.4f}")
      0.7500

    References:
      Székely, Rizzo, *Energy statistics: A class of statistics based on distances*, J.
      Stat. Plan. Inference 143, 2013.

    Elsewhere: `geomloss.SamplesLoss("energy")` is half of it;
    `scipy.stats.energy_distance` is its root, for numbers.
    """
    check = Check("energy_distance")
    check.choice("estimator", estimator, get_args(Estimator))
    cloud = samples.pair(
        check,
        predictions,
        targets,
        where=where,
        target_where=target_where,
        weights=weights,
        target_weights=target_weights,
    )
    return _discrepancy(cloud, samples.distances, estimator)


def _discrepancy(
    cloud: samples.Pair, dissimilarity: Callable[[Array, Array], Array], estimator: str
) -> Array:
    """Twice the mean dissimilarity across the clouds less those within each."""

    def mean(x, a, y, b):
        return jnp.sum(dissimilarity(x, y) * (a[:, None] * b[None, :]))

    def within(x, a):
        # Pairs of a sample with itself add nothing, but to the mass of all pairs.
        mass = 1 - jnp.sum(a * a) if estimator == "unbiased" else jnp.ones((), a.dtype)
        return divided(mean(x, a, x, a), mass)

    across = mean(cloud.x, cloud.a, cloud.y, cloud.b)
    loss = 2 * across - (within(cloud.x, cloud.a) + within(cloud.y, cloud.b))
    return jnp.where(cloud.exists, loss, 0)
