"""Fenchel-Young losses: sparsemax, and those of any max function."""

import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core import inputs, rows
from jaxloss._core.exact import add3, split
from jaxloss._core.explicit import automatic
from jaxloss._core.fusion import constants, sums
from jaxloss._core.labels import labelled_rows
from jaxloss._core.mesh import beside
from jaxloss._core.numerics import positive_part
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.settled import settled
from jaxloss._core.simplex import label_sparsemax
from jaxloss._core.types import Array, Axis, Input, Reduction
from jaxloss._core.validate import Check, computing


@public
def sparsemax_loss(
    logits: Input,
    labels: Input,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Sparsemax loss of a binary classifier with labels 0 and 1.

    .. math::
        \ell = y\, f(-x) + (1 - y)\, f(x), \qquad
        f(z) = \begin{cases}
            0 & z \le -1 \\
            (z + 1)^2 / 4 & -1 < z < 1 \\
            z & z \ge 1
        \end{cases}

    with :math:`x` the logit and :math:`y` the label. The loss of a hard label is 0 once
    the logit is right by 1; a label between 0 and 1 interpolates.

    Args:
      logits: scores for class 1, floating, any shape.
      labels: 0, 1 or between them, floating, integer or bool, the shape of `logits`.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the unit of the logits, float32 (float64 for float64 inputs): the
      shape of `logits`, or a scalar when reduced.

    Numerics:
      Relative accuracy everywhere. Infinite logits give the limits. A label outside
      [0, 1], such as -1 for a signed label, gives NaN in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial x = \operatorname{clip}((x + 1)/2, 0, 1) - y`,
      :math:`\partial \ell / \partial y = -x`.

    Raises:
      TypeError: `logits` not floating, or `labels` not real.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([2.0, 0.0, -2.0])
      >>> print(jaxloss.sparsemax_loss(logits, jnp.array([1, 1, 1])))
      [0.   0.25 2.  ]

    References:
      Blondel, Martins, Niculae, *Learning with Fenchel-Young losses*, 4.4,
      arXiv:1901.02324.

    Elsewhere: `optax.losses.sparsemax_loss` (every label but 0 is 1 there).
    """
    check = Check("sparsemax_loss")
    check.reduction(reduction)
    x, y, keep = inputs.elements(check, where, logits=logits, labels=labels)
    loss = _binary_sparsemax(x, y)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def multiclass_sparsemax_loss(
    scores: Input,
    labels: Input,
    *,
    ignore_index: int | None = None,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Sparsemax loss between scores and integer class labels.

    .. math::
        \ell = \max_{p \in \Delta}
                 \Bigl(\langle p, s \rangle - \tfrac12 \|p\|^2\Bigr)
               + \tfrac12 - s_y
             = \tfrac12 \|p - e_y\|^2 + \max(0, \theta - s_y)

    with :math:`s` the scores, :math:`y` the label, :math:`\Delta` the simplex,
    :math:`p = \operatorname{sparsemax}(s) = \max(0, s - \theta)` the projection of the
    scores onto it and :math:`\theta` its threshold. The loss is 0 once the label leads
    by 1.

    Args:
      scores: the model's scores, floating, shape `[..., classes]` (the classes along
        `axis`).
      labels: integer class indices from 0, the shape of `scores` without `axis`.
      ignore_index: examples with this label contribute nothing. Static.
      axis: the axis of the classes; with several, the label indexes them flattened in
        the order given. Static.
      where: mask of the shape of `labels` (examples kept) or of `scores` (classes kept;
        an example whose label is removed contributes nothing). Axes may be 1.
      weights: weight of each example, the shape of `labels`.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The losses, in the unit of the scores, float32 (float64 for float64 inputs): the
      shape of `labels`, or a scalar when reduced.

    Numerics:
      The threshold carries twice the precision, so offsets of the scores cancel exactly
      and small probabilities and losses keep their digits; never negative. -inf scores
      are absent classes; +inf gives the limit. A label outside [0, classes) gives NaN
      in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial s_j = p_j - [j = y]`.

    Raises:
      TypeError: `scores` not floating, `labels` not integer, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> scores = jnp.array([[2.0, 1.5, 0.0], [0.0, 2.0, 0.5]])
      >>> print(jaxloss.multiclass_sparsemax_loss(scores, jnp.array([0, 1])))
      [0.0625 0.    ]

    References:
      Martins, Astudillo, *From softmax to sparsemax*, arXiv:1602.02068.

    Elsewhere: `optax.losses.multiclass_sparsemax_loss`.
    """
    check = Check("multiclass_sparsemax_loss")
    check.reduction(reduction)
    x, label = labelled_rows(check, axis, where, ignore_index, labels, scores=scores)
    loss = label_sparsemax(x.predictions, label, x.axis).nll
    loss = jnp.squeeze(loss, x.axis)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


class MaxFunction(Protocol):
    """A max function of one row of scores: convex, with its maximiser as gradient."""

    def __call__(self, scores: Array, *args: Any, **kwargs: Any) -> Array: ...


class FenchelYoungLoss(Protocol):
    """What `make_fenchel_young_loss` returns."""

    def __call__(
        self, scores: Input, targets: Input, *args: Any, **kwargs: Any
    ) -> Array: ...


def make_fenchel_young_loss(
    max_fun: MaxFunction, *, translation_equivariant: bool = False
) -> FenchelYoungLoss:
    r"""Makes the Fenchel-Young loss of a max function.

    .. math::
        \ell(s, t) = f(s) - \langle t, s \rangle

    with :math:`f(s) = \max_{p \in \mathcal{C}} \langle p, s \rangle - \Omega(p)` the
    max function, :math:`s` the scores and :math:`t` the targets. (:math:`\Omega(t)`,
    which does not depend on the scores, is left out, as usual.)

    Args:
      max_fun: maps the scores of one example, shape `[classes]`, to a number; further
        arguments of the loss are passed on to it, the same for every example.
      translation_equivariant: promises that :math:`f(s + c) = f(s) + c` for every
        number c, which holds just if the entries of every p in :math:`\mathcal{C}` sum
        to 1. `max_fun` is then called on scores whose maximum is 0, and an offset of
        the scores cancels. It cannot be found out from the function, and a false
        promise gives wrong values. Static.

    Returns:
      A function `(scores, targets, *args, **kwargs) -> losses`, from scores and targets
      of the shape `[..., classes]` to losses of the shape `[...]` in the unit of the
      scores, float32 (float64 for float64 inputs).

    Numerics:
      `jax.nn.logsumexp` (with no further arguments) is known: its loss is as exact as
      `softmax_cross_entropy`, in value, gradient and curvature. Other functions are
      called as they are, in float32 at least. 0 times an infinite score is 0.

    Gradient:
      :math:`\partial \ell / \partial s = \nabla f(s) - t`,
      :math:`\partial \ell / \partial t = -s`.

    Raises:
      TypeError: `max_fun` not a function; `scores` not floating, `targets` not real.
      ValueError: shapes that differ, scores without an axis, a `max_fun` that does not
        return one number.

    Examples:
      >>> import jax, jax.numpy as jnp, jaxloss
      >>> loss = jaxloss.make_fenchel_young_loss(jax.nn.logsumexp)
      >>> scores = jnp.array([[2.0, 1.0, 0.1]])
      >>> print(loss(scores, jnp.array([[1.0, 0.0, 0.0]])))
      [0.41703]

    References:
      Blondel, Martins, Niculae, *Learning with Fenchel-Young losses*, arXiv:1901.02324.

    Elsewhere: `optax.losses.make_fenchel_young_loss`,
    `jaxopt.loss.make_fenchel_young_loss`.
    """
    check = Check("make_fenchel_young_loss")
    if not callable(max_fun):
        raise check.type_error(
            "max_fun",
            "a function of a row of scores",
            f"a Python {type(max_fun).__name__}",
            "Pass for instance jax.nn.logsumexp.",
        )
    check.choice("translation_equivariant", translation_equivariant, (False, True))

    @automatic
    def fenchel_young_loss(
        scores: Input, targets: Input, *args: Any, **kwargs: Any
    ) -> Array:
        s = check.floating("scores", scores)
        t = check.real("targets", targets)
        check.same_shape(scores=s, targets=t)
        check.axes(-1, s.ndim, of="scores")
        s, t = settled(computing(s, t))
        if max_fun is jax.nn.logsumexp and not args and not kwargs:
            return _log_sum_exp(s, t)

        def row(scores: Array) -> Array:
            value = jnp.asarray(max_fun(scores, *args, **kwargs))
            if value.shape != ():
                raise check.value_error(
                    "max_fun",
                    "a function that returns one number for a row of scores",
                    f"one that returns an array of shape {value.shape}",
                    "Reduce over all of its entries.",
                )
            return value.astype(scores.dtype)

        function = _over_rows(row, s.ndim - 1)
        loss = _centred if translation_equivariant else _plain
        return loss(function, s, t)

    return fenchel_young_loss


# ------------------------------------------------------------------ what they share


@jax.custom_jvp
def _binary_sparsemax(x: Array, y: Array) -> Array:
    """y f(-x) + (1 - y) f(x), NaN unless y is in [0, 1]."""
    # f(x) = max(x, 0) + max(1 - |x|, 0)² / 4, terms that are not negative, of which one
    # label or the other takes the straight one. With 0 · inf = 0.
    size = jnp.abs(x)
    curved = jnp.square(positive_part(1 - size) / 2)
    against = jnp.where(x > 0, 1 - y, y)
    straight = jnp.where(against == 0, 0, against * size)
    valid = (y >= 0) & (y <= 1)
    return jnp.where(valid & ~jnp.isnan(x), curved + straight, jnp.nan)


def _binary_sparsemax_jvp(primals, tangents):
    # d/dx = clip((x + 1)/2, 0, 1) - y. As f(x) - f(-x) = x, d/dy = -x.
    (x, y), (dx, dy) = primals, tangents
    loss = _binary_sparsemax(x, y)
    dloss = jnp.zeros_like(loss)
    valid = (y >= 0) & (y <= 1)
    if not isinstance(dx, SymbolicZero):
        slope = add3(jnp.clip(x, -1, 1), -2 * y, jnp.ones_like(x)) / 2
        dloss += jnp.where(valid, slope, jnp.nan) * dx
    if not isinstance(dy, SymbolicZero):
        dloss -= jnp.where(valid, x, jnp.nan) * dy
    return loss, dloss


_binary_sparsemax.defjvp(_binary_sparsemax_jvp, symbolic_zeros=True)


def _over_rows(function: Callable[[Array], Array], dimensions: int):
    """A function of a row, over all leading dimensions."""
    for _ in range(dimensions):
        function = jax.vmap(function)
    return function


def _share(value: Array, share: Array, one: Array) -> Array:
    """share · value with 0 · inf = 0, for a value that is not negative."""
    # The limit is finite for a share of 0, and infinite for every other.
    largest = jnp.finfo(value.dtype).max
    return share * jnp.minimum(value, largest * (one + jnp.abs(share) * largest))


@jax.custom_jvp
def _inner(s: Array, t: Array) -> Array:
    """<t, s> with 0 * inf = 0, entry by entry: no product of matrices rounds it."""
    (one,) = constants(s.dtype, 1)
    return jnp.sum(jnp.sign(s) * _share(jnp.abs(s), t, one), axis=-1)


def _inner_jvp(primals, tangents):
    (s, t), (ds, dt) = primals, tangents
    inner = _inner(s, t)
    dinner = jnp.zeros_like(inner)
    if not isinstance(ds, SymbolicZero):
        dinner += jnp.sum(t * ds, axis=-1)
    if not isinstance(dt, SymbolicZero):
        slope = jnp.where((t == 0) & jnp.isinf(s), 0, s)
        dinner += jnp.sum(jnp.where(jnp.isnan(t), t, slope) * dt, axis=-1)
    return inner, dinner


_inner.defjvp(_inner_jvp, symbolic_zeros=True)


def _plain(function: Callable[[Array], Array], s: Array, t: Array) -> Array:
    """f(s) - <t, s>."""
    return function(s) - _inner(s, t)


def _centred(function: Callable[[Array], Array], s: Array, t: Array) -> Array:
    """f(s - c) - <t, s - c> + c (1 - Σt), for a function with f(s + c) = f(s) + c."""
    fixed = jax.lax.stop_gradient(t)
    peak = jnp.max(s, axis=-1, keepdims=True, initial=-jnp.inf)
    peak = jax.lax.stop_gradient(jnp.where(jnp.isfinite(peak), peak, 0))
    offset = jnp.squeeze(_missing_mass(fixed) * peak, -1)
    return _plain(function, s - peak, fixed) + offset + _nothing(s, t)


def _log_sum_exp(s: Array, t: Array) -> Array:
    """log Σ e^s - <t, s>, the cross entropy and (1 - Σt) log Σ e^s."""
    fixed = jax.lax.stop_gradient(t)
    loss = _log_sum_exp_gap(s, fixed, _missing_mass(fixed))
    return jnp.squeeze(loss, -1) + _nothing(s, t)


@jax.custom_jvp
def _log_sum_exp_gap(s: Array, t: Array, missing: Array) -> Array:
    """Of s alone, where t is held fixed and `missing` is 1 - Σt."""
    return rows.soft_sum(s, t, -1, missing=missing)


@_log_sum_exp_gap.defjvp
def _(primals, tangents):
    (s, t, missing), (ds, *_) = primals, tangents
    slope = rows.soft_slope(s, t, -1, missing)
    return _log_sum_exp_gap(s, t, missing), jnp.sum(slope * ds, -1, keepdims=True)


def _missing_mass(t: Array) -> Array:
    """1 - Σt."""
    high, low = sums(-1, *split(t))
    return (1 - high) - low


@jax.custom_jvp
def _nothing(s: Array, t: Array) -> Array:
    """-<t - t0, s> where t0 is t, held fixed: 0, with the derivative -s by t.

    Every Fenchel-Young loss has this derivative. Left to autodiff of a formula in which
    offsets cancel, it would be a difference of large numbers.
    """
    return beside(jnp.zeros(s.shape[:-1], s.dtype), s, t)


def _nothing_jvp(primals, tangents):
    (s, t), (ds, dt) = primals, tangents
    nothing = dnothing = _nothing(s, t)
    if not isinstance(ds, SymbolicZero):
        dnothing -= jnp.sum((t - jax.lax.stop_gradient(t)) * ds, axis=-1)
    if not isinstance(dt, SymbolicZero):
        dnothing -= jax.jvp(functools.partial(_inner, s), (t,), (dt,))[1]
    return nothing, dnothing


_nothing.defjvp(_nothing_jvp, symbolic_zeros=True)
