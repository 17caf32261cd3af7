"""Regressions and edges of the softmax cross entropies.

A test named after a W-number holds a weakness found in other libraries, with its true
value; each fails on optax's function of the same name.
"""

import functools

import chex
import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

import jaxloss
from tests.selection import rarely

INF = jnp.inf
integer = jaxloss.softmax_cross_entropy_with_integer_labels
soft = jaxloss.softmax_cross_entropy


def one_hot(labels, classes, dtype=jnp.float32):
    return jax.nn.one_hot(labels, classes, dtype=dtype)


def as_one_hot(logits, labels, **options):
    """The soft form on one-hot labels, called like the integer form."""
    return soft(logits, one_hot(labels, logits.shape[-1]), **options)


both_forms = pytest.mark.parametrize(
    "loss", [integer, as_one_hot], ids=["integer", "one-hot"]
)


def compiled(loss, *arrays, **options):
    return jax.jit(functools.partial(loss, **options))(*arrays)


def value_and_grad(loss, x, *rest, **options):
    def total(x, *rest):
        value = loss(x, *rest, **options)
        return jnp.sum(value), value

    gradient, value = jax.jit(jax.grad(total, has_aux=True))(x, *rest)
    return value, gradient


def exact(x, label):
    """The cross entropy of one row at 50 digits."""
    with mp.workdps(50):
        values = [mp.mpf(float(v)) for v in np.asarray(x, np.float64)]
        return float(mp.log(mp.fsum(mp.exp(v - values[label]) for v in values)))


# ------------------------------------------------------------------ weaknesses


@both_forms
@pytest.mark.parametrize("offset", [*rarely(0, 20), 100])
def test_w01_bfloat16_loss_is_not_quantised_by_its_logits(loss, offset):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(16, 1000)) + offset, jnp.bfloat16)
    y = jnp.asarray(rng.integers(1000, size=16))
    value = compiled(loss, x, y)
    assert value.dtype == jnp.float32
    expected = [exact(row, label) for row, label in zip(x, np.asarray(y), strict=True)]
    np.testing.assert_allclose(value, expected, rtol=5e-7)


@pytest.mark.exhaustive
@both_forms
def test_w02_float16_with_a_large_vocabulary(loss):
    x = jnp.zeros((1, 70_000), jnp.float16)
    value, gradient = value_and_grad(loss, x, jnp.array([3]))
    np.testing.assert_allclose(value, np.log(70_000), rtol=5e-7)
    # 1/70000 is a subnormal of float16: half of the smallest one is the rounding.
    np.testing.assert_allclose(gradient[0, 5], 1 / 70_000, atol=3e-8)


@both_forms
@pytest.mark.parametrize("offset", [1e4, 1e6])
def test_w03_a_common_offset_cancels(loss, offset):
    x = jnp.array([[0.0, 1.0, 2.0, 3.0]], jnp.float32) + jnp.float32(offset)
    np.testing.assert_allclose(loss(x, jnp.array([1])), exact(x[0], 1), rtol=5e-7)


