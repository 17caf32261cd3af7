"""Losses on distances between embeddings."""

import math

import mpmath as mp
import numpy as np
import optax

from tests.case import BATCH, SCALES, Case, Scale

FEATURES = 5


def triplets(rng: np.random.Generator, scale: Scale):
    """Positives that are farther away than negatives, so that the loss is active."""
    anchor, near, far = rng.normal(size=(3, BATCH, FEATURES))
    size = {"tiny": 1e-3, "wide": 30.0, "saturated": 1e4}.get(scale, 1.0)
    if scale == "offset":
        anchor = anchor + 300 * rng.choice([-1, 1], size=(BATCH, 1))
    return anchor, anchor + size * far, anchor + 0.2 * size * near


def power_sum(d, q, eps):
    return mp.fsum(abs(v) ** q for v in d) + eps


def distance(d, q, eps):
    if q == math.inf:
        return max(abs(v) for v in d)
    return power_sum(d, q, eps) ** (1 / mp.mpf(q))


def slope(d, q, eps):
    """The derivative of the distance by the difference."""
    if q == math.inf:
        largest = distance(d, q, eps)
        return np.array([mp.sign(v) * (abs(v) == largest) for v in d])
    h = distance(d, q, eps)
    return np.array([mp.sign(v) * (abs(v) / h) ** (mp.mpf(q) - 1) for v in d])


def loss(q=2, margin=1.0, eps=1e-6):
    margin, eps = mp.mpf(margin), mp.mpf(eps)

    def triplet(a, p, n):
        return max(
            mp.mpf(0), distance(a - p, q, eps) - distance(a - n, q, eps) + margin
        )

    return triplet


def gradient(q=2, margin=1.0, eps=1e-6):
    eps = mp.mpf(eps)

    def by_anchor(a, p, n):
        if loss(q, margin, eps)(a, p, n) == 0:
            return 0 * a
        return slope(a - p, q, eps) - slope(a - n, q, eps)

    return by_anchor


def twin(**options):
    return lambda a, p, n: optax.losses.triplet_margin_loss(a, p, n, **options)


def absolute(a, p, n):
    """The loss is a difference of distances, each of which is rounded once."""
    return 1e-6 * float(max(1, length(a - p), length(a - n)))


def length(d):
    return mp.sqrt(mp.fsum(d * d))


SETTINGS = {
    "": {},
    "degree 1": {"norm_degree": 1},
    "degree 3": {"norm_degree": 3},
    "degree 1.5": {"norm_degree": 1.5, "eps": 1e-3},
    "largest": {"norm_degree": math.inf},
    "eps 0, margin 0.2": {"eps": 0.0, "margin": 0.2},
}

CASES = [
    Case(
        name="triplet_margin_loss",
        kinks=True,
        variant=variant,
        options=options,
        inputs=triplets,
        formula=loss(options.get("norm_degree", 2), *rest),
        gradient=gradient(options.get("norm_degree", 2), *rest),
        event=(1, 1, 1),
        # The twin takes powers of signed differences (odd and fractional degrees), and
        # the gradient of the largest difference is a step.
        optax=twin(**options) if options.get("norm_degree", 2) == 2 else None,
        # In half precision the largest difference is often several, at a kink.
        scales=("unit", "wide", "saturated")
        if options.get("norm_degree") == math.inf
        else SCALES,
        hessian=options.get("norm_degree", 2) not in (1, math.inf),
        floor=absolute,
        # Second derivatives are differences of two curvatures as well.
        rtol=3e-6 if options.get("eps") == 0 else 5e-7,
    )
    for variant, options in SETTINGS.items()
    for rest in [(options.get("margin", 1.0), options.get("eps", 1e-6))]
]
