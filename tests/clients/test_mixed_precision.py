"""bfloat16 activations and logits, float32 parameters, as Flax's `dtype` has it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxloss
from jaxloss import metrics
from tests.clients import digits

cross_entropy = jaxloss.softmax_cross_entropy_with_integer_labels


class Network(nnx.Module):
    def __init__(self, dtype, rngs: nnx.Rngs):
        self.first = nnx.Linear(64, 64, dtype=dtype, rngs=rngs)
        self.head = nnx.Linear(64, 10, dtype=dtype, rngs=rngs)

    def hidden(self, images):
        return nnx.relu(self.first(images.reshape(-1, 64)))

    def __call__(self, images):
        return self.head(self.hidden(images))


def network(dtype):
    """The same float32 parameters for every dtype."""
    return Network(dtype, nnx.Rngs(0))


@pytest.fixture(scope="module")
def data():
    return digits.load()


def test_each_has_its_dtype(data):
    batch, _ = data
    model = network(jnp.bfloat16)
    hidden = model.hidden(batch.images)
    logits = model.head(hidden)
    assert hidden.dtype == logits.dtype == jnp.bfloat16

    def of_model(model):
        return cross_entropy(model(batch.images), batch.labels, reduction="mean")

    def of_hidden(hidden):
        return cross_entropy(model.head(hidden), batch.labels, reduction="mean")

    def of_logits(logits):
        return cross_entropy(logits, batch.labels, reduction="mean")

    loss, gradients = nnx.value_and_grad(of_model)(model)
    assert loss.dtype == jnp.float32
    assert {g.dtype for g in jax.tree.leaves(gradients)} == {jnp.dtype(jnp.float32)}
    assert jax.grad(of_hidden)(hidden).dtype == jnp.bfloat16
    slope = jax.grad(of_logits)(logits)
    assert slope.dtype == jnp.bfloat16
    # It is rounded once, at the end: 8 bits of the float32 gradient.
    exact = jax.grad(of_logits)(logits.astype(jnp.float32))
    np.testing.assert_array_equal(slope, exact.astype(jnp.bfloat16))


def test_the_loss_is_that_of_the_rounded_logits(data):
    batch, _ = data
    rounded = network(jnp.bfloat16)(batch.images)
    losses = cross_entropy(rounded, batch.labels)
    wide = np.asarray(rounded, np.float64)
    chosen = np.take_along_axis(wide, batch.labels[:, None], -1)
    truth = np.log(np.exp(wide - chosen).sum(-1))
    np.testing.assert_allclose(losses, truth, rtol=5e-7)  # as docs/contracts.md says
    # The network's own rounding is all that is left: the gradient p - y has absolute
    # values that add up to less than 2, so no loss moves by more than twice a logit.
    full = network(jnp.float32)(batch.images)
    moved = np.abs(wide - np.asarray(full, np.float64)).max(-1)
    gap = np.abs(losses - cross_entropy(full, batch.labels))
    assert moved.max() > 1e-3
    assert np.all(gap <= 2 * moved + 1e-6)


def test_training_agrees_with_float32(data):
    train_data, held_out = data

    def trained(dtype):
        model = network(dtype)
        optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)

        @nnx.jit
        def step(model, optimizer, images, labels):
            def objective(model):
                return cross_entropy(model(images), labels, reduction="mean")

            loss, gradients = nnx.value_and_grad(objective)(model)
            optimizer.update(model, gradients)
            return loss

        steps = digits.batches(train_data, 64, epochs=8)
        losses = np.array([step(model, optimizer, *batch) for batch in steps])
        kernels = {p.dtype for p in jax.tree.leaves(nnx.state(model))}
        assert kernels == {jnp.dtype(jnp.float32)}
        logits = model(held_out.images)
        return losses, metrics.accuracy(logits, held_out.labels).value

    (full, full_accuracy), (half, half_accuracy) = map(
        trained, (jnp.float32, jnp.bfloat16)
    )
    assert full[-22:].mean() < 0.1 * full[0]
    assert min(full_accuracy, half_accuracy) > 0.93
    # bfloat16 has 8 bits: rounding the input, the weights, two sums and the activations
    # moves a logit by a few times 2^-9 of itself, and the loss of a step by 1 % or so,
    # of either sign. In the mean of 176 steps that is 0.01 / sqrt(176), or 8e-4.
    np.testing.assert_allclose(half.mean(), full.mean(), rtol=3e-3)
