"""Kullback-Leibler divergences between two members of a parametric family.

An argument named `prior_*` is what the model's distribution is measured against,
KL(model ‖ prior); one named `target_*` is what it is to come to, KL(target ‖ model).
"""

import jax
import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.exponential import exp_excess
from jaxloss._core.gamma import tangent_gap
from jaxloss._core.numerics import (
    in_base,
    sigmoid,
    sigmoid_difference,
    softplus,
    weighted,
)
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Reduction
from jaxloss._core.validate import Check


@public
def gaussian_kl_divergence(
    mean: Input,
    log_variance: Input,
    *,
    prior_mean: Input | None = None,
    prior_log_variance: Input | None = None,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""KL divergence of a normal distribution from a prior, entry by entry.

    .. math::
        \ell = \mathrm{KL}\bigl(N(\mu, v) \| N(\mu_0, v_0)\bigr)
             = \tfrac12 \Bigl(\frac{v}{v_0} - 1 - \log \frac{v}{v_0}
               + \frac{(\mu - \mu_0)^2}{v_0}\Bigr)

    That of a distribution with a diagonal covariance is the sum over its entries: for
    the standard normal prior, the regulariser of a variational autoencoder.

    Args:
      mean: :math:`\mu`, floating, any shape.
      log_variance: :math:`\log v`, floating, the shape of `mean`.
      prior_mean: :math:`\mu_0`, real, the shape of `mean`; none: 0.
      prior_log_variance: :math:`\log v_0`, real, the shape of `mean`; none: 0.
      where: mask of the shape of `mean` (entries kept). Axes may be 1.
      weights: weight of each entry, the shape of `mean`. Axes may be 1.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The divergences in nats (or of `base`), at least 0, float32 (float64 for float64
      inputs): the shape of `mean`, or a scalar when reduced.

    Numerics:
      :math:`e^d - 1 - d` with :math:`d = \log v - \log v_0` does not cancel near
      :math:`v = v_0`; the loss is a sum of two terms that are not negative.

    Gradient:
      :math:`\partial \ell / \partial \mu = (\mu - \mu_0) / v_0`,
      :math:`\partial \ell / \partial \log v = \tfrac12 (v / v_0 - 1)`; those with
      respect to the prior are defined.

    Raises:
      TypeError: `mean` or `log_variance` not floating, a prior not real.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> mean, log_variance = jnp.array([0.5, 0.0]), jnp.array([0.0, -1.0])
      >>> print(jaxloss.gaussian_kl_divergence(mean, log_variance).round(4))
      [0.125 0.1839]

    References:
      Kingma, Welling, *Auto-Encoding Variational Bayes*, arXiv:1312.6114.

    Elsewhere: `torch.distributions.kl_divergence` and `tfp.distributions` of two
    normals (by standard deviations); not in optax or keras.
    """
    check = Check("gaussian_kl_divergence")
    check.reduction(reduction)
    check.base(base)
    priors = {"prior_mean": prior_mean, "prior_log_variance": prior_log_variance}
    given = {name: value for name, value in priors.items() if value is not None}
    arrays, keep = inputs.aligned(
        check, where, {"mean": mean, "log_variance": log_variance}, given
    )
    (mu, log_v), prior = arrays[:2], dict(zip(given, arrays[2:], strict=True))
    offset = mu - prior["prior_mean"] if "prior_mean" in prior else mu
    ratio, scaled = log_v, offset
    if "prior_log_variance" in prior:
        ratio = log_v - prior["prior_log_variance"]
        scaled = offset * jnp.exp(-prior["prior_log_variance"] / 2)
    loss = in_base((exp_excess(ratio) + jnp.square(scaled)) / 2, base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def bernoulli_kl_divergence(
    logits: Input,
    target_logits: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""KL divergence of Bernoulli variables from their targets, entry by entry.

    .. math::
        \ell = p \log \frac{p}{q} + (1 - p) \log \frac{1 - p}{1 - q}, \qquad
        p = \sigma(t),\quad q = \sigma(x)

    with :math:`t` the target's logits, :math:`x` the model's.

    Args:
      logits: log-odds of the model, floating, any shape.
      target_logits: log-odds of the target, real, the shape of `logits`.
      where: mask of the shape of `logits` (entries kept). Axes may be 1.
      weights: weight of each entry, the shape of `logits`. Axes may be 1.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The divergences in nats (or of `base`), at least 0, float32 (float64 for float64
      inputs): the shape of `logits`, or a scalar when reduced.

    Numerics:
      From the difference of the logits, by terms that are not negative: exact for near
      equal and for confident variables. Infinite logits give the limits.

    Gradient:
      :math:`\partial \ell / \partial x = q - p`;
      :math:`\partial \ell / \partial t = p (1 - p) (t - x)`.

    Raises:
      TypeError: `logits` not floating, `target_logits` not real.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits, target_logits = jnp.array([2.0, -1.0]), jnp.array([1.0, -1.5])
      >>> print(jaxloss.bernoulli_kl_divergence(logits, target_logits).round(4))
      [0.0826 0.0206]

    References:
      Kullback, Leibler, *On Information and Sufficiency*, 1951.

    Elsewhere: `torch.distributions.kl_divergence` and `tfp.distributions` of two
    Bernoullis; not in optax or keras.
    """
    check = Check("bernoulli_kl_divergence")
    check.reduction(reduction)
    check.base(base)
    s, t, keep = inputs.elements(
        check, where, logits=logits, target_logits=target_logits
    )
    loss = in_base(_bernoulli_kl(t, s), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def dirichlet_kl_divergence(
    concentration: Input,
    prior_concentration: Input,
    *,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""KL divergence of a Dirichlet distribution from a prior.

    .. math::
        \ell = \mathrm{KL}\bigl(\mathrm{Dir}(a) \| \mathrm{Dir}(b)\bigr)
             = \sum_k B(a_k, b_k) - B\Bigl(\sum_k a_k, \sum_k b_k\Bigr), \qquad
        B(a, b) = \log \frac{\Gamma(b)}{\Gamma(a)} - \psi(a) (b - a)

    with :math:`a` the model's concentration and :math:`b` the prior's: ones, in
    evidential classification.

    Args:
      concentration: :math:`a`, positive, floating, shape `[..., classes]`.
      prior_concentration: :math:`b`, positive, real, of the same shape.
      axis: the axis of the classes; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of
        `concentration` (classes kept). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The divergences in nats (or of `base`), float32 (float64 for float64 inputs): the
      shape of `concentration` without `axis`, or a scalar when reduced.

    Numerics:
      :math:`B`, what the tangent of :math:`\log \Gamma` at a misses at b, is computed
      as such, without a value of :math:`\log \Gamma` or :math:`\psi`: exact for close
      and for large concentrations. One that is not positive gives NaN in value and
      gradient.

    Gradient:
      :math:`\partial \ell / \partial a_k = \psi'(a_k)(a_k - b_k)
      - \psi'(\sum a) \sum_j (a_j - b_j)`;
      :math:`\partial \ell / \partial b_k = \psi(b_k) - \psi(a_k)
      - \psi(\sum b) + \psi(\sum a)`.

    Raises:
      TypeError: `concentration` not floating, `prior_concentration` not real, a traced
        static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> concentration = jnp.array([[3.0, 1.0, 0.5]])
      >>> prior = jnp.ones_like(concentration)
      >>> print(jaxloss.dirichlet_kl_divergence(concentration, prior).round(4))
      [1.2391]

    References:
      Sensoy, Kaplan, Kandemir, *Evidential Deep Learning to Quantify Classification
      Uncertainty*, arXiv:1806.01768.

    Elsewhere: `torch.distributions.kl_divergence` and `tfp.distributions` of two
    Dirichlets; not in optax or keras.
    """
    check = Check("dirichlet_kl_divergence")
    check.reduction(reduction)
    check.base(base)
    x = inputs.rows(
        check,
        axis,
        where,
        1.0,
        1.0,
        concentration=concentration,
        prior_concentration=prior_concentration,
    )
    a, b = x.predictions, x.require_targets()
    if x.keep is not None:
        kept = jnp.expand_dims(x.keep, x.axis)
        a, b = (jnp.where(kept, v, 1) for v in (a, b))
    positive = (a > 0) & (b > 0)
    a, b = (jnp.where(positive, v, jnp.nan) for v in (a, b))

    def total(values):
        if x.entries is not None:
            values = jnp.where(x.entries, values, 0)
        return jnp.sum(values, axis=x.axis, keepdims=True)

    each = tangent_gap(a, b, b - a)
    whole = tangent_gap(total(a), total(b), total(b - a))
    loss = total(each) - whole
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)


# ------------------------------------------------------------------ formulas


@jax.custom_jvp
def _bernoulli_kl(t: Array, s: Array) -> Array:
    """KL of σ(t) and σ(s)."""
    # With d = s - t, p = σ(t): log(1 + p R(d (1 - p)) + (1 - p) R(-d p)),
    # R(x) = e^x - 1 - x, terms of second order that are not negative. Where d is large
    # nothing of the definition cancels.
    p, q = sigmoid(t), sigmoid(-t)
    d = s - t
    near = jnp.abs(d) < 8
    d = jnp.where(near, d, 0)
    close = jnp.log1p(p * exp_excess(d * q) + q * exp_excess(-d * p))
    far = weighted(softplus(-s), p) - weighted(softplus(-t), p)
    far += weighted(softplus(s), q) - weighted(softplus(t), q)
    # Two infinite logits that are the same are no distance apart.
    same = s == t
    return jnp.where(same, 0, jnp.where(near, close, far))


@_bernoulli_kl.defjvp
def _(primals, tangents):
    # ∂/∂s = σ(s) - σ(t), ∂/∂t = -σ(t) σ(-t) (s - t).
    (t, s), (dt, ds) = primals, tangents
    curve = sigmoid(t) * sigmoid(-t)
    pull = jnp.where(curve == 0, 0, curve * (s - t))
    return _bernoulli_kl(t, s), sigmoid_difference(s, t) * ds - pull * dt
