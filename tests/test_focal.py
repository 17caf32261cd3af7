"""Regressions and edge values of the focal losses."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import (
    sigmoid_binary_cross_entropy,
    sigmoid_focal_loss,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
    softmax_focal_loss,
)

INF = jnp.inf


def f32(*values):
    return jnp.array(values, jnp.float32)


def total(loss, labels, **options):
    return lambda x: jnp.sum(loss(x, labels, **options))


def exact_focal(x, y, gamma):
    """The definition in float64, where its terms underflow late."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    tail = np.exp(-np.abs(x))
    p = np.where(x < 0, tail, 1) / (1 + tail)
    q = np.where(x < 0, 1, tail) / (1 + tail)
    loss = np.where(x < 0, y, 1 - y) * np.abs(x) + np.log1p(tail)
    return (y * q + (1 - y) * p) ** gamma * loss


# ------------------------------------------------------------------ sigmoid


@pytest.mark.parametrize("gamma", [2.0, 5.0])
def test_w33_soft_labels_at_large_logits(gamma):
    x, y = f32(1e4, -1e4, 3e4), f32(0.5, 0.5, 0.25)
    np.testing.assert_allclose(
        sigmoid_focal_loss(x, y, gamma=gamma), exact_focal(x, y, gamma), rtol=5e-7
    )


@pytest.mark.exhaustive
def test_w34_gradient_with_respect_to_hard_labels():
    x, y = f32(2.0, -2.0, 30.0, 100.0, 0.0), f32(1, 0, 1, 1, 0)
    got = jax.grad(lambda y: jnp.sum(sigmoid_focal_loss(x, y)))(y)
    assert jnp.isfinite(got).all()
    step = 1e-6
    wide = np.asarray(y, np.float64)
    slope = (exact_focal(x, wide + step, 2) - exact_focal(x, wide - step, 2)) / 2e-6
    np.testing.assert_allclose(got[:2], slope[:2], rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_w35_infinite_logits_have_their_limits(gamma):
    x, y = f32(INF, INF, -INF, -INF), f32(1, 0, 1, 0)

    def loss(x):
        return sigmoid_focal_loss(x, y, gamma=gamma, alpha=0.5)

    chex.assert_trees_all_equal(loss(x), f32(0, INF, INF, 0))
    slope = f32(0, 0.5, -0.5, 0)
    chex.assert_trees_all_equal(jax.grad(lambda x: loss(x).sum())(x), slope)
    tangent = jax.jvp(loss, (x,), (jnp.ones_like(x),))[1]
    chex.assert_trees_all_equal(tangent, slope)


@pytest.mark.parametrize("x", [6.0, 12.0, 20.0])
def test_w36_half_precision_with_soft_labels(x):
    logits, labels = jnp.array([x, -x], jnp.bfloat16), f32(0.9, 0.3)
    loss = sigmoid_focal_loss(logits, labels)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, exact_focal(logits, labels, 2), rtol=5e-7)


