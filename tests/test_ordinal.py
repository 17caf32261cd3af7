"""Identities and edges of ordinal regression and of regression as classification."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import stats

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough

INF = jnp.inf


def f32(*values):
    return jnp.asarray(values, jnp.float32)


def wide(x):
    return np.asarray(x, np.float64)


def value_and_grad(loss, x, *rest, **options):
    gradient, value = jax.grad(
        lambda x: (lambda v: (jnp.sum(v), v))(loss(x, *rest, **options)), has_aux=True
    )(x)
    return value, gradient


def sigmoid(x):
    return 1 / (1 + np.exp(-wide(x)))


CUTS = f32(-1.0, 0.0, 2.0)
linked = functools.partial(jaxloss.cumulative_link_loss, thresholds=CUTS)

# ------------------------------------------------------------------ ranks


def test_coral_is_the_authors_sum_over_levels():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 3)), rng.integers(4, size=6)
    levels = (y[:, None] > np.arange(3)).astype(float)
    log_p = np.log(sigmoid(x))
    weights = np.array([1.0, 0.5, 2.0])
    terms = -(log_p * levels + (log_p - x) * (1 - levels))
    loss = functools.partial(jaxloss.coral_loss, jnp.asarray(x), jnp.asarray(y))
    np.testing.assert_allclose(loss(), terms.sum(1), rtol=1e-12)
    np.testing.assert_allclose(
        loss(importance_weights=jnp.asarray(weights)), (terms * weights).sum(1)
    )


def test_corn_is_the_authors_sum_over_subsets():
    """coral_pytorch.losses.corn_loss times the number of its pairs."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3)), rng.integers(4, size=20)
    total = 0.0
    for k in range(3):
        subset = y > k - 1
        target = (y[subset] > k).astype(float)
        log_p = np.log(sigmoid(x[subset, k]))
        total -= np.sum(log_p * target + (log_p - x[subset, k]) * (1 - target))
    loss = jaxloss.corn_loss(jnp.asarray(x), jnp.asarray(y), reduction="sum")
    np.testing.assert_allclose(loss, total, rtol=1e-12)


def test_likelihoods_of_all_ranks_add_up_to_one():
    x = jnp.asarray(np.random.default_rng(0).normal(size=3), jnp.float32)
    ranks = jnp.arange(4)
    corn = jaxloss.corn_loss(jnp.tile(x, (4, 1)), ranks)
    np.testing.assert_allclose(jnp.sum(jnp.exp(-corn)), 1, rtol=1e-6)
    cumulative = linked(jnp.full(4, 0.3, jnp.float32), ranks)
    np.testing.assert_allclose(jnp.sum(jnp.exp(-cumulative)), 1, rtol=1e-6)


def test_cumulative_link_far_from_the_thresholds():
    """The difference of two sigmoids is 0 there; the product of its factors is not."""
    eta = f32(100.0, -100.0, INF, -INF, INF, -INF)
    y = jnp.array([1, 2, 1, 1, 3, 0])
    value, gradient = value_and_grad(linked, eta, y)
    expected = [100.4586751453871, 100.14541345786885, INF, INF, 0, 0]
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, [1, -1, 1, -1, 0, 0], rtol=1e-6)


def test_cumulative_link_thresholds_are_shared_or_each_its_own():
    eta, y = f32(0.5, -2.0, 1.0), jnp.array([2, 0, 3])
    each = jnp.tile(CUTS, (3, 1))
    np.testing.assert_array_equal(
        jaxloss.cumulative_link_loss(eta, y, thresholds=each), linked(eta, y)
    )
    shared = jax.grad(
        lambda t: jnp.sum(jaxloss.cumulative_link_loss(eta, y, thresholds=t))
    )(CUTS)
    own = jax.grad(
        lambda t: jnp.sum(jaxloss.cumulative_link_loss(eta, y, thresholds=t))
    )(each)
    np.testing.assert_allclose(shared, own.sum(0), rtol=1e-6)
    # What moves predictions and thresholds alike changes nothing.
    by_eta = jax.grad(lambda e: jnp.sum(linked(e, y)))(eta)
    np.testing.assert_allclose(own.sum(1), -by_eta, rtol=1e-5)
    crossed = jaxloss.cumulative_link_loss(eta, jnp.array([1, 1, 1]), thresholds=-CUTS)
    assert np.isnan(crossed).all()
    for bad in (CUTS[None], jnp.float32(1)):
        with pytest.raises(ValueError, match="`thresholds`"):
            jaxloss.cumulative_link_loss(eta, y, thresholds=bad)


