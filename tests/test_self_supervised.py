"""Regressions of NT-Xent, and its masks, weights and reductions."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import ntxent

LABELS = np.array([0, 0, 1, 1, 1, 2, 3, 3])


def draw(seed=0, features=4, size=1.0):
    rng = np.random.default_rng(seed)
    x = size * rng.normal(size=(len(LABELS), features))
    return jnp.asarray(x, jnp.float32), jnp.asarray(LABELS, jnp.int32)


def value_and_gradient(x, labels, **options):
    return jax.jit(jax.value_and_grad(lambda x: ntxent(x, labels, **options)))(x)


def by_pairs(x, labels, tau=0.07):
    """The losses of all positive pairs of each example, from the definition."""
    u = np.asarray(x, np.float64)
    u = u / np.linalg.norm(u, axis=1, keepdims=True)
    s = u @ u.T / tau
    losses = []
    for i, label in enumerate(labels):
        negatives = np.exp(s[i][np.asarray(labels) != label]).sum()
        positives = [j for j in range(len(u)) if j != i and labels[j] == label]
        shares = [np.exp(s[i, j]) / (np.exp(s[i, j]) + negatives) for j in positives]
        losses.append([-np.log(share) for share in shares])
    return losses


def mean(pairs):
    return np.mean([loss for losses in pairs for loss in losses])


@pytest.mark.parametrize("batch", [256, 512])
def test_w42_memory_is_of_the_size_of_the_similarities(batch):
    features = 128
    x = jax.ShapeDtypeStruct((batch, features), jnp.float32)
    labels = jax.ShapeDtypeStruct((batch,), jnp.int32)
    memory = {}
    for name, function in (("value", ntxent), ("gradient", jax.value_and_grad(ntxent))):
        compiled = jax.jit(function).lower(x, labels).compile()
        memory[name] = compiled.memory_analysis().temp_size_in_bytes
    square, rows = 4 * batch * batch, 4 * batch * features
    assert memory["value"] <= 5 * square + 4 * rows
    assert memory["gradient"] <= 8 * square + 8 * rows


def test_w42_one_product_of_matrices():
    x, labels = draw()
    jaxpr = str(jax.make_jaxpr(ntxent)(x, labels))
    assert jaxpr.count("dot_general") == 1
    assert "HIGHEST" in jaxpr


def test_w43_without_positives_the_loss_is_zero():
    x, _ = draw()
    with jax.debug_nans(True):
        value, gradient = value_and_gradient(x, jnp.arange(len(x)))
        alone, by_itself = value_and_gradient(x[:1], jnp.zeros(1, jnp.int32))
        empty, _ = value_and_gradient(x[:0], jnp.zeros(0, jnp.int32))
    assert value == alone == empty == 0
    chex.assert_trees_all_equal(gradient, jnp.zeros_like(x))
    chex.assert_trees_all_equal(by_itself, jnp.zeros_like(x[:1]))


def test_w43_without_negatives_there_is_nothing_to_tell_apart():
    x, _ = draw()
    with jax.debug_nans(True):
        value, gradient = value_and_gradient(x, jnp.zeros(len(x), jnp.int32))
    assert value == 0
    chex.assert_trees_all_equal(gradient, jnp.zeros_like(x))


@pytest.mark.parametrize("size", [1e-30, 1e-10, 1e19, 1e30])
def test_w43_lengths_do_not_matter(size):
    x, labels = draw()
    expected, slope = value_and_gradient(x, labels)
    value, gradient = value_and_gradient(jnp.float32(size) * x, labels)
    np.testing.assert_allclose(value, expected, rtol=2e-6)
    scaled = np.asarray(gradient, np.float64) * size
    np.testing.assert_allclose(scaled, slope, rtol=1e-4, atol=1e-4)


@pytest.mark.thorough
def test_w43_half_precision_norms():
    x, labels = draw(size=400)
    half = x.astype(jnp.float16)
    value = ntxent(half, labels)
    assert value.dtype == jnp.float32
    expected = mean(by_pairs(half, LABELS))
    np.testing.assert_allclose(value, expected, rtol=2e-6)


def test_w43_zero_embedding():
    x, labels = draw()
    x = x.at[0].set(0)
    with jax.debug_nans(True):
        _, gradient = value_and_gradient(x, labels)
    assert (gradient[0] == 0).all()
    chex.assert_tree_all_finite(gradient)
    assert jnp.abs(gradient).max() < 1e3


def test_w43_temperature_zero():
    x, labels = draw()
    with pytest.raises(ValueError, match="`temperature` must be a number in"):
        ntxent(x, labels, 0.0)
    assert jnp.isnan(ntxent(x, labels, jnp.float32(0)))


@pytest.mark.thorough
def test_the_mean_over_pairs_is_optax_default():
    x, labels = draw()
    pairs = by_pairs(x, LABELS)
    np.testing.assert_allclose(ntxent(x, labels), mean(pairs), rtol=1e-6)
    sums = np.array([sum(each) for each in pairs])
    np.testing.assert_allclose(
        ntxent(x, labels, reduction="none"), sums, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        ntxent(x, labels, reduction="sum"), sums.sum(), rtol=1e-6
    )
    np.testing.assert_allclose(
        ntxent(x, labels, base=2), mean(pairs) / np.log(2), rtol=1e-6
    )


def test_weights_are_of_the_anchors():
    x, labels = draw()
    weights = jnp.asarray([1, 2, 0.5, 0, 1, 3, 1, 1], jnp.float32)
    pairs = by_pairs(x, LABELS)
    total = sum(w * sum(p) for w, p in zip(np.asarray(weights), pairs, strict=True))
    count = sum(w * len(p) for w, p in zip(np.asarray(weights), pairs, strict=True))
    np.testing.assert_allclose(
        ntxent(x, labels, weights=weights), total / count, rtol=2e-6
    )
    np.testing.assert_allclose(
        ntxent(x, labels, weights=weights, reduction="sum"), total, rtol=2e-6
    )


@pytest.mark.thorough
@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_masked_examples_are_not_there(value, reduction):
    x, labels = draw()
    keep = jnp.asarray([True, True, False, True, True, True, False, True])
    spoiled = jnp.where(keep[:, None], x, jnp.float32(value))
    options = {"reduction": reduction}

    def total(x, labels, where=None):
        return jnp.sum(ntxent(x, labels, where=where, **options))

    expected, slope = jax.value_and_grad(total)(x[keep], labels[keep])
    actual, gradient = jax.jit(jax.value_and_grad(total))(spoiled, labels, keep)
    np.testing.assert_allclose(actual, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient[keep], slope, rtol=1e-5, atol=1e-5)
    assert (np.asarray(gradient)[~np.asarray(keep)] == 0).all()
    losses = ntxent(spoiled, labels, where=keep, reduction="none")
    assert (np.asarray(losses)[~np.asarray(keep)] == 0).all()


def test_nothing_kept_is_zero():
    x, labels = draw()
    mask = jnp.zeros(len(x), bool)
    with jax.debug_nans(True):
        quiet = value_and_gradient(x, labels, where=mask)
    for value, gradient in (
        quiet,
        value_and_gradient(x * jnp.nan, labels, where=mask),
    ):
        assert value == 0
        chex.assert_trees_all_equal(gradient, jnp.zeros_like(x))


def test_derivative_by_the_temperature():
    x, labels = draw()
    slope = jax.grad(lambda tau: ntxent(x, labels, tau))(jnp.float32(0.5))
    ends = [mean(by_pairs(x, LABELS, tau)) for tau in (0.5001, 0.4999)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-4, rtol=1e-4)
    each = ntxent(x, labels, jnp.full(len(x), 0.5, jnp.float32))
    np.testing.assert_allclose(each, ntxent(x, labels, 0.5), rtol=1e-6)


def test_shapes_and_dtypes():
    x, labels = draw()
    with pytest.raises(
        ValueError, match=r"`embeddings` must be of shape \[batch, feat"
    ):
        ntxent(x[None], labels)
    with pytest.raises(ValueError, match="`labels` must be of shape"):
        ntxent(x, labels[:-1])
    with pytest.raises(TypeError, match="`labels` must be an array of integer"):
        ntxent(x, labels.astype(jnp.float32))
    with pytest.raises(ValueError, match="`where`"):
        ntxent(x, labels, where=jnp.ones(x.shape, bool))
