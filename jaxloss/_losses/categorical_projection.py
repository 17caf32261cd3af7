"""Distributional regression: a distribution projected onto a fixed support."""

import jax.numpy as jnp

from jaxloss._core import rows
from jaxloss._core.bins import hats, increasing
from jaxloss._core.numerics import in_base
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Reduction
from jaxloss._core.validate import Check, computing


@public
def categorical_projection_loss(
    logits: Input,
    target_probs: Input,
    *,
    support: Input,
    target_support: Input,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""C51: cross entropy with a distribution projected onto the support.

    .. math::
        \ell = -\sum_i m_i \log p_i, \qquad m_i = \sum_j q_j\, h_i(z'_j)

    with :math:`p = \operatorname{softmax}(x)`, :math:`q` the target's probabilities at
    the points :math:`z'` (in C51 :math:`r + \gamma z`), and :math:`h_i(z')` the share
    of a point :math:`z'` that falls to the point :math:`z_i` of the support: linear
    between neighbours, as in `two_hot_loss`.

    Args:
      logits: unnormalised log-probabilities, floating, `[..., points]`.
      target_probs: :math:`q`, real, `[..., target points]`, with the leading axes of
        `logits`.
      support: :math:`z`, increasing, real, `[points]`.
      target_support: :math:`z'`, real, the shape of `target_probs`. Clipped to
        `[support[0], support[-1]]`, with derivative 0 outside.
      where: mask of the losses' shape `[...]` (examples kept). Axes may be 1.
      weights: weight of each example, `[...]`.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): shape
      `[...]`, or a scalar when reduced.

    Numerics:
      The shares are quotients of rounded differences, without an epsilon; no matmul
      rounds them. A support out of order gives NaN.

    Gradient:
      :math:`\partial \ell / \partial x_i = (\sum_j q_j) p_i - m_i`. The targets have
      derivatives: stop them with `jax.lax.stop_gradient` where they come from a
      network.

    Raises:
      TypeError: `logits` not floating, the others not real.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> support = jnp.array([-1.0, 0.0, 1.0])
      >>> logits, q = jnp.array([[0.0, 1.0, 2.0]]), jnp.array([[0.25, 0.5, 0.25]])
      >>> loss = jaxloss.categorical_projection_loss(logits, q, support=support,
      ...     target_support=0.5 + 0.9 * support[None])
      >>> print(loss.round(4))
      [1.0076]

    References:
      Bellemare, Dabney, Munos, *A Distributional Perspective on Reinforcement
      Learning*, arXiv:1707.06887.

    Elsewhere: `rlax.categorical_l2_project` with a cross entropy; not in optax, torch
    or keras.
    """
    check = Check("categorical_projection_loss")
    check.reduction(reduction)
    check.base(base)
    x = check.floating("logits", logits)
    check.axes(-1, x.ndim, of="logits")
    q = check.real("target_probs", target_probs)
    if q.ndim != x.ndim or q.shape[:-1] != x.shape[:-1]:
        raise check.value_error(
            "target_probs",
            f"of shape {(*x.shape[:-1], 'target points')}, as `logits` are",
            f"of shape {q.shape}",
            "Only the last axes may differ.",
        )
    z = check.real("target_support", target_support)
    check.shape("target_support", z, q.shape)
    x, q, z = computing(x, q, z)
    keep, _ = check.where(where, loss=x.shape[:-1])
    if keep is not None:
        x, q, z = (jnp.where(keep[..., None], a, 0) for a in (x, q, z))
    points = increasing(check, "support", support, x.shape[-1], x.dtype)
    shares = hats(z[..., None], points, -1)
    m = jnp.sum(q[..., None] * shares, axis=-2)
    loss = in_base(jnp.squeeze(rows.soft_nll(x, m, -1), -1), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)
