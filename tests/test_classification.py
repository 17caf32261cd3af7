"""Identities and edges of the losses under noise and imbalance, with many labels."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough

INF = jnp.inf
cross_entropy = jaxloss.softmax_cross_entropy_with_integer_labels
OF_LABELS = [
    jaxloss.generalized_cross_entropy,
    jaxloss.symmetric_cross_entropy,
    jaxloss.bi_tempered_logistic_loss,
    jaxloss.confidence_penalty_cross_entropy,
    functools.partial(
        jaxloss.logit_adjusted_cross_entropy, log_priors=jnp.zeros(4, jnp.float32)
    ),
    functools.partial(
        jaxloss.mixup_cross_entropy, other_labels=jnp.array([0, 1, 2]), mix=0.75
    ),
    jaxloss.entmax_loss,
]


def f32(*values):
    return jnp.asarray(values, jnp.float32)


def rows(seed=0, size=(3, 4), scale=2.0):
    rng = np.random.default_rng(seed)
    x = jnp.asarray(scale * rng.normal(size=size), jnp.float32)
    return x, jnp.asarray(rng.integers(size[1], size=size[0]))


def wide(x):
    return np.asarray(x, np.float64)


def softmax(x):
    e = np.exp(wide(x) - np.max(wide(x), -1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def value_and_grad(loss, x, *rest, **options):
    gradient, value = jax.grad(
        lambda x: (lambda v: (jnp.sum(v), v))(loss(x, *rest, **options)), has_aux=True
    )(x)
    return value, gradient


# ------------------------------------------------------------------ labels


@pytest.mark.parametrize("loss", OF_LABELS)
def test_labels_out_of_range_are_loud_and_ignored_ones_silent(loss):
    x, _ = rows()
    y = jnp.array([1, 4, -1])
    value, gradient = value_and_grad(loss, x, y)
    assert np.isfinite(value[0]) and np.isnan(value[1:]).all()
    assert np.isnan(gradient[1:]).all() and np.isfinite(gradient[0]).all()
    poisoned = x.at[2].set(jnp.nan)
    value, gradient = value_and_grad(loss, poisoned, y.at[1].set(0), ignore_index=-1)
    assert value[2] == 0 and (np.asarray(gradient[2]) == 0).all()
    assert np.isfinite(value[:2]).all() and np.isfinite(gradient[:2]).all()


@pytest.mark.parametrize("loss", [f for f in OF_LABELS if "mixup" not in str(f)])
def test_class_weights_enter_the_denominator_of_the_mean(loss):
    x, y = rows()
    weights = f32(0.5, 1, 2, 4)
    each = wide(loss(x, y)) * wide(weights)[np.asarray(y)]
    mean = loss(x, y, class_weights=weights, reduction="mean")
    expected = each.sum() / wide(weights)[np.asarray(y)].sum()
    np.testing.assert_allclose(mean, expected, rtol=1e-6)
    np.testing.assert_allclose(loss(x, y, class_weights=weights), each, rtol=1e-6)


def test_generalized_cross_entropy_between_its_ends():
    x, y = rows()
    p = softmax(x)[np.arange(3), np.asarray(y)]
    loss = functools.partial(jaxloss.generalized_cross_entropy, x, y)
    np.testing.assert_allclose(loss(q=1.0), 1 - p, rtol=1e-6)
    # keras: (1 - p^q) / q at its default.
    np.testing.assert_allclose(loss(q=0.5), (1 - p**0.5) / 0.5, rtol=1e-6)
    for zero in (0.0, jnp.float32(0), jnp.float32(1e-30)):
        np.testing.assert_allclose(loss(q=zero), -np.log(p), rtol=1e-6)
    slope = jax.jacfwd(lambda q: loss(q=q))(jnp.float32(0))
    np.testing.assert_allclose(slope, -(np.log(p) ** 2) / 2, rtol=1e-6)


def test_generalized_cross_entropy_is_bounded_and_so_is_its_pull():
    x = f32(0, 200, INF)
    value, gradient = value_and_grad(
        jaxloss.generalized_cross_entropy, x, jnp.array(0), q=0.5
    )
    assert value == 2 and (np.asarray(gradient) == 0).all()


def test_symmetric_cross_entropy_is_that_of_the_clipped_one_hot():
    x, y = rows()
    p, t = softmax(x), np.eye(4)[np.asarray(y)]
    reverse = -np.sum(p * np.log(np.clip(t, np.exp(-4), 1)), -1)
    forward = -np.log(np.sum(p * t, -1))
    loss = jaxloss.symmetric_cross_entropy(x, y, alpha=0.3, beta=0.7)
    np.testing.assert_allclose(loss, 0.3 * forward + 0.7 * reverse, rtol=1e-6)


def test_confidence_penalty_rewards_entropy():
    x, y = rows()
    p = softmax(x)
    entropy = -np.sum(p * np.log(p), -1)
    loss = jaxloss.confidence_penalty_cross_entropy(x, y, penalty=0.25)
    np.testing.assert_allclose(
        loss, wide(cross_entropy(x, y)) - 0.25 * entropy, rtol=2e-6
    )
    gone = f32(0.0, -INF, 1.0)
    value, gradient = value_and_grad(
        jaxloss.confidence_penalty_cross_entropy, gone, jnp.array(0)
    )
    assert np.isfinite(value) and np.isfinite(gradient).all() and gradient[1] == 0


def test_mixup_is_the_cross_entropy_of_mixed_one_hot_vectors():
    x, y = rows()
    z, mix = jnp.array([0, 1, 3]), f32(0.25, 1.0, 0.5)
    t = mix[:, None] * jax.nn.one_hot(y, 4, dtype=jnp.float32)
    t += (1 - mix[:, None]) * jax.nn.one_hot(z, 4, dtype=jnp.float32)
    loss = functools.partial(jaxloss.mixup_cross_entropy, other_labels=z, mix=mix)
    value, gradient = value_and_grad(loss, x, y)
    expected, slope = value_and_grad(jaxloss.softmax_cross_entropy, x, t)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, slope, atol=2e-7)
    by_mix = jax.grad(
        lambda m: jnp.sum(jaxloss.mixup_cross_entropy(x, y, other_labels=z, mix=m))
    )(mix)
    np.testing.assert_allclose(by_mix, cross_entropy(x, y) - cross_entropy(x, z), 1e-5)


def test_mixup_drops_a_row_for_either_label():
    x, _ = rows()
    y, z = jnp.array([-9, 1, 9]), jnp.array([1, 1, -9])
    loss = functools.partial(
        jaxloss.mixup_cross_entropy, other_labels=z, mix=0.5, ignore_index=-9
    )
    # The first label of the last row does not exist, and the row is dropped anyway.
    value, gradient = value_and_grad(loss, x, y)
    assert value[0] == value[2] == 0
    assert (np.asarray(gradient)[[0, 2]] == 0).all()
    np.testing.assert_allclose(value[1], cross_entropy(x[1], y[1]), rtol=1e-6)
    entries = jnp.ones((3, 4), bool).at[1, 1].set(False)
    assert (np.asarray(loss(x, y, where=entries)) == 0).all()
    with pytest.raises(ValueError, match="`other_labels`"):
        jaxloss.mixup_cross_entropy(x, y, other_labels=z[:2], mix=0.5)


# ------------------------------------------------------------------ imbalance


def test_logit_adjustment_is_the_balanced_softmax_of_counts():
    x, y = rows()
    counts = np.array([1000.0, 100, 10, 1])
    weighted = counts * np.exp(wide(x))
    picked = weighted[np.arange(3), np.asarray(y)] / weighted.sum(-1)
    loss = functools.partial(
        jaxloss.logit_adjusted_cross_entropy,
        log_priors=jnp.asarray(np.log(counts), jnp.float32),
    )
    np.testing.assert_allclose(loss(x, y), -np.log(picked), rtol=1e-6)
    np.testing.assert_array_equal(loss(x, y, tau=0.0), cross_entropy(x, y))
    near = jnp.round(x * 64) / 64
    np.testing.assert_array_equal(loss(near + 2**16, y), loss(near, y))


def test_a_class_without_prior_is_absent():
    x, priors = f32(1.0, 2.0, 3.0), f32(0.0, -INF, 0.0)
    loss = functools.partial(jaxloss.logit_adjusted_cross_entropy, log_priors=priors)
    value, gradient = value_and_grad(loss, x, jnp.array(0))
    np.testing.assert_allclose(value, cross_entropy(x[::2], jnp.array(0)), rtol=1e-6)
    assert gradient[1] == 0
    assert loss(x, jnp.array(1)) == INF
    np.testing.assert_allclose(loss(x, jnp.array(0), tau=0.0), 2.407606, rtol=1e-6)


def test_class_balanced_weights_of_the_paper():
    counts = np.array([5000, 1000, 37, 1])
    for beta in (0.9, 0.999, 0.9999, 0.999999):
        exact = (1 - beta) / -np.expm1(counts * np.log(beta))
        weights = jaxloss.class_balanced_weights(
            jnp.asarray(counts), beta=beta, normalize=False
        )
        np.testing.assert_allclose(weights, exact, rtol=5e-7)
        scaled = jaxloss.class_balanced_weights(jnp.asarray(counts), beta=beta)
        np.testing.assert_allclose(scaled, exact / exact.sum() * 4, rtol=1e-6)


def test_class_balanced_weights_at_their_ends():
    counts = f32(8, 2, 0, 1)
    weights = functools.partial(jaxloss.class_balanced_weights, counts, normalize=False)
    np.testing.assert_allclose(weights(beta=1.0), [0.125, 0.5, 0, 1], rtol=1e-6)
    np.testing.assert_allclose(weights(beta=jnp.float32(1)), [0.125, 0.5, 0, 1], 1e-6)
    np.testing.assert_allclose(weights(beta=0.0), [1, 1, 0, 1], rtol=1e-6)
    total = jnp.sum(jaxloss.class_balanced_weights(counts))
    np.testing.assert_allclose(total, 3, rtol=1e-6)
    assert np.isnan(jaxloss.class_balanced_weights(f32(-1, 2))).any()


def test_margins_of_rare_classes():
    margins = functools.partial(jaxloss.label_distribution_margins, max_margin=1.0)
    np.testing.assert_allclose(margins(f32(16, 1, 0, 81)), [0.5, 1, 1, 1 / 3], 1e-6)
    np.testing.assert_array_equal(margins(f32(0, 0)), [1, 1])
    # A row each, with a margin of its own.
    both = margins(f32(16, 1, 81, 16).reshape(2, 2), max_margin=f32(1, 3))
    np.testing.assert_allclose(both, [[0.5, 1], [2, 3]], rtol=1e-6)
    assert np.isnan(margins(f32(-1, 2))).any()


def test_margins_make_the_loss_of_their_paper():
    x, y = rows(scale=0.5)
    counts = np.array([4000.0, 250.0, 30.0, 7.0])
    margins = jaxloss.label_distribution_margins(jnp.asarray(counts, jnp.float32))
    shifted = wide(x)
    shifted[np.arange(3), np.asarray(y)] -= 0.5 * (7.0 / counts[np.asarray(y)]) ** 0.25
    expected = -np.log(softmax(30 * shifted))[np.arange(3), np.asarray(y)]
    logits = jaxloss.cosface_logits(x, y, margin=margins[y], scale=30.0)
    np.testing.assert_allclose(cross_entropy(logits, y), expected, rtol=1e-5)


NORMS = f32(0.05, 0.07, 0.55, 1.0, 0.95, 0.0)


def test_what_many_have_in_common_counts_less():
    weights, counts = jaxloss.gradient_density_weights(NORMS)
    np.testing.assert_array_equal(counts, [3, 0, 0, 0, 0, 1, 0, 0, 0, 2])
    np.testing.assert_allclose(weights, [2 / 3, 2 / 3, 2, 1, 1, 2 / 3], rtol=1e-6)
    keep = jnp.array([True, False, True, False, True, False])
    weights, counts = jaxloss.gradient_density_weights(NORMS, bins=2, where=keep)
    np.testing.assert_array_equal(counts, [1, 2])
    np.testing.assert_allclose(weights, [1.5, 0, 0.75, 0, 0.75, 0], rtol=1e-6)
    weights, counts = jaxloss.gradient_density_weights(NORMS, where=jnp.zeros(6, bool))
    assert not weights.any() and not counts.any()


def test_the_density_is_a_moving_average():
    density = functools.partial(jaxloss.gradient_density_weights, bins=2)
    _, counts = density(NORMS)
    np.testing.assert_array_equal(counts, [3, 3])
    few = f32(0.1, 0.2)
    # The second bin stays as it was, and is not one of those that are not empty.
    weights, after = density(few, counts=counts, momentum=0.5)
    np.testing.assert_array_equal(after, [2.5, 3])
    np.testing.assert_allclose(weights, [0.8, 0.8], rtol=1e-6)
    # A bin that was never met begins with its count.
    _, first = density(NORMS, counts=f32(0, 1))
    np.testing.assert_array_equal(first, [3, 0.75 + 0.25 * 3])
    for bad in (0, 2.0, True):
        with pytest.raises(ValueError, match="`bins`"):
            jaxloss.gradient_density_weights(NORMS, bins=bad)


def test_a_norm_that_is_none_has_no_weight():
    weights, counts = jaxloss.gradient_density_weights(f32(0.5, -0.1, 1.1, np.nan))
    np.testing.assert_array_equal(np.isnan(weights), [False, True, True, True])
    assert weights[0] == 1 and counts.sum() == 1


def test_scaling_by_the_token_is_the_generalized_cross_entropy():
    """Dynamic fine-tuning: a held factor p_y has the gradient of 1 - p_y."""
    x, y = rows(scale=3.0)

    def scaled(x):
        nll = cross_entropy(x, y)
        return jnp.sum(jax.lax.stop_gradient(jnp.exp(-nll)) * nll)

    _, gradient = value_and_grad(jaxloss.generalized_cross_entropy, x, y, q=1.0)
    np.testing.assert_allclose(gradient, jax.grad(scaled)(x), rtol=2e-6, atol=1e-9)


def test_top_k_mean():
    losses = f32(0.5, 3.0, 0.25, 2.0, 2.0)
    top = jaxloss.top_k_mean
    np.testing.assert_allclose(top(losses, 3), 7 / 3, rtol=1e-6)
    np.testing.assert_allclose(top(losses, 99), 7.75 / 5, rtol=1e-6)
    gradient = jax.grad(top)(losses, 2)
    np.testing.assert_array_equal(gradient, [0, 0.5, 0, 0.5, 0])
    keep = jnp.array([True, False, True, False, False])
    np.testing.assert_allclose(top(losses, 4, axis=0, where=keep), 0.375, rtol=1e-6)
    assert top(losses, 2, axis=0, where=jnp.zeros(5, bool)) == 0
    table = jnp.stack([losses, -losses])
    np.testing.assert_allclose(top(table, 2, axis=1), [2.5, -0.375], rtol=1e-6)
    assert top(losses.at[0].set(INF), 1) == INF
    for bad in (0, 1.5, True):
        with pytest.raises(ValueError, match="`k`"):
            top(losses, bad)
    with pytest.raises(TypeError, match="`k`"):
        jax.jit(top)(losses, 2)


# ------------------------------------------------------------------ sampled classes


def test_a_sample_of_all_classes_is_the_whole_softmax():
    x, y = rows()
    own = jnp.take_along_axis(x, y[:, None], axis=1)[:, 0]
    loss = jaxloss.sampled_softmax_cross_entropy(
        own, x, labels=y, sampled_labels=jnp.arange(4)
    )
    np.testing.assert_allclose(loss, cross_entropy(x, y), rtol=1e-6)


def test_log_expected_counts_correct_the_logits():
    x, others = f32(0.5, -1.0), f32(1.0, 0.0, 2.0)
    q_own, q = f32(-1.0, -2.0), f32(-0.5, -3.0, 0.0)
    shared = jnp.broadcast_to(others, (2, 3))
    loss = jaxloss.sampled_softmax_cross_entropy(
        x, shared, log_expected=q_own, sampled_log_expected=q
    )
    z, z_others = wide(x) - wide(q_own), wide(others) - wide(q)
    expected = np.log(np.exp(z) + np.exp(z_others).sum()) - z
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    far = jaxloss.sampled_softmax_cross_entropy(
        x + 2**16, shared + 2**16, log_expected=q_own, sampled_log_expected=q
    )
    np.testing.assert_array_equal(far, loss)


def test_accidental_hits_are_not_there():
    x, others = f32(0.5), f32(0.5, 1.0)[None]
    loss = functools.partial(
        jaxloss.sampled_softmax_cross_entropy,
        labels=jnp.array([7], jnp.int8),
        sampled_labels=jnp.array([[7, 300]]),
    )
    expected = np.log1p(np.exp(0.5))
    np.testing.assert_allclose(loss(x, others)[0], expected, rtol=1e-6)
    slope = jax.grad(lambda o: loss(x, o)[0])(others.at[0, 0].set(jnp.nan))
    assert slope[0, 0] == 0 and np.isfinite(slope[0, 1])
    assert loss(x, others[:, :0], sampled_labels=jnp.zeros((1, 0), int))[0] == 0
    with pytest.raises(ValueError, match="`labels`"):
        loss(x, others, labels=None)


# ------------------------------------------------------------------ many labels


def test_asymmetric_loss_is_the_authors_formula():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=50) * 3, rng.integers(2, size=50)
    p = 1 / (1 + np.exp(-x))
    q = np.minimum(1 - p + 0.05, 1)
    focus = np.power(1 - (p * y + q * (1 - y)), np.where(y == 1, 1, 4))
    expected = -focus * (y * np.log(p) + (1 - y) * np.log(q))
    loss = jaxloss.asymmetric_loss(jnp.asarray(x), jnp.asarray(y))
    np.testing.assert_allclose(loss, expected, rtol=1e-9, atol=1e-15)


def test_asymmetric_loss_at_the_far_ends():
    x = f32(-200.0, 200.0, INF, -INF, 200.0)
    y = f32(1.0, 0.0, 1.0, 0.0, 0.0)
    value, gradient = value_and_grad(jaxloss.asymmetric_loss, x, y)
    limit = -np.log(0.05) * 0.95**4
    np.testing.assert_allclose(value, [200, limit, 0, 0, limit], rtol=1e-6)
    np.testing.assert_allclose(gradient, [-1, 0, 0, 0, 0], atol=1e-30)
    value, gradient = value_and_grad(jaxloss.asymmetric_loss, x, y, margin=0.0)
    np.testing.assert_allclose(value, [200, 200, 0, 0, 200], rtol=1e-6)
    np.testing.assert_allclose(gradient, [-1, 1, 0, 0, 1], rtol=1e-6)
    value, gradient = value_and_grad(jaxloss.asymmetric_loss, x[:1], f32(-1.0))
    assert np.isnan(value).all() and np.isnan(gradient).all()


def test_soft_margin_loss_of_signed_labels():
    x = f32(2.0, -3.0, 200.0, -INF, INF)
    t = jnp.array([1, -1, -1, 1, 1])
    with np.errstate(over="ignore"):
        expected = np.logaddexp(0, -wide(x) * wide(t))
    np.testing.assert_allclose(jaxloss.soft_margin_loss(x, t), expected, rtol=1e-6)
    np.testing.assert_array_equal(
        jaxloss.soft_margin_loss(x, t > 0), jaxloss.soft_margin_loss(x, t)
    )
    value, gradient = value_and_grad(jaxloss.soft_margin_loss, x[:1], f32(0.0))
    assert np.isnan(value).all() and np.isnan(gradient).all()


def torch_multilabel_margin(x, indices):
    positive = indices[: list(indices).index(-1)]
    rivals = [i for i in range(len(x)) if i not in positive]
    return sum(max(0, 1 - (x[j] - x[i])) for j in positive for i in rivals) / len(x)


def test_multilabel_margin_is_torch_s_on_a_mask():
    x, _ = rows(size=(3, 5))
    lists = [[3, 0, -1, 1, 4], [1, -1, 0, 0, 0], [0, 1, 2, 4, -1]]
    y = np.zeros((3, 5), np.int32)
    for row, indices in zip(y, lists, strict=True):
        row[indices[: indices.index(-1)]] = 1
    expected = [
        torch_multilabel_margin(a, b) for a, b in zip(wide(x), lists, strict=True)
    ]
    loss = jaxloss.multilabel_margin_loss
    np.testing.assert_allclose(loss(x, jnp.asarray(y)), expected, rtol=1e-6)
    np.testing.assert_array_equal(loss(x, jnp.asarray(y > 0)), loss(x, jnp.asarray(y)))
    value, gradient = value_and_grad(loss, x, jnp.asarray(2 * y))
    assert np.isnan(value).all() and np.isnan(gradient).all()
    assert (np.asarray(loss(x, jnp.zeros((3, 5)))) == 0).all()


def test_multilabel_soft_margin_is_torch_s():
    x, _ = rows(size=(3, 5))
    y = np.random.default_rng(1).integers(2, size=(3, 5))
    w = np.array([1.0, 2, 0.5, 0, 3])
    terms = y * np.log1p(np.exp(-wide(x))) + (1 - y) * np.log1p(np.exp(wide(x)))
    loss = functools.partial(jaxloss.multilabel_soft_margin_loss, x, jnp.asarray(y))
    np.testing.assert_allclose(loss(), terms.mean(-1), rtol=1e-6)
    np.testing.assert_allclose(
        loss(class_weights=jnp.asarray(w), reduction="mean"),
        (terms * w).mean(),
        rtol=1e-6,
    )


# ------------------------------------------------------------------ entmax


def entmax15(x):
    """The algorithm by sorting of Peters et al., in float64."""
    z = (wide(x) - np.max(wide(x))) / 2
    ordered = np.sort(z)[::-1]
    for k in range(len(z), 0, -1):
        head = ordered[:k]
        spread = (1 - k * (np.mean(head**2) - np.mean(head) ** 2)) / k
        threshold = np.mean(head) - np.sqrt(max(spread, 0))
        if spread >= 0 and threshold <= ordered[k - 1]:
            return np.maximum(z - threshold, 0) ** 2
    raise AssertionError


def test_entmax_gradient_is_the_sorted_entmax():
    x, y = rows(size=(6, 9), scale=1.5)
    _, gradient = value_and_grad(jaxloss.entmax_loss, x, y)
    expected = np.array([entmax15(row) for row in x])
    expected[np.arange(6), np.asarray(y)] -= 1
    assert (expected == 0).any()
    np.testing.assert_allclose(gradient, expected, atol=3e-7)


def test_entmax_between_softmax_and_sparsemax():
    x, y = rows()
    loss = functools.partial(jaxloss.entmax_loss, x, y)
    np.testing.assert_array_equal(loss(alpha=1.0), cross_entropy(x, y))
    sparse = jaxloss.multiclass_sparsemax_loss(x, y)
    np.testing.assert_array_equal(loss(alpha=2.0), sparse)
    np.testing.assert_allclose(loss(alpha=jnp.float32(2)), sparse, rtol=2e-6, atol=1e-7)
    near = jaxloss.entmax_loss(x.astype(jnp.float64), y, alpha=1 + 1e-6)
    np.testing.assert_allclose(near, cross_entropy(x, y), rtol=1e-5)
    assert np.isnan(loss(alpha=jnp.float32(1))).all()
    with pytest.raises(ValueError, match="`alpha`"):
        loss(alpha=0.5)


def test_entmax_is_zero_once_the_label_leads():
    x = f32(2.0, 0.0, -1.0)
    value, gradient = value_and_grad(jaxloss.entmax_loss, x, jnp.array(0))
    assert value == 0 and (np.asarray(gradient) == 0).all()
    close, _ = value_and_grad(jaxloss.entmax_loss, f32(2.0, 2.0**-10, 0), jnp.array(0))
    # One rival, p = (h/2)² with h about 2^-10: the loss is p^1.5 / 1.5 + p²/2.
    p = (2.0**-11) ** 2
    np.testing.assert_allclose(close, p**1.5 / 1.5, rtol=2e-3)


def test_entmax_at_the_edge_of_the_support():
    # At α = 3 two scores d apart have p = (1 ± 2 d) / 2, which is linear in them.
    p = 2.0 ** -np.arange(1, 23)
    x = jnp.asarray(np.stack([0.5 - p, np.zeros_like(p)], axis=-1), jnp.float32)
    y = jnp.zeros(len(p), jnp.int32)
    loss = functools.partial(jaxloss.entmax_loss, alpha=3.0)
    gradient = jax.grad(lambda x: jnp.sum(loss(x, y)))
    np.testing.assert_allclose(gradient(x)[:, 1], p, rtol=2e-6)
    _, by_other = jax.jvp(gradient, (x,), (jnp.zeros_like(x).at[:, 1].set(1),))
    np.testing.assert_allclose(by_other, np.tile([-1.0, 1.0], (len(p), 1)), rtol=1e-5)


def test_entmax_offsets_and_infinite_scores():
    x, y = rows()
    near = jnp.round(x * 64) / 64
    loss = jaxloss.entmax_loss
    np.testing.assert_array_equal(loss(near + 2**16, y), loss(near, y))
    scores = f32(INF, 0, 0)[None] * jnp.ones((2, 1), jnp.float32)
    value, gradient = value_and_grad(loss, scores, jnp.array([0, 1]))
    np.testing.assert_array_equal(value, [0, INF])
    np.testing.assert_array_equal(gradient, [[0, 0, 0], [1, -1, 0]])
    absent = f32(1.0, -INF, 0.5)
    np.testing.assert_allclose(
        loss(absent, jnp.array(2)), loss(absent[::2], jnp.array(1)), rtol=1e-6
    )
    assert loss(f32(-INF, -INF), jnp.array(0)) == INF
    assert np.isnan(loss(f32(INF, INF), jnp.array(0)))
    assert np.isnan(loss(f32(jnp.nan, 0), jnp.array(1)))


def test_entmax_with_many_classes():
    x, y = rows(size=(2, 5000), scale=1.0)
    for alpha in (1.25, 1.5, 4.0):
        gradient = jax.grad(
            lambda x, a=alpha: jnp.sum(jaxloss.entmax_loss(x, y, alpha=a))
        )(x)
        np.testing.assert_allclose(jnp.sum(gradient, -1), 0, atol=2e-6)


def test_entmax_derivatives_by_finite_differences():
    x = jnp.asarray([[0.3, -0.2, 0.5, -3.0]])
    loss = jax.jit(lambda x, a: jaxloss.entmax_loss(x, jnp.array([1]), alpha=a)[0])
    for alpha in (1.3, 1.5, 1.9):
        check_grads(loss, (x, jnp.float64(alpha)), order=2, modes=("fwd", "rev"))
