"""The bi-tempered logistic loss."""

import functools

import mpmath as mp
import numpy as np

from tests.case import Case
from tests.cases.softmax import CLASS_WEIGHTS, CLASSES, cross_entropy, labelled, softmax

# ------------------------------------------------------------------ the oracle


def normaliser(x, beta):
    """λ - max x at all digits: bisection, then Newton's method for Σ p = 1."""
    behind = [max(x) - v for v in x]

    def total(z, power):
        return mp.fsum((1 + beta * (z + d)) ** power for d in behind)

    low, high = mp.mpf(0), (len(x) ** beta - 1) / beta
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if total(middle, -1 / beta) >= 1 else (low, middle)
    for _ in range(5):
        low += (total(low, -1 / beta) - 1) / total(low, -1 / beta - 1)
    return low


def probabilities(x, t2):
    if t2 == 1:
        return softmax(x)
    beta = mp.mpf(t2) - 1
    level = 1 + beta * (normaliser(x, beta) + max(x))
    return np.array([(level - beta * v) ** (-1 / beta) for v in x])


def masses(y, smoothing):
    share = mp.mpf(smoothing)
    each = np.full(CLASSES, share / CLASSES)
    each[y] += 1 - share
    return each


def log_t(u, t):
    return mp.log(u) if t == 1 else (u ** (1 - mp.mpf(t)) - 1) / (1 - mp.mpf(t))


def divergence(y, p, t1):
    gap = y * (log_t(y, t1) - log_t(p, t1)) if y else mp.mpf(0)
    power = 2 - mp.mpf(t1)
    return gap - (y**power - p**power) / power


def tempered(x, y, t1, t2, smoothing=0.0):
    pairs = zip(masses(y, smoothing), probabilities(x, t2), strict=True)
    return mp.fsum(divergence(t, p, t1) for t, p in pairs)


def tempered_gradient(x, y, t1, t2, smoothing=0.0):
    t1, t2 = mp.mpf(t1), mp.mpf(t2)
    p = probabilities(x, t2)
    c = p ** (t2 - t1) * (p - masses(y, smoothing))
    return c - p**t2 / mp.fsum(p**t2) * mp.fsum(c)


# ------------------------------------------------------------------ the rows

# Temperatures that are exact in every dtype.
SETTINGS = {
    "": {"t1": 0.75, "t2": 1.25},
    "t1 0, t2 4": {"t1": 0.0, "t2": 4.0},
    "t1 1, t2 1.5": {"t1": 1.0, "t2": 1.5},
    "t1 0.5, t2 1": {"t1": 0.5, "t2": 1.0},
    "smoothed": {"t1": 0.875, "t2": 1.125, "label_smoothing": 0.125},
}


def row(variant, options):
    given = dict(options)
    if "label_smoothing" in given:
        given["smoothing"] = given.pop("label_smoothing")
    return Case(
        name="bi_tempered_logistic_loss",
        variant=variant,
        options=options,
        inputs=labelled,
        formula=functools.partial(tempered, **given),
        gradient=functools.partial(tempered_gradient, **given),
        event=(1, 0),
    )


CASES = [
    *(row(variant, options) for variant, options in SETTINGS.items()),
    Case(
        name="bi_tempered_logistic_loss",
        variant="t1 1, t2 1, class weights",
        options={"t1": 1.0, "t2": 1.0, "class_weights": CLASS_WEIGHTS},
        inputs=labelled,
        formula=lambda x, y: mp.mpf(float(CLASS_WEIGHTS[y])) * cross_entropy(x, y),
        gradient=lambda x, y: (
            mp.mpf(float(CLASS_WEIGHTS[y])) * tempered_gradient(x, y, 1, 1)
        ),
        event=(1, 0),
    ),
]
