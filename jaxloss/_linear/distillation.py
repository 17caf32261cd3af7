"""Distillation: a head's distribution against that of a teacher's head."""

from typing import Literal

import jax

from jaxloss._core import logit_divergence
from jaxloss._core.explicit import automatic
from jaxloss._core.mesh import Tree
from jaxloss._core.numerics import in_base
from jaxloss._core.types import Array, Implementation, Input, Number, Reduction
from jaxloss._core.validate import Check, is_off
from jaxloss._linear.engine import Backward
from jaxloss._linear.head import Settings, compute, head
from jaxloss._linear.product import product

Divergence = Literal["kl", "reverse_kl", "jensen_shannon"]
"""From teacher to student, from student to teacher, or to their mixture."""


@automatic
def linear_distillation_loss(
    hidden: Input,
    kernel: Input,
    teacher_hidden: Input,
    teacher_kernel: Input,
    *,
    divergence: Divergence = "kl",
    beta: Number = 0.5,
    temperature: Number = 1.0,
    bias: Input | None = None,
    teacher_bias: Input | None = None,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "mean",
    base: float | None = None,
    class_axis: int = -1,
    chunk_size: int | None = None,
    max_tokens: int | None = None,
    backward: Backward = "recompute",
    axis_name: str | None = None,
    implementation: Implementation | None = None,
) -> Array:
    r"""Divergence of a head's distribution from a teacher's, without their logits.

    .. math::
        p = \operatorname{softmax}\bigl((h' W' + b') / T\bigr), \qquad
        q = \operatorname{softmax}\bigl((h W + b) / T\bigr)

    and :math:`\mathrm{KL}(p \| q)`, :math:`\mathrm{KL}(q \| p)` or the generalised
    Jensen-Shannon divergence
    :math:`\beta\,\mathrm{KL}(p \| m) + (1 - \beta)\,\mathrm{KL}(q \| m)` to the mixture
    :math:`m = \beta p + (1 - \beta) q`. The teacher gets no gradient.

    Args:
      hidden: the student's states before its head, shape `[..., hidden]`.
      kernel: the student's head, `[hidden, classes]` (see `class_axis`).
      teacher_hidden: the teacher's states, `[..., teacher's hidden]`.
      teacher_kernel: the teacher's head, `[teacher's hidden, classes]`.
      divergence: `"kl"` (forward, mean-seeking), `"reverse_kl"` (mode-seeking) or
        `"jensen_shannon"`. Static.
      beta: the teacher's share in the mixture, in (0, 1); for `"jensen_shannon"`.
      temperature: divides the logits of both, above 0. Hinton's loss is
        `temperature**2` times this one.
      bias: the student's bias, `[classes]`.
      teacher_bias: the teacher's bias, `[classes]`.
      where: mask of the losses' shape `[...]` (tokens kept). Axes may be 1.
      weights: weight of each token, `[...]`.
      reduction: `"mean"` (weighted, over the tokens kept), `"sum"` or `"none"`.
      base: unit of the result: None for nats, 2 for bits.
      class_axis: the axis of the classes in both kernels, -1 or 0. Static.
      chunk_size: tokens at a time; None chooses. Static.
      max_tokens: a promise that at most so many tokens are kept; see
        `linear_softmax_cross_entropy`. Static.
      backward: with `reduction="none"`, `"recompute"` or `"save"`. Static.
      axis_name: inside `jax.shard_map`, the mesh axis over which the classes of both
        heads are spread.
      implementation: None chooses; "xla" runs everywhere.

    Returns:
      The divergence in nats (or of `base`), at least 0, float32 (float64 for float64
      inputs): a scalar, or of shape `[...]`.

    Numerics:
      Near p = q, where the divergence is of the order of the squared difference of the
      logits, it is a sum of terms that are never negative: nothing cancels.

    Gradient:
      With respect to the student's logits :math:`x`, times :math:`T`:
      :math:`q_j - p_j`; :math:`q_j (\log (q_j / p_j) - \mathrm{KL}(q \| p))`;
      :math:`(1 - \beta)\, q_j (\log (q_j / m_j) - \mathrm{KL}(q \| m))`.

    Raises:
      TypeError: an array not of the kind described, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> student, teacher = jnp.array([[1.0, 0.0]]), jnp.array([[0.5, 0.5]])
      >>> kernel = jnp.array([[2.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
      >>> loss = jaxloss.linear_distillation_loss(student, kernel, teacher, kernel)
      >>> print(f"{loss:.4f}")
      0.1823

    References:
      Hinton et al., arXiv:1503.02531; Agarwal et al., *On-Policy Distillation of
      Language Models*, arXiv:2306.13649; Gu et al., *MiniLLM*, arXiv:2306.08543.

    Elsewhere: Liger Kernel's `LigerFusedLinearJSD`, TRL's `GKDTrainer`.
    """
    check = Check("linear_distillation_loss")
    check.reduction(reduction)
    check.base(base)
    check.choice("divergence", divergence, ("kl", "reverse_kl", "jensen_shannon"))
    settings = Settings(
        class_axis, chunk_size, max_tokens, axis_name, backward, implementation
    )
    x = head(check, hidden, kernel, bias, settings)
    states = check.floating("teacher_hidden", teacher_hidden)
    if states.shape[:-1] != x.shape:
        raise check.value_error(
            "teacher_hidden",
            f"of shape {(*x.shape, '...')}, with the tokens of `hidden`",
            f"of shape {states.shape}",
            "Reshape it.",
        )
    names = "teacher_hidden", "teacher_kernel", "teacher_bias"
    teacher = head(check, states, teacher_kernel, teacher_bias, settings, names)
    if teacher.classes_here != x.classes_here:
        raise check.value_error(
            "teacher_kernel",
            f"a head of {x.classes_here} classes, as `kernel` is",
            f"of shape {teacher.kernel.shape}",
            "Both distributions are over the same classes.",
        )
    keep, _ = check.where(where, loss=x.shape)
    keep = None if keep is None else keep.reshape(-1)
    x, teacher = x.drop(keep), teacher.drop(keep)
    scalar = jax.ShapeDtypeStruct((), x.like.dtype)
    share = check.parameter(
        "beta", beta, scalar, low=0, high=1, open_low=True, open_high=True
    )
    scale = None
    if not is_off(temperature, 1):
        scale = check.parameter(
            "temperature", temperature, scalar, low=0, open_low=True
        )
    contract = (1, 1 - x.class_axis)

    def row(z: Array, shared: Tree, states: Tree) -> Array:
        (kernel, bias), share, scale = shared
        t = product(states, kernel, contract).astype(z.dtype)
        t = t if bias is None else t + bias.astype(z.dtype)[None, :]
        if scale is not None:
            t, z = t / scale, z / scale
        if divergence == "kl":
            loss = logit_divergence.kl(t, z, x.axis)
        elif divergence == "reverse_kl":
            loss = logit_divergence.kl(z, t, x.axis)
        else:
            loss = logit_divergence.jensen_shannon(t, z, share, x.axis)
        return in_base(loss[:, 0], base)

    fixed = jax.lax.stop_gradient((teacher.kernel, teacher.bias))
    return compute(
        check,
        x,
        row,
        (fixed, share, scale),
        jax.lax.stop_gradient(teacher.hidden),
        weights=weights,
        reduction=reduction,
        # Those of two softmaxes, the mixture and the corrections that keep the digits.
        arrays=12 if divergence == "jensen_shannon" else 7,
    )
