"""Likelihoods of times to an event."""

import mpmath as mp
import numpy as np

from tests.case import BATCH, Case

SUBJECTS = 6


def cohorts(rng, scale):
    """Log-hazards, times with and without ties, and whether the event was seen."""
    x = rng.normal(size=(BATCH, SUBJECTS))
    times = rng.integers(1, 5, size=(BATCH, SUBJECTS)).astype(float)
    times[::2] = rng.permuted(np.arange(1.0, SUBJECTS + 1)[None].repeat(4, 0), axis=1)
    events = (rng.uniform(size=x.shape) < 0.7).astype(np.int32)
    events[:, 0], times[:, 0] = 1, 3.0
    match scale:
        case "tiny":
            x = 1e-4 * x
        case "wide":
            x = 10 * x
        case "offset":
            x = x + 1e5
        case "saturated":
            x[np.arange(BATCH), rng.integers(SUBJECTS, size=BATCH)] += 25
    return x, times, events


def breslow(x, times, events):
    losses = np.full(len(x), mp.mpf(0), object)
    for i in np.flatnonzero(events):
        at_risk = [x[j] for j in range(len(x)) if times[j] >= times[i]]
        losses[i] = mp.log(mp.fsum(mp.exp(v - x[i]) for v in at_risk))
    return losses


def breslow_gradient(x, times, events):
    gradient = np.array([-mp.mpf(int(e)) for e in events])
    for i in np.flatnonzero(events):
        total = mp.fsum(mp.exp(x[j]) for j in range(len(x)) if times[j] >= times[i])
        for j in range(len(x)):
            if times[j] >= times[i]:
                gradient[j] += mp.exp(x[j]) / total
    return gradient


def efron(x, times, events):
    losses = np.full(len(x), mp.mpf(0), object)
    for time in set(times):
        tied = [i for i in np.flatnonzero(events) if times[i] == time]
        if not tied:
            continue
        at_risk = mp.fsum(mp.exp(x[j]) for j in range(len(x)) if times[j] >= time)
        dying = mp.fsum(mp.exp(x[i]) for i in tied)
        total = mp.fsum(
            mp.log(at_risk - mp.mpf(rank) / len(tied) * dying) - x[i]
            for rank, i in enumerate(tied)
        )
        losses[tied] = total / len(tied)
    return losses


IN_NATS = {"cox_partial_nll"}

CASES = [
    Case(
        name="cox_partial_nll",
        variant="",
        keywords=("events",),
        inputs=cohorts,
        formula=breslow,
        gradient=breslow_gradient,
        event=(1, 1, 1),
        vmapped=True,
        # A subject's gradient is the difference of what it is expected and seen to do.
        floor=lambda x, times, events: 3e-7,
    ),
    Case(
        name="cox_partial_nll",
        variant="efron",
        options={"ties": "efron"},
        keywords=("events",),
        inputs=cohorts,
        formula=efron,
        gradient=None,
        event=(1, 1, 1),
        vmapped=True,
        floor=lambda x, times, events: 3e-7 * (1 + float(max(abs(x - x[0])))),
    ),
]
