"""The transducer: every path through a small lattice."""

import functools

import mpmath as mp
import numpy as np

import jaxloss
from tests.case import BATCH, Case
from tests.cases.sequence import examples_too
from tests.cases.softmax import softmax

FRAMES, LABELS, CLASSES = 3, 2, 4
LENGTHS = (3, 3, 2, 3, 1, 3, 2, 3)
WRITTEN = (2, 1, 2, 0, 2, 2, 1, 2)


def draw(rng, scale):
    x = rng.normal(size=(BATCH, FRAMES, LABELS + 1, CLASSES))
    y = rng.integers(1, CLASSES, size=(BATCH, LABELS)).astype(np.int32)
    match scale:
        case "tiny":
            x = 1e-4 * x
        case "wide":
            x = 10 * x
        case "offset":
            x = x + 1e5 * rng.choice([-1, 1], size=(*x.shape[:-1], 1))
        case "saturated":
            # Confident of a path that writes the labels, and every other time of one
            # that does not.
            for i, (frames, labels) in enumerate(zip(LENGTHS, WRITTEN, strict=True)):
                order = rng.permutation(frames - 1 + labels) < labels
                t = u = 0
                for writes in [*order, False]:
                    k = y[i, u] if writes else 0
                    x[i, t, u, (k + (i % 2) * (t == 0)) % CLASSES] += 25
                    t, u = t + (not writes), u + writes
    return x, y, np.array(LENGTHS, np.int32), np.array(WRITTEN, np.int32)


def paths(frames, labels):
    """Every path as the nodes where it writes (True) or reads (False)."""
    if not frames:
        return
    if frames == 1:
        yield [True] * labels + [False]
        return
    for first in range(labels + 1):
        for rest in paths(frames - 1, labels - first):
            yield [True] * first + [False] + rest


def weights(x, y, frames, labels, blank):
    """The nodes and classes of every path, and its probability."""
    p = {}
    for path in paths(int(frames), int(labels)):
        t = u = 0
        steps, weight = [], mp.mpf(1)
        for writes in path:
            if (t, u) not in p:
                p[t, u] = softmax(x[t, u])
            k = int(y[u]) if writes else blank
            steps.append((t, u, k))
            weight *= p[t, u][k]
            t, u = t + (not writes), u + writes
        yield steps, weight


def nll(x, y, frames, labels, blank=0):
    return -mp.log(mp.fsum(w for _, w in weights(x, y, frames, labels, blank)))


def nll_gradient(x, y, frames, labels, blank=0):
    gradient, total = np.full(x.shape, mp.mpf(0)), mp.mpf(0)
    for steps, weight in weights(x, y, frames, labels, blank):
        total += weight
        for t, u, k in steps:
            gradient[t, u] += weight * softmax(x[t, u])
            gradient[t, u, k] -= weight
    return gradient / total


def floor(x, y, frames, labels, blank=0):
    # A component is the difference of two shares of P; the likeliest class is exempt.
    gaps = [
        min(1 - max(softmax(x[t, u])), 0.5)
        for t in range(frames)
        for u in range(labels + 1)
    ]
    return 2.4e-7 * 2 * float(max(gaps, default=0))


def with_last_blank(rng, scale):
    x, y, frames, labels = draw(rng, scale)
    return np.roll(x, -1, axis=-1), y - 1, frames, labels


@functools.wraps(jaxloss.rnnt_loss)
def with_lengths(logits, labels, logit_lengths, label_lengths, **options):
    return jaxloss.rnnt_loss(
        logits,
        labels,
        logit_lengths=logit_lengths,
        label_lengths=label_lengths,
        **options,
    )


IN_NATS = {"rnnt_loss"}

CASES = [
    Case(
        name="rnnt_loss",
        call=examples_too(with_lengths, axes=3),
        inputs=draw,
        formula=nll,
        gradient=nll_gradient,
        event=(3, 1, 0, 0),
        floor=floor,
    ),
    Case(
        name="rnnt_loss",
        variant="last blank",
        call=examples_too(with_lengths, axes=3),
        options={"blank_id": CLASSES - 1},
        inputs=with_last_blank,
        formula=functools.partial(nll, blank=CLASSES - 1),
        gradient=functools.partial(nll_gradient, blank=CLASSES - 1),
        event=(3, 1, 0, 0),
        scales=("unit", "saturated"),
        floor=functools.partial(floor, blank=CLASSES - 1),
    ),
]
