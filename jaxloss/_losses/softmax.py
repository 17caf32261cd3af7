"""Softmax cross entropy: the negative log-likelihood of a categorical distribution."""

import math

import jax.numpy as jnp

from jaxloss._core import explained, inputs, rows
from jaxloss._core.cross_entropy import Loss, Options, of_distribution, of_label
from jaxloss._core.labels import distributed_rows, labelled_rows
from jaxloss._core.public import public
from jaxloss._core.reduce import divided, reduce
from jaxloss._core.types import (
    Array,
    Axis,
    Implementation,
    Input,
    Number,
    Reduction,
)
from jaxloss._core.validate import Check
from jaxloss._kernels.softmax_xent import op as kernels


@public
def softmax_cross_entropy_with_integer_labels(
    logits: Input,
    labels: Input,
    axis: Axis = -1,
    where: Input | None = None,
    *,
    label_smoothing: Number = 0.0,
    class_weights: Input | None = None,
    ignore_index: int | None = None,
    z_loss: Number = 0.0,
    logit_softcap: Number | None = None,
    temperature: Number = 1.0,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
    implementation: Implementation | None = None,
) -> Array:
    r"""Softmax cross entropy between logits and integer class labels.

    .. math::
        \ell = \log \sum_j e^{x_j} - x_y = -\log p_y

    with :math:`x` the logits after `logit_softcap` and `temperature`, :math:`y` the
    label, :math:`p = \operatorname{softmax}(x)`. With label smoothing
    :math:`\varepsilon` over :math:`C` classes, class weights :math:`w` and z-loss
    :math:`\lambda`:

    .. math::
        \ell = -(1-\varepsilon)\, w_y \log p_y
               - \frac{\varepsilon}{C} \sum_c w_c \log p_c
               + \lambda \Bigl(\log \sum_j e^{x_j}\Bigr)^2

    Args:
      logits: unnormalised log-probabilities, floating, shape `[..., classes]` (the
        classes along `axis`).
      labels: integer class indices from 0, the shape of `logits` without `axis`.
      axis: the axis of the classes; with several, the label indexes them flattened in
        the order given. Static.
      where: mask of the shape of `labels` (examples kept) or of `logits` (classes kept;
        an example whose label is removed contributes nothing). Axes may be 1.
      label_smoothing: share of the target spread over all classes kept, in [0, 1].
      class_weights: shape `[classes]`; multiplies, and the label's weight counts in
        the denominator of the mean.
      ignore_index: examples with this label contribute nothing. Static.
      z_loss: coefficient of the squared log-partition function, at least 0.
      logit_softcap: caps the logits smoothly, `cap * tanh(logits / cap)`, first.
      temperature: divides the (capped) logits, above 0.
      weights: weight of each example, the shape of `labels`.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.
      implementation: None chooses; "xla" runs everywhere. `"mosaic_tpu"` and
        `"mosaic_gpu"` read the logits once, in their own dtype; for a sum or a mean
        they write the gradient over logits that nothing else needs. The latter runs
        unasked where it was measured to win (many rows of bfloat16 logits on a Hopper
        GPU; `explain` tells), the former was not yet measured on a device.
        `"interpret"` interprets it, slowly, anywhere. Static.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `labels`, or a scalar when reduced.

    Numerics:
      Offsets of the logits cancel exactly; confident rows keep their value, gradient
      and curvature down to the smallest float. -inf logits are absent classes. A label
      outside [0, classes) gives NaN in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial x_j = p_j - [j = y]`; in general
      :math:`(\sum_k t_k + 2\lambda \log\sum_k e^{x_k})\, p_j - t_j` with
      :math:`t_j = (1-\varepsilon) w_y [j = y] + \varepsilon w_j / C`, times
      :math:`(1 - \tanh^2(x/c))` under a cap and :math:`1/T` at a temperature.

    Raises:
      TypeError: `logits` not floating, `labels` not integer, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.
      NotImplementedError: an `implementation` that cannot run here, and why.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[2.0, 1.0, 0.1], [0.5, 2.5, 0.3]])
      >>> loss = jaxloss.softmax_cross_entropy_with_integer_labels(
      ...     logits, jnp.array([0, 2]))
      >>> print(loss.round(4))
      [0.417  2.42]

    References:
      Goodfellow, Bengio, Courville, *Deep Learning*, 6.2.2; label smoothing:
      Szegedy et al., arXiv:1512.00567; z-loss: Chowdhery et al., arXiv:2204.02311;
      soft cap: Gemma Team, arXiv:2408.00118.

    Elsewhere: `optax.softmax_cross_entropy_with_integer_labels`,
    `torch.nn.functional.cross_entropy`, `keras.losses.SparseCategoricalCrossentropy`.
    """
    check = Check("softmax_cross_entropy_with_integer_labels")
    check.reduction(reduction)
    check.base(base)
    check.implementation(implementation)
    x, label = labelled_rows(check, axis, where, ignore_index, labels, logits=logits)
    options = Options.check(
        check,
        x.like,
        x.classes,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        z_loss=z_loss,
        logit_softcap=logit_softcap,
        temperature=temperature,
    )
    chosen = _chosen(check, implementation, logits, axis, x, base)
    if chosen is not None:
        rows = _flat(check, logits, axis, x, label, options)
        return _by_kernel(check, chosen, rows, x, weights, reduction)
    options = options.along(x)
    result = of_label(x.predictions, label, options, x.axis, kept=x.entries, base=base)
    return _reduced(check, x, result, weights, reduction)


