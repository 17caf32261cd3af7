"""Likelihoods of real numbers: normal, Laplace, Student's t."""

import math

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core import inputs
from jaxloss._core.exponential import exp_excess
from jaxloss._core.gamma_function import half_step
from jaxloss._core.parameters import kept_parameter
from jaxloss._core.public import public
from jaxloss._core.residual import magnitude
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check, is_off

_LOG_2PI = math.log(2 * math.pi)


@public
def gaussian_nll(
    mean: Input,
    targets: Input,
    *,
    log_variance: Number,
    beta: Number = 0.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of a normal law, its constant included.

    .. math::
        \ell = \tfrac12 \bigl( \log 2\pi + s + e^2 e^{-s} \bigr), \qquad e = \mu - y

    with :math:`s` the `log_variance`. A model that learns both can settle for a large
    variance where the mean is hard to fit, as the gradient by the mean is divided by
    it. With :math:`\beta > 0` it is the :math:`\beta`-NLL, which gives some of it back,

    .. math::
        \ell_\beta = e^{\beta s}\, \ell, \qquad e^{\beta s} \text{ held fixed}

    Args:
      mean: mean :math:`\mu` of the law, floating, any shape.
      targets: real, the shape of `mean`.
      log_variance: logarithm of the variance, a number, or an array that fits the
        losses (of their rank; axes may have size 1).
      beta: :math:`\beta`, at least 0: a number, or an array that fits the losses. At 1
        the gradient by the mean is that of `l2_loss`; :math:`\tfrac12` is usual, 0 the
        likelihood itself.
      where: mask of the shape of `mean`, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `mean`, or a scalar when reduced.

    Numerics:
      The residual is divided by the standard deviation before it is squared, so the
      loss is finite wherever it is representable. With :math:`s = 0` it is `l2_loss`
      plus :math:`\tfrac12 \log 2\pi`.

    Gradient:
      :math:`\partial \ell / \partial \mu = e\, e^{-s}`, :math:`\partial \ell / \partial
      s = \tfrac12 (1 - e^2 e^{-s})`; of :math:`\ell_\beta` both times :math:`e^{\beta
      s}`, and none by :math:`\beta`.

    Raises:
      TypeError: `mean` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base, a negative
        `beta` (NaN, if it is an array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> mean, targets = jnp.array([0.0, 1.0]), jnp.array([0.5, -1.0])
      >>> print(jaxloss.gaussian_nll(mean, targets, log_variance=0.0).round(4))
      [1.0439 2.9189]

    References:
      Nix, Weigend, *Estimating the mean and variance of the target probability
      distribution*, ICNN 1994; Seitzer et al., *On the Pitfalls of Heteroscedastic
      Uncertainty Estimation with Probabilistic Neural Networks*, arXiv:2203.09168.

    Elsewhere: `torch.nn.functional.gaussian_nll_loss(full=True)`, which takes the
    variance, clamps it from below at `eps`, and leaves the constant out by default.
    `beta_nll_loss` of Seitzer et al. leaves it out too.
    """
    check = Check("gaussian_nll")
    check.reduction(reduction)
    check.base(base)
    x = inputs.observed(
        check,
        where,
        {"mean": mean},
        {"targets": targets},
        {"log_variance": log_variance},
    )
    (log_variance_,) = x.parameters
    z = (x.output - x.targets) * jnp.exp(-log_variance_ / 2)
    loss = (_LOG_2PI + log_variance_) / 2 + 0.5 * z * z
    if not is_off(beta, 0):
        power = kept_parameter(check, "beta", beta, x.output, x.keep, low=0, masked=0.0)
        loss = jax.lax.stop_gradient(jnp.exp(power * log_variance_)) * loss
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)


@public
def laplace_nll(
    mean: Input,
    targets: Input,
    *,
    log_scale: Number,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of a Laplace law, its constant included.

    .. math::
        \ell = \log 2 + s + |e|\, e^{-s}, \qquad e = \mu - y

    with :math:`s` the `log_scale`.

    Args:
      mean: centre :math:`\mu` of the law, its mean and median, floating, any shape.
      targets: real, the shape of `mean`.
      log_scale: logarithm of the scale, the mean absolute deviation, a number, or an
        array that fits the losses (of their rank; axes may have size 1).
      where: mask of the shape of `mean`, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `mean`, or a scalar when reduced.

    Numerics:
      A sum of correctly scaled terms; with :math:`s = 0` it is the absolute error plus
      :math:`\log 2`.

    Gradient:
      :math:`\partial \ell / \partial \mu = \operatorname{sign}(e)\, e^{-s}`, 0 at
      :math:`e = 0`; :math:`\partial \ell / \partial s = 1 - |e|\, e^{-s}`.

    Raises:
      TypeError: `mean` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> mean, targets = jnp.array([0.0, 1.0]), jnp.array([0.5, -1.0])
      >>> print(jaxloss.laplace_nll(mean, targets, log_scale=0.0).round(4))
      [1.1931 2.6931]

    References:
      Laplace, *Mémoire sur la probabilité des causes par les évènements*, 1774.

    Elsewhere: `-torch.distributions.Laplace(mean, scale).log_prob(targets)`; the loss
    of `keras.losses.MeanAbsoluteError` and of `torch.nn.functional.l1_loss` up to a
    constant.
    """
    check = Check("laplace_nll")
    check.reduction(reduction)
    check.base(base)
    x = inputs.observed(
        check, where, {"mean": mean}, {"targets": targets}, {"log_scale": log_scale}
    )
    (log_scale_,) = x.parameters
    distance = magnitude(x.output - x.targets)
    loss = (math.log(2) + log_scale_) + distance * jnp.exp(-log_scale_)
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)


@public
def student_t_nll(
    mean: Input,
    targets: Input,
    *,
    log_scale: Number,
    log_df: Number,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of Student's t law, its constant included.

    .. math::
        \ell = s + \tfrac12 \log (\nu \pi) + \log \Gamma\bigl(\tfrac{\nu}{2}\bigr)
        - \log \Gamma\bigl(\tfrac{\nu + 1}{2}\bigr)
        + \tfrac{\nu + 1}{2} \log \Bigl(1 + \frac{z^2}{\nu}\Bigr),
        \qquad z = (\mu - y)\, e^{-s}

    with :math:`s` the `log_scale`.

    Args:
      mean: centre :math:`\mu` of the law, floating, any shape.
      targets: real, the shape of `mean`.
      log_scale: logarithm of the scale, a number, or an array that fits the losses (of
        their rank; axes may have size 1).
      log_df: logarithm of the degrees of freedom :math:`\nu`, a number, or an array
        that fits the losses (of their rank; axes may have size 1).
      where: mask of the shape of `mean`, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `mean`, or a scalar when reduced.

    Numerics:
      The difference of the log-gammas is taken as one function, and so is what nearly
      cancels of the derivative by :math:`\nu`: both keep their relative accuracy up to
      the normal law, for large :math:`\nu`. Squares of huge residuals do not overflow.

    Gradient:
      :math:`\partial \ell / \partial \mu = (\nu + 1) z e^{-s} / (\nu + z^2)`,
      :math:`\partial \ell / \partial s = 1 - (\nu + 1) z^2 / (\nu + z^2)`; with
      :math:`w = z^2 / \nu`, :math:`\partial \ell / \partial \log \nu = \tfrac{\nu}{2}
      \bigl( \psi(\tfrac{\nu}{2}) - \psi(\tfrac{\nu + 1}{2}) + \tfrac{1}{\nu} + \log(1 +
      w) \bigr) - \tfrac{\nu + 1}{2} \tfrac{w}{1 + w}`.

    Raises:
      TypeError: `mean` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> mean, targets = jnp.array([0.0, 1.0]), jnp.array([0.5, -9.0])
      >>> law = dict(log_scale=0.0, log_df=jnp.log(4.0))
      >>> loss = jaxloss.student_t_nll(mean, targets, **law)
      >>> print(f"{loss[0]:.4f}, {loss[1]:.4f}")
      1.1324, 9.1261

    References:
      Lange, Little, Taylor, *Robust statistical modeling using the t distribution*,
      JASA 84, 1989.

    Elsewhere: `-torch.distributions.StudentT(df, loc, scale).log_prob(targets)`,
    `StudentTOutput` of GluonTS.
    """
    check = Check("student_t_nll")
    check.reduction(reduction)
    check.base(base)
    x = inputs.observed(
        check,
        where,
        {"mean": mean},
        {"targets": targets},
        {"log_scale": log_scale, "log_df": log_df},
    )
    log_scale_, log_df_ = x.parameters
    normaliser = _LOG_2PI / 2 + half_step(jnp.exp(log_df_) / 2)
    tail = _tail(x.output - x.targets, log_scale_, log_df_)
    loss = log_scale_ + normaliser + tail
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)


@jax.custom_jvp
def _tail(e: Array, log_scale: Array, log_df: Array) -> Array:
    """(ν + 1) / 2 · log(1 + z² / ν), z = e / scale."""
    t = e * jnp.exp(-log_scale - log_df / 2)
    return (jnp.exp(log_df) + 1) / 2 * _log1p_square(t)


def _tail_jvp(primals, tangents):
    # With w = z² / ν and L = log(1 + w): ∂/∂z = (ν + 1) z / (ν + z²), by the logarithm
    # of the scale -(ν + 1) w / (1 + w), and
    #   ∂/∂log ν = ν/2 L - (ν + 1)/2 · w / (1 + w) = ν/2 (e^-L - 1 + L) - w / 2(1 + w),
    # whose bracket, about w² / 2, is the difference of two numbers near w.
    (e, log_scale, log_df), (de, dlog_scale, dlog_df) = primals, tangents
    df = jnp.exp(log_df)
    sharpness = jnp.exp(-log_scale - log_df / 2)
    t = e * sharpness
    dtail = jnp.zeros_like(t)
    if not isinstance(de, SymbolicZero):
        dtail += (df + 1) / 2 * sharpness * _slope(t) * de
    if not isinstance(dlog_scale, SymbolicZero):
        dtail += -(df + 1) * _share(t) * dlog_scale
    if not isinstance(dlog_df, SymbolicZero):
        excess = df / 2 * exp_excess(-_log1p_square(t))
        dtail += (excess - _share(t) / 2) * dlog_df
    return _tail(e, log_scale, log_df), dtail


_tail.defjvp(_tail_jvp, symbolic_zeros=True)


@jax.custom_jvp
def _share(t: Array) -> Array:
    """t² / (1 + t²)."""
    return t * _slope(t) / 2


@_share.defjvp
def _(primals, tangents):
    # 2t / (1 + t²)², and 1 / (1 + t²) is _slope(t) / 2t.
    (t,), (dt,) = primals, tangents
    large = jnp.abs(t) > 1
    inverse = 1 / jnp.where(large, t, 1)
    square = jnp.square(jnp.where(large, 0, t))
    rest = inverse * inverse / (1 + inverse * inverse)
    return _share(t), _slope(t) * jnp.where(large, rest, 1 / (1 + square)) * dt


@jax.custom_jvp
def _log1p_square(t: Array) -> Array:
    """log(1 + t²), also where the square overflows."""
    size = jnp.abs(t)
    large = size > 2.0 ** (jnp.finfo(t.dtype).nmant + 2)
    square = jnp.square(jnp.where(large, 1, t))
    return jnp.where(large, 2 * jnp.log(size), jnp.log1p(square))


@_log1p_square.defjvp
def _(primals, tangents):
    (t,), (dt,) = primals, tangents
    return _log1p_square(t), _slope(t) * dt


def _slope(t: Array) -> Array:
    """2t / (1 + t²)."""
    large = jnp.abs(t) > 1
    inner, outer = jnp.where(large, 0, t), jnp.where(large, t, 1)
    inverse = 1 / outer
    return jnp.where(
        large,
        2 * inverse / (1 + inverse * inverse),
        2 * inner / (1 + inner * inner),
    )
