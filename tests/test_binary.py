"""Regressions and edge values of the binary cross entropy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import sigmoid_binary_cross_entropy
from jaxloss._core import numerics

INF = jnp.inf


def f32(*values):
    return jnp.array(values, jnp.float32)


def gradient(logits, labels, **options):
    return jax.grad(
        lambda x: jnp.sum(sigmoid_binary_cross_entropy(x, labels, **options))
    )(logits)


def curvature(logits, labels):
    """The diagonal of the Hessian: the loss acts entry by entry."""
    ones = jnp.ones_like(logits)
    return jax.jvp(lambda x: gradient(x, labels), (logits,), (ones,))[1]


def test_w16_infinite_logits_have_their_limits():
    x, y = f32(INF, INF, -INF, -INF, INF, -INF), f32(1, 0, 1, 0, 0.5, 0.5)
    chex.assert_trees_all_equal(
        sigmoid_binary_cross_entropy(x, y), f32(0, INF, INF, 0, INF, INF)
    )
    chex.assert_trees_all_equal(gradient(x, y), f32(0, 1, -1, 0, 0.5, -0.5))
    tangent = jax.jvp(
        lambda x: sigmoid_binary_cross_entropy(x, y), (x,), (jnp.ones_like(x),)
    )[1]
    chex.assert_trees_all_equal(tangent, f32(0, 1, -1, 0, 0.5, -0.5))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_w17_gradient_is_sigmoid_minus_label(dtype):
    x = jnp.linspace(-20, 20, 81, dtype=jnp.float32).astype(dtype)
    for label in (0.0, 0.25, 0.9, 1.0):
        y = jnp.full(x.shape, label, jnp.float32)
        wide, share = np.asarray(x, np.float64), np.float64(np.float32(label))
        tail = np.exp(-np.abs(wide))
        p = np.where(wide < 0, tail, 1) / (1 + tail)
        q = np.where(wide < 0, 1, tail) / (1 + tail)
        got = np.asarray(gradient(x, y), np.float64)
        rounding = float(jnp.finfo(dtype).eps) / 2
        exact = (1 - share) * p - share * q
        np.testing.assert_allclose(got, exact, rtol=5e-7 + rounding, atol=3e-8)


def test_w18_curvature_survives_saturation():
    x = f32(-20, 20, -17, 17, -24, 24, -40)
    y = f32(1, 0, 0.9, 0.1, 0.9, 0.1, 1)
    tail = np.exp(-np.abs(np.asarray(x, np.float64)))
    np.testing.assert_allclose(curvature(x, y), tail / (1 + tail) ** 2, rtol=1e-6)
    half = curvature(x.astype(jnp.bfloat16), y)
    assert (half > 0).all()


def test_w19_float16_keeps_what_float16_cannot_hold():
    x, y = jnp.array([-20.0, 20.0], jnp.float16), jnp.array([0.0, 1.0], jnp.float16)
    loss = sigmoid_binary_cross_entropy(x, y)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, 2 * [np.log1p(np.exp(-20.0))], rtol=5e-7)


def test_labels_are_not_rounded_to_the_dtype_of_the_logits():
    x = jnp.array([2.0], jnp.bfloat16)
    exact = np.log1p(np.exp(-2.0)) + 2 * (1 - np.float64(np.float32(0.3)))
    np.testing.assert_allclose(
        sigmoid_binary_cross_entropy(x, f32(0.3)), [exact], rtol=5e-7
    )


@pytest.mark.parametrize("label", [-1.0, -1e-6, 1 + 1e-6, 2.0, 255.0, jnp.nan])
@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_a_label_outside_0_and_1_is_nan_in_value_and_gradient(label, smoothing):
    x, y = f32(1.0, -3.0), f32(label, label)
    loss = sigmoid_binary_cross_entropy(x, y, label_smoothing=smoothing)
    assert jnp.isnan(loss).all()
    assert jnp.isnan(gradient(x, y, label_smoothing=smoothing)).all()
    by_label = jax.grad(lambda y: jnp.sum(sigmoid_binary_cross_entropy(x, y)))(y)
    assert jnp.isnan(by_label).all()


def test_nan_logits_are_not_hidden():
    x, y = f32(jnp.nan, jnp.nan), f32(0, 1)
    assert jnp.isnan(sigmoid_binary_cross_entropy(x, y)).all()
    assert jnp.isnan(gradient(x, y)).all()


def test_even_labels_keep_the_gradient_of_tiny_logits():
    x = f32(1e-4, -1e-6, 1e-20)
    np.testing.assert_allclose(gradient(x, f32(0.5, 0.5, 0.5)), x / 4, rtol=1e-6)


def test_gradient_with_respect_to_the_label_is_minus_the_logit():
    x, y = f32(1e-5, -30, 100), f32(0.3, 1, 0)
    got = jax.grad(lambda y: jnp.sum(sigmoid_binary_cross_entropy(x, y)))(y)
    chex.assert_trees_all_equal(got, -x)


def test_mixed_second_derivatives_agree():
    x, y = jnp.float32(0.7), jnp.float32(0.3)

    def loss(x, y):
        return sigmoid_binary_cross_entropy(x, y, pos_weight=jnp.float32(3))

    one = jax.grad(jax.grad(loss, 0), 1)(x, y)
    other = jax.grad(jax.grad(loss, 1), 0)(x, y)
    exact = -jax.nn.sigmoid(x) - 3 * jax.nn.sigmoid(-x)
    chex.assert_trees_all_close((one, other), (exact, exact), rtol=1e-6)


def test_pos_weight_is_a_number_an_array_or_one_number_per_class():
    x = jnp.linspace(-3, 3, 6, dtype=jnp.float32).reshape(2, 3)
    y = jnp.array([[0, 1, 1], [1, 0, 1]], jnp.int32)
    weight = f32(1, 2, 5)
    positive = -jax.nn.log_sigmoid(x) * y.astype(jnp.float32)
    negative = -jax.nn.log_sigmoid(-x) * (1 - y).astype(jnp.float32)
    for given in (weight, weight[None], jnp.broadcast_to(weight, x.shape)):
        loss = sigmoid_binary_cross_entropy(x, y, pos_weight=given)
        chex.assert_trees_all_close(loss, weight[None] * positive + negative)
    traced = jax.jit(lambda w: sigmoid_binary_cross_entropy(x, y, pos_weight=w))
    chex.assert_trees_all_close(traced(jnp.float32(2)), 2 * positive + negative)
    with pytest.raises(ValueError, match=r"`pos_weight` must be one number or an arr"):
        sigmoid_binary_cross_entropy(x, y, pos_weight=f32(1, 2))
    with pytest.raises(ValueError, match=r"`pos_weight` must be a number in \[0"):
        sigmoid_binary_cross_entropy(x, y, pos_weight=-1.0)


def test_pos_weight_does_not_count_in_the_mean():
    x, y = f32(1, 2, 3), f32(1, 1, 0)
    losses = sigmoid_binary_cross_entropy(x, y, pos_weight=3.0)
    mean = sigmoid_binary_cross_entropy(x, y, pos_weight=3.0, reduction="mean")
    chex.assert_trees_all_close(mean, losses.mean())


def test_pos_weight_0_ignores_positives_even_at_infinity():
    loss = sigmoid_binary_cross_entropy(f32(-INF, -INF), f32(1, 0), pos_weight=0.0)
    chex.assert_trees_all_equal(loss, f32(0, 0))


def test_smoothing_is_half_of_it_on_each_class():
    x, y = f32(2, -1), f32(1, 0)
    chex.assert_trees_all_close(
        sigmoid_binary_cross_entropy(x, y, label_smoothing=0.2),
        sigmoid_binary_cross_entropy(x, f32(0.9, 0.1)),
        rtol=1e-6,
    )


def test_it_is_the_softmax_cross_entropy_of_two_classes():
    from jaxloss import softmax_cross_entropy

    x = jnp.linspace(-30, 30, 13, dtype=jnp.float32)
    y = jnp.linspace(0, 1, 13, dtype=jnp.float32)
    chex.assert_trees_all_close(
        sigmoid_binary_cross_entropy(x, y),
        softmax_cross_entropy(
            jnp.stack([x, jnp.zeros_like(x)], 1), jnp.stack([y, 1 - y], 1)
        ),
        rtol=1e-6,
    )


def test_default_options_compile_to_nothing():
    x = jnp.zeros((4,), jnp.float32)

    def program(**options):
        return str(
            jax.make_jaxpr(lambda x: sigmoid_binary_cross_entropy(x, x, **options))(x)
        )

    assert program(pos_weight=1.0, label_smoothing=0.0) == program()
    assert program(pos_weight=1, label_smoothing=0) == program()
    assert program(label_smoothing=0.1) != program()


def test_shapes_are_exact():
    with pytest.raises(ValueError, match="`labels` must be of the shape of `logits`"):
        sigmoid_binary_cross_entropy(f32(1, 2), f32(1, 0)[:, None])
    empty = jnp.zeros((0, 3), jnp.float32)
    chex.assert_shape(sigmoid_binary_cross_entropy(empty, empty), (0, 3))
    assert sigmoid_binary_cross_entropy(empty, empty, reduction="mean") == 0


def test_the_slope_of_the_sigmoid_keeps_its_upper_tail():
    """Where 1 - p rounds to 0: the losses show it in products too small to tell."""
    x = f32(0, 5, 20, 80)
    slope = jax.vmap(jax.grad(numerics.sigmoid))(x)
    tail = np.exp(-np.array([0.0, 5, 20, 80]))
    np.testing.assert_allclose(slope, tail / (1 + tail) ** 2, rtol=1e-6)
