"""Preferences between two answers, without a reference policy."""

from jaxloss._core import inputs
from jaxloss._core.numerics import softplus
from jaxloss._core.odds import odds_ratio_loss
from jaxloss._core.parameters import kept_parameter
from jaxloss._core.preference import smoothed_logistic
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check, is_off


@public
def cpo_loss(
    chosen_log_probs: Input,
    rejected_log_probs: Input,
    *,
    beta: Number = 0.1,
    label_smoothing: Number = 0.0,
    nll_weight: Number = 1.0,
    chosen_nll: Input | None = None,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Contrastive preference optimisation: DPO with a uniform reference, and the NLL.

    .. math::
        \ell = -(1 - \varepsilon) \log \sigma(\beta h)
            - \varepsilon \log \sigma(-\beta h) + \alpha\, \mathrm{NLL}(y_w),
        \qquad h = \log \pi(y_w) - \log \pi(y_l)

    Args:
      chosen_log_probs: :math:`\log \pi(y_w)`, summed over the tokens of the answer,
        floating, any shape.
      rejected_log_probs: :math:`\log \pi(y_l)`, the same shape.
      beta: :math:`\beta`, above 0: a number, or an array that fits the losses.
      label_smoothing: :math:`\varepsilon`, the share of wrong preferences, in [0, 1].
      nll_weight: :math:`\alpha`, at least 0.
      chosen_nll: the negative log-likelihood of the chosen answer, the same shape;
        minus `chosen_log_probs` if left out, as in the paper.
      where: mask of the same shape, the pairs kept. Axes may be 1.
      weights: weight of each pair, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the pairs kept).

    Returns:
      The losses in nats, float32 (float64 for float64 inputs): the shape of
      `chosen_log_probs`, or a scalar when reduced.

    Numerics:
      Accurate in relative terms for every margin.

    Gradient:
      :math:`\partial \ell / \partial \log \pi(y_w) = \beta [\varepsilon \sigma(\beta h)
      - (1 - \varepsilon) \sigma(-\beta h)] - \alpha`, the last of them where
      `chosen_nll` is left out; the opposite, without it, for the rejected answer.

    Raises:
      TypeError: an array not floating.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> chosen, rejected = jnp.array([-12.0, -30.0]), jnp.array([-14.0, -28.0])
      >>> print(jaxloss.cpo_loss(chosen, rejected).round(4))
      [12.5981 30.7981]

    References:
      Xu et al., *Contrastive Preference Optimization*, arXiv:2401.08417.

    Elsewhere: TRL's `CPOTrainer` and Liger Kernel's `LigerFusedLinearCPOLoss` average
    the negative log-likelihood over tokens: pass that as `chosen_nll`.
    """
    check = Check("cpo_loss")
    check.reduction(reduction)
    chosen, rejected, nll, keep = _answers(
        check,
        where,
        chosen_nll,
        chosen_log_probs=chosen_log_probs,
        rejected_log_probs=rejected_log_probs,
    )
    strength = kept_parameter(check, "beta", beta, chosen, keep, low=0, open_low=True)
    smoothing = None
    if not is_off(label_smoothing, 0):
        smoothing = kept_parameter(
            *(check, "label_smoothing", label_smoothing, chosen, keep), low=0, high=1
        )
    loss = smoothed_logistic(strength * (chosen - rejected), smoothing)
    if not is_off(nll_weight, 0):
        loss = loss + nll * kept_parameter(
            *(check, "nll_weight", nll_weight, chosen, keep), low=0
        )
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def simpo_loss(
    chosen_average_log_probs: Input,
    rejected_average_log_probs: Input,
    *,
    beta: Number = 2.0,
    margin: Number = 1.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Simple preference optimisation: average log-probabilities, ahead by a margin.

    .. math::
        \ell = -\log \sigma\left(\beta (\bar a - \bar b) - \gamma\right)

    with :math:`\bar a`, :math:`\bar b` the average log-probabilities of a token of the
    chosen and of the rejected answer.

    Args:
      chosen_average_log_probs: :math:`\bar a` (`sequence_log_probs` with
        `average=True`), floating, any shape.
      rejected_average_log_probs: :math:`\bar b`, the same shape.
      beta: :math:`\beta`, above 0: a number, or an array that fits the losses.
      margin: :math:`\gamma`, not divided by :math:`\beta`.
      where: mask of the same shape, the pairs kept. Axes may be 1.
      weights: weight of each pair, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the pairs kept).

    Returns:
      The losses in nats, float32 (float64 for float64 inputs): the shape of
      `chosen_average_log_probs`, or a scalar when reduced.

    Numerics:
      Accurate in relative terms for every margin.

    Gradient:
      :math:`\partial \ell / \partial \bar a = -\beta \sigma(\gamma - \beta (\bar a -
      \bar b)) = -\partial \ell / \partial \bar b`.

    Raises:
      TypeError: an array not floating.
      ValueError: shapes that differ, `beta` not above 0.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> chosen, rejected = jnp.array([-0.5, -1.5]), jnp.array([-1.5, -1.0])
      >>> print(jaxloss.simpo_loss(chosen, rejected).round(5))
      [0.31326 2.12693]

    References:
      Meng, Xia, Chen, *SimPO: Simple Preference Optimization with a Reference-Free
      Reward*, arXiv:2405.14734.

    Elsewhere: `trl.CPOTrainer(loss_type="simpo")` and Liger Kernel's
    `LigerFusedLinearSimPOLoss`, both with `beta=0.1` and a margin of 0.5 by default;
    the defaults here are of the paper's range.
    """
    check = Check("simpo_loss")
    check.reduction(reduction)
    chosen, rejected, _, keep = _answers(
        check,
        where,
        None,
        chosen_average_log_probs=chosen_average_log_probs,
        rejected_average_log_probs=rejected_average_log_probs,
    )
    strength = kept_parameter(check, "beta", beta, chosen, keep, low=0, open_low=True)
    lead = kept_parameter(check, "margin", margin, chosen, keep)
    loss = softplus(lead - strength * (chosen - rejected))
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def orpo_loss(
    chosen_average_log_probs: Input,
    rejected_average_log_probs: Input,
    *,
    beta: Number = 0.1,
    chosen_nll: Input | None = None,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Odds-ratio preference optimisation, beside the likelihood of the chosen answer.

    .. math::
        \ell = \mathrm{NLL}(y_w) - \beta \log \sigma\left(
            \log \frac{p_w}{1 - p_w} - \log \frac{p_l}{1 - p_l} \right)

    with :math:`\log p_w`, :math:`\log p_l` the average log-probabilities of a token of
    the chosen and of the rejected answer.

    Args:
      chosen_average_log_probs: :math:`\log p_w` (`sequence_log_probs` with
        `average=True`), at most 0, floating, any shape.
      rejected_average_log_probs: :math:`\log p_l`, the same shape.
      beta: weight of the odds ratio, at least 0: a number, or an array that fits the
        losses.
      chosen_nll: the negative log-likelihood of the chosen answer, the same shape;
        :math:`-\log p_w` if left out.
      where: mask of the same shape, the pairs kept. Axes may be 1.
      weights: weight of each pair, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the pairs kept).

    Returns:
      The losses in nats, float32 (float64 for float64 inputs): the shape of
      `chosen_average_log_probs`, or a scalar when reduced.

    Numerics:
      :math:`1 - p` is never the difference of two floats, so that the odds of an answer
      with :math:`p` close to 1 are finite and exact. A log-probability above 0 gives
      NaN in value and gradient.

    Gradient:
      With :math:`s` the sigmoid of the rejected less the chosen log-odds,
      :math:`\partial \ell / \partial \log p_w = -\beta s / (1 - p_w) - 1`, the last 1
      where `chosen_nll` is left out, and :math:`\beta s / (1 - p_l)` for the rejected.

    Raises:
      TypeError: an array not floating.
      ValueError: shapes that differ, a negative `beta`.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> chosen, rejected = jnp.array([-0.5, -1.5]), jnp.array([-1.5, -1.0])
      >>> print(jaxloss.orpo_loss(chosen, rejected).round(4))
      [0.5171 1.6107]

    References:
      Hong, Lee, Thorne, *ORPO: Monolithic Preference Optimization without Reference
      Model*, arXiv:2403.07691.

    Elsewhere: TRL's `ORPOTrainer`, Liger Kernel's `LigerFusedLinearORPOLoss`, whose
    `log1p(-exp(log_p))` is infinite for `log_p` above -6e-8.
    """
    check = Check("orpo_loss")
    check.reduction(reduction)
    chosen, rejected, nll, keep = _answers(
        check,
        where,
        chosen_nll,
        chosen_average_log_probs=chosen_average_log_probs,
        rejected_average_log_probs=rejected_average_log_probs,
    )
    weight = kept_parameter(check, "beta", beta, chosen, keep, low=0)
    loss = nll + weight * odds_ratio_loss(chosen, rejected)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


def _answers(
    check: Check,
    where: Input | None,
    chosen_nll: Input | None,
    /,
    **log_probs: Input,
) -> tuple[Array, Array, Array, Array | None]:
    """The chosen and the rejected answers, the former's NLL, and the pairs kept."""
    more = {} if chosen_nll is None else {"chosen_nll": chosen_nll}
    masked = dict.fromkeys(log_probs, -1.0)
    (chosen, rejected, *nll), keep = inputs.aligned(
        check, where, {**log_probs, **more}, {}, masked
    )
    return chosen, rejected, nll[0] if nll else -chosen, keep
