"""Other distances between two softmaxes: total variation, Hellinger, Rényi."""

import functools
import math

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core import axes, logit_divergence, norms, rows
from jaxloss._core.logit_pairs import logit_pairs
from jaxloss._core.public import public
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check, is_off


@public
def total_variation(
    logits: Input,
    target_logits: Input,
    *,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Total variation distance between two softmaxes, from their logits.

    .. math::
        \ell = \tfrac12 \sum_j |q_j - p_j|, \qquad
        p = \operatorname{softmax}(t),\quad q = \operatorname{softmax}(x)

    with :math:`t` the target's logits, :math:`x` the model's: the largest difference of
    the probabilities that the two give to any event.

    Args:
      logits: the model's, floating, shape `[..., classes]` (the classes along `axis`).
      target_logits: the target's, of the same shape.
      axis: the axis of the classes; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `logits`
        (classes kept, removed from both). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The distances, in [0, 1], float32 (float64 for float64 inputs): the shape of
      `logits` without `axis`, or a scalar when reduced.

    Numerics:
      :math:`q_j - p_j` is taken from the differences of the logits, so near-equal
      distributions keep their distance. -inf logits are absent classes.

    Gradient:
      :math:`\partial \ell / \partial x_j = q_j (g_j - \sum_k q_k g_k)` with
      :math:`g = \tfrac12 \operatorname{sign}(q - p)`, which is 0 at q = p; minus the
      same with p for q with respect to the target.

    Raises:
      TypeError: `logits` not floating, `target_logits` not real, a traced static
        option.
      ValueError: shapes that do not fit, an unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits, target = jnp.array([[2.0, 1.0, 0.1]]), jnp.array([[3.0, 1.0, -1.0]])
      >>> print(jaxloss.total_variation(logits, target).round(4))
      [0.2078]

    References:
      Levin, Peres, Wilmer, *Markov Chains and Mixing Times*, 4.1; Wen et al.,
      *f-Divergence Minimization for Sequence-Level Knowledge Distillation*,
      arXiv:2307.15190.

    Elsewhere: `LigerTVDLoss` (on probabilities); not in optax, torch or keras.
    """
    check = Check("total_variation")
    check.reduction(reduction)
    x, s, t = logit_pairs(
        check, axis, where, logits=logits, target_logits=target_logits
    )
    loss = logit_divergence.total_variation(t, s, x.axis)
    return x.reduced(check, loss, weights=weights, reduction=reduction)


@public
def hellinger_distance(
    logits: Input,
    target_logits: Input,
    *,
    squared: bool = False,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Hellinger distance between two softmaxes, from their logits.

    .. math::
        \ell = \sqrt{\tfrac12 \sum_j \bigl(\sqrt{q_j} - \sqrt{p_j}\bigr)^2}
             = \sqrt{1 - \sum_j \sqrt{p_j q_j}}, \qquad
        p = \operatorname{softmax}(t),\quad q = \operatorname{softmax}(x)

    with :math:`t` the target's logits, :math:`x` the model's.

    Args:
      logits: the model's, floating, shape `[..., classes]` (the classes along `axis`).
      target_logits: the target's, of the same shape.
      squared: leave out the root: smooth also at q = p. Static.
      axis: the axis of the classes; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `logits`
        (classes kept, removed from both). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The distances, in [0, 1], float32 (float64 for float64 inputs): the shape of
      `logits` without `axis`, or a scalar when reduced.

    Numerics:
      :math:`\sqrt{q_j} - \sqrt{p_j}` is taken from the differences of the logits, so
      near-equal distributions keep their distance. The gradient of the squared one
      keeps its digits where the two hardly overlap, too. -inf logits are absent
      classes.

    Gradient:
      Squared: :math:`\partial \ell / \partial x_j
      = \tfrac12 (q_j \sum_k r_k - r_j)` with :math:`r = \sqrt{p q}`; else that over
      twice the distance, and 0 at q = p, where the distance has a corner.

    Raises:
      TypeError: `logits` not floating, `target_logits` not real, a traced static
        option.
      ValueError: shapes that do not fit, an unknown option.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits, target = jnp.array([[2.0, 1.0, 0.1]]), jnp.array([[3.0, 1.0, -1.0]])
      >>> print(jaxloss.hellinger_distance(logits, target).round(4))
      [0.1897]

    References:
      Hellinger, *Neue Begründung der Theorie quadratischer Formen von unendlichvielen
      Veränderlichen*, 1909.

    Elsewhere: not in optax, torch or keras.
    """
    check = Check("hellinger_distance")
    check.reduction(reduction)
    check.choice("squared", squared, (False, True))
    x, s, t = logit_pairs(
        check, axis, where, logits=logits, target_logits=target_logits
    )
    if squared:
        loss = _squared_hellinger(t, s, x.axis)
    else:
        surplus = logit_divergence.root_surplus(t, s, x.axis) / math.sqrt(2)
        loss = norms.norm(surplus, x.axis)
    return x.reduced(check, loss, weights=weights, reduction=reduction)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _squared_hellinger(t: Array, s: Array, axis: axes.RowAxis) -> Array:
    """Σ (√q_j - √p_j)² / 2."""
    surplus = logit_divergence.root_surplus(t, s, axis)
    return axes.total(jnp.square(surplus), axis) / 2


def _squared_hellinger_jvp(axis, primals, tangents):
    # ∂/∂t_j = -(r_j - p_j B) / 2, with r = √(p q) and B = Σ r = 1 - H²; by s likewise.
    # Near p = q it is of the order of √q - √p, far from it of that of r.
    squared = _squared_hellinger(*primals, axis)
    surplus = logit_divergence.root_surplus(*primals, axis)
    roots = [jnp.exp(-rows.nll(x, axis) / 2) for x in primals]
    alike = axes.total(roots[0] * roots[1], axis)
    dsquared = jnp.zeros_like(squared)
    for own, other, ahead, dx in zip(
        roots, reversed(roots), (surplus, -surplus), tangents, strict=True
    ):
        if not isinstance(dx, SymbolicZero):
            p = jnp.square(own)
            near, far = own * ahead + p * squared, own * other - p * alike
            slope = jnp.where(squared < 0.5, near, far)
            # That of the class with most of the mass cancels: it is minus all others.
            most = p > 0.5
            rest = axes.total(jnp.where(most, 0, slope), axis)
            dsquared -= axes.total(jnp.where(most, -rest, slope) * dx, axis) / 2
    return squared, dsquared


_squared_hellinger.defjvp(_squared_hellinger_jvp, symbolic_zeros=True)


@public
def renyi_divergence(
    logits: Input,
    target_logits: Input,
    *,
    alpha: Number = 0.5,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Rényi divergence of a softmax from that of the target's logits.

    .. math::
        \ell = \frac{1}{\alpha - 1} \log \sum_j p_j^\alpha q_j^{1 - \alpha}, \qquad
        p = \operatorname{softmax}(t),\quad q = \operatorname{softmax}(x)

    with :math:`t` the target's logits, :math:`x` the model's. :math:`\alpha \to 1` is
    :math:`\mathrm{KL}(p \| q)`, :math:`\alpha = 1/2` twice the Bhattacharyya distance.

    Args:
      logits: the model's, floating, shape `[..., classes]` (the classes along `axis`).
      target_logits: the target's, of the same shape.
      alpha: the order, above 0: a number, or an array that fits the losses; it may be
        or cross 1.
      axis: the axis of the classes; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `logits`
        (classes kept, removed from both). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The divergences in nats (or of `base`), at least 0, float32 (float64 for float64
      inputs): the shape of `logits` without `axis`, or a scalar when reduced.

    Numerics:
      From a sum of terms of one sign and of second order in the differences of the
      logits: near p = q and near :math:`\alpha = 1` nothing cancels. -inf logits are
      absent classes; one that only the model lacks gives inf from :math:`\alpha = 1`.

    Gradient:
      :math:`\partial \ell / \partial x_j = q_j - r_j` and
      :math:`\partial \ell / \partial t_j = \alpha (r_j - p_j) / (\alpha - 1)` with
      :math:`r_j \propto p_j^\alpha q_j^{1-\alpha}`;
      :math:`\partial \ell / \partial \alpha = \mathrm{KL}(r \| p) / (1 - \alpha)^2`.

    Raises:
      TypeError: `logits` not floating, `target_logits` not real, a traced static
        option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits, target = jnp.array([[2.0, 1.0, 0.1]]), jnp.array([[3.0, 1.0, -1.0]])
      >>> print(jaxloss.renyi_divergence(logits, target, alpha=2.0).round(4))
      [0.1819]

    References:
      Rényi, *On measures of entropy and information*, 1961; van Erven, Harremoës,
      *Rényi Divergence and Kullback-Leibler Divergence*, arXiv:1206.2459.

    Elsewhere: not in optax, torch or keras.
    """
    check = Check("renyi_divergence")
    check.reduction(reduction)
    check.base(base)
    x, s, t = logit_pairs(
        check, axis, where, logits=logits, target_logits=target_logits
    )
    if is_off(alpha, 1):
        loss = logit_divergence.kl(t, s, x.axis)
    else:
        order = check.parameter("alpha", alpha, x.like, low=0, open_low=True)
        loss = logit_divergence.renyi(t, s, x.spread(order), x.axis)
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)