@pytest.mark.exhaustive
@both_forms
def test_w04_confident_rows_keep_value_gradient_and_curvature(loss):
    for gap, true in ((20.0, 4.1223072363804e-9), (10.0, 9.079573746758545e-5)):
        x = jnp.array([gap, 0, 0], jnp.float32)
        y = jnp.array(0)
        value, gradient = value_and_grad(loss, x, y)
        np.testing.assert_allclose(value, true, rtol=5e-7)
        miss = -np.expm1(-true)
        np.testing.assert_allclose(gradient, [-miss, miss / 2, miss / 2], rtol=2e-6)
        hessian = jax.hessian(lambda x, y=y: loss(x, y))(x)
        np.testing.assert_allclose(hessian[0, 0], miss * (1 - miss), rtol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize("form", [soft, jaxloss.safe_softmax_cross_entropy])
def test_w05_forward_mode_with_absent_classes(form):
    x = jnp.array([-INF, 0, 1], jnp.float32)
    t = jnp.array([0, 0.25, 0.75], jnp.float32)
    loss = functools.partial(form, labels=t)
    value, tangent = jax.jvp(loss, (x,), (jnp.ones_like(x),))
    assert jnp.isfinite(value) and abs(tangent) < 1e-6
    chex.assert_tree_all_finite(jax.jacfwd(loss)(x))
    chex.assert_tree_all_finite(jax.linearize(loss, x)[0])


def test_w06_absent_classes_without_mass_contribute_nothing():
    x = jnp.array([-INF, 0, 0], jnp.float32)
    np.testing.assert_allclose(soft(x, jnp.array([0.0, 1, 0], jnp.float32)), np.log(2))
    x = jnp.array([3e38, -3e38, 0], jnp.float32)
    assert soft(x, one_hot(0, 3)) == 0


@pytest.mark.parametrize("label", [-1, -3, -100, 3, 8])
@pytest.mark.parametrize("dtype", [jnp.int8, jnp.int32, jnp.int64])
def test_w07_a_label_out_of_range_is_loud(label, dtype):
    x = jnp.array([[1.0, 2, 3], [3, 2, 1]], jnp.float32)
    y = jnp.array([label, 0], dtype)

    def both(x, y):
        return integer(x, y), jax.grad(lambda x: jnp.sum(integer(x, y)))(x)

    for run in (lambda f: f, jax.jit):
        value, gradient = run(both)(x, y)
        assert jnp.isnan(value[0]) and jnp.isnan(gradient[0]).all()
        chex.assert_tree_all_finite((value[1], gradient[1]))


def test_w07_ignored_labels_are_dropped():
    x = jnp.array([[1.0, 2, 3], [jnp.nan, INF, 1]], jnp.float32)
    y = jnp.array([2, -100])
    value, gradient = value_and_grad(integer, x, y, ignore_index=-100, reduction="mean")
    np.testing.assert_allclose(value, exact(x[0], 2), rtol=5e-7)
    assert (np.asarray(gradient)[1] == 0).all()


@pytest.mark.thorough
@both_forms
def test_w08_infinite_logits_have_their_limits(loss):
    x = jnp.array(
        [[-INF, -INF, -INF], [INF, 0, 0], [0, INF, 0], [-INF, 0, 0]], jnp.float32
    )
    value, gradient = value_and_grad(loss, x, jnp.zeros(4, jnp.int32))
    np.testing.assert_array_equal(value, [INF, 0, INF, INF])
    np.testing.assert_array_equal(
        gradient, [[0, 0, 0], [0, 0, 0], [-1, 1, 0], [-1, 0.5, 0.5]]
    )
    tangent = jax.jvp(
        lambda x: loss(x, jnp.zeros(4, jnp.int32)), (x,), (jnp.ones_like(x),)
    )[1]
    np.testing.assert_array_equal(tangent, np.sum(gradient, -1))


@both_forms
def test_two_infinite_logits_have_no_limit(loss):
    value, gradient = value_and_grad(
        loss, jnp.array([INF, INF, 0], jnp.float32), jnp.array(0)
    )
    assert jnp.isnan(value) and jnp.isnan(gradient[:2]).all()


@both_forms
def test_w09_a_removed_label_contributes_nothing(loss):
    x = jnp.array([[9.0, 1, 2], [1, 2, 3]], jnp.float32)
    y = jnp.array([0, 1])
    entries = jnp.array([[False, True, True], [True, True, True]])
    value, gradient = value_and_grad(loss, x, y, where=entries)
    assert value[0] == 0 and (gradient[0] == 0).all()
    mean = compiled(loss, x, y, where=entries, reduction="mean")
    np.testing.assert_allclose(mean, value[1], rtol=1e-6)


@pytest.mark.exhaustive
def test_w10_half_precision_gradients_meet_their_dtype_last():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(512, 1000)), jnp.float16)
    y = jnp.asarray(rng.integers(1000, size=512))
    gradient = jax.grad(lambda x: integer(x, y, reduction="mean"))(x)
    wide = jax.grad(lambda x: integer(x, y, reduction="mean"))(x.astype(jnp.float32))
    np.testing.assert_array_equal(gradient, wide.astype(jnp.float16))


