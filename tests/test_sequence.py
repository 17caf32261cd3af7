"""CTC: labels that are none, absent classes, padding, impossible and sure paths."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from jaxloss._core import scaled
from jaxloss._losses.sequence import ctc_loss, ctc_loss_with_forward_probs
from tests.cases.sequence import probability, softmax, spelt
from tests.selection import rarely

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough

INF = np.inf


def f32(values):
    return jnp.asarray(values, jnp.float32)


def labels_of(*spellings):
    """Labels and their paddings, right-padded with -1."""
    width = max(map(len, spellings))
    labels = np.full((len(spellings), width), -1, np.int32)
    for row, spelling in zip(labels, spellings, strict=True):
        row[: len(spelling)] = spelling
    return jnp.asarray(labels), jnp.asarray(labels == -1)


def logits_of(batch, frames, classes, seed=0):
    shape = (batch, frames, classes)
    return f32(np.random.default_rng(seed).normal(size=shape))


def all_there(logits):
    return jnp.zeros(logits.shape[:2], bool)


@functools.partial(jax.jit, static_argnames="options")
def compiled(logits, skipped, labels, missing, options):
    def total(x):
        value = ctc_loss(x, skipped, labels, missing, **dict(options))
        return jnp.sum(value), value

    gradient, value = jax.grad(total, has_aux=True)(logits)
    return value, gradient


def run(logits, labels, missing, skipped=None, **options):
    """Losses, and the gradient of their sum."""
    skipped = all_there(logits) if skipped is None else skipped
    return compiled(logits, skipped, labels, missing, tuple(options.items()))


forward_probs = jax.jit(ctc_loss_with_forward_probs, static_argnames="base")


def path_by_path(logits, spelling, blank=0):
    """-log P by enumeration, in float64."""
    logits = np.asarray(logits, np.float64)
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    frames, classes = p.shape
    total = sum(
        np.prod(p[np.arange(frames), list(path)])
        for path in itertools.product(range(classes), repeat=frames)
        if spelt(path, blank) == list(spelling)
    )
    return -np.log(total)


# ------------------------------------------------------------------ labels


@pytest.mark.parametrize("bad", [-1, -100, 5, 2**31 - 1, 0], ids=str)
def test_w53_a_label_that_is_none_is_loud(bad: int):
    """Out of range, or the blank: NaN in value and gradient, of that sequence alone."""
    logits = logits_of(2, 6, 5)
    labels = jnp.array([[1, bad], [1, 2]], jnp.int32)
    there = jnp.zeros((2, 2), bool)
    value, gradient = run(logits, labels, there)
    assert np.isnan(value[0]) and np.isnan(gradient[0]).all()
    assert np.isfinite(value[1]) and np.isfinite(gradient[1]).all()
    zeroed, _ = run(logits, labels, there, zero_infinity=True)
    assert np.isnan(zeroed[0])
    outputs = forward_probs(logits, all_there(logits), labels, there)
    for output in outputs[1:]:
        assert np.isnan(output[:, 0]).all() and not np.isnan(output[:, 1]).any()


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.uint32, jnp.int64], ids=str)
def test_w53_labels_of_any_integer_type(dtype):
    """Neither 300 classes nor -1 fit into them all."""
    logits = logits_of(1, 4, 300)
    labels, missing = jnp.array([[1, 7]], dtype), jnp.zeros((1, 2), bool)
    expected, _ = run(logits, labels.astype(jnp.int32), missing)
    value, _ = run(logits, labels, missing)
    assert value == expected
    if dtype is jnp.int64:
        value, _ = run(logits, labels + 2**32, missing)
        assert np.isnan(value).all()


def test_labels_may_be_padded_anywhere():
    logits = logits_of(3, 6, 5)
    labels = jnp.array([[2, 2, 9, 9], [9, 2, 9, 2], [9, 9, 2, 2]], jnp.int32)
    value, gradient = run(logits[:1].repeat(3, 0), labels, labels == 9)
    np.testing.assert_allclose(value, path_by_path(logits[0], [2, 2]), rtol=5e-7)
    chex.assert_trees_all_equal(*gradient)


def test_lengths_are_paddings():
    """Padding given by its start: the very same numbers, garbage behind it."""
    logits = logits_of(2, 6, 5).at[1, 4:].set(jnp.nan)
    labels = jnp.array([[1, 2, 3], [2, -9, 99]], jnp.int32)
    frames, written = jnp.array([6, 4]), jnp.array([3, 1])

    @jax.jit
    def by_length(x):
        def total(x):
            value = ctc_loss(
                x, None, labels, None, logit_lengths=frames, label_lengths=written
            )
            return jnp.sum(value), value

        gradient, value = jax.grad(total, has_aux=True)(x)
        return value, gradient

    skipped = jnp.arange(6)[None] >= frames[:, None]
    missing = jnp.arange(3)[None] >= written[:, None]
    chex.assert_trees_all_equal(
        by_length(logits), run(logits, labels, missing, skipped)
    )
    whole = forward_probs(logits[:1], None, labels[:1], None)
    there = jnp.zeros((1, 6), bool), jnp.zeros((1, 3), bool)
    chex.assert_trees_all_equal(
        whole, forward_probs(logits[:1], there[0], labels[:1], there[1])
    )


@pytest.mark.parametrize("name", ["logit_lengths", "label_lengths"])
@pytest.mark.parametrize("bad", [-1, 7])
def test_a_length_out_of_range_is_nan(name: str, bad: int):
    lengths = {name: jnp.array([bad, 2], jnp.int8)}

    def total(x, where=None):
        labels = jnp.array([[1, 2], [1, 2]], jnp.int32)
        value = ctc_loss(x, None, labels, None, where=where, **lengths)
        return jnp.sum(value), value

    gradient, value = jax.jit(jax.grad(total, has_aux=True))(logits_of(2, 6, 5))
    assert np.isnan(value[0]) and np.isnan(gradient[0]).any()
    assert np.isfinite(value[1]) and np.isfinite(gradient[1]).all()
    _, value = total(logits_of(2, 6, 5), where=jnp.array([False, True]))
    assert value[0] == 0


def test_repetitions_need_a_blank():
    logits = logits_of(3, 5, 3)
    spellings = [[1, 1], [1, 1, 2], [1, 1, 1]]
    value, _ = run(logits, *labels_of(*spellings))
    expected = [path_by_path(*pair) for pair in zip(logits, spellings, strict=True)]
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.exhaustive
def test_any_class_may_be_the_blank():
    logits = logits_of(4, 4, 4)
    for blank in range(4):
        spelling = [(blank + 1) % 4, (blank + 3) % 4]
        value, _ = run(logits[:1], *labels_of(spelling), blank_id=blank)
        expected = path_by_path(logits[0], spelling, blank)
        np.testing.assert_allclose(value, [expected], rtol=5e-7)


# ------------------------------------------------------------------ absent classes


@pytest.mark.exhaustive
def test_w54_absent_classes_are_harmless():
    logits = logits_of(2, 4, 5)
    labels, missing = labels_of([1, 2], [3])
    absent = logits.at[0, :, 4].set(-INF).at[1, 2, 1].set(-INF)
    with jax.debug_nans(True):
        value = ctc_loss(absent, all_there(absent), labels, missing)
    _, gradient = run(absent, labels, missing)
    expected = [path_by_path(absent[0], [1, 2]), path_by_path(absent[1], [3])]
    np.testing.assert_allclose(value, expected, rtol=5e-7)
    assert np.isfinite(gradient).all() and (gradient[0, :, 4] == 0).all()


def test_w54_absent_labels_and_blanks():
    """Paths of probability 0 among others, and none but those."""
    logits = logits_of(3, 4, 4)
    absent = logits.at[0, 1, 2].set(-INF).at[1, :, 0].set(-INF).at[2, :, 1].set(-INF)
    value, gradient = run(absent, *labels_of([1, 2], [1, 2], [1, 2]))
    expected = [path_by_path(absent[i], [1, 2]) for i in range(2)]
    np.testing.assert_allclose(value[:2], expected, rtol=5e-7)
    assert value[2] == INF and (gradient[2] == 0).all()
    assert np.isfinite(gradient).all()


def test_a_class_that_is_certain():
    """+inf is p = 1; two of them in a frame have no limit."""
    logits = logits_of(3, 3, 4).at[0, 1, 2].set(INF).at[1, 1, 3].set(INF)
    logits = logits.at[2, 1, 2:].set(INF)
    value, _ = run(logits, *labels_of([2], [2], [2]))
    large = jnp.clip(logits, -1e4, 1e4)
    np.testing.assert_allclose(value[0], path_by_path(large[0], [2]), rtol=1e-6)
    assert value[1] == INF and np.isnan(value[2])


# ------------------------------------------------------------------ padding


@pytest.mark.parametrize("garbage", [np.nan, INF, -INF, 3e38], ids=str)
@pytest.mark.parametrize(
    "dtype",
    [jnp.bool_, *rarely(jnp.int32, jnp.float32, jnp.bfloat16)],
)
def test_w55_padded_frames_may_hold_anything(garbage: float, dtype):
    """Value and gradient are those of the frames that are there, wherever they are."""
    logits = logits_of(2, 6, 4)
    labels, missing = labels_of([1, 2], [3, 3])
    skipped = np.zeros((2, 6), bool)
    skipped[0, 4:] = skipped[1, [0, 3]] = True
    spoiled = jnp.where(skipped[..., None], jnp.float32(garbage), logits)
    value, gradient = run(spoiled, labels, missing, jnp.asarray(skipped, dtype))
    assert (gradient[skipped] == 0).all()
    for i in range(2):
        short = logits[i : i + 1, ~skipped[i]]
        expected, by_logits = run(short, labels[i : i + 1], missing[i : i + 1])
        np.testing.assert_allclose(value[i], expected[0], rtol=2e-7)
        np.testing.assert_allclose(
            gradient[i, ~skipped[i]], by_logits[0], rtol=1e-6, atol=1e-7
        )
    with jax.debug_nans(True):
        ctc_loss(spoiled, jnp.asarray(skipped), labels, missing)


@pytest.mark.exhaustive
def test_dropped_sequences_may_hold_anything():
    logits = logits_of(3, 4, 4).at[1].set(jnp.nan)
    labels = jnp.array([[1], [99], [2]], jnp.int32)
    there = jnp.zeros((3, 1), bool)
    keep = jnp.array([True, False, True])
    value, gradient = jax.value_and_grad(ctc_loss)(
        logits, all_there(logits), labels, there, where=keep, reduction="mean"
    )
    losses, _ = run(logits, labels, there)
    np.testing.assert_allclose(value, (losses[0] + losses[2]) / 2, rtol=3e-7)
    assert (gradient[1] == 0).all()


# ------------------------------------------------------------------ no path


INFEASIBLE = [[1, 2, 3, 1], [1, 1, 2], [2, 2]]
FRAMES = [3, 3, 2]


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_w56_too_few_frames(zero_infinity: bool):
    """inf, or 0 if so wished, and in either case gradient 0."""
    skipped = np.arange(5) >= np.array(FRAMES)[:, None]
    logits = logits_of(3, 5, 4)
    with jax.debug_nans(True):
        ctc_loss(logits, jnp.asarray(skipped), *labels_of(*INFEASIBLE))
    value, gradient = run(
        logits,
        *labels_of(*INFEASIBLE),
        jnp.asarray(skipped),
        zero_infinity=zero_infinity,
    )
    assert (value == (0 if zero_infinity else INF)).all()
    assert (gradient == 0).all()


def test_w56_just_enough_frames():
    logits = logits_of(2, 3, 4)
    value, _ = run(logits, *labels_of([1, 2, 3], [1, 1]))
    expected = [path_by_path(logits[0], [1, 2, 3]), path_by_path(logits[1], [1, 1])]
    np.testing.assert_allclose(value, expected, rtol=5e-7)


@pytest.mark.exhaustive
def test_w59_no_frames_at_all():
    """Labels without frames cannot be; no labels in no frames are sure."""
    labels, missing = labels_of([1], [])
    padded = jnp.ones((2, 3), bool)
    for logits, skipped in (
        (jnp.zeros((2, 0, 4), jnp.float32), jnp.zeros((2, 0), bool)),
        (logits_of(2, 3, 4), padded),
    ):
        value, gradient = run(logits, labels, missing, skipped)
        np.testing.assert_array_equal(value, [INF, 0])
        assert (gradient == 0).all()
    outputs = ctc_loss_with_forward_probs(
        jnp.zeros((2, 0, 4), jnp.float32), jnp.zeros((2, 0), bool), labels, missing
    )
    chex.assert_shape(outputs, [(2,), (0, 2, 2), (0, 2, 1)])


@pytest.mark.exhaustive
@pytest.mark.parametrize("log_epsilon", [-1e5, -1e30, -INF])
def test_w59_log_epsilon_is_only_a_name_for_log_0(log_epsilon: float):
    logits = logits_of(1, 3, 4)
    arrays = logits, all_there(logits), *labels_of([1, 2])
    loss, blank, label = forward_probs(*arrays, log_epsilon=log_epsilon)
    assert loss == forward_probs(*arrays)[0] and np.isfinite(loss)
    assert blank[0, 0, 1] == blank[0, 0, 2] == label[0, 0, 1] == log_epsilon
    assert np.isfinite(blank[:, 0, 0]).all()


def test_no_labels_are_all_blanks():
    logits = logits_of(2, 4, 3)
    empty = jnp.zeros((2, 0), jnp.int32)
    value, gradient = run(logits, empty, empty)
    log_p = jax.nn.log_softmax(logits)
    np.testing.assert_allclose(value, -log_p[:, :, 0].sum(1), rtol=5e-7)
    one_hot = np.arange(3) == 0
    expected = np.exp(log_p) - one_hot
    np.testing.assert_allclose(gradient, expected, rtol=2e-6, atol=1e-7)
    # Labels that are all padding are no labels either.
    padded, _ = run(logits, jnp.full((2, 3), 7, jnp.int32), jnp.ones((2, 3), bool))
    chex.assert_trees_all_equal(padded, value)


def test_only_the_blank_is_a_class():
    logits = logits_of(2, 3, 1)
    labels, missing = labels_of([], [0])
    value, gradient = run(logits, labels, missing)
    assert value[0] == 0 and np.isnan(value[1])
    assert (gradient[0] == 0).all()


# ------------------------------------------------------------------ exactness


@pytest.mark.exhaustive
def test_w57_no_floor_competes_with_unlikely_paths():
    """Logits of 1e5: the loss is a sum of gaps of that size."""
    logits = 1e5 * logits_of(1, 8, 6)
    labels, missing = labels_of([1, 2, 2, 4])
    value, gradient = run(logits, labels, missing)
    # The likeliest path is all that counts.
    gaps = np.asarray(logits[0].max(-1, keepdims=True) - logits[0], np.float64)
    cost = min(
        gaps[np.arange(8), list(path)].sum()
        for path in itertools.product((0, 1, 2, 4), repeat=8)
        if spelt(path, 0) == [1, 2, 2, 4]
    )
    np.testing.assert_allclose(value, [cost], rtol=5e-7)
    assert np.isfinite(gradient).all() and (np.abs(gradient).sum(-1) > 1.5).any()


@pytest.mark.exhaustive
def test_w57_forced_alignments_are_not_lost_among_likelier_ones():
    """1000 frames, 1000 labels, blanks almost sure: P is e^-30000."""
    frames = 1000
    logits = jnp.full((1, frames, 3), -30.0, jnp.float32).at[..., 0].set(0.0)
    labels = jnp.asarray([[1, 2] * (frames // 2)], jnp.int32)
    value, gradient = run(logits, labels, labels == 0)
    np.testing.assert_allclose(value, [30.0 * frames], rtol=2e-6)
    hit = jax.nn.one_hot(labels[0], 3, dtype=jnp.float32)
    expected = jax.nn.softmax(logits[0]) - hit
    np.testing.assert_allclose(gradient[0], expected, atol=1e-6)


def confident(gap, path, classes=4):
    hit = jax.nn.one_hot(jnp.asarray([path]), classes, dtype=jnp.float32)
    return gap * hit


@pytest.mark.parametrize("gap", [5, 10, 17, 34, 60, 80])
def test_w58_confident_alignments(gap: int):
    """Never negative; accurate to the last digits down to the smallest float."""
    logits = confident(gap, [0, 1, 1, 0, 0, 2, 0, 2])
    value, gradient = run(logits, *labels_of([1, 2, 2]))
    with mp.workdps(60):
        p = [softmax([mp.mpf(float(v)) for v in row]) for row in logits[0]]
        expected = float(-mp.log(probability(p, [1, 2, 2], 0)))
    assert value[0] > 0
    np.testing.assert_allclose(value, [expected], rtol=5e-7)
    # Where the path is free to differ the gradient vanishes; here it must not.
    np.testing.assert_allclose(gradient[0, 6, 0], -3 * np.exp(-gap), rtol=0.05)
    assert (gradient[0, 6, 1:] > 0).all()


def test_w58_sure_of_the_labels_but_not_of_their_times():
    """P is near 1 as a sum of paths: no path has it alone."""
    logits = confident(40, [1, 1, 0, 2]).at[0, 1].set(f32([40.0, 40.0, 0.0, 0.0]))
    value, _ = run(logits, *labels_of([1, 2]))
    with mp.workdps(60):
        p = [softmax([mp.mpf(float(v)) for v in row]) for row in logits[0]]
        expected = float(-mp.log(probability(p, [1, 2], 0)))
    np.testing.assert_allclose(value, [expected], rtol=5e-7)


@pytest.mark.exhaustive
def test_w58_never_negative():
    rng = np.random.default_rng(0)
    for _ in range(20):
        path = rng.integers(4, size=8)
        spelling = spelt(path.tolist(), 0)
        labels = jnp.asarray([spelling + [9] * (8 - len(spelling))], jnp.int32)
        value, _ = run(confident(rng.uniform(8, 30), path), labels, labels == 9)
        assert value[0] >= 0


def test_w26_labels_are_gathered():
    """A product with a one-hot array would round on other devices."""
    logits, (labels, missing) = logits_of(1, 4, 5), labels_of([1, 2])
    jaxpr = jax.make_jaxpr(functools.partial(ctc_loss, label_paddings=missing))(
        logits, all_there(logits), labels
    )
    assert "dot_general" not in str(jaxpr)


@pytest.mark.exhaustive
def test_long_sequences_keep_their_digits():
    """300 frames: float64 is the truth to a float32 gradient."""
    logits = logits_of(2, 300, 12)
    rng = np.random.default_rng(1)
    labels = jnp.asarray(rng.integers(1, 12, size=(2, 60)), jnp.int32)
    there = jnp.zeros((2, 60), bool)
    value, gradient = run(logits, labels, there)
    exact, by_logits = run(logits.astype(jnp.float64), labels, there)
    np.testing.assert_allclose(value, exact, rtol=3e-7)
    np.testing.assert_allclose(gradient, by_logits, rtol=0, atol=5e-6)


@pytest.mark.exhaustive
def test_derivatives_of_the_forward_probabilities():
    logits = logits_of(2, 4, 3).astype(jnp.float64)
    labels, missing = labels_of([1, 1], [2])

    @jax.jit
    def logs(x):
        return forward_probs(x, all_there(x), labels, missing)[1:]

    check_grads(logs, (logits,), order=1, modes=("fwd", "rev"), rtol=1e-6, atol=1e-6)


@pytest.mark.exhaustive
def test_second_derivatives_of_confident_alignments():
    """The curvature of a sure frame is p (1 - p), which float32 must not lose."""
    logits = confident(20, [1, 0, 2])
    labels, missing = labels_of([1, 2])

    def loss(x):
        return jnp.sum(ctc_loss(x, all_there(x), labels, missing))

    curvature = jax.jit(jax.hessian(loss))(logits)
    exact = jax.jit(jax.hessian(loss))(logits.astype(jnp.float64))
    np.testing.assert_allclose(curvature, exact, rtol=1e-4, atol=1e-15)
    assert 0 < curvature[0, 1, 0, 0, 1, 0] < 1e-7


# ------------------------------------------------------------------ forward


@pytest.mark.exhaustive
def test_forward_probabilities_are_optax_s():
    """Wherever they are not 0, up to what padding the labels have."""
    logits = logits_of(2, 6, 5)
    skipped = jnp.asarray(np.arange(6) >= np.array([[6], [4]]), jnp.float32)
    labels, missing = labels_of([1, 2, 2], [3])
    ours = forward_probs(logits, skipped, labels, missing)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        theirs = optax.losses.ctc_loss_with_forward_probs(
            logits, skipped, labels, missing.astype(jnp.float32)
        )
    chex.assert_trees_all_equal_shapes(ours, theirs)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=2e-6)
    for own, other, width in zip(ours[1:], theirs[1:], (4, 3), strict=True):
        own, other = np.asarray(own), np.asarray(other)
        there = np.arange(width) < np.array([[4], [2]]) - (4 - width)
        possible = (own > -1e4) & there
        assert possible.sum() >= 20
        np.testing.assert_allclose(own[possible], other[possible], rtol=2e-6)
        assert (other[~possible & there] < -9e4).all()


@pytest.mark.exhaustive
def test_forward_probabilities_in_bits():
    logits = logits_of(1, 4, 3)
    arrays = logits, all_there(logits), *labels_of([1])
    nats = forward_probs(*arrays, log_epsilon=-INF)
    bits = forward_probs(*arrays, log_epsilon=-INF, base=2)
    for a, b in zip(nats, bits, strict=True):
        np.testing.assert_allclose(a, np.asarray(b) * np.log(2), rtol=1e-6)


# ------------------------------------------------------------------ transformations


@pytest.mark.exhaustive
def test_vmap_of_batches_and_hyperparameters():
    logits = logits_of(6, 5, 4).reshape(2, 3, 5, 4)
    labels, missing = labels_of([1, 2], [3], [])
    loss = functools.partial(ctc_loss, labels=labels, label_paddings=missing)
    mapped = jax.jit(jax.vmap(loss))(logits, jnp.zeros((2, 3, 5), bool))
    for got, x in zip(mapped, logits, strict=True):
        np.testing.assert_allclose(got, loss(x, all_there(x)), rtol=2e-7)


@pytest.mark.exhaustive
def test_half_precision_is_computed_in_float32():
    logits = logits_of(1, 4, 4)
    for dtype in (jnp.bfloat16, jnp.float16):
        value, gradient = run(logits.astype(dtype), *labels_of([1, 2]))
        wide, _ = run(logits.astype(dtype).astype(jnp.float32), *labels_of([1, 2]))
        assert value.dtype == jnp.float32 and gradient.dtype == dtype
        assert value == wide


def test_scaled_numbers():
    x = f32([0.0, -1.0, -200.0, -1e6, -INF, 50.0])
    e = scaled.exp(x)
    np.testing.assert_allclose(scaled.log(e), x, rtol=2e-7)
    np.testing.assert_allclose(scaled.plain(e)[:2], np.exp(x[:2]), rtol=2e-7)
    product = scaled.multiply(e, e)
    finite = np.isfinite(x) & (x != 0)
    assert ((product.mantissa >= 1) & (product.mantissa < 2))[finite].all()
    np.testing.assert_allclose(scaled.log(product), 2 * x, rtol=2e-7)
    total = scaled.add(e, scaled.of(jnp.ones_like(x)))
    np.testing.assert_allclose(scaled.log(total), np.logaddexp(x, 0), rtol=3e-7)
    np.testing.assert_allclose(scaled.ratio(e, product)[:2], np.exp(-x[:2]), rtol=3e-7)
    assert scaled.ratio(e, e)[4] == 0


# ------------------------------------------------------------------ errors


def good():
    return {
        "logits": logits_of(2, 3, 4),
        "logit_paddings": jnp.zeros((2, 3), bool),
        "labels": jnp.ones((2, 2), jnp.int32),
        "label_paddings": jnp.zeros((2, 2), bool),
    }


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"logits": f32(np.zeros((3, 4)))}, ValueError, r"`logits`.*logits\[None\]"),
        ({"logits": jnp.zeros((2, 3, 4), jnp.int32)}, TypeError, r"`logits`.*astype"),
        ({"labels": jnp.ones((3, 2), jnp.int32)}, ValueError, r"`labels`.*batch.* 2"),
        ({"labels": f32(np.ones((2, 2)))}, TypeError, r"`labels`.*integer"),
        ({"logit_paddings": jnp.zeros((2, 4))}, ValueError, r"`logit_paddings`.*3"),
        ({"label_paddings": jnp.zeros((2, 3))}, ValueError, r"`label_paddings`.*2"),
        (
            {"logit_lengths": jnp.array([3, 3])},
            ValueError,
            r"`logit_paddings`.*None where `logit_lengths` is given.*one of the two",
        ),
        (
            {"label_paddings": None, "label_lengths": jnp.array([2])},
            ValueError,
            r"`label_lengths`.*2",
        ),
        ({"blank_id": -1}, ValueError, r"`blank_id`.*\[0, 4\).*shape\[-1\] - 1"),
        ({"blank_id": 4}, ValueError, r"`blank_id`.*\[0, 4\)"),
        ({"blank_id": 0.0}, TypeError, r"`blank_id`.*integer.*0\.0"),
        ({"blank_id": jnp.array(0)}, TypeError, r"`blank_id`.*static_argnames"),
        ({"zero_infinity": "yes"}, ValueError, r"`zero_infinity`.*False, True"),
        ({"log_epsilon": "small"}, TypeError, r"`log_epsilon`.*number"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else None,
)
@pytest.mark.parametrize("loss", [ctc_loss, ctc_loss_with_forward_probs])
def test_errors_name_the_argument_and_the_way_out(loss, change, error, words):
    with pytest.raises(error, match=rf"jaxloss\.{loss.__name__}: {words}"):
        loss(**good() | change)
