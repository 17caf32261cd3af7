"""Fenchel-Young losses: regressions, infinities, labels, functions of the user."""

import functools

import chex
import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from jax.scipy.special import logsumexp

import jaxloss
from tests import oracle
from tests.cases import fenchel_young as formulas
from tests.selection import rarely


def f32(*values):
    return jnp.array(values, jnp.float32)


@functools.partial(jax.jit, static_argnames="loss")
def slope(loss, x, *rest):
    return jax.grad(lambda x: jnp.sum(loss(x, *rest)))(x)


def one(scores, label):
    """Value and gradient of the multiclass sparsemax loss for one row."""
    scores = jnp.asarray(scores, jnp.float32)[None]
    label, loss = jnp.array([label], jnp.int32), jaxloss.multiclass_sparsemax_loss
    value, gradient = jax.jit(loss)(scores, label), slope(loss, scores, label)
    return float(value[0]), np.asarray(gradient)[0]


# ------------------------------------------------------------------ binary sparsemax


def test_w21_the_gradient_survives_huge_logits():
    x = f32(1e20, -1e20, jnp.inf, -jnp.inf)
    np.testing.assert_array_equal(
        slope(jaxloss.sparsemax_loss, x, jnp.ones_like(x)), [0, -1, 0, -1]
    )
    np.testing.assert_array_equal(
        slope(jaxloss.sparsemax_loss, x, jnp.zeros_like(x)), [1, 0, 1, 0]
    )
    np.testing.assert_array_equal(
        jaxloss.sparsemax_loss(x, jnp.ones_like(x)), f32(0, 1e20, 0, jnp.inf)
    )


def test_w22_labels_are_shares_not_truth_values():
    x = f32(0.5, 2.0, -3.0)
    positive, negative = (
        jaxloss.sparsemax_loss(x, jnp.full_like(x, y)) for y in (1, 0)
    )
    soft = jaxloss.sparsemax_loss(x, jnp.full_like(x, 0.3))
    chex.assert_trees_all_close(soft, 0.3 * positive + 0.7 * negative, rtol=1e-6)
    for bad in (-1.0, 2.0, -1e-30, 1 + 1e-6):
        bad = jnp.full_like(x, bad)
        assert np.isnan(jaxloss.sparsemax_loss(x, bad)).all()
        assert np.isnan(slope(jaxloss.sparsemax_loss, x, bad)).all()


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_bad_values_reach_a_compiled_sum_of_any_size(reduction):
    ones = jnp.ones(1 << 20, jnp.float32)
    total = jax.jit(functools.partial(jaxloss.sparsemax_loss, reduction=reduction))
    assert np.isnan(total(ones.at[7].set(jnp.nan), ones))
    assert np.isnan(total(ones, ones.at[7].set(-1)))
    assert total(ones.at[7].set(jnp.inf), ones) == 0
    assert total(ones.at[7].set(-jnp.inf), ones) == jnp.inf


def test_labels_of_any_dtype():
    x = f32(0.5, 2.0, -3.0)
    expected = jaxloss.sparsemax_loss(x, f32(1, 0, 1))
    for dtype in (bool, jnp.int8, jnp.uint8, jnp.bfloat16):
        labels = jnp.array([1, 0, 1], dtype)
        chex.assert_trees_all_equal(jaxloss.sparsemax_loss(x, labels), expected)


@pytest.mark.exhaustive
def test_the_binary_loss_is_that_of_two_classes():
    """With scores x and 0: the binary loss at x, up to the scale 2 of its kink."""
    x = jnp.linspace(-2, 2, 17, dtype=jnp.float32)
    scores = jnp.stack([jnp.zeros_like(x), x], axis=-1)
    for y in (0, 1):
        labels = jnp.full(x.shape, y, jnp.int32)
        chex.assert_trees_all_close(
            jaxloss.multiclass_sparsemax_loss(scores, labels),
            jaxloss.sparsemax_loss(x, labels),
            rtol=1e-6,
            atol=1e-7,
        )


# ------------------------------------------------------------------ sparsemax


@pytest.mark.thorough
@pytest.mark.parametrize("offset", [*rarely(0.0, 1e2, 1e4), 1e6])
def test_w28_an_offset_cancels(offset):
    scores = jax.random.normal(jax.random.key(0), (4, 1000), jnp.float32)
    scores = scores.at[:, 0].add(2) + jnp.float32(offset)
    labels = jnp.array([0, 1, 2, 0], jnp.int32)
    value = jax.jit(jaxloss.multiclass_sparsemax_loss)(scores, labels)
    gradient = slope(jaxloss.multiclass_sparsemax_loss, scores, labels)
    for row, label, got, along in zip(scores, labels, value, gradient, strict=True):
        exact = oracle.exact(np.asarray(row))
        with mp.workdps(30):
            loss = float(formulas.sparsemax(exact, int(label)))
            along_exact = oracle.floats(formulas.sparsemax_slope(exact, int(label)))
        np.testing.assert_allclose(got, loss, rtol=3e-7)
        np.testing.assert_allclose(along, along_exact, rtol=3e-7, atol=1e-30)


