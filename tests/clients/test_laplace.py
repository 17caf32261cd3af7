"""Laplace's approximation: the posterior's covariance is an inverse `jax.hessian`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss

PRECISION = 0.5  # of the Gaussian prior
ROWS, FEATURES, CLASSES = 60, 4, 3


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, FEATURES))
    # Rows of which the model will be sure: 1 - p is far below a rounding of p.
    return np.concatenate([x, 30 * x[:8]])


def mode(objective, size):
    """By Newton's method."""

    def step(theta, _):
        slope, curvature = jax.grad(objective)(theta), jax.hessian(objective)(theta)
        return theta - jnp.linalg.solve(curvature, slope), None

    theta, _ = jax.jit(lambda t: jax.lax.scan(step, t, None, 20))(jnp.zeros(size))
    return theta


def covariance(objective, theta):
    return jnp.linalg.inv(jax.jit(jax.hessian(objective))(theta))


def posterior(likelihood):
    """The negative log posterior, but for a constant."""
    return lambda theta: likelihood(theta) + PRECISION * jaxloss.l2_loss(theta).sum()


def test_binary(features):
    truth = np.array([1.0, -0.5, 0.2, 0.0])
    labels = 1.0 * (features @ truth > 0)
    labels[:6] = 1 - labels[:6]  # so that it stays unsure of the ordinary rows

    def on(x, y):
        return posterior(
            lambda theta: jaxloss.sigmoid_binary_cross_entropy(
                x @ theta, y, reduction="sum"
            )
        )

    with jax.enable_x64(True):
        objective = on(jnp.asarray(features), jnp.asarray(labels))
        theta = mode(objective, FEATURES)
        assert jnp.abs(jax.grad(objective)(theta)).max() < 1e-10
        actual = covariance(objective, theta)
    score = features @ np.asarray(theta)
    assert abs(score).max() > 20
    weight = np.exp(-abs(score)) / (1 + np.exp(-abs(score))) ** 2  # p (1 - p)
    information = features.T * weight @ features + PRECISION * np.eye(FEATURES)
    expected = np.linalg.inv(information)
    np.testing.assert_allclose(actual, expected, rtol=1e-10)  # float64 throughout

    # In float32 the scores are rounded, by up to 2^-24 of 30, before the loss sees
    # them, and the Hessian may be off by 1e-5: an inverse, of condition below 10.
    assert np.linalg.cond(information) < 10
    single = on(jnp.float32(features), jnp.float32(labels))
    actual = covariance(single, jnp.float32(theta))
    assert actual.dtype == jnp.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_of_several_classes(features):
    labels = np.argmax(features[:, :CLASSES], -1)
    labels[:6] = 0

    with jax.enable_x64(True):
        x, y = jnp.asarray(features), jnp.asarray(labels)

        def logits_of(theta):
            return x @ theta.reshape(FEATURES, CLASSES)

        objective = posterior(
            lambda theta: jaxloss.softmax_cross_entropy_with_integer_labels(
                logits_of(theta), y, reduction="sum"
            )
        )
        theta = mode(objective, FEATURES * CLASSES)
        assert jnp.abs(jax.grad(objective)(theta)).max() < 1e-10
        actual = covariance(objective, theta)
        p = np.asarray(jax.nn.softmax(logits_of(theta)))
    # Of each row, x xᵀ times diag p - p pᵀ.
    spread = np.einsum("nc,cd->ncd", p, np.eye(CLASSES)) - p[:, :, None] * p[:, None]
    information = np.einsum("ni,nj,ncd->icjd", features, features, spread)
    size = FEATURES * CLASSES
    information = information.reshape(size, size) + PRECISION * np.eye(size)
    np.testing.assert_allclose(actual, np.linalg.inv(information), rtol=1e-8, atol=1e-9)
