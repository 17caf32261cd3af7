"""Likelihoods of counts with more zeros than their law has."""

import jax
import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.counts import negative_binomial, poisson
from jaxloss._core.exponential import expm1
from jaxloss._core.numerics import sigmoid, softplus
from jaxloss._core.public import public
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def zero_inflated_poisson_nll(
    log_rate: Input,
    targets: Input,
    *,
    zero_logits: Number,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of a Poisson law with extra zeros.

    .. math::
        \ell = \begin{cases}
        -\log \bigl( \pi + (1 - \pi)\, e^{-\ell_0} \bigr) & y = 0 \\
        -\log (1 - \pi) + \ell_0 & y > 0
        \end{cases}

    with :math:`\ell_0` the loss of `poisson_nll`, :math:`z` the `zero_logits` and
    :math:`\pi = \sigma(z)`.

    Args:
      log_rate: logarithm of the rate, floating, any shape.
      targets: counts, real and at least 0 (a real number counts by the gamma function),
        the shape of `log_rate`; below 0 the loss is NaN.
      zero_logits: log-odds of a zero that is none of the law's, a number, or an array
        that fits the losses (of their rank; axes may have size 1).
      where: mask of the shape of `log_rate`, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `log_rate`, or a scalar when reduced.

    Numerics:
      As `poisson_nll`. At :math:`y = 0` neither a certain zero nor a hopeless one loses
      its digits.

    Gradient:
      At :math:`y = 0`, with :math:`\rho = \sigma(z + \ell_0)` the probability that the
      zero is extra: :math:`\partial \ell / \partial \ell_0 = 1 - \rho`, :math:`\partial
      \ell / \partial z = \pi - \rho`. Otherwise 1 and :math:`\pi`; :math:`\partial
      \ell_0 / \partial x = e^x - y`.

    Raises:
      TypeError: `log_rate` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> log_rate, targets = jnp.array([1.0, 1.0]), jnp.array([0.0, 2.0])
      >>> loss = jaxloss.zero_inflated_poisson_nll(log_rate, targets, zero_logits=-1.0)
      >>> print(f"{loss[0]:.4f}, {loss[1]:.4f}")
      1.1483, 1.7247

    References:
      Lambert, *Zero-inflated Poisson regression, with an application to defects in
      manufacturing*, Technometrics 34, 1992.

    Elsewhere: `-ZeroInflatedDistribution(Poisson(rate), gate_logits).log_prob(targets)`
    of Pyro and NumPyro.
    """
    check = Check("zero_inflated_poisson_nll")
    check.reduction(reduction)
    check.base(base)
    x = inputs.observed(
        check,
        where,
        {"log_rate": log_rate},
        {"targets": targets},
        {"zero_logits": zero_logits},
    )
    (zero_logits_,) = x.parameters
    law = poisson(x.output, x.targets)
    loss = _with_zeros(law, x.targets, zero_logits_)
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)


@public
def zero_inflated_negative_binomial_nll(
    log_mean: Input,
    targets: Input,
    *,
    log_total_count: Number,
    zero_logits: Number,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of a negative binomial law with extra zeros.

    .. math::
        \ell = \begin{cases}
        -\log \bigl( \pi + (1 - \pi)\, e^{-\ell_0} \bigr) & y = 0 \\
        -\log (1 - \pi) + \ell_0 & y > 0
        \end{cases}

    with :math:`\ell_0` the loss of `negative_binomial_nll`, :math:`z` the `zero_logits`
    and :math:`\pi = \sigma(z)`.

    Args:
      log_mean: logarithm of the mean of the law without extra zeros, floating, any
        shape.
      targets: counts, real and at least 0 (a real number counts by the gamma function),
        the shape of `log_mean`; below 0 the loss is NaN.
      log_total_count: logarithm of :math:`r`, the failures waited for, or of the
        inverse dispersion, a number, or an array that fits the losses (of their rank;
        axes may have size 1).
      zero_logits: log-odds of a zero that is none of the law's, a number, or an array
        that fits the losses (of their rank; axes may have size 1).
      where: mask of the shape of `log_mean`, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `log_mean`, or a scalar when reduced.

    Numerics:
      As `negative_binomial_nll`. At :math:`y = 0` neither a certain zero nor a hopeless
      one loses its digits.

    Gradient:
      As for `zero_inflated_poisson_nll`, with the derivatives of :math:`\ell_0` as for
      `negative_binomial_nll`.

    Raises:
      TypeError: `log_mean` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> log_mean, targets = jnp.array([1.0, 1.0]), jnp.array([0.0, 2.0])
      >>> law = dict(log_total_count=0.0, zero_logits=-1.0)
      >>> loss = jaxloss.zero_inflated_negative_binomial_nll(log_mean, targets, **law)
      >>> print(loss.round(4))
      [0.7645 2.253 ]

    References:
      Lopez et al., *Deep generative modeling for single-cell transcriptomics*, Nature
      Methods 15, 2018.

    Elsewhere: `-log_zinb_positive` of scvi-tools, which takes the mean and adds an
    epsilon to logarithms.
    """
    check = Check("zero_inflated_negative_binomial_nll")
    check.reduction(reduction)
    check.base(base)
    x = inputs.observed(
        check,
        where,
        {"log_mean": log_mean},
        {"targets": targets},
        {"log_total_count": log_total_count, "zero_logits": zero_logits},
    )
    log_r, zero_logits_ = x.parameters
    law = negative_binomial(x.output, x.targets, log_r)
    loss = _with_zeros(law, x.targets, zero_logits_)
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)


def _with_zeros(law: Array, y: Array, z: Array) -> Array:
    """The loss of a law with extra zeros, from that of the law."""
    return jnp.where(y == 0, _zero(law, z), softplus(z) + law)


@jax.custom_jvp
def _zero(law: Array, z: Array) -> Array:
    """-log(σ(z) + σ(-z) e^-law), for law >= 0."""
    # Near 0 it is log1p of what is missing from 1.
    missing = sigmoid(-z) * -jnp.expm1(-law)
    near = missing < 0.5
    far = softplus(z) - jnp.logaddexp(z, -law)
    return jnp.where(near, -jnp.log1p(-jnp.where(near, missing, 0)), far)


@_zero.defjvp
def _(primals, tangents):
    # With the share ρ = σ(z + law) of the extra zeros: (1 - ρ) dlaw + (σ(z) - ρ) dz,
    # and ρ - σ(z) = ρ σ(-z) (1 - e^-law).
    (law, z), (dlaw, dz) = primals, tangents
    extra = sigmoid(z + law)
    by_z = extra * sigmoid(-z) * expm1(-law)
    return _zero(law, z), sigmoid(-(z + law)) * dlaw + by_z * dz