@pytest.mark.parametrize("offset", [1e30, -1e30, 3e38, -1.6e38])
def test_scores_that_only_their_last_place_tells_apart(offset):
    top = np.float32(offset)
    below = np.nextafter(top, np.float32(-np.inf))
    value, gradient = one([top, top, below, 0.0 if offset > 0 else -3e38], 0)
    np.testing.assert_allclose(value, 0.25, rtol=1e-6)
    np.testing.assert_array_equal(gradient, [-0.5, 0.5, 0, 0])


@pytest.mark.exhaustive
def test_w29_infinite_scores_give_the_limits():
    value, gradient = one([jnp.inf, 0, 1], 0)
    assert value == 0
    np.testing.assert_array_equal(gradient, [0, 0, 0])
    value, gradient = one([jnp.inf, 0, -jnp.inf], 1)
    assert value == jnp.inf
    np.testing.assert_array_equal(gradient, [1, -1, 0])
    value, gradient = one([-jnp.inf, 0, -4], 0)
    assert value == jnp.inf
    np.testing.assert_array_equal(gradient, [-1, 1, 0])
    value, gradient = one([-jnp.inf] * 3, 0)
    assert value == jnp.inf
    np.testing.assert_array_equal(gradient, [0, 0, 0])
    value, gradient = one([jnp.inf, jnp.inf, 0], 0)
    assert np.isnan(value) and np.isnan(gradient).any()


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [jnp.bfloat16, *rarely(jnp.float16)])
def test_w30_half_precision_has_a_gradient(dtype):
    scores = jax.random.normal(jax.random.key(1), (3, 9)).astype(dtype)
    labels = jnp.array([0, 4, 8], jnp.int32)
    loss = jax.jit(jaxloss.multiclass_sparsemax_loss)
    value, gradient = loss(scores, labels), slope(loss, scores, labels)
    wide = scores.astype(jnp.float32)
    assert value.dtype == jnp.float32 and gradient.dtype == dtype
    chex.assert_trees_all_equal(value, loss(wide, labels))
    chex.assert_trees_all_equal(gradient, slope(loss, wide, labels).astype(dtype))


@pytest.mark.exhaustive
def test_w31_any_number_of_dimensions():
    scores = jax.random.normal(jax.random.key(2), (2, 3, 4, 5), jnp.float32)
    labels = jax.random.randint(jax.random.key(3), (2, 3, 4), 0, 5, jnp.int32)
    loss = jaxloss.multiclass_sparsemax_loss
    flat = loss(scores.reshape(-1, 5), labels.reshape(-1))
    chex.assert_trees_all_equal(loss(scores, labels), flat.reshape(2, 3, 4))
    assert loss(scores[0, 0, 0], labels[0, 0, 0]) == flat[0]


def test_tiny_losses_keep_their_digits():
    """One class leads by nearly 1: ((1 - gap) / 2)² is far below the rounding of 1."""
    rng = np.random.default_rng(0)
    for gap in (1 - 1e-3, 1 - 1e-5, 1 - 6e-8):
        offset = rng.normal()
        scores = np.array([offset + gap, offset, offset - 3], np.float32)
        exact = scores.astype(np.float64)
        p = max(0.0, (1 - (exact[0] - exact[1])) / 2)
        value, gradient = one(scores, 0)
        np.testing.assert_allclose(value, p**2, rtol=1e-6)
        np.testing.assert_allclose(gradient, [-p, p, 0], rtol=1e-6)


@pytest.mark.exhaustive
def test_the_gradient_is_exact_beside_every_edge_of_the_support():
    """Scores at the threshold, a hair above and below it."""
    rng = np.random.default_rng(1)
    for size in (2, 3, 5, 17):
        base = rng.normal(size=size).astype(np.float32)
        exact = oracle.exact(base)
        with mp.workdps(40):
            p = formulas.projection(exact)
            threshold = float(max(v - q for v, q in zip(exact, p, strict=True) if q))
        for units in (-50, -3, -1, 0, 1, 3, 50):
            edge = np.float32(threshold)
            scores = np.append(base, edge + units * np.spacing(edge))
            with mp.workdps(40):
                expected = formulas.sparsemax_slope(oracle.exact(scores), 0)
            _, gradient = one(scores, 0)
            np.testing.assert_allclose(
                gradient, oracle.floats(expected), rtol=1e-6, atol=1e-13
            )


