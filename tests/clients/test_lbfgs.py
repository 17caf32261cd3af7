"""optax's L-BFGS, which needs value and gradient to agree, down to the optimum."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LogisticRegression

import jaxloss

RIDGE = 0.5


@pytest.fixture(autouse=True)
def float64():
    """The optimum is where the gradient is 0: to say so takes the digits."""
    with jax.enable_x64(True):
        yield


def minimised(objective, start, tolerance, most=500):
    """The minimum by L-BFGS, and the steps it took, as optax's documentation has it."""
    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(objective)

    def step(carry):
        params, state = carry
        value, gradient = value_and_grad(params, state=state)
        updates, state = optimizer.update(
            gradient, state, params, value=value, grad=gradient, value_fn=objective
        )
        return optax.apply_updates(params, updates), state

    def unfinished(carry):
        _, state = carry
        steps = optax.tree.get(state, "count")
        slope = optax.tree.norm(optax.tree.get(state, "grad"))
        return (steps == 0) | ((steps < most) & (slope >= tolerance))

    @jax.jit
    def run(params):
        return jax.lax.while_loop(unfinished, step, (params, optimizer.init(params)))

    params, state = run(start)
    return params, int(optax.tree.get(state, "count"))


def with_ones(features):
    """To mean 0 and variance 1, and a column for the intercept."""
    scaled = (features - features.mean(0)) / features.std(0)
    return np.column_stack([scaled, np.ones(len(scaled))])


def penalty(theta):
    return RIDGE * jaxloss.l2_loss(theta).sum()


def test_logistic_regression_reaches_scikit_learns_optimum():
    features, labels = load_breast_cancer(return_X_y=True)
    features = with_ones(features)
    x, y = jnp.asarray(features), jnp.asarray(labels, float)

    def objective(theta):
        losses = jaxloss.sigmoid_binary_cross_entropy(x @ theta, y, reduction="sum")
        return losses + penalty(theta)

    theta, steps = minimised(objective, jnp.zeros(x.shape[1]), 1e-7)
    assert steps < 200
    theirs = LogisticRegression(
        C=1 / RIDGE, fit_intercept=False, tol=1e-12, solver="newton-cholesky"
    )
    (expected,) = theirs.fit(features, labels).coef_
    # The gradient left over the least curvature is how far off it may be.
    np.testing.assert_allclose(theta, expected, atol=1e-7 / RIDGE)
    assert abs(expected).max() > 1


def test_least_squares_reaches_the_closed_form():
    features, targets = load_diabetes(return_X_y=True)
    features, targets = with_ones(features), targets / targets.std()
    x, y = jnp.asarray(features), jnp.asarray(targets)

    def objective(theta):
        return jaxloss.l2_loss(x @ theta, y, reduction="sum") + penalty(theta)

    theta, steps = minimised(objective, jnp.zeros(x.shape[1]), 1e-5)
    assert steps < 200
    gram = features.T @ features + RIDGE * np.eye(features.shape[1])
    expected = np.linalg.solve(gram, features.T @ targets)
    np.testing.assert_allclose(theta, expected, atol=1e-5 / RIDGE)
    assert abs(expected).max() > 1