@pytest.mark.exhaustive
@both_forms
def test_w11_bfloat16_gradients_are_rounded_once(loss):
    rng = np.random.default_rng(0)
    x = jnp.asarray(3 * rng.normal(size=(64, 10)), jnp.bfloat16)
    y = jnp.asarray(rng.integers(10, size=64))
    gradient = value_and_grad(loss, x, y)[1]
    wide = value_and_grad(loss, x.astype(jnp.float64), y)[1]
    # Half a unit in the last place of bfloat16, plus float32's own rounding.
    error = np.abs(np.asarray(gradient, np.float64) - np.asarray(wide))
    assert (error <= (2**-8 + 1e-6) * np.abs(np.asarray(wide))).all()


@pytest.mark.exhaustive
def test_w12_one_rule_for_masks():
    """A mask of the batch's shape keeps examples, also where it could mean classes."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, 3)), jnp.float32)
    t = jnp.asarray(rng.dirichlet(np.ones(3), size=3), jnp.float32)
    keep = jnp.array([True, False, True])
    for loss in (soft, jaxloss.poly_loss_cross_entropy):
        whole = loss(x, t)
        np.testing.assert_allclose(
            loss(x, t, where=keep), jnp.where(keep, whole, 0), rtol=1e-6
        )
    with pytest.raises(ValueError, match="where"):
        jaxloss.poly_loss_cross_entropy(x, t, where=jnp.ones(2, bool))


def test_w14_poly_keeps_confident_rows():
    with mp.workdps(50):
        for gap in (15, 20):
            rest = 2 * mp.exp(-gap)
            miss = float(rest / (1 + rest))
            true = float(mp.log1p(rest)) + 2 * miss
            x = jnp.array([gap, 0, 0], jnp.float32)
            value, gradient = value_and_grad(
                jaxloss.poly_loss_cross_entropy, x, one_hot(0, 3)
            )
            np.testing.assert_allclose(value, true, rtol=5e-7)
            np.testing.assert_allclose(
                gradient[0], -miss * (1 + 2 * (1 - miss)), rtol=2e-6
            )


def test_w15_axis_none_takes_a_mask_and_no_class_is_no_loss():
    x = jnp.arange(6, dtype=jnp.float32).reshape(2, 3)
    t = jnp.full((2, 3), 1 / 6, jnp.float32)
    entries = jnp.array([[True, True, False], [True, True, True]])
    value = soft(x, t, axis=None, where=entries)
    assert value.shape == () and jnp.isfinite(value)
    for keep in (True, False):
        whole = soft(x, t, axis=None, where=jnp.asarray(keep))
        np.testing.assert_allclose(
            whole, soft(x, t, axis=None) * float(keep), rtol=1e-6
        )
    empty = jnp.zeros((2, 0), jnp.float32)
    np.testing.assert_array_equal(soft(empty, empty), [0, 0])


# ------------------------------------------------------------------ one loss, two forms


@pytest.mark.parametrize("dtype", [jnp.float32, *rarely(jnp.bfloat16, jnp.float16)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"label_smoothing": 0.1},
        {"class_weights": np.array([1, 2, 0.5, 0, 3], np.float32)},
        {"z_loss": 1e-3},
        {"logit_softcap": 5.0},
        {"temperature": 2.0},
        {"ignore_index": 2},
        {"base": 2},
    ],
    ids=lambda options: next(iter(options), "plain"),
)
@pytest.mark.parametrize("reduction", [*rarely("none"), "mean"])
def test_integer_and_one_hot_are_one_loss(dtype, options, reduction):
    """The same value, dtype and gradient, to the last rounding."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(8 * rng.normal(size=(32, 5)), dtype)
    y = jnp.asarray(rng.integers(5, size=32))
    first = value_and_grad(integer, x, y, reduction=reduction, **options)
    second = value_and_grad(as_one_hot, x, y, reduction=reduction, **options)
    chex.assert_trees_all_equal_dtypes(first, second)
    np.testing.assert_allclose(first[0], second[0], rtol=5e-7)
    # One unit in the last place of the gradient's own dtype.
    unit = max(float(jnp.finfo(dtype).eps), 1e-6)
    np.testing.assert_allclose(
        np.asarray(first[1], np.float64),
        np.asarray(second[1], np.float64),
        rtol=unit,
        atol=float(jnp.finfo(dtype).smallest_subnormal) + 1e-9,
    )


