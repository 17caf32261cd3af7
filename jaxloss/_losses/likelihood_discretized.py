"""Likelihoods of laws rounded to bins: pixels."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.normal_interval import interval, interval_nll
from jaxloss._core.numerics import sech_squared, softplus
from jaxloss._core.public import public
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check


class _Binned(NamedTuple):
    """Targets in bins, and the law that they are rounded from."""

    signed: Array
    """y - μ."""
    half: Array
    """Half the width of a bin."""
    log_half: Array
    """Its logarithm, in units of the scale."""
    sharpness: Array
    """1 / scale, finite."""
    is_first: Array
    is_last: Array
    observed: inputs.Observed
    """What they come from."""


def _binned(
    check: Check,
    mean: Input,
    targets: Input,
    log_scale: Number,
    bins: int,
    low: Number,
    high: Number,
    where: Input | None,
    reduction: Reduction,
    base: float | None,
) -> _Binned:
    """The arguments of a public function."""
    check.reduction(reduction)
    check.base(base)
    check.static(bins=bins)
    if not isinstance(bins, int) or bins < 2:
        raise check.value_error(
            "bins", "a number of bins, at least 2", repr(bins), "Images have 256."
        )
    x = inputs.observed(
        check, where, {"mean": mean}, {"targets": targets}, {"log_scale": log_scale}
    )
    (log_scale_,) = x.parameters
    low_ = check.parameter("low", low, x.targets)
    high_ = check.parameter("high", high, x.targets)
    if x.keep is not None:
        # What is masked lies in the middle of a range that exists.
        low_ = jnp.where(x.keep, low_, -1)
        high_ = jnp.where(x.keep, high_, 1)
    half = (high_ - low_) / (2 * (bins - 1))
    y = jnp.where((x.targets >= low_) & (x.targets <= high_), x.targets, jnp.nan)
    sharpness = jnp.exp(-log_scale_)
    largest = jnp.finfo(sharpness.dtype).max
    return _Binned(
        y - x.output,
        half,
        jnp.log(half) - log_scale_,
        jnp.where(jnp.isinf(sharpness), largest, sharpness),
        y < low_ + half,
        y > high_ - half,
        x,
    )


@public
def discretized_logistic_nll(
    mean: Input,
    targets: Input,
    *,
    log_scale: Number,
    bins: int = 256,
    low: Number = -1.0,
    high: Number = 1.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of a logistic law, rounded to equal bins.

    .. math::
        \ell = -\log \bigl( \sigma(c + h) - \sigma(c - h) \bigr)
        = \log \frac{\cosh c + \cosh h}{\sinh h}

    with :math:`c = (y - \mu)\, e^{-s}` and :math:`h = \tfrac12 \Delta\, e^{-s}`,
    :math:`\Delta` the width of a bin. The first bin is open below, where
    :math:`\sigma(c - h)` is left out, and the last one above, where :math:`\sigma(c +
    h)` is 1.

    Args:
      mean: mean :math:`\mu` of the logistic law, floating, any shape.
      targets: the middles of the bins they fall in, real, in [`low`, `high`], the shape
        of `mean`; outside the loss is NaN.
      log_scale: logarithm :math:`s` of the scale, a number, or an array that fits the
        losses (of their rank; axes may have size 1).
      bins: number of bins, at least 2. Static.
      low: middle of the first bin: a number, or an array that fits the losses.
      high: middle of the last bin, above `low`, likewise.
      where: mask of the shape of `mean`, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `mean`, or a scalar when reduced.

    Numerics:
      The difference of the sigmoids is never taken: value and derivatives are sums of
      terms of one sign, in the tails and for bins far narrower or wider than the law.
      The end bins keep the logarithm of the sigmoid.

    Gradient:
      With :math:`D = \cosh c + \cosh h`: :math:`\partial \ell / \partial c = \sinh c /
      D` and :math:`\partial \ell / \partial h = -(1 + \cosh h \cosh c) / (D \sinh h)`;
      :math:`\partial c / \partial \mu = -e^{-s}`, :math:`\partial c / \partial s = -c`,
      :math:`\partial h / \partial s = -h`. In the end bins :math:`-\sigma(-c - h)` and
      :math:`\sigma(c - h)` by both.

    Raises:
      TypeError: `mean` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> mean, targets = jnp.array([0.0, 0.9]), jnp.array([1 / 255, 1.0])
      >>> loss = jaxloss.discretized_logistic_nll(mean, targets, log_scale=-3.0, base=2)
      >>> print(loss.round(4))
      [4.6692 2.9797]

    References:
      Salimans et al., *PixelCNN++*, arXiv:1701.05517.

    Elsewhere: `discretized_mix_logistic_loss` of PixelCNN++ is a mixture of it
    (`mixture_nll`); it falls back to the density at the middle where the difference of
    sigmoids is below 1e-5.
    """
    check = Check("discretized_logistic_nll")
    x = _binned(
        *(check, mean, targets, log_scale, bins, low, high, where, reduction, base)
    )
    c, h = x.signed * x.sharpness, x.half * x.sharpness
    inner = _log_bin(c, *(jnp.broadcast_to(a, c.shape) for a in (h, x.log_half)))
    outer = jnp.where(x.is_last, softplus(c - h), inner)
    loss = jnp.where(x.is_first, softplus(-c - h), outer)
    return x.observed.reduced(
        check, loss, weights=weights, reduction=reduction, base=base
    )


