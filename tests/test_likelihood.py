"""Likelihoods: identities, edges, large counts, and SciPy's laws in float64."""

import functools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from scipy import special, stats

import jaxloss
from jaxloss._core import normal_interval

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough


def f32(*values):
    return jnp.asarray(values, jnp.float32)


def close(actual, expected, rtol=1e-6, atol=0.0):
    np.testing.assert_allclose(
        np.asarray(actual, np.float64), np.asarray(expected), rtol=rtol, atol=atol
    )


def total(loss):
    return lambda *arrays: jnp.sum(loss(*arrays))


RNG = np.random.default_rng(0)
X, Y = (jnp.asarray(a) for a in RNG.normal(size=(2, 20)))
LABELS = jnp.asarray(RNG.integers(2, size=20))

# ------------------------------------------------------------------ identities


def test_likelihoods_are_the_losses_of_their_laws():
    """Maximum likelihood is the minimum of a familiar loss, up to a constant."""
    half_log_2pi = np.log(2 * np.pi) / 2
    gaussian = jaxloss.gaussian_nll(X, Y, log_variance=0.0)
    close(gaussian - jaxloss.l2_loss(X, Y), half_log_2pi, 1e-14)
    laplace = jaxloss.laplace_nll(X, Y, log_scale=0.0)
    close(laplace - abs(np.asarray(X - Y)), np.log(2), 1e-14)
    close(
        jaxloss.bernoulli_nll(X, LABELS),
        jaxloss.sigmoid_binary_cross_entropy(X, LABELS),
        0,
    )
    rows = X.reshape(5, 4)
    labels = LABELS[:5]
    close(
        jaxloss.categorical_nll(rows, labels),
        jaxloss.softmax_cross_entropy_with_integer_labels(rows, labels),
        0,
    )
    close(
        jaxloss.binomial_nll(X, LABELS, total_count=1.0),
        jaxloss.bernoulli_nll(X, LABELS),
        1e-13,
    )
    counts = jnp.asarray(RNG.poisson(2.0, size=20).astype(float))
    close(
        jaxloss.poisson_deviance(X, counts),
        2 * jaxloss.generalized_kl_divergence(X[:, None], counts[:, None]),
        1e-14,
    )
    close(
        jaxloss.gamma_nll(-X, jnp.exp(Y), log_shape=0.0),
        jaxloss.exponential_nll(X, jnp.exp(Y)),
        1e-13,
        1e-14,
    )
    close(
        jaxloss.weibull_nll(-X, jnp.exp(Y), log_shape=0.0),
        jaxloss.exponential_nll(X, jnp.exp(Y)),
        1e-13,
        1e-14,
    )


def test_limits_of_laws():
    counts = jnp.asarray(RNG.poisson(2.0, size=20).astype(float))
    close(
        jaxloss.negative_binomial_nll(X, counts, log_total_count=30.0),
        jaxloss.poisson_nll(X, counts),
        1e-11,
    )
    close(
        jaxloss.student_t_nll(X, Y, log_scale=0.0, log_df=35.0),
        jaxloss.gaussian_nll(X, Y, log_variance=0.0),
        1e-13,
    )
    for power, twin in ((1.0, "poisson_deviance"), (2.0, "gamma_deviance")):
        close(
            jaxloss.tweedie_deviance(X, jnp.exp(Y), power=power),
            getattr(jaxloss, twin)(X, jnp.exp(Y)),
            1e-12,
        )
    near = jaxloss.tweedie_deviance(X, jnp.exp(Y), power=1 + 1e-12)
    close(near, jaxloss.poisson_deviance(X, jnp.exp(Y)), 1e-10)
    certain = jaxloss.zero_inflated_poisson_nll(X, counts, zero_logits=-800.0)
    close(certain, jaxloss.poisson_nll(X, counts), 1e-13)


