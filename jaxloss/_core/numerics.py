"""Scalar primitives with closed-form derivatives, shared by two losses or more.

Each is exact to a few roundings on its whole domain, and so are its derivatives of
every order, because the rules are written in these primitives again.
"""

import math

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core.types import Array


def unknown(x: Array) -> Array:
    """0, but NaN where x is no finite number.

    It stands in the derivative by x of what is linear in x, which is the same for all
    numbers, and must not be so for what is none.
    """
    return 0 * x


@jax.custom_jvp
def weighted(value: Array, weight: Array) -> Array:
    """`weight * value` with 0 * inf = 0: what weighs nothing contributes nothing.

    A NaN value stays NaN at every weight.
    """
    vanishes = (weight == 0) & jnp.isinf(value)
    return weight * jnp.where(vanishes, 0, value)


def _weighted_jvp(primals, tangents):
    # d(w v) = w dv + v dw: plain products, so that the derivative with respect to the
    # weight is the value even where the weight is 0; an infinite value meets no dw
    # that is not there.
    (value, weight), (dvalue, dweight) = primals, tangents
    result = weighted(value, weight)
    dresult = jnp.zeros_like(result)
    if not isinstance(dvalue, SymbolicZero):
        dresult += weight * dvalue
    if not isinstance(dweight, SymbolicZero):
        dresult += value * dweight
    return result, dresult


weighted.defjvp(_weighted_jvp, symbolic_zeros=True)


def in_base(loss: Array, base: float | None) -> Array:
    """Nats to the unit of a base: the loss divided by ln(base)."""
    return loss if base is None else loss / math.log(base)


# ------------------------------------------------------------------ piecewise linear


@jax.custom_jvp
def positive_part(x: Array) -> Array:
    """max(x, 0), NaN at NaN, with the derivative `step`."""
    # A maximum that is fused into a sum may drop a NaN; its sign keeps it.
    return jnp.maximum(x, 0) + 0 * jnp.sign(x)


@positive_part.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return positive_part(x), step(x) * dx


def step(x: Array) -> Array:
    """1 above 0, 0 below, the mean 1/2 at 0, NaN at NaN."""
    return jnp.where(x == 0, 0.5, jnp.where(jnp.isnan(x), x, (x > 0).astype(x.dtype)))


# ------------------------------------------------------------------ logistic


@jax.custom_jvp
def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), accurate in relative terms in both tails."""
    tail = jnp.exp(-jnp.abs(x))
    return jnp.where(x < 0, tail, 1) / (1 + tail)


@sigmoid.defjvp
def _(primals, tangents):
    # σ' = σ(x) σ(-x), where 1 - σ(x) would vanish in the upper tail.
    (x,), (dx,) = primals, tangents
    return sigmoid(x), sigmoid(x) * sigmoid(-x) * dx


@jax.custom_jvp
def sigmoid_difference(x: Array, y: Array) -> Array:
    """σ(x) - σ(y), also where the two nearly cancel."""
    # σ(x) - σ(y) = (1 - e^{y - x}) σ(x) σ(-y) for x >= y, and odd in the exchange.
    high, low = jnp.maximum(x, y), jnp.minimum(x, y)
    equal = high == low
    gap = jnp.where(equal, 0, low - jnp.where(equal, 0, high))
    size = -jnp.expm1(gap) * sigmoid(high) * sigmoid(-low)
    return jnp.where(x < y, -size, size)


@sigmoid_difference.defjvp
def _(primals, tangents):
    (x, y), (dx, dy) = primals, tangents
    slope = sigmoid(x) * sigmoid(-x) * dx - sigmoid(y) * sigmoid(-y) * dy
    return sigmoid_difference(x, y), slope


@jax.custom_jvp
def softplus(x: Array) -> Array:
    """log(1 + e^x) = -log σ(-x), accurate in relative terms in both tails."""
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@softplus.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return softplus(x), sigmoid(x) * dx


@jax.custom_jvp
def logistic_slope(x: Array, positive: Array, negative: Array) -> Array:
    """`negative` σ(x) - `positive` σ(-x), also where the two nearly cancel.

    NaN where one of the weights is negative.
    """
    tail = jnp.exp(-jnp.abs(x))
    far = jnp.where(x < 0, negative * tail - positive, negative - positive * tail)
    # Near 0 the sigmoids are 1/2 ± tanh(x/2) / 2, whose halves cancel exactly.
    near = (negative - positive) + (negative + positive) * jnp.tanh(x / 2)
    slope = jnp.where(jnp.abs(x) < 0.5, near / 2, far / (1 + tail))
    return jnp.where((positive >= 0) & (negative >= 0), slope, jnp.nan)


@logistic_slope.defjvp
def _(primals, tangents):
    # σ(x)' = σ(x) σ(-x) = -σ(-x)'.
    (x, positive, negative), (dx, dpositive, dnegative) = primals, tangents
    p, q = sigmoid(x), sigmoid(-x)
    dslope = (positive + negative) * p * q * dx + p * dnegative - q * dpositive
    return logistic_slope(x, positive, negative), dslope


@jax.custom_jvp
def logistic_loss(x: Array, label: Array, other: Array, weight: Array) -> Array:
    """-weight · label log σ(x) - other log σ(-x), with 0 · inf = 0.

    `other` is 1 - label, given beside it because a small share would be rounded away
    in the difference. NaN where either of them is negative: the label is not one.
    """
    # -log σ(±x) = max(∓x, 0) + log1p(e^-|x|).
    positive = weight * label
    wrong = jnp.where(x < 0, positive, other)
    distance = jnp.where(wrong == 0, 0, jnp.abs(x))
    loss = wrong * distance + (positive + other) * jnp.log1p(jnp.exp(-jnp.abs(x)))
    return jnp.where((positive >= 0) & (other >= 0), loss, jnp.nan)


def _logistic_loss_jvp(primals, tangents):
    # ∂/∂x = other σ(x) - weight label σ(-x). `other` follows the label, so that
    # ∂/∂label = -weight log σ(x) + log σ(-x) = -x + (weight - 1) softplus(-x), where
    # adding up the two logarithms would cancel; its own tangent is not counted again.
    (x, label, other, weight), (dx, dlabel, _, dweight) = primals, tangents
    dloss = jnp.zeros_like(x)
    if not isinstance(dx, SymbolicZero):
        dloss += logistic_slope(x, weight * label, other) * dx
    if not isinstance(dlabel, SymbolicZero):
        valid = (weight * label >= 0) & (other >= 0)
        slope = weighted(softplus(-x), weight - 1) - x
        dloss += jnp.where(valid, slope, jnp.nan) * dlabel
    if not isinstance(dweight, SymbolicZero):
        dloss += weighted(softplus(-x), label) * dweight
    return logistic_loss(x, label, other, weight), dloss


logistic_loss.defjvp(_logistic_loss_jvp, symbolic_zeros=True)


# ------------------------------------------------------------------ hyperbolic


@jax.custom_jvp
def tanh(x: Array) -> Array:
    """tanh with the derivative sech² instead of 1 - tanh², which cancels."""
    return jnp.tanh(x)


@tanh.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return tanh(x), sech_squared(x) * dx


@jax.custom_jvp
def sech_squared(x: Array) -> Array:
    """1 / cosh² = 4 e^-2|x| / (1 + e^-2|x|)²."""
    tail = jnp.exp(-2 * jnp.abs(x))
    return 4 * tail / (1 + tail) ** 2


@sech_squared.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return sech_squared(x), -2 * tanh(x) * sech_squared(x) * dx
