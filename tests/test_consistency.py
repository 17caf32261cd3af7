"""Propriety: what a proper loss is least for, over many targets, is what it should be.

The minimiser of the mean loss over a large sample is a statistic of that sample: the
mean for the squared error, the median for the absolute one, the law's own parameters
for a score of laws. A wrong sign, side or weight moves it.

To add a loss, add a line to `STATISTICS` (a number or a vector of the sample is
predicted, and the exact minimiser is known) or to `LAWS` (the parameters of a law are
predicted, and the sample comes from that law).
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough

SIZE = 2000


def minimiser(objective: Callable, start, steps: int = 30) -> np.ndarray:
    """Of a convex function of a few numbers: Newton's method, damped by halving."""
    start = jnp.asarray(start, jnp.float64)
    eye = jnp.eye(start.size, dtype=start.dtype)

    @jax.jit
    def run(x):
        def step(_, x):
            slope, curvature = jax.grad(objective)(x), jax.hessian(objective)(x)
            # What is flat or concave in places, yet least at one point, goes downhill.
            values, axes = jnp.linalg.eigh(curvature + 1e-12 * eye)
            move = axes @ ((axes.T @ slope) / jnp.maximum(jnp.abs(values), 1e-6))
            lengths = 0.5 ** jnp.arange(12.0, dtype=x.dtype)
            tried = x[None] - lengths[:, None] * move[None]
            tried = jnp.concatenate([x[None], tried])
            return tried[jnp.argmin(jax.vmap(objective)(tried))]

        return jax.lax.fori_loop(0, steps, step, x)

    return np.asarray(run(start))


def least_on(grid: np.ndarray, objective: Callable) -> float:
    """The point of a grid where a function with kinks is least."""
    return float(grid[np.argmin(jax.jit(jax.vmap(objective))(jnp.asarray(grid)))])


SAMPLE = np.random.default_rng(0).gamma(2.0, 1.0, size=SIZE)
OUTCOMES = (np.random.default_rng(1).random(SIZE) < 0.3).astype(np.float64)
FREQUENCIES = np.asarray([0.6, 0.3, 0.1])


def each(loss, **options):
    """The mean loss of one prediction for every target of the sample."""

    def objective(x, sample):
        return loss(jnp.full_like(sample, x), sample, reduction="mean", **options)

    return objective


def expectile(sample: np.ndarray, tau: float) -> float:
    return float(scipy.stats.expectile(sample, tau))


class Statistic(NamedTuple):
    """A loss of one prediction, and the statistic of the sample it is least for."""

    objective: Callable
    expected: float
    sample: np.ndarray = SAMPLE


STATISTICS = {
    "squared_error": Statistic(each(jaxloss.squared_error), SAMPLE.mean()),
    "l2_loss": Statistic(each(jaxloss.l2_loss), SAMPLE.mean()),
    "absolute_error": Statistic(each(jaxloss.absolute_error), np.median(SAMPLE)),
    "huber_loss, delta large": Statistic(
        each(jaxloss.huber_loss, delta=100.0), SAMPLE.mean()
    ),
    "huber_loss, delta small": Statistic(
        each(jaxloss.huber_loss, delta=1e-4), np.median(SAMPLE)
    ),
    "smooth_l1_loss, beta small": Statistic(
        each(jaxloss.smooth_l1_loss, beta=1e-4), np.median(SAMPLE)
    ),
    "pseudo_huber_loss, delta small": Statistic(
        each(jaxloss.pseudo_huber_loss, delta=1e-4), np.median(SAMPLE)
    ),
    "charbonnier_loss": Statistic(
        each(jaxloss.charbonnier_loss, epsilon=1e-4), np.median(SAMPLE)
    ),
    "robust_loss, alpha 2": Statistic(
        each(jaxloss.robust_loss, alpha=2.0), SAMPLE.mean()
    ),
    **{
        f"quantile_loss, {tau}": Statistic(
            each(jaxloss.quantile_loss, quantile=tau), np.quantile(SAMPLE, tau)
        )
        for tau in (0.1, 0.5, 0.9)
    },
    **{
        f"expectile_loss, {tau}": Statistic(
            each(jaxloss.expectile_loss, expectile=tau), expectile(SAMPLE, tau)
        )
        for tau in (0.1, 0.5, 0.9)
    },
    "squared_log_error": Statistic(
        each(jaxloss.squared_log_error), np.expm1(np.log1p(SAMPLE).mean())
    ),
    "symlog_squared_error": Statistic(
        each(jaxloss.symlog_squared_error), np.log1p(SAMPLE).mean()
    ),
    "binary_cross_entropy": Statistic(
        each(jaxloss.binary_cross_entropy), OUTCOMES.mean(), OUTCOMES
    ),
    "sigmoid_binary_cross_entropy": Statistic(
        each(jaxloss.sigmoid_binary_cross_entropy),
        float(scipy.special.logit(OUTCOMES.mean())),
        OUTCOMES,
    ),
    **{
        f"interval_score, {side}": Statistic(
            functools.partial(
                lambda x, sample, side: jaxloss.interval_score(
                    **{
                        "lower": jnp.full_like(sample, -9),
                        "upper": jnp.full_like(sample, 99),
                        side: jnp.full_like(sample, x),
                    },
                    targets=sample,
                    alpha=0.2,
                    reduction="mean",
                ),
                side=side,
            ),
            np.quantile(SAMPLE, level),
        )
        for side, level in (("lower", 0.1), ("upper", 0.9))
    },
}


