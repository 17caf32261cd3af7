"""Losses of images as images."""

import mpmath as mp
import numpy as np

from tests import oracle
from tests.case import BATCH, Case, Scale

SIZE, WINDOW, SIGMA = 4, 3, 1.5


def pictures(rng: np.random.Generator, scale: Scale):
    """Pictures that differ, or hardly do, or are bright."""
    x, noise = rng.uniform(size=(2, BATCH, SIZE, SIZE, 1))
    y = x + {"tiny": 1e-4, "saturated": 1e-2}.get(scale, 0.5) * (noise - 0.5)
    offset = 100.0 if scale == "offset" else 0.0
    return x + offset, y + offset


def window():
    taps = [mp.exp(-((k - WINDOW // 2) ** 2) / mp.mpf(2 * SIGMA**2)) for k in range(3)]
    total = mp.fsum(taps)
    return np.array([[a * b / total**2 for b in taps] for a in taps])


def dissimilarity(x, y):
    w, c1, c2 = window(), mp.mpf(0.01) ** 2, mp.mpf(0.03) ** 2
    terms = []
    for i, j in np.ndindex(SIZE - WINDOW + 1, SIZE - WINDOW + 1):
        a, b = (v[i : i + WINDOW, j : j + WINDOW, 0] for v in (x, y))
        mean_a, mean_b = (w * a).sum(), (w * b).sum()
        var_a, var_b = (w * (a - mean_a) ** 2).sum(), (w * (b - mean_b) ** 2).sum()
        covariance = (w * (a - mean_a) * (b - mean_b)).sum()
        light = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        structure = (2 * covariance + c2) / (var_a + var_b + c2)
        terms.append(1 - light * structure)
    return mp.fsum(terms) / len(terms)


def floor(x, y):
    """A pixel's gradient is the sum of what it does to the windows that it is in."""
    with mp.workdps(oracle.DIGITS):
        gradient = oracle.gradient(CASES[0], [x, y])
    return 5e-7 * float(max(abs(v) for v in gradient.ravel()))


CASES = [
    Case(
        name="ssim_loss",
        variant="window of 3",
        options={"window": WINDOW, "sigma": SIGMA},
        inputs=pictures,
        formula=dissimilarity,
        gradient=None,
        event=(3, 3),
        floor=floor,
        scales=("tiny", "unit", "offset", "saturated"),
    ),
]