@public
def discretized_gaussian_nll(
    mean: Input,
    targets: Input,
    *,
    log_scale: Number,
    bins: int = 256,
    low: Number = -1.0,
    high: Number = 1.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of a normal law, rounded to equal bins.

    .. math::
        \ell = -\log \bigl( \Phi(c + h) - \Phi(c - h) \bigr)

    with :math:`c = (y - \mu)\, e^{-s}` and :math:`h = \tfrac12 \Delta\, e^{-s}`,
    :math:`\Delta` the width of a bin. The first bin is open below, where
    :math:`\Phi(c - h)` is left out, and the last one above, where :math:`\Phi(c + h)`
    is 1. It is what a diffusion model decodes its last step with.

    Args:
      mean: mean :math:`\mu` of the normal law, floating, any shape.
      targets: the middles of the bins they fall in, real, in [`low`, `high`], the shape
        of `mean`; outside the loss is NaN.
      log_scale: logarithm :math:`s` of the standard deviation, a number, or an array
        that fits the losses (of their rank; axes may have size 1).
      bins: number of bins, at least 2. Static.
      low: middle of the first bin: a number, or an array that fits the losses.
      high: middle of the last bin, above `low`, likewise.
      where: mask of the shape of `mean`, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `mean`, or a scalar when reduced.

    Numerics:
      Two values of :math:`\Phi` are never subtracted: value and derivatives are sums of
      terms of one sign, in the tails and for bins far narrower or wider than the law.
      There is no smallest probability.

    Gradient:
      With the density :math:`\varphi` of the standard law and :math:`P` the probability
      of the bin: :math:`\partial \ell / \partial c = \bigl( \varphi(c - h) -
      \varphi(c + h) \bigr) / P` and :math:`\partial \ell / \partial h = -\bigl(
      \varphi(c - h) + \varphi(c + h) \bigr) / P`; :math:`\partial c / \partial \mu =
      -e^{-s}`, :math:`\partial c / \partial s = -c`, :math:`\partial h / \partial s =
      -h`. In the end bins without the term of the open side.

    Raises:
      TypeError: `mean` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> mean, targets = jnp.array([0.0, 0.9]), jnp.array([1 / 255, 1.0])
      >>> loss = jaxloss.discretized_gaussian_nll(mean, targets, log_scale=-3.0, base=2)
      >>> print(loss.round(4))
      [3.998  5.2207]

    References:
      Ho et al., *Denoising Diffusion Probabilistic Models*, arXiv:2006.11239, 3.3;
      Nichol, Dhariwal, *Improved Denoising Diffusion Probabilistic Models*,
      arXiv:2102.09672.

    Elsewhere: `-discretized_gaussian_log_likelihood(targets, means=mean,
    log_scales=log_scale)` of guided-diffusion and improved-diffusion, which approximate
    :math:`\Phi` by a tanh and clamp the probability at 1e-12.
    """
    check = Check("discretized_gaussian_nll")
    x = _binned(
        *(check, mean, targets, log_scale, bins, low, high, where, reduction, base)
    )
    # Seen from the mean every bin lies above it, and an open one ends nowhere.
    above = x.is_last | ((x.signed >= 0) & ~x.is_first)
    distance = jnp.where(above, x.signed, -x.signed)
    is_open = x.is_first | x.is_last
    near = (distance - x.half) * x.sharpness
    middle, width = distance * x.sharpness, 2 * x.half * x.sharpness
    middle, width = (jnp.where(is_open, jnp.inf, a) for a in (middle, width))
    log_width = jnp.broadcast_to(math.log(2) + x.log_half, near.shape)
    loss = interval_nll(interval(near, middle, width, log_width))
    return x.observed.reduced(
        check, loss, weights=weights, reduction=reduction, base=base
    )


# Of the two half-widths h and log h the first has the value and the second the
# derivatives: by log h they go to -1 for narrow bins, where those by h would cancel in
# what the log-scale does twice.


@jax.custom_jvp
def _log_bin(c: Array, h: Array, log_h: Array) -> Array:
    """log((cosh c + cosh h) / sinh h), for h > 0."""
    # (1 + e^{-c-h}) (1 + e^{c-h}) / (1 - e^{-2h}), no factor of which is below 1.
    del log_h
    near = h < 0.35
    narrow = -jnp.log(-jnp.expm1(-2 * jnp.where(near, h, 1)))
    wide = -jnp.log1p(-jnp.exp(-2 * jnp.where(near, 1, h)))
    return softplus(-c - h) + softplus(c - h) + jnp.where(near, narrow, wide)


@_log_bin.defjvp
def _(primals, tangents):
    dc, _, dlog_h = tangents
    return _log_bin(*primals), _by_middle(*primals) * dc + _by_width(*primals) * dlog_h


@jax.custom_jvp
def _by_middle(c: Array, h: Array, log_h: Array) -> Array:
    """∂/∂c, sinh c / (cosh c + cosh h)."""
    del log_h
    return _slope(c, h)


@_by_middle.defjvp
def _(primals, tangents):
    (c, h, _), (dc, _, dlog_h) = primals, tangents
    return jax.jvp(_slope, (c, h), (dc, h * dlog_h))


@jax.custom_jvp
def _slope(c: Array, h: Array) -> Array:
    """sinh c / (cosh c + cosh h), each exponential relative to the largest."""
    size = jnp.abs(c)
    peak = jnp.maximum(size, jnp.abs(h))
    share = jnp.exp(size - peak)
    twice = share * (1 + jnp.exp(-2 * size)) + jnp.exp(h - peak) + jnp.exp(-h - peak)
    return jnp.sign(c) * share * -jnp.expm1(-2 * size) / twice


@_slope.defjvp
def _(primals, tangents):
    # It is (tanh (c + h)/2 + tanh (c - h)/2) / 2, so that ∂/∂c is a sum of two squares;
    # ∂/∂h is - sinh c sinh h / (cosh c + cosh h)².
    (c, h), (dc, dh) = primals, tangents
    by_c = (sech_squared((c + h) / 2) + sech_squared((c - h) / 2)) / 4
    return _slope(c, h), by_c * dc - _slope(c, h) * _slope(h, c) * dh


@jax.custom_jvp
def _by_width(c: Array, h: Array, log_h: Array) -> Array:
    """∂/∂log h, -h (1 + cosh h cosh c) / (sinh h (cosh c + cosh h))."""
    del log_h
    share, _, both = _shares(c, h)
    return -_h_coth(h) * share * (1 + both)


@_by_width.defjvp
def _(primals, tangents):
    # ∂/∂c is that of the other derivative by log h. By log h again it is, if the bin is
    # narrow, the derivative of h sinh h / (cosh c + cosh h) - h coth h, where that of
    # h coth h is h (sinh 2h - 2h) / (2 sinh² h). Else, by the logarithm of the above,
    # 1 + h (sinh h cosh c / (1 + cosh h cosh c) - coth h - sinh h / (cosh c + cosh h))
    # times it.
    (c, h, _), (dc, _, dlog_h) = primals, tangents
    slope = _by_width(*primals)
    of_c, of_h, both = _shares(c, h)
    tanh, narrow = jnp.tanh(h), h < 1
    width = jnp.where(narrow, jnp.maximum(h, jnp.finfo(h.dtype).tiny), 1)
    near = h * tanh * of_h + h * h * of_c * of_h * (1 + both)
    near -= _sinh_excess(width) / jnp.square(2 * jnp.sinh(width) / width)
    far = slope * (1 + h * (tanh / (1 + both) - tanh * of_h) - _h_coth(h))
    by_c = -h * _slope(c, h) * _slope(h, c)
    return slope, by_c * dc + jnp.where(narrow, near, far) * dlog_h


def _sinh_excess(h: Array) -> Array:
    """2 (sinh 2h - 2h) / h for h <= 1, as a series."""
    # Σ_{n>0} 4 (2h)^2n / (2n + 1)!, whose 13th term is below the last place of float64.
    square = 4 * h * h
    series = jnp.zeros_like(h)
    for n in range(13, 0, -1):
        series = square * (4 / math.factorial(2 * n + 1) + series)
    return series


def _h_coth(h: Array) -> Array:
    """h coth h: 1 at 0."""
    return jnp.where(h == 0, 1, h / jnp.tanh(jnp.where(h == 0, 1, h)))


def _shares(c: Array, h: Array) -> tuple[Array, Array, Array]:
    """cosh c and cosh h over their sum, and 1 over their product."""
    size = jnp.abs(c)
    peak = jnp.maximum(size, h)
    of_c = jnp.exp(size - peak) * (1 + jnp.exp(-2 * size))
    of_h = jnp.exp(h - peak) * (1 + jnp.exp(-2 * h))
    both = 4 * jnp.exp(-size - h)
    both = both / ((1 + jnp.exp(-2 * size)) * (1 + jnp.exp(-2 * h)))
    return of_c / (of_c + of_h), of_h / (of_c + of_h), both
