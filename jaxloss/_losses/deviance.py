"""Deviances of generalised linear models: likelihoods relative to the perfect fit."""

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core import inputs
from jaxloss._core.counts import poisson_divergence
from jaxloss._core.exponential import exp_excess, exp_excess_over, expm1, quotient
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.relative_entropy import log_ratio
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def poisson_deviance(
    log_rate: Input,
    targets: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Deviance of a Poisson law: twice what is lost to the perfect rate.

    .. math::
        \ell = 2\, \bigl( y \log y - y x + e^{x} - y \bigr)

    Args:
      log_rate: logarithm :math:`x` of the rate, floating, any shape.
      targets: real and at least 0, the shape of `log_rate`; below 0 the loss is NaN.
      where: mask of the shape of `log_rate`, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses float32 (float64 for float64 inputs): the shape of `log_rate`, or a
      scalar when reduced.

    Numerics:
      Twice the `generalized_kl_divergence` of a single entry: never negative, 0 where
      the rate is the target, and exact where the two are close.

    Gradient:
      :math:`\partial \ell / \partial x = 2\,(e^x - y)`.

    Raises:
      TypeError: `log_rate` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> log_rate, targets = jnp.array([0.0, 1.0]), jnp.array([0.0, 4.0])
      >>> print(jaxloss.poisson_deviance(log_rate, targets).round(4))
      [2. 0.5269]

    References:
      McCullagh, Nelder, *Generalized Linear Models*, 1989, 2.3.

    Elsewhere: `sklearn.metrics.mean_poisson_deviance`, which takes (targets, mean).
    """
    check = Check("poisson_deviance")
    check.reduction(reduction)
    x = inputs.observed(check, where, {"log_rate": log_rate}, {"targets": targets}, {})
    loss = 2 * poisson_divergence(x.output, x.targets)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def gamma_deviance(
    log_mean: Input,
    targets: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Deviance of a gamma law: twice what is lost to the perfect mean.

    .. math::
        \ell = 2\, \Bigl( \frac{y}{\mu} - 1 - \log \frac{y}{\mu} \Bigr)

    Args:
      log_mean: logarithm of the mean :math:`\mu`, floating, any shape.
      targets: real and positive, the shape of `log_mean`; below 0 the loss is NaN, at 0
        it is inf.
      where: mask of the shape of `log_mean`, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses float32 (float64 for float64 inputs): the shape of `log_mean`, or a
      scalar when reduced.

    Numerics:
      Never negative, 0 where the mean is the target, and exact where the two are close.

    Gradient:
      :math:`\partial \ell / \partial \log \mu = 2\,(1 - y / \mu)`.

    Raises:
      TypeError: `log_mean` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> log_mean, targets = jnp.array([0.0, 1.0]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.gamma_deviance(log_mean, targets).round(4))
      [0.3863 0.1704]

    References:
      McCullagh, Nelder, *Generalized Linear Models*, 1989, 2.3.

    Elsewhere: `sklearn.metrics.mean_gamma_deviance`, which takes (targets, mean).
    """
    check = Check("gamma_deviance")
    check.reduction(reduction)
    x = inputs.observed(
        check, where, {"log_mean": log_mean}, {"targets": targets}, {}, 1
    )
    loss = 2 * exp_excess(-log_ratio(x.output, x.targets))
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def tweedie_deviance(
    log_mean: Input,
    targets: Input,
    *,
    power: Number = 1.5,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Deviance of a Tweedie law: of sums of a random number of gammas.

    .. math::
        \ell = 2\, \Bigl( \frac{y^{2-p}}{(1 - p)(2 - p)} - \frac{y \mu^{1-p}}{1 - p}
        + \frac{\mu^{2-p}}{2 - p} \Bigr)

    Args:
      log_mean: logarithm of the mean :math:`\mu`, floating, any shape.
      targets: real, the shape of `log_mean`: at least 0 for :math:`p < 2`, else
        positive (inf at 0); below 0 the loss is NaN.
      power: :math:`p`, at least 1, a number, or an array that fits the losses: 1 is
        `poisson_deviance`, 2 `gamma_deviance`, 3 the inverse Gaussian law's; between 1
        and 2 a zero has a probability.
      where: mask of the shape of `log_mean`, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses float32 (float64 for float64 inputs): the shape of `log_mean`, or a
      scalar when reduced.

    Numerics:
      With :math:`v = \log \mu - \log y` and :math:`f(z) = e^z - 1 - z`, computed as
      :math:`2 y^{2-p} \bigl( f((2 - p) v) / (2 - p) + f((1 - p) v) / (p - 1) \bigr)`:
      nothing cancels near :math:`\mu = y`, and the powers 1 and 2 are not singular.
      Far from it the linear terms, which cancel, are left out.

    Gradient:
      :math:`\partial \ell / \partial \log \mu = 2\, \bigl( \mu^{2-p} - y \mu^{1-p}
      \bigr)`.

    Raises:
      TypeError: `log_mean` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> log_mean, targets = jnp.array([0.0, 1.0]), jnp.array([0.0, 4.0])
      >>> print(jaxloss.tweedie_deviance(log_mean, targets, power=1.5).round(4))
      [4. 0.2994]

    References:
      Jørgensen, *Exponential dispersion models*, J. R. Stat. Soc. B 49, 1987.

    Elsewhere: `sklearn.metrics.mean_tweedie_deviance`, which takes (targets, mean).
    """
    check = Check("tweedie_deviance")
    check.reduction(reduction)
    x = inputs.observed(
        check, where, {"log_mean": log_mean}, {"targets": targets}, {}, 1
    )
    p = check.parameter("power", power, x.targets, low=1)
    if x.keep is not None and p.ndim:
        p = jnp.where(x.keep, p, 1)
    q = 2 - p
    zero = x.targets == 0
    y = jnp.where(zero, 1, x.targets)
    v = log_ratio(x.output, y)
    excess = _excess(v, q)
    # Without a target only the last term is left.
    some = q > 0
    divisor = jnp.where(some, q, 1)
    alone = jnp.where(some, jnp.exp(divisor * x.output) / divisor, jnp.inf)
    loss = 2 * jnp.where(zero, alone, y**q * excess)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


def _near_excess(v: Array, q: Array) -> Array:
    return exp_excess_over(q, v) + exp_excess_over(1 - q, -v)


@jax.custom_jvp
def _excess(v: Array, q: Array) -> Array:
    """(e^qv - 1) / q + (e^{(q - 1) v} - 1) / (1 - q), which is v²/2 near 0."""
    near = jnp.abs(v) < 1
    far = jnp.where(near, 1, v)
    return jnp.where(
        near,
        _near_excess(jnp.where(near, v, 0), q),
        quotient(far, q) + quotient(-far, 1 - q),
    )


def _excess_jvp(primals, tangents):
    # ∂/∂v = e^qv - e^{(q - 1) v}, of which the larger one is taken out.
    (v, q), (dv, dq) = primals, tangents
    dexcess = jnp.zeros_like(v)
    if not isinstance(dv, SymbolicZero):
        ahead = v > 0
        above, below = jnp.where(ahead, v, 0), jnp.where(ahead, 0, v)
        up = jnp.exp(q * above) * -expm1(-above)
        dexcess += jnp.where(ahead, up, jnp.exp((q - 1) * below) * expm1(below)) * dv
    if not isinstance(dq, SymbolicZero):
        dexcess += jax.jvp(lambda q: _near_excess(v, q), (q,), (dq,))[1]
    return _excess(v, q), dexcess


_excess.defjvp(_excess_jvp, symbolic_zeros=True)