@pytest.mark.parametrize(("rank", "end"), [(0, 0), (3, 2)])
def test_cumulative_link_curvature_by_thresholds_of_an_open_rank(rank, end):
    """Below the first threshold and above the last there is one of them only."""

    def loss(cuts):
        return jaxloss.cumulative_link_loss(
            jnp.float32(0.5), jnp.array(rank), thresholds=cuts
        )

    p = 1 / (1 + np.exp(0.5 - np.asarray(CUTS, np.float64)[end]))
    expected = np.zeros((3, 3))
    expected[end, end] = p * (1 - p)
    np.testing.assert_allclose(jax.hessian(loss)(CUTS), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "loss", [jaxloss.coral_loss, jaxloss.corn_loss, linked], ids=["coral", "corn", "cl"]
)
def test_ranks_out_of_range_are_loud_and_ignored_ones_silent(loss):
    x = jnp.zeros((4,) if loss is linked else (4, 3), jnp.float32)
    y = jnp.array([3, 4, -1, 0])
    value, gradient = value_and_grad(loss, x, y)
    assert np.isnan(value[1:3]).all() and np.isnan(gradient[1:3]).all()
    assert np.isfinite(value[::3]).all() and np.isfinite(gradient[::3]).all()
    value, gradient = value_and_grad(
        loss, x.at[2].set(jnp.nan), y.at[1].set(1), ignore_index=-1
    )
    assert value[2] == 0 and (np.asarray(gradient[2]) == 0).all()
    assert np.isfinite(value).all() and np.isfinite(gradient).all()


# ------------------------------------------------------------------ bins

EDGES = np.linspace(-2, 2, 9, dtype=np.float32)


def test_hl_gauss_targets_are_differences_of_the_normal_law():
    y = np.array([0.1, -1.9, 2.0, 5.0, -70.0], np.float32)
    clipped = np.clip(wide(y), -2, 2)
    for sigma in (0.05, 0.375, 3.0):
        z = (wide(EDGES) - clipped[:, None]) / sigma
        flip = z[:, :-1] + z[:, 1:] > 0
        direct = stats.norm.cdf(z[:, 1:]) - stats.norm.cdf(z[:, :-1])
        tail = stats.norm.sf(z[:, :-1]) - stats.norm.sf(z[:, 1:])
        exact = np.where(flip, tail, direct)
        exact /= exact.sum(1, keepdims=True)
        actual = jaxloss.hl_gauss_targets(
            jnp.asarray(y), edges=jnp.asarray(EDGES), sigma=float(np.float32(sigma))
        )
        # Far out, a density is as well known as its exponent.
        tolerance = 1e-6 + 2e-7 * np.minimum(np.abs(z[:, 1:]), 60) ** 2
        assert (np.abs(wide(actual) - exact) <= tolerance * exact + 1e-37).all()


def test_hl_gauss_of_bins_much_narrower_than_sigma():
    y = f32(0.3)
    actual = jaxloss.hl_gauss_targets(y, edges=jnp.asarray(EDGES), sigma=1e6)[0]
    np.testing.assert_allclose(actual, np.full(8, 0.125), rtol=1e-6)
    fine = np.linspace(-2, 2, 4001)
    actual = jaxloss.hl_gauss_targets(
        y, edges=jnp.asarray(fine, jnp.float32), sigma=1.0
    )
    middle = (fine[1:] + fine[:-1]) / 2
    density = stats.norm.pdf(middle - wide(y)[0])
    # The edges are rounded to float32, 2e-7 of a bin's width of 1e-3.
    np.testing.assert_allclose(actual[0], density / density.sum(), rtol=5e-4)


def test_hl_gauss_default_sigma_and_decoding():
    edges = jnp.asarray(EDGES)
    y = f32(0.3, -0.7)
    targets = jaxloss.hl_gauss_targets(y, edges=edges)
    # Two programs: what is known in one, its compiler rounds by itself.
    np.testing.assert_allclose(
        targets, jaxloss.hl_gauss_targets(y, edges=edges, sigma=0.375), rtol=2e-7
    )
    middle = (EDGES[1:] + EDGES[:-1]) / 2
    np.testing.assert_allclose(wide(targets) @ middle, y, atol=2e-3)
    x = jnp.log(targets)
    value, gradient = value_and_grad(jaxloss.hl_gauss_loss, x, y, edges=edges)
    entropy = -np.sum(wide(targets) * np.log(wide(targets)), -1)
    np.testing.assert_allclose(value, entropy, rtol=2e-6)
    np.testing.assert_allclose(gradient, 0, atol=2e-7)


