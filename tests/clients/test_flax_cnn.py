"""A convolutional network in Flax NNX, trained as Flax's own example for MNIST does."""

import functools

import numpy as np
import optax
import pytest
from flax import nnx

import jaxloss
from jaxloss import metrics
from tests.clients import digits

cross_entropy = "softmax_cross_entropy_with_integer_labels"


class CNN(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(1, 16, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(16, 32, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(32, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.dense = nnx.Linear(2 * 2 * 32, 64, rngs=rngs)
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, images):
        pool = functools.partial(nnx.avg_pool, window_shape=(2, 2), strides=(2, 2))
        hidden = pool(nnx.relu(self.conv1(images)))
        hidden = pool(nnx.relu(self.norm(self.conv2(hidden))))
        hidden = nnx.relu(self.dense(hidden.reshape(len(hidden), -1)))
        return self.head(self.dropout(hidden))


def program(library):
    """The model, its metrics, and the steps of training and of evaluation."""
    model = CNN(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adamw(1e-2), wrt=nnx.Param)
    metric = nnx.MultiMetric(
        accuracy=nnx.metrics.Accuracy(), loss=nnx.metrics.Average("loss")
    )

    def objective(model, batch):
        logits = model(batch.images)
        return getattr(library, cross_entropy)(logits, batch.labels).mean(), logits

    @nnx.jit
    def train(model, optimizer, batch):
        slope = nnx.value_and_grad(objective, has_aux=True)
        (loss, _), gradients = slope(model, batch)
        optimizer.update(model, gradients)
        return loss

    @nnx.jit
    def evaluate(model, metric, batch):
        loss, logits = objective(model, batch)
        metric.update(loss=loss, logits=logits, labels=batch.labels)
        return logits

    return model, functools.partial(train, model, optimizer), metric, evaluate


@pytest.fixture(scope="module")
def data():
    return digits.load()


def test_it_learns_the_digits(data):
    train_data, held_out = data
    model, train, metric, evaluate = program(jaxloss)
    model.train()
    for batch in digits.batches(train_data, size=64, epochs=6):
        train(batch)
    model.eval()
    logits = evaluate(model, metric, held_out)
    found = metric.compute()
    assert found["accuracy"] > 0.96
    # One batch, so that Flax's average is the mean of all examples.
    labels = held_out.labels
    expected = metrics.mean(getattr(jaxloss, cross_entropy)(logits, labels)).value
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-6)
    assert metrics.accuracy(logits, labels).value == found["accuracy"]


def test_the_import_is_all_that_changes(data):
    train_data, _ = data
    paths = []
    for library in (optax.losses, jaxloss):
        _, train, *_ = program(library)
        steps = zip(range(5), digits.batches(train_data, 64, epochs=1), strict=False)
        paths.append([float(train(batch)) for _, batch in steps])
    theirs, ours = paths
    assert theirs[-1] < theirs[0]
    # The first loss has the same logits. Later ones follow from gradients that differ
    # by rounding, which Adam divides by their size: most where they are nearly 0.
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-6)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
