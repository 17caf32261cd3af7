"""Regressions and edge values of the overlap losses."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss import binary_dice_loss, dice_loss, multiclass_generalized_dice_loss

INF = jnp.inf


def f32(values):
    return jnp.array(values, jnp.float32)


def total(loss, targets, **options):
    return lambda x: jnp.sum(loss(x, targets, **options))


@pytest.fixture
def scene():
    """Logits and one-hot masks of two small images with three classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=(2, 4, 4))
    labels[:, 0, :3] = 0, 1, 2
    return f32(rng.normal(size=(2, 4, 4, 3))), f32(np.eye(3)[labels])


def exact_dice(p, t, smooth=1.0):
    """The definition in float64, per class."""
    p, t = np.asarray(p, np.float64), np.asarray(t, np.float64)
    axes = tuple(range(1, p.ndim - 1))
    both = (p * t).sum(axes)
    return 1 - (both + smooth) / (p.sum(axes) / 2 + t.sum(axes) / 2 + smooth)


# ------------------------------------------------------------------ weaknesses


@pytest.mark.exhaustive
def test_w38_probabilities_under_jit_and_vmap(scene):
    logits, targets = scene
    probs = jax.nn.softmax(logits, axis=-1)

    def loss(p, t):
        return dice_loss(p, t, apply_softmax=False)

    expected = dice_loss(logits, targets)
    chex.assert_trees_all_close(loss(probs, targets), expected, rtol=1e-6)
    chex.assert_trees_all_close(jax.jit(loss)(probs, targets), expected, rtol=1e-6)
    batched = jax.vmap(loss)(probs[:, None], targets[:, None])
    chex.assert_trees_all_close(batched[:, 0], expected, rtol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_w38_probabilities_of_half_precision(scene, dtype):
    logits, targets = scene
    probs = jax.nn.softmax(logits, axis=-1).astype(dtype)
    loss = dice_loss(probs, targets, apply_softmax=False, reduction="none")
    assert loss.dtype == jnp.float32
    # The sums are not those of distributions any more, by the rounding of dtype.
    chex.assert_trees_all_close(loss, f32(exact_dice(probs, targets)), rtol=1e-6)


def test_w38_binary_probabilities_need_not_sum_to_1():
    p, t = f32([[0.2, 0.9, 0.4]]), f32([[0, 1, 1]])
    exact = f32(exact_dice(p[..., None], t[..., None])[:, 0])
    for last in (p, p[..., None]):
        loss = binary_dice_loss(last, t.reshape(last.shape), apply_sigmoid=False)
        chex.assert_trees_all_close(loss, exact, rtol=1e-6)


def test_w38_invalid_probabilities_are_an_error_or_nan(scene):
    logits, targets = scene
    with pytest.raises(ValueError, match="valid probability distributions"):
        dice_loss(logits, targets, apply_softmax=False)
    with pytest.raises(ValueError, match="valid probability distributions"):
        binary_dice_loss(f32([[1.5, 0]]), f32([[1, 0]]), apply_sigmoid=False)

    @jax.jit
    def traced(p):
        return jax.value_and_grad(total(dice_loss, targets, apply_softmax=False))(p)

    value, slope = traced(logits)
    assert jnp.isnan(value) and jnp.isnan(slope).any()


@pytest.mark.thorough
def test_masked_pixels_need_no_valid_probabilities(scene):
    logits, targets = scene
    probs = jax.nn.softmax(logits, axis=-1).at[0, 3].set(7.0).at[1, 3].set(jnp.nan)
    keep = jnp.ones((2, 4, 4), bool).at[:, 3].set(False)
    loss = dice_loss(probs, targets, apply_softmax=False, where=keep)
    chex.assert_trees_all_close(
        loss, dice_loss(logits[:, :3], targets[:, :3]), rtol=1e-6
    )


@pytest.mark.thorough
@pytest.mark.parametrize("x", [-100.0, -200.0, -INF])
def test_w39_nothing_predicted_where_nothing_is_costs_nothing(x):
    logits, targets = jnp.full((1, 4, 1), x, jnp.float32), jnp.zeros((1, 4, 1), "f4")
    value, slope = jax.value_and_grad(total(dice_loss, targets, smooth=0.0))(logits)
    assert value == 0
    chex.assert_trees_all_equal(slope, jnp.zeros_like(logits))


def test_w39_float16_masks_are_summed_in_float32():
    ones = jnp.ones((1, 70000), jnp.float16)
    loss = binary_dice_loss(30 * ones, ones)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, [0.5 * 70000 * np.exp(-30.0) / 70001], rtol=1e-5)


