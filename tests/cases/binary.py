"""Sigmoid binary cross entropy."""

import mpmath as mp
import numpy as np
import optax

from tests.case import BATCH, Case, Scale

LOGIT_SCALES: tuple[Scale, ...] = ("tiny", "unit", "wide", "saturated")


def logits(rng: np.random.Generator, scale: Scale) -> np.ndarray:
    """Log-odds at every scale; an offset of theirs does not cancel."""
    x = rng.normal(size=BATCH)
    match scale:
        case "tiny":
            return 1e-4 * x
        case "wide":
            return 10 * x
        case "saturated":
            return x + 20 * rng.choice([-1, 1], size=BATCH)
        case _:
            return x


def hard(rng, scale):
    return logits(rng, scale), rng.integers(2, size=BATCH).astype(np.float64)


def soft(rng, scale):
    """Probabilities: ordinary ones, an even one, a tiny one, 0 and 1."""
    y = rng.uniform(size=BATCH)
    y[:4] = 0.5, 2.0**-20, 0, 1
    return logits(rng, scale), y


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def softplus(x):
    return mp.log1p(mp.exp(x))


def cross_entropy(x, y, weight=1):
    return weight * y * softplus(-x) + (1 - y) * softplus(x)


def slope(x, y, weight=1):
    return (1 - y) * sigmoid(x) - weight * y * sigmoid(-x)


SMOOTHING, WEIGHT = 0.25, 3.0


def smoothed(y):
    return (1 - mp.mpf(SMOOTHING)) * y + mp.mpf(SMOOTHING) / 2


IN_NATS = {"sigmoid_binary_cross_entropy"}

FLAGSHIP = {"sigmoid_binary_cross_entropy"}

CASES = [
    Case(
        name="sigmoid_binary_cross_entropy",
        inputs=hard,
        formula=cross_entropy,
        gradient=slope,
        event=(0, 0),
        scales=LOGIT_SCALES,
        optax=optax.sigmoid_binary_cross_entropy,
    ),
    Case(
        name="sigmoid_binary_cross_entropy",
        variant="soft labels",
        inputs=soft,
        formula=cross_entropy,
        gradient=slope,
        event=(0, 0),
        scales=LOGIT_SCALES,
        optax=optax.sigmoid_binary_cross_entropy,
    ),
    Case(
        name="sigmoid_binary_cross_entropy",
        variant="gradient of labels",
        inputs=soft,
        formula=cross_entropy,
        gradient=lambda x, y: -x,
        event=(0, 0),
        argument=1,
        scales=LOGIT_SCALES,
        hessian=False,  # linear in the labels
        optax=optax.sigmoid_binary_cross_entropy,
    ),
    Case(
        name="sigmoid_binary_cross_entropy",
        variant="pos_weight",
        options={"pos_weight": WEIGHT},
        inputs=soft,
        formula=lambda x, y: cross_entropy(x, y, WEIGHT),
        gradient=lambda x, y: slope(x, y, WEIGHT),
        event=(0, 0),
        scales=LOGIT_SCALES,
    ),
    Case(
        name="sigmoid_binary_cross_entropy",
        variant="label_smoothing",
        options={"label_smoothing": SMOOTHING},
        inputs=soft,
        formula=lambda x, y: cross_entropy(x, smoothed(y)),
        gradient=lambda x, y: slope(x, smoothed(y)),
        event=(0, 0),
        scales=LOGIT_SCALES,
    ),
]
