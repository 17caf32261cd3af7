"""The fused cross entropy with classes in chunks: the plain loss, and its memory."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
from tests.test_linear import (
    CLASSES,
    OPTIONS,
    ROUNDING,
    TOKENS,
    exact,
    inner,
    problem,
    relative,
    tangents,
)

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough

MIB = 2**20
# One chunk, three whole ones and a rest, one more than there are classes.
CHUNKS = [CLASSES, 4, 99]


def by_classes(hidden, kernel, bias, labels, *, size=4, **options):
    return jaxloss.linear_softmax_cross_entropy(
        hidden, kernel, labels, bias=bias, class_chunk_size=size, **options
    )


def measured(loss, arrays, labels, **options):
    one = functools.partial(loss, labels=labels, **options)
    return jax.jit(jax.value_and_grad(one, (0, 1, 2)))(*arrays)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["plain", "all"])
def test_is_the_loss_on_the_logits(dtype, name):
    *arrays, labels = problem(dtype)
    value, gradients = measured(by_classes, arrays, labels, **OPTIONS[name])
    options = {"reduction": "mean", **OPTIONS[name]}
    expected, exact_gradients = measured(exact, arrays, labels, **options)
    assert relative(value, expected) < 1e-6
    assert relative(gradients, exact_gradients) < ROUNDING[dtype]
    chex.assert_trees_all_equal_dtypes(gradients, tuple(arrays))


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("class_axis", [-1, 0])
def test_every_option(name, reduction, class_axis):
    *arrays, labels = problem()
    options = {"reduction": reduction, **OPTIONS[name]}

    def tied(hidden, kernel, bias, labels, **options):
        return by_classes(hidden, kernel.T, bias, labels, class_axis=0, **options)

    loss = by_classes if class_axis else tied
    actual = measured(loss, arrays, labels, **options)
    assert relative(actual, measured(exact, arrays, labels, **options)) < 2e-6


@pytest.mark.parametrize("size", CHUNKS)
def test_chunks_change_nothing(size):
    *arrays, labels = problem()
    expected = measured(by_classes, arrays, labels, size=5)
    assert relative(measured(by_classes, arrays, labels, size=size), expected) < 1e-6


def test_removed_classes_and_tokens_are_not_there():
    hidden, kernel, bias, labels = problem()
    classes = jnp.arange(CLASSES) % 4 != 1
    keep = (jnp.arange(TOKENS) % 3 != 1)[:, None] & classes[None, :]
    options = {"where": keep, "label_smoothing": 0.1}
    spoiled = jnp.where(keep.any(1)[:, None], hidden, jnp.nan)

    def total(loss, size):
        def of(hidden, kernel):
            return loss(hidden, kernel, bias, labels, **size, **options)

        return jax.value_and_grad(of, (0, 1))(hidden, kernel)

    expected = total(functools.partial(exact, reduction="mean"), {})
    assert relative(total(by_classes, {"size": 4}), expected) < 2e-6
    rows = keep.any(1)

    def masked(hidden):
        return by_classes(hidden, kernel, bias, labels, where=rows)

    value, gradient = jax.value_and_grad(masked)(spoiled)
    assert jnp.isfinite(value) and (gradient[~rows] == 0).all()
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("label", [-1, CLASSES])
def test_a_label_that_is_none_is_loud(label):
    hidden, kernel, bias, labels = problem()
    loss = functools.partial(by_classes, labels=labels.at[2].set(label))
    value, gradients = jax.value_and_grad(loss, (0, 1))(hidden, kernel, bias)
    assert jnp.isnan(value)
    assert jnp.isnan(gradients[0][2]).all() and jnp.isnan(gradients[1]).all()


def test_a_confident_token_keeps_its_gradient():
    """Where 1 - p_y rounds to 0, and across chunks, whichever has the label."""
    kernel = jnp.eye(6, dtype=jnp.float32)
    hidden = jnp.zeros((2, 6)).at[0, 0].set(30.0).at[1, 5].set(30.0)
    labels = jnp.array([0, 5])

    def loss(hidden):
        return by_classes(hidden.astype(jnp.float32), kernel, None, labels, size=2)

    value, gradient = jax.value_and_grad(loss)(hidden)
    q = 5 * np.exp(-30.0)
    np.testing.assert_allclose(value, np.log1p(q), rtol=1e-6)
    np.testing.assert_allclose(gradient[0, 0], -q / (1 + q) / 2, rtol=1e-6)
    np.testing.assert_allclose(gradient[1, 5], -q / (1 + q) / 2, rtol=1e-6)


def test_second_derivatives_and_forward_mode():
    *arrays, labels = problem("float64")
    direction = tangents(arrays)
    results = []
    for loss in (by_classes, exact):
        options = {**OPTIONS["all"], "reduction": "mean"}
        of = functools.partial(loss, labels=labels, **options)
        gradient = jax.grad(of, (0, 1, 2))
        results.append(
            (
                jax.jvp(of, tuple(arrays), direction),
                jax.jvp(gradient, tuple(arrays), direction)[1],
                jax.grad(lambda *a, g=gradient: inner(g(*a), direction), (0, 1, 2))(
                    *arrays
                ),
            )
        )
    assert relative(*results) < 1e-12


def test_weights_have_derivatives():
    hidden, kernel, bias, labels = problem()
    weights = jnp.linspace(0.5, 2, TOKENS, dtype=jnp.float32)

    def of(loss, weights):
        return loss(hidden, kernel, bias, labels, weights=weights, reduction="mean")

    actual, expected = (
        jax.grad(functools.partial(of, loss))(weights) for loss in (by_classes, exact)
    )
    assert relative(actual, expected) < 2e-6


def test_what_it_does_not_do_is_said():
    hidden, kernel, bias, labels = problem()
    for options, word in (
        ({"reduction": "none"}, "one by one"),
        ({"reduction": "mean", "size": 0}, "`class_chunk_size` must be a positive"),
    ):
        error = ValueError if "size" in options else NotImplementedError
        with pytest.raises(error, match=word):
            by_classes(hidden, kernel, bias, labels, **options)
    with pytest.raises(NotImplementedError, match="gradients with respect to the opt"):
        jax.grad(lambda z: by_classes(hidden, kernel, bias, labels, z_loss=z))(0.1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["plain", "all"])
def test_the_temporaries_are_what_explain_promises(dtype, name):
    tokens, hidden, classes, size = 512, 96, 6000, 500
    shapes = [
        jax.ShapeDtypeStruct((tokens, hidden), dtype),
        jax.ShapeDtypeStruct((hidden, classes), dtype),
        jax.ShapeDtypeStruct((classes,), dtype),
        jax.ShapeDtypeStruct((tokens,), jnp.int32),
    ]
    options = {k: v for k, v in OPTIONS[name].items() if not np.ndim(v)}
    loss = functools.partial(by_classes, size=size, **options)
    done = jax.jit(jax.value_and_grad(loss, (0, 1, 2))).lower(*shapes).compile()
    (plan,) = jaxloss.explain(loss, *shapes)
    held = done.memory_analysis().temp_size_in_bytes
    assert held <= plan.temporaries <= 3 * held, (held / MIB, plan.temporaries / MIB)
    # Nothing of the kernel's size is held in float32, nor all logits.
    assert held < 4 * tokens * classes
    assert plan.chunks == 12 and plan.matmuls["value and both gradients"] == 4