@pytest.mark.parametrize("label", [-1, 3, 100])
def test_labels_out_of_range_are_loud(label):
    value, gradient = one([0.0, 2.0, 1.0], label)
    assert np.isnan(value) and np.isnan(gradient).all()


def test_nan_reaches_compiled_rows_of_any_size():
    scores = jnp.zeros((1 << 10, 1 << 10), jnp.float32).at[5, 3].set(jnp.nan)
    labels = jnp.full(1 << 10, 8, jnp.int32)
    loss = jaxloss.multiclass_sparsemax_loss
    value = jax.jit(loss)(scores, labels)
    np.testing.assert_array_equal(np.isnan(value), np.arange(1 << 10) == 5)
    total = jax.jit(functools.partial(loss, reduction="sum"))
    assert np.isnan(total(scores, labels))


@pytest.mark.exhaustive
def test_large_vocabularies_and_equal_scores():
    scores = jnp.zeros((1, 262_144), jnp.float32)
    label = jnp.array([7], jnp.int32)
    p = 1 / 262_144
    value = jaxloss.multiclass_sparsemax_loss(scores, label)[0]
    np.testing.assert_allclose(value, (1 - p) / 2, rtol=3e-7)
    gradient = slope(jaxloss.multiclass_sparsemax_loss, scores, label)[0]
    np.testing.assert_allclose(gradient[8], p, rtol=1e-6)
    np.testing.assert_allclose(gradient[7], p - 1, rtol=1e-6)


def test_temporaries_are_no_copies_of_the_scores():
    scores = jnp.zeros((1 << 10, 1 << 10), jnp.float32)
    labels = jnp.zeros(1 << 10, jnp.int32)

    def total(scores):
        return jaxloss.multiclass_sparsemax_loss(scores, labels, reduction="sum")

    memory = jax.jit(total).lower(scores).compile().memory_analysis()
    assert memory.temp_size_in_bytes < scores.nbytes / 4


@pytest.mark.exhaustive
def test_hessian_is_that_of_the_projection():
    scores = f32(0.3, 0.1, -0.2, -3.0)
    hessian = jax.hessian(
        lambda s: jaxloss.multiclass_sparsemax_loss(s, jnp.array(0, jnp.int32))
    )(scores)
    support = np.array([1, 1, 1, 0])
    expected = np.diag(support) - np.outer(support, support) / 3
    np.testing.assert_allclose(hessian, expected, rtol=1e-6, atol=1e-7)


# ------------------------------------------------------------------ of a max function


def test_w32_log_sum_exp_is_exact_far_from_zero():
    loss = jaxloss.make_fenchel_young_loss(logsumexp)
    scores = f32(1.0, 0.5, -1.0, 0.25) + 1e4
    targets = f32(1, 0, 0, 0)
    exact = oracle.exact(np.asarray(scores))
    with mp.workdps(30):
        expected = float(formulas.log_sum_exp_loss(exact, np.array([1, 0, 0, 0])))
    np.testing.assert_allclose(loss(scores, targets), expected, rtol=2e-7)
    promised = jaxloss.make_fenchel_young_loss(
        lambda row: logsumexp(row), translation_equivariant=True
    )
    np.testing.assert_allclose(promised(scores, targets), expected, rtol=3e-7)


@pytest.mark.exhaustive
def test_w32_an_absent_class_costs_nothing():
    for max_fun in (logsumexp, lambda row: logsumexp(row)):
        loss = jaxloss.make_fenchel_young_loss(max_fun)
        scores, targets = f32(-jnp.inf, 0, 0), f32(0, 1, 0)
        np.testing.assert_allclose(loss(scores, targets), np.log(2), rtol=1e-6)
        for argument in (0, 1):
            gradient = jax.grad(loss, argument)(scores, targets)
            assert np.isfinite(gradient).all()
        still = jnp.zeros_like(targets)
        tangent = jax.jvp(loss, (scores, targets), (f32(0, 1, 2), still))[1]
        np.testing.assert_allclose(tangent, 0.5, rtol=1e-6)


@pytest.mark.thorough
def test_w32_half_precision_computes_in_float32():
    loss = jaxloss.make_fenchel_young_loss(logsumexp)
    scores = jnp.array([20.5, 20, 19], jnp.bfloat16)
    targets = jnp.array([1, 0, 0], jnp.bfloat16)
    value = loss(scores, targets)
    assert value.dtype == jnp.float32
    wide = (scores.astype(jnp.float32), targets.astype(jnp.float32))
    chex.assert_trees_all_equal(value, loss(*wide))
    assert jax.grad(loss)(scores, targets).dtype == jnp.bfloat16


