"""Connectionist temporal classification: labels in order, without their times."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core import alignments, padding, scaled
from jaxloss._core.labels import check_blank
from jaxloss._core.numerics import in_base
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.scaled import Scaled
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check, computing


@public
def ctc_loss(
    logits: Input,
    logit_paddings: Input | None,
    labels: Input,
    label_paddings: Input | None,
    *,
    logit_lengths: Input | None = None,
    label_lengths: Input | None = None,
    blank_id: int = 0,
    log_epsilon: Number = -1e5,
    zero_infinity: bool = False,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""CTC: the negative log-likelihood of a label sequence over all its alignments.

    .. math::
        \ell = -\log \sum_{\pi \in \mathcal{B}^{-1}(y)} \prod_t p_t(\pi_t),
        \qquad p_t = \operatorname{softmax}(x_t)

    A path :math:`\pi` gives each frame a class; :math:`\mathcal{B}` merges repetitions,
    then removes blanks. Two equal labels in a row need a blank between them.

    Args:
      logits: unnormalised log-probabilities, floating, shape `[batch, frames,
        classes]`, one of the classes being the blank.
      logit_paddings: shape `[batch, frames]`; not 0 (or True) where a frame is padding.
        Frames may be missing anywhere. None: `logit_lengths` says it, or all are there.
      labels: integer classes, none of them the blank, shape `[batch, labels]`.
      label_paddings: shape `[batch, labels]`; not 0 (or True) where a label is padding.
        Labels may be missing anywhere; the others keep their order. None: likewise.
      logit_lengths: in the place of `logit_paddings`, the number of frames of each
        sequence, integer, shape `[batch]`. A length out of its range gives NaN.
      label_lengths: in the place of `label_paddings`, the number of labels of each
        sequence, integer, shape `[batch]`.
      blank_id: the class of the blank, in [0, classes). Static.
      log_epsilon: accepted for optax's sake; 0 is 0 here, and nothing stands for it.
      zero_infinity: labels that no path spells cost 0 instead of infinity. Static.
      where: sequences kept, shape `[batch]` (or 1).
      weights: weight of each sequence, shape `[batch]` (or 1). With weights
        :math:`1 / \text{labels}`, `"sum"` over the batch size is torch's mean.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the sequences kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs), shape
      `[batch]`, or a scalar when reduced.

    Numerics:
      Probabilities are added as such, with exponents of their own, so rounding does not
      grow with the loss, and offsets of the logits cancel. Confident alignments keep
      their value down to the smallest float: then 1 - P is summed. -inf logits are
      absent classes. Too few frames for the labels give +inf and gradient 0. Padding
      and dropped sequences may hold NaN or anything else. A label that is no class, or
      is the blank, gives NaN in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial x_{tk} = p_{tk} - \gamma_{tk}` with
      :math:`\gamma_{tk}` the posterior probability of class :math:`k` in frame
      :math:`t`, given that the path spells the labels.

    Raises:
      TypeError: `logits` not floating, `labels` not integer, `blank_id` not a Python
        integer.
      ValueError: shapes that do not fit, `blank_id` that is no class.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.zeros((1, 3, 4))
      >>> loss = jaxloss.ctc_loss(
      ...     logits, jnp.zeros((1, 3)), jnp.array([[1, 2]]), jnp.zeros((1, 2)))
      >>> print(loss.round(4))  # 5 of the 64 paths
      [2.5494]

    References:
      Graves, Fernández, Gomez, Schmidhuber, *Connectionist Temporal Classification*,
      ICML 2006.

    Elsewhere: `optax.ctc_loss`, `torch.nn.functional.ctc_loss` (log-probabilities,
    frames first, lengths), `keras.losses.CTC`.
    """
    check = Check("ctc_loss")
    frames, written = (logit_lengths, logit_paddings), (label_lengths, label_paddings)
    x = _spelling(check, logits, frames, labels, written, blank_id, where)
    check.parameter("log_epsilon", log_epsilon, x.scalar)
    return _loss(check, x, zero_infinity, weights, reduction, base)


