"""The α-entmax loss: a softmax loss whose probabilities may be exactly 0."""

from jaxloss._core import rows
from jaxloss._core.entmax import label_entmax
from jaxloss._core.labels import labelled_rows, reduced
from jaxloss._core.public import public
from jaxloss._core.simplex import label_sparsemax
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check, is_off


@public
def entmax_loss(
    scores: Input,
    labels: Input,
    *,
    alpha: Number = 1.5,
    class_weights: Input | None = None,
    ignore_index: int | None = None,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Loss of the :math:`\alpha`-entmax, a sparse softmax, with integer labels.

    .. math::
        \ell = \max_{p \in \Delta} \bigl(\langle p, s \rangle - \Omega(p)\bigr) - s_y,
        \qquad \Omega(p) = \frac{\sum_j p_j^\alpha - 1}{\alpha (\alpha - 1)}

    with :math:`s` the scores, :math:`y` the label and :math:`\Delta` the simplex. The
    maximiser :math:`p_j = [(\alpha - 1)(s_j - \theta)]_+^{1/(\alpha - 1)}` is the
    entmax of the scores, 0 for all that are far enough behind; the loss is 0 once the
    label leads by :math:`1/(\alpha - 1)`. :math:`\alpha = 1` is the softmax cross
    entropy, :math:`\alpha = 2` the sparsemax loss.

    Args:
      scores: the model's scores, floating, shape `[..., classes]`.
      labels: integer class indices from 0, the shape of `scores` without `axis`.
      alpha: above 1: a number, or an array that fits the losses. The Python numbers 1
        and 2 take the formulas of the softmax and of the sparsemax.
      class_weights: shape `[classes]`; multiplies, and the label's weight counts in
        the denominator of the mean.
      ignore_index: examples with this label contribute nothing. Static.
      axis: the axis of the classes; several are flattened in the order given. Static.
      where: mask of the shape of `labels` (examples kept) or of `scores` (classes kept;
        an example whose label is removed contributes nothing). Axes may be 1.
      weights: weight of each example, the shape of `labels`.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The losses, in the unit of the scores, float32 (float64 for float64 inputs): the
      shape of `labels`, or a scalar when reduced.

    Numerics:
      The threshold :math:`\theta` is found by Newton's method inside a bracket, until
      it stays the same: a few passes over a row, no sort, no fixed number of
      bisections. The loss is a sum of terms that are not negative, so it keeps its
      digits down to 0; an offset of the scores cancels exactly. Towards
      :math:`\alpha = 1` the power :math:`1/(\alpha - 1)` multiplies roundings; above
      :math:`\alpha = 3` a class at the edge of the support has a probability that is
      right to about :math:`\varepsilon^{2/(\alpha - 1)}`, :math:`\varepsilon` being a
      unit in the last place. -inf scores are absent classes. A label outside
      [0, classes) gives NaN in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial s_j = p_j - [j = y]`;
      :math:`\partial \ell / \partial \alpha = -\partial \Omega / \partial \alpha` at p.

    Raises:
      TypeError: `scores` not floating, `labels` not integer, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> scores = jnp.array([[2.0, 1.0, -1.0], [0.0, 2.5, 0.25]])
      >>> print(jaxloss.entmax_loss(scores, jnp.array([0, 1])).round(4))
      [0.0617 0. ]

    References:
      Peters, Niculae, Martins, *Sparse Sequence-to-Sequence Models*, arXiv:1905.05702;
      Blondel, Martins, Niculae, *Learning with Fenchel-Young losses*, arXiv:1901.02324.

    Elsewhere: `entmax.entmax_bisect_loss`, `entmax.entmax15_loss` and
    `entmax.sparsemax_loss` of deep-spin/entmax (`"mean"` by default); not in optax,
    torch or keras.
    """
    check = Check("entmax_loss")
    check.reduction(reduction)
    x = labelled_rows(check, axis, where, ignore_index, labels, scores=scores)
    predictions, label, at = x.rows.predictions, x.label, x.rows.axis
    if is_off(alpha, 1):
        loss = rows.label_nll(predictions, label, at)
    elif is_off(alpha, 2):
        loss = label_sparsemax(predictions, label, at).nll
    else:
        power = check.parameter("alpha", alpha, x.rows.like, low=1, open_low=True)
        loss = label_entmax(predictions, label, x.rows.spread(power), at).nll
    return reduced(
        check,
        x,
        loss,
        class_weights=class_weights,
        weights=weights,
        reduction=reduction,
    )
