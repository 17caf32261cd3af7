"""Regressions and edge values of the ranking losses of orders and lists."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import ndcg_score

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough


def compiled(loss):
    """Jitted for every call's options."""

    @functools.wraps(loss)
    def call(*arrays, **options):
        return jax.jit(functools.partial(loss, **options))(*arrays)

    return call


approx_ndcg_loss = compiled(jaxloss.approx_ndcg_loss)
listmle_loss = compiled(jaxloss.listmle_loss)
listnet_loss = compiled(jaxloss.listnet_loss)
plackett_luce_nll = compiled(jaxloss.plackett_luce_nll)
unique_softmax_loss = compiled(jaxloss.unique_softmax_loss)

INF = jnp.inf
LOSSES = [approx_ndcg_loss, listmle_loss, listnet_loss, unique_softmax_loss]
all_losses = pytest.mark.parametrize("loss", LOSSES, ids=lambda f: f.__name__)


def f32(values):
    return jnp.array(values, jnp.float32)


@pytest.fixture
def lists():
    rng = np.random.default_rng(0)
    return f32(rng.normal(size=(3, 6))), f32(rng.integers(3, size=(3, 6)))


@all_losses
def test_segments_are_lists_of_their_own(loss, lists):
    scores, labels = lists
    # One of them far from the other, whose differences must not suffer.
    segments = jnp.array([7, -1, 7, 7, -1, 0])
    wide = jnp.broadcast_to(segments, scores.shape)
    scores = jnp.where(wide == 7, scores + 1e5, scores)

    def total(s, y, **more):
        return jnp.sum(loss(s, y, **more))

    value, gradient = jax.value_and_grad(total)(scores, labels, segments=wide)
    expected = 0.0
    for k in (7, -1, 0):
        at = np.flatnonzero(segments == k)
        part, slope = jax.value_and_grad(total)(scores[:, at], labels[:, at])
        expected += part
        np.testing.assert_allclose(gradient[:, at], slope, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@all_losses
def test_segments_and_masks_together(loss, lists):
    scores, labels = lists
    keep = jnp.broadcast_to(jnp.arange(6) != 2, scores.shape)
    segments = jnp.broadcast_to(jnp.array([1, 0, 1, 1, 0, 0]), scores.shape)
    value = loss(
        jnp.where(keep, scores, jnp.nan), labels, segments=segments, where=keep
    )
    less = [jnp.delete(a, 2, axis=1) for a in (scores, labels, segments)]
    np.testing.assert_allclose(
        value, loss(less[0], less[1], segments=less[2]), rtol=1e-6
    )


@all_losses
def test_a_nan_is_never_hidden(loss):
    for scores, labels in ((f32([jnp.nan]), f32([1])), (f32([1]), f32([jnp.nan]))):
        value, slope = jax.value_and_grad(loss)(scores, labels)
        assert jnp.isnan(value) and jnp.isnan(slope).any()


# ------------------------------------------------------------------ orders


def test_probabilities_of_all_orders_sum_to_1():
    scores = f32([0.3, -1.2, 2.0, 0.3])
    orders = jnp.array(list(itertools.permutations(range(4))))
    nll = plackett_luce_nll(jnp.broadcast_to(scores, (24, 4)), orders)
    np.testing.assert_allclose(jnp.sum(jnp.exp(-nll)), 1, rtol=1e-6)
    # The first two ranks, by all orders that begin with them.
    first = jnp.array([[2, 0]])
    alike = nll[(orders[:, :2] == first).all(axis=1)]
    np.testing.assert_allclose(
        plackett_luce_nll(scores[None], first)[0],
        -jnp.log(jnp.sum(jnp.exp(-alike))),
        rtol=1e-6,
    )


def test_long_orders_keep_value_and_gradient():
    """A thousand items, against float64."""
    rng = np.random.default_rng(0)
    scores = (3 * rng.normal(size=1000) + 1e4).astype(np.float32)
    ranking = rng.permutation(1000)
    s = scores.astype(np.float64)[ranking] - 1e4
    tails = np.logaddexp.accumulate(s[::-1])[::-1]
    exact = (tails - s).sum()
    slope = np.empty(1000)
    slope[ranking] = np.exp(s + np.logaddexp.accumulate(-tails)) - 1
    value, gradient = jax.value_and_grad(plackett_luce_nll)(
        jnp.asarray(scores), jnp.asarray(ranking)
    )
    np.testing.assert_allclose(value, exact, rtol=1e-6)
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-6)


def test_a_confident_order_keeps_its_value():
    scores = f32([60, 40, 20, 0])
    value, gradient = jax.value_and_grad(plackett_luce_nll)(scores, jnp.arange(4))
    np.testing.assert_allclose(value, 3 * math.exp(-20), rtol=1e-6)
    np.testing.assert_allclose(gradient[0], -math.exp(-20), rtol=1e-6)


@pytest.mark.parametrize("ranking", [[0, 0], [0, 3], [-1, 0]])
def test_what_is_no_ranking_is_nan(ranking):
    value, gradient = jax.value_and_grad(plackett_luce_nll)(
        f32([1, 2, 3]), jnp.array(ranking)
    )
    assert jnp.isnan(value) and jnp.isnan(gradient).any()


def test_ranks_that_are_none():
    scores = f32([1.0, 2.0, 3.0])
    padded = plackett_luce_nll(scores, jnp.array([2, -1, 0]), ignore_index=-1)
    np.testing.assert_allclose(padded, plackett_luce_nll(scores, jnp.array([2, 0])))
    assert plackett_luce_nll(scores, jnp.zeros((0,), int)) == 0


