"""Transport and two-sample distances: identities, limits, edges."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, stats

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough

RNG = np.random.default_rng(0)
X, Y = jnp.asarray(RNG.normal(size=(6, 2))), jnp.asarray(RNG.normal(size=(6, 2)) + 1)


def close(actual, expected, rtol=1e-6, atol=0.0):
    np.testing.assert_allclose(
        np.asarray(actual, np.float64), np.asarray(expected), rtol=rtol, atol=atol
    )


def test_wasserstein_is_scipys():
    close(
        jaxloss.wasserstein_1d(X.T, Y.T),
        [stats.wasserstein_distance(x, y) for x, y in zip(X.T, Y.T, strict=True)],
        1e-12,
    )
    # Of two columns it is the assignment that costs least.
    cost = np.abs(np.asarray(X)[:, :1] - np.asarray(Y)[:, 0]) ** 3
    rows, columns = optimize.linear_sum_assignment(cost)
    actual = jaxloss.wasserstein_1d(X[:, 0], Y[:, 0], power=3.0)
    close(actual, cost[rows, columns].mean(), 1e-12)


def test_wasserstein_of_equal_samples_is_zero_and_flat():
    for power in (1.0, 1.5, 2.0):
        loss = functools.partial(jaxloss.wasserstein_1d, power=power)
        value, slope = jax.value_and_grad(loss)(X[:, 0], X[::-1, 0])
        assert value == 0
        assert (np.asarray(slope) == 0).all()


def test_sliced_wasserstein():
    key = jax.random.key(1)
    loss = functools.partial(jaxloss.sliced_wasserstein, key=key, projections=2000)
    # A shift by v: |v|² / features, the mean over the sphere.
    close(loss(X, X + jnp.asarray([[3.0, 4.0]])), 25 / 2, 0.05)
    assert loss(X, X[::-1]) == 0
    keep = jnp.asarray([True, True, False, True, False, True])
    spoiled = X.at[2].set(jnp.nan).at[4].set(jnp.inf)
    kept = np.asarray(keep)
    close(loss(spoiled, Y, where=keep), loss(X[kept], Y[kept]), 1e-12)
    slope = jax.grad(lambda x: loss(x, Y, where=keep))(spoiled)
    assert (np.asarray(slope)[~kept] == 0).all() and np.isfinite(slope).all()
    with pytest.raises(ValueError, match="`targets` must be of the shape"):
        loss(X, Y[:3])
    with pytest.raises(ValueError, match="`projections`"):
        jaxloss.sliced_wasserstein(X, Y, key=key, projections=0)


def test_sinkhorn_tends_to_transport():
    cost = ((np.asarray(X)[:, None] - np.asarray(Y)[None]) ** 2).sum(-1) / 2
    rows, columns = optimize.linear_sum_assignment(cost)
    solve = functools.partial(
        jaxloss.sinkhorn_divergence, epsilon=0.05, iterations=1000
    )
    loss = jax.jit(solve)(X, Y)
    close(loss, cost[rows, columns].mean(), 1e-2)
    # A shift costs half its square at any epsilon: the bias is gone.
    for epsilon in (1.0, 10.0):
        shifted = jaxloss.sinkhorn_divergence(X, X + 2, epsilon=epsilon, iterations=300)
        close(shifted, 4, 1e-3)


def test_sinkhorn_of_equal_clouds_is_zero():
    value, slope = jax.value_and_grad(jaxloss.sinkhorn_divergence)(X, X)
    assert value == 0
    close(slope, 0, atol=1e-12)


def test_sinkhorn_gradient_is_the_plan_once_converged():
    """By the envelope theorem: each point is drawn to the mean of its partners."""
    epsilon, x, y = 1.0, np.asarray(X), np.asarray(Y)

    def plan(x, y):
        cost = ((x[:, None] - y[None]) ** 2).sum(-1) / 2
        kernel = np.exp(-cost / epsilon)
        v = np.ones(len(y))
        for _ in range(2000):
            u = 1 / (kernel @ v)
            v = 1 / (kernel.T @ u)
        shares = u[:, None] * kernel * v / len(x)
        return shares

    def drawn(x, y):
        return (plan(x, y)[:, :, None] * (x[:, None] - y[None])).sum(1)

    loss = functools.partial(
        jaxloss.sinkhorn_divergence, epsilon=epsilon, iterations=400
    )
    close(jax.grad(loss)(X, Y), drawn(x, y) - drawn(x, x), 1e-8, 1e-10)


def test_masses_and_masks():
    keep = jnp.asarray([True, True, False, True, False, True])
    kept = np.asarray(keep)
    spoiled = X.at[2].set(jnp.nan).at[4].set(jnp.inf)
    for loss in (
        functools.partial(jaxloss.sinkhorn_divergence, iterations=5),
        jaxloss.mmd_loss,
        functools.partial(jaxloss.energy_distance, estimator="unbiased"),
    ):
        expected = loss(X[kept], Y)
        close(loss(spoiled, Y, where=keep), expected, 1e-12)
        close(loss(X, Y, weights=3.0 * keep.astype(float)), expected, 1e-12)
        masked = functools.partial(loss, where=keep)
        slope = jax.grad(masked)(spoiled, Y)
        assert (np.asarray(slope)[~kept] == 0).all()
        close(np.asarray(slope)[kept], jax.grad(loss)(X[kept], Y), 1e-11, 1e-12)
        # A point twice is a point with twice the mass.
        double = jnp.concatenate([Y, Y[:1]])
        mass = jnp.ones(6).at[0].set(2)
        if loss is not jaxloss.mmd_loss:
            continue
        close(loss(X, double), loss(X, Y, target_weights=mass), 1e-12)
        nothing = jnp.zeros(6, bool)
        value, slope = jax.value_and_grad(loss)(X, Y, target_where=nothing)
        assert value == 0 and (np.asarray(slope) == 0).all()


def test_estimators():
    """Unbiased is zero in the mean of many pairs of one law; biased is not negative."""
    clouds = jnp.asarray(RNG.normal(size=(2000, 2, 5, 2)))
    for loss in (jaxloss.mmd_loss, jaxloss.energy_distance):
        mapped = jax.jit(jax.vmap(functools.partial(loss, estimator="unbiased")))
        values = np.asarray(mapped(clouds[:, 0], clouds[:, 1]))
        assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))
        biased = np.asarray(jax.jit(jax.vmap(loss))(clouds[:, 0], clouds[:, 1]))
        assert (biased >= 0).all() and biased.mean() > 0.1


def test_energy_distance_is_scipys():
    actual = jaxloss.energy_distance(X[:, :1], Y[:, :1])
    expected = stats.energy_distance(np.asarray(X)[:, 0], np.asarray(Y)[:, 0]) ** 2
    close(actual, expected, 1e-12)


def test_close_clouds_keep_their_digits():
    x, y = 1e-3 * np.asarray(X), 1e-3 * np.asarray(Y) + 1e-3
    for loss in (jaxloss.mmd_loss, jaxloss.energy_distance):
        narrow = jax.value_and_grad(loss)(
            *(jnp.asarray(a, jnp.float32) for a in (x, y))
        )
        wide = jax.value_and_grad(loss)(
            *(jnp.asarray(a.astype(np.float32), jnp.float64) for a in (x, y))
        )
        close(narrow[0], wide[0], 2e-6)
        largest = np.abs(np.asarray(wide[1])).max()
        close(narrow[1], wide[1], 0, 3e-6 * largest)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"of shape \[samples, features\]"):
        jaxloss.mmd_loss(X[0], Y)
    with pytest.raises(ValueError, match="with the features of `predictions`"):
        jaxloss.energy_distance(X, Y[:, :1])
    with pytest.raises(ValueError, match="`estimator` must be one of"):
        jaxloss.mmd_loss(X, Y, estimator="fair")
    with pytest.raises(ValueError, match="`bandwidths` must be"):
        jaxloss.mmd_loss(X, Y, bandwidths=0.0)
    with pytest.raises(ValueError, match="`target_weights` must be of shape"):
        jaxloss.mmd_loss(X, Y, target_weights=jnp.ones(5))
    with pytest.raises(ValueError, match="`iterations`"):
        jaxloss.sinkhorn_divergence(X, Y, iterations=-1)
