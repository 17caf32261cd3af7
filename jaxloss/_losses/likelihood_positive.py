"""Likelihoods of positive numbers: gamma, exponential, Weibull, log-normal."""

import math

import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.exponential import exp_excess
from jaxloss._core.gamma_function import binet
from jaxloss._core.numerics import weighted
from jaxloss._core.public import public
from jaxloss._core.relative_entropy import log_ratio
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check

_LOG_2PI = math.log(2 * math.pi)


@public
def gamma_nll(
    log_mean: Input,
    targets: Input,
    *,
    log_shape: Number,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of a gamma law, by its mean and shape.

    .. math::
        \ell = \log \Gamma(a) - a \log a + a \log \mu - (a - 1) \log y + \frac{a y}{\mu}

    Args:
      log_mean: logarithm of the mean :math:`\mu`, floating, any shape.
      targets: real and positive, the shape of `log_mean`; below 0 the loss is NaN, at 0
        it is the limit.
      log_shape: logarithm of the shape :math:`a`, the inverse of the squared
        coefficient of variation, a number, or an array that fits the losses (of their
        rank; axes may have size 1).
      where: mask of the shape of `log_mean`, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `log_mean`, or a scalar when reduced.

    Numerics:
      Computed as :math:`a\,(e^v - 1 - v) + \log y` with :math:`v = \log y - \log \mu`,
      plus what is left of the log-gamma: terms of the size of :math:`a \log a` do not
      cancel.

    Gradient:
      :math:`\partial \ell / \partial \log \mu = a\,(1 - y / \mu)`, :math:`\partial \ell
      / \partial \log a = a\, \bigl( e^v - 1 - v + \psi(a) - \log a \bigr)`.

    Raises:
      TypeError: `log_mean` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> log_mean, targets = jnp.array([0.0, 1.0]), jnp.array([0.5, 4.0])
      >>> loss = jaxloss.gamma_nll(log_mean, targets, log_shape=1.0)
      >>> print(f"{loss[0]:.4f}, {loss[1]:.4f}")
      0.2813, 2.0674

    References:
      McCullagh, Nelder, *Generalized Linear Models*, 1989, chapter 8.

    Elsewhere: `-torch.distributions.Gamma(shape, rate).log_prob(targets)` with the rate
    :math:`a / \mu`; up to factors and constants `sklearn.metrics.mean_gamma_deviance`.
    """
    check = Check("gamma_nll")
    check.reduction(reduction)
    check.base(base)
    x = inputs.observed(
        check,
        where,
        {"log_mean": log_mean},
        {"targets": targets},
        {"log_shape": log_shape},
        1,
    )
    (log_shape_,) = x.parameters
    shape = jnp.exp(log_shape_)
    y, zero = _nonzero(x.targets)
    # log Γ(a) - a log a + a.
    normaliser = (_LOG_2PI - log_shape_) / 2 + binet(shape)
    divergence = shape * exp_excess(-log_ratio(x.output, y))
    limit = shape * (x.output - 1) + _power_at_zero(shape, zero)
    loss = normaliser + jnp.where(zero, limit, divergence + jnp.log(y))
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)


@public
def exponential_nll(
    log_rate: Input,
    targets: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of an exponential law.

    .. math::
        \ell = y\, e^{x} - x

    Args:
      log_rate: logarithm :math:`x` of the rate, the inverse of the mean, floating, any
        shape.
      targets: real and at least 0, the shape of `log_rate`; below 0 the loss is NaN.
      where: mask of the shape of `log_rate`, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `log_rate`, or a scalar when reduced.

    Numerics:
      The plain formula; accurate for every rate.

    Gradient:
      :math:`\partial \ell / \partial x = y\, e^{x} - 1`.

    Raises:
      TypeError: `log_rate` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> log_rate, targets = jnp.array([0.0, 1.0]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.exponential_nll(log_rate, targets).round(4))
      [0.5000 9.8731]

    References:
      McCullagh, Nelder, *Generalized Linear Models*, 1989, chapter 13.

    Elsewhere: `-torch.distributions.Exponential(rate).log_prob(targets)`.
    """
    check = Check("exponential_nll")
    check.reduction(reduction)
    check.base(base)
    x = inputs.observed(
        check, where, {"log_rate": log_rate}, {"targets": targets}, {}, 1
    )
    y = jnp.where(x.targets < 0, jnp.nan, x.targets)
    loss = y * jnp.exp(x.output) - x.output
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)


