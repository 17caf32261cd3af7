"""Scalar primitives with closed-form derivatives, shared by two losses or more.

Each is exact to a few roundings on its whole domain, and so are its derivatives of
every order, because the rules are written in these primitives again.
"""

import math

import jax
import jax.numpy as jnp

from jaxloss._core.types import Array


@jax.custom_jvp
def weighted(value: Array, weight: Array) -> Array:
    """`weight * value` with 0 * inf = 0: what weighs nothing contributes nothing.

    A NaN value stays NaN at every weight.
    """
    vanishes = (weight == 0) & jnp.isinf(value)
    return weight * jnp.where(vanishes, 0, value)


@weighted.defjvp
def _(primals, tangents):
    # d(w v) = w dv + v dw: plain products, so that the derivative with respect to the
    # weight is the value even where the weight is 0.
    (value, weight), (dvalue, dweight) = primals, tangents
    return weighted(value, weight), weight * dvalue + value * dweight


def in_base(loss: Array, base: float | None) -> Array:
    """Nats to the unit of a base: the loss divided by ln(base)."""
    return loss if base is None else loss / math.log(base)


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
def softplus(x: Array) -> Array:
    """log(1 + e^x) = -log σ(-x), accurate in relative terms in both tails."""
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@softplus.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return softplus(x), sigmoid(x) * dx


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
