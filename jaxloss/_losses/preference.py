"""Preferences between two answers, against a reference policy."""

import math
from typing import Literal, NamedTuple

import jax

from jaxloss._core import inputs
from jaxloss._core.numerics import step
from jaxloss._core.parameters import kept_parameter
from jaxloss._core.preference import VARIANTS, Settings, pair
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check, is_off

PreferenceVariant = Literal[
    "sigmoid",
    "robust",
    "ipo",
    "hinge",
    "exo",
    "nca",
    "bco",
    "sppo",
    "apo_zero",
    "apo_down",
    "discopop",
]
"""The forms of `dpo_loss`."""


@public
def dpo_loss(
    chosen_log_probs: Input,
    rejected_log_probs: Input,
    *,
    reference_chosen_log_probs: Input,
    reference_rejected_log_probs: Input,
    beta: Number = 0.1,
    label_smoothing: Number = 0.0,
    variant: PreferenceVariant = "sigmoid",
    reward_shift: Number = 0.0,
    modulation_temperature: Number = 0.05,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Direct preference optimisation: the chosen answer is to gain on the rejected.

    With the log-ratios :math:`a = \log \pi(y_w) - \log \pi_{\text{ref}}(y_w)` of the
    chosen answer and :math:`b` of the rejected one, their margin :math:`h = a - b`, and
    :math:`\varepsilon` the `label_smoothing`, the variants are

    .. math::
        \begin{aligned}
        \text{sigmoid} &: -(1 - \varepsilon) \log \sigma(\beta h)
            - \varepsilon \log \sigma(-\beta h) \\
        \text{robust} &: \frac{-(1 - \varepsilon) \log \sigma(\beta h)
            + \varepsilon \log \sigma(-\beta h)}{1 - 2 \varepsilon} \\
        \text{ipo} &: (h - 1 / 2\beta)^2 \\
        \text{hinge} &: \max(0, 1 - \beta h) \\
        \text{exo} &: \mathrm{KL}(\sigma(\beta h) \,\|\, 1 - \varepsilon)
            \text{ of two coins} \\
        \text{nca} &: -\log \sigma(\beta a) - \tfrac12 \log \sigma(-\beta a)
            - \tfrac12 \log \sigma(-\beta b) \\
        \text{bco} &: -\log \sigma(\beta a - \delta) - \log \sigma(\delta - \beta b) \\
        \text{sppo} &: (a - 1 / 2\beta)^2 + (b + 1 / 2\beta)^2 \\
        \text{apo\_zero} &: \sigma(-\beta a) + \sigma(\beta b) \\
        \text{apo\_down} &: \sigma(\beta a) + \sigma(-\beta h) \\
        \text{discopop} &: -(1 - m) \log \sigma(\beta h) + m\, e^{-\beta h},
            \quad m = \sigma(\beta h / \tau)
        \end{aligned}

    Args:
      chosen_log_probs: :math:`\log \pi(y_w)`, the sum of the log-probabilities of the
        answer's tokens (`sequence_log_probs`, or `linear_log_probs` summed); their mean
        for `variant="ipo"`. Floating, any shape.
      rejected_log_probs: :math:`\log \pi(y_l)`, the same shape.
      reference_chosen_log_probs: the same of the reference policy.
      reference_rejected_log_probs: the same of the reference policy.
      beta: strength of the bond to the reference, above 0: a number, or an array that
        fits the losses.
      label_smoothing: :math:`\varepsilon`, the share of preferences that are wrong: in
        [0, 1] for `"sigmoid"` (cDPO), [0, 1/2) for `"robust"`, (0, 1) for `"exo"`,
        which needs it (1e-3, say); 0 for the others.
      variant: which loss. Static.
      reward_shift: :math:`\delta` of `"bco"`, the running mean of the rewards
        (`preference_rewards`), which is yours to keep; 0 for the others.
      modulation_temperature: :math:`\tau` of `"discopop"`, above 0.
      where: mask of the same shape, the pairs kept. Axes may be 1.
      weights: weight of each pair, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the pairs kept).

    Returns:
      The losses, float32 (float64 for float64 inputs): the shape of
      `chosen_log_probs`, or a scalar when reduced.

    Numerics:
      The margin is summed from the four log-probabilities to its last place, so that
      long answers, whose log-probabilities are large, lose nothing. `"discopop"` is
      finite for every margin.

    Gradient:
      :math:`\partial \ell / \partial \log \pi(y_w) = -\beta [(1 - \varepsilon)
      \sigma(-\beta h) - \varepsilon \sigma(\beta h)]` for `"sigmoid"`, the opposite for
      the rejected answer. The reference is fixed by definition: no gradient reaches it.

    Raises:
      TypeError: an array not floating, a traced static option.
      ValueError: shapes that differ, an option out of its range, an unknown variant.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> chosen, rejected = jnp.array([-12.0, -30.0]), jnp.array([-14.0, -28.0])
      >>> loss = jaxloss.dpo_loss(
      ...     chosen,
      ...     rejected,
      ...     reference_chosen_log_probs=jnp.array([-13.0, -29.5]),
      ...     reference_rejected_log_probs=jnp.array([-13.0, -29.0]),
      ... )
      >>> print(loss.round(5))
      [0.59814 0.77096]

    References:
      Rafailov et al., *Direct Preference Optimization*, arXiv:2305.18290; Mitchell, *A
      note on DPO with noisy preferences*, 2023; Chowdhury et al. (robust),
      arXiv:2403.00409; Azar et al. (IPO), arXiv:2310.12036; Zhao et al. (SLiC),
      arXiv:2305.10425; Ji et al. (EXO), arXiv:2402.00856; Chen et al. (NCA),
      arXiv:2402.05369; Jung et al. (BCO), arXiv:2404.04656; Wu et al. (SPPO),
      arXiv:2405.00675; D'Oosterlinck et al. (APO), arXiv:2408.06266; Lu et al.
      (DiscoPOP), arXiv:2406.08414.

    Elsewhere: `trl.DPOTrainer` with `loss_type` of these names (`exo_pair`, `nca_pair`,
    `bco_pair`, `sppo_hard`), Liger Kernel's `LigerFusedLinearDPOLoss`.
    """
    check = Check("dpo_loss")
    check.reduction(reduction)
    check.choice("variant", variant, tuple(VARIANTS))
    form = VARIANTS[variant]
    log_probs, keep = inputs.aligned(
        check,
        where,
        {
            "chosen_log_probs": chosen_log_probs,
            "rejected_log_probs": rejected_log_probs,
        },
        {
            "reference_chosen_log_probs": reference_chosen_log_probs,
            "reference_rejected_log_probs": reference_rejected_log_probs,
        },
    )
    chosen, rejected, *reference = log_probs
    smoothing = None
    if form.smoothing.open_low or not is_off(label_smoothing, 0):
        smoothing = kept_parameter(
            *(check, "label_smoothing", label_smoothing, chosen, keep),
            low=0,
            high=form.smoothing.high,
            open_low=form.smoothing.open_low,
            open_high=form.smoothing.open_high,
            masked=0.25,
        )
    shifts = math.inf if form.shifted else 0.0
    settings = Settings(
        kept_parameter(check, "beta", beta, chosen, keep, low=0, open_low=True),
        smoothing,
        kept_parameter(
            *(check, "reward_shift", reward_shift, chosen, keep),
            low=-shifts,
            high=shifts,
            masked=0,
        ),
        kept_parameter(
            *(check, "modulation_temperature", modulation_temperature, chosen, keep),
            low=0,
            open_low=True,
        ),
    )
    ratios = pair(chosen, rejected, *map(jax.lax.stop_gradient, reference))
    loss = form.loss(ratios, settings)
    if smoothing is not None and form.smoothing.high == 0:
        # 0, or NaN for an array that is not 0: nothing is ignored in silence.
        loss = loss + smoothing
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


class PreferenceRewards(NamedTuple):
    """The implicit rewards of a pair of answers."""

    chosen: Array
    """β (log π - log π_ref) of the chosen answer."""
    rejected: Array
    """The same of the rejected one."""
    margin: Array
    """Their difference."""
    accuracy: Array
    """1 where the chosen answer has the higher reward, 0 where not, 1/2 for a tie."""


@public
def preference_rewards(
    chosen_log_probs: Input,
    rejected_log_probs: Input,
    *,
    reference_chosen_log_probs: Input,
    reference_rejected_log_probs: Input,
    beta: Number = 0.1,
) -> PreferenceRewards:
    r"""Implicit rewards of preference optimisation, to watch: they are no loss.

    .. math::
        r = \beta \left(\log \pi(y) - \log \pi_{\text{ref}}(y)\right)

    Args:
      chosen_log_probs: as for `dpo_loss`, any shape.
      rejected_log_probs: the same shape.
      reference_chosen_log_probs: the same shape.
      reference_rejected_log_probs: the same shape.
      beta: as for `dpo_loss`.

    Returns:
      `PreferenceRewards`: the rewards of the chosen and of the rejected answers, their
      margins, and whether the chosen one is ahead (1, 0, or 1/2 for a tie), float32
      (float64 for float64 inputs), each of the inputs' shape. Average them with
      `jaxloss.metrics.mean`, which takes a mask.

    Numerics:
      The margin is summed from the four log-probabilities, as in `dpo_loss`.

    Gradient:
      None passes.

    Raises:
      TypeError: an array not floating.
      ValueError: shapes that differ, `beta` not above 0.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> rewards = jaxloss.preference_rewards(
      ...     jnp.array([-12.0, -30.0]),
      ...     jnp.array([-14.0, -28.0]),
      ...     reference_chosen_log_probs=jnp.array([-13.0, -29.5]),
      ...     reference_rejected_log_probs=jnp.array([-13.0, -29.0]),
      ... )
      >>> print(rewards.margin.round(4), rewards.accuracy)
      [ 0.2  -0.15] [1. 0.]

    References:
      Rafailov et al., *Direct Preference Optimization*, arXiv:2305.18290, section 4.

    Elsewhere: `rewards/chosen`, `rewards/rejected`, `rewards/margins` and
    `rewards/accuracies` in TRL's logs; a tie counts 0 there.
    """
    check = Check("preference_rewards")
    log_probs, _ = inputs.aligned(
        check,
        None,
        {
            "chosen_log_probs": chosen_log_probs,
            "rejected_log_probs": rejected_log_probs,
        },
        {
            "reference_chosen_log_probs": reference_chosen_log_probs,
            "reference_rejected_log_probs": reference_rejected_log_probs,
        },
    )
    log_probs = [jax.lax.stop_gradient(x) for x in log_probs]
    scale = check.parameter("beta", beta, log_probs[0], low=0, open_low=True)
    ratios = pair(*log_probs)
    return PreferenceRewards(
        scale * ratios.chosen,
        scale * ratios.rejected,
        scale * ratios.margin,
        step(ratios.margin),
    )
