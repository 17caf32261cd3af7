"""Self-supervised losses: masks, states, edges, and the formulas of other libraries."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough

KEEP = np.array([True, True, False, True, True, False, True, True])


def draw(seed=0, features=3, size=1.0):
    rng = np.random.default_rng(seed)
    x, y = (size * rng.normal(size=(len(KEEP), features)) for _ in range(2))
    return jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)


def close(actual, expected, rtol=2e-6, atol=2e-6):
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, rtol, atol)


def softmax(x):
    p = np.exp(x - x.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


# ------------------------------------------------------------------ whole batches

WHOLE = {
    "swav_loss": lambda a, b, **o: jaxloss.swav_loss(a, b, **o),
    "barlow_twins_loss": lambda a, b, **o: jaxloss.barlow_twins_loss(a, b, **o),
    "vicreg_loss": lambda a, b, **o: jaxloss.vicreg_loss(a, b, **o),
    "koleo_loss": lambda a, b, **o: jaxloss.koleo_loss(a, **o),
    "uniformity_loss": lambda a, b, **o: jaxloss.uniformity_loss(a, **o),
}


@pytest.mark.parametrize("name", WHOLE)
def test_masked_examples_take_part_nowhere(name):
    a, b = draw()

    @jax.jit
    def run(a, b, where=None):
        return jax.value_and_grad(lambda a: jnp.sum(WHOLE[name](a, b, where=where)))(a)

    expected, slope = run(a[KEEP], b[KEEP])
    for value in (np.nan, np.inf):
        spoiled = (jnp.where(KEEP[:, None], x, value) for x in (a, b))
        actual, gradient = run(*spoiled, jnp.asarray(KEEP))
        close(actual, expected, rtol=1e-5)
        close(gradient[KEEP], slope, rtol=1e-4, atol=1e-5)
        assert (np.asarray(gradient)[~KEEP] == 0).all()
    with jax.debug_nans(True):
        nothing, gradient = run(a, b, jnp.zeros(len(KEEP), bool))
    assert nothing == 0
    chex.assert_trees_all_equal(gradient, jnp.zeros_like(a))


@pytest.mark.parametrize("name", ["barlow_twins_loss", "vicreg_loss", "koleo_loss"])
def test_a_collapsed_batch_has_a_finite_gradient(name):
    """Constant features, equal directions: also without an epsilon."""
    a, _ = draw()
    same = jnp.ones_like(a)
    options = {} if name == "barlow_twins_loss" else {"epsilon": 0.0}
    with jax.debug_nans(True):
        gradient = jax.jit(
            jax.grad(lambda x: jnp.sum(WHOLE[name](x, same, **options)))
        )(same)
    chex.assert_tree_all_finite(gradient)


def test_statistics_are_scalars():
    a, b = draw()
    for name in ("barlow_twins_loss", "vicreg_loss", "uniformity_loss"):
        assert WHOLE[name](a, b).shape == ()


def test_barlow_twins_is_about_correlations():
    a, b = draw()
    c = np.corrcoef(np.asarray(a, np.float64), np.asarray(b, np.float64), rowvar=False)
    c = c[:3, 3:]
    diagonal = np.square(1 - np.diagonal(c)).sum()
    rest = np.square(c).sum() - np.square(np.diagonal(c)).sum()
    expected = diagonal + 0.01 * rest
    for x, y in ((a, b), (1e-20 * a + 0, 1e15 * b), (a + 1000, b)):
        loss = jaxloss.barlow_twins_loss(x, y, off_diagonal_weight=0.01)
        # The offset rounds the features themselves.
        close(loss, expected, rtol=1e-3 if x[0, 0] > 100 else 1e-5)
    same = jaxloss.barlow_twins_loss(a, 3 * a, off_diagonal_weight=0.0)
    assert same < 1e-12


@pytest.mark.parametrize("name", ["barlow_twins_loss", "vicreg_loss"])
def test_features_far_from_zero(name):
    """Their mean is rounded there; that of the differences to it is not."""
    a, b = (jnp.round(64 * x) / 64 for x in draw())
    # An invariance of 0, for the views are shifted apart.
    options = {"invariance_weight": 0.0} if name == "vicreg_loss" else {}
    expected = WHOLE[name](a, b, **options)
    actual = WHOLE[name](a + 2.0**17, b - 2.0**16, **options)
    close(actual, expected, rtol=1e-6)


def test_vicreg_by_its_definition():
    a, b = draw(size=0.7)
    wide = [np.asarray(x, np.float64) for x in (a, b)]
    variance, off = 0.0, 0.0
    for x in wide:
        c = np.cov(x, rowvar=False)
        variance += np.maximum(0, 1 - np.sqrt(np.diagonal(c) + 1e-4)).mean() / 2
        off += (np.square(c).sum() - np.square(np.diagonal(c)).sum()) / 3
    invariance = np.square(wide[0] - wide[1]).mean()
    close(jaxloss.vicreg_loss(a, b), 25 * invariance + 25 * variance + off, rtol=1e-5)
    close(
        jaxloss.vicreg_loss(a, b, invariance_weight=0.0, variance_weight=0.0),
        off,
        rtol=1e-5,
    )


def test_koleo_of_near_neighbours():
    """Distances of about 1e-4 between directions, in relative terms."""
    angle = np.array([0.0, 1e-4, 1.0, 1.0002])
    x = np.stack([np.ones(4), np.tan(angle)], axis=1).astype(np.float32)
    wide = np.asarray(x, np.float64)
    theta = np.arctan2(wide[:, 1], wide[:, 0])
    near = 2 * np.sin(np.abs(np.diff(theta)[[0, 0, 2, 2]]) / 2)
    close(jaxloss.koleo_loss(x, epsilon=0.0), -np.log(near), rtol=1e-6)


def test_koleo_of_equal_directions():
    x = jnp.asarray([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]], jnp.float32)
    close(jaxloss.koleo_loss(x)[:2], -np.log([1e-8, 1e-8]), rtol=1e-6)
    assert (jaxloss.koleo_loss(x, epsilon=0.0)[:2] == jnp.inf).all()
    mean = jaxloss.koleo_loss(x[:1], reduction="mean")
    assert mean == 0


def test_uniformity_neither_vanishes_nor_cancels():
    x = jnp.asarray([[1.0, 0.0], [-1.0, 0.0], [3.0, 0.0]], jnp.float32)
    # Two of three pairs are at a distance of 2.
    for t in (2.0, 500.0):
        close(jaxloss.uniformity_loss(x, t=t), np.log((1 + 2 * np.exp(-4 * t)) / 3))
    apart = x[:2]
    close(jaxloss.uniformity_loss(apart, t=500.0), -2000)
    assert jaxloss.uniformity_loss(x[:1]) == 0


# ------------------------------------------------------------------ prototypes


def codes(scores, epsilon=0.05, rounds=3):
    """As in the authors' code, in float64."""
    q = np.exp(np.asarray(scores, np.float64) / epsilon).T
    q = q / q.sum()
    for _ in range(rounds):
        q = q / q.sum(1, keepdims=True) / len(q)
        q = q / q.sum(0, keepdims=True) / q.shape[1]
    return (q * q.shape[1]).T


