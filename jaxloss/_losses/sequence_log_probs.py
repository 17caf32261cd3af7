"""Log-probabilities of sequences, from the logits of their tokens."""

import jax.numpy as jnp

from jaxloss._core import rows
from jaxloss._core.inputs import both
from jaxloss._core.public import public
from jaxloss._core.reduce import divided
from jaxloss._core.types import Array, Input
from jaxloss._core.validate import Check, computing


@public
def sequence_log_probs(
    logits: Input,
    tokens: Input,
    *,
    average: bool = False,
    ignore_index: int | None = None,
    where: Input | None = None,
) -> Array:
    r"""Log-probability of each sequence: the sum, or the mean, over its tokens.

    .. math::
        \log \pi(y_i) = \sum_t \log \operatorname{softmax}(x_{it})_{y_{it}}

    Logits at a place are those of the token at that place: shift them by one before,
    as for a cross entropy. From hidden states, without those logits: the sum of
    `linear_log_probs`.

    Args:
      logits: :math:`x`, floating, shape `[..., tokens, classes]`.
      tokens: :math:`y`, integer class indices from 0, shape `[..., tokens]`.
      average: whether to divide by the number of tokens kept. Static.
      ignore_index: places with this token contribute nothing. Static.
      where: mask of the tokens kept, `[..., tokens]`, such as those of the answer, or
        of the sequences kept, `[...]`. Axes may be 1.

    Returns:
      The log-probabilities in nats, at most 0, float32 (float64 for float64 logits),
      shape `[...]`; 0 for a sequence of which nothing is kept.

    Numerics:
      Each token's is exact, confident or not. A token outside [0, classes) gives NaN in
      value and gradient.

    Gradient:
      :math:`\partial \log \pi(y_i) / \partial x_{itj} = [j = y_{it}] - p_{itj}`, over
      the number of tokens kept for `average`.

    Raises:
      TypeError: `logits` not floating, `tokens` not integers, a traced static option.
      ValueError: shapes that do not fit.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.zeros((1, 3, 4))
      >>> tokens = jnp.array([[0, 3, 2]])
      >>> where = jnp.array([[False, True, True]])
      >>> print(jaxloss.sequence_log_probs(logits, tokens, where=where).round(4))
      [-2.7726]

    References:
      Rafailov et al., *Direct Preference Optimization*, arXiv:2305.18290.

    Elsewhere: `get_batch_logps` in Liger Kernel, `selective_log_softmax` and a masked
    sum in TRL.
    """
    check = Check("sequence_log_probs")
    check.static(average=average, ignore_index=ignore_index)
    x = check.floating("logits", logits)
    y = check.labels("tokens", tokens)
    if x.ndim < 2:
        raise check.value_error(
            "logits",
            "of shape [..., tokens, classes]",
            f"of shape {x.shape}",
            "Give it an axis of tokens before that of the classes.",
        )
    check.shape("tokens", y, x.shape[:-1])
    of_sequences, keep = check.where(
        where, loss=y.shape[:-1], output=y.shape, output_name="tokens"
    )
    if of_sequences is not None:
        keep = jnp.broadcast_to(of_sequences[..., None], y.shape)
    y = y.astype(jnp.int64 if y.dtype.itemsize == 8 else jnp.int32)
    if ignore_index is not None:
        keep = both(keep, y != ignore_index)
    (x,) = computing(x)
    if keep is not None:
        x, y = jnp.where(keep[..., None], x, 0), jnp.where(keep, y, 0)
    log_probs = -rows.label_nll(x, y[..., None], -1)[..., 0]
    if keep is not None:
        log_probs = jnp.where(keep, log_probs, 0)
    total = jnp.sum(log_probs, axis=-1)
    if not average:
        return total
    if keep is None:
        return total / max(y.shape[-1], 1)
    return divided(total, jnp.sum(keep.astype(x.dtype), axis=-1))