def test_scipy_laws():
    y, count = np.asarray(jnp.exp(Y)), RNG.poisson(3.0, size=20)
    x, half = np.asarray(X), np.exp(np.asarray(X) / 2)
    unit = 1 / (1 + y)
    j = jnp.asarray
    pairs = [
        (jaxloss.gaussian_nll(X, Y, log_variance=X), stats.norm(x, half).logpdf(Y)),
        (jaxloss.laplace_nll(X, Y, log_scale=X), stats.laplace(x, half**2).logpdf(Y)),
        (
            jaxloss.student_t_nll(X, Y, log_scale=X, log_df=1.5),
            stats.t(np.exp(1.5), x, half**2).logpdf(Y),
        ),
        (jaxloss.poisson_nll(X, j(count)), stats.poisson(half**2).logpmf(count)),
        (
            jaxloss.negative_binomial_nll(X, j(count), log_total_count=1.0),
            stats.nbinom(np.e, np.e / (np.e + half**2)).logpmf(count),
        ),
        (
            jaxloss.binomial_nll(X, j(count), total_count=20.0),
            stats.binom(20, special.expit(x)).logpmf(count),
        ),
        (
            jaxloss.gamma_nll(X, j(y), log_shape=0.7),
            stats.gamma(np.exp(0.7), scale=np.exp(x - 0.7)).logpdf(y),
        ),
        (jaxloss.exponential_nll(X, j(y)), stats.expon(scale=np.exp(-x)).logpdf(y)),
        (
            jaxloss.weibull_nll(X, j(y), log_shape=0.7),
            stats.weibull_min(np.exp(0.7), scale=half**2).logpdf(y),
        ),
        (
            jaxloss.log_normal_nll(X, j(y), log_variance=X),
            stats.lognorm(half, scale=half**2).logpdf(y),
        ),
        (
            jaxloss.beta_nll(X, j(unit), log_beta=0.7),
            stats.beta(half**2, np.exp(0.7)).logpdf(unit),
        ),
        (
            jaxloss.von_mises_nll(X, Y, log_concentration=X),
            stats.vonmises(half**2, loc=x).logpdf(Y),
        ),
    ]
    for actual, log_density in pairs:
        close(actual, -log_density, 1e-9, 1e-10)


DISCRETIZED = pytest.mark.parametrize(
    "discretized",
    [jaxloss.discretized_logistic_nll, jaxloss.discretized_gaussian_nll],
)


@DISCRETIZED
def test_discretized_probabilities_add_up_to_one(discretized):
    y = jnp.linspace(-1, 1, 256)
    for log_scale in (-7.0, -2.0, 1.0, 5.0):
        nll = discretized(jnp.full_like(y, 0.3), y, log_scale=log_scale)
        close(jnp.sum(jnp.exp(-nll)), 1, 1e-12)


@DISCRETIZED
def test_a_narrow_bin_has_the_density_of_its_middle(discretized):
    density = {
        jaxloss.discretized_logistic_nll: stats.logistic,
        jaxloss.discretized_gaussian_nll: stats.norm,
    }[discretized]
    mean = jnp.linspace(-30, 30, 61)
    nll = discretized(mean, 0 * mean, log_scale=0.0, bins=2**30 + 1)
    exact = -density.logpdf(np.asarray(mean)) + 29 * np.log(2)
    close(nll, exact, 1e-14)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_an_open_bin_has_the_normal_tail(dtype):
    """And its derivatives, from where all lies in it to 40 deviations and more."""
    z = jnp.asarray([-8, -3, -1, -1e-3, 0, 1e-3, 1, 5, 40, 3000], dtype)

    def first(mean):
        # Two bins, with the edge at 0.
        return jaxloss.discretized_gaussian_nll(
            mean, jnp.full_like(mean, -1), log_scale=0.0, bins=2
        )

    def last(mean):
        return jaxloss.discretized_gaussian_nll(
            -mean, jnp.ones_like(mean), log_scale=0.0, bins=2
        )

    x = np.asarray(z, np.float64)
    log_tail = special.log_ndtr(-x)
    hazard = np.sqrt(2 / np.pi) / special.erfcx(x / np.sqrt(2))
    # At -8 the exponent of 32 is rounded.
    rtol = 5e-6 if dtype == jnp.float32 else 1e-13
    for loss in (first, last):
        close(loss(z), -log_tail, rtol)
        close(jax.grad(total(loss))(z), hazard, rtol)


