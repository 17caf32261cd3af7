"""Likelihoods of counts: Poisson, binomial, negative binomial."""

import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.counts import binomial_divergence, negative_binomial, poisson
from jaxloss._core.gamma_function import combinations_excess
from jaxloss._core.public import public
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def poisson_nll(
    log_rate: Input,
    targets: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of a Poisson law, its constant included.

    .. math::
        \ell = e^{x} - x y + \log \Gamma(y + 1)

    Args:
      log_rate: logarithm :math:`x` of the rate, floating, any shape.
      targets: counts, real and at least 0 (a real number counts by the gamma function),
        the shape of `log_rate`; below 0 the loss is NaN.
      where: mask of the shape of `log_rate`, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `log_rate`, or a scalar when reduced.

    Numerics:
      Computed as :math:`y\,(e^u - 1 - u)` with :math:`u = x - \log y`, plus :math:`\log
      y! - y \log y + y`, neither of which is negative: three terms of the size of
      :math:`y \log y` do not cancel, and the loss is accurate for any count. No
      Stirling approximation of the constant.

    Gradient:
      :math:`\partial \ell / \partial x = e^x - y`, :math:`\partial \ell / \partial y =
      \psi(y + 1) - x`.

    Raises:
      TypeError: `log_rate` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> log_rate, targets = jnp.log(jnp.array([2.0, 1e6])), jnp.array([0.0, 1e6])
      >>> print(jaxloss.poisson_nll(log_rate, targets).round(4))
      [2. 7.8267]

    References:
      Loader, *Fast and Accurate Computation of Binomial Probabilities*, 2000 (the same
      separation for probabilities).

    Elsewhere: `torch.nn.functional.poisson_nll_loss(full=True)`, which has Stirling's
    approximation for the constant and leaves it out by default; `keras.losses.Poisson`
    takes the rate and has no constant.
    """
    check = Check("poisson_nll")
    check.reduction(reduction)
    check.base(base)
    x = inputs.observed(check, where, {"log_rate": log_rate}, {"targets": targets}, {})
    loss = poisson(x.output, x.targets)
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)


@public
def binomial_nll(
    logits: Input,
    targets: Input,
    *,
    total_count: Number,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of a binomial law, its constant included.

    .. math::
        \ell = -\log \binom{n}{y} - y \log \sigma(x) - (n - y) \log \sigma(-x)

    Args:
      logits: log-odds :math:`x` of a success, floating, any shape.
      targets: successes, real, from 0 to :math:`n`, the shape of `logits`; outside the
        loss is NaN.
      total_count: number of trials, at least the number of successes, a number, or an
        array that fits the losses.
      where: mask of the shape of `logits`, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `logits`, or a scalar when reduced.

    Numerics:
      Computed as the divergence between the shares :math:`y / n` and :math:`\sigma(x)`
      plus what is left of the factorials: no term is negative, and millions of trials
      lose no digits.

    Gradient:
      :math:`\partial \ell / \partial x = n\, \sigma(x) - y`.

    Raises:
      TypeError: `logits` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits, targets = jnp.array([0.0, 1.0]), jnp.array([3.0, 10.0])
      >>> print(jaxloss.binomial_nll(logits, targets, total_count=10.0).round(4))
      [2.1440 3.1326]

    References:
      Loader, *Fast and Accurate Computation of Binomial Probabilities*, 2000.

    Elsewhere: `-torch.distributions.Binomial(total_count,
    logits=logits).log_prob(targets)`, `-scipy.stats.binom.logpmf`; with one trial it is
    `bernoulli_nll`.
    """
    check = Check("binomial_nll")
    check.reduction(reduction)
    check.base(base)
    x = inputs.observed(
        check,
        where,
        {"logits": logits},
        {"targets": targets},
        {"total_count": total_count},
    )
    (n,) = x.parameters
    if x.keep is not None and n.ndim:
        n = jnp.where(x.keep, n, 1)
    # Below no successes or no failures there is no such count.
    y = jnp.where(x.targets < 0, jnp.nan, x.targets)
    r = jnp.where(n - y < 0, jnp.nan, n - y)
    loss = binomial_divergence(x.output, y, r) + combinations_excess(y, r)
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)


@public
def negative_binomial_nll(
    log_mean: Input,
    targets: Input,
    *,
    log_total_count: Number,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of a negative binomial law.

    .. math::
        \ell = \log \frac{\Gamma(r)\, \Gamma(y + 1)}{\Gamma(y + r)}
        + r \log \Bigl(1 + \frac{\mu}{r}\Bigr) + y \log \Bigl(1 + \frac{r}{\mu}\Bigr)

    Args:
      log_mean: logarithm of the mean :math:`\mu`, floating, any shape.
      targets: counts, real and at least 0 (a real number counts by the gamma function),
        the shape of `log_mean`; below 0 the loss is NaN.
      log_total_count: logarithm of :math:`r`, the failures waited for, or of the
        inverse dispersion, a number, or an array that fits the losses (of their rank;
        axes may have size 1).
      where: mask of the shape of `log_mean`, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `log_mean`, or a scalar when reduced.

    Numerics:
      Computed as a divergence between the shares :math:`y / (y + r)` and :math:`\mu /
      (\mu + r)` plus what is left of the log-gammas, all of it in terms that are not
      negative: accurate for counts of :math:`10^7` and for :math:`r` far above or below
      them, where it tends to `poisson_nll`. So are the derivatives.

    Gradient:
      With :math:`q = \mu / (\mu + r)`: :math:`\partial \ell / \partial \log \mu = (r +
      y)\, q - y`, :math:`\partial \ell / \partial \log r = r \bigl( \psi(r) - \psi(y +
      r) + \log(1 + \tfrac{\mu}{r}) \bigr) + y - (r + y)\, q`.

    Raises:
      TypeError: `log_mean` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> log_mean, targets = jnp.array([0.0, 16.0]), jnp.array([3.0, 1e7])
      >>> loss = jaxloss.negative_binomial_nll(log_mean, targets, log_total_count=1.0)
      >>> print(loss.round(4))
      [ 2.7184 16.5873]

    References:
      Hilbe, *Negative Binomial Regression*, 2011 (NB2); Lopez et al., *Deep generative
      modeling for single-cell transcriptomics*, Nature Methods 15, 2018.

    Elsewhere: `-log_nb_positive` of scvi-tools (which takes the mean and adds an
    epsilon to logarithms), `-torch.distributions.NegativeBinomial(total_count,
    logits)`, whose logits are :math:`\log \mu - \log r`.
    """
    check = Check("negative_binomial_nll")
    check.reduction(reduction)
    check.base(base)
    x = inputs.observed(
        check,
        where,
        {"log_mean": log_mean},
        {"targets": targets},
        {"log_total_count": log_total_count},
    )
    (log_r,) = x.parameters
    loss = negative_binomial(x.output, x.targets, log_r)
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)
