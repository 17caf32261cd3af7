"""Kullback-Leibler divergences, where optax loses them, and at their edges."""

import warnings

import chex
import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxloss._core.relative_entropy import log_ratio
from jaxloss._losses.divergence import (
    convex_kl_divergence,
    generalized_kl_divergence,
    kl_divergence,
    kl_divergence_with_log_targets,
)

INF = np.inf


def f32(*values):
    return jnp.asarray(values, jnp.float32)


def near(rng, distance, classes, dtype, rows=20):
    """Normalised log-probabilities and targets that are a distance apart."""
    x = rng.normal(size=(rows, classes))
    log_t = jax.nn.log_softmax(jnp.asarray(x))
    log_p = jax.nn.log_softmax(jnp.asarray(x + distance * rng.normal(size=x.shape)))
    return tuple(a.astype(dtype) for a in (log_p, jnp.exp(log_t), log_t))


def bregman(log_p, t):
    """Σ p - t + t (log t - log p) of the numbers as they are, for each row."""
    with mp.workdps(50):
        log_p, t = (np.asarray(a, np.float64) for a in (log_p, t))
        return np.array(
            [
                float(mp.fsum(map(_term, map(mp.mpf, p), map(mp.mpf, q))))
                for p, q in zip(log_p, t, strict=True)
            ]
        )


def _term(log_p, t):
    return mp.exp(log_p) - t + (t * (mp.log(t) - log_p) if t else 0)


FUNCTIONS = [kl_divergence, generalized_kl_divergence]
each = pytest.mark.parametrize("loss", FUNCTIONS, ids=lambda f: f.__name__)


# ------------------------------------------------------------------ masks


@pytest.mark.thorough
@pytest.mark.parametrize(
    "loss", [*FUNCTIONS, kl_divergence_with_log_targets], ids=lambda f: f.__name__
)
def test_w13_a_mask_of_examples_is_no_mask_of_classes(loss):
    """With as many examples as classes, a mask of rank 1 still keeps examples."""
    log_p, t, log_t = near(np.random.default_rng(0), 1.0, 3, jnp.float32, rows=3)
    targets = log_t if loss is kl_divergence_with_log_targets else t
    keep = jnp.array([True, False, True])
    whole = loss(log_p, targets)
    chex.assert_trees_all_equal(
        loss(log_p, targets, where=keep), jnp.where(keep, whole, 0)
    )
    # With another number of classes than examples optax raises.
    chex.assert_shape(loss(log_p[:2], targets[:2], where=keep[:2]), (2,))


@pytest.mark.thorough
def test_w13_a_mask_of_classes_has_their_rank():
    log_p, t, _ = near(np.random.default_rng(0), 1.0, 4, jnp.float32)
    keep = jnp.array([[True, True, False, True]])
    fewer = np.array([0, 1, 3])
    spoiled = jnp.where(keep, log_p, jnp.nan)
    chex.assert_trees_all_close(
        kl_divergence(spoiled, jnp.where(keep, t, jnp.inf), where=keep),
        kl_divergence(log_p[:, fewer], t[:, fewer]),
        rtol=1e-6,
    )


# ------------------------------------------------------------------ zeros, infinities


@pytest.mark.thorough
def test_w37a_what_has_no_target_contributes_nothing():
    log_p = f32(-INF, np.log(0.25), np.log(0.75))
    t = f32(0.0, 0.5, 0.5)
    expected = 0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    with jax.debug_nans(True):
        chex.assert_trees_all_close(kl_divergence(log_p, t), jnp.float32(expected))
        chex.assert_trees_all_close(
            generalized_kl_divergence(log_p, t), jnp.float32(expected)
        )
        for log_t in (jnp.log(t), f32(-200.0, np.log(0.5), np.log(0.5))):
            chex.assert_trees_all_close(
                kl_divergence_with_log_targets(log_p, log_t), jnp.float32(expected)
            )


@pytest.mark.thorough
def test_w37a_impossible_targets_are_infinitely_far():
    log_p, t = f32(-INF, 0.0), f32(0.5, 0.5)
    for loss, targets in (
        (kl_divergence, t),
        (generalized_kl_divergence, t),
        (kl_divergence_with_log_targets, jnp.log(t)),
    ):
        value, gradient = jax.value_and_grad(loss)(log_p, targets)
        assert value == jnp.inf
        assert np.isfinite(gradient).all()
        chex.assert_trees_all_close(gradient[0], jnp.float32(-0.5))


