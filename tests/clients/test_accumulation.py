"""Gradient accumulation: microbatches that keep different numbers of tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxloss
from jaxloss import metrics

PARTS, TOKENS, HIDDEN, CLASSES = 4, 16, 8, 11
KEPT = np.array([16, 2, 9, 1])  # of the tokens of each microbatch


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(PARTS, TOKENS, HIDDEN)).astype(np.float32)
    kernel = rng.normal(size=(HIDDEN, CLASSES)).astype(np.float32)
    labels = rng.integers(CLASSES, size=(PARTS, TOKENS)).astype(np.int32)
    keep = np.arange(TOKENS) < KEPT[:, None]
    hidden[~keep] = np.nan  # padding may hold anything
    # Later microbatches are harder, as a batch sorted by length might be.
    spread = np.linspace(0.2, 2, PARTS, dtype=np.float32)
    return jnp.asarray(kernel), (hidden * spread[:, None, None], labels, keep)


def of(kernel, part, reduction):
    hidden, labels, keep = part
    return jaxloss.linear_softmax_cross_entropy(
        hidden, kernel, labels, where=keep, reduction=reduction
    )


def whole(kernel, parts):
    joined = [a.reshape(PARTS * TOKENS, *a.shape[2:]) for a in parts]
    return jax.value_and_grad(of)(kernel, joined, "mean")


def close(actual, expected):
    # float32 sums of 28 tokens, in another order.
    scale = float(jnp.abs(expected).max())
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6 * scale)


def test_totals_and_counts_are_those_of_the_full_batch(data):
    kernel, parts = data

    @jax.jit
    def accumulated(kernel, parts):
        def add(carry, part):
            gradient, seen = carry
            total, slope = jax.value_and_grad(of)(kernel, part, "sum")
            count = part[2].sum(dtype=jnp.float32)
            return (gradient + slope, seen.merge(metrics.Mean(total, count))), None

        nothing = metrics.Mean(jnp.float32(0), jnp.float32(0))
        (gradient, seen), _ = jax.lax.scan(
            add, (jnp.zeros_like(kernel), nothing), parts
        )
        return seen, gradient / seen.count

    seen, gradient = accumulated(kernel, parts)
    value, slope = whole(kernel, parts)
    assert seen.count == KEPT.sum() == 28
    close(seen.value, value)
    close(seen.total, value * 28)
    close(gradient, slope)

    # And from losses one by one, with which nothing has to be counted by hand.
    losses = of(kernel, parts, "none")
    each = jax.vmap(lambda loss, keep: metrics.mean(loss, where=keep))(losses, parts[2])
    np.testing.assert_array_equal(each.count, KEPT)
    close(jax.tree.map(jnp.sum, each).value, value)


def test_the_mean_of_means_is_another_number(data):
    kernel, parts = data
    naive = jax.vmap(lambda part: of(kernel, part, "mean"))(parts).mean()
    value, _ = whole(kernel, parts)
    assert abs(naive - value) > 0.1 * value


def test_optax_multi_steps_takes_the_step_of_the_full_batch(data):
    """`optax.MultiSteps` averages over the microbatches, whatever they keep: divide
    each sum by the mean number of tokens kept, not by its own."""
    kernel, parts = data

    def stepped(objective):
        optimizer = optax.MultiSteps(optax.sgd(1.0), every_k_schedule=PARTS)
        params, state = kernel, optimizer.init(kernel)
        for part in zip(*parts, strict=True):
            updates, state = optimizer.update(jax.grad(objective)(params, part), state)
            params = optax.apply_updates(params, updates)
        assert optimizer.has_updated(state)
        return params

    tokens = KEPT.sum() / PARTS
    exact = stepped(lambda kernel, part: of(kernel, part, "sum") / tokens)
    naive = stepped(lambda kernel, part: of(kernel, part, "mean"))
    _, slope = whole(kernel, parts)
    close(kernel - exact, slope)
    assert optax.tree.norm(kernel - naive - slope) > 0.1 * optax.tree.norm(slope)
