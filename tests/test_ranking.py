"""Ranking losses: masks, reductions and edges."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxloss._losses.ranking import ranking_softmax_loss
from jaxloss._losses.softmax import softmax_cross_entropy

INF = np.inf


def f32(values):
    return jnp.asarray(values, jnp.float32)


SCORES = f32([[0.0, 3.0, 1.0, 2.0], [3.0, 1.0, 4.0, 2.0], [1.0, 1.0, 0.0, 0.0]])
LABELS = f32([[0.0, 0.0, 1.0, 1.0], [2.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
LISTS = jnp.array([True, False, True])
ITEMS = jnp.broadcast_to(LISTS[:, None], SCORES.shape)
NOTHING = jnp.zeros(SCORES.shape, bool)

# Reductions of a user's own.
MEANS = {
    "without where": lambda x: jnp.mean(x),
    "with where": lambda x, where: jnp.mean(x, where=where),
    "with anything": lambda x, **options: jnp.mean(x, **options),
}
each_mean = pytest.mark.parametrize("mean", MEANS.values(), ids=MEANS)


@pytest.mark.thorough
def test_w60_an_absent_item_of_no_relevance():
    scores, labels = f32([-INF, 0.0, 1.0]), f32([0.0, 1.0, 0.0])
    with jax.debug_nans(True):
        value, gradient = jax.value_and_grad(ranking_softmax_loss)(scores, labels)
    chex.assert_trees_all_close(value, jnp.float32(np.log1p(np.e)), rtol=1e-6)
    assert gradient[0] == 0 and np.isfinite(gradient).all()


@pytest.mark.thorough
@each_mean
def test_w60_all_masked_is_zero_whatever_reduces(mean):
    def loss(scores):
        return ranking_softmax_loss(scores, LABELS, where=NOTHING, reduce_fn=mean)

    run = jax.value_and_grad(loss)
    with jax.debug_nans(True):
        quiet = run(jnp.full_like(SCORES, jnp.inf))
    for value, gradient in (quiet, jax.jit(run)(jnp.full_like(SCORES, jnp.nan))):
        assert value == 0
        chex.assert_trees_all_equal(gradient, jnp.zeros_like(SCORES))


@pytest.mark.thorough
def test_w60_extreme_and_confident_scores():
    value = ranking_softmax_loss(f32([3e38, -3e38, 0.0]), f32([1.0, 0.0, 0.0]))
    assert value == 0
    loss, scores = ranking_softmax_loss, f32([20.0, 0.0, 0.0])
    value, gradient = jax.value_and_grad(loss)(scores, f32([1.0, 0.0, 0.0]))
    missing = 2 * np.exp(-20.0)
    expected = f32([-missing, missing / 2, missing / 2])
    chex.assert_trees_all_close(value, jnp.float32(missing), rtol=5e-7)
    chex.assert_trees_all_close(gradient, expected, rtol=1e-6)


def test_w60_half_precision_returns_float32():
    for dtype in (jnp.bfloat16, jnp.float16):
        value = ranking_softmax_loss(SCORES.astype(dtype), LABELS)
        assert value.dtype == jnp.float32
        chex.assert_trees_all_close(
            value, ranking_softmax_loss(SCORES, LABELS), rtol=1e-6
        )


@pytest.mark.thorough
@each_mean
def test_a_function_sees_the_lists_with_items(mean):
    losses = ranking_softmax_loss(SCORES, LABELS, reduce_fn=None)
    reduced = ranking_softmax_loss(SCORES, LABELS, where=ITEMS, reduce_fn=mean)
    if mean is MEANS["without where"]:
        # Zeros stand for the lists that are not there.
        expected = jnp.mean(jnp.where(LISTS, losses, 0))
    else:
        expected = jnp.mean(losses[np.asarray(LISTS)])
    chex.assert_trees_all_close(reduced, expected, rtol=1e-6)
    chex.assert_trees_all_close(
        ranking_softmax_loss(SCORES, LABELS, reduce_fn=mean), jnp.mean(losses)
    )


def test_the_mean_counts_lists_with_items():
    for where in (ITEMS, LISTS):
        losses = ranking_softmax_loss(SCORES, LABELS, where=where, reduction="none")
        assert losses[1] == 0
        mean = ranking_softmax_loss(SCORES, LABELS, where=where)
        chex.assert_trees_all_close(mean, jnp.sum(losses) / 2, rtol=1e-6)


def test_both_ways_to_reduce_agree():
    pairs = (("none", None), ("sum", jnp.sum), ("mean", jnp.mean))
    for reduction, function in pairs:
        chex.assert_trees_all_equal(
            ranking_softmax_loss(SCORES, LABELS, where=ITEMS, reduction=reduction),
            ranking_softmax_loss(SCORES, LABELS, where=ITEMS, reduce_fn=function),
        )


@pytest.mark.parametrize("function", [jnp.sum, None, jnp.max])
def test_one_way_to_reduce_at_a_time(function):
    with pytest.raises(ValueError, match=r"`reduce_fn` .* where `reduction` is given"):
        ranking_softmax_loss(SCORES, LABELS, reduce_fn=function, reduction="mean")


@pytest.mark.thorough
def test_masked_items_are_not_there():
    keep = jnp.array([[True, True, True, False]])
    scores = jnp.where(keep, SCORES, jnp.nan)
    value, gradient = jax.value_and_grad(ranking_softmax_loss)(
        scores, jnp.where(keep, LABELS, jnp.inf), where=keep
    )
    fewer, expected = jax.value_and_grad(ranking_softmax_loss)(
        SCORES[:, :3], LABELS[:, :3]
    )
    chex.assert_trees_all_close(value, fewer, rtol=1e-6)
    chex.assert_trees_all_close(gradient[:, :3], expected, rtol=1e-6)
    chex.assert_trees_all_equal(gradient[:, 3], jnp.zeros(3, jnp.float32))


def test_weights_of_items_multiply_their_labels():
    weights = f32(np.linspace(0.5, 2, SCORES.size).reshape(SCORES.shape))
    chex.assert_trees_all_close(
        ranking_softmax_loss(SCORES, LABELS, weights=weights),
        ranking_softmax_loss(SCORES, LABELS * weights),
        rtol=1e-6,
    )
    # An infinite weight of an item of no relevance.
    one_weight = weights.at[0, 0].set(jnp.inf)
    chex.assert_trees_all_equal(
        ranking_softmax_loss(SCORES, LABELS, weights=one_weight),
        ranking_softmax_loss(SCORES, LABELS, weights=weights),
    )


def test_weights_of_lists_count_in_the_mean():
    weights = f32([1.0, 2.0, 5.0])
    losses = ranking_softmax_loss(SCORES, LABELS, reduction="none")
    expected = jnp.sum(losses * weights) / 8
    chex.assert_trees_all_close(
        ranking_softmax_loss(SCORES, LABELS, weights=weights), expected, rtol=1e-6
    )
    chex.assert_trees_all_close(
        ranking_softmax_loss(SCORES, LABELS, weights=weights, reduce_fn=jnp.max),
        jnp.max(losses * weights),
        rtol=1e-6,
    )


def test_is_the_cross_entropy_of_the_labels():
    chex.assert_trees_all_equal(
        ranking_softmax_loss(SCORES, LABELS, reduction="none"),
        softmax_cross_entropy(SCORES, LABELS),
    )


def test_gradient_by_labels():
    by_label = jax.grad(lambda y: ranking_softmax_loss(SCORES, y, reduction="sum"))(
        LABELS
    )
    chex.assert_trees_all_close(by_label, -jax.nn.log_softmax(SCORES), rtol=1e-6)


def test_no_lists_at_all():
    empty = jnp.zeros((0, 4), jnp.float32)
    for function in (jnp.mean, jnp.sum, *MEANS.values()):
        assert ranking_softmax_loss(empty, empty, reduce_fn=function) == 0


def test_axis_and_base():
    chex.assert_trees_all_close(
        ranking_softmax_loss(SCORES.T, LABELS.T, axis=0, base=2),
        ranking_softmax_loss(SCORES, LABELS) / jnp.float32(np.log(2)),
        rtol=1e-6,
    )