@pytest.mark.thorough
def test_w37b_derivatives_by_targets_are_finite_at_zero():
    log_p, t = jnp.log(f32(0.2, 0.3, 0.5)), f32(0.0, 0.4, 0.6)
    ratio = jnp.log(t[1:]) - log_p[1:]
    cases = (
        (kl_divergence, t, ratio + 1),
        (generalized_kl_divergence, t, ratio),
        (kl_divergence_with_log_targets, jnp.log(t), t[1:] * (ratio + 1)),
    )
    for loss, targets, expected in cases:
        gradient = jax.grad(loss, argnums=1)(log_p, targets)
        assert gradient[0] == 0
        chex.assert_trees_all_close(gradient[1:], expected, rtol=1e-6)
        # Forward mode with a tangent of zeros for the targets, written out.
        _, tangent = jax.jvp(
            loss, (log_p, targets), (jnp.ones_like(log_p), jnp.zeros_like(targets))
        )
        assert np.isfinite(tangent)


def test_w37b_a_teacher_that_underflows_still_learns():
    """The targets' zeros come from a softmax: its slope there must not meet inf."""
    log_p = jax.nn.log_softmax(f32(0.1, 0.2, 0.3))

    def by_probabilities(x):
        return kl_divergence(log_p, jax.nn.softmax(x))

    def by_logarithms(x):
        return kl_divergence_with_log_targets(log_p, jax.nn.log_softmax(x))

    x = f32(0.0, 1.0, -300.0)
    by_x = jax.grad(by_probabilities)(x)
    assert np.isfinite(by_x).all()
    chex.assert_trees_all_close(by_x, jax.grad(by_logarithms)(x), rtol=1e-5, atol=1e-7)


# ------------------------------------------------------------------ near equality

# The distance, and the largest relative error. At the smallest, half a unit in the
# last place of log t is already 1e-3 of the distance.
ACCURACY = [(1.0, 5e-7), (1e-1, 5e-7), (1e-2, 2.5e-7), (1e-3, 5e-7), (1e-4, 1.1e-5)]


@pytest.mark.parametrize(("distance", "rtol"), ACCURACY)
@pytest.mark.parametrize("classes", [7, 100])
def test_w37c_near_equal_distributions(distance, rtol, classes):
    log_p, t, log_t = near(np.random.default_rng(1), distance, classes, jnp.float32)
    expected = bregman(log_p, t)
    for loss in FUNCTIONS:
        np.testing.assert_allclose(jax.jit(loss)(log_p, t), expected, rtol=rtol)
    of_logs = bregman(log_p, np.exp(np.asarray(log_t, np.float64)))
    np.testing.assert_allclose(
        jax.jit(kl_divergence_with_log_targets)(log_p, log_t), of_logs, rtol=5e-7
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_w37c_never_negative(dtype, classes):
    """Whatever the rounding of softmax and log_softmax leaves of their masses."""
    rng = np.random.default_rng(2)

    @jax.jit
    def lowest(x, y):
        log_p, log_t = (jax.nn.log_softmax(a).astype(dtype) for a in (x, y))
        t = jax.nn.softmax(y).astype(dtype)
        return [
            jnp.min(kl_divergence(log_p, t)),
            jnp.min(kl_divergence_with_log_targets(log_p, log_t)),
            jnp.min(generalized_kl_divergence(log_p, t)),
        ]

    for scale in (1.0, 10.0):
        for distance in (1e-1, 1e-2, 1e-3, 1e-4, 0.0):
            x = scale * rng.normal(size=(100, classes))
            y = x + distance * rng.normal(size=x.shape)
            found = lowest(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32))
            assert min(found) >= 0, (scale, distance, found)


@pytest.mark.thorough
def test_w37c_gradient_of_the_generalized_divergence():
    """p - t keeps its relative accuracy: far more than p has left of it."""
    rng = np.random.default_rng(3)
    t = jnp.asarray(rng.uniform(0.01, 1, size=1000), jnp.float32)
    log_p = jnp.log(t) + jnp.asarray(1e-2 * rng.choice([-1, 1], size=1000), jnp.float32)
    gradient = jax.grad(generalized_kl_divergence)(log_p, t)
    wide = np.asarray(log_p, np.float64), np.asarray(t, np.float64)
    np.testing.assert_allclose(gradient, np.exp(wide[0]) - wide[1], rtol=5e-7)