@pytest.mark.parametrize("name", STATISTICS)
def test_is_least_for_its_statistic(name: str):
    """By a grid: no derivative is believed, and kinks do no harm."""
    objective, expected, sample = STATISTICS[name]
    sample = jnp.asarray(sample)
    grid = expected + np.linspace(-0.2, 0.2, 81)
    found = least_on(grid, lambda x: objective(x, sample))
    # Half a step of the grid, and what lies between two neighbours of the sample.
    assert abs(found - expected) <= 0.0025 + 2e-3, (found, expected)


def rows(loss, make=lambda x: x):
    """The mean loss of one row of three numbers, for one-hot targets as they occur."""

    def objective(x):
        row = jnp.broadcast_to(make(x), (3, 3))
        return loss(row, jnp.eye(3), weights=FREQUENCIES, reduction="mean")

    return objective


def on_simplex(x):
    """Three probabilities by two logits: their sum is not free to move."""
    return jax.nn.softmax(jnp.concatenate([x, jnp.zeros(1)]))


def with_last(x):
    return jnp.concatenate([x, jnp.zeros(1)])


def labelled(loss, make):
    def objective(x):
        row = jnp.broadcast_to(make(x), (3, 3))
        return loss(row, jnp.arange(3), weights=FREQUENCIES, reduction="mean")

    return objective


def log_on_simplex(x):
    return jax.nn.log_softmax(with_last(x))