def test_curvature_at_the_middle_of_a_normal_bin():
    """By the mean it is 2 h φ(h) / P, though the nearer edge changes sides there."""
    log_scale = jnp.linspace(-3, 6, 37)

    def slope(mean):
        loss = functools.partial(jaxloss.discretized_gaussian_nll, bins=3)
        return jax.grad(lambda m: jnp.sum(loss(m, 0 * m, log_scale=log_scale)))(mean)

    zero = jnp.zeros_like(log_scale)
    value, curvature = jax.jvp(slope, (zero,), (jnp.ones_like(zero),))
    h = np.exp(-np.asarray(log_scale)) / 2
    p = special.erf(h / np.sqrt(2))
    close(value, 0, 0)
    close(curvature, 2 * h * stats.norm.pdf(h) / p / np.exp(2 * log_scale), 1e-12)


@DISCRETIZED
def test_bins_of_a_law_without_width(discretized):
    """A scale that is too small for floats leaves the law in one bin."""
    mean, y = f32(0, 0, 0.5, 3, np.inf), f32(0, -0.5, 0.5, 1, 0)
    loss = functools.partial(discretized, bins=5)
    value, slope = jax.value_and_grad(total(functools.partial(loss, log_scale=-100.0)))(
        mean[:4:2], y[:4:2]
    )
    close(value, 0)
    close(slope, 0)
    each = np.asarray(loss(mean, y, log_scale=-100.0))
    close(each[[0, 2, 3]], 0)
    assert (each[[1, 4]] > 1e37).all()


def test_bins_of_a_law_without_end():
    """A scale that is too large for floats spreads the law over all numbers."""
    mean, y = f32(0, 0, 0.5), f32(0, -0.5, 0.5)
    wide = jaxloss.discretized_gaussian_nll(mean, y, log_scale=100.0, bins=5)
    close(wide, 100 + np.log(2) + np.log(2 * np.pi) / 2)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_curvature_of_a_pixel_by_the_log_scale(dtype):
    """At the mean a bin of half-width h has the loss -log tanh(h / 2)."""
    log_scale = jnp.linspace(-6, 6, 49, dtype=dtype)
    by_scale = jax.grad(
        lambda s: jnp.sum(
            jaxloss.discretized_logistic_nll(
                *jnp.zeros((2, *s.shape), dtype), log_scale=s, bins=17
            )
        )
    )
    _, curvature = jax.jvp(by_scale, (log_scale,), (jnp.ones_like(log_scale),))
    h = np.exp(-np.asarray(log_scale, np.float64)) / 16
    # Of u = h / sinh h by log h: u (1 - h coth h), where the difference is h² / 3 at 0.
    rest = np.where(h < 0.01, -(h**2) / 3 + h**4 / 45, 1 - h / np.tanh(h))
    close(curvature, -h / np.sinh(h) * rest, 2e-6 if dtype == jnp.float32 else 1e-9)