@pytest.mark.parametrize("gamma", [0.0, jnp.float32(0)])
def test_gamma_0_is_the_cross_entropy_and_its_gradient(gamma):
    x, y = f32(-50, -2, 0, 3, 90), f32(0.25, 1, 0, 0.5, 1)
    got = jax.value_and_grad(total(sigmoid_focal_loss, y, gamma=gamma))(x)
    expected = jax.value_and_grad(total(sigmoid_binary_cross_entropy, y))(x)
    chex.assert_trees_all_close(got, expected, rtol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("gamma", [0.01, 0.5, 1.0])
def test_saturated_logits_below_gamma_1_have_finite_derivatives(gamma):
    x = f32(110, 100, 90, 85, -85, -90, -100, -110, 88, -88)
    y = f32(1, 1, 1, 1, 0, 0, 0, 0, 0.5, 1e-6)

    slope = jax.grad(total(sigmoid_focal_loss, y, gamma=gamma))
    chex.assert_tree_all_finite(slope(x))
    chex.assert_tree_all_finite(jax.jvp(slope, (x,), (jnp.ones_like(x),))[1])


@pytest.mark.exhaustive
def test_third_derivative_is_finite_and_right():
    def loss(x):
        return sigmoid_focal_loss(x, jnp.float32(1), gamma=1.5)

    third = jax.grad(jax.grad(jax.grad(loss)))
    wide = jax.grad(jax.grad(loss))
    x = jnp.float32(0.3)
    step = jnp.float32(1e-2)
    slope = (wide(x + step) - wide(x - step)) / (2 * step)
    chex.assert_trees_all_close(third(x), slope, rtol=1e-3)


def test_gradients_with_respect_to_gamma_and_alpha():
    x, y = f32(-3, 0.5, 20, 100), f32(1, 0.25, 1, 1)

    def loss(gamma, alpha):
        return jnp.sum(sigmoid_focal_loss(x, y, gamma=gamma, alpha=alpha))

    gamma, alpha = jnp.float32(1.5), jnp.float32(0.25)
    by_gamma, by_alpha = jax.grad(loss, (0, 1))(gamma, alpha)
    wide = np.asarray(y, np.float64)
    balance = 0.25 * wide + 0.75 * (1 - wide)

    def exact(gamma):
        return np.sum(balance * exact_focal(x, y, gamma))

    slope = (exact(1.5 + 1e-5) - exact(1.5 - 1e-5)) / 2e-5
    np.testing.assert_allclose(by_gamma, slope, rtol=1e-5)
    slope = np.sum((2 * wide - 1) * exact_focal(x, y, 1.5))
    np.testing.assert_allclose(by_alpha, slope, rtol=1e-5)


@pytest.mark.parametrize("label", [-1.0, 1.5, jnp.nan])
def test_a_label_outside_0_and_1_is_nan_in_value_and_gradient(label):
    x, y = f32(1.0, -3.0), f32(label, label)
    value, slope = jax.vmap(
        lambda x, y: jax.value_and_grad(total(sigmoid_focal_loss, y))(x)
    )(x, y)
    assert jnp.isnan(value).all()
    assert jnp.isnan(slope).all()


def test_nan_logits_are_not_hidden():
    x, y = f32(jnp.nan, jnp.nan), f32(0, 1)
    assert jnp.isnan(sigmoid_focal_loss(x, y)).all()
    assert jnp.isnan(jax.grad(total(sigmoid_focal_loss, y))(x)).all()


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_the_distance_ends_at_a_soft_label_and_is_the_mixture_for_hard_ones(gamma):
    def by_distance(x, y, gamma=gamma):
        return sigmoid_focal_loss(x, y, gamma=gamma, modulation="distance")

    x = f32(0, -3, 2, 30, -INF, INF)
    # At the label the value has its minimum, 0, and m″ ℓ = 2 (p q)² log 2 is all of the
    # curvature: of the square, of a smaller power none that is finite.
    value, slope = jax.value_and_grad(by_distance)(x[0], f32(0.5)[0])
    assert value == 0 and slope == 0
    curvature = jax.grad(jax.grad(by_distance))(x[0], f32(0.5)[0])
    expected = 2 * 0.25**2 * np.log(2) if gamma == 2 else 0
    np.testing.assert_allclose(curvature, expected, rtol=5e-7)
    for label in (0, 1):
        y = f32(*[label] * len(x))
        plain = sigmoid_focal_loss(x, y, gamma=gamma)
        np.testing.assert_allclose(by_distance(x, y), plain, rtol=2e-6)
    y = f32(0.9, 0.25, 0.5, 0.25)
    p = 1 / (1 + np.exp(-np.asarray(x[:4], np.float64)))
    wide = np.asarray(y, np.float64)
    slope = (
        np.log(np.abs(p - wide)) * np.abs(p - wide) ** gamma * exact_focal(x[:4], y, 0)
    )
    got = jax.grad(lambda g: jnp.sum(by_distance(x[:4], y, g)))(jnp.float32(gamma))
    np.testing.assert_allclose(got, np.sum(slope), rtol=2e-6)
    with pytest.raises(ValueError, match=r"sigmoid_focal_loss: `modulation` must be"):
        sigmoid_focal_loss(x, x, modulation="difference")


def test_alpha_0_and_1_leave_out_a_side():
    x, y = f32(1, -2, -INF, INF), f32(1, 0, 1, 0)
    assert (sigmoid_focal_loss(x, y, alpha=0.0)[jnp.array([0, 2])] == 0).all()
    assert (sigmoid_focal_loss(x, y, alpha=1.0)[jnp.array([1, 3])] == 0).all()


def test_options_out_of_range():
    x = f32(1)
    with pytest.raises(ValueError, match=r"`alpha` must be a number in \[0, 1\]"):
        sigmoid_focal_loss(x, x, alpha=1.5)
    with pytest.raises(ValueError, match=r"sigmoid_focal_loss: `gamma` must be a num"):
        sigmoid_focal_loss(x, x, gamma=-1.0)
    loss = jax.jit(lambda g: sigmoid_focal_loss(x, x, gamma=g))(jnp.float32(-1))
    assert jnp.isnan(loss).all()


# ------------------------------------------------------------------ softmax

LOGITS = jnp.array(
    [[2.0, 1.0, 0.1], [0.5, 2.5, 0.3], [30.0, 1.0, 0.0], [-1.0, 0.0, 200.0]],
    jnp.float32,
)
LABELS = jnp.array([0, 2, 0, 2], jnp.int32)
ONE_HOT = jnp.eye(3, dtype=jnp.float32)[LABELS]


@pytest.mark.thorough
@pytest.mark.parametrize("options", [{}, {"alpha": f32(1, 2, 0.5)}, {"gamma": 0.5}])
def test_integers_and_one_hot_agree(options):
    integer = jax.value_and_grad(total(softmax_focal_loss, LABELS, **options))
    one_hot = jax.value_and_grad(total(softmax_focal_loss, ONE_HOT, **options))
    chex.assert_trees_all_close(integer(LOGITS), one_hot(LOGITS), rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("gamma", [0, 0.0, jnp.float32(0)])
def test_softmax_gamma_0_is_the_cross_entropy(gamma):
    for labels, twin in (
        (LABELS, softmax_cross_entropy_with_integer_labels),
        (ONE_HOT, softmax_cross_entropy),
    ):
        got = jax.value_and_grad(total(softmax_focal_loss, labels, gamma=gamma))
        expected = jax.value_and_grad(total(twin, labels))
        chex.assert_trees_all_close(got(LOGITS), expected(LOGITS), rtol=1e-6)


@pytest.mark.exhaustive
def test_two_classes_are_the_sigmoid_focal_loss():
    x = jnp.linspace(-40, 40, 17, dtype=jnp.float32)
    both = jnp.stack([jnp.zeros_like(x), x], 1)
    for y in (0, 1):
        label = jnp.full(x.shape, y, jnp.int32)
        chex.assert_trees_all_close(
            softmax_focal_loss(both, label, gamma=1.5),
            sigmoid_focal_loss(x, label, gamma=1.5),
            rtol=2e-6,
        )


@pytest.mark.thorough
@pytest.mark.parametrize("gamma", [0.25, 1.0, 2.0])
def test_a_certain_row_has_finite_derivatives(gamma):
    x = jnp.array([[0, 50, 0], [0, 95, 0], [0, 200, 0], [300, 0, 0]], jnp.float32)
    y = jnp.array([1, 1, 1, 1], jnp.int32)
    for labels in (y, jnp.eye(3, dtype=jnp.float32)[y]):
        slope = jax.grad(total(softmax_focal_loss, labels, gamma=gamma))
        chex.assert_tree_all_finite(slope(x))
        for direction in jnp.eye(3, dtype=jnp.float32):
            way = jnp.broadcast_to(direction, x.shape)
            chex.assert_tree_all_finite(jax.jvp(slope, (x,), (way,))[1])


@pytest.mark.thorough
def test_absent_and_certain_classes_have_their_limits():
    x = jnp.array([[0, -INF, 0], [0, INF, 0], [INF, 0, 0]], jnp.float32)
    y = jnp.array([0, 1, 1], jnp.int32)
    half = np.float32(0.25 * np.log(2))
    for labels in (y, jnp.eye(3, dtype=jnp.float32)[y]):
        value = softmax_focal_loss(x, labels)
        chex.assert_trees_all_close(value, f32(half, 0, INF), rtol=1e-6)
        slope = jax.grad(total(softmax_focal_loss, labels))(x)
        chex.assert_trees_all_equal(slope[1:], jnp.array([[0, 0, 0], [1, -1, 0]], "f4"))
        chex.assert_tree_all_finite(slope)


@pytest.mark.thorough
@pytest.mark.parametrize("label", [-1, 3, -100])
def test_an_integer_label_out_of_range_is_nan_or_ignored(label):
    x, y = LOGITS[:2], jnp.array([label, 1], jnp.int32)
    value = softmax_focal_loss(x, y)
    slope = jax.grad(total(softmax_focal_loss, y))(x)
    assert jnp.isnan(value[0]) and jnp.isnan(slope[0]).all()
    assert jnp.isfinite(value[1]) and jnp.isfinite(slope[1]).all()
    value = softmax_focal_loss(x, y, ignore_index=label, reduction="mean")
    chex.assert_trees_all_close(value, softmax_focal_loss(x, y)[1])


def test_a_share_outside_0_and_1_is_nan_in_value_and_gradient():
    t = ONE_HOT.at[0, 0].set(-0.1).at[1, 1].set(1.5)
    value = softmax_focal_loss(LOGITS, t)
    slope = jax.grad(total(softmax_focal_loss, t))(LOGITS)
    assert jnp.isnan(value[:2]).all() and jnp.isfinite(value[2:]).all()
    assert jnp.isnan(slope[:2]).all() and jnp.isfinite(slope[2:]).all()


@pytest.mark.exhaustive
def test_gradients_with_respect_to_shares_gamma_and_alpha():
    gamma, alpha = jnp.float32(1.5), f32(1, 0.5, 2)

    def loss(t, gamma, alpha):
        return jnp.sum(softmax_focal_loss(LOGITS, t, gamma=gamma, alpha=alpha))

    t = jnp.full(LOGITS.shape, 0.25, jnp.float32)
    by_share, by_gamma, by_alpha = jax.grad(loss, (0, 1, 2))(t, gamma, alpha)
    x = np.asarray(LOGITS, np.float64)
    nll = np.log(np.exp(x - x.max(1, keepdims=True)).sum(1, keepdims=True))
    nll = nll + x.max(1, keepdims=True) - x
    each = (-np.expm1(-nll)) ** 1.5 * nll
    each_share = each * np.asarray(alpha)
    # In float64 too, log-sum-exp leaves a certain row an absolute error of 1e-16.
    np.testing.assert_allclose(by_share, each_share, rtol=2e-6, atol=1e-30)
    np.testing.assert_allclose(by_alpha, 0.25 * each.sum(0), rtol=2e-6)
    log_missed = np.log(np.maximum(-np.expm1(-nll), 1e-300))
    slope = np.sum(0.25 * np.asarray(alpha) * each * log_missed)
    np.testing.assert_allclose(by_gamma, slope, rtol=2e-6)

    def integer(gamma):
        return jnp.sum(softmax_focal_loss(LOGITS, LABELS, gamma=gamma))

    rows = np.arange(len(x)), np.asarray(LABELS)
    np.testing.assert_allclose(
        jax.grad(integer)(gamma), np.sum((each * log_missed)[rows]), rtol=2e-6
    )
    # The mixed second derivative, in both orders.
    one = jax.grad(lambda g: jax.grad(lambda x: loss_at(x, g))(LOGITS)[0, 0])(gamma)
    other = jax.grad(lambda x: jax.grad(lambda g: loss_at(x, g))(gamma))(LOGITS)[0, 0]
    chex.assert_trees_all_close(one, other, rtol=1e-5)


def loss_at(x, gamma):
    return jnp.sum(softmax_focal_loss(x, LABELS, gamma=gamma))


def test_alpha_does_not_count_in_the_mean():
    alpha = f32(1, 2, 5)
    losses = softmax_focal_loss(LOGITS, LABELS, alpha=alpha)
    mean = softmax_focal_loss(LOGITS, LABELS, alpha=alpha, reduction="mean")
    chex.assert_trees_all_close(mean, losses.mean(), rtol=1e-6)


@pytest.mark.thorough
def test_axis_and_removed_classes():
    chex.assert_trees_all_close(
        softmax_focal_loss(LOGITS.T, LABELS, axis=0), softmax_focal_loss(LOGITS, LABELS)
    )
    keep = jnp.array([[True, True, False]] * 4)
    for labels in (LABELS, ONE_HOT):
        loss = softmax_focal_loss(LOGITS, labels, where=keep)
        expected = softmax_focal_loss(LOGITS[:, :2], jnp.minimum(LABELS, 1))
        expected = jnp.where(LABELS == 2, 0, expected)
        chex.assert_trees_all_close(loss, expected, rtol=1e-6)


def test_labels_of_another_rank_or_dtype():
    with pytest.raises(TypeError, match="`labels` must be an array of integer class"):
        softmax_focal_loss(LOGITS, LABELS.astype(jnp.float32))
    with pytest.raises(ValueError, match="`labels` must be of the shape of `logits`"):
        softmax_focal_loss(LOGITS, ONE_HOT[:, :2])
    with pytest.raises(ValueError, match="`alpha` must be one number or an array"):
        softmax_focal_loss(LOGITS, LABELS, alpha=f32(1, 2))