@public
def weibull_nll(
    log_scale: Input,
    targets: Input,
    *,
    log_shape: Number,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of a Weibull law.

    .. math::
        \ell = e^{t} - t + \log y - \log k, \qquad t = k\, (\log y - \log \lambda)

    Args:
      log_scale: logarithm of the scale :math:`\lambda`, floating, any shape.
      targets: real and positive, the shape of `log_scale`; below 0 the loss is NaN, at
        0 it is the limit.
      log_shape: logarithm of the shape :math:`k`, a number, or an array that fits the
        losses (of their rank; axes may have size 1).
      where: mask of the shape of `log_scale`, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `log_scale`, or a scalar when reduced.

    Numerics:
      :math:`e^t - t` is computed as :math:`1 + (e^t - 1 - t)`, whose derivative keeps
      its digits where :math:`y` is near the scale.

    Gradient:
      :math:`\partial \ell / \partial \log \lambda = -k\,(e^t - 1)`, :math:`\partial
      \ell / \partial \log k = t\,(e^t - 1) - 1`.

    Raises:
      TypeError: `log_scale` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> log_scale, targets = jnp.array([0.0, 1.0]), jnp.array([0.5, 4.0])
      >>> loss = jaxloss.weibull_nll(log_scale, targets, log_shape=0.5)
      >>> print(f"{loss[0]:.4f}, {loss[1]:.4f}")
      0.2686, 2.1400

    References:
      Weibull, *A statistical distribution function of wide applicability*, J. Appl.
      Mech. 18, 1951.

    Elsewhere: `-torch.distributions.Weibull(scale, concentration).log_prob(targets)`.
    """
    check = Check("weibull_nll")
    check.reduction(reduction)
    check.base(base)
    x = inputs.observed(
        check,
        where,
        {"log_scale": log_scale},
        {"targets": targets},
        {"log_shape": log_shape},
        1,
    )
    (log_shape_,) = x.parameters
    shape = jnp.exp(log_shape_)
    y, zero = _nonzero(x.targets)
    t = -shape * log_ratio(x.output, y)
    away = 1 + exp_excess(t) + jnp.log(y)
    at_zero = shape * x.output + _power_at_zero(shape, zero)
    loss = jnp.where(zero, at_zero, away) - log_shape_
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)


@public
def log_normal_nll(
    mean: Input,
    targets: Input,
    *,
    log_variance: Number,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of a log-normal law.

    .. math::
        \ell = \tfrac12 \bigl( \log 2\pi + s + e^2 e^{-s} \bigr) + \log y,
        \qquad e = \mu - \log y

    with :math:`s` the `log_variance`.

    Args:
      mean: mean :math:`\mu` of the logarithm, floating, any shape.
      targets: real and positive, the shape of `mean`; below 0 the loss is NaN, at 0 it
        is the limit.
      log_variance: logarithm of the variance of the logarithm, a number, or an array
        that fits the losses (of their rank; axes may have size 1).
      where: mask of the shape of `mean`, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `mean`, or a scalar when reduced.

    Numerics:
      The difference :math:`\mu - \log y` keeps its digits where the two are close.

    Gradient:
      :math:`\partial \ell / \partial \mu = e\, e^{-s}`, :math:`\partial \ell / \partial
      s = \tfrac12 (1 - e^2 e^{-s})`.

    Raises:
      TypeError: `mean` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> mean, targets = jnp.array([0.0, 1.0]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.log_normal_nll(mean, targets, log_variance=0.0).round(4))
      [0.4660 2.3798]

    References:
      Aitchison, Brown, *The Lognormal Distribution*, 1957.

    Elsewhere: `-torch.distributions.LogNormal(mean, scale).log_prob(targets)`.
    """
    check = Check("log_normal_nll")
    check.reduction(reduction)
    check.base(base)
    x = inputs.observed(
        check,
        where,
        {"mean": mean},
        {"targets": targets},
        {"log_variance": log_variance},
        1,
    )
    (log_variance_,) = x.parameters
    y, zero = _nonzero(x.targets)
    error = jnp.where(zero, jnp.inf, log_ratio(x.output, y))
    z = error * jnp.exp(-log_variance_ / 2)
    loss = (_LOG_2PI + log_variance_) / 2 + 0.5 * z * z + jnp.log(y)
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)


def _nonzero(y: Array) -> tuple[Array, Array]:
    """Targets with 1 in the place of 0, and where that is."""
    zero = y == 0
    return jnp.where(zero, 1, y), zero


def _power_at_zero(shape: Array, zero: Array) -> Array:
    """-(shape - 1) log y for y = 0, and no matter what elsewhere."""
    return weighted(jnp.where(zero, jnp.inf, 0).astype(shape.dtype), shape - 1)
