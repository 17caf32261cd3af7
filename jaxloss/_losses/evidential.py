"""Evidential losses: the model says how much it has seen, not only what it expects."""

import math

import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.dirichlet import kl_from_uniform
from jaxloss._core.elementwise import entries
from jaxloss._core.gamma import digamma_rise
from jaxloss._core.gamma_function import half_step
from jaxloss._core.logarithm import log1p_square
from jaxloss._core.others import others
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.residual import magnitude
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check, is_off

VARIANTS = ("mse", "log", "digamma")


@public
def evidential_classification_loss(
    evidence: Input,
    targets: Input,
    *,
    variant: str = "mse",
    kl_weight: Number = 1.0,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Evidential classification: a Dirichlet law over distributions of classes.

    With the concentrations :math:`\alpha = 1 + e`, their sum :math:`S`, the expected
    distribution :math:`p = \alpha / S` and the targets :math:`t`:

    .. math::
        \ell_\text{mse} &= \sum_c (t_c - p_c)^2 + \frac{p_c (1 - p_c)}{S + 1} \\
        \ell_\text{log} &= \sum_c t_c (\log S - \log \alpha_c) \\
        \ell_\text{digamma} &= \sum_c t_c \bigl(\psi(S) - \psi(\alpha_c)\bigr)

    the expectations, under the law, of the Brier score, the likelihood (its negative
    logarithm) and the cross entropy; and in addition, to take back evidence for what
    is wrong,

    .. math::
        \lambda\, \operatorname{KL}\bigl(\operatorname{Dir}(\tilde\alpha) \,\|\,
        \operatorname{Dir}(1, \dots, 1)\bigr), \qquad
        \tilde\alpha = 1 + (1 - t)\, e

    Args:
      evidence: :math:`e`, not negative (a softplus of the network's output, say),
        floating, shape `[..., classes]` (the classes along `axis`).
      targets: a one-hot vector or a distribution over the classes, the shape of
        `evidence`.
      variant: `"mse"`, `"log"` or `"digamma"`. Static.
      kl_weight: :math:`\lambda`, at least 0: a number, or an array that fits the
        losses. It is usually raised from 0 to 1 over the first epochs, because at 1
        from the start a network may never find any evidence. 0 turns it off.
      axis: the axis of the classes; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `evidence`
        (classes kept, removed from both). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The losses (nats, but for the squared error), float32 (float64 for float64
      inputs): the shape of `evidence` without `axis`, or a scalar when reduced.

    Numerics:
      No two values of the gamma function's relatives are subtracted: where almost all
      the evidence is for one class, or there is hardly any, value and gradient keep
      their relative accuracy. Negative evidence gives NaN in value and gradient.

    Gradient:
      With :math:`d = p - t` and :math:`q = \sum_c p_c^2`,
      :math:`\partial \ell_\text{mse} / \partial e_j = \frac2S (d_j - \sum_c p_c d_c)
      - \frac{2 (p_j - q)}{S (S + 1)} - \frac{1 - q}{(S + 1)^2}`;
      :math:`\partial \ell_\text{log} / \partial e_j = \sum_c t_c / S - t_j / \alpha_j`;
      :math:`\partial \ell_\text{digamma} / \partial e_j =
      \psi'(S) \sum_c t_c - t_j \psi'(\alpha_j)`; of the divergence
      :math:`(1 - t_j)\,\bigl((\tilde\alpha_j - 1)\, \psi'(\tilde\alpha_j) -
      (\tilde S - C)\, \psi'(\tilde S)\bigr)`.

    Raises:
      TypeError: `evidence` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> evidence = jnp.array([[8.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
      >>> targets = jnp.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
      >>> print(jaxloss.evidential_classification_loss(evidence, targets).round(4))
      [0.3935 0.8333]

    References:
      Sensoy, Kaplan, Kandemir, *Evidential Deep Learning to Quantify Classification
      Uncertainty*, arXiv:1806.01768, equations 3 to 5.

    Elsewhere: in the authors' TensorFlow code.
    """
    check = Check("evidential_classification_loss")
    check.reduction(reduction)
    check.choice("variant", variant, VARIANTS)
    x = inputs.rows(check, axis, where, evidence=evidence, targets=targets)
    weight = check.parameter("kl_weight", kl_weight, x.like, low=0)
    if x.keep is not None and weight.ndim:
        weight = jnp.where(x.keep, weight, 0)
    e, t = x.predictions, x.require_targets()
    e = e * jnp.where(e >= 0, 1, jnp.nan)
    alpha = 1 + e
    # A class that is not there has a concentration of 0, and 1 as a divisor.
    there = alpha if x.entries is None else jnp.where(x.entries, alpha, 0)
    rest = others(there, x.axis)
    match variant:
        case "log":
            terms = t * jnp.log1p(rest / alpha)
        case "digamma":
            terms = t * digamma_rise(alpha, rest)
        case _:
            total = jnp.sum(there, axis=x.axis, keepdims=True)
            total = jnp.where(total == 0, 1, total)
            p, missing = there / total, rest / total
            # t - p, of which the entry above 1/2 is all that is missing, less 1 - t.
            error = jnp.where(p > 0.5, missing - (1 - t), t - p)
            terms = error * error + p * missing / (total + 1)
    loss = jnp.sum(terms, axis=x.axis)
    if not is_off(kl_weight, 0):
        classes = jnp.full_like(rest, 1) if x.entries is None else x.entries
        classes = jnp.sum(classes.astype(e.dtype), axis=x.axis, keepdims=True)
        wrong = (1 - t) * e
        kl = kl_from_uniform(wrong, jnp.maximum(classes, 1), x.axis)
        loss = loss + weight * jnp.squeeze(kl, x.axis)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def evidential_regression_loss(
    mean: Input,
    targets: Input,
    *,
    evidence: Input,
    alpha: Input,
    beta: Input,
    error_weight: Number = 0.01,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Evidential regression: a normal-inverse-gamma law over Gaussians.

    With :math:`\gamma` the mean, :math:`\nu` its evidence, :math:`\alpha` and
    :math:`\beta` shape and scale of the variance, :math:`e = \gamma - y` and
    :math:`\Omega = 2 \beta (1 + \nu)`:

    .. math::
        \ell = \tfrac12 \log \frac{\pi}{\nu} - \alpha \log \Omega
             + (\alpha + \tfrac12) \log(\nu e^2 + \Omega)
             + \log \frac{\Gamma(\alpha)}{\Gamma(\alpha + \frac12)}
             + \lambda\, |e|\, (2 \nu + \alpha)

    the negative log-likelihood of the target, which is distributed as Student's t with
    :math:`2\alpha` degrees of freedom, and a penalty on evidence that errs.

    Args:
      mean: :math:`\gamma`, floating, any shape.
      targets: :math:`y`, real, the shape of `mean`.
      evidence: :math:`\nu`, above 0, the shape of `mean`.
      alpha: :math:`\alpha`, above 0, the shape of `mean`; above 1 for the variance to
        have a mean.
      beta: :math:`\beta`, above 0, the shape of `mean`.
      error_weight: :math:`\lambda`, at least 0: a number, or an array that fits the
        losses. 0 turns the penalty off.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses in nats, float32 (float64 for float64 inputs): the shape of `mean`, or
      a scalar when reduced.

    Numerics:
      Written so that neither :math:`\alpha \log \Omega` nor the logarithms of the gamma
      function cancel, for a shape or an evidence of any size; the square of the error
      does not overflow. Parameters out of their range give NaN in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial \gamma =
      (2\alpha + 1)\, \nu e / (\nu e^2 + \Omega) + \lambda \operatorname{sign}(e)
      (2 \nu + \alpha)`.

    Raises:
      TypeError: `mean` or a parameter of the law not floating, `targets` not real.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> ones = jnp.ones(2)
      >>> loss = jaxloss.evidential_regression_loss(
      ...     jnp.array([0.5, 3.0]), jnp.array([0.0, 0.0]),
      ...     evidence=ones, alpha=2 * ones, beta=ones)
      >>> print(loss.round(4))
      [1.1524 4.0475]

    References:
      Amini et al., *Deep Evidential Regression*, arXiv:1910.02600, equations 8 to 10.

    Elsewhere: in the authors' TensorFlow code.
    """
    x = entries(
        "evidential_regression_loss",
        where,
        reduction,
        {"mean": mean, "evidence": evidence, "alpha": alpha, "beta": beta},
        {"targets": targets},
        {"evidence": 1, "alpha": 1, "beta": 1},
    )
    location, *law, target = x.arrays
    nu, shape, rate = (p * jnp.where(p > 0, 1, jnp.nan) for p in law)
    weight = x.parameter("error_weight", error_weight, low=0)
    error = location - target
    # Ω / ν = 2 β (1 + 1/ν), and α log Ω is gone from (α + ½) log(ν e² + Ω). The two
    # log Γ differ by half of log α, and little more.
    spread = 2 * rate * (1 + 1 / nu)
    loss = 0.5 * (jnp.log(2 * math.pi * rate) - jnp.log(shape) + jnp.log1p(1 / nu))
    loss += (shape + 0.5) * log1p_square(error / jnp.sqrt(spread))
    loss += half_step(shape)
    if not is_off(error_weight, 0):
        loss += weight * (magnitude(error) * (2 * nu + shape))
    return x.reduced(loss, weights)
