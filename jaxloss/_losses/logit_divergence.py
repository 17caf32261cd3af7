"""Divergences between two softmaxes, from their logits.

The target's logits come second, as the targets of every loss do; the divergence is
exact where the two are nearly equal, and either argument has derivatives.
"""

from jaxloss._core.logit_divergence import Kind, between, cooled
from jaxloss._core.logit_pairs import logit_pairs
from jaxloss._core.public import public
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check, is_off


@public
def softmax_kl_divergence(
    logits: Input,
    target_logits: Input,
    *,
    temperature: Number = 1.0,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Kullback-Leibler divergence of a softmax from that of the target's logits.

    .. math::
        \ell = \mathrm{KL}(p \| q) = \sum_j p_j (\log p_j - \log q_j), \qquad
        p = \operatorname{softmax}(t / T),\quad q = \operatorname{softmax}(x / T)

    with :math:`t` the target's logits, :math:`x` the model's: `kl_divergence`, for
    logits. It covers the modes of the target (forward, mean-seeking).

    Args:
      logits: the model's, floating, shape `[..., classes]` (the classes along `axis`).
      target_logits: the target's, of the same shape.
      temperature: T, above 0: a number, or an array that fits the losses. The logits
        are divided by it, which rounds their differences unless it is a power of two.
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
      A sum of terms that are never negative: near p = q, where the divergence is of the
      order of the squared difference of the logits, nothing cancels; offsets of either
      argument do, exactly. -inf logits are absent classes, and one that only the model
      lacks gives inf.

    Gradient:
      :math:`\partial \ell / \partial x_j = (q_j - p_j) / T`;
      :math:`\partial \ell / \partial t_j = p_j (\log (p_j / q_j) - \ell) / T`.

    Raises:
      TypeError: `logits` not floating, `target_logits` not real, a traced static
        option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits, target = jnp.array([[2.0, 1.0, 0.1]]), jnp.array([[3.0, 1.0, -1.0]])
      >>> print(jaxloss.softmax_kl_divergence(logits, target).round(4))
      [0.1234]

    References:
      Kullback, Leibler, *On Information and Sufficiency*, 1951; Hinton, Vinyals, Dean,
      arXiv:1503.02531.

    Elsewhere: `optax.losses.kl_divergence_with_log_targets` and
    `torch.nn.functional.kl_div(log_target=True)` on log-softmaxes, which lose the
    divergence of near-equal ones to rounding; `keras.losses.KLDivergence` on
    probabilities; fused with the heads, `linear_distillation_loss`.
    """
    return _divergence(
        Check("softmax_kl_divergence"),
        "kl",
        logits,
        target_logits,
        temperature=temperature,
        axis=axis,
        where=where,
        weights=weights,
        reduction=reduction,
        base=base,
    )


@public
def reverse_kl_divergence(
    logits: Input,
    target_logits: Input,
    *,
    temperature: Number = 1.0,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Kullback-Leibler divergence of the target's softmax from the model's.

    .. math::
        \ell = \mathrm{KL}(q \| p) = \sum_j q_j (\log q_j - \log p_j), \qquad
        p = \operatorname{softmax}(t / T),\quad q = \operatorname{softmax}(x / T)

    with :math:`t` the target's logits, :math:`x` the model's. It avoids what the target
    does not do (reverse, mode-seeking).

    Args:
      logits: the model's, floating, shape `[..., classes]` (the classes along `axis`).
      target_logits: the target's, of the same shape.
      temperature: T, above 0: a number, or an array that fits the losses. The logits
        are divided by it, which rounds their differences unless it is a power of two.
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
      As for `softmax_kl_divergence`; a class that only the target lacks gives inf.

    Gradient:
      :math:`\partial \ell / \partial x_j = q_j (\log (q_j / p_j) - \ell) / T`;
      :math:`\partial \ell / \partial t_j = (p_j - q_j) / T`.

    Raises:
      TypeError: `logits` not floating, `target_logits` not real, a traced static
        option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits, target = jnp.array([[2.0, 1.0, 0.1]]), jnp.array([[3.0, 1.0, -1.0]])
      >>> print(jaxloss.reverse_kl_divergence(logits, target).round(4))
      [0.1753]

    References:
      Gu et al., *MiniLLM: Knowledge Distillation of Large Language Models*,
      arXiv:2306.08543.

    Elsewhere: `beta=1` in Liger's `LigerJSD` and TRL's `GKDTrainer`; not in optax,
    torch or keras.
    """
    return _divergence(
        Check("reverse_kl_divergence"),
        "reverse_kl",
        logits,
        target_logits,
        temperature=temperature,
        axis=axis,
        where=where,
        weights=weights,
        reduction=reduction,
        base=base,
    )


@public
def js_divergence(
    logits: Input,
    target_logits: Input,
    *,
    beta: Number = 0.5,
    temperature: Number = 1.0,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Generalized Jensen-Shannon divergence between two softmaxes.

    .. math::
        \ell = \beta\, \mathrm{KL}(p \| m) + (1 - \beta)\, \mathrm{KL}(q \| m), \qquad
        m = \beta p + (1 - \beta) q

    with :math:`p = \operatorname{softmax}(t / T)` the target's distribution and
    :math:`q = \operatorname{softmax}(x / T)` the model's. :math:`\beta = 1/2` is the
    Jensen-Shannon divergence. Over :math:`\beta (1 - \beta)` it tends to
    :math:`\mathrm{KL}(p \| q)` as :math:`\beta \to 0` and to
    :math:`\mathrm{KL}(q \| p)` as :math:`\beta \to 1`; by convention the Python numbers
    0 and 1 mean these.

    Args:
      logits: the model's, floating, shape `[..., classes]` (the classes along `axis`).
      target_logits: the target's, of the same shape.
      beta: the target's share in the mixture, in [0, 1]: a number, or an array that
        fits the losses, in (0, 1).
      temperature: T, above 0: a number, or an array that fits the losses. The logits
        are divided by it, which rounds their differences unless it is a power of two.
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
      Near p = q a sum of terms of second order, in which nothing cancels; bounded also
      where either lacks a class (-inf logits).

    Gradient:
      :math:`\partial \ell / \partial x_j = (1 - \beta)\, q_j
      \bigl(\log (q_j / m_j) - \mathrm{KL}(q \| m)\bigr) / T`, likewise for the target;
      :math:`\partial \ell / \partial \beta
      = \mathrm{KL}(p \| m) - \mathrm{KL}(q \| m)`.

    Raises:
      TypeError: `logits` not floating, `target_logits` not real, a traced static
        option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits, target = jnp.array([[2.0, 1.0, 0.1]]), jnp.array([[3.0, 1.0, -1.0]])
      >>> print(jaxloss.js_divergence(logits, target).round(4))
      [0.0348]

    References:
      Lin, *Divergence Measures Based on the Shannon Entropy*, 1991; Agarwal et al.,
      *On-Policy Distillation of Language Models*, arXiv:2306.13649.

    Elsewhere: `LigerJSD` (beta 0.5; log-probabilities), TRL's
    `GKDTrainer.generalized_jsd_loss` (beta 0.5); not in optax, torch or keras.
    """
    kind: Kind = "jensen_shannon"
    if is_off(beta, 0):
        kind = "kl"
    elif is_off(beta, 1):
        kind = "reverse_kl"
    return _divergence(
        Check("js_divergence"),
        kind,
        logits,
        target_logits,
        beta=beta,
        temperature=temperature,
        axis=axis,
        where=where,
        weights=weights,
        reduction=reduction,
        base=base,
    )


# ------------------------------------------------------------------ what they share


def _divergence(
    check: Check,
    kind: Kind,
    logits: Input,
    target_logits: Input,
    *,
    beta: Number = 0.5,
    temperature: Number,
    axis: Axis,
    where: Input | None,
    weights: Input | None,
    reduction: Reduction,
    base: float | None,
) -> Array:
    """A divergence at a temperature, from the arguments to the reduction."""
    check.reduction(reduction)
    check.base(base)
    x, s, t = logit_pairs(
        check, axis, where, logits=logits, target_logits=target_logits
    )
    share = None
    if kind == "jensen_shannon":
        share = check.parameter(
            "beta", beta, x.like, low=0, high=1, open_low=True, open_high=True
        )
        share = x.spread(share)
    scale = None
    if not is_off(temperature, 1):
        scale = check.parameter(
            "temperature", temperature, x.like, low=0, open_low=True
        )
        scale = x.spread(scale)
    s, t = cooled(s, scale, x.axis), cooled(t, scale, x.axis)
    loss = between(kind, t, s, share, x.axis)
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)
