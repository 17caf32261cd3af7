"""Likelihoods of numbers in an interval or on a circle: shares, angles."""

import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.bessel import log_circle
from jaxloss._core.counts import binomial_divergence
from jaxloss._core.gamma_function import combinations_excess
from jaxloss._core.numerics import weighted
from jaxloss._core.public import public
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
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
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)


@public
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
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)
