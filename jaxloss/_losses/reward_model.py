"""Reward models: scores learnt from comparisons."""

import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.exact import add3
from jaxloss._core.numerics import in_base, softplus
from jaxloss._core.parameters import kept_parameter
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check, is_off


@public
def reward_model_loss(
    chosen_rewards: Input,
    rejected_rewards: Input,
    *,
    margin: Number = 0.0,
    centering: Number = 0.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Bradley-Terry likelihood of a preference, from the rewards of the two answers.

    .. math::
        \ell = -\log \sigma(r_w - r_l - m) + c\, (r_w + r_l)^2

    Args:
      chosen_rewards: :math:`r_w`, floating, any shape.
      rejected_rewards: :math:`r_l`, the same shape.
      margin: :math:`m`, how far apart the answers were judged: a number, or an array
        that fits the losses.
      centering: :math:`c`, at least 0; keeps the rewards around 0 (1e-2 is usual).
      where: mask of the same shape, the pairs kept. Axes may be 1.
      weights: weight of each pair, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the pairs kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `chosen_rewards`, or a scalar when reduced.

    Numerics:
      A common offset of the rewards cancels exactly where `centering` is 0. Accurate in
      relative terms for every difference.

    Gradient:
      :math:`\partial \ell / \partial r_w = -\sigma(m - r_w + r_l) + 2 c (r_w + r_l)`
      and :math:`\partial \ell / \partial r_l = \sigma(m - r_w + r_l) + 2 c (r_w +
      r_l)`.

    Raises:
      TypeError: an array not floating.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> chosen, rejected = jnp.array([1.5, 0.0]), jnp.array([0.5, 1.0])
      >>> print(jaxloss.reward_model_loss(chosen, rejected).round(5))
      [0.31326 1.31326]

    References:
      Bradley, Terry, *Rank Analysis of Incomplete Block Designs*, Biometrika 39, 1952;
      Touvron et al. (margins), arXiv:2307.09288; Eisenstein et al. (centering),
      arXiv:2312.09244.

    Elsewhere: `trl.RewardTrainer` with `center_rewards_coefficient`.
    """
    check = Check("reward_model_loss")
    check.reduction(reduction)
    check.base(base)
    (chosen, rejected), keep = inputs.aligned(
        check,
        where,
        {"chosen_rewards": chosen_rewards, "rejected_rewards": rejected_rewards},
        {},
    )
    lead = kept_parameter(check, "margin", margin, chosen, keep)
    lead = jnp.broadcast_to(lead, chosen.shape)
    loss = softplus(add3(lead, rejected, -chosen))
    if not is_off(centering, 0):
        weight = kept_parameter(check, "centering", centering, chosen, keep, low=0)
        loss = loss + weight * jnp.square(chosen + rejected)
    loss = in_base(loss, base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)
