"""Identities and edge values of the overlap losses that reduce over images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough

WITH_MASKS = [
    jaxloss.focal_tversky_loss,
    jaxloss.generalized_dice_loss,
    jaxloss.jaccard_loss,
    jaxloss.tversky_loss,
]
WITH_LABELS = [jaxloss.dice_cross_entropy_loss, jaxloss.dice_loss_with_integer_labels]
every_loss = pytest.mark.parametrize(
    "loss", [*WITH_MASKS, *WITH_LABELS], ids=lambda f: f.__name__
)
with_labels = pytest.mark.parametrize("loss", WITH_LABELS, ids=lambda f: f.__name__)


def run(loss, *arrays, **options):
    return jax.jit(functools.partial(loss, **options))(*arrays)


def slopes(loss, logits, *arrays, **options):
    """Value and gradient of the sum."""

    @jax.jit
    def both(x):
        return jax.value_and_grad(lambda x: jnp.sum(loss(x, *arrays, **options)))(x)

    return both(logits)


@pytest.fixture
def scene():
    """Logits, labels of two small images with three classes, and their masks."""
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=(2, 4, 3))
    labels[:, 0] = 0, 1, 2
    logits = jnp.asarray(rng.normal(size=(2, 4, 3, 3)), jnp.float32)
    return logits, jnp.asarray(labels, jnp.int32), jnp.asarray(np.eye(3)[labels], "f4")


def truth(loss, scene):
    return scene[1] if loss in WITH_LABELS else scene[2]


def test_they_are_dice_losses(scene):
    logits, labels, masks = scene
    dice = run(jaxloss.dice_loss, logits, masks)
    for value in (
        run(jaxloss.tversky_loss, logits, masks),
        run(jaxloss.dice_loss_with_integer_labels, logits, labels),
        run(jaxloss.dice_cross_entropy_loss, logits, labels, cross_entropy_weight=0.0),
        run(jaxloss.focal_tversky_loss, logits, masks, gamma=1.0, alpha=0.5, beta=0.5),
    ):
        np.testing.assert_allclose(value, dice, rtol=1e-6)
    per_class = run(jaxloss.dice_loss, logits, masks, reduction="none", smooth=0.0)
    np.testing.assert_allclose(
        run(jaxloss.jaccard_loss, logits, masks, smooth=0.0),
        # J = 2 D / (1 + D), of losses.
        (2 * per_class / (1 + per_class)).mean(axis=-1),
        rtol=1e-6,
    )
    weights = jnp.array([0.5, 2.0, 1.0], jnp.float32)
    np.testing.assert_allclose(
        run(
            jaxloss.dice_loss_with_integer_labels,
            logits,
            labels,
            class_weights=weights,
            ignore_background=True,
            smooth=0.0,
        ),
        (per_class * weights[None])[:, 1:].mean(axis=-1),
        rtol=1e-6,
    )


def test_the_cross_entropy_is_the_mean_over_pixels(scene):
    logits, labels, _ = scene
    value = run(jaxloss.dice_cross_entropy_loss, logits, labels, dice_weight=0.0)
    nll = jaxloss.softmax_cross_entropy_with_integer_labels(logits, labels)
    np.testing.assert_allclose(value, nll.mean(axis=(1, 2)), rtol=1e-6)


def test_generalized_dice_is_sudre_s_of_each_image(scene):
    logits, _, masks = scene
    value = run(jaxloss.generalized_dice_loss, logits, masks)
    for i in range(2):
        one = jaxloss.multiclass_generalized_dice_loss(
            logits[i : i + 1], masks[i : i + 1], formula="sudre", smooth=0.0
        )
        np.testing.assert_allclose(value[i], one, rtol=1e-6)


@pytest.mark.parametrize("absent, weight", [("ignore", 0.0), ("rarest", 0.25)])
def test_absent_classes(absent, weight):
    """One pixel of two is of class 0 ... all are, half of them taken for class 1."""
    logits = jnp.log(jnp.array([[[0.75, 0.25], [0.75, 0.25]]]))
    masks = jnp.array([[[1.0, 0.0], [1.0, 0.0]]])
    value = run(jaxloss.generalized_dice_loss, logits, masks, absent_classes=absent)
    w0, w1 = 0.25, weight
    both, either = w0 * 1.5, w0 * 3.5 + w1 * 0.5
    np.testing.assert_allclose(value, [1 - 2 * both / either], rtol=1e-6)


@every_loss
def test_pixels_that_are_masked_may_hold_anything(loss, scene):
    logits, target = scene[0], truth(loss, scene)
    keep = jnp.ones((2, 4, 3), bool).at[:, 3].set(False)
    spoiled = logits.at[:, 3].set(jnp.nan)
    # In one of the images everything is masked: it contributes nothing to the mean.
    none = keep.at[1].set(False)
    wrong = target.at[:, 3].set(99)
    value, slope = slopes(loss, spoiled, wrong, where=keep)
    expected, clean = slopes(loss, logits[:, :3], target[:, :3])
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(slope[:, :3], clean, rtol=1e-5, atol=1e-7)
    assert (slope[:, 3] == 0).all()
    mean, slope = slopes(
        loss, spoiled.at[1].set(jnp.nan), wrong, where=none, reduction="mean"
    )
    one = run(loss, logits[:1, :3], target[:1, :3], reduction="mean")
    np.testing.assert_allclose(mean, one, rtol=1e-6)
    assert (slope[1] == 0).all()


@with_labels
def test_ignored_labels_are_masked_pixels(loss, scene):
    logits, labels, _ = scene
    ignored = labels.at[:, 2].set(-100)
    value = run(loss, logits.at[:, 2].set(jnp.nan), ignored, ignore_index=-100)
    keep = jnp.ones((2, 4, 3), bool).at[:, 2].set(False)
    np.testing.assert_allclose(value, run(loss, logits, labels, where=keep), rtol=1e-6)


@pytest.mark.parametrize("bad", [-1, 3])
@with_labels
def test_a_label_that_is_no_class_is_nan(loss, scene, bad):
    logits, labels, _ = scene
    value, slope = slopes(loss, logits, labels.at[0, 1, 1].set(bad))
    assert jnp.isnan(value) and jnp.isnan(slope[0]).any()
    assert not jnp.isnan(slope[1]).any()


@with_labels
def test_one_class_is_binary(loss):
    logits, labels = jnp.array([[[2.0], [-1.0]]]), jnp.array([[1, 0]])
    two = jnp.concatenate([jnp.zeros_like(logits), logits], axis=-1)
    options = {"ignore_background": True}
    np.testing.assert_allclose(
        run(loss, logits, labels), run(loss, two, labels, **options), rtol=1e-6
    )
    assert jnp.isnan(run(loss, logits, jnp.array([[1, 2]])))


@every_loss
def test_a_perfect_segmentation_costs_nothing(loss, scene):
    logits = 200 * scene[2]
    value, slope = slopes(loss, logits, truth(loss, scene), smooth=0.0)
    assert 0 <= value < 1e-30 and jnp.isfinite(slope).all()


def test_axes_of_pixels(scene):
    logits, _, masks = scene
    with pytest.raises(ValueError, match="`axis` must be axes of pixels"):
        jaxloss.tversky_loss(logits, masks, axis=-1)
    rows = run(jaxloss.tversky_loss, logits, masks, axis=2)
    np.testing.assert_allclose(
        rows[0], run(jaxloss.tversky_loss, logits[0], masks[0]), rtol=1e-6
    )
