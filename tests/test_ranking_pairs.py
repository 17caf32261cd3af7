"""Regressions and edge values of the ranking losses of pairs, and of their weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough

INF = jnp.inf


def compiled(loss):
    """Jitted for every call's options."""

    @functools.wraps(loss)
    def call(*arrays, **options):
        return jax.jit(functools.partial(loss, **options))(*arrays)

    return call


pairwise_hinge_loss = compiled(jaxloss.pairwise_hinge_loss)
pairwise_logistic_loss = compiled(jaxloss.pairwise_logistic_loss)
pairwise_mse_loss = compiled(jaxloss.pairwise_mse_loss)
pairwise_soft_zero_one_loss = compiled(jaxloss.pairwise_soft_zero_one_loss)
dcg_lambda_weights = compiled(jaxloss.dcg_lambda_weights)
LOSSES = [
    pairwise_hinge_loss,
    pairwise_logistic_loss,
    pairwise_mse_loss,
    pairwise_soft_zero_one_loss,
]
all_losses = pytest.mark.parametrize("loss", LOSSES, ids=lambda f: f.__name__)


def f32(values):
    return jnp.array(values, jnp.float32)


@pytest.fixture
def lists():
    rng = np.random.default_rng(0)
    return f32(rng.normal(size=(3, 5))), f32(rng.integers(3, size=(3, 5)))


@pytest.mark.parametrize("garbage", [jnp.nan, INF, -INF])
@all_losses
def test_masked_items_may_hold_anything(loss, lists, garbage):
    """rax gives NaN gradients here, for two of them."""
    scores, labels = lists
    keep = jnp.arange(5) < 4
    keep = jnp.broadcast_to(keep, scores.shape)
    spoiled = jnp.where(keep, scores, garbage), jnp.where(keep, labels, garbage)
    value, gradient = jax.value_and_grad(
        lambda s: jnp.sum(loss(s, spoiled[1], where=keep))
    )(spoiled[0])
    expected, slope = jax.value_and_grad(lambda s: jnp.sum(loss(s, labels[:, :4])))(
        scores[:, :4]
    )
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient[:, :4], slope, rtol=1e-5, atol=1e-6)
    assert (gradient[:, 4] == 0).all()


@all_losses
def test_segments_are_lists_of_their_own(loss, lists):
    scores, labels = lists
    segments = jnp.array([7, -1, 7, 7, -1])
    one, two = np.flatnonzero(segments == 7), np.flatnonzero(segments == -1)
    value = loss(scores, labels, segments=jnp.broadcast_to(segments, scores.shape))
    apart = sum(loss(scores[:, i], labels[:, i]) for i in (one, two))
    np.testing.assert_allclose(value, apart, rtol=1e-6)


@all_losses
def test_lambda_weights_multiply_the_pairs(loss, lists):
    scores, labels = lists
    ones = jnp.ones((3, 5, 5))
    plain = loss(scores, labels)
    np.testing.assert_allclose(
        loss(scores, labels, lambda_weights=2 * ones), 2 * plain, rtol=1e-6
    )
    # Along another axis, the second item stays behind all.
    turned = loss(scores.T, labels.T, axis=0, lambda_weights=jnp.ones((5, 3, 5)))
    np.testing.assert_allclose(turned, plain, rtol=1e-6)
    one_pair = jnp.zeros((3, 5, 5)).at[:, 1, 3].set(1.0)
    pair = loss(scores[:, 1:4:2], labels[:, 1:4:2])
    other = loss(scores, labels, lambda_weights=one_pair)
    ordered = labels[:, 1] > labels[:, 3]
    if loss is pairwise_mse_loss:  # both orders of a pair count there
        np.testing.assert_allclose(other, pair / 2, rtol=1e-6)
    else:
        np.testing.assert_allclose(other, jnp.where(ordered, pair, 0), rtol=1e-6)


def test_lambda_weights_of_another_shape_are_refused(lists):
    with pytest.raises(ValueError, match="`lambda_weights` must be of shape"):
        pairwise_logistic_loss(*lists, lambda_weights=jnp.ones((3, 5)))


@all_losses
def test_a_nan_is_never_hidden(loss):
    """Nor is one in a list without pairs, nor a NaN label, which compares as false."""
    nothing = f32([1.0, 1.0])
    for scores, labels in (
        (f32([jnp.nan, 1.0]), nothing),
        (nothing, f32([0.0, jnp.nan])),
    ):
        value, slope = jax.value_and_grad(loss)(scores, labels)
        assert jnp.isnan(value) and jnp.isnan(slope).any()


