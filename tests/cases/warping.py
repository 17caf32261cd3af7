"""Dynamic time warping, softly: every alignment of two short sequences."""

import mpmath as mp
import numpy as np

from tests.case import BATCH, Case

STEPS, OTHER, FEATURES = 3, 2, 2


def draw(rng, scale):
    x = rng.normal(size=(BATCH, STEPS, FEATURES))
    y = rng.normal(size=(BATCH, OTHER, FEATURES))
    factor = {"tiny": 1e-2, "wide": 10.0, "saturated": 3.0}.get(scale, 1.0)
    offset = 300.0 if scale == "offset" else 0.0
    return factor * x + offset, factor * y + offset


def alignments(m, n):
    """Every way from the first pair of steps to the last one."""
    if m == 1 and n == 1:
        yield [(0, 0)]
        return
    for i, j in ((m - 1, n), (m, n - 1), (m - 1, n - 1)):
        if i and j:
            for way in alignments(i, j):
                yield [*way, (m - 1, n - 1)]


def weights(x, y, gamma):
    for way in alignments(len(x), len(y)):
        cost = mp.fsum(((x[i] - y[j]) ** 2).sum() for i, j in way)
        yield way, mp.exp(-cost / gamma)


def soft_dtw(gamma):
    def formula(x, y):
        return -gamma * mp.log(mp.fsum(w for _, w in weights(x, y, gamma)))

    def gradient(x, y):
        result, total = np.full(x.shape, mp.mpf(0)), mp.mpf(0)
        for way, w in weights(x, y, gamma):
            total += w
            for i, j in way:
                result[i] += 2 * w * (x[i] - y[j])
        return result / total

    return formula, gradient


def floor(gamma):
    def slack(x, y):
        # Costs, and gamma times a logarithm, of different signs.
        costs = max(((a - b) ** 2).sum() for a in x for b in y)
        return 5e-7 * float(costs * 2 + gamma + mp.sqrt(costs))

    return slack


def divergence(gamma):
    plain, _ = soft_dtw(gamma)

    def formula(x, y):
        return plain(x, y) - (plain(x, x) + plain(y, y)) / 2

    return formula


GAMMAS = {"": mp.mpf(1), "gamma 0.125": mp.mpf(0.125)}

CASES = [
    *(
        Case(
            name="soft_dtw",
            variant=variant,
            options={"gamma": float(gamma)},
            inputs=draw,
            formula=soft_dtw(gamma)[0],
            gradient=soft_dtw(gamma)[1],
            event=(2, 2),
            floor=floor(gamma),
        )
        for variant, gamma in GAMMAS.items()
    ),
    Case(
        name="soft_dtw",
        variant="divergence",
        options={"divergence": True},
        inputs=draw,
        formula=divergence(mp.mpf(1)),
        gradient=None,
        event=(2, 2),
        # The difference of three such numbers.
        floor=lambda x, y: 3 * floor(1)(x, y),
        scales=("unit", "wide", "offset"),
    ),
]
