"""Identities and edges of the bi-tempered logistic loss."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jaxloss
from jaxloss._core import tempered
from jaxloss._core.tempered import tempered_row

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough

INF = jnp.inf


def loss(x, y, t1=0.8, t2=1.2, **options):
    return jaxloss.bi_tempered_logistic_loss(x, y, t1=t1, t2=t2, **options)


def f32(*values):
    return jnp.asarray(values, jnp.float32)


def drawn(size=(6, 5), scale=2.0, seed=0):
    rng = np.random.default_rng(seed)
    x = jnp.asarray(scale * rng.normal(size=size), jnp.float32)
    return x, jnp.asarray(rng.integers(size[-1], size=size[0]))


def value_and_grad(x, y, *temperatures, **options):
    def total(x):
        value = loss(x, y, *temperatures, **options)
        return jnp.sum(value), value

    gradient, value = jax.grad(total, has_aux=True)(x)
    return value, gradient


def published(x, y, t1, t2):
    """In float64, its normaliser by the fixed-point iteration of the paper."""
    x = np.asarray(x, np.float64)
    beta = t2 - 1
    shifted = x - x.max(-1, keepdims=True)
    scaled = shifted
    for _ in range(2000):
        total = ((1 - beta * scaled) ** (-1 / beta)).sum(-1, keepdims=True)
        scaled = shifted * total**-beta
    normaliser = (total**beta - 1) / beta
    p = (1 - beta * (shifted - normaliser)) ** (-1 / beta)
    own = p[np.arange(len(x)), np.asarray(y)]
    log = (own ** (1 - t1) - 1) / (1 - t1)
    return -log - (1 - (p ** (2 - t1)).sum(-1)) / (2 - t1)


@pytest.mark.parametrize(("t1", "t2"), [(0.5, 1.25), (0.0, 3.0), (0.8, 1.2)])
def test_it_is_the_published_loss(t1, t2):
    x, y = drawn()
    np.testing.assert_allclose(loss(x, y, t1, t2), published(x, y, t1, t2), rtol=1e-6)


def test_both_temperatures_1_are_the_cross_entropy():
    x, y = drawn(scale=8.0)
    cross_entropy = jaxloss.softmax_cross_entropy_with_integer_labels
    expected = jax.value_and_grad(lambda x: jnp.sum(cross_entropy(x, y)))(x)[1]
    value, gradient = value_and_grad(x, y, 1.0, 1.0)
    np.testing.assert_array_equal(value, cross_entropy(x, y))
    np.testing.assert_array_equal(gradient, expected)
    # As arrays they go the long way round.
    value, gradient = value_and_grad(x, y, jnp.float32(1), jnp.float32(1))
    np.testing.assert_allclose(value, cross_entropy(x, y), rtol=1e-6)
    np.testing.assert_allclose(gradient, expected, rtol=4e-6)
    near, _ = value_and_grad(x, y, 1 - 1e-6, 1 + 1e-6)
    np.testing.assert_allclose(near, cross_entropy(x, y), rtol=1e-4)


def test_smoothing_at_temperature_1_is_a_divergence():
    x, y = drawn()
    smooth = 0.8 * np.eye(5)[np.asarray(y)] + 0.2 / 5
    expected = jaxloss.kl_divergence(jax.nn.log_softmax(x), f32(*smooth))
    value = loss(x, y, 1.0, 1.0, label_smoothing=0.2)
    np.testing.assert_allclose(value, expected, rtol=2e-6)
    # Over the classes there are.
    kept = jnp.ones((6, 5), bool).at[:, 4].set(False)
    y = jnp.minimum(y, 3)
    for smoothing in (0.2, jnp.float32(0.2)):
        np.testing.assert_allclose(
            loss(x, y, where=kept, label_smoothing=smoothing),
            loss(x[:, :4], y, label_smoothing=smoothing),
            rtol=1e-6,
        )


def test_it_is_bounded_and_far_labels_do_not_pull():
    x = f32(0, 1e30, 0)[None]
    value, gradient = value_and_grad(x, jnp.array([0]), 0.5, 1.25)
    # 1 / (1 - t1) less 1 / (2 - t1), and that again for the class that has it all.
    np.testing.assert_allclose(value, [2], rtol=1e-6)
    np.testing.assert_allclose(gradient, np.zeros((1, 3)), atol=1e-12)


@pytest.mark.parametrize("t2", [1.0, 1.25, 4.0])
def test_offsets_and_infinite_logits(t2):
    x, y = drawn()
    near = jnp.round(x * 64) / 64
    each = functools.partial(loss, t1=0.5, t2=t2)
    np.testing.assert_array_equal(each(near + 2**16, y), each(near, y))
    logits = f32(INF, 0, 0)[None] * jnp.ones((2, 1), jnp.float32)
    value, gradient = value_and_grad(logits, jnp.array([0, 1]), 0.5, t2)
    np.testing.assert_array_equal(value, [0, 2])
    np.testing.assert_array_equal(gradient, np.zeros((2, 3)))
    gone = f32(1.0, -INF, 0.5)[None]
    value, gradient = value_and_grad(gone, jnp.array([2]), 0.5, t2)
    expected = value_and_grad(gone[:, ::2], jnp.array([1]), 0.5, t2)
    np.testing.assert_allclose(value, expected[0], rtol=1e-6)
    np.testing.assert_allclose(gradient[:, ::2], expected[1], rtol=1e-6)
    assert gradient[0, 1] == 0
    # Nothing has the label's mass: 1 / τ - 1 / (1 + τ).
    value, gradient = value_and_grad(f32(-INF, -INF)[None], jnp.array([0]), 0.5, t2)
    np.testing.assert_allclose(value, [2 - 2 / 3], rtol=1e-6)
    np.testing.assert_array_equal(gradient, np.zeros((1, 2)))
    assert np.isnan(each(f32(INF, INF), jnp.array(0)))
    for place in (0, 1):
        assert np.isnan(each(f32(jnp.nan, 0), jnp.array(place)))
    assert np.isposinf(loss(f32(0, -INF), jnp.array(1), 1.0, t2))


@pytest.mark.parametrize("t2", [1.0, 1.01, 1.5, 2.0, 5.0])
@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e3])
def test_the_normaliser_with_many_classes(t2, spread):
    x, y = drawn(size=(3, 20_000), scale=spread)
    row = tempered_row(
        *(x.astype(jnp.float64), jax.nn.one_hot(y, 20_000, dtype=jnp.float64)),
        *(jnp.float64(0.5), jnp.float64(t2) - 1, 1),
    )
    np.testing.assert_allclose(jnp.sum(jnp.exp(-row.nll), -1), 1, rtol=1e-13)
    narrow = loss(x, y, 0.5, jnp.float32(t2))
    np.testing.assert_allclose(narrow, row.loss[:, 0], rtol=2e-6)


@pytest.mark.parametrize("t2", [1.0, 1.25])
def test_confident_rows_keep_their_digits(t2):
    x, y = f32(30, 0, 2, -1, 4)[None], jnp.array([0])
    value, gradient = value_and_grad(x, y, 0.5, t2)
    exact, slope = value_and_grad(x.astype(jnp.float64), y, 0.5, t2)
    np.testing.assert_allclose(value, exact, rtol=5e-6)
    np.testing.assert_allclose(gradient, slope, rtol=5e-6)


@pytest.mark.parametrize(("t1", "t2"), [(0.7, 1.3), (0.0, 4.0), (1.0, 1.5), (0.5, 1.0)])
@pytest.mark.parametrize("smoothing", [0.0, 0.125])
def test_derivatives_by_finite_differences(t1, t2, smoothing):
    """Of the temperatures too, and of the smoothing where there is some."""
    x, y = (
        jnp.asarray([[0.3, -0.2, 0.5, -3.0], [4.0, 0.1, -2.0, 1.0]]),
        jnp.array([1, 0]),
    )
    inner = jnp.float64(smoothing)

    def along(x, move):
        # Away from the ends of the ranges, outside of which there is nothing.
        return loss(
            *(x, y, t1 + (0 if t1 in (0, 1) else 1) * move),
            t2 + (0 if t2 == 1 else 1) * move,
            label_smoothing=inner + 0.1 * move if smoothing else 0.0,
        )

    check_grads(
        along, (x, jnp.float64(0)), order=2, modes=("fwd", "rev"), rtol=1e-5, atol=1e-5
    )


def test_temperatures_out_of_range():
    x, y = drawn()
    for name, value in (("t1", 1.5), ("t1", -0.5), ("t2", 0.5), ("t2", 6.0)):
        with pytest.raises(ValueError, match=f"`{name}`"):
            loss(x, y, **{name: value})
        assert np.isnan(loss(x, y, **{name: jnp.float32(value)})).all()


def test_temperatures_may_differ_between_the_losses():
    x, y = drawn(size=(3, 5))
    t1, t2 = f32(0.25, 0.5, 1.0), f32(1.0, 1.5, 3.0)
    each = [loss(x[i], y[i], float(t1[i]), float(t2[i])) for i in range(3)]
    np.testing.assert_allclose(loss(x, y, t1, t2), each, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("beta", [0.0, 0.2, 1.0, 2.0, 4.0])
def test_twelve_steps_find_the_normaliser(monkeypatch, dtype, beta):
    """Of rows of few classes and many, flat, spread and led by one."""
    for size, scale in ((2, 1.0), (7, 1e-4), (7, 30.0), (1000, 3.0), (50_257, 1.0)):
        x = scale * jnp.asarray(np.random.default_rng(size).normal(size=(4, size)))
        x, b = x.at[0, 0].add(50.0).astype(dtype), jnp.full((1, 1), beta, dtype)
        monkeypatch.setattr(tempered, "_MOST_STEPS", 12)
        found = tempered._nll(x, b, -1)
        monkeypatch.setattr(tempered, "_MOST_STEPS", 40)
        np.testing.assert_array_equal(found, tempered._nll(x, b, -1))
        total = np.exp(-np.asarray(found, np.float64)).sum(-1)
        # The rounding of -log p, of which there are as many as classes.
        np.testing.assert_allclose(total, 1, rtol=40 * jnp.finfo(dtype).eps)
