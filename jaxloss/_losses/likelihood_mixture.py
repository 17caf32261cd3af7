"""Likelihoods of mixtures of any components."""

import functools

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core import inputs, rows
from jaxloss._core.numerics import in_base
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Reduction
from jaxloss._core.validate import Check


@public
def mixture_nll(
    logits: Input,
    component_nlls: Input,
    *,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Negative log-likelihood of a mixture, from that of its components.

    .. math::
        \ell = -\log \sum_k p_k\, e^{-c_k}, \qquad p = \operatorname{softmax}(x)

    Args:
      logits: unnormalised logarithms :math:`x` of the weights of the components,
        floating, shape `[..., components]` (the components along `axis`).
      component_nlls: the negative log-likelihood :math:`c_k` of each component, in
        nats, the shape of `logits`: of any law, such as `gaussian_nll(mean,
        targets[..., None] + 0 * mean, log_variance=...)`; inf for a component that
        excludes the target.
      axis: the axis of the components; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `logits`
        (components kept). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `logits` without `axis`, or a scalar when reduced.

    Numerics:
      One log-sum-exp of :math:`-(c_k - \log p_k)`; offsets of the logits cancel
      exactly. The mixture density network is this loss of `gaussian_nll`, a mixture of
      discretised logistics of `discretized_logistic_nll`.

    Gradient:
      With the responsibilities :math:`r_k = p_k e^{-c_k} / \sum_j p_j e^{-c_j}`:
      :math:`\partial \ell / \partial x_k = p_k - r_k` and :math:`\partial \ell /
      \partial c_k = r_k`.

    Raises:
      TypeError: `logits` not floating, `component_nlls` not real, a traced static
        option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> mean, logits = jnp.array([[-1.0, 2.0]]), jnp.array([[0.0, 1.0]])
      >>> nlls = jaxloss.gaussian_nll(mean, jnp.full((1, 2), 0.5), log_variance=0.0)
      >>> print(jaxloss.mixture_nll(logits, nlls).round(4))
      [2.0439]

    References:
      Bishop, *Mixture Density Networks*, NCRG/94/004, 1994.

    Elsewhere: `-torch.distributions.MixtureSameFamily(...).log_prob(targets)`,
    `tfd.MixtureSameFamily`.
    """
    check = Check("mixture_nll")
    check.reduction(reduction)
    check.base(base)
    x = inputs.rows(
        check, axis, where, -jnp.inf, 0.0, logits=logits, component_nlls=component_nlls
    )
    loss = _mixture(x.predictions, x.require_targets(), x.axis)
    loss = in_base(jnp.squeeze(loss, x.axis), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _mixture(x: Array, costs: Array, axis: int) -> Array:
    """-log Σ p_k e^{-c_k}, p = softmax(x)."""
    return -rows.log_sum_exp(-(costs + rows.nll(x, axis)), axis)


def _mixture_jvp(axis, primals, tangents):
    # p_k - r_k, and r_k. Where one component holds nearly all of p and of r, it is the
    # difference of their complements.
    (x, costs), (dx, dcosts) = primals, tangents
    shares = rows.softmax(-(costs + rows.nll(x, axis)), axis)
    dloss = jnp.zeros_like(x)
    if not isinstance(dx, SymbolicZero):
        p = rows.softmax(x, axis)
        both = (p.p > 0.5) & (shares.p > 0.5)
        slope = jnp.where(both, shares.complement - p.complement, p.p - shares.p)
        dloss += slope * dx
    if not isinstance(dcosts, SymbolicZero):
        dloss += shares.p * dcosts
    return _mixture(x, costs, axis), jnp.sum(dloss, axis=axis, keepdims=True)


_mixture.defjvp(_mixture_jvp, symbolic_zeros=True)
