"""Regressions and identities of the proper scores and the evidential losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough


def f32(*values):
    return jnp.asarray(values, jnp.float32)


def close(actual, expected, rtol=1e-6, atol=0.0):
    np.testing.assert_allclose(
        np.asarray(actual, np.float64), expected, rtol=rtol, atol=atol
    )


LAWS = {
    "crps_gaussian": scipy.stats.norm,
    "crps_logistic": scipy.stats.logistic,
    "crps_laplace": scipy.stats.laplace,
}


@pytest.mark.parametrize("name", LAWS)
def test_crps_is_the_integral_of_its_definition(name):
    law, loss = LAWS[name](0.3, 1.7), getattr(jaxloss, name)
    for y in (-4.0, 0.3, 1.0):
        below = scipy.integrate.quad(lambda x: law.cdf(x) ** 2, -np.inf, y)[0]
        above = scipy.integrate.quad(lambda x: law.sf(x) ** 2, y, np.inf)[0]
        actual = loss(
            jnp.float64(0.3), jnp.float64(y), log_scale=jnp.float64(np.log(1.7))
        )
        close(actual, below + above, 1e-7)


@pytest.mark.parametrize("name", LAWS)
def test_crps_of_a_law_without_width_is_the_absolute_error(name):
    location, target = f32(0, 1, -2, 3e30), f32(0, 3, 5, 0)

    def total(location, log_scale):
        return getattr(jaxloss, name)(location, target, log_scale=log_scale).sum()

    for log_scale in (-jnp.inf, -200.0):
        scales = jnp.full(4, log_scale, jnp.float32)
        loss = getattr(jaxloss, name)(location, target, log_scale=scales)
        close(loss, np.abs(np.float64(location) - np.float64(target)))
        by_location, by_scale = jax.grad(total, (0, 1))(location, scales)
        close(by_location, [0, -1, -1, 1])
        close(by_scale, np.zeros(4))


def test_crps_gaussian_far_out():
    """|e| - s/√π, and what is left of the law beyond."""
    close(
        jaxloss.crps_gaussian(f32(50), f32(0), log_scale=f32(0)),
        [50 - 1 / np.sqrt(np.pi)],
    )


def test_an_ensemble_of_one_is_a_point():
    loss = jaxloss.crps_ensemble(f32(3, -1).reshape(2, 1), f32(1, -1))
    close(loss, [2, 0])
    alone = jaxloss.crps_ensemble(f32(3).reshape(1, 1), f32(1), fairness=1.0)
    assert np.isnan(alone).all()
    with pytest.raises(ValueError, match="`fairness` must be 0"):
        jaxloss.energy_score(jnp.zeros((1, 2)), jnp.zeros(2), fairness=1.0)


def test_equal_members_share_their_gradient():
    x, y = f32(1, 1, 1, 4).reshape(1, 4), f32(0)
    gradient = jax.grad(lambda x: jaxloss.crps_ensemble(x, y).sum())(x)[0]
    assert gradient[0] == gradient[1] == gradient[2]
    close(gradient, [0.5 * (1 - 1.5 / 4)] * 3 + [0.5 * (1 - 3.5 / 4)])


def test_members_may_be_masked():
    x = f32(1, np.nan, 2, 4).reshape(1, 4)
    keep = jnp.asarray([[True, False, True, True]])
    for fairness in (0.0, 1.0):
        masked = jaxloss.crps_ensemble(x, f32(2.5), where=keep, fairness=fairness)
        fewer = jaxloss.crps_ensemble(
            f32(1, 2, 4).reshape(1, 3), f32(2.5), fairness=fairness
        )
        close(masked, fewer)


def test_energy_score_in_one_dimension_is_the_crps():
    rng = np.random.default_rng(0)
    x, y = jnp.asarray(rng.normal(size=(5, 7))), jnp.asarray(rng.normal(size=5))
    for fairness in (0.0, 1.0):
        vectors = jaxloss.energy_score(x[..., None], y[:, None], fairness=fairness)
        close(vectors, jaxloss.crps_ensemble(x, y, fairness=fairness), 1e-12)


def test_interval_score_is_two_quantile_losses():
    low, y, high = f32(-1, 0, 2), f32(0, -3, 9), f32(1, 0.5, 3)
    alpha = 0.2
    quantiles = jaxloss.quantile_loss(low, y, quantile=0.1) + jaxloss.quantile_loss(
        high, y, quantile=0.9
    )
    score = jaxloss.interval_score(low, y, upper=high, alpha=alpha)
    close(score, 2 / alpha * np.asarray(quantiles), 1e-5)


def test_brier_score_of_logits_and_its_saturation():
    x, t = jnp.asarray([[1.0, -0.5, 2.0]]), jnp.asarray([[0.0, 1.0, 0.0]])
    of_probs = jaxloss.brier_score(jax.nn.softmax(x), t)
    close(jaxloss.softmax_brier_score(x, t), of_probs, 1e-12)
    # Where the cross entropy still pulls by 1, this hardly does.
    wrong, hot = f32(-20, 0), f32(1, 0)
    pull = jax.grad(jaxloss.softmax_cross_entropy)(wrong, hot)[0]
    faint = jax.grad(jaxloss.softmax_brier_score)(wrong, hot)[0]
    close(pull, -1)
    assert 0 < -faint < 1e-8


def test_spherical_score_of_the_certain():
    hot = jnp.eye(3)
    close(jaxloss.spherical_score(hot, hot), [-1, -1, -1])
    close(jaxloss.spherical_score(hot, hot[::-1]), [0, -1, 0])


def test_evidential_regression_is_student_t():
    g, y, nu, a, b = (jnp.asarray([v]) for v in (0.5, 2.0, 1.5, 2.5, 0.7))
    loss = jaxloss.evidential_regression_loss(
        g, y, evidence=nu, alpha=a, beta=b, error_weight=0.0
    )
    scale = np.sqrt(0.7 * 2.5 / (1.5 * 2.5))
    close(loss, -scipy.stats.t.logpdf([2.0], 5, 0.5, scale), 1e-12)


def test_no_evidence_is_the_uniform_law():
    """Its divergence is 0, and its expected likelihood log C."""
    loss = jaxloss.evidential_classification_loss(
        jnp.zeros((1, 4)), jnp.eye(4)[:1], variant="log"
    )
    close(loss, [np.log(4)])
    with pytest.raises(ValueError, match="`variant` must be one of"):
        jaxloss.evidential_classification_loss(
            jnp.zeros((1, 4)), jnp.eye(4)[:1], variant="mae"
        )
