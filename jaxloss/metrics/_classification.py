"""How often a classifier is right, and whether it knows."""

import jax
import jax.numpy as jnp

from jaxloss._core import axes, inputs, rows
from jaxloss._core.labels import labelled_rows
from jaxloss._core.numerics import weighted
from jaxloss._core.public import public
from jaxloss._core.types import Array, Axis, Input
from jaxloss._core.validate import Check
from jaxloss.metrics._averages import Calibration, Mean, total_of, weight_of


@public
def accuracy(
    logits: Input,
    labels: Input,
    *,
    axis: Axis = -1,
    ignore_index: int | None = None,
    where: Input | None = None,
    weights: Input | None = None,
) -> Mean:
    """Share of the examples whose label has the largest score.

    Args:
      logits: scores of the classes, floating, any shape: logits, log-probabilities or
        probabilities.
      labels: integers from 0, the shape of `logits` without `axis`. One that is no
        class makes the result NaN.
      axis: the axis of the classes.
      ignore_index: examples with this label are not counted.
      where: mask of the examples kept, the shape of `labels`, or of the classes kept,
        the shape of `logits` (an example whose class is removed is not counted).
      weights: weight of each example, the shape of `labels`.

    Returns:
      `Mean`; of nothing, 0. Of equal scores the first counts, as in `argmax`; a NaN
      among them makes the result NaN.

    Examples:
      >>> import jax.numpy as jnp
      >>> from jaxloss import metrics
      >>> logits = jnp.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
      >>> print(metrics.accuracy(logits, jnp.array([0, 1, 1])).value.round(4))
      0.6667
    """
    check = Check("metrics.accuracy")
    x, hit = _hits(check, logits, labels, 1, axis, ignore_index, where)
    return total_of(check, hit, x.keep, weights)


@public
def top_k_accuracy(
    logits: Input,
    labels: Input,
    *,
    k: int = 5,
    axis: Axis = -1,
    ignore_index: int | None = None,
    where: Input | None = None,
    weights: Input | None = None,
) -> Mean:
    """Share of the examples whose label is among the k largest scores.

    Args:
      logits: scores of the classes, floating, any shape.
      labels: integers from 0, the shape of `logits` without `axis`.
      k: how many classes are guessed, at least 1. Static.
      axis: the axis of the classes.
      ignore_index: examples with this label are not counted.
      where: mask of the examples kept, or of the classes, as for `accuracy`.
      weights: weight of each example, the shape of `labels`.

    Returns:
      `Mean`; of nothing, 0. Of equal scores the first count, as in `jax.lax.top_k`.

    Examples:
      >>> import jax.numpy as jnp
      >>> from jaxloss import metrics
      >>> logits = jnp.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]])
      >>> print(metrics.top_k_accuracy(logits, jnp.array([1, 0]), k=2).value)
      0.5
    """
    check = Check("metrics.top_k_accuracy")
    check.static(k=k)
    if k < 1:
        raise check.value_error(
            "k", "at least 1", repr(k), "It is the number of classes that are guessed."
        )
    x, hit = _hits(check, logits, labels, k, axis, ignore_index, where)
    return total_of(check, hit, x.keep, weights)


@public
def binary_accuracy(
    logits: Input,
    labels: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
) -> Mean:
    """Share of the entries whose logit has the sign that the label says.

    Args:
      logits: log-odds, floating, any shape; above 0 they predict 1.
      labels: 0 or 1, the same shape; anything else makes the result NaN.
      where: mask of the same shape, the entries kept.
      weights: weight of each entry, the same shape.

    Returns:
      `Mean`; of nothing, 0.

    Examples:
      >>> import jax.numpy as jnp
      >>> from jaxloss import metrics
      >>> logits, labels = jnp.array([2.0, -1.0, 0.5]), jnp.array([1, 0, 0])
      >>> print(metrics.binary_accuracy(logits, labels).value.round(4))
      0.6667
    """
    check = Check("metrics.binary_accuracy")
    x = inputs.elements(check, where, logits=logits, labels=labels)
    right = (x.predictions > 0) == (x.targets == 1)
    valid = ((x.targets == 0) | (x.targets == 1)) & ~jnp.isnan(x.predictions)
    hit = jnp.where(valid, right.astype(x.predictions.dtype), jnp.nan)
    return total_of(check, hit, x.keep, weights)