@pytest.mark.parametrize("power", [1.5, 3.0, 4.5])
def test_tweedie_far_above_the_target(power):
    """The terms of the deviance that are linear in log(μ / y) cancel; and at μ = y it
    has the curvature 2 y^(2 - p)."""
    log_ratio, y = f32(0, 1e-3, 0.5, 2, 10, 15), f32(2, 2, 2, 2, 2, 2)
    loss = functools.partial(jaxloss.tweedie_deviance, power=power)
    x = jnp.log(y) + log_ratio
    v = np.asarray(x, np.float64) - np.log(2)
    q = 2 - power
    apart = np.expm1(q * v) / q + np.expm1((q - 1) * v) / (1 - q)
    # The float64 above keeps half of its digits at 1e-3, and none at 0.
    close(loss(x, y)[1:], 2**q * 2 * apart[1:], 2e-6)
    slope = jax.grad(total(loss))
    by_v = 2**q * 2 * np.exp(q * v) * -np.expm1(-v)
    # An exponent of up to 37 is rounded in its own unit.
    close(slope(x, y)[1:], by_v[1:], 5e-6)
    _, curvature = jax.jvp(lambda x: slope(x, y), (x,), (jnp.ones_like(x),))
    by_v = 2**q * 2 * (q * np.exp(q * v) - (q - 1) * np.exp((q - 1) * v))
    close(curvature, by_v, 1e-5)


def test_mixture_of_one_and_of_equals():
    nll = jaxloss.gaussian_nll(X, Y, log_variance=0.0)
    close(jaxloss.mixture_nll(7 * jnp.ones((20, 1)), nll[:, None]), nll, 1e-15)
    twice = jnp.stack([nll, nll], axis=-1)
    close(jaxloss.mixture_nll(jnp.stack([X, Y], axis=-1), twice), nll, 1e-13)
    # A component that is not there has no say, nor a gradient.
    logits = jnp.stack([X, jnp.full_like(X, -jnp.inf)], axis=-1)
    close(jaxloss.mixture_nll(logits, twice), nll, 1e-14)
    gradient = jax.grad(total(jaxloss.mixture_nll))(logits, twice)
    close(gradient, 0, atol=1e-15)


def test_propriety_of_counts():
    """The mean of the losses over a law is least at its own parameters."""
    y = jnp.arange(200.0)
    mass = jnp.asarray(stats.nbinom(2.0, 2 / (2 + 3.0)).pmf(np.arange(200)))

    def risk(log_mean, log_r):
        nll = jaxloss.negative_binomial_nll(
            jnp.full_like(y, log_mean), y, log_total_count=log_r
        )
        return jnp.sum(mass * nll)

    slopes = jax.grad(risk, (0, 1))(jnp.log(3.0), jnp.log(2.0))
    close(jnp.stack(slopes), 0, atol=1e-9)


# ------------------------------------------------------------------ large counts


def test_large_counts_do_not_cancel():
    """Where each log-gamma is of the size of 10^8 and the loss is below 20."""
    y = np.float64([1e5, 1e6, 1e7])
    log_mean = np.float32(np.log(y))
    poisson = jaxloss.poisson_nll(jnp.asarray(log_mean), f32(*y))
    rate = np.exp(np.float64(log_mean))
    u = np.float64(log_mean) - np.log(y)
    exact = y * (np.expm1(u) - u) + np.log(2 * np.pi * y) / 2 + 1 / (12 * y)
    close(poisson, exact, 3e-7)
    close(stats.poisson(rate).logpmf(y), -exact, 1e-8)
    nll = functools.partial(jaxloss.negative_binomial_nll, log_total_count=0.0)
    # With r = 1 it is the geometric law.
    close(nll(jnp.asarray(log_mean), f32(*y)), np.log1p(rate) + y * np.log1p(1 / rate))
    slope = jax.grad(total(nll))(jnp.asarray(log_mean), f32(*y))
    close(slope, (rate - y) / (1 + rate), 1e-6, 1e-7)


def test_dispersion_far_above_the_counts_has_a_slope():
    """By log r it is -((y - mean)² - y) / 2r: a difference of numbers near y."""
    y, log_r = f32(3, 5, 0), jnp.float32(np.log(1e4))

    def loss(log_r):
        log_mean = jnp.log(f32(2, 2, 2))
        return jnp.sum(
            jaxloss.negative_binomial_nll(log_mean, y, log_total_count=log_r)
        )

    r, mean = 1e4, 2.0
    exact = sum(
        r
        * (
            special.digamma(r)
            - special.digamma(v + r)
            + np.log1p(mean / r)
            + (v - mean) / (r + mean)
        )
        for v in (3.0, 5.0, 0.0)
    )
    close(jax.grad(loss)(log_r), exact, 2e-5)


