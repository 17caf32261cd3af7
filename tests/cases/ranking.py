"""Ranking losses."""

import mpmath as mp
import numpy as np
from optax import losses as optax

from tests.case import BATCH, Case
from tests.cases.softmax import CLASSES, log_partition, logits, softmax


def relevances(rng, scale):
    """Graded relevance, most of it 0; the first item is always relevant."""
    y = rng.integers(0, 4, size=(BATCH, CLASSES)) * rng.integers(
        2, size=(BATCH, CLASSES)
    )
    y[:, 0] = 1 + rng.integers(2, size=BATCH)
    return logits(rng, scale), y.astype(np.float64)


def cross_entropy(s, y):
    total = log_partition(s)
    return mp.fsum(b * (total - a) for a, b in zip(s, y, strict=True))


def by_score(s, y):
    return mp.fsum(y) * softmax(s) - y


def floor(s, y):
    # With several relevant items the gradient is the difference of two numbers of the
    # size of the labels, each rounded.
    return 1.2e-7 * float(sum(y)) if sum(v != 0 for v in y) > 1 else 0.0


def unreduced(logits, labels):
    return optax.ranking_softmax_loss(logits, labels, reduce_fn=None)


IN_NATS = {"ranking_softmax_loss"}

CASES = [
    Case(
        name="ranking_softmax_loss",
        options={"reduction": "none"},
        inputs=relevances,
        formula=cross_entropy,
        gradient=by_score,
        event=(1, 1),
        optax=unreduced,
        floor=floor,
    ),
]
