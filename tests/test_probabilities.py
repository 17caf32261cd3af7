"""Regressions of the losses of probabilities: the textbook's mistakes, and edges."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

import jaxloss

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough


def f32(*values):
    return jnp.asarray(values, jnp.float32)


def close(actual, expected, rtol=1e-6, atol=0.0):
    np.testing.assert_allclose(
        np.asarray(actual, np.float64), expected, rtol=rtol, atol=atol
    )


# ------------------------------------------------------------------ known mistakes


def test_both_classes_of_a_binary_cross_entropy_count():
    """With the term of the negative class left out, this is 0.0527, and a model that
    always says 1 is perfect."""
    probs, labels = jnp.asarray([0.9, 0.99999]), jnp.asarray([1.0, 0.0])
    loss = jaxloss.binary_cross_entropy(probs, labels, reduction="mean")
    close(loss, 5.809, 1e-4)
    always = jaxloss.binary_cross_entropy(jnp.ones(2), labels, reduction="mean")
    assert np.isposinf(always)


def test_a_cross_entropy_is_positive_and_falls_with_the_right_probability():
    hot = f32(1, 0, 0)
    losses = [
        float(jaxloss.categorical_cross_entropy(f32(p, (1 - p) / 2, (1 - p) / 2), hot))
        for p in (0.1, 0.5, 0.9, 1.0)
    ]
    assert losses[-1] == 0 and np.all(np.diff(losses) < 0)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.float16])
def test_nothing_is_added_to_a_logarithm(dtype):
    """An epsilon caps the loss of what was thought impossible at 34.5, is lost beside
    any probability of single precision, and makes a perfect prediction negative."""
    probs = jnp.asarray([1.0, 0.0, 1e-7, 1.0, 0.0], dtype)
    labels = jnp.asarray([1.0, 0.0, 1.0, 0.0, 1.0], dtype)
    loss = jaxloss.binary_cross_entropy(probs, labels)
    tiny = -np.log(np.float64(probs[2]))
    close(loss, [0, 0, tiny, np.inf, np.inf])
    gradient = jax.grad(lambda p: jaxloss.binary_cross_entropy(p, labels).sum())(probs)
    assert gradient[0] == -1 and gradient[1] == 1
    assert np.isposinf(gradient[3]) and np.isneginf(gradient[4])


def test_units_of_the_textbook():
    """It prints bits without saying so."""
    probs, labels = f32(0.8, 0.1), f32(1, 0)
    close(jaxloss.binary_cross_entropy(probs, labels), [0.2231436, 0.1053605], 1e-5)
    bits = jaxloss.binary_cross_entropy(probs, labels, base=2)
    close(bits, [0.3219281, 0.1520031], 1e-5)
    three, hot = f32(0.7, 0.2, 0.1), f32(1, 0, 0)
    close(jaxloss.categorical_cross_entropy(three, hot), 0.3566749, 1e-6)
    close(jaxloss.categorical_cross_entropy(three, hot, base=2), 0.5145732, 1e-6)


def test_labels_that_count_from_one():
    log_probs = jnp.log(f32(0.7, 0.2, 0.1)).reshape(1, 3)
    loss = functools.partial(jaxloss.nll_loss, labels=jnp.asarray([3]))
    assert np.isnan(loss(log_probs)).all()
    assert np.isnan(jax.grad(lambda x: loss(x).sum())(log_probs)).any()


# ------------------------------------------------------------------ identities


def test_four_ways_to_one_cross_entropy():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(6, 4)))
    labels = jnp.asarray(rng.integers(4, size=6))
    hot = jax.nn.one_hot(labels, 4, dtype=logits.dtype)
    log_probs, probs = jax.nn.log_softmax(logits), jax.nn.softmax(logits)
    expected = jaxloss.softmax_cross_entropy_with_integer_labels(logits, labels)
    close(jaxloss.nll_loss(log_probs, labels), expected, 1e-12)
    close(jaxloss.cross_entropy(log_probs, hot), expected, 1e-12)
    close(jaxloss.categorical_cross_entropy(probs, hot), expected, 1e-12)
    theirs = sklearn.metrics.log_loss(labels, probs, labels=range(4))
    close(jaxloss.nll_loss(log_probs, labels, reduction="mean"), theirs, 1e-12)


def test_cross_entropy_is_entropy_and_divergence():
    """Also where a class has no target, or no probability, or neither."""
    t = jnp.asarray([[0.5, 0.5, 0.0, 0.0], [0.2, 0.3, 0.5, 0.0]])
    p = jnp.asarray([[0.25, 0.5, 0.25, 0.0], [0.1, 0.2, 0.3, 0.4]])
    cross = jaxloss.cross_entropy(jnp.log(p), t)
    close(cross, jaxloss.entropy(t) + jaxloss.kl_divergence(jnp.log(p), t), 1e-12)
    close(cross, jaxloss.categorical_cross_entropy(p, t), 1e-12)
    gradient = jax.grad(lambda p: jaxloss.categorical_cross_entropy(p, t).sum())(p)
    assert np.isfinite(gradient).all()


def test_entropies_of_the_certain_and_of_the_uniform():
    close(jaxloss.entropy(f32(1, 0, 0)), 0)
    close(jaxloss.entropy(jnp.full(8, 0.125), base=2), 3)
    logits = jnp.asarray([[0.3, -2.0, 1.0, -jnp.inf]])
    close(
        jaxloss.softmax_entropy(logits), jaxloss.entropy(jax.nn.softmax(logits)), 1e-12
    )
    # Through a softmax with an absent class no gradient is NaN.
    through = jax.grad(lambda x: jaxloss.entropy(jax.nn.softmax(x)).sum())(logits)
    direct = jax.grad(lambda x: jaxloss.softmax_entropy(x).sum())(logits)
    close(through, direct, 1e-12, 1e-15)


def test_probabilities_and_labels_out_of_range_are_loud():
    for p, y in ((1.5, 1.0), (-0.1, 0.0), (0.5, 1.5), (0.5, -1.0)):
        value, gradient = jax.value_and_grad(jaxloss.binary_cross_entropy)(
            jnp.float32(p), jnp.float32(y)
        )
        assert np.isnan(value) and np.isnan(gradient), (p, y)
    bad, t = f32(-0.5, 1.5), f32(0, 1)
    value, gradient = jax.value_and_grad(jaxloss.categorical_cross_entropy)(bad, t)
    assert np.isnan(value) and np.isnan(gradient[0])


def test_class_weights_are_in_the_denominator():
    log_probs = jnp.log(f32(0.25, 0.75, 0.5, 0.5).reshape(2, 2))
    loss = jaxloss.nll_loss(
        log_probs, jnp.asarray([0, 1]), class_weights=f32(1, 3), reduction="mean"
    )
    close(loss, (np.log(4) + 3 * np.log(2)) / 4)
    ignored = jaxloss.nll_loss(
        log_probs, jnp.asarray([0, -100]), ignore_index=-100, reduction="mean"
    )
    close(ignored, np.log(4))
