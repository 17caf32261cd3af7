"""Linear-chain conditional random fields: every sequence of classes."""

import functools
import itertools

import mpmath as mp
import numpy as np

import jaxloss
from tests.case import BATCH, Case
from tests.cases import softmax

STEPS, CLASSES = 3, 3
TRANSITIONS = np.array(
    [[0.5, -1.0, 0.25], [1.5, 0.0, -0.5], [-0.75, 2.0, 1.0]], np.float32
)
START, END = np.array([[0.5, -0.25, 1.0], [-1.0, 0.75, 0.125]], np.float32)
SCORES = {"transitions": TRANSITIONS, "start_scores": START, "end_scores": END}


def draw(rng, scale):
    """Half of the chains are labelled as their scores say."""
    rows = [softmax.logits(rng, scale, CLASSES) for _ in range(STEPS)]
    x = np.stack(rows, axis=1)
    y = rng.integers(CLASSES, size=(BATCH, STEPS))
    right = np.arange(BATCH)[:, None] % 2 == 0
    return x, np.where(right, x.argmax(-1), y).astype(np.int32)


def exact(scores):
    return np.vectorize(lambda v: v * mp.mpf(1), otypes=[object])(scores)


def sequences(x, transitions, start, end):
    """Every sequence of classes with the exponential of its score."""
    for z in itertools.product(range(CLASSES), repeat=len(x)):
        score = start[z[0]] + end[z[-1]] + mp.fsum(x[t, k] for t, k in enumerate(z))
        score += mp.fsum(transitions[j, k] for j, k in itertools.pairwise(z))
        yield z, mp.exp(score)


def nll(x, y, transitions=TRANSITIONS, start=START, end=END):
    scores = exact(transitions), exact(start), exact(end)
    weights = dict(sequences(x, *scores))
    return mp.log(mp.fsum(weights.values())) - mp.log(weights[tuple(map(int, y))])


def nll_gradient(x, y, transitions=TRANSITIONS, start=START, end=END):
    gradient, total = np.full(x.shape, mp.mpf(0)), mp.mpf(0)
    for z, w in sequences(x, exact(transitions), exact(start), exact(end)):
        total += w
        gradient[np.arange(len(z)), list(z)] += w
    gradient /= total
    gradient[np.arange(len(x)), list(map(int, y))] -= 1
    return gradient


def with_transitions(rng, scale):
    return (
        *draw(rng, scale),
        softmax.logits(rng, scale, CLASSES * CLASSES).reshape(BATCH, CLASSES, CLASSES),
    )


def of_transitions(x, y, transitions):
    none = np.zeros(CLASSES)
    return nll(x, y, transitions, none, none)


@functools.wraps(jaxloss.crf_nll)
def call(logits, labels, **options):
    return jaxloss.crf_nll(logits, labels, **SCORES, **options)


IN_NATS = {"crf_nll"}

CASES = [
    Case(
        name="crf_nll",
        call=call,
        inputs=draw,
        formula=nll,
        gradient=nll_gradient,
        event=(2, 1),
    ),
    Case(
        name="crf_nll",
        variant="transitions",
        keywords=("transitions",),
        inputs=with_transitions,
        formula=of_transitions,
        gradient=None,
        event=(2, 1, 2),
        argument=2,
        vmapped=True,
        scales=("unit", "saturated"),
    ),
]
