"""Non-negative numbers beyond the range of floats: a mantissa times a power of two.

Sums of products of many probabilities leave the range of floats at once. Their
logarithms stay in it, but then every addition costs an exponential and a logarithm, and
rounds as coarsely as large numbers do. Here an addition is an addition: the smaller
term is shifted by an exact power of two, so that a recursion rounds as little as plain
arithmetic does, and 0 is 0.

Derivatives are plain autodiff. The exponents are constants to it, which is exact,
because the number is linear in its mantissa; and as the mantissa stays near 1, its
cotangent is nearly the derivative with respect to the logarithm, and stays in range.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core.types import Array


class Scaled(NamedTuple):
    """mantissa * 2^exponent."""

    mantissa: Array
    """0, or a number near 1: in [1, 2) once multiplied."""
    exponent: Array
    """An integer, in floating point so that it cannot overflow; far down for 0."""


FAR_DOWN = -1e38
"""An exponent of 0, below all others."""


def of(x: Array) -> Scaled:
    """A float as it is."""
    return _normalised(x, jnp.zeros_like(x))


def exp(x: Array) -> Scaled:
    """e^x, for any x but +inf."""
    return Scaled(_exp_mantissa(x), _exp_exponent(jax.lax.stop_gradient(x)))


def add(a: Scaled, b: Scaled) -> Scaled:
    """The sum. Its mantissa grows by a bit at most."""
    exponent = jnp.maximum(a.exponent, b.exponent)
    return Scaled(
        a.mantissa * _power_of_two(a.exponent - exponent)
        + b.mantissa * _power_of_two(b.exponent - exponent),
        exponent,
    )


def multiply(a: Scaled, b: Scaled) -> Scaled:
    """The product, its mantissa brought back to [1, 2)."""
    return _normalised(a.mantissa * b.mantissa, a.exponent + b.exponent)


def ratio(a: Scaled, b: Scaled) -> Array:
    """a / b as a float; 0 if b is 0."""
    nothing = b.mantissa == 0
    quotient = a.mantissa / jnp.where(nothing, 1, b.mantissa)
    return jnp.where(nothing, 0, quotient * _power_of_two(a.exponent - b.exponent))


def plain(a: Scaled) -> Array:
    """The number as a float; 0 below its range."""
    return a.mantissa * _power_of_two(a.exponent)


def log(a: Scaled) -> Array:
    """The logarithm: -inf at 0, and constant there."""
    nothing = a.mantissa == 0
    logarithm = jnp.log(jnp.where(nothing, 1, a.mantissa)) + a.exponent * math.log(2)
    return jnp.where(nothing, -jnp.inf, logarithm)


def division(a: Scaled, b: Scaled) -> Array:
    """How a + b divides, in one number: the smaller part, negative if it is b's.

    So neither part is known only as the difference of the other from 1.
    """
    whole = add(a, b)
    of_a, of_b = ratio(a, whole), ratio(b, whole)
    return jnp.where(of_a < of_b, of_a, -of_b)


def parts(division: Array) -> tuple[Array, Array]:
    """The parts of a and b."""
    smaller = jnp.abs(division)
    of_b = jnp.signbit(division)
    return jnp.where(of_b, 1 - smaller, smaller), jnp.where(of_b, smaller, 1 - smaller)


# ------------------------------------------------------------------ bits


def _layout(dtype: jnp.dtype) -> tuple[jnp.dtype, int, int]:
    """The integer of a float's size, the bits of its mantissa, its exponent's bias."""
    info = jnp.finfo(dtype)
    integer = jnp.int64 if info.bits == 64 else jnp.int32
    return jnp.dtype(integer), info.nmant, 1 - int(info.minexp)


def _power_of_two(exponent: Array) -> Array:
    """2^k, exactly, for the normal numbers; 0 below them."""
    integer, nmant, bias = _layout(exponent.dtype)
    biased = jnp.clip(exponent, -bias, bias).astype(integer) + bias
    bits = jax.lax.shift_left(biased, jnp.full_like(biased, nmant))
    return jax.lax.bitcast_convert_type(bits, exponent.dtype)


def _normalised(mantissa: Array, exponent: Array) -> Scaled:
    integer, nmant, bias = _layout(mantissa.dtype)
    size = jax.lax.stop_gradient(mantissa)
    bits = jax.lax.bitcast_convert_type(size, integer)
    biased = jax.lax.shift_right_logical(bits, jnp.full_like(bits, nmant))
    shift = biased.astype(mantissa.dtype) - bias
    return Scaled(
        mantissa * _power_of_two(-shift),
        jnp.where(size == 0, FAR_DOWN, jnp.maximum(exponent + shift, FAR_DOWN)),
    )


# ln 2 in two parts: the first has so few bits that its multiples are exact.
_LN2 = 0.693359375, math.log(2) - 0.693359375


def _exp_exponent(x: Array) -> Array:
    return jnp.round(jnp.maximum(x, FAR_DOWN / 2) / math.log(2))


@jax.custom_jvp
def _exp_mantissa(x: Array) -> Array:
    exponent = _exp_exponent(x)
    rest = (x - exponent * _LN2[0]) - exponent * _LN2[1]
    # Where x is so large that its neighbours are factors apart, `rest` is rounding.
    return jnp.where(x == -jnp.inf, 0, jnp.exp(jnp.clip(rest, -1, 1)))


@_exp_mantissa.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return _exp_mantissa(x), _exp_mantissa(x) * dx
