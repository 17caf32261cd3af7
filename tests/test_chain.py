"""Regressions and edge values of the linear-chain conditional random field."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough

INF = jnp.inf


def both(logits, labels, transitions, **options):
    """The losses, and the gradients of their sum by logits and transitions."""

    @jax.jit
    def run(x, a):
        def loss(x, a):
            return jaxloss.crf_nll(x, labels, transitions=a, **options)

        slopes = jax.grad(lambda x, a: jnp.sum(loss(x, a)), argnums=(0, 1))(x, a)
        return loss(x, a), *slopes

    return run(logits, transitions)


@pytest.fixture
def chain():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 5, 3)), jnp.float32)
    a = jnp.asarray(rng.normal(size=(3, 3)), jnp.float32)
    return x, jnp.asarray(rng.integers(3, size=(2, 5)), jnp.int32), a


def test_without_transitions_it_is_the_cross_entropy(chain):
    x, y, a = chain
    value, slope, _ = both(x, y, jnp.full_like(a, 7))
    steps = jaxloss.softmax_cross_entropy_with_integer_labels(x, y)
    np.testing.assert_allclose(value, steps.sum(axis=1), rtol=1e-6)
    p = jax.nn.softmax(x) - jax.nn.one_hot(y, 3, dtype=x.dtype)
    np.testing.assert_allclose(slope, p, rtol=1e-5, atol=1e-6)


def test_marginals_sum_as_they_must(chain):
    x, y, a = chain
    _, slope, moves = both(x, y, a)
    np.testing.assert_allclose(slope.sum(axis=-1), 0, atol=1e-6)
    np.testing.assert_allclose(moves.sum(), 0, atol=1e-5)


@pytest.mark.parametrize("garbage", [jnp.nan, INF, -INF])
def test_steps_left_out_are_not_in_the_chain(chain, garbage):
    """In the middle, at the start or at the end."""
    x, y, a = chain
    keep = jnp.array([[1, 0, 1, 1, 0], [0, 1, 1, 0, 1]], bool)
    spoiled = jnp.where(keep[..., None], x, garbage)
    value, slope, moves = both(spoiled, jnp.where(keep, y, -9), a, where=keep)
    total = 0
    for i in range(2):
        at = np.flatnonzero(keep[i])
        one, part, move = both(x[i, at], y[i, at], a)
        np.testing.assert_allclose(value[i], one, rtol=1e-6)
        np.testing.assert_allclose(slope[i, at], part, rtol=1e-5, atol=1e-6)
        total += move
    np.testing.assert_allclose(moves, total, rtol=1e-5, atol=1e-6)
    assert (slope[~keep] == 0).all()


def test_lengths_are_masks(chain):
    x, y, a = chain
    lengths = jnp.array([5, 3])
    inside = jnp.arange(5)[None] < lengths[:, None]
    spoiled = jnp.where(inside[..., None], x, jnp.nan), jnp.where(inside, y, -9)
    for got, want in zip(
        both(*spoiled, a, lengths=lengths), both(x, y, a, where=inside), strict=True
    ):
        np.testing.assert_array_equal(got, want)
    value, *_ = both(x, y, a, lengths=jnp.array([0, 5]), reduction="mean")
    np.testing.assert_array_equal(value, both(x, y, a)[0][1])


@pytest.mark.parametrize("bad", [-1, 6])
def test_a_length_out_of_range_is_nan(chain, bad):
    x, y, a = chain
    value, slope, _ = both(x, y, a, lengths=jnp.array([bad, 5], jnp.int8))
    assert jnp.isnan(value[0]) and jnp.isnan(slope[0]).any()
    assert jnp.isfinite(value[1]) and jnp.isfinite(slope[1]).all()


def test_a_sequence_without_steps_counts_nothing(chain):
    x, y, a = chain
    keep = jnp.array([[True] * 5, [False] * 5])
    value = jaxloss.crf_nll(x, y, transitions=a, where=keep, reduction="mean")
    one = jaxloss.crf_nll(x[0], y[0], transitions=a)
    np.testing.assert_allclose(value, one, rtol=1e-6)
    assert jaxloss.crf_nll(x[:, :0], y[:, :0], transitions=a).tolist() == [0, 0]


def test_labels_that_are_excluded_cost_infinity(chain):
    x, y, a = chain
    for logits, transitions in (
        (x.at[0, 2, y[0, 2]].set(-INF), a),
        (x, a.at[y[0, 1], y[0, 2]].set(-INF)),
    ):
        value, slope, moves = both(logits[:1], y[:1], transitions)
        assert value.tolist() == [INF]
        assert (slope == 0).all() and (moves == 0).all()


def test_absent_classes_are_not_there():
    """Two classes, and a third one that nothing leads to."""
    x = jnp.array([[1.0, 2.0, -INF], [0.5, 0.0, -INF], [1.0, -1.0, -INF]])
    a = jnp.array([[0.5, 1.0, -INF], [0.0, -1.0, -INF], [-INF, -INF, -INF]])
    y = jnp.array([0, 1, 0])
    value, slope, _ = both(x, y, a)
    two, part, _ = both(x[:, :2], y, a[:2, :2])
    np.testing.assert_allclose(value, two, rtol=1e-6)
    np.testing.assert_allclose(slope[:, :2], part, rtol=1e-5, atol=1e-6)
    assert (slope[:, 2] == 0).all()


def test_a_confident_chain_keeps_value_and_gradient():
    x = jnp.zeros((3, 2), jnp.float32).at[:, 0].set(30.0)
    value, slope, _ = both(x, jnp.zeros(3, int), jnp.zeros((2, 2), jnp.float32))
    np.testing.assert_allclose(value, 3 * math.log1p(math.exp(-30)), rtol=2e-6)
    np.testing.assert_allclose(slope[1, 0], -math.exp(-30), rtol=2e-6)


@pytest.mark.parametrize("bad", [-1, 3])
def test_a_label_that_is_no_class_is_nan(chain, bad):
    x, y, a = chain
    value, slope, _ = both(x, y.at[0, 1].set(bad), a)
    assert jnp.isnan(value[0]) and jnp.isnan(slope[0]).any()
    assert jnp.isfinite(value[1]) and jnp.isfinite(slope[1]).all()


def test_ends_have_scores(chain):
    """As logits of the first and the last step."""
    x, y, a = chain
    first = jnp.array([1.0, -1.0, 0.5], jnp.float32)
    last = jnp.array([0.0, 2.0, 1.0], jnp.float32)
    value = jax.jit(
        functools.partial(jaxloss.crf_nll, start_scores=first, end_scores=last)
    )(x, y, transitions=a)
    moved = x.at[:, 0].add(first).at[:, -1].add(last)
    np.testing.assert_allclose(value, both(moved, y, a)[0], rtol=1e-6)


def test_errors(chain):
    x, y, a = chain
    with pytest.raises(ValueError, match="`transitions` must be of shape"):
        jaxloss.crf_nll(x, y, transitions=a[:2])
    with pytest.raises(ValueError, match="`start_scores` must be of shape"):
        jaxloss.crf_nll(x, y, transitions=a, start_scores=jnp.zeros(2))
    with pytest.raises(TypeError, match="`transitions` must be an array of floating"):
        jaxloss.crf_nll(x, y, transitions=a.astype(int))


def test_large_scores_that_cancel():
    """Where -inf keeps a sequence in its class the loss is log(1 + e^Σx)."""
    lead = np.array([1000.1, 0.0123456, -999.9, 3e-5, -0.3], np.float32)
    x = jnp.asarray(np.stack([np.zeros_like(lead), lead], axis=-1))
    stay = jnp.asarray([[0, -INF], [-INF, 0]], jnp.float32)
    value, slope, _ = both(x, jnp.zeros(len(lead), jnp.int32), stay)
    total = np.sum(lead, dtype=np.float64)
    np.testing.assert_allclose(value, np.log1p(np.exp(total)), rtol=5e-7)
    np.testing.assert_allclose(slope[:, 1], 1 / (1 + np.exp(-total)), rtol=2e-6)
