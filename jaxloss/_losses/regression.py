"""Regression losses of the residual, entry by entry."""

import math

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core import inputs
from jaxloss._core.numerics import tanh
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check, is_off


def squared_error(
    predictions: Input,
    targets: Input | None = None,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Squared error.

    .. math::
        \ell = e^2, \qquad e = \hat{y} - y

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`; zeros if left out.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the squared unit of the predictions, float32 (float64 for float64
      inputs): the shape of `predictions`, or a scalar when reduced.

    Numerics:
      The residual is rounded once, however large the values that it is the difference
      of; half precision is widened before the subtraction.

    Gradient:
      :math:`\partial \ell / \partial \hat{y} = 2 e`.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.squared_error(predictions, targets))
      [0.25 2.25]

    References:
      Gauss, *Theoria combinationis observationum*, 1823.

    Elsewhere: `optax.squared_error`, `torch.nn.functional.mse_loss`,
    `keras.losses.MeanSquaredError`.
    """
    check = Check("squared_error")
    check.reduction(reduction)
    error, keep = _residual(check, predictions, targets, where)
    loss = jnp.square(error)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


def l2_loss(
    predictions: Input,
    targets: Input | None = None,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Half the squared error, whose gradient is the residual.

    .. math::
        \ell = \tfrac12 e^2, \qquad e = \hat{y} - y

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`; zeros if left out.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the squared unit of the predictions, float32 (float64 for float64
      inputs): the shape of `predictions`, or a scalar when reduced.

    Numerics:
      As for `squared_error`; finite wherever half the square is representable.

    Gradient:
      :math:`\partial \ell / \partial \hat{y} = e`, exactly.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.l2_loss(predictions, targets))
      [0.125 1.125]

    References:
      Bishop, *Pattern Recognition and Machine Learning*, 1.1.

    Elsewhere: `optax.l2_loss`; `torch.nn.functional.mse_loss` and
    `keras.losses.MeanSquaredError` are twice its mean.
    """
    check = Check("l2_loss")
    check.reduction(reduction)
    x, y, keep = _elements(check, predictions, targets, where)
    if x.dtype != predictions.dtype:
        # Of what is widened XLA on CPU stores each array: better their difference.
        x, y = x - y, jnp.zeros_like(x)
    loss = _half_square(x, y)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


def huber_loss(
    predictions: Input,
    targets: Input | None = None,
    *,
    delta: Number = 1.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Huber loss: half the squared error near zero, linear beyond `delta`.

    .. math::
        \ell = \begin{cases}
            \tfrac12 e^2 & |e| < \delta \\
            \delta\,(|e| - \tfrac12 \delta) & |e| \ge \delta
        \end{cases}
        \qquad e = \hat{y} - y

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`; zeros if left out.
      delta: residual at which the loss becomes linear, at least 0: a number, or an
        array that fits the losses. Infinity gives `l2_loss`.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the squared unit of the predictions, float32 (float64 for float64
      inputs): the shape of `predictions`, or a scalar when reduced.

    Numerics:
      The gradient is the clipped residual itself, down to the smallest float, whatever
      `delta` is.

    Gradient:
      :math:`\partial \ell / \partial \hat{y} = \operatorname{clip}(e, -\delta, \delta)`
      and :math:`\partial \ell / \partial \delta = \max(|e| - \delta, 0)`. The second
      derivative is 1 where :math:`|e| < \delta`, else 0.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, a negative `delta` (NaN, if it is an array), an
        unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.huber_loss(predictions, targets))
      [0.125 1.   ]

    References:
      Huber, *Robust estimation of a location parameter*, Ann. Math. Statist. 35, 1964.

    Elsewhere: `optax.huber_loss`, `torch.nn.functional.huber_loss`,
    `keras.losses.Huber`; `torch.nn.functional.smooth_l1_loss` is it divided by `beta`.
    """
    check = Check("huber_loss")
    check.reduction(reduction)
    error, keep = _residual(check, predictions, targets, where)
    delta_ = check.parameter("delta", delta, error, low=0)
    if keep is not None and delta_.ndim:
        delta_ = jnp.where(keep, delta_, 1)
    if is_off(delta, math.inf):
        loss = _half_square(error, jnp.zeros_like(error))
    else:
        loss = _huber(error, delta_)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


