"""Losses of many labels at once, each of which holds or does not."""

import functools

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core import inputs
from jaxloss._core.exact import add3
from jaxloss._core.labels import signed
from jaxloss._core.modulation import class_focal
from jaxloss._core.numerics import (
    in_base,
    logistic_loss,
    positive_part,
    sigmoid,
    softplus,
    step,
    weighted,
)
from jaxloss._core.public import public
from jaxloss._core.reduce import divided, reduce
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def asymmetric_loss(
    logits: Input,
    labels: Input,
    *,
    gamma_positive: Number = 1.0,
    gamma_negative: Number = 4.0,
    margin: Number = 0.05,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Asymmetric loss (ASL): easy negatives fade out faster than easy positives.

    .. math::
        \ell = -y\, (1 - p)^{\gamma_+} \log p
               - (1 - y)\, p_m^{\gamma_-} \log (1 - p_m), \qquad
        p_m = \max(p - m, 0)

    with :math:`p = \sigma(x)`, :math:`y` the label and :math:`m` the margin: negatives
    whose probability is below it contribute nothing. With both :math:`\gamma` and m at
    0 it is the binary cross entropy.

    Args:
      logits: log-odds of each label, floating, any shape.
      labels: 0, 1 or between them, the shape of `logits`.
      gamma_positive: focusing of the positives, at least 0.
      gamma_negative: focusing of the negatives, at least 0.
      margin: :math:`m`, in [0, 1). All three are numbers or arrays that fit the losses.
      where: mask of the shape of `logits` (entries kept). Axes may be 1.
      weights: weight of each entry, the shape of `logits`. Axes may be 1.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `logits`, or a scalar when reduced.

    Numerics:
      Either part is a focal loss :math:`(1 - e^{-n})^\gamma n` of its own
      :math:`n = -\log p` or :math:`-\log(1 - p_m)`, each to relative accuracy: no
      logarithm is clipped, and confident mistakes keep their gradient. A label outside
      [0, 1] gives NaN in value and gradient.

    Gradient:
      For a positive :math:`\gamma_+ p (1-p)^{\gamma_+} \log p - (1-p)^{\gamma_+ + 1}`;
      for a negative with :math:`p > m`
      :math:`p(1-p) \bigl(p_m^{\gamma_-} / (1 - p_m)
      - \gamma_- p_m^{\gamma_- - 1} \log(1 - p_m)\bigr)`.

    Raises:
      TypeError: `logits` not floating, `labels` not real, a traced static option.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits, labels = jnp.array([2.0, -1.0, -4.0]), jnp.array([1, 0, 0])
      >>> print(jaxloss.asymmetric_loss(logits, labels).round(4))
      [0.0151 0.0006 0. ]

    References:
      Ridnik et al., *Asymmetric Loss For Multi-Label Classification*, arXiv:2009.14119.

    Elsewhere: `timm.loss.AsymmetricLossMultiLabel` (the same defaults; logarithms
    clipped at 1e-8, the focusing factor without a gradient by default, and summed); not
    in optax, torch or keras.
    """
    check = Check("asymmetric_loss")
    check.reduction(reduction)
    check.base(base)
    x, y, keep = inputs.elements(check, where, logits=logits, labels=labels)
    positive = check.parameter("gamma_positive", gamma_positive, x, low=0)
    negative = check.parameter("gamma_negative", gamma_negative, x, low=0)
    margin = check.parameter("margin", margin, x, low=0, high=1, open_high=True)
    y = jnp.where((y >= 0) & (y <= 1), y, jnp.nan)
    present = weighted(class_focal(softplus(-x), positive), y)
    absent = weighted(class_focal(_shifted_nll(x, margin), negative), 1 - y)
    loss = in_base(present + absent, base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def soft_margin_loss(
    logits: Input,
    targets: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Logistic loss of a binary classifier with labels -1 and +1.

    .. math::
        \ell = \log(1 + e^{-t x})

    with :math:`x` the logit and :math:`t` the target: the binary cross entropy, for
    signed labels.

    Args:
      logits: log-odds of the positive class, floating, any shape.
      targets: -1 or +1, or bool (False is -1), the shape of `logits`.
      where: mask of the shape of `logits` (entries kept). Axes may be 1.
      weights: weight of each entry, the shape of `logits`. Axes may be 1.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `logits`, or a scalar when reduced.

    Numerics:
      Relative accuracy in both tails. Infinite logits give the limits, 0 and inf. A
      target other than -1 and +1, such as 0, gives NaN in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial x = -t\, \sigma(-t x)`.

    Raises:
      TypeError: `logits` not floating, `targets` not real.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([2.0, 0.3, 0.3])
      >>> print(jaxloss.soft_margin_loss(logits, jnp.array([1, 1, -1])).round(4))
      [0.1269 0.5544 0.8544 ]

    References:
      Hastie, Tibshirani, Friedman, *The Elements of Statistical Learning*, 10.5.

    Elsewhere: `torch.nn.functional.soft_margin_loss` (overflows for large negative
    :math:`t x`; `"mean"` by default); `sigmoid_binary_cross_entropy` for labels 0 and
    1.
    """
    check = Check("soft_margin_loss")
    check.reduction(reduction)
    check.base(base)
    sign = {"targets": signed(check, targets)}
    (x, sign), keep = inputs.aligned(
        check, where, {"logits": logits}, sign, {"targets": 1.0}
    )
    sign = jnp.where(jnp.abs(sign) == 1, sign, jnp.nan)
    loss = in_base(softplus(-sign * x), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def multilabel_soft_margin_loss(
    logits: Input,
    labels: Input,
    *,
    class_weights: Input | None = None,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Mean of the binary cross entropies of many labels.

    .. math::
        \ell = -\frac1C \sum_c w_c \bigl(y_c \log \sigma(x_c)
               + (1 - y_c) \log \sigma(-x_c)\bigr)

    Args:
      logits: log-odds of each label, floating, shape `[..., classes]`.
      labels: 0, 1 or a probability between them, the shape of `logits`.
      class_weights: :math:`w`, shape `[classes]`. As in torch they multiply only: a
        mean still divides by the number of classes and of examples.
      axis: the axis of the classes; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `logits`
        (classes kept: C counts them). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `logits` without `axis`, or a scalar when reduced.

    Numerics:
      As for `sigmoid_binary_cross_entropy`. A label outside [0, 1] gives NaN in value
      and gradient.

    Gradient:
      :math:`\partial \ell / \partial x_c = w_c (\sigma(x_c) - y_c) / C`.

    Raises:
      TypeError: `logits` not floating, `labels` not real, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits, labels = jnp.array([[2.0, -1.0, 0.5]]), jnp.array([[1, 0, 0]])
      >>> print(jaxloss.multilabel_soft_margin_loss(logits, labels).round(4))
      [0.4714]

    References:
      Tsoumakas, Katakis, *Multi-Label Classification: An Overview*, 2007.

    Elsewhere: `torch.nn.functional.multilabel_soft_margin_loss` (`"mean"` by default).
    """
    check = Check("multilabel_soft_margin_loss")
    check.reduction(reduction)
    check.base(base)
    x = inputs.rows(check, axis, where, logits=logits, labels=labels)
    y = x.require_targets()
    per_class = check.class_weights(class_weights, x.classes, x.like.dtype)
    each = logistic_loss(x.predictions, y, 1 - y, jnp.ones((), y.dtype))
    if per_class is not None:
        each = weighted(each, x.along(per_class))
    loss = in_base(_mean_kept(x, each), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def multilabel_margin_loss(
    scores: Input,
    labels: Input,
    *,
    margin: Number = 1.0,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Multilabel hinge: each label that holds is to lead each that does not.

    .. math::
        \ell = \frac1C \sum_{j : y_j = 1}\ \sum_{i : y_i = 0} \max(0, m + s_i - s_j)

    with :math:`s` the scores and :math:`m` the margin.

    Args:
      scores: outputs of the decision functions, floating, shape `[..., classes]`.
      labels: 1 for the labels that hold, 0 for the others, real or bool, the shape of
        `scores`. (torch takes lists of indices that end at a -1.)
      margin: the lead demanded, at least 0: a number, or an array that fits the losses.
      axis: the axis of the classes; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `scores`
        (classes kept: C counts them). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The losses, in the unit of the scores, float32 (float64 for float64 inputs): the
      shape of `scores` without `axis`, or a scalar when reduced.

    Numerics:
      :math:`m + s_i - s_j` is right to its last place, so an offset of the scores
      cancels. All pairs are compared: time grows with the square of the classes, and so
      may memory (XLA on CPU stores the pairs of a batch). A label other than 0 and 1
      gives NaN in value and gradient.

    Gradient:
      For a label that does not hold, the number of those it comes too close to, over C;
      for one that holds, minus the number that come too close. At a kink 1/2.

    Raises:
      TypeError: `scores` not floating, `labels` not real, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> scores, labels = jnp.array([[0.1, 0.2, 0.4, 0.8]]), jnp.array([[1, 0, 0, 1]])
      >>> print(jaxloss.multilabel_margin_loss(scores, labels).round(4))
      [0.8500]

    References:
      Elisseeff, Weston, *A kernel method for multi-labelled classification*, NIPS 2001.

    Elsewhere: `torch.nn.functional.multilabel_margin_loss` (labels as lists of indices;
    margin 1; `"mean"` by default).
    """
    check = Check("multilabel_margin_loss")
    check.reduction(reduction)
    x = inputs.rows(check, axis, where, scores=scores, labels=labels)
    y = x.require_targets()
    lead = check.parameter("margin", margin, x.like, low=0)
    holds, rival = y == 1, y == 0
    if x.entries is not None:
        holds, rival = holds & x.entries, rival & x.entries
    invalid = jnp.any((y != 0) & (y != 1), axis=x.axis)
    arrays = x.predictions, holds, rival
    s, holds, rival = (jnp.moveaxis(a, x.axis, -1) for a in arrays)
    s = s + jnp.where(invalid[..., None], jnp.nan, 0)
    dtype = s.dtype
    lead = jnp.broadcast_to(lead, x.shape)[..., None]
    total = _all_pairs(s, holds.astype(dtype), rival.astype(dtype), lead)
    loss = divided(total, _kept(x))
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


# ------------------------------------------------------------------ formulas


@jax.custom_jvp
def _shifted_nll(x: Array, margin: Array) -> Array:
    """-log(1 - p_m), p_m = max(σ(x) - m, 0)."""
    shifted = positive_part(sigmoid(x) - margin)
    small = shifted < 0.5
    near = -jnp.log1p(-jnp.where(small, shifted, 0))
    # 1 - p_m = σ(-x) + m, whose logarithm is that of σ(-x) alone without a margin.
    far = -jnp.log(jnp.where(small | (margin == 0), 0.5, sigmoid(-x) + margin))
    far = jnp.where(margin == 0, softplus(x), far)
    return jnp.where(small, near, far) + 0 * jnp.sign(x)


@_shifted_nll.defjvp
def _(primals, tangents):
    # With q = σ(-x): p q / (1 - p_m) dx - dm / (1 - p_m), where p > m.
    (x, margin), (dx, dmargin) = primals, tangents
    inside = step(sigmoid(x) - margin)
    remaining = jnp.where(inside == 0, 1, sigmoid(-x) + margin)
    nothing = remaining == 0
    divisor = jnp.where(nothing, 1, remaining)
    share = jnp.where(nothing, 1, sigmoid(-x) / divisor)
    dnll = inside * (sigmoid(x) * share * dx - dmargin / divisor)
    return _shifted_nll(x, margin), dnll


@jax.custom_jvp
def _all_pairs(s: Array, holds: Array, rival: Array, margin: Array) -> Array:
    """Σ_j Σ_i holds_j rival_i max(0, m + s_i - s_j) along the last axis."""
    return jnp.sum(_pairs(s, holds, rival, margin, positive_part), axis=(-2, -1))


def _pairs(s, holds, rival, margin, function) -> Array:
    """holds_j rival_i f(m + s_i - s_j), with axes j and i; 0 · anything is 0."""
    own, other = s[..., :, None], s[..., None, :]
    counts = (holds[..., :, None] * rival[..., None, :]) > 0
    lack = add3(other, -own, margin[..., None])
    # Replaced before: of what is no pair, nothing is computed. A NaN belongs to all.
    lack = jnp.where(counts | jnp.isnan(lack), lack, -jnp.inf)
    return function(lack)


def _all_pairs_jvp(primals, tangents):
    # The number of rivals that come too close to a label, and of labels to a rival:
    # counted again, so that no array of all pairs is kept for the backward pass.
    (s, holds, rival, margin), (ds, _, _, dmargin) = primals, tangents
    total = _all_pairs(s, holds, rival, margin)
    dtotal = jnp.zeros_like(total)
    count = functools.partial(_pairs, s, holds, rival, margin, step)
    if not isinstance(ds, SymbolicZero):
        slope = jnp.sum(count(), axis=-2) - jnp.sum(count(), axis=-1)
        dtotal += jnp.sum(slope * ds, axis=-1)
    if not isinstance(dmargin, SymbolicZero):
        dtotal += jnp.sum(count(), axis=(-2, -1)) * jnp.squeeze(dmargin, -1)
    return total, dtotal


_all_pairs.defjvp(_all_pairs_jvp, symbolic_zeros=True)


def _kept(x: inputs.Rows) -> Array:
    """The number of classes kept in each row."""
    if x.entries is None:
        return jnp.full(x.shape, x.classes, x.like.dtype)
    return jnp.sum(x.entries.astype(x.like.dtype), axis=x.axis)


def _mean_kept(x: inputs.Rows, each: Array) -> Array:
    """The mean over the classes kept."""
    if x.entries is not None:
        each = jnp.where(x.entries, each, 0)
    return divided(jnp.sum(each, axis=x.axis), _kept(x))
