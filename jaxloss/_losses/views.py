"""Losses between the predictions of one view and the embeddings of another."""

import jax
import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.angle import angle
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Reduction
from jaxloss._core.validate import Check


@public
def negative_cosine_loss(
    predictions: Input,
    targets: Input,
    *,
    second_predictions: Input | None = None,
    second_targets: Input | None = None,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Negative cosine to the other view's embedding, which is a constant.

    .. math::
        \ell = -\cos(p, \operatorname{sg}(z)) \qquad\text{or, of both views,}\qquad
        \ell = -\tfrac12 \bigl( \cos(p_1, \operatorname{sg}(z_2)) +
        \cos(p_2, \operatorname{sg}(z_1)) \bigr)

    The loss of SimSiam; that of BYOL is :math:`2 + 2 \ell` for one of the terms, so
    four times this and four for both.

    Args:
      predictions: the predictor's output :math:`p` (or :math:`p_1`) of one view,
        floating, shape `[..., dim]` (the entries along `axis`).
      targets: embeddings :math:`z` (or :math:`z_2`) of the other view, by the target
        network or by the encoder itself, real, the same shape. No gradient flows into
        them.
      second_predictions: :math:`p_2`, of the same shape; None for one term.
      second_targets: :math:`z_1`, of the same shape; None for one term.
      axis: the axis of the entries; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `predictions`
        (entries kept; an example that loses all of them contributes nothing). Axes may
        be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The losses in [-1, 1], float32 (float64 for float64 inputs): the shape of
      `predictions` without `axis`, or a scalar when reduced.

    Numerics:
      As `cosine_similarity`: vectors of any length; the zero vector has cosine 0 and no
      gradient. The gradient is accurate also where the two nearly agree.

    Gradient:
      :math:`(\hat p \cos\theta - \hat z) / |p|` to :math:`p` (half of it for each of
      two terms), 0 to :math:`z`.

    Raises:
      TypeError: `predictions` not floating, `targets` not real, a traced static option.
      ValueError: shapes that differ, one of the second pair without the other.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions = jnp.array([[3.0, 4.0], [1.0, 0.0]])
      >>> targets = jnp.array([[4.0, 3.0], [-2.0, 0.0]])
      >>> print(jaxloss.negative_cosine_loss(predictions, targets).round(4))
      [-0.96  1.  ]

    References:
      Grill et al., *Bootstrap Your Own Latent*, arXiv:2006.07733; Chen, He, *Exploring
      Simple Siamese Representation Learning*, arXiv:2011.10566.

    Elsewhere: `NegativeCosineSimilarity` of lightly, a mean, without the
    stop-gradient; not in optax.
    """
    check = Check("negative_cosine_loss")
    check.reduction(reduction)
    x = inputs.rows(check, axis, where, predictions=predictions, targets=targets)
    terms = [x]
    if (second_predictions is None) != (second_targets is None):
        missing = "targets" if second_targets is None else "predictions"
        raise check.value_error(
            f"second_{missing}",
            "given along with the other of the second pair",
            "left out",
            "Give both for the symmetric loss, or none for one term.",
        )
    if second_predictions is not None and second_targets is not None:
        check.same_shape(
            predictions=check.floating("predictions", predictions),
            second_predictions=check.floating("second_predictions", second_predictions),
        )
        terms.append(
            inputs.rows(
                check,
                axis,
                where,
                second_predictions=second_predictions,
                second_targets=second_targets,
            )
        )
    keep = x.keep
    if x.entries is not None:
        keep = inputs.both(keep, jnp.any(x.entries, axis=x.axis))
        terms = [term.drop(keep) for term in terms]
    cosines = [
        angle(
            term.predictions,
            jax.lax.stop_gradient(term.require_targets()),
            None,
            term.axis,
        ).similarity
        for term in terms
    ]
    total = cosines[0]
    if len(cosines) == 2:
        first, second = (each / 2 for each in cosines)
        total = first + second.astype(first.dtype)
    loss = -jnp.squeeze(total, x.axis)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)
