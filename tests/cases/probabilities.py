"""Losses of probabilities and of log-probabilities."""

import mpmath as mp
import numpy as np

from tests.case import BATCH, Case, Scale
from tests.cases import softmax

CLASSES = softmax.CLASSES


def log(p):
    """The logarithm of what is not 0."""
    return mp.log(p) if p else mp.mpf(0)


# ------------------------------------------------------------------ two classes


def chances(rng: np.random.Generator, scale: Scale):
    """Probabilities near 1/2, ordinary, near 0 and near 1; hard and soft labels."""
    x = rng.normal(size=BATCH)
    match scale:
        case "tiny":
            p = 0.5 + 1e-3 * x
        case "wide":
            p = 10.0 ** -rng.uniform(0.1, 4, size=BATCH)
        case "saturated":
            # As near to 1 as bfloat16 comes.
            p = 1 - 2.0 ** -rng.uniform(2, 7, size=BATCH)
        case _:
            p = 1 / (1 + np.exp(-x))
    label = rng.random(size=BATCH)
    label[::3] = 0
    label[1::3] = 1
    return p, label


def binary(p, y):
    return -y * log(p) - (1 - y) * log(1 - p)


def binary_gradient(p, y):
    return (p - y) / (p * (1 - p))


# ------------------------------------------------------------------ many classes


def simplex(rng: np.random.Generator, scale: Scale) -> np.ndarray:
    x = softmax.logits(rng, scale)
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def with_targets(rng, scale):
    _, t = softmax.soft(rng, scale)
    return simplex(rng, scale), t


def logs_with_targets(rng, scale):
    p, t = with_targets(rng, scale)
    return np.log(p), t


def logs_with_labels(rng, scale):
    p, _ = with_targets(rng, scale)
    label = rng.integers(CLASSES, size=BATCH)
    # The loss reads no log-probability but the label's: here is the one that the law
    # of NaN poisons.
    label[0] = 0
    return np.log(p), label.astype(np.int32)


def categorical(p, t):
    return -mp.fsum(v * log(u) for u, v in zip(p, t, strict=True))


def of_logs(log_p, t):
    return -mp.fsum(t * log_p)


def one_hot(y):
    return np.array([mp.mpf(int(j == y)) for j in range(CLASSES)])


CLASS_WEIGHTS = softmax.CLASS_WEIGHTS


def entropy_of_logits(x):
    p = softmax.softmax(x)
    return -mp.fsum(p * np.array([mp.log(v) for v in p]))


def entropy_of_logits_gradient(x):
    p = softmax.softmax(x)
    log_p = np.array([mp.log(v) for v in p])
    return -p * (log_p + entropy_of_logits(x))


SCALES: tuple[Scale, ...] = ("tiny", "unit", "wide", "saturated")
# float16 underflows to 0 on the wide scale, where an entropy has no derivative.
POSITIVE: tuple[Scale, ...] = ("tiny", "unit")

IN_NATS = {
    "binary_cross_entropy",
    "categorical_cross_entropy",
    "cross_entropy",
    "entropy",
    "nll_loss",
    "softmax_entropy",
}

CASES = [
    Case(
        name="binary_cross_entropy",
        inputs=chances,
        formula=binary,
        gradient=binary_gradient,
        event=(0, 0),
        scales=SCALES,
    ),
    Case(
        name="binary_cross_entropy",
        variant="by labels",
        inputs=lambda rng, scale: (
            chances(rng, scale)[0],
            rng.uniform(0.125, 0.875, size=BATCH),
        ),
        formula=binary,
        gradient=None,  # the closed form is of the first argument
        event=(0, 0),
        argument=1,
        scales=SCALES,
    ),
    Case(
        name="categorical_cross_entropy",
        inputs=with_targets,
        formula=categorical,
        gradient=lambda p, t: -t / p,
        event=(1, 1),
        scales=POSITIVE,
    ),
    Case(
        name="cross_entropy",
        inputs=logs_with_targets,
        formula=of_logs,
        gradient=lambda log_p, t: -t,
        event=(1, 1),
        scales=SCALES,
        hessian=False,
    ),
    Case(
        name="nll_loss",
        inputs=logs_with_labels,
        formula=lambda log_p, y: -log_p[y],
        gradient=lambda log_p, y: -one_hot(y),
        event=(1, 0),
        scales=SCALES,
        hessian=False,
    ),
    Case(
        name="nll_loss",
        variant="class weights",
        options={"class_weights": CLASS_WEIGHTS},
        inputs=logs_with_labels,
        formula=lambda log_p, y: -mp.mpf(float(CLASS_WEIGHTS[y])) * log_p[y],
        gradient=lambda log_p, y: -mp.mpf(float(CLASS_WEIGHTS[y])) * one_hot(y),
        event=(1, 0),
        scales=SCALES,
        hessian=False,
    ),
    Case(
        name="entropy",
        inputs=lambda rng, scale: (simplex(rng, scale),),
        formula=lambda p: -mp.fsum(v * log(v) for v in p),
        gradient=lambda p: np.array([-mp.log(v) - 1 for v in p]),
        event=(1,),
        scales=POSITIVE,
    ),
    Case(
        name="softmax_entropy",
        inputs=lambda rng, scale: (softmax.logits(rng, scale),),
        formula=entropy_of_logits,
        gradient=entropy_of_logits_gradient,
        event=(1,),
        # -p (log p + H) is a difference of numbers of the size of log C.
        floor=lambda x: 1e-6,
    ),
]