def test_normal_limit_of_student_has_a_slope():
    def loss(log_df):
        return jaxloss.student_t_nll(
            jnp.float32(0), jnp.float32(2), log_scale=0.0, log_df=log_df
        )

    v, z = np.exp(9.0), 2.0
    w = z * z / v
    bracket = special.digamma(v / 2) - special.digamma((v + 1) / 2) + 1 / v
    exact = v / 2 * (bracket + np.log1p(w)) - (v + 1) / 2 * w / (1 + w)
    close(jax.grad(loss)(jnp.float32(9)), exact, 1e-4)


# ------------------------------------------------------------------ edges


def test_targets_outside_the_support_are_loud():
    one = f32(0.3)
    calls = {
        "poisson_nll": (-1.0, {}),
        "negative_binomial_nll": (-1.0, {"log_total_count": 0.0}),
        "binomial_nll": (4.0, {"total_count": 3.0}),
        "zero_inflated_poisson_nll": (-1.0, {"zero_logits": 0.0}),
        "gamma_nll": (-1.0, {"log_shape": 0.0}),
        "exponential_nll": (-1.0, {}),
        "weibull_nll": (-1.0, {"log_shape": 0.0}),
        "log_normal_nll": (-1.0, {"log_variance": 0.0}),
        "beta_nll": (1.5, {"log_beta": 0.0}),
        "discretized_gaussian_nll": (1.5, {"log_scale": 0.0}),
        "discretized_logistic_nll": (1.5, {"log_scale": 0.0}),
        "gamma_deviance": (-1.0, {}),
        "poisson_deviance": (-1.0, {}),
        "tweedie_deviance": (-1.0, {}),
    }
    for name, (target, options) in calls.items():
        loss = functools.partial(getattr(jaxloss, name), **options)
        value, slope = jax.value_and_grad(total(loss))(one, f32(target))
        assert np.isnan(value), name
        assert np.isnan(slope).all(), name


def test_zero_targets_have_their_limits():
    zero = f32(0, 0, 0)
    shapes = jnp.log(f32(0.5, 1, 2))
    gamma = jaxloss.gamma_nll(f32(0.3, 0.3, 0.3), zero, log_shape=shapes)
    close(gamma, [-np.inf, 0.3, np.inf])
    weibull = jaxloss.weibull_nll(f32(0.3, 0.3, 0.3), zero, log_shape=shapes)
    close(weibull, [-np.inf, 0.3, np.inf])
    log_normal = jaxloss.log_normal_nll(zero, zero, log_variance=0.0)
    close(log_normal, [np.inf] * 3)
    beta = jaxloss.beta_nll(shapes, zero, log_beta=0.0)
    close(beta, [-np.inf, 0, np.inf], atol=1e-7)
    beta = jaxloss.beta_nll(f32(0, 0, 0), zero + 1, log_beta=shapes)
    close(beta, [-np.inf, 0, np.inf], atol=1e-7)
    close(jaxloss.tweedie_deviance(zero, zero, power=f32(1, 1.5, 2)), [2, 4, np.inf])
    slope = jax.grad(lambda m: jnp.sum(jaxloss.gamma_nll(m, zero[:1], log_shape=0.0)))(
        f32(0.3)
    )
    close(slope, 1)


@pytest.mark.parametrize("y", [0.0, 1.0, 7.0])
def test_derivatives_by_counts(y):
    def poisson(y):
        return jaxloss.poisson_nll(jnp.float64(0.4), y)

    close(jax.grad(poisson)(jnp.float64(y)), special.digamma(y + 1) - 0.4, 1e-12)

    def binomial(y):
        return jaxloss.binomial_nll(jnp.float64(0.4), y, total_count=7.0)

    exact = special.digamma(y + 1) - special.digamma(8 - y) - 0.4
    close(jax.grad(binomial)(jnp.float64(y)), exact, 1e-11)


