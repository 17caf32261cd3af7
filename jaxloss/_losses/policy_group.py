"""Policy optimisation of whole answers: groups, sequences, and averages of tokens."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from jaxloss._core import surrogate
from jaxloss._core.inputs import both
from jaxloss._core.parameters import kept_parameter
from jaxloss._core.public import public
from jaxloss._core.reduce import divided
from jaxloss._core.types import Array, Input, Number
from jaxloss._core.validate import Check, computing

Aggregation = Literal[
    "none", "token", "sequence", "dapo", "grpo", "bnpo", "dr_grpo", "luspo"
]
"""How the losses of tokens become one."""

Importance = Literal["token", "sequence"]
"""Of what the ratio of two policies is taken."""

KLEstimator = Literal["k1", "k2", "k3"]
"""See `kl_estimate`."""


@public
def grpo_loss(
    log_probs: Input,
    advantages: Input,
    *,
    old_log_probs: Input | None = None,
    reference_log_probs: Input | None = None,
    beta: Number = 0.04,
    kl_estimator: KLEstimator = "k3",
    weighted_kl: bool = False,
    clip_low: Number = 0.2,
    clip_high: Number = 0.2,
    dual_clip: Number | None = None,
    importance: Importance = "token",
    aggregation: Aggregation = "none",
    max_length: int | None = None,
    where: Input | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Group relative policy optimisation, and GSPO, DAPO, BNPO, Dr. GRPO by options.

    .. math::
        \ell_{it} = -\min\left(\rho_{it} A_i,\; \operatorname{clip}(\rho_{it},
            1 - \varepsilon_l, 1 + \varepsilon_h) A_i\right) + \beta\, k_{it},
        \qquad \rho_{it} = \frac{\pi(y_{it})}{\pi_{\text{old}}(y_{it})}

    for token :math:`t` of answer :math:`i`, with an estimate :math:`k_{it}` of the
    divergence from a reference policy (`kl_estimate`). With `importance="sequence"` all
    tokens of an answer have the geometric mean of their ratios (GSPO).

    Args:
      log_probs: :math:`\log \pi(y_{it})`, floating, shape `[..., tokens]`, such as from
        `linear_log_probs`.
      advantages: :math:`A_i`, shape `[...]`, such as the rewards of a group less their
        mean, over their standard deviation; or one for each token, `[..., tokens]`.
      old_log_probs: :math:`\log \pi_{\text{old}}` of the policy that wrote the answers,
        the shape of `log_probs`, which are used themselves, held fixed, if left out.
      reference_log_probs: :math:`\log \pi_{\text{ref}}`, the shape of `log_probs`; None
        for no divergence.
      beta: :math:`\beta`, at least 0; counts only beside `reference_log_probs`. A
        number, or an array that fits `log_probs`.
      kl_estimator: `"k1"`, `"k2"` or `"k3"`. Static.
      weighted_kl: whether :math:`k_{it}` is multiplied by the token's ratio, which is
        not held fixed: so it and its gradient are without bias for answers of the old
        policy, with `"k1"` and `"k3"`. Static.
      clip_low: :math:`\varepsilon_l`, in [0, 1].
      clip_high: :math:`\varepsilon_h`, at least 0.
      dual_clip: bounds the loss by :math:`-c A_i` where :math:`A_i < 0`; at least 1, or
        None for no such bound.
      importance: `"token"`, or `"sequence"` for GSPO. Static.
      aggregation: how tokens are averaged: `"none"` gives :math:`\ell_{it}`; the others
        are those of `aggregate_tokens`. Static.
      max_length: the constant of `aggregation="dr_grpo"`. Static.
      where: mask of the tokens kept, `[..., tokens]`, or of the answers kept, `[...]`.
        Axes may be 1.
      axis_name: inside `jax.shard_map`, the mesh axis over which the answers are
        spread; see `aggregate_tokens`. Static.

    Returns:
      The losses of the tokens, `[..., tokens]`, 0 where masked, or their average, a
      scalar: float32 (float64 for float64 inputs).

    Numerics:
      The divergence is never negative and exact near 0. A ratio that overflows is
      clipped like any other, in value and gradient.

    Gradient:
      :math:`\partial \ell_{it} / \partial \log \pi(y_{it}) = -\rho_{it} A_i` where not
      clipped, plus :math:`\beta (1 - \pi_{\text{ref}} / \pi)` for `"k3"`, or
      :math:`\beta \rho_{it} \log(\pi / \pi_{\text{ref}})` if that is weighted. None
      reaches the advantages, the old and the reference policy, by the algorithm's
      definition.

    Raises:
      TypeError: an array not floating, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> log_probs = jnp.array([[-1.0, -2.0, -0.5], [-1.5, -0.7, -9.0]])
      >>> loss = jaxloss.grpo_loss(
      ...     log_probs,
      ...     jnp.array([1.0, -1.0]),
      ...     old_log_probs=jnp.array([[-1.1, -2.5, -0.5], [-1.2, -0.7, -9.0]]),
      ...     where=jnp.array([[True, True, True], [True, True, False]]),
      ...     aggregation="dapo",
      ... )
      >>> print(f"{loss:.4f}")
      -0.3010

    References:
      Shao et al., *DeepSeekMath*, arXiv:2402.03300; Zheng et al. (GSPO),
      arXiv:2507.18071; Yu et al. (DAPO), arXiv:2503.14476; Liu et al. (Dr. GRPO),
      arXiv:2503.20783; DeepSeek-AI, *DeepSeek-V3.2*, arXiv:2512.02556 (weighted
      divergence).

    Elsewhere: TRL's `GRPOTrainer` (`beta=0.0` and `loss_type="dapo"` by default,
    `use_bias_correction_kl`), Liger Kernel's `LigerFusedLinearGRPOLoss`.
    """
    check = Check("grpo_loss")
    check.choice("kl_estimator", kl_estimator, get_args(KLEstimator))
    check.choice("importance", importance, get_args(Importance))
    check.choice("weighted_kl", weighted_kl, (False, True))
    _check_aggregation(check, aggregation, max_length, axis_name)
    new, advantage, old, reference, keep = _answers(
        check, where, log_probs, advantages, old_log_probs, reference_log_probs
    )
    old = jax.lax.stop_gradient(new if old is None else old)
    ratio = new - old
    if importance == "sequence":
        ratio = surrogate.mean_over_tokens(ratio, keep)
        ratio = jnp.broadcast_to(ratio, new.shape)
    cap = None
    if dual_clip is not None:
        cap = kept_parameter(check, "dual_clip", dual_clip, new, keep, low=1)
    loss = surrogate.clipped_surrogate(
        ratio,
        advantage,
        kept_parameter(check, "clip_low", clip_low, new, keep, low=0, high=1),
        kept_parameter(check, "clip_high", clip_high, new, keep, low=0),
        cap,
    )
    if reference is not None:
        if weighted_kl:
            divergence = surrogate.weighted_estimate(new, old, reference, kl_estimator)
        else:
            divergence = surrogate.estimate(reference - new, kl_estimator)
        strength = kept_parameter(check, "beta", beta, new, keep, low=0)
        loss = loss + strength * divergence
    if keep is not None:
        loss = jnp.where(keep, loss, 0)
    return _aggregated(loss, keep, aggregation, max_length, axis_name)


