"""Contrastive and metric-learning losses of batches: masks, edges, identities."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough

LABELS = np.array([0, 0, 1, 1, 1, 2, 3, 3])
KEEP = np.array([True, True, False, True, True, True, False, True])

BY_LABELS = [
    "supervised_contrastive_loss",
    "circle_loss",
    "multi_similarity_loss",
    "batch_hard_triplet_loss",
    "semi_hard_triplet_loss",
]
BY_VIEWS = ["nt_xent_loss", "decoupled_contrastive_loss", "n_pair_loss"]


def draw(seed=0, features=4, size=1.0):
    rng = np.random.default_rng(seed)
    x, y = (size * rng.normal(size=(len(LABELS), features)) for _ in range(2))
    return jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)


def arguments(name):
    """The batch, its second argument, and the loss by its first one."""
    x, y = draw()
    second = y if name in BY_VIEWS else jnp.asarray(LABELS, jnp.int32)
    return x, second, getattr(jaxloss, name)


def units(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def close(actual, expected, rtol=2e-6, atol=2e-6):
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, rtol, atol)


# ------------------------------------------------------------------ what all share


def test_an_embedding_of_zeros_has_no_direction():
    """Its cosine with any other is 0, and no step gives it one."""
    x, second, loss = arguments("supervised_contrastive_loss")
    value, gradient = jax.value_and_grad(lambda x: loss(x, second).sum())(
        x.at[2].set(0)
    )
    assert np.isfinite(value) and np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[2], 0)
    assert (gradient[3] != 0).all()


@pytest.mark.parametrize("name", BY_LABELS + BY_VIEWS)
def test_masked_examples_take_part_nowhere(name):
    """Value and gradient are those of a batch without them, whatever they hold."""
    x, second, loss = arguments(name)

    @functools.partial(jax.jit, static_argnames="reduction")
    def run(x, second, where=None, reduction="none"):
        def total(x):
            value = loss(x, second, where=where, reduction=reduction)
            return jnp.sum(value), value

        gradient, value = jax.grad(total, has_aux=True)(x)
        return value, gradient

    for value in (np.nan, np.inf):
        spoiled = jnp.where(KEEP[:, None], x, value)
        if name in BY_VIEWS:
            marred = jnp.where(KEEP[:, None], second, value)
        else:
            marred = jnp.where(KEEP, second, 10**6)
        actual, slope = run(spoiled, marred, jnp.asarray(KEEP))
        expected, gradient = run(x[KEEP], second[KEEP])
        close(actual[KEEP], expected, atol=2e-5)
        close(slope[KEEP], gradient, rtol=1e-4, atol=1e-4)
        assert (np.asarray(actual)[~KEEP] == 0).all()
        assert (np.asarray(slope)[~KEEP] == 0).all()
    mean, _ = run(spoiled, marred, jnp.asarray(KEEP), reduction="mean")
    close(mean, run(x[KEEP], second[KEEP], reduction="mean")[0], atol=2e-5)


@pytest.mark.parametrize("name", BY_LABELS + BY_VIEWS)
def test_nothing_kept_is_zero(name):
    x, second, loss = arguments(name)
    mask = jnp.zeros(len(x), bool)
    with jax.debug_nans(True):
        for reduction in ("none", "mean"):
            value, gradient = jax.value_and_grad(
                lambda x, r=reduction: jnp.sum(loss(x, second, where=mask, reduction=r))
            )(x)
            assert value == 0
            chex.assert_trees_all_equal(gradient, jnp.zeros_like(x))


@pytest.mark.parametrize("name", BY_LABELS + BY_VIEWS)
def test_an_example_alone(name):
    x, second, loss = arguments(name)
    with jax.debug_nans(True):
        value, gradient = jax.value_and_grad(
            lambda x: jnp.sum(loss(x, second[:1], reduction="mean"))
        )(x[:1])
    assert value == 0
    close(gradient, np.zeros((1, 4)))


@pytest.mark.parametrize("name", BY_LABELS + BY_VIEWS)
def test_reductions_and_weights(name):
    x, second, loss = arguments(name)
    losses = np.asarray(loss(x, second), np.float64)
    weights = np.array([1, 2, 0.5, 0, 1, 3, 1, 1], np.float32)
    close(loss(x, second, reduction="sum"), losses.sum(), atol=1e-5)
    weighted = loss(x, second, weights=weights, reduction="sum")
    close(weighted, (weights * losses).sum(), atol=1e-5)
    counts = np.ones(len(LABELS))
    if name in BY_LABELS and name != "multi_similarity_loss":
        counts = (LABELS != 2).astype(float)
    if name == "semi_hard_triplet_loss":
        counts = (LABELS[:, None] == LABELS).sum(1) - 1.0
    expected = (weights * losses).sum() / (weights * counts).sum()
    close(loss(x, second, weights=weights, reduction="mean"), expected, atol=1e-5)


@pytest.mark.parametrize("name", BY_LABELS + BY_VIEWS)
def test_what_is_wrong(name):
    x, second, loss = arguments(name)
    first = "za" if name == "nt_xent_loss" or "decoupled" in name else None
    with pytest.raises(ValueError, match=r"of shape \[batch, features\]") as caught:
        loss(x[None], second)
    assert first is None or f"`{first}`" in str(caught.value)
    with pytest.raises(ValueError, match="must be of "):
        loss(x, second[:-1])
    with pytest.raises(ValueError, match="`where`"):
        loss(x, second, where=jnp.ones(x.shape, bool))
    with pytest.raises(ValueError, match="`weights`"):
        loss(x, second, weights=jnp.ones(3))
    with pytest.raises(TypeError, match=r"must be an array of (integer|floating)"):
        loss(x, second.astype(jnp.int32 if name in BY_VIEWS else jnp.float32))


@pytest.mark.parametrize("name", BY_LABELS + BY_VIEWS)
def test_memory_is_of_the_size_of_the_similarities(name):
    """Nothing of size [batch, batch, features], in the gradient either."""
    batch, features = 128, 64
    x = jax.ShapeDtypeStruct((batch, features), jnp.float32)
    labels = jax.ShapeDtypeStruct((batch,), jnp.int32)
    loss = getattr(jaxloss, name)

    def total(x, y):
        return jnp.sum(loss(x, y))

    second = x if name in BY_VIEWS else labels
    compiled = jax.jit(jax.grad(total)).lower(x, second).compile()
    views = 2 if name in ("nt_xent_loss", "decoupled_contrastive_loss") else 1
    square = 4 * (views * batch) ** 2
    assert compiled.memory_analysis().temp_size_in_bytes <= 16 * square
    if name not in ("batch_hard_triplet_loss", "semi_hard_triplet_loss"):
        jaxpr = str(jax.make_jaxpr(loss)(x, second))
        assert jaxpr.count("dot_general") == 1 and "HIGHEST" in jaxpr


# ------------------------------------------------------------------ contrastive


def test_supcon_is_ntxent_where_nothing_else_is_positive():
    """Pairs only: SupCon with one positive each is NT-Xent of two views."""
    a, b = draw()
    x = jnp.concatenate([a, b])
    labels = jnp.tile(jnp.arange(len(a)), 2)
    supcon = jaxloss.supervised_contrastive_loss(x, labels, temperature=0.5)
    views = jaxloss.nt_xent_loss(a, b)
    close((supcon[: len(a)] + supcon[len(a) :]) / 2, views)


def test_nt_xent_is_a_mean_of_cross_entropies():
    a, b = draw()
    u = units(np.concatenate([a, b]))
    s = u @ u.T / 0.5
    np.fill_diagonal(s, -np.inf)
    n = len(a)
    partition = np.log(np.exp(s).sum(1))
    terms = partition - s[np.arange(2 * n), np.roll(np.arange(2 * n), -n)]
    close(jaxloss.nt_xent_loss(a, b), (terms[:n] + terms[n:]) / 2)
    close(jaxloss.nt_xent_loss(a, b, base=2), (terms[:n] + terms[n:]) / np.log(4))


def test_nt_xent_of_views_that_agree_is_not_rounded_away():
    a = jnp.eye(4, dtype=jnp.float32)
    loss = jaxloss.nt_xent_loss(a, a, temperature=0.05)
    # 6 others at a right angle: log(1 + 6 e^-20).
    np.testing.assert_allclose(loss, np.full(4, np.log1p(6 * np.exp(-20))), rtol=1e-5)


def test_dclw_weighs_pairs_that_are_apart():
    a, b = draw()
    u, v = units(a), units(b)
    near = (u * v).sum(1)
    powers = np.exp(near / 0.5)
    weights = 2 - powers / powers.mean()
    difference = jaxloss.decoupled_contrastive_loss(
        a, b, sigma=0.5
    ) - jaxloss.decoupled_contrastive_loss(a, b)
    close(difference, (1 - weights) * near / 0.1, atol=1e-5)
    # The weights are constants: the gradient is that of weighted attractions.
    frozen = jnp.asarray(weights, jnp.float32)

    def attraction(a):
        loss = jaxloss.decoupled_contrastive_loss(a, b)
        cosine = jaxloss.cosine_similarity(a, b)
        return jnp.sum(loss + (1 - frozen) * cosine / 0.1)

    slope = jax.grad(
        lambda a: jnp.sum(jaxloss.decoupled_contrastive_loss(a, b, sigma=0.5))
    )(a)
    close(slope, jax.grad(attraction)(a), rtol=1e-4, atol=1e-4)


def test_n_pair_is_info_nce():
    a, b = draw()
    close(
        jaxloss.n_pair_loss(a, b, reduction="mean"),
        jaxloss.info_nce_loss(a, b),
        rtol=1e-6,
    )


def test_paces_of_the_circle_loss_are_constants():
    x, labels, _ = arguments("circle_loss")
    loss = functools.partial(jaxloss.circle_loss, labels=labels, scale=8.0)

    # By hand, from the cosines of the first example.
    def detached(x):
        u = x / jnp.linalg.norm(x, axis=1, keepdims=True)
        s = jnp.matmul(u[:1], u.T, precision="highest")[0]
        pace = jax.lax.stop_gradient
        pull = 8 * pace(1.4 - s[1]) * (0.6 - s[1])
        push = 8 * pace(jnp.maximum(s[2:] + 0.4, 0)) * (s[2:] - 0.4)
        return jax.nn.softplus(pull + jax.nn.logsumexp(push))

    close(loss(x)[0], detached(x))
    close(loss(x, detach_pace=False), loss(x))
    slope = jax.grad(lambda x: loss(x)[0])(x)
    close(slope, jax.grad(detached)(x), rtol=1e-4, atol=1e-5)
    free = jax.grad(lambda x: loss(x, detach_pace=False)[0])(x)
    assert jnp.abs(free - slope).max() > 0.1


@pytest.mark.parametrize("size", [1e-30, 1e19, 1e30])
@pytest.mark.parametrize("name", ["supervised_contrastive_loss", "circle_loss"])
def test_lengths_do_not_matter(name, size):
    x, labels, loss = arguments(name)
    close(loss(jnp.float32(size) * x, labels), loss(x, labels), rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------ mining


def mined(x, labels, distance):
    x = np.asarray(x, np.float64)
    d = np.linalg.norm(x[:, None] - x[None], axis=-1)
    if distance == "squared_euclidean":
        d = d**2
    if distance == "cosine":
        d = 1 - units(x) @ units(x).T
    same = labels[:, None] == labels
    positive = same & ~np.eye(len(labels), dtype=bool)
    return d, positive, ~same


@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "cosine"])
def test_hardest_of_the_batch(distance):
    x, _ = draw()
    d, positive, negative = mined(x, LABELS, distance)
    hardest = np.where(positive, d, -np.inf).max(1)
    nearest = np.where(negative, d, np.inf).min(1)
    expected = np.where(positive.any(1), np.maximum(0, hardest - nearest + 0.5), 0)
    labels = jnp.asarray(LABELS)
    options = {"distance": distance, "margin": 0.5}
    close(jaxloss.batch_hard_triplet_loss(x, labels, **options), expected)
    options["margin"] = None
    soft = np.where(positive.any(1), np.log1p(np.exp(hardest - nearest)), 0)
    close(jaxloss.batch_hard_triplet_loss(x, labels, **options), soft)


@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "cosine"])
def test_semi_hard_negatives(distance):
    x, _ = draw()
    d, positive, negative = mined(x, LABELS, distance)
    expected = np.zeros(len(LABELS))
    for i, p in zip(*np.nonzero(positive), strict=True):
        others = d[i][negative[i]]
        beyond = others[others > d[i, p]]
        far = beyond.min() if beyond.size else others.max()
        expected[i] += max(0, d[i, p] - far + 0.5)
    loss = jaxloss.semi_hard_triplet_loss(
        x, jnp.asarray(LABELS), distance=distance, margin=0.5
    )
    close(loss, expected)


@pytest.mark.parametrize("name", ["batch_hard_triplet_loss", "semi_hard_triplet_loss"])
def test_near_neighbours_far_from_zero(name):
    """A collapsed batch, far away: distances by products of matrices would be noise."""
    rng = np.random.default_rng(0)
    x = 300 + 2.0**-10 * rng.integers(-8, 8, size=(8, 4))
    labels, loss = jnp.asarray(LABELS), getattr(jaxloss, name)
    expected = loss(jnp.asarray(x - 300, jnp.float32), labels, margin=0.01)
    close(loss(jnp.asarray(x, jnp.float32), labels, margin=0.01), expected, atol=1e-7)


@pytest.mark.parametrize("name", ["batch_hard_triplet_loss", "semi_hard_triplet_loss"])
@pytest.mark.parametrize("size", [1e-30, 1e25])
def test_distances_neither_overflow_nor_vanish(name, size):
    x, labels, loss = arguments(name)
    expected = loss(x, labels, margin=0.0)
    actual = loss(jnp.float32(size) * x, labels, margin=0.0)
    close(np.asarray(actual, np.float64) / size, expected)


@pytest.mark.parametrize("name", ["batch_hard_triplet_loss", "semi_hard_triplet_loss"])
def test_equal_embeddings_have_no_gradient(name):
    _, labels, loss = arguments(name)
    x = jnp.ones((8, 4), jnp.float32)
    with jax.debug_nans(True):
        gradient = jax.grad(lambda x: jnp.sum(loss(x, labels)))(x)
    chex.assert_trees_all_equal(gradient, jnp.zeros_like(x))


# ------------------------------------------------------------------ proxies, margins


def proxies():
    x, y = draw()
    return x, y[:4], jnp.asarray(LABELS, jnp.int32)


def test_proxy_anchor_without_examples_of_a_class():
    x, p, labels = proxies()
    loss = functools.partial(jaxloss.proxy_anchor_loss, alpha=2.0)
    keep = jnp.asarray(LABELS != 2)
    dropped = loss(x[keep], p, labels=labels[keep])
    close(loss(x, p, labels=labels, where=keep), dropped)
    close(
        loss(x * jnp.where(keep, 1, jnp.nan)[:, None], p, labels=labels, where=keep),
        dropped,
    )
    close(loss(x, p, labels=labels, ignore_index=2), dropped)
    # The pull is the mean over three classes, the push over all four.
    s = units(x) @ units(p).T
    own = LABELS[:, None] == np.arange(4)
    pull = np.log1p((np.exp(-2 * (s - 0.1)) * (own & np.asarray(keep)[:, None])).sum(0))
    push = np.log1p((np.exp(2 * (s + 0.1)) * (~own & np.asarray(keep)[:, None])).sum(0))
    close(dropped, pull.sum() / 3 + push.sum() / 4)
    assert loss(x, p, labels=labels, where=jnp.zeros(8, bool)) == 0


@pytest.mark.parametrize("label", [-1, 4])
def test_proxies_of_labels_that_do_not_exist(label):
    x, p, labels = proxies()
    value, (by_x, by_p) = jax.value_and_grad(
        lambda x, p: jaxloss.proxy_anchor_loss(x, p, labels=labels.at[0].set(label)),
        (0, 1),
    )(x, p)
    assert jnp.isnan(value) and jnp.isnan(by_x[0]).all() and jnp.isnan(by_p).all()


def test_what_is_wrong_with_proxies():
    x, p, labels = proxies()
    with pytest.raises(ValueError, match=r"`proxies` must be of shape \[classes, 4\]"):
        jaxloss.proxy_anchor_loss(x, p[:, :3], labels=labels)
    with pytest.raises(ValueError, match="`labels` must be of shape"):
        jaxloss.proxy_anchor_loss(x, p, labels=labels[:3])


TRANSFORMS = [jaxloss.arcface_logits, jaxloss.cosface_logits]


@pytest.mark.parametrize("end", [1.0, -1.0, 1 + 1e-6])
def test_arcface_gradient_at_the_ends(end):
    cosines = jnp.asarray([[end, 0.5, -0.5]], jnp.float32)

    def own(cosines):
        return jaxloss.arcface_logits(cosines, jnp.asarray([0]), scale=1.0)[0, 0]

    with jax.debug_nans(True):
        value, gradient = jax.value_and_grad(own)(cosines)
    # At 1 the angle has a kink; at -1 the angle is past π - m, where the slope is 1.
    close(value, np.cos(0.5) if end > 0 else -1 - 0.5 * np.sin(0.5))
    close(gradient, [[np.cos(0.5) if end > 0 else 1, 0, 0]])
    curvature = jax.grad(lambda c: jax.grad(own)(c)[0, 0])(cosines)
    assert jnp.isfinite(curvature).all()


def test_arcface_near_an_angle_of_zero():
    lack = jnp.asarray([2.0**-23, 2.0**-20, 2.0**-10], jnp.float32)
    cosines = jnp.stack([1 - lack, 0 * lack], axis=1)
    labels = jnp.zeros(3, jnp.int32)
    gradient = jax.grad(
        lambda c: jnp.sum(jaxloss.arcface_logits(c, labels, scale=1.0)[:, 0])
    )(cosines)
    theta = np.arccos(1 - np.asarray(lack, np.float64))
    expected = np.cos(0.5) + np.cos(theta) * np.sin(0.5) / np.sin(theta)
    np.testing.assert_allclose(gradient[:, 0], expected, rtol=2e-6)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_labels_of_angular_margins(transform):
    cosines = jnp.asarray(np.linspace(-0.9, 0.9, 12).reshape(4, 3), jnp.float32)
    labels = jnp.asarray([0, 3, -100, 2])
    logits = transform(cosines, labels, scale=10.0, ignore_index=-100)
    assert jnp.isnan(logits[1]).all()
    close(logits[2], 10 * cosines[2])
    gradient = jax.grad(lambda c: jnp.sum(transform(c, labels, ignore_index=-100)[1]))(
        cosines
    )
    assert jnp.isnan(gradient[1]).all()
    plain = transform(cosines, jnp.asarray([0, 1, 1, 2]), margin=0.0, scale=1.0)
    close(plain, cosines)
    with pytest.raises(TypeError, match="`labels` must be an array of integer"):
        transform(cosines, labels.astype(jnp.float32))
    with pytest.raises(ValueError, match="`labels` must be of shape"):
        transform(cosines, labels[:2])


# ------------------------------------------------------------------ pairs, triplets


def test_contrastive_labels():
    a, b = draw()
    soft = np.linspace(0, 1, 8, dtype=np.float32)
    loss = functools.partial(jaxloss.contrastive_loss, a, b, margin=5.0)
    near, far = (np.asarray(loss(labels=np.full(8, y))) for y in (1, 0))
    close(loss(labels=soft), soft * near + (1 - soft) * far)
    close(loss(labels=jnp.arange(8) % 2 == 0), jnp.where(jnp.arange(8) % 2, far, near))
    assert jnp.isnan(loss(labels=soft + 0.01)[-1])
    with jax.debug_nans(True):
        slope = jax.grad(
            lambda a: jnp.sum(jaxloss.contrastive_loss(a, a + 0, labels=jnp.zeros(8)))
        )(a)
    chex.assert_tree_all_finite(slope)


SIGNED = {
    "cosine_embedding_loss": lambda a, b, y: jaxloss.cosine_embedding_loss(
        a, b, labels=y[:, 0]
    ),
    "margin_ranking_loss": lambda a, b, y: jaxloss.margin_ranking_loss(a, b, labels=y),
    "hinge_embedding_loss": lambda a, b, y: jaxloss.hinge_embedding_loss(a, y),
}


@pytest.mark.parametrize("name", SIGNED)
def test_signed_labels(name):
    a, b = draw()
    loss = SIGNED[name]
    bits = jnp.broadcast_to(jnp.arange(8)[:, None] % 3 == 0, a.shape)
    signs = jnp.where(bits, 1, -1)
    close(loss(a, b, bits), loss(a, b, signs))
    # 0 is no label: not a pair that is apart.
    assert jnp.isnan(loss(a, b, bits.astype(jnp.int32))[1]).all()
    slope = jax.grad(lambda a: jnp.sum(loss(a, b, bits.astype(jnp.int32))))(a)
    assert jnp.isnan(slope[1]).all() and not jnp.isnan(slope[0]).any()


def test_as_in_torch():
    """The formulas of torch.nn.functional, in float64."""
    a, b = draw()
    y = np.where(np.arange(8) % 2, 1, -1)
    cosine = (units(a) * units(b)).sum(1)
    expected = np.where(y == 1, 1 - cosine, np.maximum(0, cosine - 0.25))
    close(
        jaxloss.cosine_embedding_loss(a, b, labels=jnp.asarray(y), margin=0.25),
        expected,
    )
    d = np.abs(np.asarray(a, np.float64))
    expected = np.where(y[:, None] == 1, d, np.maximum(0, 1 - d))
    y = jnp.broadcast_to(jnp.asarray(y)[:, None], a.shape)
    close(jaxloss.hinge_embedding_loss(jnp.abs(a), y), expected)
    lead = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    expected = np.maximum(0, -np.asarray(y) * lead + 0.5)
    close(jaxloss.margin_ranking_loss(a, b, labels=y, margin=0.5), expected)


def test_a_cosine_beside_a_margin_near_one():
    a = jnp.asarray([[1.0, 0.0]])
    b = jnp.asarray([[1.0, 2.0**-7]])
    lack = 1 - 1 / np.sqrt(1 + 2.0**-14)
    margin = 1 - 2.0**-14
    loss = jaxloss.cosine_embedding_loss(
        a.astype(jnp.float32),
        b.astype(jnp.float32),
        labels=jnp.asarray([-1]),
        margin=margin,
    )
    np.testing.assert_allclose(loss, [1 - margin - lack], rtol=1e-6)


def triplets():
    a, p = draw()
    n, _ = draw(1)
    return a, p, n


def test_triplet_loss_is_optax_s_without_its_epsilon():
    a, p, n = triplets()
    close(jaxloss.triplet_loss(a, p, n), jaxloss.triplet_margin_loss(a, p, n, eps=0.0))


def test_a_distance_of_one_s_own():
    a, p, n = triplets()

    def manhattan(x, y):
        return jnp.sum(jnp.abs(x - y), axis=-1)

    expected = jaxloss.triplet_margin_loss(a, p, n, norm_degree=1, eps=0.0)
    close(jaxloss.triplet_loss(a, p, n, distance=manhattan), expected)
    with pytest.raises(ValueError, match="`distance` must be of shape"):
        jaxloss.triplet_loss(a, p, n, distance=lambda x, y: jnp.sum(x - y))
    with pytest.raises(ValueError, match="`distance` must be one of"):
        jaxloss.triplet_loss(a, p, n, distance="hamming")


def test_swapped_anchors():
    a, p, n = triplets()
    d = [
        np.linalg.norm(np.asarray(x - y, np.float64), axis=1)
        for x, y in ((a, p), (a, n), (p, n))
    ]
    expected = np.maximum(0, d[0] - np.minimum(d[1], d[2]) + 1)
    close(jaxloss.triplet_loss(a, p, n, swap=True), expected)
    # Equally far: half of the derivative to each.
    a, p, n = (jnp.asarray([x], jnp.float32) for x in ([0, 0], [2, 0], [1, 1]))
    slope = jax.grad(lambda a: jaxloss.triplet_loss(a, p, n, swap=True)[0])(a)
    close(slope, [[-1 + 0.5 / np.sqrt(2), 0.5 / np.sqrt(2)]])