def test_huge_residuals_are_finite():
    e = f32(1e30)
    value, slope = jax.value_and_grad(
        total(functools.partial(jaxloss.student_t_nll, log_scale=0.0, log_df=0.0))
    )(e, f32(0))
    close(value, np.log(np.pi) + 2 * np.log(1e30))
    close(slope, 2e-30)
    wide = jaxloss.gaussian_nll(e, f32(0), log_variance=jnp.float32(2 * np.log(1e30)))
    close(wide, 0.5 * np.log(2 * np.pi) + np.log(1e30) + 0.5)


def test_the_weight_by_the_variance_is_held_fixed():
    s = 2 * Y

    def weighted(beta):
        loss = functools.partial(jaxloss.gaussian_nll, beta=beta)
        return lambda m, y, s: loss(m, y, log_variance=s)

    plain = weighted(0.0)
    for beta in (0.5, 1.0, jnp.full((1,), 0.25)):
        weight = jnp.exp(beta * s)
        close(weighted(beta)(X, Y, s), weight * plain(X, Y, s), 1e-14)
        by_all = jax.grad(total(weighted(beta)), (0, 1, 2))(X, Y, s)
        expected = jax.grad(total(plain), (0, 1, 2))(X, Y, s)
        close(jnp.stack(by_all), weight[None] * jnp.stack(expected), 1e-12)
    by_beta = jax.grad(lambda beta: jnp.sum(weighted(beta)(X, Y, s)))(0.5)
    assert by_beta == 0


def test_a_whole_weight_leaves_the_gradient_of_the_squared_error():
    loss = functools.partial(jaxloss.gaussian_nll, log_variance=Y, beta=1.0)
    close(jax.grad(total(loss))(X, Y), jax.grad(total(jaxloss.l2_loss))(X, Y), 1e-14)


def test_beta_is_checked_and_of_no_weight_compiles_to_nothing():
    with pytest.raises(ValueError, match=r"`beta` must be a number in \[0"):
        jaxloss.gaussian_nll(X, Y, log_variance=0.0, beta=-0.5)
    programs = [
        str(
            jax.make_jaxpr(functools.partial(jaxloss.gaussian_nll, **options))(
                X, Y, log_variance=X
            )
        )
        for options in ({}, {"beta": 0}, {"beta": 0.0})
    ]
    assert len(set(programs)) == 1


def test_laplace_at_its_centre():
    slope = jax.grad(total(functools.partial(jaxloss.laplace_nll, log_scale=0.0)))
    close(slope(f32(1, 2), f32(1, 1)), [0, 1])


def test_parameters_may_be_one_number_or_one_each():
    one = jaxloss.gaussian_nll(X, Y, log_variance=0.5)
    each = jaxloss.gaussian_nll(X, Y, log_variance=jnp.full_like(X, 0.5))
    # Two programs: what is known in one, its compiler rounds by itself.
    close(one, each, 4e-16)
    with pytest.raises(ValueError, match="`log_variance` must be one number or"):
        jaxloss.gaussian_nll(X, Y, log_variance=jnp.zeros(3))
    wide = jaxloss.gaussian_nll(f32(1), f32(0), log_variance=jnp.zeros(1))
    assert wide.dtype == jnp.float64


@DISCRETIZED
def test_bins_are_checked(discretized):
    with pytest.raises(ValueError, match="`bins` must be a number of bins"):
        discretized(X, Y, log_scale=0.0, bins=1)


# ------------------------------------------------------------------ survival