def test_swav_is_a_cross_entropy_to_codes():
    a, b = draw()
    a, b = jnp.tanh(a), jnp.tanh(b)
    q = codes(b)
    close(q.sum(1), np.ones(len(q)))
    p = softmax(np.asarray(a, np.float64) / 0.1)
    expected = -(q * np.log(p)).sum(1)
    close(jaxloss.swav_loss(a, b), expected, rtol=1e-5, atol=1e-5)
    by_other = jax.grad(lambda b: jnp.sum(jaxloss.swav_loss(a, b)))(b)
    assert (by_other == 0).all()


def test_swav_codes_do_not_overflow():
    """e^(s / ε) leaves float32 above scores of 4.4."""
    a, b = draw(size=30.0)
    with jax.enable_x64(True):
        exact = jaxloss.swav_loss(*(x.astype(jnp.float64) for x in (a, b)))
    with jax.debug_nans(True):
        loss, gradient = jax.value_and_grad(lambda a: jnp.sum(jaxloss.swav_loss(a, b)))(
            a
        )
    close(loss, jnp.sum(exact), rtol=1e-4)
    chex.assert_tree_all_finite(gradient)
    assert jnp.isfinite(jaxloss.swav_loss(a / 30, b / 30, epsilon=1e-4)).all()


def test_balanced_codes_with_more_rounds():
    a, b = draw()
    b = jnp.tanh(b)
    loss = jaxloss.swav_loss(jnp.zeros_like(a), b, iterations=50)
    close(loss, np.full(len(KEEP), np.log(3)))
    close(
        jaxloss.swav_loss(a, b, iterations=7),
        -(codes(b, rounds=7) * np.log(softmax(np.asarray(a, np.float64) / 0.1))).sum(1),
        rtol=1e-5,
        atol=1e-5,
    )
    with pytest.raises(ValueError, match="`iterations` must be at least 1"):
        jaxloss.swav_loss(a, b, iterations=0)
    with pytest.raises(ValueError, match=r"`scores` must be of shape \[batch, proto"):
        jaxloss.swav_loss(a[None], b[None])


