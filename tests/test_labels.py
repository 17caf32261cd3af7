"""Smoothed labels."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss._losses.labels import smooth_labels

LABELS = jnp.asarray([[0, 1, 0, 0], [1, 0, 0, 0]], jnp.float32)


def f32(values):
    return jnp.asarray(values, jnp.float32)


def test_w60_removed_classes_get_no_mass():
    keep = jnp.array([[True, True, False, False], [True, True, True, True]])
    smoothed = smooth_labels(LABELS, 0.2, where=keep)
    expected = f32([[0.1, 0.9, 0, 0], [0.85, 0.05, 0.05, 0.05]])
    chex.assert_trees_all_close(smoothed, expected, rtol=1e-6)


def test_w60_a_row_without_classes_is_zero():
    nothing = jnp.zeros(LABELS.shape, bool)
    spoiled = jnp.full_like(LABELS, jnp.nan)
    with jax.debug_nans(True):
        gradient = jax.grad(lambda y: jnp.sum(smooth_labels(y, 0.2, where=nothing)))
        chex.assert_trees_all_equal(gradient(LABELS), jnp.zeros_like(LABELS))
    chex.assert_trees_all_equal(
        smooth_labels(spoiled, 0.2, where=nothing), jnp.zeros_like(LABELS)
    )


def test_w60_half_precision_adds_up_to_one():
    for dtype in (jnp.bfloat16, jnp.float16):
        labels = jax.nn.one_hot(jnp.arange(3), 1000, dtype=dtype)
        smoothed = smooth_labels(labels, 0.1)
        assert smoothed.dtype == jnp.float32
        np.testing.assert_allclose(np.sum(smoothed, axis=-1, dtype=np.float64), 1, 1e-6)


def test_a_mask_of_rows_keeps_rows():
    smoothed = smooth_labels(LABELS, 0.2, where=jnp.array([True, False]))
    chex.assert_trees_all_close(smoothed[0], smooth_labels(LABELS[0], 0.2), rtol=1e-6)
    chex.assert_trees_all_equal(smoothed[1], jnp.zeros(4, jnp.float32))


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.uint8, jnp.bool_])
def test_integer_labels(dtype):
    chex.assert_trees_all_equal(
        smooth_labels(LABELS.astype(dtype), 0.2), smooth_labels(LABELS, 0.2)
    )


def test_nothing_and_everything():
    chex.assert_trees_all_equal(smooth_labels(LABELS, 0.0), LABELS)
    chex.assert_trees_all_equal(smooth_labels(LABELS, 1.0), jnp.full_like(LABELS, 0.25))


def test_alpha_may_be_traced_and_differ_by_row():
    traced = jax.jit(smooth_labels)(LABELS, jnp.float32(0.2))
    chex.assert_trees_all_close(traced, smooth_labels(LABELS, 0.2), rtol=1e-6)
    both = smooth_labels(LABELS, f32([0.2, 0.0]))
    chex.assert_trees_all_close(both[0], traced[0])
    chex.assert_trees_all_equal(both[1], LABELS[1])
    slope = jax.jacfwd(lambda alpha: smooth_labels(LABELS, alpha))(jnp.float32(0.2))
    chex.assert_trees_all_close(slope, 0.25 - LABELS)


def test_axes():
    chex.assert_trees_all_equal(
        smooth_labels(LABELS.T, 0.2, axis=0).T, smooth_labels(LABELS, 0.2)
    )
    for axis in (None, (0, 1)):
        flat = smooth_labels(LABELS, 0.2, axis=axis)
        chex.assert_trees_all_close(flat, 0.8 * LABELS + 0.2 / 8, rtol=1e-6)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_out_of_range(alpha):
    with pytest.raises(ValueError, match=r"smooth_labels: `alpha` must be .*\[0, 1\]"):
        smooth_labels(LABELS, alpha)
    assert np.isnan(smooth_labels(LABELS, jnp.float32(alpha))).all()


def test_bad_shapes_and_dtypes():
    with pytest.raises(ValueError, match="`alpha`"):
        smooth_labels(LABELS, jnp.ones(3, jnp.float32))
    with pytest.raises(ValueError, match="`where`"):
        smooth_labels(LABELS, 0.1, where=jnp.ones(4, bool))
    with pytest.raises(TypeError, match="`labels`"):
        smooth_labels(LABELS.astype(jnp.complex64), 0.1)
