"""Metrics against NumPy and scikit-learn, in parts, and under every transformation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as sk
from jax.sharding import PartitionSpec as P

from jaxloss import metrics

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough

B, C = 40, 5


def close(actual, expected, rtol=1e-6, atol=0.0):
    np.testing.assert_allclose(
        np.asarray(actual, np.float64), expected, rtol=rtol, atol=atol
    )


@functools.cache
def problem():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(B, C)).astype(np.float32)
    labels = np.where(
        rng.uniform(size=B) < 0.5, logits.argmax(-1), rng.integers(C, size=B)
    )
    weights = rng.uniform(0.5, 2, size=B).astype(np.float32)
    where = rng.uniform(size=B) < 0.7
    return logits, labels, weights, where


def spoil(array, where):
    """Garbage where it is masked."""
    kept = where.reshape(-1, *[1] * (array.ndim - 1))
    bad = np.nan if np.issubdtype(array.dtype, np.floating) else 10**6
    return jnp.asarray(np.where(kept, array, np.asarray(bad, array.dtype)))


def regression():
    rng = np.random.default_rng(1)
    return rng.normal(size=(2, B)).astype(np.float32)


def nll():
    return np.random.default_rng(2).exponential(size=B).astype(np.float32)


def ece(logits, labels, weights, bins=15):
    """The sum over bins of Guo et al., in float64."""
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p = (p / p.sum(-1, keepdims=True)).max(-1)
    right = logits.argmax(-1) == labels
    error = 0.0
    for low in range(bins):
        inside = (p > low / bins) & (p <= (low + 1) / bins)
        gap = np.sum((weights * (right - p))[inside])
        error += abs(gap) / weights.sum()
    return error


def top_k(k):
    return lambda x, y, w: sk.top_k_accuracy_score(
        y, x, k=k, sample_weight=w, labels=range(C)
    )


def on_logits(name, reference, **options):
    return (
        name,
        functools.partial(getattr(metrics, name), **options),
        problem()[:2],
        lambda x, y, w: reference(x.astype(np.float64), y, w),
    )


METRICS = [
    on_logits(
        "accuracy", lambda x, y, w: sk.accuracy_score(y, x.argmax(-1), sample_weight=w)
    ),
    on_logits("top_k_accuracy", top_k(2), k=2),
    on_logits("top_k_accuracy", top_k(3), k=3),
    on_logits("expected_calibration_error", ece),
    on_logits("expected_calibration_error", lambda *a: ece(*a, bins=4), bins=4),
    (
        "binary_accuracy",
        metrics.binary_accuracy,
        (problem()[0][:, 0], problem()[1] % 2),
        lambda x, y, w: sk.accuracy_score(y, x > 0, sample_weight=w),
    ),
    (
        "rmse",
        metrics.rmse,
        tuple(regression()),
        lambda x, y, w: sk.root_mean_squared_error(y, x, sample_weight=w),
    ),
    (
        "mae",
        metrics.mae,
        tuple(regression()),
        lambda x, y, w: sk.mean_absolute_error(y, x, sample_weight=w),
    ),
    ("mean", metrics.mean, (nll(),), lambda x, w: np.average(x, weights=w)),
    (
        "perplexity",
        metrics.perplexity,
        (nll(),),
        lambda x, w: np.exp(np.average(x, weights=w)),
    ),
    (
        "bits_per_token",
        metrics.bits_per_token,
        (nll(),),
        lambda x, w: np.average(x, weights=w) / np.log(2),
    ),
]
every = pytest.mark.parametrize(
    ("metric", "arrays", "reference"),
    [m[1:] for m in METRICS],
    ids=[f"{m[0]}{i}" for i, m in enumerate(METRICS)],
)


# ------------------------------------------------------------------ values


@every
def test_is_the_reference(metric, arrays, reference):
    _, _, weights, where = problem()
    wide = [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]
    compiled = jax.jit(metric)
    close(compiled(*arrays).value, reference(*wide, np.ones(B)), 2e-6)
    close(compiled(*arrays, weights=weights).value, reference(*wide, weights), 2e-6)
    kept = [a[where] for a in wide]
    spoiled = [spoil(a, where) for a in arrays]
    actual = compiled(*spoiled, where=where, weights=weights)
    close(actual.value, reference(*kept, weights[where].astype(np.float64)), 2e-6)
    for leaf in jax.tree.leaves(actual):
        assert leaf.dtype == jnp.float32


@every
def test_parts_of_parts_are_the_whole(metric, arrays, reference):
    """Merged, scanned, mapped and summed over devices: one number."""
    del reference
    _, _, weights, where = problem()
    metric = jax.jit(metric)
    whole = metric(*arrays, where=where, weights=weights)
    cut = (slice(0, 7), slice(7, B))
    first, second = (
        metric(*(a[c] for a in arrays), where=where[c], weights=weights[c]) for c in cut
    )
    merged = first.merge(second)
    close(merged.value, whole.value)
    assert not np.allclose((first.value + second.value) / 2, whole.value, rtol=1e-3)

    @jax.jit
    def part(*x):
        return metric(*x[:-2], where=x[-2], weights=x[-1])

    everything = tuple(map(jnp.asarray, (*arrays, where, weights)))
    parts = [a.reshape(4, B // 4, *a.shape[1:]) for a in everything]
    stacked = jax.vmap(part)(*parts)
    close(jax.tree.map(lambda x: x.sum(0), stacked).value, whole.value)
    start = jax.tree.map(jnp.zeros_like, first)
    scanned, _ = jax.lax.scan(
        lambda carry, x: (carry.merge(part(*x)), None), start, tuple(parts)
    )
    close(scanned.value, whole.value)
    spread = jax.vmap(lambda *x: part(*x).psum("d").value, axis_name="d")(*parts)
    close(spread, [np.asarray(whole.value)] * 4)
    kinds = (jax.sharding.AxisType.Auto,)
    sharded = jax.shard_map(
        lambda *x: part(*x).psum("d"),
        mesh=jax.make_mesh((1,), ("d",), axis_types=kinds),
        in_specs=P("d"),
        out_specs=P(),
    )
    close(jax.jit(sharded)(*everything).value, whole.value)


@every
def test_nothing_kept(metric, arrays, reference):
    """0, and so 1 for a perplexity."""
    del reference
    nothing = np.zeros(B, bool)
    with jax.debug_nans(True):
        empty = metric(*arrays, where=nothing)
        value = float(empty.value)
    assert value == (1 if metric is metrics.perplexity else 0)
    whole = metric(*arrays)
    close(whole.merge(empty).value, whole.value)


@every
def test_nan_is_loud(metric, arrays, reference):
    del reference
    poisoned = jnp.asarray(arrays[0]).at[(0,) * arrays[0].ndim].set(jnp.nan)
    assert np.isnan(metric(poisoned, *arrays[1:]).value)


@every
def test_half_precision_is_counted_in_float32(metric, arrays, reference):
    """A thousand ones in bfloat16 are 256."""
    del reference
    many = [jnp.tile(a, (50,) + (1,) * (a.ndim - 1)) for a in map(jnp.asarray, arrays)]
    half = metric(many[0].astype(jnp.bfloat16), *many[1:])
    exact = metric(many[0].astype(jnp.bfloat16).astype(jnp.float32), *many[1:])
    close(half.value, exact.value)
    assert float(jnp.sum(half.count)) == 50 * B


@every
def test_shapes_are_exact(metric, arrays, reference):
    del reference
    if len(arrays) == 2:
        with pytest.raises(
            ValueError, match=r"jaxloss\.metrics.*must be of (the )?shape"
        ):
            metric(arrays[0], arrays[1][:, None])
    with pytest.raises(ValueError, match="`weights` must be of the shape"):
        metric(*arrays, weights=np.ones((B, 1)))
    with pytest.raises(ValueError, match="`where` must be a mask of shape"):
        metric(*arrays, where=np.ones((B, 1, 1), bool))


# ------------------------------------------------------------------ classes


def test_ties_go_to_the_first_class():
    logits = jnp.zeros((3, 3))
    labels = jnp.arange(3)
    close(metrics.accuracy(logits, labels).total, 1)
    close(metrics.top_k_accuracy(logits, labels, k=2).total, 2)
    _, order = jax.lax.top_k(logits, 2)
    np.testing.assert_array_equal(order, [[0, 1]] * 3)


@pytest.mark.parametrize("label", [-1, 5, -100])
def test_labels_that_do_not_exist_are_loud_or_ignored(label):
    logits, labels, *_ = problem()
    bad = np.where(np.arange(B) == 3, label, labels)
    rest = np.arange(B) != 3
    for metric in (
        metrics.accuracy,
        metrics.top_k_accuracy,
        metrics.expected_calibration_error,
    ):
        assert np.isnan(metric(logits, bad).value)
        ignored = metric(logits, bad, ignore_index=label)
        close(ignored.value, metric(logits[rest], labels[rest]).value)


def test_removed_classes_are_not_there():
    logits, labels, *_ = problem()
    keep = np.broadcast_to(np.arange(C) != C - 1, (B, C))
    rest = labels != C - 1
    for metric in (metrics.accuracy, metrics.expected_calibration_error):
        actual = metric(np.where(keep, logits, np.nan), labels, where=keep)
        expected = metric(logits[rest, :-1], labels[rest])
        close(actual.value, expected.value)
        close(jnp.sum(actual.count), rest.sum())


def test_axis_and_half_precision_scores():
    logits, labels, *_ = problem()
    expected = metrics.accuracy(logits, labels).value
    close(metrics.accuracy(logits.T, labels, axis=0).value, expected)


def test_binary_labels_are_checked():
    assert np.isnan(metrics.binary_accuracy(jnp.ones(2), jnp.asarray([1, -1])).value)


def test_a_reliability_diagram():
    logits, labels, *_ = problem()
    diagram = metrics.expected_calibration_error(logits, labels, bins=4)
    p = np.asarray(jax.nn.softmax(logits.astype(np.float64))).max(-1)
    place = np.ceil(p * 4).astype(int) - 1
    close(diagram.count, np.bincount(place, minlength=4))
    close(diagram.confidence, np.bincount(place, p, minlength=4))
    right = logits.argmax(-1) == labels
    close(diagram.correct, np.bincount(place, right, minlength=4))
    # A confidence at a bound belongs to the bin below it.
    half = metrics.expected_calibration_error(
        jnp.zeros((1, 2)), jnp.zeros(1, int), bins=4
    )
    close(half.count, [0, 1, 0, 0])


def test_what_cannot_be_merged_is_refused():
    mean, root = metrics.mae(*regression()), metrics.rmse(*regression())
    with pytest.raises(ValueError, match=r"metrics.Mean.merge: .* of link 'root'"):
        mean.merge(root)
    four, five = (
        metrics.expected_calibration_error(*problem()[:2], bins=bins) for bins in (4, 5)
    )
    with pytest.raises(ValueError, match=r"metrics.Calibration.merge: .* shape \(5,\)"):
        four.merge(five)
    for name, options in (
        ("top_k_accuracy", {"k": 0}),
        ("expected_calibration_error", {"bins": 0}),
    ):
        with pytest.raises(ValueError, match="must be at least 1"):
            getattr(metrics, name)(*problem()[:2], **options)


def test_bits():
    close(metrics.nats_to_bits(np.log(2)), 1)
    close(metrics.nats_to_bits(jnp.asarray([0.2231, 0.1054])), [0.3219, 0.1521], 5e-4)
    assert metrics.nats_to_bits(jnp.ones(1, jnp.bfloat16)).dtype == jnp.float32
