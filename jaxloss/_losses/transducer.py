"""The transducer (RNN-T): labels in order, written between frames."""

import jax
import jax.numpy as jnp

from jaxloss._core import padding, transducer
from jaxloss._core.labels import check_blank
from jaxloss._core.numerics import in_base
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Reduction
from jaxloss._core.validate import Check, computing


@public
def rnnt_loss(
    logits: Input,
    labels: Input,
    *,
    logit_lengths: Input | None = None,
    label_lengths: Input | None = None,
    logit_paddings: Input | None = None,
    label_paddings: Input | None = None,
    blank_id: int = 0,
    zero_infinity: bool = False,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Transducer loss: negative log-likelihood of labels over all their paths.

    .. math::
        \ell = -\log \alpha(T, U), \qquad
        \alpha(t, u) = \alpha(t - 1, u)\, p_{t-1,u}(\varnothing) +
            \alpha(t, u - 1)\, p_{t,u-1}(y_u), \quad \alpha(0, 0) = 1

    with :math:`p_{tu} = \operatorname{softmax}(x_{tu})` the distribution after
    :math:`t` frames and :math:`u` labels: the blank :math:`\varnothing` reads the next
    frame, a label is written without reading.

    Args:
      logits: unnormalised log-probabilities, floating, shape `[batch, frames,
        labels + 1, classes]`, one of the classes being the blank.
      labels: integer classes, none of them the blank, shape `[batch, labels]`.
      logit_lengths: the number of frames of each sequence, integer, shape `[batch]`.
      label_lengths: the number of labels of each sequence, integer, shape `[batch]`.
      logit_paddings: in the place of `logit_lengths`, shape `[batch, frames]`: not 0
        (or True) where a frame is padding, behind all others.
      label_paddings: in the place of `label_lengths`, shape `[batch, labels]`: not 0
        (or True) where a label is padding, behind all others.
      blank_id: the class of the blank, in [0, classes). Static.
      zero_infinity: labels that no path writes cost 0 instead of infinity. Static.
      where: sequences kept, shape `[batch]` (or 1).
      weights: weight of each sequence, shape `[batch]` (or 1).
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the sequences kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs), shape
      `[batch]`, or a scalar when reduced.

    Numerics:
      Probabilities are added as such, with exponents of their own, diagonal by
      diagonal: rounding does not grow with the loss, and offsets of the logits cancel.
      Confident paths keep their value: then 1 - P is summed. -inf logits are absent
      classes; where they leave no path, the loss is +inf with gradient 0. Padding and
      dropped sequences may hold anything. A label that is no class or is the blank, a
      length out of range and padding before the end give NaN in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial x_{tuk} = \gamma_{tu}\, p_{tuk} - \gamma_{tuk}`
      with :math:`\gamma_{tu}` the posterior probability that the path goes through
      :math:`(t, u)`, and :math:`\gamma_{tuk}` that it leaves it by class :math:`k`.

    Raises:
      TypeError: `logits` not floating, `labels` or lengths not integer, `blank_id` not
        a Python integer.
      ValueError: shapes that do not fit, lengths and paddings both given, `blank_id`
        that is no class.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.zeros((1, 2, 2, 4))
      >>> loss = jaxloss.rnnt_loss(logits, jnp.array([[1]]))
      >>> print(loss.round(4))  # 2 paths of 3 draws each
      [3.4657]

    References:
      Graves, *Sequence Transduction with Recurrent Neural Networks*, arXiv:1211.3711.

    Elsewhere: `torchaudio.functional.rnnt_loss` (`blank=-1`, lengths); not in optax,
    torch or keras.
    """
    check = Check("rnnt_loss")
    check.reduction(reduction)
    check.base(base)
    check.choice("zero_infinity", zero_infinity, (False, True))
    x = check.floating("logits", logits)
    if x.ndim != 4 or not x.shape[2]:
        raise check.value_error(
            "logits",
            "of shape [batch, frames, labels + 1, classes]",
            f"of shape {x.shape}",
            "Give a single sequence a batch axis: logits[None].",
        )
    batch, frames, columns, classes = x.shape
    y = check.labels("labels", labels)
    if y.shape != (batch, columns - 1):
        raise check.value_error(
            "labels",
            f"of shape [batch, labels], here {(batch, columns - 1)}, one label less "
            "than `logits` has",
            f"of shape {y.shape}",
            "The first of the labels + 1 is before any label.",
        )
    check_blank(check, blank_id, classes)
    keep, _ = check.where(where, loss=(batch,))
    read, valid = _length(
        check, "logit", logit_lengths, logit_paddings, (batch, frames)
    )
    length, also = _length(check, "label", label_lengths, label_paddings, y.shape)
    if keep is not None:
        read, length = jnp.where(keep, read, 0), jnp.where(keep, length, 0)
        valid, also = valid | ~keep, also | ~keep
    y = y.astype(jnp.int64 if y.dtype.itemsize == 8 else jnp.int32)
    u = jax.lax.broadcasted_iota(jnp.int32, y.shape, 1)
    needed = u < length[:, None]
    is_label = (y >= 0) & (y < classes) & (y != blank_id)
    valid = valid & also & jnp.all(is_label | ~needed, axis=1)
    y = jnp.where(is_label & needed, y, 0).astype(jnp.int32)

    nodes = x.shape[:3]
    t, u = (jax.lax.broadcasted_iota(jnp.int32, nodes, i) for i in (1, 2))
    there = (t < read[:, None, None]) & (u <= length[:, None, None])
    (x,) = computing(jnp.where(there[..., None], x, 0))
    lattice = transducer.Lattice(y, read[:, None], length[:, None])
    loss = transducer.nll(blank_id, x, lattice)
    if zero_infinity:
        loss = jnp.where(loss == jnp.inf, 0, loss)
    loss = in_base(loss * jnp.where(valid, 1, jnp.nan).astype(loss.dtype), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


def _length(
    check: Check,
    of: str,
    lengths: Input | None,
    paddings: Input | None,
    shape: tuple[int, ...],
) -> tuple[Array, Array]:
    """The lengths, `[batch]`, and whether the padding was valid and behind the rest."""
    missing, valid = padding.missing(check, of, lengths, paddings, shape)
    at_end = jnp.all(missing[:, 1:] | ~missing[:, :-1], axis=1)
    return jnp.sum(~missing, axis=1, dtype=jnp.int32), valid & at_end
