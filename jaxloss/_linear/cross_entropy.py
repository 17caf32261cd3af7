"""The softmax cross entropy of a linear head."""

from typing import Literal, Unpack, overload

from jax.typing import DTypeLike

from jaxloss._core import axes
from jaxloss._core.cross_entropy import Options, of_label
from jaxloss._core.explicit import automatic
from jaxloss._core.mesh import Tree
from jaxloss._core.types import Array, Implementation, Input, Number, Reduction
from jaxloss._core.validate import Check
from jaxloss._linear import by_classes, by_kernel, by_tiles, keywords
from jaxloss._linear.engine import Backward, Inputs
from jaxloss._linear.head import Kept, Settings, compute, head
from jaxloss._linear.labelled import apart, count, labelled, together


@overload
def linear_softmax_cross_entropy(
    hidden: Input,
    kernel: Input,
    labels: Input,
    *,
    return_predictions: Literal[False] = False,
    **options: Unpack[keywords.OfCrossEntropy],
) -> Array: ...


@overload
def linear_softmax_cross_entropy(
    hidden: Input,
    kernel: Input,
    labels: Input,
    *,
    return_predictions: Literal[True],
    **options: Unpack[keywords.OfCrossEntropy],
) -> tuple[Array, Array]: ...


@automatic
def linear_softmax_cross_entropy(
    hidden: Input,
    kernel: Input,
    labels: Input,
    *,
    bias: Input | None = None,
    label_smoothing: Number = 0.0,
    z_loss: Number = 0.0,
    logit_softcap: Number | None = None,
    temperature: Number = 1.0,
    class_weights: Input | None = None,
    ignore_index: int | None = None,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "mean",
    base: float | None = None,
    class_axis: int = -1,
    chunk_size: int | None = None,
    class_chunk_size: int | None = None,
    max_tokens: int | None = None,
    backward: Backward = "recompute",
    axis_name: str | None = None,
    logits_dtype: DTypeLike | None = None,
    return_predictions: bool = False,
    implementation: Implementation | None = None,
) -> Array | tuple[Array, Array]:
    r"""Softmax cross entropy of `hidden @ kernel + bias`, without those logits.

    .. math::
        \ell = \log \sum_j e^{x_j} - x_y, \qquad x = h W + b

    `softmax_cross_entropy_with_integer_labels` of the logits :math:`x`, with all of its
    options, at the memory of one chunk of tokens. The value takes one matmul of the
    head's size, value and gradients three.

    Args:
      hidden: the states before the head, floating, shape `[..., hidden]`.
      kernel: the head's weights, `[hidden, classes]`; with `class_axis=0`
        `[classes, hidden]`, as an embedding table or a torch layer has them.
      labels: integer class indices from 0, the shape of `hidden` without its last axis.
      bias: the head's bias, `[classes]`.
      label_smoothing: share of the target spread over all classes kept, in [0, 1].
      z_loss: coefficient of the squared log-partition function, at least 0.
      logit_softcap: caps the logits smoothly, `cap * tanh(logits / cap)`, first.
      temperature: divides the (capped) logits, above 0.
      class_weights: shape `[classes]`; multiplies, and the label's weight counts in
        the denominator of the mean.
      ignore_index: tokens with this label contribute nothing. Static.
      where: mask of the shape of `labels` (tokens kept), or of `[..., classes]`
        (classes kept; a token whose label is removed contributes nothing). Axes may
        be 1.
      weights: weight of each token, the shape of `labels`.
      reduction: `"mean"` (weighted, over the tokens kept), `"sum"` or `"none"`.
      base: unit of the result: None for nats, 2 for bits.
      class_axis: the axis of the classes in `kernel`, -1 or 0. Static.
      chunk_size: tokens at a time; None chooses. Static.
      class_chunk_size: classes at a time (on TPU a multiple of 128), of all tokens: the
        least memory, for a sum or a mean. The logits are computed twice (4 matmuls for
        value and both gradients), the kernel's gradient is written once, in its dtype,
        before a later factor of the loss scales it, and there are no gradients with
        respect to options. With a kernel of the whole head (see `implementation`) it
        is the classes of a tile: 5 matmuls, no logits in memory. Static.
      max_tokens: a promise that at most so many tokens are kept: they are gathered, and
        the matmuls shrink to that size. Broken, it makes the result NaN. Static.
      backward: for `reduction="none"`, whose gradients need the logits twice:
        `"recompute"` them (4 matmuls), or `"save"` their derivative in the dtype of
        `hidden` (3 matmuls, `[tokens, classes]` of memory). Static.
      axis_name: inside `jax.shard_map`, the mesh axis over which the classes of
        `kernel`, `bias` and `class_weights` are spread; labels count over all of them.
      logits_dtype: how a chunk's logits are stored: None as they are summed, in
        float32; `jnp.bfloat16` halves their memory and traffic, and rounds each of them
        (the mean loss of some thousand tokens by less than 1e-5 of itself). Static.
      return_predictions: whether to return the predicted classes too, for an accuracy:
        they come from the logits that the loss is made of, without a matmul of their
        own. Not with `class_chunk_size`. Static.
      implementation: None chooses; "xla" runs everywhere. "mosaic_gpu" computes the
        losses between the matmuls, which are XLA's: it reads a chunk's logits once and
        writes their derivative, over them if `logits_dtype` is its own. "mosaic_tpu"
        does that too, if `chunk_size` or `logits_dtype` is given; else the losses come
        from a kernel of the whole head, to which the logits are no array, and so do
        the gradients where `class_chunk_size` is given or the memory of chunks is more
        than an eighth of the chip's; it was not yet measured on a device. "interpret"
        interprets it, slowly, anywhere. Static. `explain` tells what runs, and why.

    Returns:
      The loss in nats (or of `base`), float32 (float64 for float64 inputs): a scalar,
      or the shape of `labels` for `reduction="none"`. With `return_predictions` also
      the class with the largest logit (the first of several, among the classes kept),
      int32, the shape of `labels`: -1 for a token not kept, and where a logit is NaN.

    Numerics:
      Logits are summed and kept in float32, also those of half-precision inputs; the
      kernel's gradient is summed over chunks in float32 and scaled before it is
      rounded. A label outside [0, classes) gives NaN in value and gradient.

    Gradient:
      With :math:`g_i = \partial \ell_i / \partial x_i`, that of the loss on logits:
      :math:`\partial / \partial h_i = g_i W^\top`,
      :math:`\partial / \partial W = \sum_i h_i^\top g_i`,
      :math:`\partial / \partial b = \sum_i g_i`. Also with respect to weights and
      options; forward mode and higher orders included.

    Raises:
      TypeError: an array not of the kind described, a traced static option.
      ValueError: shapes that do not fit, an option out of its range, an unknown axis.
      NotImplementedError: an `implementation` that cannot run here, and why; with
        `class_chunk_size`, losses one by one, classes spread over devices, predictions,
        or, by XLA, gradients with respect to options.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> hidden = jnp.array([[1.0, 0.5], [-0.3, 2.0]])
      >>> kernel = jnp.array([[2.0, 1.0, 0.1], [0.5, 2.5, 0.3]])
      >>> labels = jnp.array([0, 1])
      >>> loss = jaxloss.linear_softmax_cross_entropy(hidden, kernel, labels)
      >>> print(f"{loss:.4f}")
      0.3939

    References:
      Wijmans et al., *Cut Your Losses in Large-Vocabulary Language Models*,
      arXiv:2411.09009; Hsu et al., *Liger Kernel*, arXiv:2410.10989.

    Elsewhere: `tokamax.linear_softmax_cross_entropy_loss`, Liger Kernel's
    `LigerFusedLinearCrossEntropyLoss`, `cut_cross_entropy.linear_cross_entropy`.
    """
    check = Check("linear_softmax_cross_entropy")
    check.reduction(reduction)
    check.base(base)
    check.static(return_predictions=return_predictions)
    settings = Settings(
        class_axis,
        chunk_size,
        max_tokens,
        axis_name,
        backward,
        implementation,
        check.stored("logits_dtype", logits_dtype),
        class_chunk_size,
    )
    x = head(check, hidden, kernel, bias, settings, by_kernel=True)
    x, label, kept = labelled(check, x, "labels", labels, where, ignore_index)
    options = Options.check(
        check,
        x.like,
        x.classes_here,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        z_loss=z_loss,
        logit_softcap=logit_softcap,
        temperature=temperature,
    )
    of_all, of_each = apart(x, options)
    normalizer = None
    if options.class_weights is not None:
        by_class = options.class_weights[None, :]
        normalizer = axes.take(by_class, label[:, None], x.axis)[:, 0]

    def row(z: Array, shared: Tree, per_token: Tree) -> Array:
        of_all, of_classes = shared
        label, of_each, of_token = per_token
        options, kept = together(of_all, of_each), Kept(of_classes, of_token)
        z, label, there = kept.only(z), label[:, None], kept.row()
        return of_label(z, label, options, x.axis, kept=there, base=base).loss[:, 0]

    def predicted(z: Array, shared: Tree, per_token: Tree) -> Array:
        (_, of_classes), (_, _, of_token) = shared, per_token
        z = Kept(of_classes, of_token).only(z)
        return axes.first_peak(z, x.axis)[:, 0]

    def row_of(shared: Tree, per_token: Tree) -> by_classes.Row:
        of_all, of_classes = shared
        label, of_each, of_token = per_token
        kept = Kept(of_classes, of_token).row()
        return by_classes.Row(label[:, None], together(of_all, of_each), kept)

    def rows(z: Array, shared: Tree, per_token: Tree) -> by_kernel.Rows:
        (of_all, _), (label, of_each, _) = shared, per_token
        return by_kernel.Rows(z, label, None, together(of_all, of_each))

    def of_head(inputs: Inputs) -> by_tiles.OfHead:
        (of_all, _), (label, of_each, _) = inputs.shared, inputs.per_token
        return by_tiles.OfHead(*inputs[:3], label, together(of_all, of_each))

    how, name, reason = by_kernel.choose(check, x, kept, base)
    return compute(
        check,
        x,
        row if how is None else by_kernel.row(how, rows),
        (of_all, kept.of_all),
        (label, of_each, kept.of_each),
        weights=weights,
        normalizer=normalizer,
        reduction=reduction,
        arrays=2 + count(options) * (how is None),
        step=None if how is None else by_kernel.step(how, rows),
        chosen=(name, reason),
        by_classes=by_classes.total_of(
            check, x, reduction, base, row_of, predictions=return_predictions
        ),
        in_tiles=by_tiles.choose(
            check, x, options, base, of_head, predictions=return_predictions
        ),
        predicted=predicted if return_predictions else None,
    )