@public
def expected_calibration_error(
    logits: Input,
    labels: Input,
    *,
    bins: int = 15,
    axis: Axis = -1,
    ignore_index: int | None = None,
    where: Input | None = None,
    weights: Input | None = None,
) -> Calibration:
    r"""Mean gap between confidence and accuracy, over bins of equal width.

    .. math::
        \mathrm{ECE} = \sum_b \frac{n_b}{n}
            \left|\mathrm{acc}_b - \mathrm{conf}_b\right|

    The confidence is the largest softmax probability; bin :math:`b` of :math:`B` holds
    those in :math:`((b - 1) / B,\, b / B]`.

    Args:
      logits: floating, any shape. For a binary classifier with log-odds :math:`x`, the
        pair :math:`(0, x)`.
      labels: integers from 0, the shape of `logits` without `axis`.
      bins: how many bins. Static.
      axis: the axis of the classes.
      ignore_index: examples with this label are not counted.
      where: mask of the examples kept, or of the classes, as for `accuracy`.
      weights: weight of each example, the shape of `labels`.

    Returns:
      `Calibration`, the bins' sums, a reliability diagram; its value is the error. Of
      nothing, 0.

    Examples:
      >>> import jax.numpy as jnp
      >>> from jaxloss import metrics
      >>> logits = jnp.log(jnp.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]))
      >>> error = metrics.expected_calibration_error(logits, jnp.array([0, 1, 1]))
      >>> print(error.value.round(4))
      0.4

    References:
      Guo et al., *On Calibration of Modern Neural Networks*, arXiv:1706.04599.
    """
    check = Check("metrics.expected_calibration_error")
    check.static(bins=bins)
    if bins < 1:
        raise check.value_error("bins", "at least 1", repr(bins), "15 are usual.")
    x, hit = _hits(check, logits, labels, 1, axis, ignore_index, where)
    peak = jnp.max(rows.softmax(x.predictions, x.axis).p, axis=x.axis)
    confidence = jnp.where(jnp.isnan(hit), jnp.nan, peak)
    place = jnp.ceil(peak * bins) - 1
    place = jnp.clip(jnp.nan_to_num(place), 0, bins - 1).astype(jnp.int32)
    weight = weight_of(check, hit, x.keep, weights)
    member = jax.nn.one_hot(place, bins, axis=0, dtype=hit.dtype)

    def binned(value: Array) -> Array:
        per_example = weighted(value, weight)
        if x.keep is not None:
            per_example = jnp.where(x.keep, per_example, 0)
        spread = jnp.where(member == 1, per_example[None], 0)
        return jnp.sum(spread.reshape(bins, -1), axis=1)

    return Calibration(binned(confidence), binned(hit), binned(jnp.ones_like(hit)))


def _hits(
    check: Check,
    logits: Input,
    labels: Input,
    k: int,
    axis: Axis,
    ignore_index: int | None,
    where: Input | None,
) -> tuple[inputs.Rows, Array]:
    """1 where the label is among the k largest scores, else 0; NaN where undefined."""
    x, label = labelled_rows(check, axis, where, ignore_index, labels, logits=logits)
    scores = x.predictions
    own = axes.take(scores, label, x.axis)
    place = jax.lax.broadcasted_iota(label.dtype, scores.shape, x.axis)
    ahead = (scores > own) | ((scores == own) & (place < label))
    rank = jnp.sum(ahead.astype(label.dtype), axis=x.axis)
    defined = axes.exists(scores, label, x.axis)
    defined = jnp.squeeze(defined, x.axis) & ~jnp.any(jnp.isnan(scores), axis=x.axis)
    return x, jnp.where(defined, (rank < k).astype(scores.dtype), jnp.nan)
