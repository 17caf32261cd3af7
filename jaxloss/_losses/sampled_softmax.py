"""Softmax cross entropy over a sample of the classes, for very many of them."""

import jax
import jax.numpy as jnp

from jaxloss._core import rows
from jaxloss._core.inputs import both
from jaxloss._core.numerics import in_base
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Reduction
from jaxloss._core.validate import Check, computing


@public
def sampled_softmax_cross_entropy(
    logits: Input,
    sampled_logits: Input,
    *,
    labels: Input | None = None,
    sampled_labels: Input | None = None,
    log_expected: Input | None = None,
    sampled_log_expected: Input | None = None,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Cross entropy of the true class against a sample of the others.

    .. math::
        \ell = -\log \frac{e^{z_y}}{e^{z_y} + \sum_{s} e^{z_s}}, \qquad
        z_c = x_c - \log q_c

    with :math:`x_y` the logit of the true class, :math:`x_s` those of the classes
    sampled and :math:`q_c` how often class c is expected in the sample. With this
    correction the expected gradient tends to that of the full softmax.

    Args:
      logits: logit of each example's true class, floating, shape `[...]`.
      sampled_logits: those of the classes sampled, floating, shape `[..., samples]`.
      labels: the true classes, integer, the shape of `logits`. With `sampled_labels`,
        a sample that is the true class (an accidental hit) is left out.
      sampled_labels: the classes sampled, integer, `[..., samples]`, or `[samples]`
        where all examples share them.
      log_expected: :math:`\log q_y`, real, the shape of `logits`; none: 0.
      sampled_log_expected: :math:`\log q_s`, real, `[..., samples]` or `[samples]`.
        A uniform sample needs neither.
      where: mask of the shape of `logits` (examples kept) or of `sampled_logits`
        (samples kept). Axes may be 1.
      weights: weight of each example, the shape of `logits`.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `logits`, or a scalar when reduced.

    Numerics:
      The corrections are subtracted from the distances to the largest logit: an offset
      of the logits cancels exactly. Without a sample the loss is 0.

    Gradient:
      :math:`\partial \ell / \partial x_y = -\sum_s \tilde p_s`,
      :math:`\partial \ell / \partial x_s = \tilde p_s`, with :math:`\tilde p` the
      softmax of :math:`z`.

    Raises:
      TypeError: logits not floating, labels not integer.
      ValueError: shapes that do not fit, one kind of labels without the other.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([2.0, 0.5])
      >>> sampled = jnp.array([[0.0, 1.0], [1.0, 0.5]])
      >>> loss = jaxloss.sampled_softmax_cross_entropy(logits, sampled,
      ...     labels=jnp.array([7, 3]), sampled_labels=jnp.array([5, 3]))
      >>> print(loss.round(4))
      [0.4076 0.9741]

    References:
      Bengio, Senécal, *Adaptive Importance Sampling to Accelerate Training of a Neural
      Probabilistic Language Model*, 2008; Jean et al., arXiv:1412.2007.

    Elsewhere: `tf.nn.sampled_softmax_loss` (which samples and multiplies by the head
    itself, with the same correction and accidental hits); not in optax, torch or keras.
    """
    name = "sampled_logits"
    check = Check("sampled_softmax_cross_entropy")
    check.reduction(reduction)
    check.base(base)
    x = check.floating("logits", logits)
    others = check.floating(name, sampled_logits)
    if others.shape[:-1] != x.shape or others.ndim != x.ndim + 1:
        raise check.value_error(
            name,
            f"of shape {(*x.shape, 'samples')}, with an axis more than `logits`",
            f"of shape {others.shape}",
            "Give each example its samples along the last axis.",
        )
    keep, entries = check.where(
        where, loss=x.shape, output=others.shape, output_name=name
    )
    own_q, other_q = jnp.zeros((), x.dtype), jnp.zeros((), x.dtype)
    if log_expected is not None:
        own_q = check.real("log_expected", log_expected)
        check.shape("log_expected", own_q, x.shape)
    if sampled_log_expected is not None:
        other_q = check.real("sampled_log_expected", sampled_log_expected)
        other_q = _shared(check, "sampled_log_expected", other_q, others.shape)
    if (labels is None) != (sampled_labels is None):
        missing = "labels" if labels is None else "sampled_labels"
        raise check.value_error(
            missing,
            "given along with the other labels",
            "None",
            "Both together tell which samples are accidental hits.",
        )
    if labels is not None and sampled_labels is not None:
        y = check.labels("labels", labels)
        check.shape("labels", y, x.shape)
        drawn = check.labels("sampled_labels", sampled_labels)
        drawn = _shared(check, "sampled_labels", drawn, others.shape)
        wide = max(y.dtype.itemsize, drawn.dtype.itemsize) == 8
        common = jnp.int64 if wide else jnp.int32
        miss = drawn.astype(common) != y.astype(common)[..., None]
        entries = both(entries, miss)

    x, others, own_q, other_q = computing(x, others, own_q, other_q)
    if entries is not None:
        others = jnp.where(entries, others, -jnp.inf)
        other_q = jnp.where(entries, other_q, 0)
    row = jnp.concatenate([x[..., None], others], axis=-1)
    expected = jnp.concatenate(
        [
            jnp.broadcast_to(own_q, x.shape)[..., None],
            jnp.broadcast_to(other_q, others.shape),
        ],
        axis=-1,
    )
    if keep is not None:
        row, expected = (jnp.where(keep[..., None], a, 0) for a in (row, expected))
    peak = jax.lax.stop_gradient(jnp.max(row, axis=-1, keepdims=True))
    z = (row - jnp.where(jnp.isfinite(peak), peak, 0)) - expected
    first = jnp.zeros((*x.shape, 1), jnp.int32)
    loss = in_base(jnp.squeeze(rows.label_nll(z, first, -1), -1), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


def _shared(check: Check, name: str, array: Array, shape: tuple[int, ...]) -> Array:
    """Samples of each example, or one set for all."""
    if array.shape == shape[-1:]:
        return jnp.broadcast_to(array, shape)
    check.shape(name, array, shape)
    return array
