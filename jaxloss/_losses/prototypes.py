"""Losses of the assignment of embeddings to prototypes."""

import jax
import jax.numpy as jnp

from jaxloss._core import axes, inputs, rows
from jaxloss._core.cross_entropy import Options, modified
from jaxloss._core.numerics import in_base
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def swav_loss(
    scores: Input,
    other_scores: Input,
    *,
    temperature: Number = 0.1,
    epsilon: Number = 0.05,
    iterations: int = 3,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""SwAV: one view predicts the balanced cluster assignment of another.

    .. math::
        \ell_i = -\sum_k q_{ik} \log \frac{e^{s_{ik} / \tau}}{\sum_j e^{s_{ij} / \tau}},
        \qquad q = \operatorname{diag}(u)\, e^{s' / \epsilon} \operatorname{diag}(v)

    with :math:`u, v` such that every example has mass 1 and all prototypes have the
    same, to which `iterations` rounds of Sinkhorn's algorithm come close. The swapped
    loss of the paper is the mean of this and of the one with the views exchanged.

    Args:
      scores: :math:`s`, the cosines between the embeddings of one view and the
        prototypes, floating, shape `[batch, prototypes]`.
      other_scores: :math:`s'` of another view, the same shape. No gradient flows into
        them.
      temperature: :math:`\tau`, above 0: a number, or one for each example.
      epsilon: :math:`\epsilon`, above 0, the softness of the assignment.
      iterations: rounds of Sinkhorn's algorithm, at least 1. Static.
      where: mask of the examples kept, `[batch]`; the others take part nowhere.
      weights: weight of each example, `[batch]`.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.
      axis_name: inside `jax.shard_map`, the mesh axis over which the examples are
        spread; prototypes are balanced over those of all devices. Static.

    Returns:
      The losses in nats (or of `base`), `[batch]`, float32 (float64 for float64
      inputs), or a scalar when reduced.

    Numerics:
      The algorithm runs on logarithms: scores of any size and any :math:`\epsilon`
      neither overflow nor vanish.

    Gradient:
      :math:`(p_i - q_i) / \tau` with :math:`p_i` the softmax of :math:`s_i / \tau`; 0
      to the other view.

    Raises:
      TypeError: scores that are not floating, a traced static option.
      ValueError: shapes that do not fit, an option out of its range (NaN, if an array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> scores = jnp.array([[0.9, 0.1], [0.8, 0.3]])
      >>> other_scores = jnp.array([[0.8, 0.2], [0.7, 0.4]])
      >>> print(jaxloss.swav_loss(scores, other_scores).round(4))
      [0.2179 4.5995]

    References:
      Caron et al., *Unsupervised Learning of Visual Features by Contrasting Cluster
      Assignments*, arXiv:2006.09882; Cuturi, *Sinkhorn Distances*, arXiv:1306.0895.

    Elsewhere: `SwaVLoss` of lightly (temperature 0.1, epsilon 0.05, 3 iterations),
    which overflows for scores above 4.4.
    """
    check = Check("swav_loss")
    check.reduction(reduction)
    check.base(base)
    if axis_name is not None:
        check.axis_name(axis_name)
    check.static(iterations=iterations)
    if iterations < 1:
        raise check.value_error(
            "iterations", "at least 1", repr(iterations), "SwAV uses 3."
        )
    if check.floating("scores", scores).ndim != 2:
        raise check.value_error(
            "scores",
            "of shape [batch, prototypes]",
            f"of shape {scores.shape}",
            "Use jax.vmap for several batches.",
        )
    check.floating("other_scores", other_scores)
    x = inputs.rows(check, -1, where, scores=scores, other_scores=other_scores)
    scalar = jax.ShapeDtypeStruct((), x.like.dtype)
    softness = check.parameter("epsilon", epsilon, scalar, low=0, open_low=True)
    tau = check.parameter("temperature", temperature, x.like, low=0, open_low=True)
    other = jax.lax.stop_gradient(x.require_targets())
    codes = _sinkhorn(other, x.keep, softness, iterations, axis_name)
    z, _ = modified(x.predictions, Options(temperature=x.spread(tau)), x.axis)
    loss = in_base(jnp.squeeze(rows.soft_nll(z, codes, x.axis), x.axis), base)
    return reduce(
        loss,
        where=x.keep,
        weights=check.weights(weights, loss),
        reduction=reduction,
        axis_name=axis_name,
    )


# ------------------------------------------------------------------ balance


def _sinkhorn(
    scores: Array,
    keep: Array | None,
    epsilon: Array,
    iterations: int,
    axis_name: str | None,
) -> Array:
    """Codes [batch, prototypes]: rows of sum 1, columns of nearly equal sums."""
    examples = 0 if axis_name is None else axes.SpreadAxis(0, axis_name)
    kept = None if keep is None else keep[:, None]

    def round_(_, logs: Array) -> Array:
        shown = logs if kept is None else jnp.where(kept, logs, -jnp.inf)
        of_prototype = rows.log_sum_exp(shown, examples)
        # A prototype without any mass stays without.
        logs = logs - jnp.where(of_prototype == -jnp.inf, 0, of_prototype)
        return logs - rows.log_sum_exp(logs, 1)

    logs = jax.lax.fori_loop(0, iterations, round_, scores / epsilon)
    return rows.softmax(logs, 1).p