@pytest.mark.thorough
def test_log_ratio_to_the_last_place_of_a_small_difference():
    rng = np.random.default_rng(4)
    for dtype, atol in ((jnp.float32, 7e-10), (jnp.float64, 2e-18)):
        x = jnp.asarray(rng.normal(size=300) * 12, dtype)
        t = jnp.exp(x)
        log_p = x + jnp.asarray(1e-4 * rng.normal(size=300), dtype)
        with mp.workdps(50):
            exact = [
                float(mp.mpf(float(a)) - mp.log(mp.mpf(float(b))))
                for a, b in zip(log_p, t, strict=True)
            ]
        actual = jax.jit(log_ratio)(log_p, t)
        np.testing.assert_allclose(actual, exact, rtol=3e-7, atol=atol)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_log_ratio_at_the_edges(dtype):
    info = jnp.finfo(dtype)
    t = jnp.asarray([1.0, info.tiny, info.max, 0.0, INF, -1.0, np.nan], dtype)
    log_p = jnp.zeros_like(t)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = -np.log(np.asarray(t))
    np.testing.assert_allclose(jax.jit(log_ratio)(log_p, t), expected, rtol=4e-7)
    assert log_ratio(jnp.asarray(-INF, dtype), jnp.asarray(0.5, dtype)) == -INF


# ------------------------------------------------------------------ bad, large


def test_w37d_negative_targets_are_loud():
    log_p, t = jnp.log(f32(0.2, 0.3, 0.5)), f32(-0.1, 0.5, 0.6)
    for loss in FUNCTIONS:
        for argument in (0, 1):
            value, gradient = jax.value_and_grad(loss, argnums=argument)(log_p, t)
            assert np.isnan(value) and np.isnan(gradient[0])


def test_w37d_large_predictions():
    """e^log p overflows only where the value does."""
    log_p, t = f32(100.0, 0.0), f32(1.0, 2.0)
    chex.assert_trees_all_close(
        kl_divergence(log_p, t), jnp.float32(-100 + 2 * np.log(2))
    )
    assert generalized_kl_divergence(log_p, t) == jnp.inf
    almost, tiny = f32(80.0, 0.0), f32(1e-35, 1.0)
    np.testing.assert_allclose(
        generalized_kl_divergence(almost, tiny), np.exp(80.0), rtol=1e-6
    )


@each
def test_nan_is_not_hidden_by_a_target_of_zero(loss):
    log_p, t = f32(np.nan, np.log(0.5), np.log(0.5)), f32(0.0, 0.5, 0.5)
    value, (by_log_p, by_t) = jax.value_and_grad(loss, argnums=(0, 1))(log_p, t)
    assert np.isnan(value) and np.isnan(by_log_p[0]) and np.isnan(by_t[0])


# ------------------------------------------------------------------ the definition


