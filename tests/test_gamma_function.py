"""What is left of log-gamma, and its kin, against mpmath, with their derivatives."""

import functools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from jaxloss._core import bessel, counts, exponential, gamma_function

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough

TOLERANCE = {"float32": 4e-7, "float64": 4e-15}


def binet(x):
    half = mp.mpf(1) / 2
    return mp.loggamma(x) - (x - half) * mp.log(x) + x - mp.log(2 * mp.pi) / 2


def factorial_excess(y):
    return mp.loggamma(y + 1) - y * mp.log(y) + y


def half_step(a):
    return mp.loggamma(a) - mp.loggamma(a + mp.mpf(1) / 2) + mp.log(a) / 2


def exp_excess(z):
    return mp.exp(z) - 1 - z


POSITIVE = [1e-8, 1e-4, 0.01, 0.2499, 0.25, 0.3, 0.499, 0.5, 0.7, 1, 1.5, 2, 2.7, 3.9]
POSITIVE += [4, 4.1, 7, 8.9, 9, 20, 333, 1e5]
REAL = [-50, -3, -1.001, -0.999, -0.1, -1e-4, 1e-6, 0.2, 0.9999, 1.001, 5, 30]


def derivative(function, order):
    for _ in range(order):
        function = jax.grad(lambda x, inner=function: jnp.sum(inner(x)))
    return function


def exact(formula, x, order):
    x = mp.mpf(float(x))
    with mp.workdps(80):
        step = mp.mpf(10) ** -20 * min(1, abs(x))
        return float(mp.diff(formula, x, order, h=step) if order else formula(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize(
    ("function", "formula", "points"),
    [
        (gamma_function.binet, binet, POSITIVE),
        (gamma_function.factorial_excess, factorial_excess, POSITIVE),
        (gamma_function.half_step, half_step, POSITIVE),
        (exponential.exp_excess, exp_excess, REAL),
    ],
    ids=["binet", "factorial_excess", "half_step", "exp_excess"],
)
def test_to_the_last_places(function, formula, points, order, dtype):
    x = np.asarray(points, dtype)
    actual = jax.jit(derivative(function, order))(x)
    expected = [exact(formula, v, order) for v in x]
    np.testing.assert_allclose(
        np.asarray(actual, np.float64), expected, rtol=TOLERANCE[dtype]
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", [1, 2])
def test_bessel_ratio_does_not_cancel(order, dtype):
    x = np.asarray([1e-3, 0.1, 1, 3, 7.9, 11.9, 12, 14, 23.9, 24, 60, 300], dtype)

    def log_i0e(x):
        return bessel.log_circle(x, jnp.log(x))

    actual = jax.jit(derivative(log_i0e, order))(x)
    expected = [exact(lambda v: mp.log(mp.besseli(0, v)) - v, v, order) for v in x]
    np.testing.assert_allclose(
        np.asarray(actual, np.float64), expected, rtol=2 * TOLERANCE[dtype]
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bessel_curvature_by_the_logarithm_does_not_cancel(dtype):
    log_x = np.asarray([2.5, 3.5, 4.0, 5.5], dtype)
    actual = jax.jit(derivative(lambda s: bessel.log_circle(jnp.exp(s), s), 2))(log_x)

    def formula(s):
        return mp.log(mp.besseli(0, mp.exp(s))) - mp.exp(s)

    expected = [exact(formula, s, 2) for s in log_x]
    # Below 12 (float32) and 24 (float64) it is a difference of means, 1/100 of either.
    np.testing.assert_allclose(
        np.asarray(actual, np.float64), expected, rtol=100 * TOLERANCE[dtype]
    )


@pytest.mark.parametrize("q", [0.0, 1e-5, 0.3, 1.0, -1.0])
def test_exp_excess_over_a_number_that_may_be_zero(q):
    v = np.asarray([-5, -0.9, -1e-3, 1e-4, 0.5, 3])
    actual = exponential.exp_excess_over(jnp.full_like(v, q), jnp.asarray(v))
    with mp.workdps(60):
        expected = [
            float(
                v**2 * 0 if not q else (mp.exp(q * mp.mpf(v)) - 1 - q * mp.mpf(v)) / q
            )
            for v in v.tolist()
        ]
    np.testing.assert_allclose(actual, expected, rtol=1e-14)
    # By q at 0 it is v² / 2, and by v it is e^qv - 1.
    by_q = jax.grad(lambda q, v: exponential.exp_excess_over(q, v))
    np.testing.assert_allclose(by_q(0.0, 3.0), 4.5)
    by_v = jax.grad(lambda v: jnp.sum(exponential.exp_excess_over(q + 0 * v, v)))
    np.testing.assert_allclose(by_v(jnp.asarray(v)), np.expm1(q * v), rtol=1e-13)


def binomial(logit, y, r):
    q = 1 / (1 + mp.exp(-logit))
    p = y / (y + r)
    first = y * mp.log(p / q) if y else 0
    return first + (r * mp.log((1 - p) * (1 + mp.exp(logit))) if r else 0)


def test_binomial_divergence_of_large_counts():
    """A random walk's distance from the share that is expected: the rest cancels."""
    rng = np.random.default_rng(0)
    y = np.floor(10 ** rng.uniform(0, 7, size=50)).astype(np.float32)
    r = np.floor(10 ** rng.uniform(0, 7, size=50)).astype(np.float32)
    near = np.log(y / r) + rng.normal(size=50) * np.sqrt(1 / y + 1 / r)
    logit = near.astype(np.float32)
    run = jax.jit(counts.binomial_divergence)
    actual = np.asarray(run(logit, y, r), np.float64)
    with mp.workdps(60):
        triples = zip(logit, y, r, strict=True)
        exactly = [[mp.mpf(float(v)) for v in triple] for triple in triples]
        expected = [float(binomial(*triple)) for triple in exactly]
    np.testing.assert_allclose(actual, expected, rtol=2e-6)


def test_edges_of_counts():
    f = functools.partial(jnp.asarray, dtype=jnp.float32)
    assert counts.binomial_divergence(f(0), f(0), f(0)) == 0
    assert counts.binomial_divergence(f(jnp.inf), f(3), f(0)) == 0
    assert counts.binomial_divergence(f(-jnp.inf), f(0), f(3)) == 0
    assert gamma_function.factorial_excess(f(0)) == 0
    assert np.isnan(gamma_function.factorial_excess(f(-1)))
