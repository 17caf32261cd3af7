"""Contrastive losses of a batch."""

import mpmath as mp
import numpy as np
import optax

from tests.case import BATCH, Case, Scale

MEMBERS, FEATURES = 6, 4

# The lengths of embeddings do not matter; "saturated" means close pairs.
EMBEDDING_SCALES: tuple[Scale, ...] = ("tiny", "unit", "wide", "saturated")


def batches(rng: np.random.Generator, scale: Scale):
    """Whole batches: pairs, a triple, an example alone, everybody alike."""
    x = rng.normal(size=(BATCH, MEMBERS, FEATURES))
    labels = np.tile(np.array([0, 0, 1, 1, 1, 2], np.int32), (BATCH, 1))
    labels[1] = [3, 4, 5, 3, 4, 5]
    labels[2] = [0, 0, 0, 1, 1, 1]
    match scale:
        case "tiny":
            x = 1e-3 * x
        case "wide":
            x = x * 10.0 ** rng.uniform(-2, 2, size=(BATCH, MEMBERS, 1))
        case "saturated":
            means = rng.normal(size=(BATCH, 6, FEATURES))
            x = np.take_along_axis(means, labels[..., None], axis=1) + 0.1 * x
    return x, labels


def units(x):
    lengths = [mp.sqrt(mp.fsum(row * row)) for row in x]
    return np.array([row / size for row, size in zip(x, lengths, strict=True)]), lengths


def lengths(x, *others):
    """The unit of derivatives by embeddings of which the directions count."""
    return np.array(units(x)[1])[:, None]


def sharply(factor):
    """The same where an exponent is a cosine, or its square, times a factor."""
    return lambda *example: lengths(*example) / factor


def pairs(u, labels, tau):
    """(i, j, the negatives' sum for i, the logits of i) of every positive pair."""
    for i in range(len(u)):
        logits = [mp.fsum(u[i] * other) / tau for other in u]
        others = [k for k in range(len(u)) if labels[k] != labels[i]]
        for j in range(len(u)):
            if j != i and labels[j] == labels[i]:
                yield i, j, others, logits


def ntxent(tau):
    tau = mp.mpf(tau)

    def loss(x, labels):
        u, _ = units(x)
        losses = [
            mp.log(mp.exp(s[j]) + mp.fsum(mp.exp(s[k]) for k in others)) - s[j]
            for _, j, others, s in pairs(u, labels, tau)
        ]
        return mp.fsum(losses) / len(losses)

    return loss


def ntxent_gradient(tau):
    tau = mp.mpf(tau)

    def gradient(x, labels):
        u, lengths = units(x)
        by_logit = np.full((len(x), len(x)), mp.mpf(0))
        count = 0
        for i, j, others, s in pairs(u, labels, tau):
            weights = {k: mp.exp(s[k]) for k in (j, *others)}
            total = mp.fsum(weights.values())
            for k, weight in weights.items():
                by_logit[i, k] += weight / total
            by_logit[i, j] -= 1
            count += 1
        by_unit = (by_logit + by_logit.T) @ u / (tau * count)
        return np.array(
            [
                (g - mp.fsum(g * row) * row) / size
                for g, row, size in zip(by_unit, u, lengths, strict=True)
            ]
        )

    return gradient


IN_NATS = {"ntxent"}

FLAGSHIP = {"ntxent"}

CASES = [
    Case(
        name="ntxent",
        variant="" if tau == 0.07 else f"temperature {tau}",
        options={} if tau == 0.07 else {"temperature": tau},
        inputs=batches,
        formula=ntxent(tau),
        gradient=ntxent_gradient(tau),
        event=(2, 1),
        vmapped=True,
        scales=EMBEDDING_SCALES,
        optax=lambda x, y, tau=tau: optax.losses.ntxent(x, y, temperature=tau),
        # A logit is a cosine over the temperature: its rounding is 1 / temperature
        # times that of a number of the size of 1, whatever the loss itself is. The
        # gradient adds up such terms over pairs, with both signs.
        floor=lambda x, labels, tau=tau: 5e-7 / tau,
        unit=lengths,
    )
    for tau in (0.07, 0.5)
]
