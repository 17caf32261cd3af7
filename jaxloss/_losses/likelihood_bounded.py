"""Likelihoods of numbers in an interval or on a circle: shares, angles, pixels."""

import math

import jax
import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.bessel import log_circle
from jaxloss._core.counts import binomial_divergence
from jaxloss._core.explicit import automatic
from jaxloss._core.gamma_function import combinations_excess
from jaxloss._core.numerics import in_base, sech_squared, softplus, weighted
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check


@automatic
def beta_nll(
    log_alpha: Input,
    targets: Input,
    *,
    log_beta: Number,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of a beta law.

    .. math::
        \ell = \log B(a, b) - (a - 1) \log y - (b - 1) \log (1 - y)

    Args:
      log_alpha: logarithm of :math:`a`, the first parameter, floating, any shape.
      targets: real, in (0, 1), the shape of `log_alpha`; outside the loss is NaN, at
        the ends it is the limit.
      log_beta: logarithm of :math:`b`, the second parameter, a number, or an array that
        fits the losses (of their rank; axes may have size 1).
      where: mask of the shape of `log_alpha`, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `log_alpha`, or a scalar when reduced.

    Numerics:
      Computed as a divergence between the shares :math:`a / (a + b)` and :math:`y` plus
      what is left of the beta function: a concentrated law, for which terms of the size
      of :math:`a` cancel, keeps its digits.

    Gradient:
      :math:`\partial \ell / \partial \log a = a\, \bigl( \psi(a) - \psi(a + b) - \log y
      \bigr)`, :math:`\partial \ell / \partial \log b = b\, \bigl( \psi(b) - \psi(a + b)
      - \log (1 - y) \bigr)`.

    Raises:
      TypeError: `log_alpha` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> log_alpha, targets = jnp.array([0.0, 1.0]), jnp.array([0.5, 0.9])
      >>> print(jaxloss.beta_nll(log_alpha, targets, log_beta=0.0).round(4))
      [ 0.    -0.819]

    References:
      Ferrari, Cribari-Neto, *Beta regression for modelling rates and proportions*, J.
      Appl. Stat. 31, 2004.

    Elsewhere: `-torch.distributions.Beta(alpha, beta).log_prob(targets)`.
    """
    check = Check("beta_nll")
    check.reduction(reduction)
    check.base(base)
    x = inputs.observed(
        check,
        where,
        {"log_alpha": log_alpha},
        {"targets": targets},
        {"log_beta": log_beta},
        0.5,
    )
    (log_b,) = x.parameters
    log_a, log_b = jnp.broadcast_arrays(x.output, log_b)
    a, b = jnp.exp(log_a), jnp.exp(log_b)
    first, last = x.targets == 0, x.targets == 1
    y = jnp.where(first | last, 0.5, x.targets)
    log_y, log_rest = jnp.log(y), jnp.log1p(-y)
    inside = binomial_divergence(log_y - log_rest, a, b) + log_y + log_rest
    # At an end the power of the other factor is 1; a log p + b log(1 - p) is the part
    # of the beta function that makes the divergence.
    shares = a * jnp.log1p(b / a) + b * jnp.log1p(a / b)
    power = jnp.where(first, a, b) - 1
    infinite = jnp.where(first | last, jnp.inf, 0).astype(y.dtype)
    ends = weighted(infinite, power) - shares
    # log B(a, b) without that part, log(1/a + 1/b) for small ones.
    excess = combinations_excess(a, b) + jnp.logaddexp(-log_a, -log_b)
    loss = jnp.where(first | last, ends, inside) + excess
    loss = in_base(loss, base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@automatic
def von_mises_nll(
    mean: Input,
    targets: Input,
    *,
    log_concentration: Number,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of a von Mises law, of angles.

    .. math::
        \ell = -\kappa \cos \delta + \log \bigl( 2\pi I_0(\kappa) \bigr),
        \qquad \delta = \mu - y

    Args:
      mean: mean direction :math:`\mu` in radians, floating, any shape.
      targets: angles in radians, real, the shape of `mean`.
      log_concentration: logarithm of the concentration :math:`\kappa`, a number, or an
        array that fits the losses (of their rank; axes may have size 1).
      where: mask of the shape of `mean`, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `mean`, or a scalar when reduced.

    Numerics:
      Computed as :math:`2 \kappa \sin^2 \tfrac{\delta}{2} + \log \bigl( 2\pi
      e^{-\kappa} I_0(\kappa) \bigr)`, from the uniform law to a law as narrow as floats
      allow.

    Gradient:
      :math:`\partial \ell / \partial \mu = \kappa \sin \delta`, :math:`\partial \ell /
      \partial \log \kappa = \kappa\, \bigl( I_1(\kappa) / I_0(\kappa) - \cos \delta
      \bigr)`, as :math:`2 \sin^2 \tfrac{\delta}{2}` less :math:`1 - I_1 / I_0`, which
      is never taken as a difference.

    Raises:
      TypeError: `mean` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> mean, targets = jnp.array([0.0, 3.0]), jnp.array([0.5, -3.0])
      >>> print(jaxloss.von_mises_nll(mean, targets, log_concentration=1.0).round(4))
      [0.8126 0.5881]

    References:
      Mardia, Jupp, *Directional Statistics*, 2000, 3.5.4.

    Elsewhere: `-torch.distributions.VonMises(mean, concentration).log_prob(targets)`,
    `tfd.VonMises`.
    """
    check = Check("von_mises_nll")
    check.reduction(reduction)
    check.base(base)
    x = inputs.observed(
        check,
        where,
        {"mean": mean},
        {"targets": targets},
        {"log_concentration": log_concentration},
    )
    (log_concentration_,) = x.parameters
    concentration = jnp.exp(log_concentration_)
    half_chord = jnp.sin((x.output - x.targets) / 2)
    loss = 2 * concentration * half_chord * half_chord
    loss = loss + log_circle(concentration, log_concentration_)
    loss = in_base(loss, base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@automatic
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
    c, h = (y - x.output) * sharpness, half * sharpness
    log_h = jnp.log(half) - log_scale_
    inner = _log_bin(c, *(jnp.broadcast_to(a, c.shape) for a in (h, log_h)))
    outer = jnp.where(y > high_ - half, softplus(c - h), inner)
    loss = in_base(jnp.where(y < low_ + half, softplus(-c - h), outer), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


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