def test_cox_is_efrons_or_breslows_sum():
    x, times = f32(0.5, -1, 2, 0.1, 0.7), f32(2, 2, 3, 2, 1)
    events = jnp.asarray([1, 1, 0, 0, 1])
    w = np.exp(np.asarray(x, np.float64))
    at_two, everybody = w[0] + w[1] + w[2] + w[3], w.sum()
    dying = w[0] + w[1]
    reduced = functools.partial(
        jaxloss.cox_partial_nll, x, times, events=events, reduction="sum"
    )
    seen = 0.5 - 1 + 0.7
    close(reduced(), 2 * np.log(at_two) + np.log(everybody) - seen)
    efron = np.log(at_two) + np.log(at_two - dying / 2) + np.log(everybody) - seen
    close(reduced(ties="efron"), efron)
    mean = jaxloss.cox_partial_nll(x, times, events=events, reduction="mean")
    close(mean, reduced() / 3)


def test_cox_without_the_masked_is_cox():
    x, times = f32(0.5, np.nan, 2, 0.1), f32(2, np.nan, 3, 1)
    events, keep = jnp.asarray([1, 1, 0, 1]), jnp.asarray([True, False, True, True])
    kept = np.asarray(keep)

    def loss(x):
        return jaxloss.cox_partial_nll(x, times, events=events, where=keep)

    alone = jaxloss.cox_partial_nll(x[kept], times[kept], events=events[kept])
    close(loss(x)[kept], alone)
    slope = jax.grad(lambda x: jnp.sum(loss(x)))(x)
    assert np.isfinite(slope).all() and slope[1] == 0
    nothing = jaxloss.cox_partial_nll(
        x, times, events=events, where=jnp.zeros(4, bool), reduction="mean"
    )
    assert nothing == 0


def test_cox_last_subject_faces_nobody():
    value, slope = jax.value_and_grad(
        lambda x: jnp.sum(
            jaxloss.cox_partial_nll(x, f32(1, 2), events=jnp.asarray([0, 1]))
        )
    )(f32(0.3, 0.7))
    assert value == 0
    close(slope, [0, 0], 0)


def rule_and_truth(bits, a, w):
    """∫ t^k e^{-at - t²/2} over [0, w] for k = 0 and 2, by the points and by parts."""
    depth, points = normal_interval._DEPTH_AND_POINTS[bits]
    nodes, shares = (v.tolist() for v in np.polynomial.legendre.leggauss(points))
    length = min(w, 2 * depth / (a + mp.sqrt(a * a + 2 * depth)))

    def density(t):
        return mp.exp(-t * (a + t / 2))

    def rule(power):
        each = (
            share * t**power * density(t)
            for node, share in zip(nodes, shares, strict=True)
            for t in [(1 + mp.mpf(node)) / 2 * length]
        )
        return length / 2 * mp.fsum(each)

    ends = mp.erfc(a / mp.sqrt(2)) - mp.erfc((a + w) / mp.sqrt(2))
    mass = mp.exp(a * a / 2) * mp.sqrt(mp.pi / 2) * ends
    square = (1 + a * a) * mass - a + (a - w) * density(w)
    return rule(0), rule(2), mass, square


@pytest.mark.parametrize(
    ("bits", "of_mass", "of_square"), [(32, 4.3e-8, 7e-6), (64, 2e-14, 2e-13)]
)
def test_the_points_of_an_interval_are_enough(bits, of_mass, of_square):
    """The rule itself, without rounding: the errors that the module states."""
    with mp.workdps(60):
        for a in map(mp.mpf, (-0.75, -0.25, 0, 0.3, 1, 3, 10, 100, 1e4)):
            # A wide interval around the mean is computed otherwise.
            most = normal_interval._WIDE if a < 0 else mp.inf
            reach = 12 / (1 + max(a, 0))
            for share in (1e-3, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1, 10):
                w = min(share * reach, most)
                mass, square, of_all, of_squares = rule_and_truth(bits, a, w)
                assert abs(mass / of_all - 1) <= of_mass
                assert abs(square / mass * of_all / of_squares - 1) <= of_square
