"""The log-probabilities of tokens, and the entropies, of a linear head."""

from typing import Literal, Unpack, overload

from jax.typing import DTypeLike

from jaxloss._core import rows
from jaxloss._core.cross_entropy import Options, modified
from jaxloss._core.entropy import softmax_entropy
from jaxloss._core.explicit import automatic
from jaxloss._core.mesh import Tree
from jaxloss._core.numerics import in_base
from jaxloss._core.types import Array, Implementation, Input, Number
from jaxloss._core.validate import Check
from jaxloss._linear import keywords
from jaxloss._linear.engine import Backward
from jaxloss._linear.head import Kept, Settings, compute, head
from jaxloss._linear.labelled import apart, count, labelled, together


@overload
def linear_log_probs(
    hidden: Input,
    kernel: Input,
    tokens: Input,
    *,
    return_entropy: Literal[False] = False,
    **options: Unpack[keywords.OfHead],
) -> Array: ...


@overload
def linear_log_probs(
    hidden: Input,
    kernel: Input,
    tokens: Input,
    *,
    return_entropy: Literal[True],
    **options: Unpack[keywords.OfHead],
) -> tuple[Array, Array]: ...


@automatic
def linear_log_probs(
    hidden: Input,
    kernel: Input,
    tokens: Input,
    *,
    bias: Input | None = None,
    logit_softcap: Number | None = None,
    temperature: Number = 1.0,
    ignore_index: int | None = None,
    where: Input | None = None,
    return_entropy: bool = False,
    base: float | None = None,
    class_axis: int = -1,
    chunk_size: int | None = None,
    max_tokens: int | None = None,
    backward: Backward = "recompute",
    axis_name: str | None = None,
    logits_dtype: DTypeLike | None = None,
    implementation: Implementation | None = None,
) -> Array | tuple[Array, Array]:
    r"""Log-probabilities of tokens under `softmax(hidden @ kernel + bias)`.

    .. math::
        \log p_y = x_y - \log \sum_j e^{x_j}, \qquad
        H = -\sum_j p_j \log p_j, \qquad x = h W + b

    What preference and policy-gradient training needs of a language model, at the
    memory of one chunk of tokens.

    Args:
      hidden: the states before the head, floating, shape `[..., hidden]`.
      kernel: the head's weights, `[hidden, classes]` (see `class_axis`).
      tokens: integer class indices from 0, the shape of `hidden` without its last axis.
      bias: the head's bias, `[classes]`.
      logit_softcap: caps the logits smoothly, `cap * tanh(logits / cap)`, first.
      temperature: divides the (capped) logits, above 0.
      ignore_index: where this token stands, the result is 0. Static.
      where: mask of the shape of `tokens` (elsewhere the result is 0), or of
        `[..., classes]` (classes kept). Axes may be 1.
      return_entropy: whether to return the entropies too. Static.
      base: unit of the result: None for nats, 2 for bits.
      class_axis: the axis of the classes in `kernel`, -1 or 0. Static.
      chunk_size: tokens at a time; None chooses. Static.
      max_tokens: a promise that at most so many tokens are kept; see
        `linear_softmax_cross_entropy`. Static.
      backward: `"recompute"` the logits for the gradient, or `"save"` their derivative
        (without entropies). Static.
      axis_name: inside `jax.shard_map`, the mesh axis over which the classes are
        spread.
      logits_dtype: how a chunk's logits are stored: None as they are summed, in
        float32; `jnp.bfloat16` halves their memory, and rounds each of them. Static.
      implementation: None chooses; "xla" runs everywhere.

    Returns:
      The log-probabilities in nats (or of `base`), at most 0, float32 (float64 for
      float64 inputs), the shape of `tokens`; with `return_entropy` also the entropies,
      at least 0, of the same shape.

    Numerics:
      As `linear_softmax_cross_entropy`: float32 logits, exact for confident tokens. A
      token outside [0, classes) gives NaN.

    Gradient:
      :math:`\partial \log p_y / \partial x_j = [j = y] - p_j`,
      :math:`\partial H / \partial x_j = -p_j (\log p_j + H)`.

    Raises:
      TypeError: an array not of the kind described, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.
      NotImplementedError: an `implementation` that does not exist here, or entropies
        with `backward="save"`.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> hidden, kernel = jnp.ones((2, 3)), jnp.zeros((3, 4))
      >>> print(jaxloss.linear_log_probs(hidden, kernel, jnp.array([0, 3])).round(4))
      [-1.3863 -1.3863]

    References:
      Rafailov et al., *Direct Preference Optimization*, arXiv:2305.18290;
      Schulman et al., *Proximal Policy Optimization*, arXiv:1707.06347.

    Elsewhere: TRL's `selective_log_softmax` on full logits.
    """
    check = Check("linear_log_probs")
    check.base(base)
    check.static(return_entropy=return_entropy)
    settings = Settings(
        class_axis,
        chunk_size,
        max_tokens,
        axis_name,
        backward,
        implementation,
        check.stored("logits_dtype", logits_dtype),
    )
    x = head(check, hidden, kernel, bias, settings)
    if return_entropy and backward == "save":
        raise check.unable(
            'entropies are computed with backward="recompute" only',
            "Leave `backward` out.",
        )
    x, label, kept = labelled(check, x, "tokens", tokens, where, ignore_index)
    options = Options.check(
        check,
        x.like,
        x.classes_here,
        label_smoothing=0.0,
        class_weights=None,
        z_loss=0.0,
        logit_softcap=logit_softcap,
        temperature=temperature,
    )
    of_all, of_each = apart(x, options)

    def row(z: Array, shared: Tree, per_token: Tree) -> Tree:
        of_all, of_classes = shared
        label, of_each, of_token = per_token
        z = Kept(of_classes, of_token).only(z)
        z, _ = modified(z, together(of_all, of_each), x.axis)
        log_prob = -in_base(rows.label_nll(z, label[:, None], x.axis)[:, 0], base)
        if not return_entropy:
            return log_prob
        return log_prob, in_base(softmax_entropy(z, x.axis)[:, 0], base)

    return compute(
        check,
        x,
        row,
        (of_all, kept.of_all),
        (label, of_each, kept.of_each),
        weights=None,
        reduction="none",
        arrays=2 + count(options) + 3 * return_entropy,
    )
