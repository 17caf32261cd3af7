"""Barron's robust loss, one curve for every shape alpha from -inf to inf.

With b = |α - 2| and w = r² / b,

  ρ(r, α) = (b / α) ((1 + w)^{α/2} - 1),    ∂ρ/∂r = ψ = r (1 + w)^{(α-2)/2}.

Its formula is 0/0 at α = 0 and at α = 2 and ∞/∞ at α = ±∞, and cancels beside them.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from jaxloss._core.logarithm import log1p_surplus
from jaxloss._core.robust import cosine, hypotenuse
from jaxloss._core.types import Array


def _growth(r: Array, alpha: Array, power: Array) -> tuple[Array, Array]:
    """(1 + w)^power and its logarithm, which is ± r²/2 at an infinite b.

    By the power itself where 1 + w is rounded harmlessly, else by the logarithm.
    """
    b = jnp.abs(alpha - 2)
    finite = jnp.where(jnp.isinf(b) | (b == 0), 1, b)
    ratio = jnp.where(jnp.isinf(b), jnp.sign(power) / 2, power / finite)
    far = jnp.abs(r) > jnp.sqrt(finite)
    near = jnp.where(far, 0, r)
    log = ratio * (finite * jnp.log1p(near * near / finite))
    root = hypotenuse(jnp.where(far, r, 0) / jnp.sqrt(finite), jnp.ones_like(r))
    limit = ratio * (r * r)
    log = jnp.where(far & (power != 0), 2 * power * jnp.log(root), log)
    log = jnp.where(jnp.isinf(b), limit, log)
    grown = jnp.where(far & ~jnp.isinf(b), root ** (2 * power), jnp.exp(log))
    # At α = 2 the power is 0 where it is used, and 1 + w infinite.
    return jnp.where(b == 0, 1, grown), jnp.where(b == 0, 0, log)


@jax.custom_jvp
def expm1_ratio(y: Array) -> Array:
    """(e^y - 1) / y, 1 at 0."""
    return jnp.where(y == 0, 1, jnp.expm1(y) / jnp.where(y == 0, 1, y))


@expm1_ratio.defjvp
def _(primals, tangents):
    # A quotient rule would cancel near 0, and a constant at 0 has no slope.
    (y,), (dy,) = primals, tangents
    return expm1_ratio(y), _expm1_ratio_slope(y) * dy


@jax.custom_jvp
def barron(r: Array, alpha: Array) -> Array:
    """ρ(r, α)."""
    r, alpha = jnp.broadcast_arrays(r, alpha)
    b = jnp.abs(alpha - 2)
    # Beside α = 2: α ρ = r² (1 + w)^{(α-2)/2} + b ((1 + w)^{(α-2)/2} - 1), where the
    # second term is at most half of the first.
    near = b <= 1
    log = _growth(r, alpha, (alpha - 2) / 2)[1]
    shift = jnp.where(near, b, 0) * jnp.expm1(log)
    beside_two = (r * _slope(r, alpha) + shift) / jnp.where(near, alpha, 1)
    # Elsewhere, with y = (α/2) log(1 + w):  ρ = (b/2) log(1 + w) (e^y - 1) / y, which
    # is (b/α) (e^y - 1) where y is not small.
    flat = jnp.where(jnp.isinf(alpha), jnp.sign(alpha), alpha / jnp.where(near, 1, b))
    power, y = _growth(r, alpha, alpha / 2)
    half_log = jnp.where(flat == 0, _growth(r, alpha, b / 2)[1], y / _nonzero(flat))
    elsewhere = half_log * expm1_ratio(y)
    elsewhere = jnp.where(jnp.abs(y) > 0.7, (power - 1) / _nonzero(flat), elsewhere)
    return jnp.where(near, beside_two, elsewhere)


def _nonzero(x: Array) -> Array:
    return jnp.where(x == 0, 1, x)


def _barron_jvp(primals, tangents):
    (r, alpha), (dr, dalpha) = primals, tangents
    loss = barron(r, alpha)
    dloss = jnp.zeros_like(loss)
    if not isinstance(dr, SymbolicZero):
        dloss += slope(r, alpha) * dr
    if not isinstance(dalpha, SymbolicZero):
        dloss += _by_alpha(r, alpha) * dalpha
    return loss, dloss


barron.defjvp(_barron_jvp, symbolic_zeros=True)


@jax.custom_jvp
def slope(r: Array, alpha: Array) -> Array:
    """ψ(r, α) = r (1 + w)^{(α-2)/2}."""
    return _slope(*jnp.broadcast_arrays(r, alpha))


def _slope(r: Array, alpha: Array) -> Array:
    b = jnp.abs(alpha - 2)
    finite = jnp.where(jnp.isinf(b) | (b == 0), 1, b)
    far = (jnp.abs(r) > jnp.sqrt(finite)) & ~jnp.isinf(b) & (b != 0)
    power = _growth(r, alpha, (alpha - 2) / 2)[0]
    near = jnp.where(far | (power == 0), 0, r) * power
    # r (1 + w)^-1/2 is finite, and what is left of the power may be.
    ratio = jnp.where(far, r, 1) / jnp.sqrt(finite)
    one = jnp.ones_like(r)
    grown = hypotenuse(ratio, one) ** jnp.where(far, alpha - 1, 0)
    return jnp.where(far, jnp.sqrt(finite) * cosine(ratio, one) * grown, near)


def _slope_jvp(primals, tangents):
    # ∂ψ/∂r = (1 + w)^{(α-2)/2} (1 + (α - 1) w) / (1 + w), where the two terms of a
    # product rule would cancel for α near 1.
    # ∂ψ/∂α = ψ (log(1 + w) - w / (1 + w)) / 2.
    (r, alpha), (dr, dalpha) = primals, tangents
    value = slope(r, alpha)
    dvalue = jnp.zeros_like(value)
    if not isinstance(dr, SymbolicZero):
        dvalue += _curvature(*jnp.broadcast_arrays(r, alpha)) * dr
    if not isinstance(dalpha, SymbolicZero):
        w = r * r / jnp.abs(alpha - 2)
        by_alpha = value * log1p_surplus(jnp.where(r == 0, 0, w)) / 2
        dvalue += jnp.where(r == 0, 0, by_alpha) * dalpha
    return value, dvalue


slope.defjvp(_slope_jvp, symbolic_zeros=True)


def _curvature(r: Array, alpha: Array) -> Array:
    b = jnp.abs(alpha - 2)
    grown = _growth(r, alpha, (alpha - 2) / 2)[0]
    far = jnp.abs(r) > 1
    # (b + (α - 1) r²) / (b + r²), by the smaller of r² and 1 / r².
    near = jnp.where(far, 0, r) ** 2
    inverse = (1 / jnp.where(far, r, 1)) ** 2
    finite = jnp.where(jnp.isinf(b), 1, b)
    alpha_ = jnp.where(jnp.isinf(b), 1, alpha)
    low = (finite + (alpha_ - 1) * near) / _nonzero(finite + near)
    high = (finite * inverse + (alpha_ - 1)) / (finite * inverse + 1)
    bracket = jnp.where(far, high, jnp.where(finite + near == 0, 1, low))
    limit = 1 + jnp.sign(alpha) * (r * r)
    return grown * jnp.where(jnp.isinf(b), limit, bracket)


# ------------------------------------------------------------------ by the shape

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)


def _expm1_ratio_slope(y: Array) -> Array:
    """The derivative of (e^y - 1) / y: (y e^y - e^y + 1) / y²."""
    near = jnp.where(jnp.abs(y) < 1, y, 0)
    series = jnp.zeros_like(y)
    for n in range(20, 0, -1):
        series = n / float(np.prod(np.arange(1.0, n + 2))) + near * series
    far = jnp.where(jnp.abs(y) < 1, 1, y)
    plain = (far - 1 + jnp.exp(-far)) / far * (jnp.exp(far) / far)
    negative = (1 - (1 - far) * jnp.exp(far)) / far / far
    return jnp.where(jnp.abs(y) < 1, series, jnp.where(y > 0, plain, negative))


def _by_alpha(r: Array, alpha: Array) -> Array:
    """∂ρ/∂α = ∫_0^r ∂ψ/∂α dr, inf at α = 2, where it grows as -log |α - 2|."""
    # With l = log(1 + w) and x = log(1 + v) as the variable,
    #   ∂ρ/∂α = (b/4) ∫_0^l (x - 1 + e^-x) e^{αx/2} dx,
    # whose three terms have closed forms. They cancel for a small l, where a Gauss rule
    # has the integral of what is positive.
    r, alpha = jnp.broadcast_arrays(r, alpha)
    b = jnp.abs(alpha - 2)
    finite = jnp.where(jnp.isinf(b) | (b == 0), 1, b)
    log = 2 * jnp.log(hypotenuse(r / jnp.sqrt(finite), jnp.ones_like(r)))
    small = jnp.abs(r) < jnp.sqrt(finite)
    near = jnp.where(small, r, 0)
    log = jnp.where(small, jnp.log1p(near * near / finite), log)
    y = jnp.where(jnp.isinf(alpha), 0, alpha) * log / 2
    closed = log * (log * _expm1_ratio_slope(y) - expm1_ratio(y) + expm1_ratio(y - log))
    gauss = jnp.zeros_like(log)
    rule = (log < 1) & (jnp.abs(y) < 4)
    span, rate = jnp.where(rule, log, 0), jnp.where(rule, y, 0)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        share = float(node + 1) / 2
        gauss += float(weight) / 2 * _kernel(span * share) * jnp.exp(rate * share)
    integral = jnp.where(rule, span * gauss, closed)
    limit = jnp.where(b == 0, jnp.inf, 0)
    by_alpha = jnp.where(jnp.isinf(b) | (b == 0), limit, finite / 4 * integral)
    return jnp.where((r == 0) & ~jnp.isnan(alpha), 0, by_alpha)


def _kernel(x: Array) -> Array:
    """x - 1 + e^-x on [0, 1]: x²/2 - x³/6 + ..."""
    series = jnp.zeros_like(x)
    for n in range(18, 1, -1):
        series = (-1) ** n / float(np.prod(np.arange(1.0, n + 1))) + x * series
    return x * x * series