@pytest.mark.exhaustive
def test_log_sum_exp_is_softmax_cross_entropy():
    loss = jaxloss.make_fenchel_young_loss(logsumexp)
    scores = 3 * jax.random.normal(jax.random.key(4), (2, 3, 5), jnp.float32)
    targets = jax.nn.one_hot(jnp.array([[0, 1, 2], [3, 4, 0]]), 5, dtype=jnp.float32)
    chex.assert_trees_all_close(
        loss(scores, targets), jaxloss.softmax_cross_entropy(scores, targets)
    )


@pytest.mark.thorough
def test_targets_need_not_sum_to_one():
    scores, targets = f32(0.3, -0.2, 2.0), f32(0.5, 0.25, -1.0)
    exact = (oracle.exact(np.asarray(a)) for a in (scores, targets))
    with mp.workdps(30):
        expected = float(formulas.log_sum_exp_loss(*exact))
    for max_fun, options in (
        (logsumexp, {}),
        (lambda row: logsumexp(row), {}),
        (lambda row: logsumexp(row), {"translation_equivariant": True}),
    ):
        loss = jaxloss.make_fenchel_young_loss(max_fun, **options)
        np.testing.assert_allclose(loss(scores, targets), expected, rtol=1e-6)
        np.testing.assert_allclose(
            jax.grad(loss)(scores, targets),
            jax.nn.softmax(scores) - targets,
            rtol=1e-6,
        )
        mixed = jax.jacobian(jax.grad(loss), 1)(scores, targets)
        np.testing.assert_allclose(mixed, -np.eye(3), atol=1e-6)


@pytest.mark.exhaustive
def test_w45_further_arguments_reach_the_function():
    seen = []

    def max_fun(scores, temperature, *, scale, name):
        seen.append(name)
        return scale * temperature * logsumexp(scores / temperature)

    loss = jaxloss.make_fenchel_young_loss(max_fun)
    scores = jax.random.normal(jax.random.key(5), (2, 3, 4), jnp.float32)
    targets = jnp.zeros_like(scores).at[..., 0].set(1)
    value = jax.jit(lambda t: loss(scores, targets, t, scale=3.0, name="a"))(
        jnp.float32(0.5)
    )
    expected = 1.5 * logsumexp(scores / 0.5, axis=-1) - scores[..., 0]
    assert seen and set(seen) == {"a"}
    chex.assert_trees_all_close(value, expected, rtol=1e-6)
    by_temperature = jax.grad(
        lambda t: jnp.sum(loss(scores, targets, t, scale=3.0, name="a"))
    )(jnp.float32(0.5))
    assert np.isfinite(by_temperature) and by_temperature != 0


def test_arguments_of_log_sum_exp_reach_it_too():
    loss = jaxloss.make_fenchel_young_loss(logsumexp)
    scores, targets = f32(1.0, 2.0, 0.5), f32(0, 1, 0)
    weights = f32(1, 2, 3)
    np.testing.assert_allclose(
        loss(scores, targets, b=weights),
        logsumexp(scores, b=weights) - 2,
        rtol=1e-6,
    )


@pytest.mark.exhaustive
def test_a_max_function_without_axes_of_its_own():
    """The sparsemax loss, from its max function."""

    def max_fun(scores):
        p = jax.lax.stop_gradient(jaxloss_projection(scores))
        return jnp.sum(p * scores) - jnp.sum(p**2) / 2

    def jaxloss_projection(scores):
        gradient = slope(
            jaxloss.multiclass_sparsemax_loss, scores, jnp.array(0, jnp.int32)
        )
        return gradient.at[0].add(1)

    loss = jaxloss.make_fenchel_young_loss(max_fun, translation_equivariant=True)
    scores = jax.random.normal(jax.random.key(6), (6, 4), jnp.float32)
    labels = jnp.array([0, 1, 2, 3, 0, 1], jnp.int32)
    chex.assert_trees_all_close(
        loss(scores, jax.nn.one_hot(labels, 4, dtype=jnp.float32)) + 0.5,
        jaxloss.multiclass_sparsemax_loss(scores, labels),
        rtol=1e-5,
        atol=1e-6,
    )


def test_errors_say_the_way_out():
    with pytest.raises(TypeError, match="`max_fun` must be a function"):
        jaxloss.make_fenchel_young_loss("logsumexp")
    row = f32(1, 2)
    loss = jaxloss.make_fenchel_young_loss(lambda scores: scores)
    with pytest.raises(ValueError, match=r"`max_fun` .* array of shape \(2,\)"):
        loss(row, row)
    loss = jaxloss.make_fenchel_young_loss(logsumexp)
    with pytest.raises(ValueError, match="`targets` must be of the shape of `scores`"):
        loss(row, row[:1])
    with pytest.raises(ValueError, match="Add the missing dimension to `scores`"):
        loss(row[0], row[0])
    with pytest.raises(TypeError, match="`labels` must be an array of integer"):
        jaxloss.multiclass_sparsemax_loss(row, row[0])
