"""Smoothed labels."""

import mpmath as mp
import numpy as np
from optax import losses as optax

from tests.case import BATCH, Case

CLASSES = 7
ALPHA = 0.125


def one_hot(rng, scale):
    return (np.eye(CLASSES)[rng.integers(CLASSES, size=BATCH)],)


def smoothed(y):
    alpha = mp.mpf(ALPHA)
    return (1 - alpha) * y + alpha / len(y)


NOT_REDUCED = {"smooth_labels"}

CASES = [
    # Integer labels are welcome here, unlike integer predictions, and what comes back
    # are labels, not losses: one row at a time, the laws of a batch of losses aside.
    Case(
        name="smooth_labels",
        options={"alpha": ALPHA},
        inputs=one_hot,
        formula=smoothed,
        gradient=lambda y: np.array([1 - mp.mpf(ALPHA)] * len(y)),
        event=(1,),
        vmapped=True,
        scales=("unit",),
        hessian=False,  # linear
        optax=lambda labels: optax.smooth_labels(labels, ALPHA),
    ),
]
