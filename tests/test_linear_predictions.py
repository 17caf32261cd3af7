"""What the fused cross entropy predicts, from the logits that its loss is made of."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
from jaxloss import linear_softmax_cross_entropy
from tests.test_linear import (
    CHUNK,
    CLASSES,
    TOKENS,
    fused,
    matmuls,
    problem,
    relative,
    usual,
)

predicting = functools.partial(fused, return_predictions=True)
every = (0, 1, 2)


def exact_logits(hidden, kernel, bias, labels):
    wide = [np.asarray(a, np.float64) for a in (hidden, kernel, bias)]
    return wide[0] @ wide[1] + wide[2]


@pytest.mark.parametrize(
    ("reduction", "backward"),
    [
        usual("mean", "recompute", when=True),
        usual("none", "recompute", when=False, thorough=True),
        usual("none", "save", when=False, thorough=True),
    ],
)
def test_they_are_the_largest_logits_and_cost_no_matmul(reduction, backward):
    *arrays, labels = problem()
    options = {"reduction": reduction, "backward": backward}

    def total(*arrays):
        loss, classes = predicting(*arrays, labels, **options)
        return jnp.sum(jnp.cos(loss)), classes

    def without(*arrays):
        return jnp.sum(jnp.cos(fused(*arrays, labels, **options)))

    expected = np.argmax(exact_logits(*arrays, labels), axis=1)
    (value, classes), gradients = jax.jit(
        jax.value_and_grad(total, every, has_aux=True)
    )(*arrays)
    chex.assert_equal(classes.dtype, jnp.int32)
    np.testing.assert_array_equal(classes, expected)
    np.testing.assert_array_equal(predicting(*arrays, labels, **options)[1], expected)
    plain_value, plain = jax.jit(jax.value_and_grad(without, every))(*arrays)
    np.testing.assert_array_equal(value, plain_value)
    chex.assert_trees_all_equal(gradients, plain)
    of = jax.value_and_grad(total, every, has_aux=True)
    assert matmuls(of, *arrays) == matmuls(jax.value_and_grad(without, every), *arrays)


def test_they_hold_nothing_of_a_chunks_size():
    def temporaries(**options):
        def total(*arrays):
            found = linear_softmax_cross_entropy(*arrays, chunk_size=128, **options)
            return found if options else (found, ())

        shapes = (512, 32), (32, 4096), (512,)
        dtypes = jnp.bfloat16, jnp.bfloat16, jnp.int32
        arrays = map(jax.ShapeDtypeStruct, shapes, dtypes)
        of = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))
        return of.lower(*arrays).compile().memory_analysis().temp_size_in_bytes

    # A few numbers a token are allowed, far below one array of a chunk's logits.
    more = temporaries(return_predictions=True) - temporaries()
    assert more < 128 * 4096 * 4 / 8


@pytest.mark.thorough
def test_options_leave_them_and_dtypes_are_taken_as_they_are():
    *arrays, labels = problem(jnp.bfloat16)
    expected = np.argmax(exact_logits(*arrays, labels), axis=1)
    options = {
        "temperature": 0.5,
        "logit_softcap": 2.0,
        "label_smoothing": 0.1,
        "class_weights": jnp.arange(1.0, CLASSES + 1),
        "z_loss": 0.1,
    }
    np.testing.assert_array_equal(predicting(*arrays, labels, **options)[1], expected)
    hidden, kernel, bias = arrays
    other = predicting(hidden, kernel.T, bias, labels, class_axis=0)[1]
    np.testing.assert_array_equal(other, expected)
    shaped = predicting(
        hidden.reshape(3, 7, -1), kernel, bias, labels.reshape(3, 7), chunk_size=5
    )[1]
    np.testing.assert_array_equal(shaped, expected.reshape(3, 7))


@pytest.mark.thorough
def test_under_transformations():
    *arrays, labels = problem()
    hidden, kernel, bias = arrays
    expected = np.argmax(exact_logits(*arrays, labels), axis=1)

    def total(hidden, kernel, bias):
        loss, classes = predicting(hidden, kernel, bias, labels)
        return loss, classes

    # Examples mapped under one kernel, and the gradient of their mean.
    def mean(hidden, kernel):
        losses, classes = jax.vmap(total, (0, None, None))(hidden, kernel, bias)
        return jnp.mean(losses), classes

    batch = jnp.stack([hidden, hidden[::-1]])
    slope, classes = jax.grad(mean, 1, has_aux=True)(batch, kernel)
    np.testing.assert_array_equal(classes, [expected, expected[::-1]])
    by_hand = jax.grad(
        lambda kernel: sum(fused(h, kernel, bias, labels) for h in batch) / 2
    )(kernel)
    assert relative(slope, by_hand) < 2e-6
    again = jax.grad(jax.checkpoint(lambda *a: total(*a)[0]), 1)(*arrays)
    assert relative(again, jax.grad(lambda *a: fused(*a, labels), 1)(*arrays)) < 2e-6
    (value, classes), (tangent, _) = jax.jvp(
        total, tuple(arrays), tuple(0.1 * a for a in arrays)
    )
    plain = jax.jvp(
        lambda *a: fused(*a, labels), tuple(arrays), tuple(0.1 * a for a in arrays)
    )
    assert relative((value, tangent), plain) < 2e-6
    np.testing.assert_array_equal(classes, expected)
    curvature = jax.hessian(lambda h: total(h, kernel, bias)[0])(hidden)
    plain = jax.hessian(lambda h: fused(h, kernel, bias, labels))(hidden)
    assert relative(curvature, plain) < 2e-6


def test_masks_of_tokens_and_of_classes():
    *arrays, labels = problem()
    z = exact_logits(*arrays, labels)
    first = np.argmax(z, axis=1)
    keep = np.asarray(labels) % 2 == 0
    kept = np.where(keep, first, -1)
    np.testing.assert_array_equal(predicting(*arrays, labels, where=keep)[1], kept)
    kept = np.where(np.asarray(labels) == 3, -1, first)
    np.testing.assert_array_equal(predicting(*arrays, labels, ignore_index=3)[1], kept)
    # Of classes, for all tokens and for each; a token without its label is not kept.
    rng = np.random.default_rng(1)
    for shape in ((1, CLASSES), (TOKENS, CLASSES)):
        there = rng.random(shape) < 0.7
        whole = np.broadcast_to(there, z.shape)
        second = np.argmax(np.where(whole, z, -np.inf), axis=1)
        mine = np.take_along_axis(whole, np.asarray(labels)[:, None], axis=1)[:, 0]
        found = predicting(*arrays, labels, where=jnp.asarray(there))[1]
        np.testing.assert_array_equal(found, np.where(mine, second, -1))
        assert (second != first).any() and not mine.all()


@pytest.mark.thorough
def test_a_promise_kept_and_one_broken():
    *arrays, labels = problem()
    keep = np.asarray(labels) != 3
    kept = np.where(keep, np.argmax(exact_logits(*arrays, labels), axis=1), -1)
    for reduction in ("mean", "none"):
        of = functools.partial(predicting, *arrays, labels, ignore_index=3)
        found = of(max_tokens=int(keep.sum()) + 1, reduction=reduction)[1]
        np.testing.assert_array_equal(found, kept)
        loss, found = of(max_tokens=int(keep.sum()) - 1, reduction=reduction)
        assert jnp.isnan(loss).any()
        np.testing.assert_array_equal(found, -np.ones(TOKENS))


def test_the_first_of_several_and_none_of_nan():
    hidden, kernel, bias, labels = problem()
    flat = linear_softmax_cross_entropy(
        hidden, jnp.zeros_like(kernel), labels, return_predictions=True
    )[1]
    np.testing.assert_array_equal(flat, np.zeros(TOKENS))
    first = np.argmax(exact_logits(hidden, kernel, bias, labels), axis=1)
    loss, found = predicting(hidden.at[4].set(jnp.nan), kernel, bias, labels)
    assert jnp.isnan(loss)
    np.testing.assert_array_equal(found, np.where(np.arange(TOKENS) == 4, -1, first))


def test_where_there_are_none():
    *arrays, labels = problem()
    with pytest.raises(
        NotImplementedError, match="`class_chunk_size` does not go with"
    ):
        predicting(*arrays, labels, chunk_size=None, class_chunk_size=4)
    with pytest.raises(TypeError, match="`return_predictions` must be a Python"):
        jax.jit(lambda told: fused(*arrays, labels, return_predictions=told))(True)
    # A kernel of the whole head makes no logits to tell them from.
    of = functools.partial(
        linear_softmax_cross_entropy,
        implementation="interpret",
        return_predictions=True,
    )
    hidden = jnp.ones((8, 128), jnp.float32)
    kernel = jnp.zeros((128, 256), jnp.float32).at[:, 7].set(1)
    (planned,) = jaxloss.explain(of, hidden, kernel, jnp.zeros(8, jnp.int32))
    assert planned.tiles is None and "tells no predictions" in planned.reason
    found = of(hidden, kernel, jnp.zeros(8, jnp.int32), chunk_size=CHUNK)[1]
    np.testing.assert_array_equal(found, np.full(8, 7))
