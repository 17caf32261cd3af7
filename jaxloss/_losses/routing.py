"""Mixtures of experts: what keeps their router balanced and its logits small."""

import jax
import jax.numpy as jnp

from jaxloss._core import inputs, rows
from jaxloss._core.public import public
from jaxloss._core.reduce import divided, reduce
from jaxloss._core.types import Array, Axis, Input, Reduction
from jaxloss._core.validate import Check, computing


@public
def load_balancing_loss(
    router_logits: Input,
    expert_indices: Input | None = None,
    *,
    top_k: int = 1,
    where: Input | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Load balancing of a mixture of experts, over all the tokens of a batch.

    .. math::
        \ell = N \sum_{j=1}^N f_j P_j

    with :math:`N` experts, :math:`f_j` the share of the assignments of tokens that went
    to expert :math:`j`, and :math:`P_j` the mean of its probability. It is 1 for a
    uniform router, and at most :math:`N`.

    Args:
      router_logits: floating, shape `[..., experts]`, any number of axes of tokens.
      expert_indices: the experts of each token, integers from 0, shape `[..., k]`; the
        `top_k` largest logits if left out.
      top_k: how many experts a token goes to, if `expert_indices` are left out. Static.
      where: mask of the tokens kept, `[...]`. Axes may be 1.
      axis_name: inside `jax.shard_map`, the mesh axis over which the tokens are spread:
        the loss is that of all of them, and the same on every device. Static.

    Returns:
      The loss, a scalar, float32 (float64 for float64 logits); 0 where nothing is kept.

    Numerics:
      The probabilities are a float32 softmax, whatever the logits. An index outside
      [0, experts) gives NaN.

    Gradient:
      :math:`\partial \ell / \partial x_{tj} = \frac{N}{T} p_{tj} \left(f_j - \sum_k
      f_k p_{tk}\right)` for :math:`T` tokens: the shares :math:`f` have none.

    Raises:
      TypeError: `router_logits` not floating, `expert_indices` not integers.
      ValueError: shapes that do not fit, `top_k` out of range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
      >>> print(f"{jaxloss.load_balancing_loss(logits):.4f}")
      1.0846

    References:
      Fedus, Zoph, Shazeer, *Switch Transformers*, arXiv:2101.03961, equation 4.

    Elsewhere: `load_balancing_loss_func` of transformers sums over the `top_k` choices,
    and is `top_k` times this; MaxText's is this too.
    """
    check = Check("load_balancing_loss")
    check.static(top_k=top_k, axis_name=axis_name)
    x = check.floating("router_logits", router_logits)
    if x.ndim == 0:
        raise check.value_error(
            "router_logits",
            "of shape [..., experts]",
            "of shape ()",
            "Give it an axis of experts.",
        )
    experts = x.shape[-1]
    keep, _ = check.where(where, loss=x.shape[:-1])
    (x,) = computing(x)
    if keep is not None:
        x = jnp.where(keep[..., None], x, 0)
    if expert_indices is None:
        if not 1 <= top_k <= experts:
            raise check.value_error(
                "top_k",
                f"between 1 and the number of experts, {experts}",
                repr(top_k),
                "A token goes to each expert at most once.",
            )
        chosen = jax.lax.top_k(jax.lax.stop_gradient(x), top_k)[1]
    else:
        chosen = check.labels("expert_indices", expert_indices)
        last = chosen.shape[-1:] if chosen.ndim == x.ndim else (top_k,)
        check.shape("expert_indices", chosen, (*x.shape[:-1], *last))
        if keep is not None:
            chosen = jnp.where(keep[..., None], chosen, 0)
    mask = jnp.ones(x.shape[:-1], x.dtype) if keep is None else keep.astype(x.dtype)
    valid = jnp.all((chosen >= 0) & (chosen < experts), axis=-1)
    mask_or_nan = jnp.where(valid, mask, jnp.nan)
    assigned = jnp.sum(jax.nn.one_hot(chosen, experts, dtype=x.dtype), axis=-2)
    tokens = tuple(range(x.ndim - 1))
    totals = (
        jnp.sum(assigned * mask_or_nan[..., None], axis=tokens),
        jnp.sum(rows.softmax(x, -1).p * mask[..., None], axis=tokens),
        jnp.sum(mask),
    )
    if axis_name is not None:
        totals = jax.lax.psum(totals, axis_name)
    assignments, probabilities, count = totals
    share = divided(assignments, count * chosen.shape[-1])
    return experts * jnp.sum(share * divided(probabilities, count))


@public
def router_z_loss(
    router_logits: Input,
    *,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Square of the log-partition function: keeps a router's logits small.

    .. math::
        \ell = \left(\log \sum_j e^{x_j}\right)^2

    Args:
      router_logits: :math:`x`, floating, any shape.
      axis: the axis of the experts.
      where: mask of the tokens kept, the shape of `router_logits` without `axis`, or of
        the experts kept, the shape of `router_logits`. Axes may be 1.
      weights: weight of each token.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the tokens kept).

    Returns:
      The losses, float32 (float64 for float64 logits): the shape of `router_logits`
      without `axis`, or a scalar when reduced. 1e-3 of their mean is usual.

    Numerics:
      No logit overflows.

    Gradient:
      :math:`\partial \ell / \partial x_j = 2 p_j \log \sum_k e^{x_k}`, with :math:`p`
      the softmax of :math:`x`.

    Raises:
      TypeError: `router_logits` not floating.
      ValueError: an axis out of range, a mask that does not fit.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> print(jaxloss.router_z_loss(jnp.array([[2.0, 0.0], [0.0, 0.0]])).round(4))
      [4.5238 0.4805]

    References:
      Zoph et al., *ST-MoE*, arXiv:2202.08906, equation 5.

    Elsewhere: `router_z_loss` of t5x, MaxText and Mesh TensorFlow; the `z_loss` option
    of `softmax_cross_entropy` adds the same to a cross entropy.
    """
    check = Check("router_z_loss")
    check.reduction(reduction)
    x = inputs.rows(check, axis, where, -jnp.inf, router_logits=router_logits)
    if x.entries is not None:
        x = x.drop(jnp.any(x.entries, axis=x.axis))
    log_partition = jnp.squeeze(rows.log_sum_exp(x.predictions, x.axis), x.axis)
    loss = jnp.square(log_partition)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)