@both_forms
@pytest.mark.parametrize("classes", [4097, *rarely(8191, 8192, 10_006, 30_522)])
def test_long_rows(loss, classes):
    """Rows that are summed in pieces, of every divisibility, confident ones too."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 3, classes)), jnp.float32)
    y = jnp.asarray([[0, classes // 2, classes - 1], [5, classes // 3, 1]])
    x = x.at[0, 1, classes // 2].add(40)
    value = jax.jit(loss)(x, y)
    for i in np.ndindex(2, 3):
        np.testing.assert_allclose(value[i], exact(x[i], int(y[i])), rtol=1e-6)


@pytest.mark.exhaustive
def test_labels_of_several_axes_are_flattened_in_order():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 3, 4, 5)), jnp.float32)
    y = jnp.asarray(rng.integers(15, size=(2, 4)))
    flat = jnp.moveaxis(x, (3, 1), (2, 3)).reshape(2, 4, 15)
    np.testing.assert_allclose(integer(x, y, axis=(3, 1)), integer(flat, y), rtol=1e-6)


def test_smoothing_spreads_over_the_classes_kept():
    x = jnp.array([1.0, 2, 3, 9], jnp.float32)
    entries = jnp.array([True, True, True, False])
    for form in (integer, as_one_hot):
        np.testing.assert_allclose(
            compiled(form, x, jnp.array(1), where=entries, label_smoothing=0.3),
            compiled(form, x[:3], jnp.array(1), label_smoothing=0.3),
            rtol=1e-6,
        )


def test_class_weights_enter_the_denominator_of_the_mean():
    x = jnp.array([[1.0, 2, 3], [3, 1, 0]], jnp.float32)
    y = jnp.array([0, 2])
    w = jnp.array([1.0, 5, 3], jnp.float32)
    losses = np.asarray(compiled(integer, x, y))
    expected = (losses[0] * 1 + losses[1] * 3) / 4
    for form in (integer, as_one_hot):
        mean = compiled(form, x, y, class_weights=w, reduction="mean")
        np.testing.assert_allclose(mean, expected, rtol=1e-6)


@pytest.mark.thorough
def test_temperature_cancels_offsets_and_has_a_derivative():
    x = jnp.array([0.0, 1, 2], jnp.float32)
    far = x + jnp.float32(2**17)
    y = jnp.array(0)
    np.testing.assert_array_equal(
        integer(far, y, temperature=0.7), integer(x, y, temperature=0.7)
    )
    slope = jax.grad(lambda t: integer(x, y, temperature=t))(jnp.float32(0.7))
    h = 1e-4
    wide = [
        integer(x.astype(jnp.float64), y, temperature=t) for t in (0.7 + h, 0.7 - h)
    ]
    np.testing.assert_allclose(slope, (wide[0] - wide[1]) / (2 * h), rtol=1e-5)


def test_targets_have_derivatives():
    """dL/dt_j = -log p_j: finite wherever p_j is not 0."""
    x = jnp.array([0.0, 1, -INF], jnp.float32)
    t = jnp.array([0.5, 0.5, 0], jnp.float32)
    gradient = jax.grad(soft, argnums=1)(x, t)
    np.testing.assert_allclose(gradient, -jax.nn.log_softmax(x), rtol=1e-6)


def test_options_that_are_off_compile_to_nothing():
    x, y = jnp.zeros((4, 8), jnp.float32), jnp.zeros(4, jnp.int32)
    plain = jax.make_jaxpr(lambda x, y: integer(x, y))(x, y)
    off = jax.make_jaxpr(
        lambda x, y: integer(
            x, y, label_smoothing=0.0, z_loss=0.0, temperature=1.0, logit_softcap=None
        )
    )(x, y)
    assert str(plain) == str(off)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label_smoothing": 1.5}, ("`label_smoothing`", "[0, 1]", "1.5")),
        ({"temperature": 0.0}, ("`temperature`", "(0", "0.0")),
        ({"logit_softcap": -1.0}, ("`logit_softcap`", "-1.0")),
        ({"z_loss": -1.0}, ("`z_loss`", "-1.0")),
        (
            {"class_weights": np.ones(7, np.float32)},
            ("`class_weights`", "(3,)", "(7,)"),
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("jit", [False, True])
def test_bad_options_are_refused(options, words, jit):
    x, y = jnp.zeros((2, 3), jnp.float32), jnp.zeros(2, jnp.int32)
    for form in (integer, as_one_hot):
        run = functools.partial(form, **options)
        with pytest.raises(ValueError) as caught:
            (jax.jit(run) if jit else run)(x, y)
        for word in words:
            assert word in str(caught.value)


@pytest.mark.exhaustive
def test_bad_options_in_arrays_are_loud():
    """The value of an array is not known while tracing: it becomes NaN."""
    x, y = jnp.zeros((2, 3), jnp.float32), jnp.zeros(2, jnp.int32)
    for name, bad in (
        ("label_smoothing", 2.0),
        ("temperature", -1.0),
        ("z_loss", -1.0),
    ):
        value, gradient = jax.jit(
            lambda v, name=name: value_and_grad(integer, x, y, **{name: v})
        )(jnp.float32(bad))
        assert jnp.isnan(value).all() and jnp.isnan(gradient).all()


def test_float_labels_are_refused_where_indices_are_meant():
    x = jnp.zeros((2, 3), jnp.float32)
    with pytest.raises(TypeError, match="integer class indices"):
        integer(x, jnp.zeros(2, jnp.float32))
    with pytest.raises(TypeError, match="static_argnames='ignore_index'"):
        jax.jit(lambda i: integer(x, jnp.zeros(2, jnp.int32), ignore_index=i))(1)


def test_the_backward_pass_keeps_no_second_array():
    """value_and_grad needs the gradient itself, and nothing else of its size."""
    x = jax.ShapeDtypeStruct((512, 4096), jnp.float32)
    y = jax.ShapeDtypeStruct((512,), jnp.int32)
    compiled = (
        jax.jit(jax.value_and_grad(lambda x, y: integer(x, y, reduction="mean")))
        .lower(x, y)
        .compile()
    )
    # A few numbers a row: 64 bytes each are plenty.
    assert compiled.memory_analysis().temp_size_in_bytes <= 64 * 512


@pytest.mark.exhaustive
def test_the_gradient_where_it_is_not_scattered(monkeypatch):
    """What TPU runs in the place of CPU's scatter and gather, run on CPU."""
    logits = jax.random.normal(jax.random.key(0), (5, 7))
    labels = jnp.array([0, 6, 3, 3, 1])
    tangent = jax.random.normal(jax.random.key(1), (5, 7))

    def derivatives():
        def loss(z):
            losses = jaxloss.softmax_cross_entropy_with_integer_labels(z, labels)
            return jnp.sum(jnp.sin(losses))

        return jax.grad(loss)(logits), jax.jvp(jax.grad(loss), (logits,), (tangent,))[1]

    scattered = derivatives()
    calls = []

    def elsewhere(*arrays, default, cpu=None, tpu=None):
        calls.append(tpu or default)
        return calls[-1](*arrays)

    monkeypatch.setattr(jax.lax, "platform_dependent", elsewhere)
    selected = derivatives()
    assert calls
    for one, other in zip(scattered, selected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "loss",
    [
        jaxloss.softmax_cross_entropy,
        jaxloss.poly_loss_cross_entropy,
        jaxloss.softmax_focal_loss,
    ],
)
def test_a_target_that_is_nan_has_no_derivative(loss):
    """Not even where the loss is linear in it."""
    x, t = jnp.array([1.0, 2.0, 3.0]), jnp.array([0.25, jnp.nan, 0.5])
    slope = jax.grad(lambda t: loss(x, t))(t)
    np.testing.assert_array_equal(jnp.isnan(slope), [False, True, False])
    assert jnp.isnan(jax.grad(lambda x: loss(x, t))(x)).all()
