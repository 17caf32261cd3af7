"""Identities and edge values of the Lovász losses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough


def run(loss, *arrays, **options):
    return jax.jit(functools.partial(loss, **options))(*arrays)


def extension(errors, inside):
    """The definition in float64: Σ of errors times differences of the Jaccard loss."""
    order = np.argsort(-errors, kind="stable")
    inside = inside[order].astype(np.float64)
    right = inside.sum() - np.cumsum(inside)
    union = inside.sum() + np.cumsum(1 - inside)
    jaccard = 1 - right / union
    steps = np.diff(jaccard, prepend=0)
    return (np.maximum(errors[order], 0) * steps).sum(), steps[np.argsort(order)]


def test_a_large_image():
    """Differences of Jaccard indices would be all rounding in float32."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=200_000).astype(np.float32)
    y = rng.uniform(size=x.size) < 0.3
    errors = 1 - x.astype(np.float64) * (2.0 * y - 1)
    exact, steps = extension(errors, y)
    value, slope = jax.jit(jax.value_and_grad(jaxloss.lovasz_hinge_loss))(x, y)
    np.testing.assert_allclose(value, exact, rtol=1e-5)
    expected = -(2.0 * y - 1) * steps * (errors > 0)
    # Hinges that round to the same number may stand in another order: one pixel's step
    # hardly differs from the next one's, unless one is inside and the other is not.
    near = np.isclose(slope, expected, rtol=1e-3, atol=1e-12)
    assert near.mean() > 0.98


def test_hard_errors_are_the_jaccard_loss():
    """Where every error is 0 or 1 (here 2, halved), it is the loss of the set."""
    y = jnp.array([1, 1, 1, 0, 0])
    x = jnp.array([1.0, 1.0, -1.0, 1.0, -1.0])
    loss = run(jaxloss.lovasz_hinge_loss, x, y)
    np.testing.assert_allclose(loss / 2, 1 - 2 / 4, rtol=1e-6)


def test_labels_of_an_image_without_foreground():
    x = jnp.array([0.5, -3.0, 2.0])
    assert run(jaxloss.lovasz_hinge_loss, x, jnp.zeros(3)) == 3  # the largest hinge


@pytest.mark.parametrize("bad", [2.0, -1.0, jnp.nan])
def test_labels_that_are_none(bad):
    value = run(jaxloss.lovasz_hinge_loss, jnp.ones(2), jnp.array([1.0, bad]))
    assert jnp.isnan(value)


def test_axes_of_an_image():
    rng = np.random.default_rng(0)
    x, y = (
        jnp.asarray(rng.normal(size=(2, 3, 4)), "f4"),
        rng.integers(2, size=(2, 3, 4)),
    )
    both = run(jaxloss.lovasz_hinge_loss, x, y, axis=(1, 2))
    flat = run(jaxloss.lovasz_hinge_loss, x.reshape(2, -1), y.reshape(2, -1))
    np.testing.assert_allclose(both, flat, rtol=1e-6)
    keep = jnp.arange(12).reshape(1, 3, 4) < 8
    masked = run(
        jaxloss.lovasz_hinge_loss,
        jnp.where(keep, x, jnp.nan),
        y,
        axis=(1, 2),
        where=keep,
    )
    less = run(jaxloss.lovasz_hinge_loss, x[:, :2], y[:, :2], axis=(1, 2))
    np.testing.assert_allclose(masked, less, rtol=1e-6)


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 4, 3)).astype(np.float32)
    labels = rng.integers(3, size=(2, 3, 4))
    labels[1] %= 2  # the last class does not occur
    return logits, labels


@pytest.mark.parametrize("classes", ["present", "all"])
def test_softmax_is_the_definition(scene, classes):
    logits, labels = scene
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(axis=-1, keepdims=True)
    for i in range(2):
        losses = []
        for c in range(3):
            inside = (labels[i] == c).ravel()
            errors = np.abs(inside - p[i, ..., c].ravel())
            if classes == "all" or inside.any():
                losses.append(extension(errors, inside)[0])
        value = run(jaxloss.lovasz_softmax_loss, logits, labels, classes=classes)[i]
        np.testing.assert_allclose(value, np.mean(losses), rtol=1e-6)


def test_pixels_left_out(scene):
    logits, labels = scene
    spoiled = jnp.asarray(logits).at[:, 2].set(jnp.nan)
    ignored = jnp.asarray(labels).at[:, 2].set(255)
    less = run(jaxloss.lovasz_softmax_loss, logits[:, :2], labels[:, :2])
    by_index = run(jaxloss.lovasz_softmax_loss, spoiled, ignored, ignore_index=255)
    keep = jnp.ones((2, 3, 4), bool).at[:, 2].set(False)
    by_mask = run(jaxloss.lovasz_softmax_loss, spoiled, ignored, where=keep)
    np.testing.assert_allclose(by_index, less, rtol=1e-6)
    np.testing.assert_allclose(by_mask, less, rtol=1e-6)


def test_a_label_that_is_no_class_is_nan(scene):
    logits, labels = scene
    labels = jnp.asarray(labels).at[0, 0, 0].set(3)
    value, slope = jax.jit(
        jax.value_and_grad(lambda x: jnp.sum(jaxloss.lovasz_softmax_loss(x, labels)))
    )(logits)
    assert jnp.isnan(value) and jnp.isnan(slope[0]).any()
    assert not jnp.isnan(slope[1]).any()


def test_one_class_is_binary():
    logits, labels = jnp.array([[[2.0], [-1.0]]]), jnp.array([[1, 0]])
    p = np.asarray(jax.nn.sigmoid(logits[0, :, 0]))
    exact, _ = extension(np.abs(np.array([1, 0]) - p), np.array([True, False]))
    value = run(jaxloss.lovasz_softmax_loss, logits, labels)
    np.testing.assert_allclose(value, [exact], rtol=1e-6)
