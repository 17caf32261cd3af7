"""Regressions of the triplet loss."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import triplet_margin_loss


def f32(*values):
    return jnp.asarray(values, jnp.float32)


def gradients(*arrays, **options):
    def total(*arrays):
        return jnp.sum(triplet_margin_loss(*arrays, **options))

    return jax.jit(jax.grad(total, (0, 1, 2)))(*arrays)


def draw(seed=0, size=1.0):
    rng = np.random.default_rng(seed)
    return tuple(
        jnp.asarray(size * scale * rng.normal(size=(6, 4)), jnp.float32)
        for scale in (1, 3, 0.5)
    )


@pytest.mark.thorough
@pytest.mark.parametrize("degree", [1, 1.5, 2, 2.5, 3, 4, math.inf])
def test_w46_powers_are_of_magnitudes(degree):
    a, p, n = draw()
    wide = [np.asarray(x, np.float64) for x in (a, p, n)]
    near, far = (np.abs(wide[0] - x) for x in wide[1:])

    def distance(d):
        if degree == math.inf:
            return d.max(-1)
        return ((d**degree).sum(-1) + 1e-6) ** (1 / degree)

    expected = np.maximum(0, distance(near) - distance(far) + 1)
    actual = triplet_margin_loss(a, p, n, norm_degree=degree)
    np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=2e-6)
    chex.assert_tree_all_finite(gradients(a, p, n, norm_degree=degree))
    traced = jax.jit(lambda q: triplet_margin_loss(a, p, n, norm_degree=q))
    actual = traced(jnp.float32(degree))
    np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=2e-6)
    by_anchor = jax.grad(
        lambda a: jnp.sum(triplet_margin_loss(a, p, n, norm_degree=jnp.float32(degree)))
    )(a)
    by_static = gradients(a, p, n, norm_degree=degree)[0]
    np.testing.assert_allclose(by_anchor, by_static, rtol=2e-5, atol=2e-6)


def test_w46_opposite_differences_do_not_cancel():
    a, p, n = f32(0, 0), f32(1, -1), f32(0, 0)
    loss = triplet_margin_loss(a, p, n, norm_degree=1, eps=0.0)
    assert loss == 3


@pytest.mark.thorough
def test_w46_derivative_by_the_degree():
    a, p, n = draw()

    def total(q):
        return jnp.sum(triplet_margin_loss(a, p, n, norm_degree=q))

    with jax.enable_x64(True):
        a, p, n = (x.astype(jnp.float64) for x in (a, p, n))
        slope = jax.grad(total)(jnp.float64(2.5))
        assert jnp.isfinite(slope)
        ends = total(jnp.float64(2.5 + 1e-5)), total(jnp.float64(2.5 - 1e-5))
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-6)


def test_w46_degree_out_of_range():
    a, p, n = draw()
    with pytest.raises(ValueError, match="`norm_degree`"):
        triplet_margin_loss(a, p, n, norm_degree=0.5)
    assert jnp.isnan(triplet_margin_loss(a, p, n, norm_degree=jnp.float32(0.5))).all()


@pytest.mark.parametrize("eps", [0.0, 1e-6])
@pytest.mark.parametrize("degree", [1, 2, 3, math.inf])
def test_w47_equal_embeddings_have_a_gradient(eps, degree):
    a, _, _ = draw()
    with jax.debug_nans(True):
        by_anchor, by_positive, by_negative = gradients(
            a, a, a, eps=eps, norm_degree=degree
        )
    for gradient in (by_anchor, by_positive, by_negative):
        chex.assert_trees_all_equal(gradient, jnp.zeros_like(a))
    value = triplet_margin_loss(a, a, a, eps=eps, norm_degree=degree)
    np.testing.assert_allclose(value, 1, rtol=1e-6)


@pytest.mark.parametrize("size", [1e19, 1e20, 1e26])
def test_w47_squares_do_not_overflow(size):
    a, p, n = draw()
    expected = triplet_margin_loss(a, p, n, margin=0.0, eps=1e-12)
    a, p, n = draw(size=size)
    actual = triplet_margin_loss(a, p, n, margin=0.0)
    np.testing.assert_allclose(
        np.asarray(actual, float) / size, expected, rtol=2e-6, atol=2e-6
    )
    chex.assert_tree_all_finite(gradients(a, p, n))


def test_differences_far_below_eps_still_count():
    a, n = jnp.zeros((2, 4), jnp.float32)
    p = f32(2e-5, -2e-5, 2e-5, 2e-5)
    loss = triplet_margin_loss(a, p, n, margin=0.0)
    square = np.sum(np.square(np.asarray(p, np.float64)))
    # Each distance is about 1e-3, rounded to 1e-10.
    np.testing.assert_allclose(loss, np.sqrt(square + 1e-6) - 1e-3, atol=3e-10)


@pytest.mark.parametrize("size", [1e-30, 1e36])
def test_w47_without_eps_any_size_will_do(size):
    a, p, n = draw()
    options = {"margin": 0.0, "eps": 0.0}
    expected = triplet_margin_loss(a, p, n, **options)
    slopes = gradients(a, p, n, **options)
    a, p, n = draw(size=size)
    actual = triplet_margin_loss(a, p, n, **options)
    np.testing.assert_allclose(
        np.asarray(actual, float) / size, expected, rtol=2e-6, atol=2e-6
    )
    for actual, exact in zip(gradients(a, p, n, **options), slopes, strict=True):
        np.testing.assert_allclose(actual, exact, rtol=2e-5, atol=2e-6)


def test_w47_half_precision():
    a = jnp.asarray([[300.0, 0.0]], jnp.float16)
    loss = triplet_margin_loss(a, -a, a)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, 601 - 1e-3, rtol=1e-6)


@pytest.mark.parametrize("degree", [1, 2, 3, math.inf])
def test_far_enough_is_no_loss(degree):
    a, p, n = f32(0, 0), f32(0.5, 0), f32(4, -3)
    assert triplet_margin_loss(a, p, n, norm_degree=degree) == 0
    chex.assert_trees_all_equal(
        gradients(a, p, n, norm_degree=degree), (0 * a, 0 * a, 0 * a)
    )


def test_infinitely_far():
    a, p, n = f32(0, 0), f32(1, 0), f32(np.inf, 0)
    assert triplet_margin_loss(a, p, n) == 0
    assert triplet_margin_loss(a, n, p) == np.inf
    chex.assert_trees_all_equal(gradients(a, p, n), (0 * a, 0 * a, 0 * a))
    chex.assert_trees_all_equal(gradients(a, n, p)[1], f32(1, 0))
    bad = f32(np.nan, 0)
    assert jnp.isnan(triplet_margin_loss(a, p, bad))
    assert jnp.isnan(gradients(a, p, bad)[0]).any()


def test_margin_may_differ_between_triplets():
    a, p, n = draw()
    margins = jnp.arange(6, dtype=jnp.float32)
    actual = triplet_margin_loss(a, p, n, margin=margins)
    for i in range(6):
        alone = triplet_margin_loss(a[i], p[i], n[i], margin=float(i))
        np.testing.assert_allclose(actual[i], alone, rtol=1e-6)


def test_all_three_have_one_shape():
    a, p, n = draw()
    with pytest.raises(ValueError, match="`negatives` must be of the shape"):
        triplet_margin_loss(a, p, n[:1])
    with pytest.raises(ValueError, match="`positives` must be of the shape"):
        triplet_margin_loss(a, p[..., None], n)
