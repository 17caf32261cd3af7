"""What is left of log-gamma once its large parts are taken out.

A likelihood of counts holds several log-gammas of the size of y log y, which nearly
cancel against each other and against y log of the rate. Taken apart by Stirling,

    log Γ(x) = (x - 1/2) log x - x + log(2π) / 2 + μ(x),     μ(x) > 0,

the large parts combine, by hand, to divergences that are sums of non-negative terms;
what is left is Binet's μ and its kin, for which every step here adds positive terms:

    f(x) = Σ_{i < n} (f(x + i) - f(x + i + 1)) + f(x + n),

with steps of closed form and an asymptotic series at x + n. Nothing cancels, so plain
autodiff is accurate, to every order.
"""

import math

import jax.numpy as jnp

from jaxloss._core.types import Array

_HALF_LOG_2PI = math.log(2 * math.pi) / 2
_EULER = 0.57721566490153286061

# From where the asymptotic series is good to the last place, with two derivatives, and
# its number of terms.
_FAR = {32: (4, 7), 64: (9, 11)}

# Bernoulli's numbers B_2, B_4, ...
BERNOULLI = (
    1 / 6,
    -1 / 30,
    1 / 42,
    -1 / 30,
    5 / 66,
    -691 / 2730,
    7 / 6,
    -3617 / 510,
    43867 / 798,
    -174611 / 330,
    854513 / 138,
)
# B_2k / (2k (2k - 1)): the coefficients of x^(1 - 2k) in μ(x), ...
_BINET = tuple(b / (2 * k * (2 * k - 1)) for k, b in enumerate(BERNOULLI, start=1))
# ... and, with B_2k(1/2) = (2^(1 - 2k) - 1) B_2k, in the half step.
_HALF = tuple((2 - 2.0 ** (1 - 2 * k)) * c for k, c in enumerate(_BINET, start=1))
# ζ(n) - 1 for n = 2, 3, ...
_ZETA = (
    0.6449340668482264,
    0.2020569031595942,
    0.08232323371113819,
    0.03692775514336993,
    0.01734306198444914,
    0.008349277381922827,
    0.004077356197944339,
    0.0020083928260822144,
    0.0009945751278180854,
    0.0004941886041194646,
    0.0002460865533080483,
    0.00012271334757848915,
    6.124813505870483e-05,
    3.058823630702049e-05,
    1.5282259408651872e-05,
    7.637197637899762e-06,
    3.81729326499984e-06,
    1.908212716553939e-06,
    9.53962033872796e-07,
    4.769329867878064e-07,
    2.38450502727733e-07,
    1.1921992596531106e-07,
    5.960818905125948e-08,
    2.9803503514652278e-08,
    1.4901554828365043e-08,
    7.450711789835429e-09,
)


def binet(x: Array) -> Array:
    """μ(x) = log Γ(x) - (x - 1/2) log x + x - log(2π) / 2, for x > 0."""
    small = x < 0.25
    away = _binet_away(jnp.where(small, 1, x))
    near = jnp.where(small, x, 0.25)
    return jnp.where(
        small,
        _log_factorial_near(near) + near * (1 - jnp.log(near)) - _log_root(near),
        away,
    )


def factorial_excess(y: Array) -> Array:
    """log Γ(y + 1) - y log y + y, for y >= 0: 0 at 0, then log √(2πy) + μ(y)."""
    small = y < 0.25
    x = jnp.where(small, 1, y)
    away = _log_root(x) + _binet_away(x)
    near = jnp.where(small, y, 0.25)
    zero = near == 0
    entropy = jnp.where(zero, 0, near * (1 - jnp.log(jnp.where(zero, 1, near))))
    excess = jnp.where(small, entropy + _log_factorial_near(near), away)
    return jnp.where(y < 0, jnp.nan, excess)


def combinations_excess(a: Array, b: Array) -> Array:
    """The excess of a! and of b! over that of (a + b)!, never negative.

    With k the smaller one and m the other: with log √(2πx) + μ(x) for those of m and
    m + k, a sum of small numbers is left.
    """
    lesser = a <= b
    k, m = jnp.where(lesser, a, b), jnp.where(lesser, b, a)
    empty = m == 0
    m = jnp.where(empty, 1, m)
    excess = factorial_excess(k) - jnp.log1p(k / m) / 2 + (binet(m) - binet(m + k))
    return jnp.where(empty, k, excess)


def half_step(a: Array) -> Array:
    """log Γ(a) - log Γ(a + 1/2) + log(a) / 2, about 1 / 8a, for a > 0."""
    # A step from a to a + 1 is -log(1 - t²) / 2, with t = 1 / (2a + 1), where
    # 1 - t² = 4 a (a + 1) t².
    count, terms = _FAR[jnp.finfo(a.dtype).bits]
    near = a < count
    x = jnp.where(near, a, 1)
    steps = jnp.zeros_like(a)
    for i in range(count):
        t = 1 / (2 * (x + i) + 1)
        if i == 0:
            tiny = x < 0.5
            rest = jnp.where(tiny, 4 * x * (x + 1) * t * t, 1)
            t = jnp.where(tiny, 0, t)
            steps += -jnp.log(rest) / 2
        steps += -jnp.log1p(-t * t) / 2
    far = _asymptotic(jnp.where(near, a + count, a), _HALF[:terms])
    return jnp.where(near, steps + far, far)


def _log_root(x: Array) -> Array:
    """log √(2πx)."""
    return _HALF_LOG_2PI + jnp.log(x) / 2


def _binet_away(x: Array) -> Array:
    """μ(x) for x >= 1/4."""
    # μ(x) - μ(x + 1) = (x + 1/2) log(1 + 1/x) - 1 = atanh(t) / t - 1
    #                 = t²/3 + t⁴/5 + ..., with t = 1 / (2x + 1).
    bits = jnp.finfo(x.dtype).bits
    count, terms = _FAR[bits]
    near = x < count
    start = jnp.where(near, x, 1)
    steps = jnp.zeros_like(x)
    for i in range(count):
        square = (1 / (2 * (start + i) + 1)) ** 2
        largest = (2 * (0.25 + i) + 1) ** -2
        length = (
            math.ceil(
                (2 + math.log(2) * (24 if bits == 32 else 54)) / -math.log(largest)
            )
            + 1
        )
        series = jnp.zeros_like(x)
        for k in range(length, 0, -1):
            series = square * (1 / (2 * k + 1) + series)
        steps += series
    far = _asymptotic(jnp.where(near, x + count, x), _BINET[:terms])
    return jnp.where(near, steps + far, far)


def _asymptotic(x: Array, coefficients: tuple[float, ...]) -> Array:
    """Σ c_k x^(1 - 2k)."""
    inverse = 1 / x
    square = inverse * inverse
    series = jnp.zeros_like(x)
    for coefficient in reversed(coefficients):
        series = coefficient + square * series
    return inverse * series


def _log_factorial_near(y: Array) -> Array:
    """log Γ(1 + y) for 0 <= y <= 1/4."""
    # -log(1 + y) + (1 - γ) y + Σ_{n >= 2} (-1)^n (ζ(n) - 1) y^n / n.
    terms = 11 if jnp.finfo(y.dtype).bits == 32 else len(_ZETA)
    series = jnp.zeros_like(y)
    for n in range(terms + 1, 1, -1):
        series = (-1) ** n * _ZETA[n - 2] / n + y * series
    return -jnp.log1p(y) + y * ((1 - _EULER) + y * series)
