"""Identities and edges of the divergences of logits and of parameters."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import special

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough

INF = jnp.inf
BETWEEN = [
    jaxloss.softmax_kl_divergence,
    jaxloss.reverse_kl_divergence,
    jaxloss.js_divergence,
    jaxloss.total_variation,
    jaxloss.hellinger_distance,
    jaxloss.renyi_divergence,
]
each = pytest.mark.parametrize("loss", BETWEEN, ids=lambda f: f.__name__)


def f32(*values):
    return jnp.asarray(values, jnp.float32)


def wide(x):
    return np.asarray(x, np.float64)


def log_softmax(x):
    x = wide(x)
    return x - special.logsumexp(x, axis=-1, keepdims=True)


def kl(p, q):
    return np.sum(special.rel_entr(np.exp(p), np.exp(q)), -1)


def pair(seed=0, distance=1.0, size=(4, 5)):
    rng = np.random.default_rng(seed)
    s = jnp.asarray(rng.normal(size=size), jnp.float32)
    return s, s + jnp.asarray(distance * rng.normal(size=size), jnp.float32)


def second_order(s, t):
    """Half the variance of the difference of the logits: what KL is near equality."""
    p = np.exp(log_softmax(t))
    d = wide(s) - wide(t)
    return np.sum(p * (d - np.sum(p * d, -1, keepdims=True)) ** 2, -1) / 2


# ------------------------------------------------------------------ near equality


def test_divergences_of_nearly_equal_logits_keep_their_digits():
    s, t = pair(distance=1e-4)
    v = second_order(s, t)
    for loss, factor in (
        (jaxloss.softmax_kl_divergence, 1),
        (jaxloss.reverse_kl_divergence, 1),
        (jaxloss.js_divergence, 0.25),
        (functools.partial(jaxloss.renyi_divergence, alpha=0.25), 0.25),
        (functools.partial(jaxloss.renyi_divergence, alpha=3.0), 3),
        (functools.partial(jaxloss.hellinger_distance, squared=True), 0.25),
    ):
        # The next order is smaller by the distance.
        np.testing.assert_allclose(loss(s, t), factor * v, rtol=5e-4)


@each
def test_equal_logits_are_no_distance_apart_and_have_no_slope(loss):
    s, _ = pair()
    value, gradient = jax.value_and_grad(
        lambda s, t: jnp.sum(loss(s, t)), argnums=(0, 1)
    )(s, s)
    assert value == 0
    assert all((np.asarray(g) == 0).all() for g in gradient)
    moved = loss(s, jnp.round(s * 64) / 64 + 2**10)
    assert (np.asarray(moved) >= 0).all()


# ------------------------------------------------------------------ definitions


def test_definitions():
    s, t = pair()
    q, p = log_softmax(s), log_softmax(t)
    close = functools.partial(np.testing.assert_allclose, rtol=2e-6)
    close(jaxloss.softmax_kl_divergence(s, t), kl(p, q))
    close(jaxloss.reverse_kl_divergence(s, t), kl(q, p))
    middle = np.log((np.exp(p) + np.exp(q)) / 2)
    close(jaxloss.js_divergence(s, t), (kl(p, middle) + kl(q, middle)) / 2)
    close(jaxloss.total_variation(s, t), np.abs(np.exp(p) - np.exp(q)).sum(-1) / 2)
    overlap = np.exp((p + q) / 2).sum(-1)
    close(jaxloss.hellinger_distance(s, t), np.sqrt(1 - overlap))
    close(jaxloss.hellinger_distance(s, t, squared=True), 1 - overlap)
    close(jaxloss.renyi_divergence(s, t), -2 * np.log(overlap))
    cubic = np.log(np.exp(3 * p - 2 * q).sum(-1)) / 2
    close(jaxloss.renyi_divergence(s, t, alpha=3.0), cubic)


def test_the_slope_of_softmaxes_that_hardly_overlap():
    """p_j Σ √(p q) - √(p_j q_j), half of it, where p_j is far larger than either."""
    s, t = f32(-12, 0, -17, -31, -36, -20, -5), f32(-7, -25, 0, -20, -3, -4, -11)
    squared = functools.partial(jaxloss.hellinger_distance, squared=True)
    gradient = jax.grad(squared, argnums=(0, 1))(s, t)
    q, p = np.exp(log_softmax(s)), np.exp(log_softmax(t))
    root = np.sqrt(p * q)
    alike = root.sum(-1, keepdims=True)
    for actual, own in zip(gradient, (q, p), strict=True):
        np.testing.assert_allclose(actual, (own * alike - root) / 2, rtol=2e-6)


def test_the_divergence_of_log_softmaxes_is_the_same():
    s, t = pair()
    log_q, log_p = jax.nn.log_softmax(s), jax.nn.log_softmax(t)
    np.testing.assert_allclose(
        jaxloss.softmax_kl_divergence(s, t),
        jaxloss.kl_divergence_with_log_targets(log_q, log_p),
        rtol=2e-6,
    )


def test_generalized_jensen_shannon_at_its_ends_and_in_the_mirror():
    s, t = pair()
    js = jaxloss.js_divergence
    forward = jaxloss.softmax_kl_divergence(s, t)
    np.testing.assert_array_equal(js(s, t, beta=0), forward)
    np.testing.assert_array_equal(
        js(s, t, beta=1.0), jaxloss.reverse_kl_divergence(s, t)
    )
    np.testing.assert_allclose(js(s, t, beta=0.25), js(t, s, beta=0.75), rtol=2e-6)
    small = js(s, t, beta=jnp.float32(1e-5))
    np.testing.assert_allclose(small / 1e-5, forward, rtol=1e-3)
    assert np.isnan(js(s, t, beta=jnp.float32(0))).all()
    assert (np.asarray(js(s, -40 * s)) <= np.log(2) + 1e-6).all()


def test_renyi_divergence_through_order_one():
    s, t = pair()
    forward = jaxloss.softmax_kl_divergence(s, t)
    renyi = functools.partial(jaxloss.renyi_divergence, s, t)
    np.testing.assert_array_equal(renyi(alpha=1.0), forward)
    for alpha in (1.0, 1 - 2.0**-20, 1 + 2.0**-20):
        np.testing.assert_allclose(renyi(alpha=jnp.float32(alpha)), forward, rtol=3e-6)
    slope = jax.jacfwd(lambda a: renyi(alpha=a))(jnp.float32(1))
    p, d = np.exp(log_softmax(t)), log_softmax(s) - log_softmax(t)
    variance = np.sum(p * d**2, -1) - np.sum(p * d, -1) ** 2
    np.testing.assert_allclose(slope, variance / 2, rtol=1e-5)
    orders = [renyi(alpha=a) for a in (0.25, 0.5, 1.0, 2.0, 8.0)]
    assert (np.diff(np.stack(orders), axis=0) >= 0).all()


def test_renyi_divergence_far_from_equality():
    s, t = f32(0.0, -80.0, 0.0), f32(0.0, 0.0, 1.0)
    q, p = log_softmax(s), log_softmax(t)
    for alpha in (0.25, 3.0):
        exact = special.logsumexp(alpha * p + (1 - alpha) * q) / (alpha - 1)
        loss = functools.partial(jaxloss.renyi_divergence, alpha=alpha)
        np.testing.assert_allclose(loss(s, t), exact, rtol=1e-6)
        assert np.isfinite(jax.grad(loss)(s, t)).all()


# ------------------------------------------------------------------ absent classes


@each
def test_a_class_that_both_lack_is_not_there(loss):
    s, t = pair(size=(1, 4))
    s, t = s.at[0, 1].set(-INF), t.at[0, 1].set(-INF)
    keep = jnp.array([0, 2, 3])
    np.testing.assert_allclose(loss(s, t), loss(s[:, keep], t[:, keep]), rtol=1e-6)
    gradients = jax.grad(lambda s, t: loss(s, t)[0], argnums=(0, 1))(s, t)
    for gradient in gradients:
        assert np.isfinite(gradient).all() and gradient[0, 1] == 0


def test_a_class_that_one_lacks():
    whole, lacking = f32(0.0, 1.0, 2.0), f32(0.0, -INF, 2.0)
    kl, renyi = jaxloss.softmax_kl_divergence, jaxloss.renyi_divergence
    assert kl(lacking, whole) == INF
    assert jaxloss.reverse_kl_divergence(whole, lacking) == INF
    assert renyi(lacking, whole, alpha=1.5) == INF
    p = np.exp(log_softmax(whole))
    np.testing.assert_allclose(kl(whole, lacking), -np.log(1 - p[1]), rtol=1e-6)
    np.testing.assert_allclose(renyi(lacking, whole), -2 * np.log1p(-p[1]) / 2, 1e-6)
    for loss in (jaxloss.js_divergence, jaxloss.hellinger_distance, renyi):
        value, gradient = jax.value_and_grad(loss, argnums=(0, 1))(lacking, whole)
        assert np.isfinite(value)
        assert all(np.isfinite(g).all() for g in gradient)
    np.testing.assert_allclose(jaxloss.total_variation(lacking, whole), p[1], rtol=1e-6)


def test_an_infinite_logit_is_certainty():
    t, s = f32(INF, 0.0, 1.0), f32(0.5, 1.0, -1.0)
    value, gradient = jax.value_and_grad(jaxloss.softmax_kl_divergence)(s, t)
    exact = -log_softmax(s)[0]
    np.testing.assert_allclose(value, exact, rtol=1e-6)
    np.testing.assert_allclose(gradient, np.exp(log_softmax(s)) - [1, 0, 0], atol=1e-7)
    assert jaxloss.softmax_kl_divergence(t, s) == INF


def test_temperatures_cancel_offsets():
    s, t = (jnp.round(64 * x) / 64 for x in pair())
    for loss in BETWEEN:
        if "temperature" in inspect.signature(loss).parameters:
            warm = functools.partial(loss, temperature=0.7)
            np.testing.assert_array_equal(warm(s + 2**15, t - 2**15), warm(s, t))
            np.testing.assert_allclose(warm(s, t), loss(s / 0.7, t / 0.7), rtol=3e-6)


def test_derivatives_by_finite_differences():
    s, t = (x[:2].astype(jnp.float64) for x in pair())
    order = jnp.float64(0.7)
    for function in (
        lambda s, t, a: jaxloss.js_divergence(s, t, beta=a),
        lambda s, t, a: jaxloss.renyi_divergence(s, t, alpha=a + 0.6),
    ):
        check_grads(jax.jit(function), (s, t, order), order=2, modes=("rev",))


# ------------------------------------------------------------------ parameters


def test_gaussian_kl_of_a_variational_autoencoder():
    m, v = f32(0.5, -2.0, 0.0), f32(0.0, -30.0, 1e-4)
    exact = -(1 + wide(v) - wide(m) ** 2 - np.exp(wide(v))) / 2
    exact[2] = special.expm1(wide(v)[2]) / 2 - wide(v)[2] / 2
    np.testing.assert_allclose(
        jaxloss.gaussian_kl_divergence(m, v)[:2], exact[:2], 1e-6
    )
    near = jaxloss.gaussian_kl_divergence(m, v)[2]
    np.testing.assert_allclose(near, wide(v)[2] ** 2 / 4, rtol=1e-4)
    shift = jaxloss.gaussian_kl_divergence(m, v, prior_mean=m, prior_log_variance=v)
    assert (np.asarray(shift) == 0).all()
    with pytest.raises(ValueError, match="`prior_mean`"):
        jaxloss.gaussian_kl_divergence(m, v, prior_mean=m[:1])


def test_bernoulli_kl_is_that_of_two_classes():
    s, t = pair()
    two = [jnp.stack([jnp.zeros_like(x), x], axis=-1) for x in (s, t)]
    np.testing.assert_allclose(
        jaxloss.bernoulli_kl_divergence(s, t),
        jaxloss.softmax_kl_divergence(*two),
        rtol=2e-6,
    )
    s, t = f32(INF, INF, 1.0, -INF, 40.0), f32(INF, 0.0, INF, -INF, 20.0)
    value, gradient = jax.value_and_grad(
        lambda s: jnp.sum(jaxloss.bernoulli_kl_divergence(s, t)[jnp.array([0, 2, 3])])
    )(s)
    np.testing.assert_allclose(value, np.log1p(np.exp(-1)), rtol=1e-6)
    assert np.isfinite(gradient).all()
    assert jaxloss.bernoulli_kl_divergence(s, t)[1] == INF


def dirichlet(a, b):
    a, b = wide(a), wide(b)
    return (
        special.gammaln(a.sum(-1))
        - special.gammaln(a).sum(-1)
        - special.gammaln(b.sum(-1))
        + special.gammaln(b).sum(-1)
        + np.sum(
            (a - b) * (special.digamma(a) - special.digamma(a.sum(-1))[:, None]), -1
        )
    )


def test_dirichlet_kl():
    rng = np.random.default_rng(0)
    a = jnp.asarray(rng.gamma(1, size=(6, 3)) + 1e-3, jnp.float32)
    b = jnp.asarray(rng.gamma(1, size=(6, 3)) + 1e-3, jnp.float32)
    loss = jaxloss.dirichlet_kl_divergence
    np.testing.assert_allclose(loss(a, b), dirichlet(a, b), rtol=3e-6)
    assert (np.asarray(loss(a, a)) == 0).all()
    # Close and large: half the square of the distance in the metric of the family.
    large, near = f32(1e4, 2e4), f32(1.0001e4, 2e4)
    metric = special.polygamma(1, 1e4) - special.polygamma(1, 3e4)
    distance = wide(near - large)[0]
    np.testing.assert_allclose(loss(large, near), metric * distance**2 / 2, rtol=1e-4)
    value, gradient = jax.value_and_grad(loss)(f32(-1.0, 1.0), f32(1.0, 1.0))
    assert np.isnan(value) and np.isnan(gradient).any()
    wide_a, wide_b = a[0].astype(jnp.float64), b[0].astype(jnp.float64)
    check_grads(jax.jit(loss), (wide_a + 1, wide_b + 1), order=2, modes=("rev",))


# ------------------------------------------------------------------ distillation


def test_distillation_is_hinton_s():
    s, t = pair()
    y, heat = jnp.array([0, 4, 2, 1]), 3.0
    q, p = log_softmax(wide(s) / heat), log_softmax(wide(t) / heat)
    hard = -log_softmax(s)[np.arange(4), np.asarray(y)]
    loss = functools.partial(jaxloss.distillation_loss, s, t, temperature=heat)
    np.testing.assert_allclose(
        loss(labels=y, hard_weight=0.25, soft_weight=2.0),
        0.25 * hard + 2 * heat**2 * kl(p, q),
        rtol=2e-6,
    )
    np.testing.assert_allclose(loss(soft_weight=1.0), heat**2 * kl(p, q), rtol=2e-6)
    reverse = loss(soft_weight=1.0, divergence="reverse_kl")
    np.testing.assert_allclose(reverse, heat**2 * kl(q, p), rtol=2e-6)
    jensen = loss(soft_weight=1.0, divergence="jensen_shannon", beta=0.3)
    js = jaxloss.js_divergence(s, t, beta=0.3, temperature=heat)
    np.testing.assert_allclose(jensen, heat**2 * js, rtol=2e-6)


def test_distillation_drops_ignored_labels_and_is_loud_about_others():
    s, t = pair()
    y = jnp.array([0, -100, 9, 1])
    spoiled = s.at[1].set(jnp.nan), t.at[1].set(jnp.nan)
    value, gradients = jax.value_and_grad(
        lambda s, t: jnp.sum(
            jaxloss.distillation_loss(s, t, labels=y, ignore_index=-100)[
                jnp.array([0, 1, 3])
            ]
        ),
        argnums=(0, 1),
    )(*spoiled)
    assert np.isfinite(value)
    assert all((np.asarray(g)[1] == 0).all() for g in gradients)
    assert np.isnan(jaxloss.distillation_loss(s, t, labels=y)[2])


def test_the_fused_head_is_the_same_divergence():
    s, t = pair()
    eye = jnp.eye(5, dtype=jnp.float32)
    for divergence in ("kl", "reverse_kl", "jensen_shannon"):
        fused = jaxloss.linear_distillation_loss(
            s, eye, t, eye, divergence=divergence, reduction="none"
        )
        plain = jaxloss.distillation_loss(s, t, soft_weight=1.0, divergence=divergence)
        np.testing.assert_allclose(fused, plain, rtol=2e-6)