# ------------------------------------------------------------------ teachers


def test_dino_centre_is_a_running_mean():
    student, teacher = draw()
    center = jnp.asarray([0.1, -0.2, 0.3], jnp.float32)
    loss, new = jaxloss.dino_loss(student, teacher, center=center, center_momentum=0.75)
    wide = np.asarray(teacher, np.float64)
    close(new, 0.75 * np.asarray(center) + 0.25 * wide.mean(0))
    target = softmax((wide - np.asarray(center, np.float64)) / 0.04)
    log_p = np.log(softmax(np.asarray(student, np.float64) / 0.1))
    close(loss, -(target * log_p).sum(1), rtol=1e-5, atol=1e-5)
    bits, _ = jaxloss.dino_loss(student, teacher, center=center, base=2)
    close(bits, np.asarray(loss, np.float64) / np.log(2))


def test_dino_masks_the_centre_too():
    student, teacher = draw()
    spoiled = jnp.where(KEEP[:, None], teacher, jnp.nan)
    center = jnp.ones(3, jnp.float32)
    loss, new = jaxloss.dino_loss(
        student, spoiled, center=center, where=jnp.asarray(KEEP)
    )
    expected, kept = jaxloss.dino_loss(student[KEEP], teacher[KEEP], center=center)
    close(new, kept)
    close(loss[KEEP], expected)
    _, same = jaxloss.dino_loss(
        student, teacher, center=center, where=jnp.zeros(8, bool)
    )
    chex.assert_trees_all_equal(same, center)


def test_dino_trains_the_student_only():
    student, teacher = draw()
    center = jnp.ones(3, jnp.float32)

    def total(student, teacher, center):
        loss, new = jaxloss.dino_loss(student, teacher, center=center)
        return jnp.sum(loss) + jnp.sum(new)

    slopes = jax.grad(total, (0, 1, 2))(student, teacher, center)
    assert (jnp.abs(slopes[0]) > 0).any()
    assert all((slope == 0).all() for slope in slopes[1:])


def test_dino_offset_of_teacher_and_centre_cancels():
    student, teacher = draw()
    teacher = jnp.round(teacher * 64) / 64
    center = jnp.asarray([0.5, -0.25, 0.75], jnp.float32)
    expected, _ = jaxloss.dino_loss(student, teacher, center=center)
    for shift in ((4096.0, 0.0), (0.0, 4096.0), (4096.0, 4096.0)):
        loss, _ = jaxloss.dino_loss(
            student, teacher + shift[0], center=center + shift[1]
        )
        close(loss, expected)


def test_the_centre_has_one_entry_for_each_prototype():
    student, teacher = draw()
    with pytest.raises(ValueError, match="`center` must be of shape"):
        jaxloss.dino_loss(student, teacher, center=jnp.zeros(4))
    with pytest.raises(ValueError, match="`center_momentum`"):
        jaxloss.dino_loss(student, teacher, center_momentum=1.5)


