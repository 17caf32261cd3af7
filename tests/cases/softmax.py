"""Softmax cross entropies."""

import mpmath as mp
import numpy as np
import optax

from tests.case import BATCH, Case, Scale

CLASSES = 7


def logits(rng: np.random.Generator, scale: Scale, classes: int = CLASSES) -> np.ndarray:
    """Rows at every scale: nearly equal, ordinary, spread, far from 0, confident."""
    x = rng.normal(size=(BATCH, classes))
    match scale:
        case "tiny":
            return 1e-4 * x
        case "unit":
            return x
        case "wide":
            return 10 * x
        case "offset":
            return x + 1e5 * rng.choice([-1, 1], size=(BATCH, 1))
        case "saturated":
            x[np.arange(BATCH), rng.integers(classes, size=BATCH)] += 25
            return x


def labelled(rng, scale):
    x = logits(rng, scale)
    label = rng.integers(CLASSES, size=BATCH)
    # Half of the rows are confident and right, half confident and wrong.
    right = np.arange(BATCH) % 2 == 0
    return x, np.where(right, x.argmax(-1), label).astype(np.int32)


def log_partition(x):
    peak = max(x)
    return peak + mp.log(mp.fsum(mp.exp(v - peak) for v in x))


def softmax(x):
    total = log_partition(x)
    return np.array([mp.exp(v - total) for v in x])


def cross_entropy(x, y):
    return log_partition(x) - x[y]


def cross_entropy_gradient(x, y):
    p = softmax(x)
    p[y] -= 1
    return p


CASES = [
    Case(
        name="softmax_cross_entropy_with_integer_labels",
        inputs=labelled,
        formula=cross_entropy,
        gradient=cross_entropy_gradient,
        event=(1, 0),
        optax=optax.softmax_cross_entropy_with_integer_labels,
    ),
]
