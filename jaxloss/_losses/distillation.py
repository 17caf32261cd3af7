"""Distillation: a student learns from labels and from a teacher's distribution."""

from typing import Literal

import jax.numpy as jnp

from jaxloss._core import rows
from jaxloss._core.labels import LabelledRows, reduced, with_label
from jaxloss._core.logit_divergence import between, cooled
from jaxloss._core.logit_pairs import logit_pairs
from jaxloss._core.public import public
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check, is_off


@public
def distillation_loss(
    logits: Input,
    teacher_logits: Input,
    *,
    labels: Input | None = None,
    temperature: Number = 1.0,
    hard_weight: Number = 0.5,
    soft_weight: Number = 0.5,
    divergence: Literal["kl", "reverse_kl", "jensen_shannon"] = "kl",
    beta: Number = 0.5,
    ignore_index: int | None = None,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Cross entropy with labels plus divergence from a teacher, at a temperature.

    .. math::
        \ell = -h \log \operatorname{softmax}(x)_y + s\, T^2\, D(p, q), \qquad
        p = \operatorname{softmax}(t / T),\quad q = \operatorname{softmax}(x / T)

    with :math:`x` the student's logits, :math:`t` the teacher's, :math:`y` the label
    and D one of :math:`\mathrm{KL}(p \| q)`, :math:`\mathrm{KL}(q \| p)` and the
    generalized Jensen-Shannon divergence of `js_divergence`. The factor :math:`T^2`
    keeps the size of the gradients when T changes.

    Args:
      logits: the student's, floating, shape `[..., classes]`.
      teacher_logits: the teacher's, of the same shape.
      labels: integer class indices from 0, the shape of `logits` without `axis`; none:
        the loss has its second term only.
      temperature: T, above 0; of the second term only.
      hard_weight: :math:`h`, at least 0, of the labels.
      soft_weight: :math:`s`, at least 0, of the teacher.
      divergence: `"kl"` (forward), `"reverse_kl"` or `"jensen_shannon"`. Static.
      beta: the teacher's share in the mixture, in (0, 1); for `"jensen_shannon"`. All
        four are numbers, or arrays that fit the losses.
      ignore_index: examples with this label contribute nothing, to neither term.
        Static.
      axis: the axis of the classes; several are flattened in the order given. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `logits`
        (classes kept; an example whose label is removed contributes nothing). Axes may
        be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `logits` without `axis`, or a scalar when reduced.

    Numerics:
      As for `softmax_cross_entropy_with_integer_labels` and `softmax_kl_divergence`: a
      student close to its teacher keeps the digits of the divergence. A label outside
      [0, classes) gives NaN in value and gradient.

    Gradient:
      With respect to the student, for `"kl"`:
      :math:`h (\operatorname{softmax}(x)_j - [j = y]) + s\, T (q_j - p_j)`. The teacher
      has a derivative too: stop it with `jax.lax.stop_gradient` where it is a network
      in the same program.

    Raises:
      TypeError: `logits` not floating, `labels` not integer, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> student, teacher = jnp.array([[2.0, 1.0, 0.1]]), jnp.array([[3.0, 1.0, -1.0]])
      >>> loss = jaxloss.distillation_loss(
      ...     student, teacher, labels=jnp.array([0]), temperature=2.0)
      >>> print(loss.round(4))
      [0.3391]

    References:
      Hinton, Vinyals, Dean, *Distilling the Knowledge in a Neural Network*,
      arXiv:1503.02531; Agarwal et al., arXiv:2306.13649.

    Elsewhere: Liger's `LigerFusedLinearJSDLoss` and its kin (`weight_hard_loss`,
    `weight_soft_loss`, both 0.5; without :math:`T^2`), TRL's `GKDTrainer` (the second
    term); fused with the heads, `linear_distillation_loss`.
    """
    check = Check("distillation_loss")
    check.reduction(reduction)
    check.base(base)
    check.choice("divergence", divergence, ("kl", "reverse_kl", "jensen_shannon"))
    check.static(ignore_index=ignore_index)
    x, s, t = logit_pairs(
        check, axis, where, logits=logits, teacher_logits=teacher_logits
    )
    labelled = None
    if labels is not None:
        labelled = with_label(check, x, ignore_index, labels=labels)
        x = labelled.rows
        s, t = x.predictions, x.require_targets()
    like = x.like
    share = None
    if divergence == "jensen_shannon":
        share = check.parameter(
            "beta", beta, like, low=0, high=1, open_low=True, open_high=True
        )
        share = x.spread(share)
    soft = x.spread(check.parameter("soft_weight", soft_weight, like, low=0))
    hard = x.spread(check.parameter("hard_weight", hard_weight, like, low=0))
    scale = None
    if not is_off(temperature, 1):
        scale = check.parameter("temperature", temperature, like, low=0, open_low=True)
        scale = x.spread(scale)
        soft = soft * jnp.square(scale)
    cold, warm = (cooled(z, scale, x.axis) for z in (t, s))
    loss = soft * between(divergence, cold, warm, share, x.axis)
    if labelled is None:
        return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)
    loss = loss + hard * rows.label_nll(s, labelled.label, x.axis)
    return reduced(
        check,
        LabelledRows(x, labelled.label),
        loss,
        weights=weights,
        reduction=reduction,
        base=base,
    )