def test_hl_gauss_by_the_target_and_its_clipping():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 8)))
    edges = jnp.asarray(EDGES, jnp.float64)
    loss = jax.jit(lambda x, y, s: jaxloss.hl_gauss_loss(x, y, edges=edges, sigma=s)[0])
    check_grads(loss, (x, jnp.array([0.3]), jnp.float64(0.4)), order=2)
    slope = jax.grad(lambda y: loss(x, y, jnp.float64(0.4)))
    assert slope(jnp.array([3.0])) == 0
    assert np.isnan(slope(jnp.array([jnp.nan])))
    backwards = jaxloss.hl_gauss_loss(x, jnp.array([0.3]), edges=edges[::-1])
    assert np.isnan(backwards).all()


SUPPORT = f32(-2.0, -0.5, 0.5, 2.0, 8.0)


def test_two_hot_interpolates():
    y = f32(-2.0, -1.25, 0.5, 7.9, 8.0, -100.0, INF)
    targets = jaxloss.two_hot_targets(y, support=SUPPORT)
    np.testing.assert_allclose(jnp.sum(targets, -1), 1, rtol=2e-7)
    assert (np.count_nonzero(targets, axis=-1) <= 2).all()
    decoded = wide(targets) @ wide(SUPPORT)
    np.testing.assert_allclose(decoded, np.clip(wide(y), -2, 8), rtol=5e-7)
    np.testing.assert_array_equal(targets[2], [0, 0, 1, 0, 0])


def test_two_hot_by_the_target_where_both_neighbours_are_unlikely():
    """Their logits differ by much less than they lose to the largest."""
    x = f32(40.0, 0.001, 0.003, 0.0, -1.0)
    slope = jax.grad(lambda y: jaxloss.two_hot_loss(x, y, support=SUPPORT))
    expected = wide(x)[1] - wide(x)[2]
    np.testing.assert_allclose(slope(jnp.float32(0.25)), expected, rtol=1e-6)


def test_two_hot_by_the_target():
    x = f32(0.0, 1.0, -1.0, 2.0, 0.5)
    loss = functools.partial(jaxloss.two_hot_loss, x, support=SUPPORT)
    slope = jax.grad(lambda y: loss(y))
    inside = (0.0 - 1.0) / 1.5
    np.testing.assert_allclose(slope(jnp.float32(-1.0)), inside, rtol=1e-6)
    assert slope(jnp.float32(-3.0)) == slope(jnp.float32(9.0)) == 0
    beside = (1.0 + 1.0) / 1.0
    at_point = slope(jnp.float32(-0.5))
    np.testing.assert_allclose(at_point, (inside + beside) / 2, rtol=1e-6)
    at_end = slope(jnp.float32(-2.0))
    np.testing.assert_allclose(at_end, inside / 2, rtol=1e-6)
    assert np.isnan(slope(jnp.float32(jnp.nan)))
    assert np.isnan(jaxloss.two_hot_loss(x, jnp.float32(0), support=SUPPORT[::-1]))
    with pytest.raises(ValueError, match="`support`"):
        jaxloss.two_hot_loss(x, jnp.float32(0), support=SUPPORT[1:])


def l2_project(z_p, probs, z_q):
    """rlax.categorical_l2_project, in NumPy."""
    d_pos = np.concatenate([z_q, z_q[:1]])[1:]
    d_neg = np.concatenate([z_q[-1:], z_q])[:-1]
    z_p = np.clip(z_p, z_q[0], z_q[-1])[None, :]
    d_pos, d_neg = (d_pos - z_q)[:, None], (z_q - d_neg)[:, None]
    distance = z_p - z_q[:, None]
    sign = (distance >= 0).astype(float)
    hat = sign * distance / d_pos - (1 - sign) * distance / d_neg
    return np.sum(np.clip(1 - hat, 0, 1) * probs[None, :], axis=-1)


def test_categorical_projection_is_rlax_s():
    rng = np.random.default_rng(0)
    z = np.linspace(-1, 1, 5)
    q = rng.dirichlet(np.ones(7), size=3)
    target = rng.normal(size=(3, 7))
    x = rng.normal(size=(3, 5))
    log_p = x - np.log(np.exp(x).sum(-1, keepdims=True))
    expected = [
        -np.sum(l2_project(a, b, z) * c)
        for a, b, c in zip(target, q, log_p, strict=True)
    ]
    loss = functools.partial(
        jaxloss.categorical_projection_loss, support=jnp.asarray(z)
    )
    actual = loss(jnp.asarray(x), jnp.asarray(q), target_support=jnp.asarray(target))
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="`target_support`"):
        loss(jnp.asarray(x), jnp.asarray(q), target_support=jnp.asarray(target[0]))