def log_cosh(
    predictions: Input,
    targets: Input | None = None,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Logarithm of the hyperbolic cosine of the residual: a smooth Huber loss.

    .. math::
        \ell = \log \cosh e, \qquad e = \hat{y} - y

    It is :math:`\tfrac12 e^2` near zero and :math:`|e| - \log 2` far from it.

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`; zeros if left out.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, float32 (float64 for float64 inputs): the shape of `predictions`, or a
      scalar when reduced.

    Numerics:
      Accurate in relative terms for residuals of every size, and so are the gradient
      and the curvature.

    Gradient:
      :math:`\partial \ell / \partial \hat{y} = \tanh e`; the second derivative is
      :math:`1 / \cosh^2 e`.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.log_cosh(predictions, targets).round(4))
      [0.1201 0.8554]

    References:
      Chen et al., *Log Hyperbolic Cosine Loss Improves Variational Auto-Encoder*, 2019,
      https://openreview.net/pdf?id=rkglvsC9Ym.

    Elsewhere: `optax.log_cosh`, `keras.losses.LogCosh`.
    """
    check = Check("log_cosh")
    check.reduction(reduction)
    error, keep = _residual(check, predictions, targets, where)
    loss = _log_cosh(error)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


# ------------------------------------------------------------------ functions of e


def _elements(
    check: Check, predictions: Input, targets: Input | None, where: Input | None
) -> inputs.Elements:
    if targets is None:
        targets = jnp.zeros_like(check.floating("predictions", predictions))
    return inputs.elements(check, where, predictions=predictions, targets=targets)


def _residual(
    check: Check, predictions: Input, targets: Input | None, where: Input | None
) -> tuple[Array, Array | None]:
    """Predictions minus targets, 0 where not kept; and the entries kept."""
    x = _elements(check, predictions, targets, where)
    return x.predictions - x.targets, x.keep


@jax.custom_jvp
def _half_square(a: Array, b: Array) -> Array:
    """(a - b)² / 2."""
    e = a - b
    return 0.5 * e * e


@_half_square.defjvp
def _(primals, tangents):
    # As autodiff has it, but not through e / 2, which is 0 for the smallest e. The
    # barrier keeps XLA on CPU from storing the difference for the value's sake.
    (a, b), (da, db) = primals, tangents
    again = jax.lax.optimization_barrier((a, b))
    return _half_square(a, b), (again[0] - again[1]) * (da - db)


@jax.custom_jvp
def _huber(e: Array, delta: Array) -> Array:
    """q (|e| - q/2), where q = min(|e|, delta)."""
    size = jnp.abs(e)
    # Finite, so that an infinite delta is no limit to finite residuals nor inf - inf.
    inner = jnp.minimum(size, jnp.minimum(delta, jnp.finfo(e.dtype).max))
    return jnp.where(delta == 0, 0, inner * (size - 0.5 * inner))


def _huber_jvp(primals, tangents):
    # dℓ/de = clip(e, -δ, δ) and dℓ/dδ = max(|e| - δ, 0), both of which autodiff would
    # take from the difference of two numbers of the size of δ.
    (e, delta), (de, ddelta) = primals, tangents
    dloss = jnp.zeros_like(e)
    if not isinstance(de, SymbolicZero):
        dloss += _clipped(e, delta) * de
    if not isinstance(ddelta, SymbolicZero):
        beyond = jnp.where(jnp.abs(e) <= delta, 0, jnp.abs(e) - delta)
        dloss += beyond * ddelta
    return _huber(e, delta), dloss


_huber.defjvp(_huber_jvp, symbolic_zeros=True)


@jax.custom_jvp
def _clipped(e: Array, delta: Array) -> Array:
    """e, at most delta in magnitude."""
    return jnp.clip(e, -delta, delta)


def _clipped_jvp(primals, tangents):
    # de inside and ± dδ outside, where autodiff would split the kink between them.
    (e, delta), (de, ddelta) = primals, tangents
    inside = jnp.abs(e) < delta
    dclipped = jnp.zeros_like(e)
    if not isinstance(de, SymbolicZero):
        dclipped += jnp.where(inside, de, 0)
    if not isinstance(ddelta, SymbolicZero):
        dclipped += jnp.where(inside, 0, jnp.sign(e) * ddelta)
    return _clipped(e, delta), dclipped


_clipped.defjvp(_clipped_jvp, symbolic_zeros=True)


# Euler's product, cosh e = Π (1 + (2e / (2k - 1)π)²), has its nearest zero in its first
# factor. The logarithm of the others is Σ c_n e^2n, whose terms fall by more than 20
# for each n where |e| is below 1; c_n is the coefficient of log cosh, from the tangent
# numbers, less that of the first factor.
_FIRST = 4 / math.pi**2
_TANGENT = (1, 2, 16, 272, 7936, 353792, 22368256, 1903757312, 209865342976)
_OTHERS = tuple(
    (-1) ** (n - 1) * (number / math.factorial(2 * n) - _FIRST**n / n)
    for n, number in enumerate(_TANGENT, start=1)
)
_KNEE = 0.7
_BELOW = 1 / (1 + math.exp(2 * _KNEE))


@jax.custom_jvp
def _log_cosh(e: Array) -> Array:
    # |e| = a + b with a at most the knee: log cosh a by the product, and
    #   cosh(knee + b) / cosh(knee) = e^b (1 + κ (e^-2b - 1)), κ = 1 / (1 + e^(2 knee)),
    # which is just 1 where b = 0. So one expression serves all e, with one exponential
    # and one logarithm of the product of both brackets. (A selection between two
    # expressions would make XLA's CPU backend store it before a sum.)
    size = jnp.abs(e)
    a, b = jnp.minimum(size, _KNEE), jnp.maximum(size - _KNEE, 0)
    square = a * a
    first, below = _FIRST * square, _BELOW * (jnp.exp(-2 * b) - 1)
    others = jnp.zeros_like(e)
    for coefficient in reversed(_OTHERS if e.dtype == jnp.float64 else _OTHERS[:4]):
        others = (others + coefficient) * square
    # The product is within 1/5 of 1, where log1p(z) = 2 artanh(z / (2 + z)) is cheap.
    z = first + below + first * below
    y = z / (2 + z)
    series = jnp.zeros_like(e)
    for k in reversed(range(9 if e.dtype == jnp.float64 else 4)):
        series = series * (y * y) + 2 / (2 * k + 1)
    return (b + others) + y * series


@_log_cosh.defjvp
def _(primals, tangents):
    (e,), (de,) = primals, tangents
    return _log_cosh(e), tanh(e) * de
