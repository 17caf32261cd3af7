"""Margin losses: regressions, ties, kinks, infinities, labels."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
from tests.selection import rarely

BINARY = [jaxloss.hinge_loss, jaxloss.squared_hinge_loss, jaxloss.perceptron_loss]
MULTICLASS = {
    "hinge": jaxloss.multiclass_hinge_loss,
    "squared": functools.partial(jaxloss.multiclass_hinge_loss, power=2),
    "weston_watkins": functools.partial(
        jaxloss.multiclass_hinge_loss, variant="weston_watkins"
    ),
    "perceptron": jaxloss.multiclass_perceptron_loss,
}
binary = pytest.mark.parametrize("loss", BINARY, ids=lambda loss: loss.__name__)
multiclass = pytest.mark.parametrize("loss", MULTICLASS.values(), ids=MULTICLASS)


def f32(*values):
    return jnp.array(values, jnp.float32)


@functools.partial(jax.jit, static_argnames=("loss", "options"))
def compiled(loss, options, x, *rest):
    def total(x):
        value = loss(x, *rest, **dict(options))
        return jnp.sum(value), value

    gradient, value = jax.grad(total, has_aux=True)(x)
    return value, gradient


def slope(loss, x, *rest):
    return compiled(loss, (), x, *rest)[1]


def one(loss, scores, label, **options):
    """Value and gradient for one row of scores."""
    scores = jnp.asarray(scores, jnp.float32)[None]
    label = jnp.array([label], jnp.int32)
    value, gradient = compiled(loss, tuple(options.items()), scores, label)
    return float(value[0]), np.asarray(gradient)[0]


# ------------------------------------------------------------------ binary


@binary
def test_w20_nan_reaches_the_gradient(loss):
    x = f32(jnp.nan, 0.5)
    assert np.isnan(slope(loss, x, f32(1, 1))[0])
    assert np.isfinite(slope(loss, x, f32(1, 1))[1])


@binary
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_nan_reaches_a_compiled_sum_of_any_size(loss, reduction):
    """Where a maximum is fused into a sum it may drop a NaN; long sums are fused."""
    target = jnp.ones(1 << 20, jnp.float32)
    total = jax.jit(functools.partial(loss, reduction=reduction))
    assert np.isnan(total(target.at[7].set(jnp.nan), target))
    assert np.isnan(total(target, target.at[7].set(0)))
    assert np.isfinite(total(target, target))


@binary
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.int8, jnp.int32])
@pytest.mark.parametrize("target", [0, 2])
def test_targets_that_are_no_signs_are_loud(loss, target, dtype):
    """Labels 0 and 1 would train on the positives only."""
    x = f32(0.5, -0.5)
    targets = jnp.array([target, 1], dtype)
    for function in (loss, jax.jit(loss)):
        np.testing.assert_array_equal(np.isnan(function(x, targets)), [True, False])
    value, _ = jax.jvp(lambda x: loss(x, targets), (x,), (x,))
    np.testing.assert_array_equal(np.isnan(value), [True, False])
    np.testing.assert_array_equal(np.isnan(slope(loss, x, targets)), [True, False])


@binary
def test_signs_have_any_dtype(loss):
    x = f32(0.5, -0.5, 3.0, 0.25)
    expected = loss(x, f32(1, -1, -1, 1))
    for targets in (
        jnp.array([1, -1, -1, 1], jnp.int8),
        jnp.array([True, False, False, True]),
        np.array([1.0, -1.0, -1.0, 1.0], np.float32),
        jnp.array([1, -1, -1, 1], jnp.bfloat16),
    ):
        chex.assert_trees_all_equal(loss(x, targets), expected)
        assert loss(x, targets).dtype == jnp.float32


@pytest.mark.parametrize(
    ("loss", "value", "gradient"),
    [
        (jaxloss.hinge_loss, [0.0, jnp.inf], [0.0, -1.0]),
        (jaxloss.squared_hinge_loss, [0.0, jnp.inf], [0.0, -jnp.inf]),
        (jaxloss.perceptron_loss, [0.0, jnp.inf], [0.0, -1.0]),
    ],
)
def test_infinite_outputs_give_the_limits(loss, value, gradient):
    x, ones = f32(jnp.inf, -jnp.inf), f32(1, 1)
    for sign in (1, -1):
        np.testing.assert_array_equal(loss(sign * x, sign * ones), value)
        np.testing.assert_array_equal(
            slope(loss, sign * x, sign * ones), sign * np.array(gradient)
        )


def test_the_kink_has_the_mean_of_both_sides():
    signs = f32(1, -1)
    np.testing.assert_array_equal(slope(jaxloss.hinge_loss, signs, signs), [-0.5, 0.5])
    zeros = f32(0, 0)
    np.testing.assert_array_equal(
        slope(jaxloss.perceptron_loss, zeros, signs), [-0.5, 0.5]
    )
    np.testing.assert_array_equal(
        slope(jaxloss.squared_hinge_loss, signs, signs), [0, 0]
    )


def test_a_hinge_beside_its_kink_is_rounded_once():
    x = f32(1 - 2**-24, 1 + 2**-23, 1e-9)
    np.testing.assert_array_equal(
        jaxloss.hinge_loss(x, f32(1, 1, 1)), f32(2**-24, 0, 1)
    )


# ------------------------------------------------------------------ multiclass


@multiclass
def test_w23_absent_classes_are_no_rivals(loss):
    value, gradient = one(loss, [0.0, 2.0, -jnp.inf], 0)
    less, fewer = one(loss, [0.0, 2.0], 0)
    assert value == less
    np.testing.assert_array_equal(gradient, [*fewer, 0])


def test_w23_infinite_scores_give_the_limits():
    for loss in (jaxloss.multiclass_hinge_loss, jaxloss.multiclass_perceptron_loss):
        value, gradient = one(loss, [jnp.inf, 2.0, 1.0], 0)
        assert value == 0
        np.testing.assert_array_equal(gradient, [0, 0, 0])
        value, gradient = one(loss, [jnp.inf, 2.0, 1.0], 1)
        assert value == jnp.inf
        np.testing.assert_array_equal(gradient, [1, -1, 0])
        value, gradient = one(loss, [-jnp.inf, 2.0, 1.0], 0)
        assert value == jnp.inf
        np.testing.assert_array_equal(gradient, [-1, 1, 0])
    value, gradient = one(jaxloss.multiclass_hinge_loss, [jnp.inf, 2, 1], 1, power=2)
    assert value == jnp.inf
    np.testing.assert_array_equal(gradient, [jnp.inf, -jnp.inf, 0])


@multiclass
def test_a_row_without_classes_is_infinite_and_pushes_nothing(loss):
    value, gradient = one(loss, [-jnp.inf] * 3, 1)
    assert value == jnp.inf
    np.testing.assert_array_equal(gradient, [0, 0, 0])


@multiclass
def test_two_infinities_with_the_label_are_undefined(loss):
    value, gradient = one(loss, [jnp.inf, jnp.inf, 0.0], 0)
    assert np.isnan(value) and np.isnan(gradient[0])


@multiclass
@pytest.mark.parametrize("label", [-1, -3, 3, 100, -(2**31), 2**31 - 1])
def test_w24_labels_out_of_range_are_loud(loss, label):
    value, gradient = one(loss, [0.0, 2.0, 1.0], label)
    assert np.isnan(value)
    assert np.isnan(gradient).all()


@pytest.mark.parametrize("dtype", [jnp.int8, *rarely(jnp.uint8, jnp.int64, jnp.uint32)])
@multiclass
def test_labels_of_any_integer_dtype(loss, dtype):
    """300 classes: more than a label of 8 bits can count."""
    scores = jax.random.normal(jax.random.key(0), (4, 300), jnp.float32)
    labels = jnp.array([0, 5, 44, 100], jnp.int32)
    chex.assert_trees_all_equal(
        compiled(loss, (), scores, labels.astype(dtype)),
        compiled(loss, (), scores, labels),
    )


@pytest.mark.parametrize(
    ("scores", "dtype"),
    [(300.0, jnp.bfloat16), (4096.0, jnp.float16), (1e8, jnp.float32)],
)
def test_w25_an_offset_does_not_swallow_the_margin(scores, dtype):
    scores, label = jnp.full((1, 3), scores, dtype), jnp.array([0], jnp.int32)
    assert jaxloss.multiclass_hinge_loss(scores, label)[0] == 1
    ww = jaxloss.multiclass_hinge_loss(scores, label, variant="weston_watkins")
    assert ww[0] == 2


def test_w26_labels_are_gathered():
    """No product of matrices, whose default precision rounds float32 on TPU."""
    scores, labels = jnp.zeros((2, 3), jnp.float32), jnp.zeros(2, jnp.int32)
    for loss in MULTICLASS.values():
        assert "dot_general" not in str(jax.make_jaxpr(loss)(scores, labels))


def test_w27_ties_share_the_gradient():
    hinge, perceptron = MULTICLASS["hinge"], MULTICLASS["perceptron"]
    third = np.float32(1 / 3)
    # Rivals that tie share equally ...
    np.testing.assert_array_equal(one(hinge, [0, 2, 2, 1], 0)[1], [-1, 0.5, 0.5, 0])
    # ... and so does the label, where it ties with them.
    np.testing.assert_allclose(
        one(perceptron, [0, 0, 0], 0)[1], [-2 * third, third, third], rtol=1e-6
    )
    np.testing.assert_allclose(one(hinge, [1, 0, -1], 0)[1], [-0.5, 0.5, 0])
    # Every hinge of its own has its own kink.
    ww = MULTICLASS["weston_watkins"]
    np.testing.assert_array_equal(one(ww, [1, 0, 0.5], 0)[1], [-1.5, 0.5, 1])


@pytest.mark.parametrize("variant", ["crammer_singer", "weston_watkins"])
def test_a_lead_beside_the_margin_keeps_its_digits(variant):
    """In two rounded steps margin + s_j - s_y would be off by a tenth of itself."""
    for own in (1.0999998, 1.0999999):
        scores = np.array([0.1, own], np.float32)
        exact = 1 + np.float64(scores[0]) - np.float64(scores[1])
        value, _ = one(jaxloss.multiclass_hinge_loss, scores, 1, variant=variant)
        assert value == np.float32(exact) > 0


@multiclass
def test_nan_reaches_compiled_rows_of_any_size(loss):
    scores = jnp.zeros((1 << 10, 1 << 10), jnp.float32).at[5, 3].set(jnp.nan)
    labels = jnp.full(1 << 10, 8, jnp.int32)
    value = jax.jit(loss)(scores, labels)
    np.testing.assert_array_equal(np.isnan(value), np.arange(1 << 10) == 5)
    gradient = jax.jit(lambda x: slope(loss, x, labels))(scores)
    np.testing.assert_array_equal(
        np.isnan(gradient).any(axis=1), np.arange(1 << 10) == 5
    )


@pytest.mark.exhaustive
def test_weston_watkins_is_the_sum_that_torch_divides():
    """torch.nn.functional.multi_margin_loss: the mean over the classes."""
    scores = f32(0.1, 0.2, 0.4, 0.8)
    value, _ = one(jaxloss.multiclass_hinge_loss, scores, 3, variant="weston_watkins")
    np.testing.assert_allclose(value / 4, 0.325, rtol=1e-6)


def test_margin_is_a_schedule_or_one_for_each_loss():
    scores = jnp.array([[0.0, 1.0], [0.0, 1.0]], jnp.float32)
    labels = jnp.array([0, 0], jnp.int32)
    loss = jax.jit(lambda m: jaxloss.multiclass_hinge_loss(scores, labels, margin=m))
    np.testing.assert_array_equal(loss(f32(0.5, 2.0)), [1.5, 3])
    np.testing.assert_array_equal(jax.jacobian(loss)(f32(0.5, 2.0)), np.eye(2))
    assert np.isnan(loss(jnp.float32(-1))).all()


def test_margin_zero_is_the_perceptron():
    scores = jax.random.normal(jax.random.key(1), (5, 4), jnp.float32)
    labels = jnp.array([0, 1, 2, 3, 0], jnp.int32)
    chex.assert_trees_all_equal(
        jaxloss.multiclass_hinge_loss(scores, labels, margin=0.0),
        jaxloss.multiclass_perceptron_loss(scores, labels),
    )


@pytest.mark.exhaustive
def test_two_classes_are_the_binary_hinge_of_their_difference():
    scores = jax.random.normal(jax.random.key(2), (8, 2), jnp.float32)
    labels = jnp.arange(8, dtype=jnp.int32) % 2
    sign = jnp.where(labels == 1, 1, -1)
    expected = jaxloss.hinge_loss(scores[:, 1] - scores[:, 0], sign)
    for variant in ("crammer_singer", "weston_watkins"):
        chex.assert_trees_all_close(
            jaxloss.multiclass_hinge_loss(scores, labels, variant=variant),
            expected,
            rtol=1e-6,
            atol=1e-7,
        )


@multiclass
def test_ignored_and_removed_labels_contribute_nothing(loss):
    scores = jnp.array([[0.0, 2.0, 1.0]] * 3, jnp.float32).at[1].set(jnp.nan)
    labels = jnp.array([0, -100, 2], jnp.int8)
    entries = jnp.array([[True, True, False]])

    def total(scores):
        return loss(scores, labels, ignore_index=-100, where=entries, reduction="mean")

    value, gradient = jax.jit(jax.value_and_grad(total))(scores)
    expected, first = one(loss, [0.0, 2.0], 0)
    assert value == expected
    np.testing.assert_array_equal(gradient, [[*first, 0], [0] * 3, [0] * 3])


def test_a_missing_class_does_not_hide_a_bad_label():
    scores, labels = jnp.zeros((1, 3), jnp.float32), jnp.array([7], jnp.int32)
    where = jnp.array([[True, True, False]])
    assert np.isnan(jaxloss.multiclass_hinge_loss(scores, labels, where=where))


def test_axes_are_flattened_in_their_order():
    scores = jax.random.normal(jax.random.key(3), (2, 5, 3), jnp.float32)
    labels = jnp.array([0, 3, 5, 2, 4], jnp.int32)
    chex.assert_trees_all_equal(
        jaxloss.multiclass_hinge_loss(scores, labels, axis=(2, 0)),
        jaxloss.multiclass_hinge_loss(
            jnp.transpose(scores, (1, 2, 0)).reshape(5, 6), labels
        ),
    )


def test_one_class_has_no_rival():
    for loss in MULTICLASS.values():
        value, gradient = one(loss, [3.0], 0)
        assert value == 0
        np.testing.assert_array_equal(gradient, [0])


# ------------------------------------------------------------------ errors


def test_errors_say_the_way_out():
    scores, labels = jnp.zeros((2, 3), jnp.float32), jnp.zeros(2, jnp.int32)
    hinge = jaxloss.multiclass_hinge_loss
    with pytest.raises(ValueError, match=r"multiclass_hinge_loss: `power` .* 1, 2"):
        hinge(scores, labels, power=3)
    with pytest.raises(ValueError, match=r"`variant` .*'weston_watkins'"):
        hinge(scores, labels, variant="ww")
    with pytest.raises(ValueError, match=r"`margin` must be a number in \[0"):
        hinge(scores, labels, margin=-1.0)
    with pytest.raises(TypeError, match="`labels` must be an array of integer class"):
        hinge(scores, jnp.zeros(2, jnp.float32))
    with pytest.raises(ValueError, match=r"`labels` must be of shape \(2,\)"):
        hinge(scores, jnp.zeros((2, 3), jnp.int32))
    with pytest.raises(TypeError, match="static_argnames='power'"):
        jax.jit(lambda p: hinge(scores, labels, power=p))(1)
    with pytest.raises(TypeError, match="static_argnames='ignore_index'"):
        jax.jit(lambda i: hinge(scores, labels, ignore_index=i))(1)
    with pytest.raises(ValueError, match="`targets` must be of the shape"):
        jaxloss.hinge_loss(jnp.zeros(2, jnp.float32), jnp.ones((2, 1), jnp.float32))


# ------------------------------------------------------------------ shares of classes


def test_a_categorical_hinge_has_a_rival_of_score_zero():
    """Where all others are below 0; else it is that of the strongest rival."""
    x = jnp.asarray([[2.0, 1.5, 0.25], [0.5, -1.0, -2.0], [3.0, -1.0, -2.0]])
    label = jnp.zeros(3, jnp.int32)
    targets = jnp.asarray(np.eye(3)[np.zeros(3, int)], jnp.float32)
    loss = jaxloss.categorical_hinge_loss(x, targets)
    np.testing.assert_array_equal(loss, [0.5, 0.5, 0])
    np.testing.assert_array_equal(jaxloss.multiclass_hinge_loss(x, label), [0.5, 0, 0])
    gradient = jax.grad(lambda x: jaxloss.categorical_hinge_loss(x, targets).sum())(x)
    np.testing.assert_array_equal(gradient, [[-1, 1, 0], [-1, 0, 0], [0, 0, 0]])


def test_classes_that_are_absent_or_removed_have_no_hinge():
    x = jnp.asarray([-jnp.inf, 2.0, 1.75], jnp.float32)
    t = jnp.asarray([0.0, 1.0, 0.0], jnp.float32)
    loss = jaxloss.categorical_hinge_loss
    assert loss(x, t) == 0.75
    assert loss(x, jnp.asarray([1.0, 0.0, 0.0], jnp.float32)) == jnp.inf
    keep = jnp.asarray([True, True, False])
    spoiled = x.at[2].set(jnp.nan)
    # The label's own 0 is the only rival that is left.
    assert loss(spoiled, t, where=keep) == 0
    gradient = jax.grad(loss)(spoiled.at[1].set(0.5), t, where=keep)
    np.testing.assert_array_equal(gradient, [0, -1, 0])


def test_the_strongest_rivals_share_a_categorical_hinge():
    x, t = jnp.asarray([1.0, 0.5, 0.5]), jnp.asarray([1.0, 0.0, 0.0])
    gradient = jax.grad(jaxloss.categorical_hinge_loss)(x, t)
    np.testing.assert_array_equal(gradient, [-1, 0.5, 0.5])
    # At its kink half of that.
    gradient = jax.grad(jaxloss.categorical_hinge_loss)(x.at[0].set(1.5), t)
    np.testing.assert_array_equal(gradient, [-0.5, 0.25, 0.25])