@pytest.mark.exhaustive
def test_w40_absent_classes_weigh_nothing(scene):
    logits, targets = scene
    padded = jnp.concatenate([logits, jnp.full((2, 4, 4, 2), -INF, "f4")], -1)
    absent = jnp.concatenate([targets, jnp.zeros((2, 4, 4, 2), "f4")], -1)
    for options in ({}, {"formula": "sudre"}):
        chex.assert_trees_all_close(
            multiclass_generalized_dice_loss(padded, absent, **options),
            multiclass_generalized_dice_loss(logits, targets, **options),
            rtol=1e-6,
        )


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", [jnp.bool, jnp.int8, jnp.int32])
def test_w40_frequencies_do_not_overflow(dtype):
    labels = jnp.zeros((1, 300, 300), jnp.int32).at[0, 0, :9].set(1)
    targets = jax.nn.one_hot(labels, 2, dtype=jnp.float32)
    logits = jax.random.normal(jax.random.key(0), targets.shape, jnp.float32)
    chex.assert_trees_all_equal(
        multiclass_generalized_dice_loss(logits, targets.astype(dtype)),
        multiclass_generalized_dice_loss(logits, targets),
    )


@pytest.mark.thorough
def test_w40_float16_frequencies():
    targets = jnp.eye(2, dtype=jnp.float16)[jnp.arange(600) % 2][None]
    logits = (4 * targets - 2).astype(jnp.float16)
    loss = multiclass_generalized_dice_loss(logits, targets)
    chex.assert_trees_all_close(loss, jnp.mean(dice_loss(logits, targets)), rtol=1e-6)


def test_w40_sudre_is_one_ratio(scene):
    logits, targets = scene
    p, t = (np.asarray(a, np.float64) for a in (jax.nn.softmax(logits), targets))
    weights = 1 / t.sum((0, 1, 2)) ** 2
    both, either = ((weights * (v.sum((0, 1, 2)))).sum() for v in (p * t, p + t))
    loss = multiclass_generalized_dice_loss(
        logits, targets, smooth=0.0, formula="sudre"
    )
    np.testing.assert_allclose(loss, 1 - 2 * both / either, rtol=1e-6)


def test_w40_the_background_is_ignored_by_the_weights_too(scene):
    logits, targets = scene
    p = np.asarray(jax.nn.softmax(logits), np.float64)
    losses = exact_dice(p, targets)[:, 1:]
    weights = 1 / np.asarray(targets, np.float64).sum((0, 1, 2))[1:] ** 2
    weights /= weights.sum()
    loss = multiclass_generalized_dice_loss(logits, targets, ignore_background=True)
    np.testing.assert_allclose(loss, (weights * losses).sum(1).mean(), rtol=1e-6)


@pytest.mark.thorough
def test_w41_infinite_logits_have_their_limits():
    logits = f32([[[INF, 0, 0], [0, INF, 0], [0, 1, -INF]]])
    targets = f32([[[1, 0, 0], [0, 0, 1], [0, 1, 0]]])
    finite = jnp.clip(logits, -200, 200)
    for smooth in (0.0, 1.0):
        got = jax.value_and_grad(total(dice_loss, targets, smooth=smooth))(logits)
        expected = jax.value_and_grad(total(dice_loss, targets, smooth=smooth))(finite)
        chex.assert_trees_all_close(got, expected, rtol=1e-6)
    x, t = f32([[INF, -INF, INF]]), f32([[1, 0, 0]])
    value, slope = jax.value_and_grad(total(binary_dice_loss, t))(x)
    chex.assert_trees_all_close(value, jnp.float32(0.2))
    chex.assert_trees_all_equal(slope, jnp.zeros_like(x))


@pytest.mark.thorough
def test_w41_the_mask_keeps_pixels(scene):
    logits, targets = scene
    keep = jnp.arange(4) < 3
    garbage = jnp.where(keep[None, :, None, None], logits, jnp.nan)
    for mask in (
        jnp.broadcast_to(keep[None, :, None], (2, 4, 4)),
        keep[None, :, None],
    ):
        loss = jax.value_and_grad(total(dice_loss, targets, where=mask))
        value, slope = loss(garbage)
        expected, inside = jax.value_and_grad(total(dice_loss, targets[:, :3]))(
            logits[:, :3]
        )
        chex.assert_trees_all_close(value, expected, rtol=1e-6)
        chex.assert_trees_all_close(slope[:, :3], inside, rtol=1e-5, atol=1e-9)
        chex.assert_trees_all_equal(slope[:, 3], jnp.zeros_like(slope[:, 3]))
        generalized = multiclass_generalized_dice_loss(garbage, targets, where=mask)
        chex.assert_trees_all_close(
            generalized,
            multiclass_generalized_dice_loss(logits[:, :3], targets[:, :3]),
            rtol=1e-6,
        )
    nothing = jnp.zeros((2, 4, 4), bool)
    for loss in (dice_loss, multiclass_generalized_dice_loss):
        value, slope = jax.value_and_grad(total(loss, targets, where=nothing))(logits)
        assert value == 0
        chex.assert_trees_all_equal(slope, jnp.zeros_like(slope))


