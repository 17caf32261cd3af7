"""Identities and edge values of soft dynamic time warping."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough


def run(*arrays, **options):
    return jax.jit(functools.partial(jaxloss.soft_dtw, **options))(*arrays)


def exact(x, y, gamma):
    """The recursion in float64; gamma = 0 is the hard minimum."""
    x, y = np.float64(x), np.float64(y)
    table = np.full((len(x) + 1, len(y) + 1), np.inf)
    table[0, 0] = 0
    for i in range(len(x)):
        for j in range(len(y)):
            ways = np.array([table[i, j + 1], table[i + 1, j], table[i, j]])
            least = ways.min()
            if gamma:
                least -= gamma * math.log(np.exp(-(ways - least) / gamma).sum())
            table[i + 1, j + 1] = ((x[i] - y[j]) ** 2).sum() + least
    return table[-1, -1]


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 6, 3)), rng.normal(size=(2, 4, 3))
    return jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)


@pytest.mark.parametrize("gamma", [0.01, 1.0, 100.0])
def test_it_is_the_recursion(pair, gamma):
    x, y = pair
    expected = [exact(a, b, gamma) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(run(x, y, gamma=gamma), expected, rtol=2e-6)
    np.testing.assert_allclose(run(y, x, gamma=jnp.float32(gamma)), expected, rtol=2e-6)


@pytest.mark.parametrize("gamma", [0.1, 1.0, 10.0])
def test_derivative_by_gamma(pair, gamma):
    x, y = pair
    by_gamma = jax.grad(lambda gamma: jnp.sum(run(x, y, gamma=gamma)))
    step = 1e-6 * gamma
    above, below = (
        sum(exact(a, b, gamma + by) for a, b in zip(x, y, strict=True))
        for by in (step, -step)
    )
    expected = (above - below) / (2 * step)
    # The difference of two sums of about 60 in float64, over twice the step.
    np.testing.assert_allclose(
        by_gamma(jnp.float32(gamma)), expected, rtol=1e-5, atol=2e-14 / step
    )


def test_it_tends_to_the_hard_minimum(pair):
    x, y = pair
    expected = [exact(a, b, 0) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(run(x, y, gamma=1e-6), expected, rtol=1e-6)


@pytest.mark.parametrize("garbage", [jnp.nan, jnp.inf])
def test_lengths_cut_the_sequences(pair, garbage):
    x, y = pair
    lengths = {
        "prediction_lengths": jnp.array([3, 6]),
        "target_lengths": jnp.array([4, 2]),
    }
    spoiled = x.at[0, 3:].set(garbage), y.at[1, 2:].set(garbage)
    for options in ({}, {"divergence": True}):
        loss = functools.partial(jaxloss.soft_dtw, **lengths, **options)
        value = jax.jit(loss)(*spoiled)
        slope = jax.jit(jax.grad(lambda x, loss=loss: jnp.sum(loss(x, spoiled[1]))))(
            spoiled[0]
        )
        for i, (m, n) in enumerate(((3, 4), (6, 2))):
            one = run(x[i, :m], y[i, :n], **options)
            np.testing.assert_allclose(value[i], one, rtol=1e-6, atol=1e-6)
        assert jnp.isfinite(slope).all() and (slope[0, 3:] == 0).all()


@pytest.mark.parametrize("bad", [0, -1, 7])
def test_a_length_out_of_range_is_nan(pair, bad):
    x, y = pair
    lengths = jnp.array([bad, 6])
    value, slope = jax.jit(
        jax.value_and_grad(
            lambda x: jnp.sum(jaxloss.soft_dtw(x, y, prediction_lengths=lengths))
        )
    )(x)
    assert jnp.isnan(value) and jnp.isnan(slope[0]).any()
    assert jnp.isfinite(slope[1]).all()


def test_the_divergence_is_0_for_equal_sequences(pair):
    x, y = pair
    value, slope = jax.jit(
        jax.value_and_grad(
            lambda x: jnp.sum(jaxloss.soft_dtw(x, pair[0], divergence=True))
        )
    )(x)
    assert value == 0
    np.testing.assert_allclose(slope, 0, atol=1e-5)
    assert (run(x, y, divergence=True) > 0).all()


def test_one_step_each_is_the_squared_distance():
    x, y = jnp.array([[1.0, 2.0]]), jnp.array([[0.0, 4.0]])
    assert run(x, y) == 5


def test_errors(pair):
    x, y = pair
    with pytest.raises(ValueError, match="`targets`"):
        jaxloss.soft_dtw(x, y[..., :2])
    with pytest.raises(ValueError, match="`predictions`"):
        jaxloss.soft_dtw(x[0, 0], y[0, 0])
    with pytest.raises(ValueError, match="`gamma`"):
        jaxloss.soft_dtw(x, y, gamma=0.0)
    with pytest.raises(ValueError, match="`target_lengths` must be of shape"):
        jaxloss.soft_dtw(x, y, target_lengths=jnp.array([1]))
