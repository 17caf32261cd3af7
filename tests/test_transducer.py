"""Regressions and edge values of the transducer."""

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


def both(logits, labels, **options):
    """The losses and the gradient of their sum."""

    @jax.jit
    def run(x):
        loss = functools.partial(jaxloss.rnnt_loss, labels=labels, **options)
        return loss(x), jax.grad(lambda x: jnp.sum(loss(x)))(x)

    return run(logits)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 4, 3, 5)), jnp.float32)
    return x, jnp.asarray(rng.integers(1, 5, size=(2, 2)), jnp.int32)


def test_it_is_the_recursion(batch):
    """Graves's recursion in float64."""
    x, y = batch
    value, _ = both(x, y)
    log_p = np.float64(jax.nn.log_softmax(np.float64(x), axis=-1))
    for i in range(2):
        alpha = np.full((5, 3), -np.inf)
        alpha[0, 0] = 0
        for t in range(5):
            for u in range(3):
                ways = [alpha[t, u]]
                if t and t <= 4:
                    ways.append(alpha[t - 1, u] + log_p[i, t - 1, u, 0])
                if u and t < 4:
                    ways.append(alpha[t, u - 1] + log_p[i, t, u - 1, y[i, u - 1]])
                alpha[t, u] = np.logaddexp.reduce(ways)
        np.testing.assert_allclose(value[i], -alpha[4, 2], rtol=1e-6)


def test_lengths_are_paddings_and_cut_the_lattice(batch):
    x, y = batch
    frames, labels = jnp.array([4, 2]), jnp.array([2, 1])
    t, u = jnp.arange(4), jnp.arange(2)
    value, slope = both(x, y, logit_lengths=frames, label_lengths=labels)
    padded, same = both(
        x,
        y,
        logit_paddings=t[None] >= frames[:, None],
        label_paddings=(u[None] >= labels[:, None]).astype(jnp.float32),
    )
    # Two programs, whose sums the compiler may order differently.
    np.testing.assert_allclose(value, padded, rtol=3e-7)
    np.testing.assert_allclose(slope, same, rtol=1e-6, atol=1e-7)
    cut, part = both(x[1:, :2, :2], y[1:, :1])
    np.testing.assert_allclose(value[1:], cut, rtol=1e-6)
    np.testing.assert_allclose(slope[1:, :2, :2], part, rtol=1e-5, atol=1e-7)
    assert (slope[1, 2:] == 0).all() and (slope[1, :, 2:] == 0).all()


@pytest.mark.parametrize("garbage", [jnp.nan, INF, -INF])
def test_padding_may_hold_anything(batch, garbage):
    x, y = batch
    lengths = {"logit_lengths": jnp.array([4, 2]), "label_lengths": jnp.array([2, 1])}
    spoiled = x.at[1, 2:].set(garbage).at[1, :, 2:].set(garbage)
    wrong = y.at[1, 1].set(-100)
    for got, clean in zip(
        both(spoiled, wrong, **lengths), both(x, y, **lengths), strict=True
    ):
        np.testing.assert_array_equal(got, clean)


def test_what_no_path_writes_costs_infinity(batch):
    x, y = batch
    # The label that comes first is absent wherever it could be written.
    absent = x.at[0, :, 0, y[0, 0]].set(-INF)
    value, slope = both(absent, y)
    assert value[0] == INF and jnp.isfinite(value[1])
    assert (slope[0] == 0).all() and (slope[1] != 0).any()
    value, slope = both(absent, y, zero_infinity=True)
    assert value[0] == 0 and (slope[0] == 0).all()
    # No frames: the labels cannot be written, but nothing can.
    lengths = {"logit_lengths": jnp.array([0, 0]), "label_lengths": jnp.array([1, 0])}
    value, slope = both(x, y, **lengths)
    assert value.tolist() == [INF, 0] and (slope == 0).all()


@pytest.mark.parametrize(
    "options",
    [
        {"labels": [[0, 1], [1, 1]]},  # the blank
        {"labels": [[5, 1], [1, 1]]},
        {"labels": [[-1, 1], [1, 1]]},
        {"logit_lengths": [5, 4]},
        {"label_lengths": [-1, 2]},
        {"logit_paddings": [[0, 1, 0, 0], [0, 0, 0, 0]]},
    ],
    ids=str,
)
def test_what_is_not_allowed_is_nan(batch, options):
    x, y = batch
    options = {name: jnp.array(value) for name, value in options.items()}
    value, slope = both(x, options.pop("labels", y), **options)
    assert jnp.isnan(value[0]) and jnp.isnan(slope[0]).any()
    assert jnp.isfinite(value[1]) and jnp.isfinite(slope[1]).all()


def test_a_confident_path_keeps_value_and_gradient():
    """Where 1 - P is below the rounding of P: one frame, one label, then the blank."""
    x = (
        jnp.zeros((1, 1, 2, 3), jnp.float32)
        .at[0, 0, 0, 1]
        .set(40)
        .at[0, 0, 1, 0]
        .set(40)
    )
    value, slope = both(x, jnp.array([[1]]))
    exact = 2 * math.log1p(2 * math.exp(-40))
    np.testing.assert_allclose(value, [exact], rtol=1e-6)
    np.testing.assert_allclose(slope[0, 0, 0, 1], -2 * math.exp(-40), rtol=1e-6)


def test_long_sequences_do_not_lose_digits():
    """400 frames and 40 labels of the uniform distribution: a binomial coefficient."""
    x = jnp.zeros((1, 400, 41, 3), jnp.float32)
    value = jax.jit(jaxloss.rnnt_loss)(x, jnp.ones((1, 40), int))
    exact = 440 * math.log(3) - math.log(math.comb(439, 40))
    np.testing.assert_allclose(value, [exact], rtol=1e-6)


def test_errors(batch):
    x, y = batch
    with pytest.raises(ValueError, match="None where `logit_lengths` is given"):
        jaxloss.rnnt_loss(
            x, y, logit_lengths=jnp.array([4, 4]), logit_paddings=jnp.zeros((2, 4))
        )
    with pytest.raises(ValueError, match="one label less"):
        jaxloss.rnnt_loss(x, jnp.zeros((2, 3), int))
    with pytest.raises(ValueError, match="`blank_id`"):
        jaxloss.rnnt_loss(x, y, blank_id=-1)
    with pytest.raises(ValueError, match="`label_lengths` must be of shape"):
        jaxloss.rnnt_loss(x, y, label_lengths=jnp.array([2]))