@public
def ctc_loss_with_forward_probs(
    logits: Input,
    logit_paddings: Input | None,
    labels: Input,
    label_paddings: Input | None,
    *,
    logit_lengths: Input | None = None,
    label_lengths: Input | None = None,
    blank_id: int = 0,
    log_epsilon: Number = -1e5,
    zero_infinity: bool = False,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> tuple[Array, Array, Array]:
    r"""CTC with its forward probabilities.

    .. math::
        \alpha_\phi(t, n) &= P(\pi_{1:t} \text{ spells } y_{1:n}, \pi_t = \phi) \\
        \alpha_y(t, n) &= P(\pi_{1:t} \text{ spells } y_{1:n+1}, \pi_t = y_{n+1})

    for :math:`n` labels from 0, in the frames up to :math:`t`. As in optax, the last
    frame's :math:`\alpha_\phi(T, n)` counts the paths that end in the label too: it is
    the probability that all frames spell :math:`y_{1:n}`.

    Args:
      logits: unnormalised log-probabilities, floating, shape `[batch, frames,
        classes]`.
      logit_paddings: shape `[batch, frames]`; not 0 where a frame is padding; or None.
      labels: integer classes, none of them the blank, shape `[batch, labels]`.
      label_paddings: shape `[batch, labels]`; not 0 where a label is padding; or None.
      logit_lengths: in the place of `logit_paddings`, as for `ctc_loss`.
      label_lengths: in the place of `label_paddings`, as for `ctc_loss`.
      blank_id: the class of the blank, in [0, classes). Static.
      log_epsilon: what is returned for the logarithm of a probability 0; -inf is the
        exact one. It plays no part in any other number.
      zero_infinity: labels that no path spells cost 0 instead of infinity. Static.
      where: sequences kept, shape `[batch]` (or 1).
      weights: weight of each sequence, shape `[batch]` (or 1).
      reduction: of the loss alone: `"none"`, `"sum"` or `"mean"`.
      base: unit of the loss and the logarithms: None for nats, 2 for bits.

    Returns:
      The losses, as `ctc_loss`; :math:`\log \alpha_\phi`, shape `[frames, batch,
      labels + 1]`; :math:`\log \alpha_y`, shape `[frames, batch, labels]`. Labels are
      counted without their padding, and what is behind the last one has probability 0.
      A frame of padding repeats the frame before it.

    Numerics:
      As `ctc_loss`.

    Gradient:
      As `ctc_loss`; the logarithms are differentiable too, and constant where the
      probability is 0.

    Raises:
      TypeError: `logits` not floating, `labels` not integer, `blank_id` not a Python
        integer.
      ValueError: shapes that do not fit, `blank_id` that is no class.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> loss, log_blank, log_label = jaxloss.ctc_loss_with_forward_probs(
      ...     jnp.zeros((1, 3, 4)), jnp.zeros((1, 3)),
      ...     jnp.array([[1, 2]]), jnp.zeros((1, 2)))
      >>> log_blank.shape, log_label.shape
      ((3, 1, 3), (3, 1, 2))
      >>> paths = 64 * jnp.exp(log_blank[-1, 0])  # that spell nothing; 1; 1, 2
      >>> print(jnp.rint(paths).astype(int))
      [1 6 5]

    References:
      Graves, Fernández, Gomez, Schmidhuber, *Connectionist Temporal Classification*,
      ICML 2006, section 4.1.

    Elsewhere: `optax.losses.ctc_loss_with_forward_probs`.
    """
    check = Check("ctc_loss_with_forward_probs")
    frames, written = (logit_lengths, logit_paddings), (label_lengths, label_paddings)
    x = _spelling(check, logits, frames, labels, written, blank_id, where)
    impossible = check.parameter("log_epsilon", log_epsilon, x.scalar)
    loss = _loss(check, x, zero_infinity, weights, reduction, base)
    blank, label = alignments.forward(blank_id, x.logits, x.sequences)
    if x.logits.shape[1]:
        last = scaled.add(*jax.tree.map(lambda a: a[-1], (blank, label)))
        blank = jax.tree.map(lambda a, end: a.at[-1].set(end), blank, last)

    def logarithm(alpha: Scaled) -> Array:
        value = in_base(scaled.log(alpha), base)
        value = jnp.where(value == -jnp.inf, impossible, value)
        return value * x.valid[None, :, None]

    return loss, logarithm(blank), logarithm(label)[..., 1:]


# ------------------------------------------------------------------ what they share


class _Spelling(NamedTuple):
    """What to spell, and with which logits."""

    logits: Array
    """In the dtype of computation, zeros in the frames that are not there."""
    sequences: alignments.Sequences
    """Dropped sequences have no frames and no labels."""
    blank_id: int
    valid: Array
    """A factor of the loss: 1, or NaN for labels that are no labels."""
    keep: Array | None
    """The sequences kept by the mask."""

    @property
    def scalar(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of one number."""
        return jax.ShapeDtypeStruct((), self.logits.dtype)


def _spelling(
    check: Check,
    logits: Input,
    frames_given: tuple[Input | None, Input | None],
    labels: Input,
    labels_given: tuple[Input | None, Input | None],
    blank_id: int,
    where: Input | None,
) -> _Spelling:
    """What is to be spelled; frames and labels there are by length, or by padding."""
    x = check.floating("logits", logits)
    if x.ndim != 3:
        raise check.value_error(
            "logits",
            "of shape [batch, frames, classes]",
            f"of shape {x.shape}",
            "Give a single sequence a batch axis: logits[None].",
        )
    batch, frames, classes = x.shape
    y = check.labels("labels", labels)
    if y.ndim != 2 or y.shape[0] != batch:
        raise check.value_error(
            "labels",
            f"of shape [batch, labels] with the batch of `logits`, {batch}",
            f"of shape {y.shape}",
            "Pad all label sequences to one length, and say so in `label_paddings`, or "
            "in `label_lengths`.",
        )
    skipped, read = padding.missing(check, "logit", *frames_given, (batch, frames))
    missing, written = padding.missing(check, "label", *labels_given, y.shape)
    check_blank(check, blank_id, classes)
    # A narrow or unsigned type may not hold the number of classes.
    y = y.astype(jnp.int64 if y.dtype.itemsize == 8 else jnp.int32)
    keep, _ = check.where(where, loss=(batch,))
    if keep is not None:
        skipped, missing = skipped | ~keep[:, None], missing | ~keep[:, None]
        read, written = read | ~keep, written | ~keep

    # Labels behind one another, in their order, wherever padding was between them.
    order = jnp.argsort(missing, axis=1, stable=True)
    y, missing = (jnp.take_along_axis(a, order, axis=1) for a in (y, missing))
    valid = missing | ((y >= 0) & (y < classes) & (y != blank_id))
    y = jnp.where(valid & ~missing, y, jnp.zeros_like(y)).astype(jnp.int32)
    (x,) = computing(jnp.where(skipped[..., None], 0, x))
    return _Spelling(
        logits=x,
        sequences=alignments.Sequences(
            skipped=skipped,
            labels=jnp.where(missing, classes, y),
            length=jnp.sum(~missing, axis=1, keepdims=True, dtype=jnp.int32),
        ),
        blank_id=blank_id,
        valid=jnp.where(read & written & jnp.all(valid, axis=1), 1, jnp.nan).astype(
            x.dtype
        ),
        keep=keep,
    )


def _loss(
    check: Check,
    x: _Spelling,
    zero_infinity: bool,
    weights: Input | None,
    reduction: Reduction,
    base: float | None,
) -> Array:
    check.choice("zero_infinity", zero_infinity, (False, True))
    check.reduction(reduction)
    check.base(base)
    loss = alignments.nll(x.blank_id, x.logits, x.sequences)
    if zero_infinity:
        loss = jnp.where(loss == jnp.inf, 0, loss)
    loss = in_base(loss * x.valid, base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)
