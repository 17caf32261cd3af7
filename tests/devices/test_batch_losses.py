"""Losses that couple a batch: spread over devices they are those of the whole batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import jaxloss

BATCH, FEATURES, CLASSES = 16, 5, 4


def problem():
    """float64 embeddings of two views, labels, proxies, and a mask."""
    rng = np.random.default_rng(0)
    shapes = (BATCH, FEATURES), (BATCH, FEATURES), (CLASSES, FEATURES)
    a, b, proxies = (jnp.asarray(rng.normal(size=shape)) for shape in shapes)
    labels = jnp.asarray(rng.integers(CLASSES, size=BATCH), jnp.int32)
    # One device has nothing, others have one example of two.
    keep = jnp.asarray([True] * 6 + [False, False] + [True, False] * 2 + [True] * 4)
    weights = jnp.asarray(rng.uniform(0.5, 2, size=BATCH))
    return a, b, labels, proxies, keep, weights


def of_labels(loss):
    return lambda a, b, labels, proxies, **options: loss(a, labels, **options)


def of_subjects(loss):
    """Times with ties, some on different devices."""

    def both(a, b, labels, proxies, **options):
        return loss(a[:, 0], labels, events=b[:, 0] > 0, **options)

    return both


def of_views(loss):
    return lambda a, b, labels, proxies, **options: loss(a, b, **options)


def alone(loss):
    return lambda a, b, labels, proxies, **options: loss(a, **options)


def with_proxies(loss):
    return lambda a, b, labels, proxies, **options: loss(
        a, proxies, labels=labels, **options
    )


def of_teacher(loss):
    """Loss and centre in one number, so that neither goes unseen."""

    def both(a, b, labels, proxies, **options):
        result = loss(a, b, center=proxies[0], **options)
        return result.loss + jnp.sum(jnp.sin(result.center))

    return both


REDUCED = {
    "supervised_contrastive_loss": of_labels,
    "ntxent": of_labels,
    "cox_partial_nll": of_subjects,
    "nt_xent_loss": of_views,
    "decoupled_contrastive_loss": of_views,
    "n_pair_loss": of_views,
    "circle_loss": of_labels,
    "multi_similarity_loss": of_labels,
    "batch_hard_triplet_loss": of_labels,
    "semi_hard_triplet_loss": of_labels,
    "koleo_loss": alone,
    "swav_loss": of_views,
    "dino_loss": of_teacher,
}
WHOLE = {
    "proxy_anchor_loss": with_proxies,
    "barlow_twins_loss": of_views,
    "vicreg_loss": of_views,
    "uniformity_loss": alone,
}
OPTIONS = {
    "cox_partial_nll": {"ties": "efron"},
    "decoupled_contrastive_loss": {"sigma": 0.5},
    "circle_loss": {"scale": 8.0},
}


def mesh():
    return jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))


def agree(loss, out, *, weighted=True):
    """Value and gradients over eight devices, against those on one."""
    *arrays, keep, weights = problem()
    a, b, labels, proxies = arrays
    given = {"where": keep, "weights": weights} if weighted else {"where": keep}

    def here(a, b, labels, proxies, given):
        return loss(a, b, labels, proxies, axis_name="data", **given)

    specs = P("data"), P("data"), P("data"), P(), P("data")
    sharded = jax.shard_map(here, mesh=mesh(), in_specs=specs, out_specs=out)

    def over_devices(a, b, proxies):
        return jnp.sum(jnp.sin(sharded(a, b, labels, proxies, given)))

    def on_one(a, b, proxies):
        return jnp.sum(jnp.sin(loss(a, b, labels, proxies, **given)))

    actual = jax.jit(jax.value_and_grad(over_devices, (0, 1, 2)))(a, b, proxies)
    expected = jax.jit(jax.value_and_grad(on_one, (0, 1, 2)))(a, b, proxies)
    for x, y in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        # float64 throughout: only the order of the sums differs.
        np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12)
    assert any(np.abs(g).max() > 1e-6 for g in actual[1])


@pytest.mark.parametrize(
    ("name", "reduction"),
    [
        (name, reduction)
        for name in REDUCED
        for reduction in ("mean", "none")
        # A loss for each example and one centre for all have no spec in common.
        if (name, reduction) != ("dino_loss", "none")
    ],
)
def test_each_example_meets_the_whole_batch(name, reduction):
    options = {"reduction": reduction, **OPTIONS.get(name, {})}
    loss = REDUCED[name](functools.partial(getattr(jaxloss, name), **options))
    agree(loss, P() if reduction == "mean" else P("data"))


@pytest.mark.parametrize("name", WHOLE)
def test_statistics_are_those_of_the_whole_batch(name):
    agree(WHOLE[name](getattr(jaxloss, name)), P(), weighted=False)


def test_patches_of_all_devices():
    """iBOT: images over devices, some without a masked patch."""
    rng = np.random.default_rng(1)
    student, teacher = (jnp.asarray(rng.normal(size=(8, 3, 4))) for _ in range(2))
    masked = jnp.asarray(rng.uniform(size=(8, 3)) < 0.4).at[3].set(False)

    def loss(student, teacher, masked, **options):
        result = jaxloss.ibot_loss(
            student, teacher, where=masked, reduction="mean", **options
        )
        return result.loss + jnp.sum(jnp.sin(result.center))

    sharded = jax.shard_map(
        functools.partial(loss, axis_name="data"),
        mesh=mesh(),
        in_specs=(P("data"),) * 3,
        out_specs=P(),
    )
    actual = jax.jit(jax.value_and_grad(sharded))(student, teacher, masked)
    expected = jax.value_and_grad(loss)(student, teacher, masked)
    for x, y in zip(actual, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-12)


def test_gradients_of_all_devices_are_counted():
    rng = np.random.default_rng(2)
    norms, keep = jnp.asarray(rng.beta(0.5, 1, size=40)), jnp.arange(40) % 5 != 0
    before = jnp.asarray(rng.integers(9, size=4).astype(float))

    def density(norms, keep, before, **options):
        return tuple(
            jaxloss.gradient_density_weights(
                norms, bins=4, counts=before, where=keep, **options
            )
        )

    sharded = jax.shard_map(
        functools.partial(density, axis_name="data"),
        mesh=mesh(),
        in_specs=(P("data"), P("data"), P()),
        out_specs=(P("data"), P()),
    )
    actual, expected = sharded(norms, keep, before), density(norms, keep, before)
    for x, y in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(x, y)


def test_an_axis_that_does_not_exist():
    a, b, *_ = problem()
    with pytest.raises(ValueError, match="a mesh axis of the surrounding"):
        jaxloss.nt_xent_loss(a, b, axis_name="data")
    run = functools.partial(
        jax.shard_map, mesh=mesh(), in_specs=(P("data"),) * 2, out_specs=P("data")
    )
    with pytest.raises(NotImplementedError, match="check_vma=True"):
        run(functools.partial(jaxloss.nt_xent_loss, axis_name="data"), check_vma=False)(
            a, b
        )
