"""Policy-gradient losses, action by action or token by token."""

import jax
import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.numerics import weighted
from jaxloss._core.parameters import kept_parameter
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.surrogate import bounded_ratio, clipped_surrogate, soft_gate
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def ppo_loss(
    log_probs: Input,
    advantages: Input,
    *,
    old_log_probs: Input | None = None,
    clip_low: Number = 0.2,
    clip_high: Number = 0.2,
    dual_clip: Number | None = None,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Proximal policy optimisation: the clipped surrogate objective, to be minimised.

    .. math::
        \ell = -\min\left(\rho A,\;
            \operatorname{clip}(\rho, 1 - \varepsilon_l, 1 + \varepsilon_h) A\right),
        \qquad \rho = \frac{\pi(a)}{\pi_{\text{old}}(a)}

    and at most :math:`-c A` where :math:`A < 0`, if `dual_clip` is given.

    Args:
      log_probs: :math:`\log \pi(a)` of the actions or tokens, floating, any shape.
      advantages: :math:`A`, the same shape.
      old_log_probs: :math:`\log \pi_{\text{old}}(a)` of the policy that acted, the same
        shape; if left out, `log_probs` themselves, held fixed (the first step on a
        batch: then :math:`\rho = 1`, and the gradient is REINFORCE's).
      clip_low: :math:`\varepsilon_l`, in [0, 1]: a number, or an array that fits.
      clip_high: :math:`\varepsilon_h`, at least 0.
      dual_clip: :math:`c`, at least 1 (3 is usual); None for no such bound.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept). How
        else tokens may be averaged: `aggregate_tokens`.

    Returns:
      The losses, float32 (float64 for float64 inputs): the shape of `log_probs`, or a
      scalar when reduced.

    Numerics:
      A ratio that overflows is clipped like any other, in value and gradient, and
      counts nothing where the advantage is 0.

    Gradient:
      :math:`\partial \ell / \partial \log \pi = -\rho A` where the ratio is not
      clipped, else 0, which is the algorithm. None reaches `advantages` and
      `old_log_probs`, by its definition.

    Raises:
      TypeError: an array not floating.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> log_probs = jnp.log(jnp.array([0.5, 0.3, 0.2]))
      >>> old_log_probs = jnp.log(jnp.array([0.25, 0.3, 0.4]))
      >>> advantages = jnp.array([1.0, 2.0, -1.0])
      >>> print(jaxloss.ppo_loss(log_probs, advantages, old_log_probs=old_log_probs))
      [-1.2 -2.   0.8]

    References:
      Schulman et al., *Proximal Policy Optimization Algorithms*, arXiv:1707.06347; Ye
      et al. (dual clip), arXiv:1912.09729; Yu et al. (DAPO, two bounds),
      arXiv:2503.14476.

    Elsewhere: `rlax.clipped_surrogate_pg_loss`; the policy part of TRL's `PPOTrainer`.
    """
    check = Check("ppo_loss")
    check.reduction(reduction)
    new, ratio, advantage, keep = _actions(
        check, log_probs, advantages, old_log_probs, where
    )
    cap = None
    if dual_clip is not None:
        cap = kept_parameter(check, "dual_clip", dual_clip, new, keep, low=1)
    loss = clipped_surrogate(
        ratio,
        advantage,
        kept_parameter(check, "clip_low", clip_low, new, keep, low=0, high=1),
        kept_parameter(check, "clip_high", clip_high, new, keep, low=0),
        cap,
    )
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def cispo_loss(
    log_probs: Input,
    advantages: Input,
    *,
    old_log_probs: Input | None = None,
    min_ratio: Number = 0.0,
    max_ratio: Number = 5.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Clipped importance sampling: REINFORCE whose weights, not tokens, are clipped.

    .. math::
        \ell = -\operatorname{clip}(\rho, \rho_{\min}, \rho_{\max})\, A \log \pi(a),
        \qquad \rho = \frac{\pi(a)}{\pi_{\text{old}}(a)} \text{ held fixed}

    Args:
      log_probs: :math:`\log \pi(a)` of the tokens, floating, any shape.
      advantages: :math:`A`, the same shape.
      old_log_probs: :math:`\log \pi_{\text{old}}(a)` of the policy that acted, the same
        shape; `log_probs` themselves if left out.
      min_ratio: :math:`\rho_{\min}`, at least 0: a number, or an array that fits.
      max_ratio: :math:`\rho_{\max}`, at least 0 (:math:`1 + \varepsilon_h`).
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept). How
        else tokens may be averaged: `aggregate_tokens`.

    Returns:
      The losses, float32 (float64 for float64 inputs): the shape of `log_probs`, or a
      scalar when reduced.

    Numerics:
      A ratio that overflows is clipped like any other.

    Gradient:
      :math:`\partial \ell / \partial \log \pi = -\operatorname{clip}(\rho) A` for every
      token, clipped or not. None reaches `advantages` and `old_log_probs`, nor passes
      through :math:`\rho`, by the algorithm's definition.

    Raises:
      TypeError: an array not floating.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> log_probs, old_log_probs = jnp.array([-1.0, -2.0]), jnp.array([-3.0, -2.0])
      >>> advantages = jnp.array([1.0, -1.0])
      >>> print(jaxloss.cispo_loss(log_probs, advantages, old_log_probs=old_log_probs))
      [ 5. -2.]

    References:
      MiniMax, *MiniMax-M1*, arXiv:2506.13585; Khatri et al. (the default bound),
      arXiv:2510.13786.

    Elsewhere: `loss_type="cispo"` of TRL's and Liger Kernel's GRPO.
    """
    check = Check("cispo_loss")
    check.reduction(reduction)
    new, ratio, advantage, keep = _actions(
        check, log_probs, advantages, old_log_probs, where
    )
    low = kept_parameter(check, "min_ratio", min_ratio, new, keep, low=0)
    high = kept_parameter(check, "max_ratio", max_ratio, new, keep, low=0)
    factor, _ = bounded_ratio(jax.lax.stop_gradient(ratio), low, high)
    loss = weighted(new, -factor * advantage)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def sapo_loss(
    log_probs: Input,
    advantages: Input,
    *,
    old_log_probs: Input | None = None,
    positive_temperature: Number = 1.0,
    negative_temperature: Number = 1.05,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Soft adaptive policy optimisation: a gate in place of the clip.

    .. math::
        \ell = -\frac{4}{\tau}\, \sigma\left(\tau (\rho - 1)\right) A, \qquad
        \rho = \frac{\pi(a)}{\pi_{\text{old}}(a)}

    with :math:`\tau = \tau_+` where :math:`A > 0`, else :math:`\tau_-`.

    Args:
      log_probs: :math:`\log \pi(a)` of the tokens, floating, any shape.
      advantages: :math:`A`, the same shape.
      old_log_probs: :math:`\log \pi_{\text{old}}(a)` of the policy that acted, the same
        shape; `log_probs` themselves, held fixed, if left out.
      positive_temperature: :math:`\tau_+`, above 0: a number, or an array that fits.
      negative_temperature: :math:`\tau_-`, above 0.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept). How
        else tokens may be averaged: `aggregate_tokens`.

    Returns:
      The losses, float32 (float64 for float64 inputs): the shape of `log_probs`, or a
      scalar when reduced.

    Numerics:
      :math:`\rho - 1` is not the difference of two floats. The gate of a ratio that
      overflows is closed, in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial \log \pi = -4 \rho\, \sigma(\tau (\rho - 1))\,
      \sigma(\tau (1 - \rho)) A`, which is :math:`-A` at :math:`\rho = 1`. None reaches
      `advantages` and `old_log_probs`, by the algorithm's definition.

    Raises:
      TypeError: an array not floating.
      ValueError: shapes that differ, a temperature not above 0.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> log_probs, old_log_probs = jnp.array([-1.0, -2.0]), jnp.array([-3.0, -2.0])
      >>> advantages = jnp.array([1.0, -1.0])
      >>> loss = jaxloss.sapo_loss(log_probs, advantages, old_log_probs=old_log_probs)
      >>> print(loss.round(4))
      [-3.9933  1.9048]

    References:
      Qwen Team, *Soft Adaptive Policy Optimization*, arXiv:2511.20347.

    Elsewhere: `loss_type="sapo"` of TRL's and Liger Kernel's GRPO.
    """
    check = Check("sapo_loss")
    check.reduction(reduction)
    new, ratio, advantage, keep = _actions(
        check, log_probs, advantages, old_log_probs, where
    )
    gain = kept_parameter(
        *(check, "positive_temperature", positive_temperature, new, keep),
        low=0,
        open_low=True,
    )
    harm = kept_parameter(
        *(check, "negative_temperature", negative_temperature, new, keep),
        low=0,
        open_low=True,
    )
    temperature = jnp.where(advantage > 0, gain, harm)
    loss = -advantage * soft_gate(ratio, temperature)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def value_clip_loss(
    values: Input,
    returns: Input,
    *,
    old_values: Input,
    clip: Number = 0.2,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Clipped squared error of a value function, as in proximal policy optimisation.

    .. math::
        \ell = \tfrac12 \max\left((V - R)^2,\; (V_c - R)^2\right), \qquad
        V_c = V_{\text{old}} + \operatorname{clip}(V - V_{\text{old}}, -c, c)

    Args:
      values: :math:`V`, floating, any shape.
      returns: :math:`R`, the same shape.
      old_values: :math:`V_{\text{old}}`, the values when the batch was collected, the
        same shape.
      clip: :math:`c`, at least 0: a number, or an array that fits. Infinity gives
        `l2_loss`.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, float32 (float64 for float64 inputs): the shape of `values`, or a
      scalar when reduced.

    Numerics:
      Inside the bound the residual is :math:`V - R` itself.

    Gradient:
      :math:`\partial \ell / \partial V = V - R`, and 0 where the clipped error is the
      larger one and the value beyond the bound, which is the algorithm. None reaches
      `returns` and `old_values`, by its definition.

    Raises:
      TypeError: an array not floating.
      ValueError: shapes that differ, a negative `clip`.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> values, returns = jnp.array([1.0, 1.0, 1.0]), jnp.array([2.0, 1.5, 0.0])
      >>> old_values = jnp.array([0.0, 0.9, 0.0])
      >>> print(jaxloss.value_clip_loss(values, returns, old_values=old_values))
      [1.62  0.125 0.5  ]

    References:
      Schulman et al., *High-Dimensional Continuous Control Using Generalized Advantage
      Estimation*, arXiv:1506.02438; Engstrom et al., *Implementation Matters in Deep
      Policy Gradients*, arXiv:2005.12729.

    Elsewhere: the value part of TRL's `PPOTrainer` (`cliprange_value`).
    """
    check = Check("value_clip_loss")
    check.reduction(reduction)
    (value, target, old), keep = inputs.aligned(
        check, where, {"values": values}, {"returns": returns, "old_values": old_values}
    )
    target, old = jax.lax.stop_gradient((target, old))
    bound = kept_parameter(check, "clip", clip, value, keep, low=0)
    step = value - old
    # A comparison with NaN leaves the error, which must be NaN.
    error = (value - target) * jnp.where(jnp.isnan(old + bound), jnp.nan, 1)
    clipped = (old - target) + jnp.sign(step) * bound
    beyond = (jnp.abs(step) > bound) & (jnp.abs(clipped) > jnp.abs(error))
    loss = 0.5 * jnp.square(jnp.where(beyond, clipped, error))
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


def _actions(
    check: Check,
    log_probs: Input,
    advantages: Input,
    old_log_probs: Input | None,
    where: Input | None,
) -> tuple[Array, Array, Array, Array | None]:
    """log π, log ρ, the advantages and what is kept; the last three held fixed."""
    more = {} if old_log_probs is None else {"old_log_probs": old_log_probs}
    (new, advantage, *old), keep = inputs.aligned(
        check, where, {"log_probs": log_probs}, {"advantages": advantages, **more}
    )
    fixed = jax.lax.stop_gradient(old[0] if old else new)
    return new, new - fixed, jax.lax.stop_gradient(advantage), keep