@public
def aggregate_tokens(
    token_losses: Input,
    *,
    aggregation: Aggregation = "token",
    max_length: int | None = None,
    where: Input | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Average of the losses of tokens, in the ways in which algorithms differ.

    With :math:`m_{it}` 1 for the tokens kept, else 0, :math:`n_i = \sum_t m_{it}`, and
    :math:`B` the number of answers with any token kept,

    .. math::
        \begin{aligned}
        \text{token, dapo} &: \textstyle\sum_{it} m_{it} \ell_{it} / \sum_i n_i \\
        \text{sequence, grpo} &: \textstyle\frac1B \sum_i \frac{1}{n_i} \sum_t
            m_{it} \ell_{it} \\
        \text{dr\_grpo} &: \textstyle\sum_{it} m_{it} \ell_{it} / (B L) \\
        \text{luspo} &: \textstyle\frac1B \sum_{it} m_{it} \ell_{it}
        \end{aligned}

    and `"bnpo"` as `"token"`, but on each device apart, whose results are averaged.

    Args:
      token_losses: :math:`\ell_{it}`, floating, shape `[..., tokens]`.
      aggregation: which average. `"none"` gives the losses themselves. Static.
      max_length: :math:`L` of `"dr_grpo"`, the number of tokens that an answer may
        have; the size of the axis of tokens if left out. Static.
      where: mask of the tokens kept, `[..., tokens]`, or of the answers kept, `[...]`.
        Axes may be 1.
      axis_name: inside `jax.shard_map`, the mesh axis over which the answers are
        spread: the average is over all of them, and the same on every device. Static.

    Returns:
      The average, a scalar, float32 (float64 for float64 inputs); 0 where nothing is
      kept.

    Numerics:
      Masked tokens may hold anything. An answer without a token kept is not there.

    Gradient:
      The weight of each token in the average.

    Raises:
      TypeError: `token_losses` not floating, a traced static option.
      ValueError: a mask that does not fit, an unknown `aggregation`.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> losses = jnp.array([[1.0, 2.0, 3.0], [5.0, 7.0, 9.0]])
      >>> where = jnp.array([[True, True, True], [True, False, False]])
      >>> print(jaxloss.aggregate_tokens(losses, where=where))
      2.75
      >>> print(jaxloss.aggregate_tokens(losses, where=where, aggregation="sequence"))
      3.5

    References:
      Yu et al. (DAPO), arXiv:2503.14476; Liu et al. (Dr. GRPO), arXiv:2503.20783.

    Elsewhere: `loss_type` of TRL's and Liger Kernel's GRPO, which count answers without
    any token in :math:`B`.
    """
    check = Check("aggregate_tokens")
    _check_aggregation(check, aggregation, max_length, axis_name)
    losses = check.floating("token_losses", token_losses)
    keep = _tokens_kept(check, where, losses, "token_losses")
    (losses,) = computing(losses)
    if keep is not None:
        losses = jnp.where(keep, losses, 0)
    return _aggregated(losses, keep, aggregation, max_length, axis_name)


def _check_aggregation(
    check: Check, aggregation: str, max_length: int | None, axis_name: str | None
) -> None:
    check.choice("aggregation", aggregation, get_args(Aggregation))
    check.static(max_length=max_length, axis_name=axis_name)
    if max_length is not None and max_length < 1:
        raise check.value_error(
            "max_length",
            "None or a number of tokens, at least 1",
            repr(max_length),
            "Leave it out for the size of the axis of tokens.",
        )


def _tokens_kept(
    check: Check, where: Input | None, tokens: Array, name: str
) -> Array | None:
    """The tokens kept by a mask of tokens or of answers."""
    if tokens.ndim == 0:
        raise check.value_error(
            name,
            "of shape [..., tokens]",
            "of shape ()",
            "Give it an axis of tokens.",
        )
    of_answers, of_tokens = check.where(
        where, loss=tokens.shape[:-1], output=tokens.shape, output_name=name
    )
    if of_answers is not None:
        of_answers = jnp.broadcast_to(of_answers[..., None], tokens.shape)
    return both(of_answers, of_tokens)


def _answers(
    check: Check,
    where: Input | None,
    log_probs: Input,
    advantages: Input,
    old_log_probs: Input | None,
    reference_log_probs: Input | None,
) -> tuple[Array, Array, Array | None, Array | None, Array | None]:
    """All arrays `[..., tokens]`, all but the first held fixed; and the tokens kept."""
    new = check.floating("log_probs", log_probs)
    keep = _tokens_kept(check, where, new, "log_probs")
    advantage = check.real("advantages", advantages)
    if advantage.ndim == new.ndim:
        check.same_shape(log_probs=new, advantages=advantage)
    else:
        check.shape("advantages", advantage, new.shape[:-1])
        advantage = jnp.broadcast_to(advantage[..., None], new.shape)
    others = {
        name: check.real(name, value)
        for name, value in (
            ("old_log_probs", old_log_probs),
            ("reference_log_probs", reference_log_probs),
        )
        if value is not None
    }
    check.same_shape(log_probs=new, **others)
    new, advantage, *rest = computing(new, advantage, *others.values())
    fixed = dict(zip(others, jax.lax.stop_gradient(rest), strict=True))
    old, reference = (
        fixed.get(name) for name in ("old_log_probs", "reference_log_probs")
    )

    def kept(x: Array | None) -> Array | None:
        return x if x is None or keep is None else jnp.where(keep, x, 0)

    new = new if keep is None else jnp.where(keep, new, 0)
    advantage = advantage if keep is None else jnp.where(keep, advantage, 0)
    return new, jax.lax.stop_gradient(advantage), kept(old), kept(reference), keep


def _aggregated(
    loss: Array,
    keep: Array | None,
    aggregation: str,
    max_length: int | None,
    axis_name: str | None,
) -> Array:
    """The losses, which are 0 where not kept, as one number."""

    def across(x: Array) -> Array:
        return x if axis_name is None else jax.lax.psum(x, axis_name)

    if aggregation == "none":
        return loss
    mask = jnp.ones_like(loss) if keep is None else keep.astype(loss.dtype)
    if aggregation == "bnpo":
        mean = divided(jnp.sum(loss), jnp.sum(mask))
        return mean if axis_name is None else jax.lax.pmean(mean, axis_name)
    if aggregation in ("token", "dapo"):
        return divided(across(jnp.sum(loss)), across(jnp.sum(mask)))
    tokens = jnp.sum(mask, axis=-1)
    answers = across(jnp.sum((tokens > 0).astype(loss.dtype)))
    totals = jnp.sum(loss, axis=-1)
    if aggregation in ("sequence", "grpo"):
        return divided(across(jnp.sum(divided(totals, tokens))), answers)
    if aggregation == "dr_grpo":
        answers = answers * (max_length or max(loss.shape[-1], 1))
    return divided(across(jnp.sum(totals)), answers)