def test_ibot_is_the_mean_over_masked_patches():
    rng = np.random.default_rng(0)
    student, teacher = (
        jnp.asarray(rng.normal(size=(4, 3, 5)), jnp.float32) for _ in range(2)
    )
    masked = jnp.asarray([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]], bool)
    spoiled = jnp.where(masked[..., None], teacher, jnp.nan)

    def ibot(student):
        result = jaxloss.ibot_loss(student, spoiled, where=masked)
        return jnp.sum(result.loss), result

    slope, (loss, center) = jax.grad(ibot, has_aux=True)(student)
    patches, expected_center = jaxloss.dino_loss(student, teacher, where=masked)
    counts = np.maximum(np.asarray(masked).sum(1), 1)
    close(loss, np.asarray(patches).sum(1) / counts)
    close(center, expected_center)
    assert (np.asarray(slope)[~np.asarray(masked)] == 0).all()
    mean = jaxloss.ibot_loss(student, teacher, where=masked, reduction="mean").loss
    close(mean, np.asarray(loss).sum() / 3)
    with pytest.raises(ValueError, match=r"of shape \[\.\.\., patches, prototypes\]"):
        jaxloss.ibot_loss(student[0, 0], teacher[0, 0])


# ------------------------------------------------------------------ views, patches


def test_byol_and_simsiam():
    a, b = draw()
    c, d = draw(1)
    one = jaxloss.negative_cosine_loss(a, b)
    two = jaxloss.negative_cosine_loss(c, d)
    both = jaxloss.negative_cosine_loss(a, b, second_predictions=c, second_targets=d)
    close(both, (np.asarray(one) + np.asarray(two)) / 2)
    u, v = (x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    close(2 + 2 * one, jnp.sum((u - v) ** 2, axis=1))
    with pytest.raises(ValueError, match="`second_targets` must be given along"):
        jaxloss.negative_cosine_loss(a, b, second_predictions=c)
    with pytest.raises(ValueError, match="`second_predictions` must be of the shape"):
        jaxloss.negative_cosine_loss(
            a, b, second_predictions=c[:1], second_targets=d[:1]
        )


def test_targets_are_constants():
    a, b = draw()

    def total(a, b):
        loss = jaxloss.negative_cosine_loss(
            a, b, second_predictions=b, second_targets=a
        )
        return jnp.sum(loss)

    by_a, by_b = jax.grad(total, (0, 1))(a, b)
    half = jax.grad(lambda a, b: jnp.sum(jaxloss.negative_cosine_loss(a, b)), (0, 1))
    close(by_a, half(a, b)[0] / 2)
    close(by_b, half(b, a)[0] / 2)
    assert (half(a, b)[1] == 0).all()


def test_masked_second_views_may_hold_anything():
    a, b = draw()
    spoiled = jnp.where(KEEP[:, None], a, jnp.nan)
    keep = jnp.asarray(KEEP)
    loss = functools.partial(
        jaxloss.negative_cosine_loss, second_targets=spoiled, where=keep
    )
    slope = jax.grad(lambda p: jnp.sum(loss(a, b, second_predictions=p)))(spoiled)
    chex.assert_tree_all_finite(slope)


def test_patches_of_one_colour():
    pixels = jnp.full((2, 4), 7.0, jnp.float32)
    predictions = jnp.zeros((2, 4), jnp.float32)
    for epsilon in (0.0, 1e-6):
        with jax.debug_nans(True):
            loss, slopes = jax.value_and_grad(
                lambda p, t, e=epsilon: jnp.sum(
                    jaxloss.masked_patch_loss(p, t, normalize=True, epsilon=e)
                ),
                (0, 1),
            )(predictions, pixels)
        assert loss == 0
        chex.assert_tree_all_finite(slopes)


def test_normalised_pixels_do_not_feel_an_offset():
    x, y = draw(features=6)
    y = jnp.round(y * 256) / 256
    wide = np.asarray(y, np.float64)
    target = (wide - wide.mean(1, keepdims=True)) / np.sqrt(
        wide.var(1, ddof=1, keepdims=True) + 1e-6
    )
    expected = np.square(np.asarray(x, np.float64) - target).mean(1)
    for offset in (0.0, 4096.0):
        close(jaxloss.masked_patch_loss(x, y + offset, normalize=True), expected)
    hidden = jnp.asarray(KEEP)
    mean = jaxloss.masked_patch_loss(
        x, y, normalize=True, where=hidden, reduction="mean"
    )
    close(mean, expected[KEEP].mean())
