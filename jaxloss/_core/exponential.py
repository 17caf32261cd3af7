"""Exponentials less the first terms of their series, to their own last places."""

import math

import jax
import jax.numpy as jnp

from jaxloss._core.relative_entropy import bregman
from jaxloss._core.types import Array

# Terms of a series on [-1, 1], as many as the last place of the type asks for.
_TERMS = {32: 13, 64: 20}


@jax.custom_jvp
def expm1(x: Array) -> Array:
    """e^x - 1 with the derivative e^x instead of (e^x - 1) + 1, which cancels."""
    return jnp.expm1(x)


@expm1.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return expm1(x), jnp.exp(x) * dx


@jax.custom_jvp
def exp_excess(x: Array) -> Array:
    """e^x - 1 - x, which is x²/2 near 0 and never negative."""
    return bregman(jnp.ones_like(x), x, jnp.exp(x))


@exp_excess.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return exp_excess(x), expm1(x) * dx


def exp_excess_over(q: Array, v: Array) -> Array:
    """(e^qv - 1 - qv) / q: also for q near 0, where it is q v² / 2."""
    # The series is a polynomial in q and in v, so autodiff holds for both at q = 0.
    z = q * v
    small = jnp.abs(z) < 1
    near = jnp.where(small, z, 0)
    last = _TERMS[jnp.finfo(z.dtype).bits]
    series = jnp.zeros_like(z)
    for n in range(last, 1, -1):
        series = 1 / math.factorial(n) + near * series
    divisor = jnp.where(small, 1, q)
    far = exp_excess(jnp.where(small, 0, q) * v) / divisor
    return jnp.where(small, v * near * series, far)


@jax.custom_jvp
def tsallis(nll: Array, q: Array) -> Array:
    """(1 - e^{-q ℓ}) / q, the Tsallis form of ℓ = -log p: ℓ itself at q = 0."""
    divisor = jnp.where(q == 0, 1, q)
    return jnp.where(q == 0, nll, -jnp.expm1(-divisor * nll) / divisor)


@tsallis.defjvp
def _(primals, tangents):
    #      = -ℓ² e^-a (e^a - 1 - a) / a², where e^a (1 + ...) needs no cancellation.
    (nll, q), (dnll, dq) = primals, tangents
    slope = jnp.exp(-q * nll)
    a = jnp.minimum(q * nll, jnp.finfo(nll.dtype).max)
    curve = -(nll**2) * residual_ratio(-a)
    # At an infinite ℓ the loss is 1 / q.
    curve = jnp.where(nll == jnp.inf, -1 / jnp.where(q == 0, 1, q) ** 2, curve)
    return tsallis(nll, q), slope * dnll + curve * dq


def residual_ratio(y: Array) -> Array:
    """(e^y (y - 1) + 1) / y², which is 1/2 at 0 and positive."""
    # Σ_{n≥2} (n - 1) y^{n-2} / n!.
    near = jnp.abs(y) < 1
    small = jnp.where(near, y, 0)
    last = _TERMS[jnp.finfo(y.dtype).bits]
    series = jnp.full_like(y, (last - 1) / math.factorial(last))
    for n in range(last - 1, 1, -1):
        series = (n - 1) / math.factorial(n) + small * series
    large = jnp.where(near, 1, y)
    return jnp.where(near, series, (jnp.exp(large) * (large - 1) + 1) / large / large)


def quotient(y: Array, g: Array) -> Array:
    """(e^{g y} - 1) / g: y at g = 0."""
    return jnp.where(g == 0, y, expm1(g * y) / jnp.where(g == 0, 1, g))


def lack(d: Array, g: Array) -> Array:
    """(e^d - 1) - (e^{g d} - 1) / g, which is (1 - g) d²/2 near 0.

    Primal only: what is differentiated is left to the caller's rule.
    """
    # Σ_{n≥2} (1 - g^{n-1}) d^n / n!, and 1 - g^{n-1} = (1 - g) (1 + g + ... + g^{n-2}).
    # The difference below still cancels three bits just beyond -1, two beyond -2.
    near = jnp.abs(d) * jnp.maximum(jnp.abs(g), 1) < 2
    small = jnp.where(near, d, 0)
    # Five more for twice the interval: 2^18 / 18! and 2^25 / 25! are nothing by 1/2.
    last = _TERMS[jnp.finfo(d.dtype).bits] + 5
    sums = [jnp.ones_like(g)]
    for _ in range(last - 2):
        sums.append(1 + g * sums[-1])
    series = jnp.zeros_like(small * g)
    for n in range(last, 1, -1):
        series = sums[n - 2] * (1 / math.factorial(n)) + small * series
    far = jnp.expm1(d) - quotient(d, g)
    return jnp.where(near, (1 - g) * (small * small * series), far)
