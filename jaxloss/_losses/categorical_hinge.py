"""The hinge of scores whose targets are shares of the classes, as Keras has it."""

import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.exact import add3
from jaxloss._core.numerics import positive_part, weighted
from jaxloss._core.public import public
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def categorical_hinge_loss(
    scores: Input,
    targets: Input,
    *,
    margin: Number = 1.0,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Hinge of one-hot or soft targets: their score against the strongest rival's.

    .. math::
        \ell = \max\Bigl(0,\ m + \max_c (1 - t_c) s_c - \sum_c t_c s_c \Bigr)

    with :math:`s` the scores, :math:`t` the targets and :math:`m` the margin. The class
    of a one-hot target is a rival of score 0: where all others are below that, its own
    score is to reach the margin. `multiclass_hinge_loss` has no such rival.

    Args:
      scores: outputs of the decision functions, floating, shape `[..., classes]`.
      targets: shares of the classes, real, the shape of `scores`; each row usually sums
        to 1.
      margin: the lead demanded, at least 0; one number, or one for each loss.
      axis: the axis of the classes; several are flattened in the order given. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `scores`
        (classes kept). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The losses, in the unit of the scores, float32 (float64 for float64 inputs): shape
      `[...]`, or a scalar when reduced.

    Numerics:
      With one-hot targets right to the last place: an offset of the scores cancels
      exactly. -inf scores are absent classes, and what has no share of the target has
      no part in its score.

    Gradient:
      Where the hinge is positive (half of it at its kink),
      :math:`(1 - t_c) [c = c^*] - t_c`, with :math:`c^*` the strongest rival; rivals
      that tie share it equally.

    Raises:
      TypeError, ValueError: dtypes or shapes that do not fit, an option out of range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> scores = jnp.array([[2.0, 1.5, 0.25], [0.5, -1.0, -2.0]])
      >>> targets = jnp.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
      >>> print(jaxloss.categorical_hinge_loss(scores, targets))
      [0.5 0.5]

    References:
      Crammer, Singer, *On the algorithmic implementation of multiclass kernel-based
      vector machines*, JMLR 2, 2001, for the hinge without the rival of score 0.

    Elsewhere: `keras.losses.CategoricalHinge` (margin 1).
    """
    check = Check("categorical_hinge_loss")
    check.reduction(reduction)
    x = inputs.rows(check, axis, where, scores=scores, targets=targets)
    s, t = x.predictions, x.require_targets()
    rival = weighted(s, 1 - t)
    if x.entries is not None:
        rival = jnp.where(x.entries, rival, -jnp.inf)
    strongest = jnp.max(rival, axis=x.axis, keepdims=True)
    own = jnp.sum(weighted(s, t), axis=x.axis, keepdims=True)
    lead = x.spread(check.parameter("margin", margin, x.like, low=0))
    loss = positive_part(add3(strongest, -own, lead))
    return x.reduced(check, loss, weights=weights, reduction=reduction)