DISTRIBUTIONS = {
    "brier_score": rows(jaxloss.brier_score, on_simplex),
    "softmax_brier_score": rows(jaxloss.softmax_brier_score, with_last),
    "spherical_score": rows(jaxloss.spherical_score, on_simplex),
    "categorical_cross_entropy": rows(jaxloss.categorical_cross_entropy, on_simplex),
    "cross_entropy": rows(jaxloss.cross_entropy, log_on_simplex),
    "kl_divergence": rows(jaxloss.kl_divergence, log_on_simplex),
    "softmax_cross_entropy": rows(jaxloss.softmax_cross_entropy, with_last),
    "nll_loss": labelled(jaxloss.nll_loss, log_on_simplex),
    "softmax_cross_entropy_with_integer_labels": labelled(
        jaxloss.softmax_cross_entropy_with_integer_labels, with_last
    ),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_is_least_for_the_frequencies(name: str):
    found = minimiser(DISTRIBUTIONS[name], np.zeros(2))
    np.testing.assert_allclose(on_simplex(jnp.asarray(found)), FREQUENCIES, atol=1e-6)


class Law(NamedTuple):
    """A score of a law's parameters, and the law that the sample is drawn from."""

    objective: Callable
    law: scipy.stats.rv_continuous
    parameters: tuple[float, ...]


def location_scale(loss):
    def objective(x, sample):
        location, log_scale = (jnp.full_like(sample, v) for v in x)
        return loss(location, sample, log_scale=log_scale, reduction="mean")

    return objective


LAWS = {
    "crps_gaussian": Law(
        location_scale(jaxloss.crps_gaussian), scipy.stats.norm, (0.5, -0.7)
    ),
    "crps_logistic": Law(
        location_scale(jaxloss.crps_logistic), scipy.stats.logistic, (-1.0, 0.3)
    ),
    "crps_laplace": Law(
        location_scale(jaxloss.crps_laplace), scipy.stats.laplace, (2.0, 0.0)
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_is_least_for_the_law(name: str):
    """The targets are quantiles of the law at even steps: a sample without noise."""
    objective, law, parameters = LAWS[name]
    location, log_scale = parameters
    levels = (np.arange(SIZE) + 0.5) / SIZE
    sample = jnp.asarray(law.ppf(levels, location, np.exp(log_scale)))
    found = minimiser(lambda x: objective(x, sample), [location + 0.7, log_scale + 0.7])
    np.testing.assert_allclose(found, parameters, atol=2e-3)


def drawn_from(scale, fairness):
    """The expected score of three members from a law of another scale."""
    key, draws = jax.random.key(0), 20_000
    z = jax.random.normal(key, (draws, 4))
    return jaxloss.crps_ensemble(
        scale * z[:, :3], z[:, 3], fairness=fairness, reduction="mean"
    )


def test_the_fair_score_of_few_members_is_proper_and_the_plain_one_is_not():
    """Three members from the targets' law are best only for the fair score: the plain
    one rewards an ensemble that is too narrow."""
    scales = np.linspace(0.5, 1.5, 21)
    fair = least_on(scales, lambda s: drawn_from(s, 1.0))
    plain = least_on(scales, lambda s: drawn_from(s, 0.0))
    assert abs(fair - 1) <= 0.1
    assert plain < 0.8


def test_a_large_ensemble_scores_as_its_law():
    levels = (np.arange(400) + 0.5) / 400
    ensemble = jnp.asarray(scipy.stats.norm.ppf(levels))
    targets = jnp.asarray([-2.0, 0.0, 0.3, 5.0])
    members = jnp.broadcast_to(ensemble, (4, 400))
    zero = jnp.zeros_like(targets)
    np.testing.assert_allclose(
        jaxloss.crps_ensemble(members, targets),
        jaxloss.crps_gaussian(zero, targets, log_scale=zero),
        atol=2e-3,
    )


def test_the_energy_score_is_least_for_the_law():
    """Over the shift of a cloud of vectors, against targets of the same cloud."""
    rng = np.random.default_rng(5)
    cloud = jnp.asarray(rng.normal(size=(20, 2)))
    targets = jnp.asarray(rng.normal(size=(200, 2)))
    # The minimiser for the sample itself, whose mean is not quite 0.
    shift = jnp.asarray(targets).mean(0) - cloud.mean(0)

    def objective(x):
        members = jnp.broadcast_to(cloud + x[None], (200, 20, 2))
        return jaxloss.energy_score(members, targets, reduction="mean")

    found = minimiser(objective, np.asarray(shift) + 0.5, steps=20)
    np.testing.assert_allclose(found, shift, atol=0.15)


def test_evidence_grows_with_what_is_seen():
    """The expected likelihood is least for evidence in proportion to the frequencies;
    the divergence alone, for none."""

    def objective(x):
        evidence = jnp.broadcast_to(jnp.exp(x), (3, 3))
        return jaxloss.evidential_classification_loss(
            evidence,
            jnp.eye(3),
            variant="log",
            kl_weight=0.0,
            weights=FREQUENCIES,
            reduction="mean",
        )

    # With one concentration held, the expected distribution is that of the classes.
    found = minimiser(
        lambda x: objective(jnp.concatenate([x, jnp.full(1, 2.0)])), [3.0, 3.0]
    )
    alpha = 1 + np.exp(np.append(found, 2.0))
    np.testing.assert_allclose(alpha / alpha.sum(), FREQUENCIES, atol=1e-4)


def test_evidential_regression_finds_a_student_t_law():
    """Its likelihood is Student's t with 2α degrees of freedom and scale
    √(β (1 + ν) / (ν α))."""
    nu, alpha, beta, centre = 1.0, 2.5, 1.5, 0.75
    scale = np.sqrt(beta * (1 + nu) / (nu * alpha))
    levels = (np.arange(SIZE) + 0.5) / SIZE
    sample = jnp.asarray(scipy.stats.t.ppf(levels, 2 * alpha, centre, scale))

    def objective(x):
        mean, log_beta = (jnp.full_like(sample, v) for v in x)
        return jaxloss.evidential_regression_loss(
            mean,
            sample,
            evidence=jnp.full_like(sample, nu),
            alpha=jnp.full_like(sample, alpha),
            beta=jnp.exp(log_beta),
            error_weight=0.0,
            reduction="mean",
        )

    found = minimiser(objective, [centre + 0.5, 0.0])
    np.testing.assert_allclose(found, [centre, np.log(beta)], atol=5e-3)
