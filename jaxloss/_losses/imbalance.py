"""Imbalance: of the classes, corrected by their frequencies, and of the examples."""

import jax
import jax.numpy as jnp

from jaxloss._core import axes, inputs
from jaxloss._core.cross_entropy import Options, of_label
from jaxloss._core.exponential import expm1
from jaxloss._core.labels import labelled_rows
from jaxloss._core.numerics import weighted
from jaxloss._core.public import public
from jaxloss._core.reduce import divided, reduce
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check, computing


@public
def logit_adjusted_cross_entropy(
    logits: Input,
    labels: Input,
    *,
    log_priors: Input,
    tau: Number = 1.0,
    label_smoothing: Number = 0.0,
    class_weights: Input | None = None,
    ignore_index: int | None = None,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Softmax cross entropy with logits shifted by the classes' log-frequencies.

    .. math::
        \ell = -\log \frac{\pi_y^\tau e^{x_y}}{\sum_j \pi_j^\tau e^{x_j}}

    with :math:`\pi` the frequencies of the classes in training and :math:`y` the label.
    The logits then learn what tells the classes apart rather than how frequent they
    are: their largest one errs least on balanced classes.

    Args:
      logits: unnormalised log-probabilities, floating, shape `[..., classes]`.
      labels: integer class indices from 0, the shape of `logits` without `axis`.
      log_priors: :math:`\log \pi`, shape `[classes]`, up to a constant: log-counts do.
        -inf is a class that does not occur, absent from the sum.
      tau: strength: a number, or an array that fits the losses; 0 is no adjustment.
      label_smoothing: share of the target spread over all classes kept, in [0, 1].
      class_weights: shape `[classes]`; multiplies, and the label's weight counts in
        the denominator of the mean.
      ignore_index: examples with this label contribute nothing. Static.
      axis: the axis of the classes; several are flattened in the order given. Static.
      where: mask of the shape of `labels` (examples kept) or of `logits` (classes kept;
        an example whose label is removed contributes nothing). Axes may be 1.
      weights: weight of each example, the shape of `labels`.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `labels`, or a scalar when reduced.

    Numerics:
      The priors are added to the distances from the largest logit, so that an offset of
      the logits cancels exactly; else as for
      `softmax_cross_entropy_with_integer_labels`.

    Gradient:
      :math:`\partial \ell / \partial x_j
      = \operatorname{softmax}(x + \tau \log \pi)_j - [j = y]`.

    Raises:
      TypeError: `logits` not floating, `labels` not integer, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[2.0, 1.0, 0.1], [0.5, 2.5, 0.3]])
      >>> log_priors = jnp.log(jnp.array([900.0, 90.0, 10.0]))
      >>> loss = jaxloss.logit_adjusted_cross_entropy(
      ...     logits, jnp.array([0, 2]), log_priors=log_priors)
      >>> print(loss.round(4))
      [0.0377 5.2583]

    References:
      Menon et al., *Long-tail learning via logit adjustment*, arXiv:2007.07314; Ren et
      al., *Balanced Meta-Softmax*, arXiv:2007.10740 (tau 1, log-counts).

    Elsewhere: balanced softmax in long-tail codebases; not in optax, torch or keras.
    """
    check = Check("logit_adjusted_cross_entropy")
    check.reduction(reduction)
    check.base(base)
    x, label = labelled_rows(check, axis, where, ignore_index, labels, logits=logits)
    priors = check.real("log_priors", log_priors).astype(x.like.dtype)
    check.shape("log_priors", priors, (x.classes,))
    strength = x.spread(check.parameter("tau", tau, x.like))
    options = Options.check(
        check,
        x.like,
        x.classes,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        z_loss=0,
        logit_softcap=None,
        temperature=1,
    ).along(x)
    peak = jax.lax.stop_gradient(axes.peak(x.predictions, x.axis))
    distances = x.predictions - jnp.where(jnp.isfinite(peak), peak, 0)
    adjusted = distances + weighted(x.along(priors), strength)
    result = of_label(adjusted, label, options, x.axis, kept=x.entries, base=base)
    loss = jnp.squeeze(result.loss, x.axis)
    share = result.label_weight
    return reduce(
        loss,
        where=x.keep,
        weights=check.weights(weights, loss),
        normalizer=None if share is None else jnp.squeeze(share, x.axis),
        reduction=reduction,
    )


@public
def class_balanced_weights(
    counts: Input, *, beta: Number = 0.9999, normalize: bool = True
) -> Array:
    r"""Weights of classes, inverse to their effective numbers of examples.

    .. math::
        w_c = \frac{1 - \beta}{1 - \beta^{n_c}}

    with :math:`n` the counts. :math:`\beta = 0` weighs all classes alike,
    :math:`\beta \to 1` by the inverse of their counts. For `class_weights=`.

    Args:
      counts: examples of each class, real, not negative, shape `[..., classes]`.
      beta: in [0, 1]: how soon another example is no news; a number, or an array that
        fits `counts` without its last axis.
      normalize: scale the weights so that they sum to the number of classes that have
        an example. Static.

    Returns:
      The weights, float32 (float64 for float64 counts), the shape of `counts`. A class
      without examples has the weight 0.

    Numerics:
      :math:`1 - \beta` is taken before it is rounded, and :math:`1 - \beta^n` by way of
      :math:`e^z - 1`: exact for rare and frequent classes and at both ends of
      :math:`\beta`.

    Gradient:
      :math:`\partial w_c / \partial n_c
      = w_c\, \beta^{n_c} \log \beta / (1 - \beta^{n_c})`, if not normalised.

    Raises:
      TypeError: `counts` not real, a traced static option.
      ValueError: `beta` out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> counts = jnp.array([5000, 500, 50])
      >>> print(jaxloss.class_balanced_weights(counts).round(4))
      [0.0341 0.2752 2.6907 ]

    References:
      Cui et al., *Class-Balanced Loss Based on Effective Number of Samples*,
      arXiv:1901.05555.

    Elsewhere: the authors' code normalises in the same way; at beta 1, the `"balanced"`
    class weights of scikit-learn but for their scale.
    """
    check = Check("class_balanced_weights")
    check.choice("normalize", normalize, (False, True))
    n = check.real("counts", counts)
    check.axes(-1, n.ndim, of="counts")
    (n,) = computing(n)
    like = jax.ShapeDtypeStruct(n.shape[:-1], n.dtype)
    given = check.parameter("beta", beta, like, low=0, high=1)
    # A Python number has more digits than its float32.
    missing = (
        jnp.asarray(1 - beta, n.dtype) if isinstance(beta, int | float) else 1 - given
    )
    missing = missing[..., None] if missing.ndim else missing
    n = n + jnp.where(n >= 0, 0, jnp.nan)
    exists, limit = n != 0, missing == 0
    # n log β, which is -inf for β = 0.
    decay = jnp.where(exists, n, 1) * jnp.log1p(-jnp.where(limit, 0.5, missing))
    effective = jnp.where(limit, n, -expm1(decay) / jnp.where(limit, 1, missing))
    result = jnp.where(exists, 1 / jnp.where(exists, effective, 1), 0)
    if not normalize:
        return result
    total = jnp.sum(result, axis=-1, keepdims=True)
    size = jnp.sum(exists.astype(n.dtype), axis=-1, keepdims=True)
    return divided(result * size, total)


@public
def label_distribution_margins(counts: Input, *, max_margin: Number = 0.5) -> Array:
    r"""Margins of classes that grow with their rarity, as LDAM demands them.

    .. math::
        \Delta_c = \Delta_{\max} \left( \frac{n_{\min}}{n_c} \right)^{1/4}

    with :math:`n` the counts. The LDAM loss is the cross entropy of `cosface_logits`
    with these margins.

    Args:
      counts: examples of each class, real, not negative, shape `[..., classes]`.
      max_margin: that of the rarest class, at least 0: a number, or an array that fits
        `counts` without its last axis.

    Returns:
      The margins, float32 (float64 for float64 counts), the shape of `counts`. A class
      without examples has the largest, and is not the rarest.

    Numerics:
      Two square roots of one quotient.

    Gradient:
      :math:`\partial \Delta_c / \partial n_c = -\Delta_c / (4 n_c)`, but for the rarest
      class, whose margin does not change, but all others' do.

    Raises:
      TypeError: `counts` not real.
      ValueError: `max_margin` out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> counts = jnp.array([8000, 500, 500])
      >>> margins = jaxloss.label_distribution_margins(counts)
      >>> print(margins)
      [0.25 0.5  0.5 ]
      >>> cosines, labels = jnp.array([[0.9, 0.1, 0.2]]), jnp.array([2])
      >>> logits = jaxloss.cosface_logits(
      ...     cosines, labels, margin=margins[labels], scale=30.0)
      >>> print(jaxloss.softmax_cross_entropy_with_integer_labels(logits, labels))
      [36.]

    References:
      Cao et al., *Learning Imbalanced Datasets with Label-Distribution-Aware Margin
      Loss*, arXiv:1906.07413.

    Elsewhere: `LDAMLoss` of the authors' code, which holds the margins (0.5, scale 30);
    not in optax, torch or keras.
    """
    check = Check("label_distribution_margins")
    n = check.real("counts", counts)
    check.axes(-1, n.ndim, of="counts")
    (n,) = computing(n)
    like = jax.ShapeDtypeStruct(n.shape[:-1], n.dtype)
    most = check.parameter("max_margin", max_margin, like, low=0)
    most = most[..., None] if most.ndim else most
    n = n + jnp.where(n >= 0, 0, jnp.nan)
    exists = n != 0
    rarest = jnp.min(jnp.where(exists, n, jnp.inf), axis=-1, keepdims=True)
    share = jnp.where(exists, rarest / jnp.where(exists, n, 1), 1)
    return most * jnp.sqrt(jnp.sqrt(share))


@public
def top_k_mean(
    losses: Input,
    k: int,
    *,
    axis: Axis = None,
    where: Input | None = None,
) -> Array:
    r"""Mean of the k largest losses: online hard example mining.

    .. math::
        L = \frac{1}{k} \sum_{i=1}^{k} \ell_{(i)}, \qquad
        \ell_{(1)} \ge \ell_{(2)} \ge \dots

    A reduction for losses computed with `reduction="none"`.

    Args:
      losses: losses, floating, any shape.
      k: how many are averaged, at least 1; all of those kept, if they are fewer.
        Static.
      axis: the axes over which they are ranked; None for all. Static.
      where: mask of the shape of `losses` (losses kept) or of that shape without `axis`
        (rankings kept: the others give 0). Axes may be 1.

    Returns:
      The means, float32 (float64 for float64 inputs): the shape of `losses` without
      `axis`; 0 where nothing is kept.

    Numerics:
      The losses selected are summed as they are. A NaN counts as the largest: it is
      loud.

    Gradient:
      :math:`1/k` for the losses selected, 0 for the others; of several equal ones the
      first are selected.

    Raises:
      TypeError: `losses` not floating, a traced static option.
      ValueError: `k` below 1, an axis or a mask that does not fit.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> print(jaxloss.top_k_mean(jnp.array([0.5, 3.0, 0.25, 2.0]), 2))
      2.5

    References:
      Shrivastava, Gupta, Girshick, *Training Region-based Object Detectors with Online
      Hard Example Mining*, arXiv:1604.03540.

    Elsewhere: `OHEMPixelSampler` of mmsegmentation; nnU-Net's `TopKLoss` (with a share
    for k); not in optax, torch or keras.
    """
    check = Check("top_k_mean")
    check.count("k", k, "It says how many to average.")
    x = inputs.rows(check, axis, where, -jnp.inf, losses=losses)
    values = jnp.moveaxis(x.predictions, x.axis, -1)
    kept = jnp.ones(values.shape, bool)
    if x.entries is not None:
        kept = jnp.moveaxis(x.entries, x.axis, -1)
    size = min(k, x.classes)
    chosen = jax.lax.top_k(jax.lax.stop_gradient(values), size)[1]
    there = jnp.take_along_axis(kept, chosen, axis=-1)
    hardest = jnp.take_along_axis(values, chosen, axis=-1)
    # The derivative by a NaN is NaN too.
    hardest = hardest * jnp.where(jnp.isnan(hardest), jnp.nan, 1)
    total = jnp.sum(jnp.where(there, hardest, 0), axis=-1)
    mean = divided(total, jnp.sum(there.astype(total.dtype), axis=-1))
    return reduce(mean, where=x.keep)
