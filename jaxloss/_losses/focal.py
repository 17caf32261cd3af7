"""Focal losses: cross entropies that fade out as the prediction becomes right.

A focal loss is m · ℓ with ℓ the cross entropy and m = (1 - p_t)^γ its modulation, p_t
the probability given to the truth.
"""

import functools

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core import inputs, rows
from jaxloss._core.labels import distributed_rows, labelled_rows
from jaxloss._core.numerics import in_base, logistic_loss, sigmoid, tanh, weighted
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check, is_off


def sigmoid_focal_loss(
    logits: Input,
    labels: Input,
    *,
    alpha: Number | None = None,
    gamma: Number = 2.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Binary focal loss between logits and labels, entry by entry.

    .. math::
        \ell = -\alpha_t (1 - p_t)^\gamma
               \bigl(y \log p + (1 - y) \log (1 - p)\bigr)

    with :math:`p = \sigma(x)` the probability of the positive class, :math:`y` the
    label, :math:`p_t = y p + (1 - y)(1 - p)` the probability given to it and
    :math:`\alpha_t = \alpha y + (1 - \alpha)(1 - y)`. Easy examples, :math:`p_t` near
    1, fade out; :math:`\gamma = 0` is the binary cross entropy.

    Args:
      logits: log-odds of the positive class, floating, any shape.
      labels: 0, 1 or a probability between them, the shape of `logits`.
      alpha: balance of positive against negative examples, in [0, 1]; None leaves it
        out. It does not count in the denominator of the mean.
      gamma: how fast easy examples fade out, at least 0. Both are numbers or arrays of
        the rank of `logits`, with axes equal or 1.
      where: mask of the shape of `logits` (entries kept). Axes may be 1.
      weights: weight of each entry, the shape of `logits`. Axes may be 1.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `logits`, or a scalar when reduced.

    Numerics:
      :math:`1 - p_t` is a sum of positive terms, so value, gradient and curvature are
      accurate for every logit and every :math:`\gamma \ge 0`, below 1 too. At an
      infinite logit they have their limits. A label outside [0, 1] gives NaN in value
      and gradient.

    Gradient:
      :math:`\partial \ell / \partial x = \alpha_t (1 - p_t)^\gamma \Bigl(p - y
      + \gamma \frac{(1 - 2y)\, p (1 - p)}{1 - p_t} \ell_0\Bigr)` with :math:`\ell_0`
      the binary cross entropy. Those with respect to labels, alpha and gamma are
      defined.

    Raises:
      TypeError: `logits` not floating, `labels` not real, a traced static option.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([2.0, -1.0, 0.5])
      >>> print(jaxloss.sigmoid_focal_loss(logits, jnp.array([1.0, 1.0, 0.3])).round(4))
      [0.0018 0.7019 0.2323]

    References:
      Lin et al., *Focal Loss for Dense Object Detection*, arXiv:1708.02002.

    Elsewhere: `optax.sigmoid_focal_loss`, `torchvision.ops.sigmoid_focal_loss` (alpha
    0.25 by default), `keras.losses.BinaryFocalCrossentropy(from_logits=True)`.
    """
    check = Check("sigmoid_focal_loss")
    check.reduction(reduction)
    check.base(base)
    x = inputs.elements(check, where, logits=logits, labels=labels)
    logit, label, other = x.predictions, x.targets, 1 - x.targets
    loss = logistic_loss(logit, label, other, jnp.ones((), label.dtype))
    if not is_off(gamma, 0):
        gamma = check.parameter("gamma", gamma, loss, low=0)
        loss = _modulated(loss, _mixture_modulation(logit, label, other, gamma))
    if alpha is not None:
        alpha = check.parameter("alpha", alpha, loss, low=0, high=1)
        loss = weighted(loss, alpha * label + (1 - alpha) * other)
    loss = in_base(loss, base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


def softmax_focal_loss(
    logits: Input,
    labels: Input,
    *,
    gamma: Number = 2.0,
    alpha: Number | None = None,
    axis: Axis = -1,
    where: Input | None = None,
    ignore_index: int | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Focal loss between logits and class labels, integers or distributions.

    .. math::
        \ell = -\alpha_y (1 - p_y)^\gamma \log p_y
        \qquad\text{or}\qquad
        \ell = -\sum_c t_c\, \alpha_c (1 - p_c)^\gamma \log p_c

    with :math:`p = \operatorname{softmax}(x)`, :math:`y` an integer label or :math:`t`
    a one-hot or soft one. :math:`\gamma = 0` is the softmax cross entropy.

    Args:
      logits: unnormalised log-probabilities, floating, shape `[..., classes]` (the
        classes along `axis`).
      labels: integer class indices from 0, the shape of `logits` without `axis`; or a
        distribution over the classes, the shape of `logits`. The rank tells.
      gamma: how fast easy examples fade out, at least 0: a number, or an array of the
        losses' shape (axes may have size 1).
      alpha: weight of the classes, at least 0: a number or shape `[classes]`. It does
        not count in the denominator of the mean.
      axis: the axis of the classes; with several, the label indexes them flattened in
        the order given. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `logits`
        (classes kept; an example that loses its label contributes nothing). Axes may
        be 1.
      ignore_index: examples with this label contribute nothing. Static.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `logits` without `axis`, or a scalar when reduced.

    Numerics:
      With :math:`\ell_0 = -\log p_y`, exact for confident rows and under any offset,
      :math:`1 - p_y = 1 - e^{-\ell_0}` loses nothing. -inf logits are absent classes.
      An integer label outside [0, classes), or a share outside [0, 1], gives NaN in
      value and gradient.

    Gradient:
      :math:`\partial \ell / \partial x_j = \alpha_y (1 - p_y)^\gamma
      \Bigl(1 - \gamma \frac{p_y \log p_y}{1 - p_y}\Bigr) (p_j - [j = y])`, summed with
      :math:`t_c` over the classes for a distribution.

    Raises:
      TypeError: `logits` not floating, integer labels of another dtype, a traced static
        option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[2.0, 1.0, 0.1], [0.5, 2.5, 0.3]])
      >>> print(jaxloss.softmax_focal_loss(logits, jnp.array([0, 2])).round(4))
      [0.0484 2.0118]

    References:
      Lin et al., *Focal Loss for Dense Object Detection*, arXiv:1708.02002.

    Elsewhere: `keras.losses.CategoricalFocalCrossentropy(from_logits=True)` (alpha 0.25
    by default), `monai.losses.FocalLoss(use_softmax=True)`; not in optax or torch.
    """
    check = Check("softmax_focal_loss")
    check.reduction(reduction)
    check.base(base)
    check.static(ignore_index=ignore_index)
    if check.array("labels", labels).ndim < check.array("logits", logits).ndim:
        x, label = labelled_rows(
            check, axis, where, ignore_index, labels, logits=logits
        )
        loss = rows.label_nll(x.predictions, label, x.axis)
        if not is_off(gamma, 0):
            gamma = x.spread(check.parameter("gamma", gamma, x.like, low=0))
            loss = _class_focal(loss, gamma)
        if alpha is not None:
            loss = weighted(
                loss, rows.take(_class_alpha(check, alpha, x), label, x.axis)
            )
    else:
        x, shares = distributed_rows(
            check, axis, where, ignore_index, logits=logits, labels=labels
        )
        shares = jnp.where((shares >= 0) & (shares <= 1), shares, jnp.nan)
        if alpha is not None:
            shares = shares * _class_alpha(check, alpha, x)
        if is_off(gamma, 0):
            loss = rows.soft_nll(x.predictions, shares, x.axis)
        else:
            gamma = x.spread(check.parameter("gamma", gamma, x.like, low=0))
            loss = _distribution_focal(x.predictions, shares, gamma, x.axis)
    loss = in_base(jnp.squeeze(loss, x.axis), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


def _class_alpha(check: Check, alpha: Number, x: inputs.Rows) -> Array:
    """The weight of each class, lined up with the logits."""
    per_class = jax.ShapeDtypeStruct((x.classes,), x.like.dtype)
    alpha = check.parameter("alpha", alpha, per_class, low=0)
    return x.along(jnp.broadcast_to(alpha, per_class.shape))


# ------------------------------------------------------------------ of a class


@jax.custom_jvp
def _class_focal(nll: Array, gamma: Array) -> Array:
    """(1 - e^-ℓ)^γ ℓ: the focal loss of a class is a function of its ℓ = -log p."""
    return _class_modulation(nll, gamma) * nll


def _class_focal_jvp(primals, tangents):
    # With u = 1 - e^-ℓ: u' / u = e^-ℓ / (1 - e^-ℓ) = 1 / (e^ℓ - 1), so
    # d(u^γ ℓ) = u^γ (1 + γ ℓ / (e^ℓ - 1)) dℓ + u^γ ℓ log u dγ: nothing cancels.
    (nll, gamma), (dnll, dgamma) = primals, tangents
    loss = _class_focal(nll, gamma)
    dloss = jnp.zeros_like(loss)
    if not isinstance(dnll, SymbolicZero):
        dloss += _class_slope(nll, gamma) * dnll
    if not isinstance(dgamma, SymbolicZero):
        dloss += _finite(loss) * _log_missed(nll) * dgamma
    return loss, dloss


_class_focal.defjvp(_class_focal_jvp, symbolic_zeros=True)


def _class_slope(nll: Array, gamma: Array) -> Array:
    """The derivative of `_class_focal` with respect to -log p."""
    return _class_modulation(nll, gamma) * (1 + gamma * _bernoulli(nll))


@jax.custom_jvp
def _class_modulation(nll: Array, gamma: Array) -> Array:
    """(1 - e^-ℓ)^γ."""
    return jnp.power(-jnp.expm1(-nll), gamma)


def _class_modulation_jvp(primals, tangents):
    (nll, gamma), (dnll, dgamma) = primals, tangents
    modulation = _class_modulation(nll, gamma)
    dmodulation = jnp.zeros_like(modulation)
    if not isinstance(dnll, SymbolicZero):
        dmodulation += gamma * modulation * _odds(nll) * dnll
    if not isinstance(dgamma, SymbolicZero):
        dmodulation += modulation * _log_missed(nll) * dgamma
    return modulation, dmodulation


_class_modulation.defjvp(_class_modulation_jvp, symbolic_zeros=True)


@jax.custom_jvp
def _bernoulli(nll: Array) -> Array:
    """ℓ / (e^ℓ - 1), from 1 at 0 to 0 at infinity."""
    return jnp.where(nll == 0, 1, _finite(nll) * _odds(nll))


@_bernoulli.defjvp
def _(primals, tangents):
    # With k = 1 / (e^ℓ - 1), k' = -k (1 + k): (ℓ k)' = k (1 - ℓ - ℓ k). Beside the
    # derivative of the modulation, k itself, the rounding of the bracket is nothing.
    (nll,), (dnll,) = primals, tangents
    value = _bernoulli(nll)
    return value, _odds(nll) * (1 - _finite(nll) - value) * dnll


def _odds(nll: Array) -> Array:
    """p / (1 - p) = 1 / (e^ℓ - 1), and 0 at ℓ = 0, where no ℓ has a derivative."""
    return 1 / jnp.expm1(jnp.where(nll == 0, jnp.inf, nll))


def _log_missed(nll: Array) -> Array:
    """log(1 - e^-ℓ), and 0 at ℓ = 0, where the loss it multiplies is 0."""
    small = nll < 0.5
    return jnp.where(
        small,
        jnp.log(-jnp.expm1(-jnp.where(small & (nll > 0), nll, jnp.inf))),
        jnp.log1p(-jnp.exp(-jnp.where(small, jnp.inf, nll))),
    )


def _finite(loss: Array) -> Array:
    """A finite number for an infinite loss, where a factor 0 ends its influence."""
    return jnp.minimum(loss, jnp.finfo(loss.dtype).max)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _distribution_focal(x: Array, shares: Array, gamma: Array, axis: int) -> Array:
    """Σ t_c (1 - p_c)^γ (-log p_c), with 0 · inf = 0."""
    each = weighted(_class_focal(rows.nll(x, axis), gamma), shares)
    return jnp.sum(each, axis=axis, keepdims=True)


def _distribution_focal_jvp(axis, primals, tangents):
    # With f the focal loss of a class, Σ t_c f(ℓ_c) changes with x as the cross entropy
    # Σ s_c ℓ_c with s_c = t_c f'(ℓ_c) held fixed does; its derivative does not cancel
    # for the class that holds most of the mass.
    (x, shares, gamma), (dx, dshares, dgamma) = primals, tangents
    loss = _distribution_focal(x, shares, gamma, axis)
    dloss = jnp.zeros_like(loss)
    nll = rows.nll(x, axis)
    if not isinstance(dx, SymbolicZero):
        fixed = shares * _class_slope(nll, gamma)
        dloss += jax.jvp(lambda x: rows.soft_nll(x, fixed, axis), (x,), (dx,))[1]
    if not isinstance(dshares, SymbolicZero):
        each = _class_focal(nll, gamma)
        dloss += jnp.sum(each * dshares, axis=axis, keepdims=True)
    if not isinstance(dgamma, SymbolicZero):
        each = shares * _finite(_class_focal(nll, gamma)) * _log_missed(nll)
        dloss += jnp.sum(each * dgamma, axis=axis, keepdims=True)
    return loss, dloss


_distribution_focal.defjvp(_distribution_focal_jvp, symbolic_zeros=True)


# ------------------------------------------------------------------ of a mixture


@jax.custom_jvp
def _modulated(loss: Array, modulation: Array) -> Array:
    """m ℓ, where m fades faster than any ℓ grows."""
    return modulation * loss


@_modulated.defjvp
def _(primals, tangents):
    # d(m ℓ) = m dℓ + ℓ dm. Where ℓ is infinite m is 1 and dm = 0, and so is their
    # product, the limit of ℓ e^-ℓ.
    (loss, modulation), (dloss, dmodulation) = primals, tangents
    dproduct = modulation * dloss + _finite(loss) * dmodulation
    return _modulated(loss, modulation), dproduct


@jax.custom_jvp
def _mixture_modulation(x: Array, label: Array, other: Array, gamma: Array) -> Array:
    """(1 - p_t)^γ = (label σ(-x) + other σ(x))^γ; `other` is 1 - label."""
    return jnp.power(label * sigmoid(-x) + other * sigmoid(x), gamma)


def _mixture_modulation_jvp(primals, tangents):
    # With q = σ(-x), p = σ(x), u = y q + (1 - y) p, and the shares a = y q / u,
    # b = (1 - y) p / u of the two terms: q' / q = -p and p' / p = q give
    # u' / u = b q - a p, in which nothing is divided by a u that underflows. With
    # respect to the label (and `other`, which follows it) u' = q - p; u^(γ-1) is
    # infinite only where the loss that it multiplies is 0, and faster.
    (x, label, other, gamma), (dx, dlabel, _, dgamma) = primals, tangents
    modulation = _mixture_modulation(x, label, other, gamma)
    dmodulation = jnp.zeros_like(modulation)
    p, q = sigmoid(x), sigmoid(-x)
    if not isinstance(dx, SymbolicZero):
        positive = _mixture_share(x, label, other)
        negative = _mixture_share(-x, other, label)
        slope = negative * q - positive * p
        dmodulation += gamma * modulation * slope * dx
    if not isinstance(dlabel, SymbolicZero):
        less = _mixture_modulation(x, label, other, gamma - 1)
        less = jnp.where(jnp.isinf(less), 0, less)
        dmodulation += gamma * less * -tanh(x / 2) * dlabel
    if not isinstance(dgamma, SymbolicZero):
        missed = label * q + other * p
        small = missed < 0.5
        log_missed = jnp.where(
            small,
            jnp.log(jnp.where(small & (missed > 0), missed, 1)),
            jnp.log1p(-jnp.where(small, 0, label * p + other * q)),
        )
        dmodulation += modulation * log_missed * dgamma
    return modulation, dmodulation


_mixture_modulation.defjvp(_mixture_modulation_jvp, symbolic_zeros=True)


@jax.custom_jvp
def _mixture_share(x: Array, label: Array, other: Array) -> Array:
    """label σ(-x) / (label σ(-x) + other σ(x)), also where both terms underflow."""
    own, both, _ = _mixture(x, label, other)
    return jnp.where(
        both == 0, (x > 0).astype(x.dtype), own / jnp.where(both == 0, 1, both)
    )


def _mixture(x: Array, label: Array, other: Array) -> tuple[Array, Array, Array]:
    """label σ(-x) and label σ(-x) + other σ(x), over σ(|x|); and e^-|x|."""
    tail = jnp.exp(-jnp.abs(x))
    own = jnp.where(x < 0, label, label * tail)
    return own, own + jnp.where(x < 0, other * tail, other), tail


def _mixture_share_jvp(primals, tangents):
    # a / (1 - a) = y / (1 - y) e^-x, so a is logistic in -x, and
    # da = -a (1 - a) dx + a (1 - a) / (y (1 - y)) dy, where the last is p q / u².
    (x, label, other), (dx, dlabel, _) = primals, tangents
    share = _mixture_share(x, label, other)
    dshare = jnp.zeros_like(share)
    if not isinstance(dx, SymbolicZero):
        dshare -= share * _mixture_share(-x, other, label) * dx
    if not isinstance(dlabel, SymbolicZero):
        _, both, tail = _mixture(x, label, other)
        both = jnp.where(both == 0, jnp.inf, both)
        dshare += tail / both / both * dlabel
    return share, dshare


_mixture_share.defjvp(_mixture_share_jvp, symbolic_zeros=True)
