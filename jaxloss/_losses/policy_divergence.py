"""How far a policy has moved: divergences and ratios from its samples."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from jaxloss._core import inputs, surrogate
from jaxloss._core.loudness import loud
from jaxloss._core.numerics import in_base
from jaxloss._core.parameters import kept_parameter
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check

Level = Literal["token", "sequence", "geometric"]
"""Of what a weight is the ratio: a token, an answer, or its tokens' geometric mean."""


@public
def kl_estimate(
    log_probs: Input,
    reference_log_probs: Input,
    *,
    estimator: Literal["k1", "k2", "k3"] = "k3",
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Estimate of a policy's divergence from a reference, from its own samples.

    .. math::
        k_1 = -r, \qquad k_2 = \tfrac12 r^2, \qquad k_3 = e^r - 1 - r, \qquad
        r = \log \pi_{\text{ref}}(a) - \log \pi(a)

    All of them estimate :math:`\mathrm{KL}(\pi \,\|\, \pi_{\text{ref}})` where
    :math:`a` is drawn from :math:`\pi`: :math:`k_1` and :math:`k_3` without bias,
    :math:`k_2` with little where both are close, :math:`k_2` and :math:`k_3` with less
    variance, and never negative.

    Args:
      log_probs: :math:`\log \pi(a)`, floating, any shape.
      reference_log_probs: :math:`\log \pi_{\text{ref}}(a)`, the same shape.
      estimator: `"k1"`, `"k2"` or `"k3"`. Static.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The estimates in nats (or of `base`), float32 (float64 for float64 inputs): the
      shape of `log_probs`, or a scalar when reduced.

    Numerics:
      :math:`k_3` is accurate in relative terms near 0, where its terms cancel. It
      overflows only where it is itself too large for its dtype.

    Gradient:
      By :math:`\log \pi`: 1 for `"k1"`, :math:`-r` for `"k2"`, :math:`1 - e^r` for
      `"k3"`; none reaches the reference, which is fixed. As a loss on samples of the
      policy, only `"k2"` has the gradient of the divergence on average; that of
      `"k1"` is 0 on average, and that of `"k3"` is the forward divergence's.

    Raises:
      TypeError: an array not floating.
      ValueError: shapes that differ, an unknown estimator.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> log_probs, reference = jnp.array([-1.0, -2.0]), jnp.array([-1.5, -1.0])
      >>> print(jaxloss.kl_estimate(log_probs, reference).round(4))
      [0.1065 0.7183]

    References:
      Schulman, *Approximating KL Divergence*, 2020,
      http://joschu.net/blog/kl-approx.html.

    Elsewhere: the divergence of TRL's and Liger Kernel's GRPO is `"k3"`.
    """
    check = Check("kl_estimate")
    check.reduction(reduction)
    check.base(base)
    check.choice("estimator", estimator, surrogate.ESTIMATORS)
    (new, reference), keep = inputs.aligned(
        check,
        where,
        {"log_probs": log_probs},
        {"reference_log_probs": reference_log_probs},
    )
    ratio = jax.lax.stop_gradient(reference) - new
    loss = in_base(surrogate.estimate(ratio, estimator), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def sequence_log_ratio(
    log_probs: Input,
    old_log_probs: Input,
    *,
    where: Input | None = None,
) -> Array:
    r"""Logarithm of a sequence's ratio under two policies, averaged over its tokens.

    .. math::
        \log s_i = \frac{1}{n_i} \sum_t \left[\log \pi(y_{it})
            - \log \pi_{\text{old}}(y_{it})\right]

    Its exponential is the importance ratio of GSPO. `ppo_loss` of it, with
    `old_log_probs` of zeros, is GSPO's loss of each answer.

    Args:
      log_probs: :math:`\log \pi(y_{it})`, floating, shape `[..., tokens]`.
      old_log_probs: :math:`\log \pi_{\text{old}}(y_{it})`, the same shape.
      where: mask of the tokens kept, `[..., tokens]`, or of the sequences kept,
        `[...]`. Axes may be 1.

    Returns:
      The logarithms of the ratios, float32 (float64 for float64 inputs), shape `[...]`;
      0 for a sequence of which nothing is kept.

    Numerics:
      The tokens' differences are taken before their sum: a common offset cancels.

    Gradient:
      :math:`\partial \log s_i / \partial \log \pi(y_{it}) = 1 / n_i`. None reaches the
      old policy, which is fixed.

    Raises:
      TypeError: an array not floating.
      ValueError: shapes that differ.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> log_probs = jnp.array([[-1.0, -2.0, -3.0]])
      >>> old_log_probs = jnp.array([[-2.0, -2.5, -9.0]])
      >>> where = jnp.array([[True, True, False]])
      >>> print(jaxloss.sequence_log_ratio(log_probs, old_log_probs, where=where))
      [0.75]

    References:
      Zheng et al., *Group Sequence Policy Optimization*, arXiv:2507.18071.

    Elsewhere: `importance_sampling_level="sequence"` of TRL's `GRPOConfig`.
    """
    check = Check("sequence_log_ratio")
    x = inputs.rows(
        *(check, -1, where, 0.0, 0.0),
        log_probs=log_probs,
        old_log_probs=old_log_probs,
    )
    ratio = x.predictions - jax.lax.stop_gradient(x.require_targets())
    return surrogate.mean_over_tokens(loud(ratio), x.entries)[..., 0]


@public
def importance_weights(
    log_probs: Input,
    sampler_log_probs: Input,
    *,
    level: Level = "token",
    min_ratio: Number = 0.0,
    max_ratio: Number = 2.0,
    outside: Literal["clip", "drop"] = "clip",
    where: Input | None = None,
) -> Array:
    r"""Weights that correct for answers that another program wrote than is trained.

    .. math::
        w = \operatorname{clip}(\rho, \rho_{\min}, \rho_{\max}) \quad\text{or}\quad
        w = \rho\, [\rho_{\min} \le \rho \le \rho_{\max}], \qquad
        \rho = \frac{\pi(y)}{\pi_{\text{sampler}}(y)}

    Programs that are fast at writing answers, such as vLLM, give the same tokens other
    probabilities than the program in training. With the advantages multiplied by these
    weights, `grpo_loss`, `ppo_loss` and `cispo_loss` are corrected for it, and leave
    the divergence from a reference policy alone.

    Args:
      log_probs: :math:`\log \pi(y_{it})` by the program in training before its first
        step (the `old_log_probs` of the losses), floating, shape `[..., tokens]`.
      sampler_log_probs: :math:`\log \pi_{\text{sampler}}(y_{it})` by the program that
        wrote the answers, the same shape.
      level: :math:`\rho` is the ratio of each token (`"token"`), of each answer, the
        product of its tokens' (`"sequence"`), or the geometric mean of these
        (`"geometric"`). Static.
      min_ratio: :math:`\rho_{\min}`, at least 0: a number, or an array that fits the
        weights.
      max_ratio: :math:`\rho_{\max}`, at least 0.
      outside: whether a ratio beyond the bounds is clipped to them (`"clip"`), or
        counts nothing (`"drop"`). Static.
      where: mask of the tokens kept, `[..., tokens]`, or of the answers kept, `[...]`.
        Axes may be 1.

    Returns:
      The weights, float32 (float64 for float64 inputs): `[..., tokens]` for tokens,
      else `[...]`; 0 for what is masked.

    Numerics:
      The tokens' differences are taken before their sum: a common offset cancels. A
      ratio that overflows is beyond the bound like any other.

    Gradient:
      By :math:`\log \pi`, :math:`\rho` within the bounds (for `"geometric"` over the
      number of tokens), else 0; the losses of policies hold their advantages fixed.

    Raises:
      TypeError: an array not floating, a traced static option.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> log_probs = jnp.array([[-1.0, -2.0], [-0.5, -3.0]])
      >>> sampler_log_probs = jnp.array([[-1.1, -1.8], [-0.5, -5.0]])
      >>> weights = jaxloss.importance_weights(log_probs, sampler_log_probs)
      >>> print(weights.round(4))
      [[1.1052 0.8187]
       [1.     2.    ]]
      >>> advantages = jnp.array([1.0, -1.0])
      >>> loss = jaxloss.grpo_loss(log_probs, advantages[:, None] * weights)

    References:
      Yao et al., *Your Efficient RL Framework Secretly Brings You Off-Policy RL
      Training*, 2025 (truncated weights); Ling Team, *Every Step Evolves*,
      arXiv:2510.18855 (dropped beyond two bounds).

    Elsewhere: `vllm_importance_sampling_correction` of TRL's `GRPOConfig` (of its modes
    `"sequence_mask"` is `level="sequence", outside="drop"`; bound 3); `vllm_is_ratio`
    of Liger Kernel's GRPO takes these weights.
    """
    check = Check("importance_weights")
    check.choice("level", level, get_args(Level))
    check.choice("outside", outside, ("clip", "drop"))
    x = inputs.rows(
        *(check, -1, where, 0.0, 0.0),
        log_probs=log_probs,
        sampler_log_probs=sampler_log_probs,
    )
    log_ratio = x.predictions - x.require_targets()
    keep = x.keep
    if level == "token":
        keep = inputs.both(None if keep is None else keep[..., None], x.entries)
    else:
        if x.entries is not None:
            keep = jnp.any(x.entries, axis=-1)
        total = jnp.sum(log_ratio, axis=-1)
        mean = surrogate.mean_over_tokens(log_ratio, x.entries)[..., 0]
        log_ratio = total if level == "sequence" else mean
    low = kept_parameter(check, "min_ratio", min_ratio, log_ratio, keep, low=0)
    high = kept_parameter(check, "max_ratio", max_ratio, log_ratio, keep, low=0)
    weights, free = surrogate.bounded_ratio(log_ratio, low, high)
    if outside == "drop":
        weights = jnp.where(free, weights, 0)
    return weights if keep is None else jnp.where(keep, weights, 0)
