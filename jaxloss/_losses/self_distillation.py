"""A student that learns what its teacher, an average of itself, says of other views."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core import axes, inputs, rows
from jaxloss._core.cross_entropy import Options, modified
from jaxloss._core.exact import add3
from jaxloss._core.numerics import in_base
from jaxloss._core.public import public
from jaxloss._core.reduce import divided, reduce
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check


class Centered(NamedTuple):
    """A loss, and the centre to use in the next step."""

    loss: Array
    center: Array


@public
def dino_loss(
    student_logits: Input,
    teacher_logits: Input,
    *,
    center: Input | None = None,
    student_temperature: Number = 0.1,
    teacher_temperature: Number = 0.04,
    center_momentum: Number = 0.9,
    axis: int = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
    axis_name: str | None = None,
) -> Centered:
    r"""DINO: cross entropy of the student to the centred and sharpened teacher.

    .. math::
        \ell = -\sum_k t_k \log s_k, \qquad
        t = \operatorname{softmax}\Bigl( \frac{z_t - c}{\tau_t} \Bigr), \quad
        s = \operatorname{softmax}\Bigl( \frac{z_s}{\tau_s} \Bigr), \qquad
        c \leftarrow m c + (1 - m) \operatorname{mean} z_t

    Args:
      student_logits: :math:`z_s`, floating, shape `[..., prototypes]` (along `axis`).
      teacher_logits: :math:`z_t` of another view, the same shape. No gradient flows
        into them.
      center: :math:`c`, `[prototypes]`, as the last step returned it; None for zeros.
      student_temperature: :math:`\tau_s`, above 0.
      teacher_temperature: :math:`\tau_t`, above 0.
      center_momentum: :math:`m`, in [0, 1].
      axis: the axis of the prototypes. Static.
      where: mask of the losses' shape (examples kept, in the mean of the centre too) or
        of the shape of `student_logits` (prototypes kept). Axes may be 1.
      weights: weight of each example, of the losses' shape; not in the centre.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the loss: None for nats, 2 for bits.
      axis_name: inside `jax.shard_map`, the mesh axis over which the examples are
        spread; sums, and the mean of the centre, are those of all devices. Static.

    Returns:
      A pair `(loss, center)`: the losses in nats (or of `base`), float32 (float64 for
      float64 inputs), the shape of `student_logits` without `axis` or a scalar when
      reduced; and the new centre, `[prototypes]`, without a gradient. Where nothing is
      kept the centre stays.

    Numerics:
      Logits are compared before they are divided by a temperature, so that an offset
      cancels. Accurate in relative terms for confident students.

    Gradient:
      :math:`(s - t) / \tau_s` to the student, 0 to the teacher and the centre.

    Raises:
      TypeError: logits that are not floating, a traced static option.
      ValueError: shapes that do not fit, an option out of its range (NaN, if an array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> student = jnp.array([[0.2, 0.1, 0.0], [0.1, 0.3, 0.1]])
      >>> teacher = jnp.array([[0.1, 0.0, 0.0], [0.0, 0.2, 0.0]])
      >>> loss, center = jaxloss.dino_loss(student, teacher, center=jnp.zeros(3))
      >>> print(loss.round(4), center.round(4))
      [0.6191 0.2661] [0.005 0.01  0.   ]

    References:
      Caron et al., *Emerging Properties in Self-Supervised Vision Transformers*,
      arXiv:2104.14294. Their loss is the mean over pairs of different crops.

    Elsewhere: `DINOLoss` of lightly, which holds the centre and loops over the crops.
    """
    check = Check("dino_loss")
    check.reduction(reduction)
    check.base(base)
    if axis_name is not None:
        check.axis_name(axis_name)
    loss, x, updated = _to_teacher(
        check,
        student_logits,
        teacher_logits,
        (center, student_temperature, teacher_temperature, center_momentum),
        axis,
        where,
        axis_name,
    )
    loss = in_base(loss, base)
    loss = reduce(
        loss,
        where=x.keep,
        weights=check.weights(weights, loss),
        reduction=reduction,
        axis_name=axis_name,
    )
    return Centered(loss, updated)


@public
def ibot_loss(
    student_logits: Input,
    teacher_logits: Input,
    *,
    center: Input | None = None,
    student_temperature: Number = 0.1,
    teacher_temperature: Number = 0.04,
    center_momentum: Number = 0.9,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
    axis_name: str | None = None,
) -> Centered:
    r"""iBOT: the student, who does not see the masked patches, says what they are.

    .. math::
        \ell = -\frac{1}{|M|} \sum_{i \in M} \sum_k t_{ik} \log s_{ik}, \qquad
        t_i = \operatorname{softmax}\Bigl( \frac{z^t_i - c}{\tau_t} \Bigr), \quad
        s_i = \operatorname{softmax}\Bigl( \frac{z^s_i}{\tau_s} \Bigr)

    with :math:`M` the masked patches of an image, and the centre :math:`c` as in
    `dino_loss`, over them.

    Args:
      student_logits: :math:`z^s` of the image with masked patches, floating, shape
        `[..., patches, prototypes]`.
      teacher_logits: :math:`z^t` of the whole image, the same shape. No gradient flows
        into them.
      center: :math:`c`, `[prototypes]`, as the last step returned it; None for zeros.
      student_temperature: :math:`\tau_s`, above 0.
      teacher_temperature: :math:`\tau_t`, above 0.
      center_momentum: of the centre, in [0, 1].
      where: the masked patches, `[..., patches]`, of which the loss is; all if left
        out. A mask of the losses' shape, `[...]`, keeps images. Axes may be 1.
      weights: weight of each image, of the losses' shape; not in the centre.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the images that have a
        masked patch).
      base: unit of the loss: None for nats, 2 for bits.
      axis_name: inside `jax.shard_map`, the mesh axis over which the images are spread;
        sums, and the mean of the centre, are those of all devices. Static.

    Returns:
      A pair `(loss, center)`: the losses of the images in nats (or of `base`), float32
      (float64 for float64 inputs), shape `[...]` or a scalar when reduced; and the new
      centre, `[prototypes]`, without a gradient. An image without masked patches has
      loss 0.

    Numerics:
      As `dino_loss`.

    Gradient:
      :math:`(s_i - t_i) / (\tau_s |M|)` to the student at a masked patch, 0 elsewhere.

    Raises:
      TypeError: logits that are not floating, a traced static option.
      ValueError: shapes that do not fit, an option out of its range (NaN, if an array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> student = jnp.array([[[0.2, 0.1, 0.0], [0.1, 0.3, 0.1]]])
      >>> teacher = jnp.array([[[0.1, 0.0, 0.0], [0.0, 0.2, 0.0]]])
      >>> masked = jnp.array([[False, True]])
      >>> loss, center = jaxloss.ibot_loss(student, teacher, where=masked)
      >>> print(loss.round(4), center.round(4))
      [0.2661] [0.   0.02 0.  ]

    References:
      Zhou et al., *iBOT: Image BERT Pre-Training with Online Tokenizer*,
      arXiv:2111.07832.

    Elsewhere: `IBOTPatchLoss` of lightly, which holds the centre.
    """
    check = Check("ibot_loss")
    check.reduction(reduction)
    check.base(base)
    if axis_name is not None:
        check.axis_name(axis_name)
    logits = check.floating("student_logits", student_logits)
    if logits.ndim < 2:
        raise check.value_error(
            "student_logits",
            "of shape [..., patches, prototypes]",
            f"of shape {logits.shape}",
            "Add an axis of one patch.",
        )
    patches = logits.shape[:-1]
    images, masked = check.where(
        where, loss=patches[:-1], output=patches, output_name="the patches"
    )
    if images is not None:
        masked = jnp.broadcast_to(images[..., None], patches)
    loss, x, updated = _to_teacher(
        check,
        student_logits,
        teacher_logits,
        (center, student_temperature, teacher_temperature, center_momentum),
        -1,
        masked,
        axis_name,
    )
    kept = jnp.ones(patches, bool) if x.keep is None else x.keep
    count = jnp.sum(kept.astype(loss.dtype), axis=-1)
    loss = jnp.where(kept, loss, 0)
    loss = in_base(divided(jnp.sum(loss, axis=-1), count), base)
    loss = reduce(
        loss,
        where=count > 0,
        weights=check.weights(weights, loss),
        reduction=reduction,
        axis_name=axis_name,
    )
    return Centered(loss, updated)


# ------------------------------------------------------------------ teachers


def _to_teacher(
    check: Check,
    student_logits: Input,
    teacher_logits: Input,
    options: tuple[Input | None, Number, Number, Number],
    axis: int,
    where: Input | None,
    axis_name: str | None,
) -> tuple[Array, inputs.Rows, Array]:
    """The cross entropy of each row, the rows, and the new centre."""
    check.floating("teacher_logits", teacher_logits)
    x = inputs.rows(
        check,
        axis,
        where,
        -jnp.inf,
        -jnp.inf,
        student_logits=student_logits,
        teacher_logits=teacher_logits,
    )
    if x.entries is not None:
        x = x.drop(jnp.any(x.entries, axis=x.axis))
    given, of_student, of_teacher, momentum = options
    teacher = jax.lax.stop_gradient(x.require_targets())
    c = jnp.zeros(x.classes, teacher.dtype)
    if given is not None:
        c = jax.lax.stop_gradient(check.real("center", given).astype(teacher.dtype))
        check.shape("center", c, (x.classes,))
    parameter = {"low": 0, "open_low": True}
    tau_s = check.parameter("student_temperature", of_student, x.like, **parameter)
    tau_t = check.parameter("teacher_temperature", of_teacher, x.like, **parameter)
    m = check.parameter(
        "center_momentum", momentum, c[0] if len(c) else c, low=0, high=1
    )

    # Relative to the largest logit, to the last place of the difference: an offset of
    # the logits, or of the logits and the centre, cancels before the division.
    moved = x.along(c)
    peak = axes.peak(teacher - moved, x.axis)
    peak = jnp.where(jnp.isfinite(peak), peak, 0)
    sharp = add3(teacher, -moved, -peak + jnp.zeros_like(teacher)) / x.spread(tau_t)
    target = rows.softmax(sharp, x.axis).p
    z, _ = modified(x.predictions, Options(temperature=x.spread(tau_s)), x.axis)
    loss = jnp.squeeze(rows.soft_nll(z, target, x.axis), x.axis)

    kept = jnp.ones(x.shape, bool) if x.keep is None else x.keep
    there = jnp.broadcast_to(jnp.expand_dims(kept, x.axis), teacher.shape)
    if x.entries is not None:
        there = there & x.entries
    others = tuple(i for i in range(teacher.ndim) if i != x.axis)
    total = jnp.sum(jnp.where(there, teacher, 0), axis=others)
    count = jnp.sum(there.astype(c.dtype), axis=others)
    if axis_name is not None:
        total, count = jax.lax.psum((total, count), axis_name)
    updated = m * c + (1 - m) * divided(total, count)
    return loss, x, jnp.where(count > 0, updated, c)