@pytest.mark.thorough
def test_w37e_unnormalised_inputs_keep_the_definition():
    rng = np.random.default_rng(5)
    t = jnp.asarray(rng.uniform(0.1, 1, size=(20, 5)), jnp.float32)
    log_p = jnp.asarray(rng.normal(size=(20, 5)), jnp.float32)
    wide = np.asarray(log_p, np.float64), np.asarray(t, np.float64)
    expected = np.sum(wide[1] * (np.log(wide[1]) - wide[0]), axis=-1)
    assert (expected < 0).any()
    np.testing.assert_allclose(kl_divergence(log_p, t), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_w37e_the_defect_of_the_masses_counts_beyond_rounding(dtype):
    """The documented threshold: what is beyond it counts."""
    classes = 4
    t = jnp.full(classes, 1 / classes, dtype)
    epsilon = float(jnp.finfo(dtype).eps)
    threshold = 2 * epsilon + (2 + np.log(classes)) * epsilon
    for factor, counts in ((0.5, False), (3.0, True), (30.0, True)):
        log_p = jnp.full(classes, -np.log(classes) - factor * threshold, dtype)
        missing = 1 - np.sum(np.exp(np.asarray(log_p, np.float64)))
        left_out = bregman(log_p[None], t[None])[0]
        expected = left_out + missing if counts else left_out
        np.testing.assert_allclose(kl_divergence(log_p, t), expected, rtol=1e-6)


@pytest.mark.thorough
def test_w37e_the_gradient_is_that_of_the_definition():
    log_p, t, _ = near(np.random.default_rng(6), 1e-3, 5, jnp.float32)
    by_log_p = jax.grad(lambda a: jnp.sum(kl_divergence(a, t)))(log_p)
    chex.assert_trees_all_equal(by_log_p, -t)
    hessian = jax.hessian(kl_divergence)(log_p[0], t[0])
    chex.assert_trees_all_equal(hessian, jnp.zeros_like(hessian))
    mixed = jax.jacfwd(jax.grad(kl_divergence), argnums=1)(log_p[0], t[0])
    chex.assert_trees_all_equal(mixed, -jnp.eye(5, dtype=jnp.float32))
    curvature = jax.hessian(kl_divergence, argnums=1)(log_p[0], t[0])
    chex.assert_trees_all_close(curvature, jnp.diag(1 / t[0]), rtol=1e-6)


@pytest.mark.thorough
def test_derivatives_by_finite_differences():
    rng = np.random.default_rng(7)
    log_p = jnp.asarray(rng.normal(size=(2, 4)))
    t = jnp.asarray(rng.uniform(0.5, 2, size=(2, 4)))
    for loss, targets in (
        (kl_divergence, t),
        (generalized_kl_divergence, t),
        (kl_divergence_with_log_targets, jnp.log(t)),
    ):
        check_grads(jax.jit(loss), (log_p, targets), order=2, modes=("fwd", "rev"))


@pytest.mark.thorough
def test_the_forms_agree():
    log_p, t, log_t = near(np.random.default_rng(8), 1.0, 6, jnp.float64)
    chex.assert_trees_all_close(
        kl_divergence(log_p, t),
        kl_divergence_with_log_targets(log_p, log_t),
        generalized_kl_divergence(log_p, t),
        rtol=1e-12,
    )


def test_integer_targets_are_exact():
    log_p = jax.nn.log_softmax(f32(1.0, 2.0, 3.0))
    one_hot = jnp.array([0, 1, 0])
    chex.assert_trees_all_close(kl_divergence(log_p, one_hot), -log_p[1], rtol=3e-7)


@pytest.mark.thorough
def test_axes_and_reductions():
    rng = np.random.default_rng(9)
    log_p = jnp.asarray(rng.normal(size=(3, 4, 5)), jnp.float32)
    t = jnp.asarray(rng.uniform(size=(3, 4, 5)), jnp.float32)
    whole = kl_divergence(log_p, t, axis=None)
    chex.assert_trees_all_close(whole, kl_divergence(log_p, t, (0, 1, 2)), rtol=1e-6)
    each_row = kl_divergence(log_p, t)
    chex.assert_trees_all_close(jnp.sum(each_row), whole, rtol=1e-5)
    chex.assert_trees_all_close(
        kl_divergence(log_p, t, reduction="mean", base=2),
        jnp.mean(each_row) / jnp.float32(np.log(2)),
        rtol=1e-6,
    )


def test_empty_rows():
    empty = jnp.zeros((3, 0), jnp.float32)
    for loss in (*FUNCTIONS, kl_divergence_with_log_targets):
        chex.assert_trees_all_equal(loss(empty, empty), jnp.zeros(3, jnp.float32))


def test_memory_of_value_and_gradient():
    """No more than one array of the inputs' size, as many as the terms take."""
    x = jnp.zeros((512, 1024), jnp.float32)
    for loss in FUNCTIONS:
        run = jax.jit(jax.value_and_grad(lambda a, b, f=loss: jnp.mean(f(a, b))))
        used = run.lower(x, x).compile().memory_analysis().temp_size_in_bytes
        assert used <= 1.05 * x.size * 4, loss.__name__


def test_the_deprecated_name_warns():
    log_p, t = jnp.log(f32(0.25, 0.75)), f32(0.5, 0.5)
    with pytest.warns(DeprecationWarning, match="use generalized_kl_divergence"):
        old = convex_kl_divergence(log_p, t)
    chex.assert_trees_all_equal(old, generalized_kl_divergence(log_p, t))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        convex_kl_divergence(log_p, t, -1, None)
    assert caught[0].filename == __file__