def test_removed_items_are_removed_from_the_ranking():
    scores = f32([1.0, jnp.nan, 3.0])
    keep = jnp.array([True, False, True])
    value = plackett_luce_nll(scores, jnp.array([1, 2, 0]), where=keep)
    np.testing.assert_allclose(value, np.log1p(np.exp(-2.0)), rtol=1e-6)


def test_absent_items_in_an_order():
    """Behind all others they cost nothing; before them, everything."""
    scores = f32([-INF, 1.0, 1.0])
    np.testing.assert_allclose(
        plackett_luce_nll(scores, jnp.array([1, 2, 0])), math.log(2), rtol=1e-6
    )
    assert plackett_luce_nll(scores, jnp.array([1, 0, 2])) == INF
    assert plackett_luce_nll(f32([INF, 1.0]), jnp.array([0, 1])) == 0
    assert plackett_luce_nll(f32([INF, 1.0]), jnp.array([1, 0])) == INF
    assert jnp.isnan(plackett_luce_nll(f32([INF, INF, 1]), jnp.array([0, 1, 2])))


def test_a_ranking_longer_than_the_list_is_refused():
    with pytest.raises(ValueError, match="`ranking`"):
        plackett_luce_nll(jnp.zeros(2), jnp.array([0, 1, 2]))


def test_listmle_is_plackett_luce(lists):
    scores, labels = lists
    order = jnp.argsort(-labels, axis=-1, stable=True)
    np.testing.assert_allclose(
        listmle_loss(scores, labels), plackett_luce_nll(scores, order), rtol=1e-6
    )


def test_listmle_puts_equals_in_a_random_order():
    """By a key: each order of two equals half of the time, the others untouched."""
    scores, labels = f32([2.0, 0.0, 1.0]), f32([1, 1, 0])
    keys = jax.random.split(jax.random.key(0), 64)
    values = jax.vmap(lambda k: listmle_loss(scores, labels, key=k))(keys)
    both = [plackett_luce_nll(scores, jnp.array(o)) for o in ([0, 1, 2], [1, 0, 2])]
    near = [np.isclose(values, v, rtol=1e-5) for v in both]
    assert (near[0] | near[1]).all()
    assert 16 < near[0].sum() < 48
    assert listmle_loss(scores, labels) == both[0]


# ------------------------------------------------------------------ lists


def test_listnet_of_equal_distributions_is_their_entropy():
    y = f32([1.0, 2.0, 0.5])
    p = jax.nn.softmax(y)
    value, gradient = jax.value_and_grad(listnet_loss)(y + 100, y)
    np.testing.assert_allclose(value, -jnp.sum(p * jnp.log(p)), rtol=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_unique_softmax_is_blind_to_equals():
    """Items of one relevance do not compete."""
    loss = unique_softmax_loss(f32([100.0, 0.0, -50.0]), f32([1, 1, 0]))
    np.testing.assert_allclose(loss, math.log1p(math.exp(-50)), rtol=1e-6)
    linear = unique_softmax_loss(f32([1.0, 0.0]), f32([3, 0]), gain="linear")
    np.testing.assert_allclose(linear, 3 * math.log1p(math.exp(-1)), rtol=1e-6)


def test_approx_ndcg_tends_to_ndcg(lists):
    scores, labels = lists
    labels = labels.at[:, 0].set(1)
    exact = [
        1 - ndcg_score([2 ** np.float64(y) - 1], [np.float64(s)])
        for s, y in zip(scores, labels, strict=True)
    ]
    loss = approx_ndcg_loss(scores, labels, temperature=1e-4)
    np.testing.assert_allclose(loss, exact, rtol=1e-5, atol=1e-6)


def test_approx_ndcg_of_a_good_list_keeps_its_value():
    """Where 1 - NDCG in float32 would be 0."""
    s, y = f32([40.0, 20.0, 0.0]), f32([2, 1, 0])
    e, g, z = math.exp(-20), [3, 1], 3 + 1 / math.log2(3)
    # Each rank is off by e^-20 from below, and that of the second from above too.
    slope = [math.log(2) / (math.log(1 + k) ** 2 * (1 + k)) for k in (1, 2)]
    exact = (g[0] * slope[0] * e + g[1] * slope[1] * (e - e)) / z
    np.testing.assert_allclose(approx_ndcg_loss(s, y), exact, rtol=1e-5)
    assert jnp.all(jax.grad(approx_ndcg_loss)(s, y)[:2] != 0)


def test_nothing_relevant_costs_nothing():
    value, slope = jax.value_and_grad(approx_ndcg_loss)(f32([1, 2]), f32([0, 0]))
    assert value == 0 and (slope == 0).all()


@pytest.mark.parametrize("loss", [*LOSSES, plackett_luce_nll])
def test_an_axis_is_one_integer(loss, lists):
    scores, labels = lists
    if loss is plackett_luce_nll:
        labels = labels.astype(int)
    with pytest.raises((TypeError, ValueError), match=r"`(axis|ranking)`"):
        loss(scores, labels, axis=(0, 1))


def test_bradley_terry_is_two_items():
    a, b = f32([1.0, -30.0]), f32([0.5, 30.0])
    two = plackett_luce_nll(jnp.stack([a, b], -1), jnp.array([[0, 1]] * 2))
    bpr = jaxloss.bayesian_personalized_ranking_loss(a, b)
    np.testing.assert_allclose(two, bpr, rtol=1e-6)