@pytest.mark.thorough
def test_w41_the_axes_of_the_pixels_can_be_named(scene):
    logits, targets = scene
    named = dice_loss(logits, targets, axis=(-3, -2))
    chex.assert_trees_all_equal(named, dice_loss(logits, targets))
    single = dice_loss(logits[0], targets[0], axis=(-3, -2))
    chex.assert_trees_all_close(single, named[0], rtol=1e-6)
    with pytest.raises(ValueError, match="`axis` must be axes of pixels"):
        dice_loss(logits, targets, axis=(1, -1))
    image, mask = logits[..., 0], targets[..., 0]
    named = binary_dice_loss(image, mask, axis=(-2, -1))
    chex.assert_trees_all_equal(named, binary_dice_loss(image, mask))


# ------------------------------------------------------------------ edges


@pytest.mark.exhaustive
def test_a_nearly_perfect_segmentation_keeps_value_and_gradient():
    targets = f32(np.eye(3)[[[0, 1, 2, 0]]])
    x = 40 * targets
    value, slope = jax.value_and_grad(total(dice_loss, targets))(x)
    # Each pixel gives e^-40 to either wrong class, and withholds twice that.
    small = np.exp(-40.0)
    errors = small * np.array([2 + 2 * 2, 3 + 2, 3 + 2]) / 2
    sizes = np.array([2, 1, 1]) + 1
    np.testing.assert_allclose(value, (errors / sizes).mean(), rtol=1e-6)
    assert (jnp.where(targets == 1, slope, -1) < 0).all()
    assert (jnp.where(targets == 0, slope, 1) > 0).all()
    chex.assert_trees_all_close(slope.sum(-1), jnp.zeros((1, 4), "f4"), atol=1e-22)


@pytest.mark.thorough
def test_the_loss_is_never_negative():
    rng = np.random.default_rng(0)
    x = f32(rng.normal(size=(50, 6, 4)) * 30)
    t = jax.nn.one_hot(x.argmax(-1), 4, dtype=jnp.float32)
    for smooth in (0.0, 1.0):
        loss = dice_loss(x, t, smooth=smooth, reduction="none")
        assert (loss >= 0).all() and (loss <= 1).all()


@pytest.mark.thorough
@pytest.mark.parametrize("target", [-0.5, 1.5, 255.0, jnp.nan])
def test_a_target_outside_0_and_1_is_nan_in_value_and_gradient(target):
    x, t = jnp.zeros((1, 3, 2), jnp.float32), jnp.zeros((1, 3, 2), jnp.float32)
    bad = t.at[0, 0, 0].set(target)
    value, slope = jax.value_and_grad(total(dice_loss, bad))(x)
    assert jnp.isnan(value) and jnp.isnan(slope).all()
    assert jnp.isnan(multiclass_generalized_dice_loss(x, bad))
    assert jnp.isnan(binary_dice_loss(x[..., 0], bad[..., 0])).all()


def test_nan_logits_are_not_hidden(scene):
    logits, targets = scene
    bad = logits.at[0, 0, 0, 0].set(jnp.nan)
    value, slope = jax.value_and_grad(total(dice_loss, targets))(bad)
    assert jnp.isnan(value) and jnp.isnan(slope[0]).all()
    assert jnp.isfinite(slope[1]).all()


def test_without_pixels_or_batch(scene):
    assert (
        dice_loss(jnp.zeros((2, 0, 3), "f4"), jnp.zeros((2, 0, 3), "f4")) == 0
    ).all()
    chex.assert_shape(dice_loss(jnp.zeros((0, 4, 3), "f4"), jnp.zeros((0, 4, 3))), (0,))


def test_options_may_be_traced(scene):
    logits, targets = scene

    @jax.jit
    def loss(smooth, alpha, beta):
        return dice_loss(logits, targets, smooth=smooth, alpha=alpha, beta=beta)

    numbers = 0.5, 0.25, 0.75
    traced = loss(*map(jnp.float32, numbers))
    smooth, alpha, beta = numbers
    expected = dice_loss(logits, targets, smooth=smooth, alpha=alpha, beta=beta)
    chex.assert_trees_all_close(traced, expected, rtol=1e-6)
    with pytest.raises(TypeError, match="`apply_softmax` must be a Python value"):
        jax.jit(lambda flag: dice_loss(logits, targets, apply_softmax=flag))(True)
    with pytest.raises(ValueError, match="`formula` must be one of 'mean', 'sudre'"):
        multiclass_generalized_dice_loss(logits, targets, formula="monai")
    with pytest.raises(ValueError, match=r"`smooth` must be a number in \[0"):
        dice_loss(logits, targets, smooth=-1.0)
    with pytest.raises(ValueError, match="`targets` must be of the shape"):
        dice_loss(logits, targets[..., :2])


def test_gradient_with_respect_to_the_targets(scene):
    logits, targets = scene
    soft = 0.8 * targets + 0.1
    p = np.asarray(jax.nn.softmax(logits), np.float64)
    got = jax.grad(lambda t: jnp.sum(dice_loss(logits, t, reduction="sum")))(soft)
    t = np.asarray(soft, np.float64)
    both = (p * t).sum((1, 2), keepdims=True) + 1
    whole = (p + t).sum((1, 2), keepdims=True) / 2 + 1
    exact = both / (2 * whole**2) - p / whole
    np.testing.assert_allclose(got, exact, rtol=2e-5, atol=1e-8)