@all_losses
def test_a_list_without_pairs_costs_nothing(loss):
    value, slope = jax.value_and_grad(loss)(f32([2.0]), f32([1.0]))
    assert value == 0 and slope == 0
    assert loss(jnp.zeros((2, 0)), jnp.zeros((2, 0))).tolist() == [0, 0]


def test_infinite_scores_have_their_limits():
    loss, labels = pairwise_logistic_loss, f32([1, 0])
    assert loss(f32([INF, 0]), labels) == 0
    assert loss(f32([0, INF]), labels) == INF
    soft = pairwise_soft_zero_one_loss
    assert soft(f32([INF, 0]), labels) == 0 and soft(f32([0, INF]), labels) == 1
    # Equal labels are no pair, whatever their scores.
    assert loss(f32([INF, INF]), f32([1, 1])) == 0


# ------------------------------------------------------------------ weights of pairs


def dcg_weights(scores, labels, topn, normalize, formula):
    """The definition, pair by pair, in float64."""
    order = np.argsort(-scores, kind="stable")
    rank = np.empty(len(scores), int)
    rank[order] = np.arange(1, len(scores) + 1)
    gain = 2.0**labels - 1
    discount = np.where(rank <= topn, 1 / np.log2(1 + rank), 0)
    best = np.sort(gain)[::-1][:topn]
    whole = (best / np.log2(2 + np.arange(len(best)))).sum() if normalize else 1.0
    weights = np.zeros((len(scores), len(scores)))
    for i, j in np.ndindex(weights.shape):
        change = abs(discount[i] - discount[j])
        if formula == "lambdaloss":
            d = abs(rank[i] - rank[j])
            change = abs(1 / np.log2(1 + d) - 1 / np.log2(2 + d)) if d else 0.0
            change *= min(rank[i], rank[j]) <= topn
        weights[i, j] = abs(gain[i] - gain[j]) * change / whole
    return weights


@pytest.mark.parametrize("formula", ["lambdarank", "lambdaloss"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("topn", [None, 2])
def test_dcg_weights(lists, formula, normalize, topn):
    scores, labels = lists
    weigh = functools.partial(
        dcg_lambda_weights, formula=formula, normalize=normalize, topn=topn
    )
    exact = [
        dcg_weights(np.float64(s), np.float64(y), topn or 5, normalize, formula)
        for s, y in zip(scores, labels, strict=True)
    ]
    np.testing.assert_allclose(weigh(scores, labels), exact, rtol=1e-5, atol=1e-6)
    turned = weigh(scores.T, labels.T, axis=0)
    np.testing.assert_allclose(jnp.moveaxis(turned, 0, 1), exact, rtol=1e-5, atol=1e-6)
    # Two lists in one row, of which one has an item that is not there.
    both = [jnp.concatenate([a[0], a[1]]) for a in (scores, labels)]
    segments, keep = jnp.repeat(jnp.arange(2), 5), jnp.arange(10) != 9
    weights = weigh(both[0].at[9].set(jnp.nan), both[1], segments=segments, where=keep)
    np.testing.assert_allclose(weights[:5, :5], exact[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        weights[5:9, 5:9],
        dcg_weights(
            np.float64(scores[1, :4]),
            np.float64(labels[1, :4]),
            topn or 5,
            normalize,
            formula,
        ),
        rtol=1e-5,
        atol=1e-6,
    )
    assert (weights[:5, 5:] == 0).all() and (weights[9] == 0).all()


def test_dcg_weights_have_no_derivative(lists):
    scores, labels = lists
    slope = jax.grad(lambda s: jnp.sum(dcg_lambda_weights(s, labels)))(scores)
    assert (slope == 0).all()


def test_gains_of_nearly_equal_labels():
    y = f32([3.0, 3.0 + 2**-20])
    weights = dcg_lambda_weights(f32([1.0, 0.0]), y)
    exact = (2.0 ** float(y[1]) - 8) * (1 - 1 / np.log2(3))
    np.testing.assert_allclose(weights[0, 1], exact, rtol=5e-7)


@pytest.mark.parametrize("topn", [0, -1, 1.5])
def test_a_bad_topn_is_refused(lists, topn):
    with pytest.raises(ValueError, match="`topn`"):
        dcg_lambda_weights(*lists, topn=topn)


def test_label_differences_of_integers():
    weights = jaxloss.label_difference_lambda_weights(jnp.array([[2], [0]]), axis=0)
    assert weights.shape == (2, 1, 2) and weights.dtype == jnp.float32
    np.testing.assert_array_equal(weights[:, 0], [[0, 2], [2, 0]])


def test_of_equal_scores_the_first_ranks_first():
    weights = dcg_lambda_weights(f32([1, 1, 0]), f32([2, 0, 0]))
    np.testing.assert_allclose(weights[0, 2], 3 * (1 - 0.5), rtol=1e-6)
