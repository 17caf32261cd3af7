"""Ranking losses: lists of items, scored, against the relevance of each."""

import inspect
from collections.abc import Callable

import jax.numpy as jnp

from jaxloss._core import inputs, rows
from jaxloss._core.numerics import in_base, weighted
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Reduction
from jaxloss._core.validate import Check


@public
def ranking_softmax_loss(
    logits: Input,
    labels: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduce_fn: Callable[..., Array] | None = jnp.mean,
    reduction: Reduction | None = None,
    axis: int = -1,
    base: float | None = None,
) -> Array:
    r"""Ranking softmax loss (ListNet): cross entropy of the items of each list.

    .. math::
        \ell = -\sum_i w_i y_i \log \frac{e^{s_i}}{\sum_j e^{s_j}}

    with :math:`s` the scores, :math:`y` the relevance labels and :math:`w` the weights
    of the items.

    Args:
      logits: scores of the items, floating, shape `[..., items]` (the items along
        `axis`); -inf is an absent item.
      labels: relevance of each item, the shape of `logits`.
      where: mask of the shape of `logits` (items kept, removed from scores and labels;
        a list without items contributes nothing) or of the losses' shape (lists kept).
        Axes may be 1.
      weights: of the shape of `logits` (weight of each item, which multiplies its
        label) or of the losses' shape (weight of each list, which counts in the mean).
      reduce_fn: `jnp.mean`, `jnp.sum`, None for the losses themselves, or any function
        of the losses; it gets the mask of the lists with items as `where` if it takes
        such an argument, and zeros in the place of the others if it does not. Whatever
        the function, the result is 0 when there is no list with items.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the lists with items), as
        in the other losses; None leaves it to `reduce_fn`. Static.
      axis: the axis of the items. Static.
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      By default the mean over the lists with items, in nats (or of `base`), float32
      (float64 for float64 inputs): a scalar. Unreduced, the shape of `logits` without
      `axis`.

    Numerics:
      Those of `softmax_cross_entropy`: offsets of the scores cancel exactly, confident
      lists keep their value and gradient, and 0 times an infinite score is 0.

    Gradient:
      :math:`\partial \ell / \partial s_i = (\sum_k w_k y_k)\, p_i - w_i y_i` with
      :math:`p = \operatorname{softmax}(s)`;
      :math:`\partial \ell / \partial y_i = -w_i \log p_i`.

    Raises:
      TypeError: `logits` not floating, `labels` not real, a traced static option.
      ValueError: shapes that do not fit, an option out of its range, or both
        `reduce_fn` and `reduction`.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> scores = jnp.array([[2.0, 1.0, 0.0], [1.0, 0.5, 1.5]])
      >>> labels = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
      >>> where = jnp.array([[True, True, False], [True, True, True]])
      >>> loss = jaxloss.ranking_softmax_loss(scores, labels, where=where)
      >>> print(f"{loss:.4f}")
      0.4968

    References:
      Cao et al., *Learning to Rank: From Pairwise Approach to Listwise Approach*, ICML
      2007; Bruch et al., *An Analysis of the Softmax Cost Function for Learning to
      Rank*, ICTIR 2019.

    Elsewhere: `optax.losses.ranking_softmax_loss`, `rax.softmax_loss`.
    """
    check = Check("ranking_softmax_loss")
    check.base(base)
    if reduction is not None:
        check.reduction(reduction)
        if reduce_fn is not jnp.mean:
            raise check.value_error(
                "reduce_fn",
                "left out where `reduction` is given",
                repr(reduce_fn),
                "Pass one of the two.",
            )
    x = inputs.rows(check, axis, where, -jnp.inf, logits=logits, labels=labels)
    if x.entries is not None:
        x = x.drop(jnp.any(x.entries, axis=x.axis))
    targets = x.targets
    if weights is not None:
        given = check.real("weights", weights)
        if given.ndim == x.predictions.ndim:
            targets = weighted(check.weights(given, x.predictions), targets)
            weights = None
    loss = jnp.squeeze(rows.soft_nll(x.predictions, targets, x.axis), x.axis)
    loss = in_base(loss, base)
    weights = check.weights(weights, loss)

    if reduction is None:
        if reduce_fn is None:
            reduction = "none"
        elif reduce_fn is jnp.sum:
            reduction = "sum"
        elif reduce_fn is jnp.mean:
            reduction = "mean"
        else:
            loss = reduce(loss, where=x.keep, weights=weights)
            return _reduced_by(reduce_fn, loss, x.keep)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


def _reduced_by(
    reduce_fn: Callable[..., Array], loss: Array, keep: Array | None
) -> Array:
    """What a function makes of the losses kept, and 0 if there are none.

    Then it is given all of them, which are zeros, so that it has no reason to divide by
    0 and its gradient is as quiet as its value.
    """
    if not loss.size:
        return jnp.zeros((), loss.dtype)
    takes_where = _takes_where(reduce_fn)
    if keep is None:
        return reduce_fn(loss, where=None) if takes_where else reduce_fn(loss)
    some = jnp.any(keep)
    options = {"where": keep | ~some} if takes_where else {}
    return jnp.where(some, reduce_fn(loss, **options), 0)


def _takes_where(reduce_fn: Callable[..., Array]) -> bool:
    try:
        parameters = inspect.signature(reduce_fn).parameters.values()
    except (TypeError, ValueError):  # a callable that hides its signature
        return True
    return any(p.name == "where" or p.kind is p.VAR_KEYWORD for p in parameters)