@public
def softmax_cross_entropy(
    logits: Input,
    labels: Input,
    axis: Axis = -1,
    where: Input | None = None,
    *,
    label_smoothing: Number = 0.0,
    class_weights: Input | None = None,
    ignore_index: int | None = None,
    z_loss: Number = 0.0,
    logit_softcap: Number | None = None,
    temperature: Number = 1.0,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Softmax cross entropy between logits and one-hot or soft labels.

    .. math::
        \ell = -\sum_c t_c \log p_c
             = \sum_c t_c \Bigl(\log \sum_j e^{x_j} - x_c\Bigr)

    with :math:`x` the logits after `logit_softcap` and `temperature`, :math:`t` the
    labels, :math:`p = \operatorname{softmax}(x)`. Label smoothing replaces :math:`t` by
    :math:`(1-\varepsilon) t + \varepsilon / C`, class weights by :math:`w_c t_c`, and
    z-loss adds :math:`\lambda (\log \sum_j e^{x_j})^2`.

    Args:
      logits: unnormalised log-probabilities, floating, shape `[..., classes]` (the
        classes along `axis`).
      labels: a distribution over the classes (or any non-negative masses), the shape
        of `logits`.
      axis: the axis of the classes; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `logits`
        (classes kept, removed from logits and labels alike; an example that loses all
        of its mass contributes nothing). Axes may be 1.
      label_smoothing: share of the target spread over all classes kept, in [0, 1].
      class_weights: shape `[classes]`; multiplies, and an example's weight
        :math:`\sum_c w_c t_c` counts in the denominator of the mean, as for integers.
      ignore_index: examples whose labels are the one-hot vector of this index (zeros,
        for an index out of range) contribute nothing. Static.
      z_loss: coefficient of the squared log-partition function, at least 0.
      logit_softcap: caps the logits smoothly, `cap * tanh(logits / cap)`, first.
      temperature: divides the (capped) logits, above 0.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `logits` without `axis`, or a scalar when reduced.

    Numerics:
      The value, dtype and gradient of the integer form for one-hot labels. 0 times an
      infinite log-probability is 0, so -inf logits are absent classes.

    Gradient:
      :math:`\partial \ell / \partial x_j = (\sum_c t_c) p_j - t_j`,
      :math:`\partial \ell / \partial t_j = -\log p_j`; options as for the integer form.

    Raises:
      TypeError: `logits` not floating, `labels` not real, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[2.0, 1.0, 0.1]])
      >>> print(jaxloss.softmax_cross_entropy(logits, jnp.array([[0.9, 0.1, 0.0]])))
      [0.517]

    References:
      Goodfellow, Bengio, Courville, *Deep Learning*, 6.2.2.

    Elsewhere: `optax.softmax_cross_entropy`, `torch.nn.functional.cross_entropy` (with
    probabilities), `keras.losses.CategoricalCrossentropy(from_logits=True)`.
    """
    check = Check("softmax_cross_entropy")
    check.reduction(reduction)
    check.base(base)
    x, t = distributed_rows(
        check, axis, where, ignore_index, logits=logits, labels=labels
    )
    options = Options.check(
        check,
        x.like,
        x.classes,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        z_loss=z_loss,
        logit_softcap=logit_softcap,
        temperature=temperature,
    ).along(x)
    result = of_distribution(
        x.predictions, t, options, x.axis, kept=x.entries, base=base
    )
    return _reduced(check, x, result, weights, reduction)


@public
def safe_softmax_cross_entropy(logits: Input, labels: Input) -> Array:
    r"""Softmax cross entropy with :math:`0 \cdot \infty = 0`, under optax's name.

    .. math::
        \ell = -\sum_c t_c \log p_c

    `softmax_cross_entropy` is safe in this sense already; this is the same function,
    without its options, for code that imports the name.

    Args:
      logits: unnormalised log-probabilities, shape `[..., classes]`; -inf is an absent
        class.
      labels: a distribution over the classes, the shape of `logits`.

    Returns:
      The losses in nats, float32 or float64, shape `[...]`.

    Gradient:
      :math:`\partial \ell / \partial x_j = (\sum_c t_c) p_j - t_j`, in reverse and in
      forward mode.

    Raises:
      TypeError: `logits` not floating, or `labels` not real.
      ValueError: shapes that differ.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([-jnp.inf, 0.0, 0.0])
      >>> print(jaxloss.safe_softmax_cross_entropy(logits, jnp.array([0.0, 1.0, 0.0])))
      0.6931472

    Elsewhere: `optax.safe_softmax_cross_entropy`.
    """
    check = Check("safe_softmax_cross_entropy")
    x, t = distributed_rows(check, -1, None, None, logits=logits, labels=labels)
    return jnp.squeeze(rows.soft_nll(x.predictions, t, x.axis), x.axis)


def _reduced(
    check: Check,
    x: inputs.Rows,
    result: Loss,
    weights: Input | None,
    reduction: Reduction,
) -> Array:
    """The common end: masks, weights and reduction."""
    loss = jnp.squeeze(result.loss, x.axis)
    share = result.label_weight
    return reduce(
        loss,
        where=x.keep,
        weights=check.weights(weights, loss),
        normalizer=None if share is None else jnp.squeeze(share, x.axis),
        reduction=reduction,
    )


# ------------------------------------------------------------------ by a kernel


def _chosen(
    check: Check,
    implementation: Implementation | None,
    logits: Input,
    axis: Axis,
    x: inputs.Rows,
    base: float | None,
) -> kernels.How | None:
    """Which kernel, if one is to run."""
    obstacle = None
    if x.entries is not None:
        obstacle = "has no mask of classes: give those the logit -inf"
    elif implementation is None and axis not in (-1, len(x.shape)):
        obstacle = "would need the classes along the last axis"
    shape = (math.prod(x.shape), x.classes)
    dtype = jnp.asarray(logits).dtype
    choice = kernels.choose(
        check, implementation, dtype, shape, base=base, obstacle=obstacle
    )
    plan = kernels.RowsPlan(
        check.function, choice.name, choice.reason, *shape, dtype.name
    )
    explained.note(plan)
    return choice.how


def _flat(
    check: Check,
    logits: Input,
    axis: Axis,
    x: inputs.Rows,
    label: Array,
    options: Options,
) -> kernels.Rows:
    """The rows as a kernel takes them: in their own dtype, one after the other."""
    array = check.floating("logits", logits)
    axes = check.axes(axis, array.ndim, of="logits")
    last = tuple(range(len(x.shape), array.ndim))
    array = jnp.moveaxis(array, axes, last).reshape(-1, x.classes)

    def flat(value: Array) -> Array:
        return jnp.broadcast_to(value, x.shape).reshape(-1)

    def column(value: Array | None) -> Array | None:
        return value if value is None or value.ndim == 0 else flat(value)[:, None]

    weights = options.class_weights
    options = Options(*map(column, options._replace(class_weights=None)))
    return kernels.Rows(
        array,
        flat(jnp.squeeze(label, x.axis)),
        None if x.keep is None else flat(x.keep),
        options._replace(class_weights=None if weights is None else weights[None]),
    )


def _by_kernel(
    check: Check,
    how: kernels.How,
    rows: kernels.Rows,
    x: inputs.Rows,
    weights: Input | None,
    reduction: Reduction,
) -> Array:
    """The losses of a kernel, with the same end as all others."""
    share = kernels.label_weights(rows)
    if reduction == "none" or rows.logits.dtype == jnp.float16:
        # A derivative divided by the number of rows may be too small for float16.
        loss = kernels.losses(how, rows).reshape(x.shape)
        return reduce(
            loss,
            where=x.keep,
            weights=check.weights(weights, loss),
            normalizer=None if share is None else share.reshape(x.shape),
            reduction=reduction,
        )
    factor = check.weights(weights, x.like)
    each = jnp.ones(rows.label.shape, x.like.dtype)
    each = each if factor is None else factor.reshape(-1)
    if rows.keep is not None:
        each = jnp.where(rows.keep, each, 0)
    if reduction == "mean":
        # Here, and not after the sum: so the derivative is complete when it is written.
        count = jnp.sum(each if share is None else each * share)
        each = divided(each, count)
    return kernels.total(how, rows, each)
