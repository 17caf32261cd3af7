"""Losses of pairs and triplets, and margins on angles."""

import functools

import jax.numpy as jnp
import mpmath as mp
import numpy as np

import jaxloss
from tests.case import BATCH, SCALES, Case, Scale
from tests.cases import metric_learning
from tests.cases.regression import (
    ANGLES,
    residuals,
    similarity,
    similarity_gradient,
    vectors,
)

ENTRIES = 5

# ------------------------------------------------------------------ pairs


def classes(rng, shape):
    """0 and 1, both of which occur."""
    return np.resize([1, 0, 0, 1, 1], shape).astype(np.int32)


def pairs(rng, scale):
    """Pairs of which some are nearer than the margin."""
    a, b = residuals(rng, scale)
    b = a + (b - a) * rng.uniform(0.1, 0.6, size=(BATCH, 1))
    return a, b, classes(rng, BATCH)


def angles(rng, scale):
    return (*vectors(rng, scale), classes(rng, BATCH))


def scored(rng, scale):
    a, b = residuals(rng, scale)
    return a, b, 2 * classes(rng, a.shape) - 1


def measured(rng, scale):
    a, b, y = scored(rng, scale)
    return np.abs(a - b), y


def length(d):
    return mp.sqrt(mp.fsum(d * d))


def contrastive(margin=1, positive_margin=0):
    def loss(a, b, y):
        d = length(a - b)
        if y:
            return max(0, d - mp.mpf(positive_margin)) ** 2
        return max(0, mp.mpf(margin) - d) ** 2

    def gradient(a, b, y):
        d = length(a - b)
        near = max(0, d - mp.mpf(positive_margin))
        far = max(0, mp.mpf(margin) - d)
        return 2 * (near if y else -far) * (a - b) / d

    return loss, gradient


def cosine(margin):
    m = mp.mpf(margin)

    def loss(a, b, y):
        c = similarity()(a, b)
        return 1 - c if y else max(mp.mpf(0), c - m)

    def gradient(a, b, y):
        slope = similarity_gradient()(a, b)
        return -slope if y else slope * int(similarity()(a, b) > m)

    return loss, gradient


@functools.wraps(jaxloss.cosine_embedding_loss)
def of_bits(first, second, *, labels, **options):
    """With labels 0 for -1, of which the laws may take remainders."""
    return jaxloss.cosine_embedding_loss(
        first, second, labels=2 * labels - 1, **options
    )


def each(function):
    return np.vectorize(function, otypes=[object])


def lead(margin):
    m = mp.mpf(margin)
    return (
        each(lambda a, b, y: max(mp.mpf(0), -int(y) * (a - b) + m)),
        each(lambda a, b, y: -int(y) * mp.mpf(int(-int(y) * (a - b) + m > 0))),
    )


def hinge(d, y):
    return d if y > 0 else max(mp.mpf(0), 1 - d)


def hinge_slope(d, y):
    return mp.mpf(1) if y > 0 else -mp.mpf(int(d < 1))


# ------------------------------------------------------------------ triplets


def cosine_distance(a, b):
    return 1 - similarity()(a, b)


def turn(a, b):
    return -similarity_gradient()(a, b)


DISTANCES = {
    "euclidean": (lambda a, b: length(a - b), lambda a, b: (a - b) / length(a - b)),
    "squared_euclidean": (lambda a, b: length(a - b) ** 2, lambda a, b: 2 * (a - b)),
    "cosine": (cosine_distance, turn),
}


def triplet(distance, margin=1, swap=False):
    d, slope = DISTANCES[distance]

    def far(a, p, n):
        return min(d(a, n), d(p, n)) if swap else d(a, n)

    def loss(a, p, n):
        lack = d(a, p) - far(a, p, n)
        if margin is None:
            return mp.log(1 + mp.exp(lack))
        return max(mp.mpf(0), lack + mp.mpf(margin))

    def gradient(a, p, n):
        lack = d(a, p) - far(a, p, n)
        if margin is None:
            weight = 1 / (1 + mp.exp(-lack))
        else:
            weight = mp.mpf(int(lack + mp.mpf(margin) > 0))
        away = 0 * a if swap and d(p, n) < d(a, n) else slope(a, n)
        return weight * (slope(a, p) - away)

    return loss, gradient


def triplet_floor(distance):
    d, _ = DISTANCES[distance]
    # The loss is a difference of distances, each of which is rounded once.
    return lambda a, p, n: 1e-6 * float(max(1, d(a, p), d(a, n)))


TRIPLETS = (
    ("", {}, SCALES),
    ("soft margin", {"margin": None}, SCALES),
    ("swap", {"swap": True, "margin": 0.25}, SCALES),
    ("squared", {"distance": "squared_euclidean"}, ("tiny", "unit", "wide")),
    ("cosine", {"distance": "cosine", "margin": 0.5}, ("tiny", "unit", "wide")),
)

# ------------------------------------------------------------------ angular margins

COSINES: tuple[Scale, ...] = ("tiny", "unit", "saturated")


def cosines(rng, scale):
    """Right angles, any angles, and a label's angle near 0 or π."""
    x = rng.uniform(-0.98, 0.98, size=(BATCH, ENTRIES))
    y = rng.integers(ENTRIES, size=BATCH).astype(np.int32)
    if scale == "tiny":
        x = 1e-3 * x
    elif scale == "saturated":
        near = 1 - 10.0 ** rng.uniform(-2, -1, size=BATCH)
        x[np.arange(BATCH), y] = near * np.where(np.arange(BATCH) % 2, 1, -1)
    return x, y


def arcface(margin=0.5, scale=64):
    m, gamma = mp.mpf(margin), mp.mpf(scale)

    def logits(x, y):
        theta = mp.acos(x[y])
        z = gamma * x
        turned = mp.cos(theta + m) if theta <= mp.pi - m else x[y] - m * mp.sin(m)
        z[y] = gamma * turned
        return z

    def gradient(x, y):
        slope = 0 * x + gamma
        theta = mp.acos(x[y])
        if theta <= mp.pi - m:
            slope[y] = gamma * (mp.cos(m) + x[y] * mp.sin(m) / mp.sin(theta))
        return slope

    return logits, gradient


def cosface(x, y):
    z = 64 * x
    z[y] = 64 * (x[y] - mp.mpf(0.35))
    return z


def along_the_last(logits):
    """The transform with its classes moved last, where the laws look for them."""

    @functools.wraps(logits)
    def moved(cosines, labels, *, axis=-1, **options):
        result = logits(cosines, labels, axis=axis, **options)
        return jnp.moveaxis(result, axis, -1)

    return moved


NOT_REDUCED = {"arcface_logits", "cosface_logits"}

CASES = [
    *(
        Case(
            name="contrastive_loss",
            variant=variant,
            options=options,
            keywords=("labels",),
            inputs=pairs,
            formula=contrastive(**options)[0],
            gradient=contrastive(**options)[1],
            event=(1, 1, 0),
            kinks=True,
            # Beside a margin the loss is the square of a difference.
            floor=lambda a, b, y: 1e-6 if length(a - b) < 4 else 0.0,
        )
        for variant, options in (
            ("", {}),
            ("margins", {"margin": 1.5, "positive_margin": 0.25}),
        )
    ),
    *(
        Case(
            name="cosine_embedding_loss",
            variant=f"margin {margin}" if margin else "",
            options={"margin": margin} if margin else {},
            call=of_bits,
            keywords=("labels",),
            inputs=angles,
            formula=cosine(margin)[0],
            gradient=cosine(margin)[1],
            event=(1, 1, 0),
            scales=ANGLES,
            # As for the cosine itself; and a cosine beside the margin is a difference.
            rtol=3e-6,
            floor=lambda a, b, y: 0.0 if y else 2e-7,
        )
        for margin in (0.0, 0.75)
    ),
    Case(
        name="hinge_embedding_loss",
        inputs=measured,
        formula=each(hinge),
        gradient=each(hinge_slope),
        event=(1, 1),
        kinks=True,
    ),
    *(
        Case(
            name="margin_ranking_loss",
            variant=f"margin {margin}" if margin else "",
            options={"margin": margin} if margin else {},
            keywords=("labels",),
            inputs=scored,
            formula=lead(margin)[0],
            gradient=lead(margin)[1],
            event=(1, 1, 1),
            kinks=True,
        )
        # The second one is exact in float32, and no difference of inputs.
        for margin in (0.0, 0.75 + 2.0**-13)
    ),
    *(
        Case(
            name="triplet_loss",
            variant=variant,
            options=options,
            inputs=metric_learning.triplets,
            formula=triplet(**{"distance": "euclidean", **options})[0],
            gradient=triplet(**{"distance": "euclidean", **options})[1],
            event=(1, 1, 1),
            kinks=True,
            scales=scales,
            floor=triplet_floor(options.get("distance", "euclidean")),
            # Second derivatives are differences of two curvatures as well.
            rtol=3e-6,
        )
        for variant, options, scales in TRIPLETS
    ),
    Case(
        name="arcface_logits",
        call=along_the_last(jaxloss.arcface_logits),
        inputs=cosines,
        formula=arcface()[0],
        gradient=arcface()[1],
        event=(1, 0),
        scales=COSINES,
        # c cos m - sin θ sin m is a difference of numbers of the size of 1, scaled, and
        # so is its derivative, of which the second term grows with 1 / sin θ.
        floor=lambda x, y: 64 * 3e-7,
        rtol=2e-6,
    ),
    Case(
        name="arcface_logits",
        call=along_the_last(jaxloss.arcface_logits),
        variant="margin and scale",
        options={"margin": 0.25, "scale": 8.0},
        inputs=cosines,
        formula=arcface(0.25, 8)[0],
        gradient=arcface(0.25, 8)[1],
        event=(1, 0),
        scales=COSINES,
        floor=lambda x, y: 8 * 3e-7,
        rtol=2e-6,
    ),
    Case(
        name="cosface_logits",
        call=along_the_last(jaxloss.cosface_logits),
        inputs=cosines,
        formula=cosface,
        gradient=lambda x, y: 0 * x + 64,
        event=(1, 0),
        scales=COSINES,
        # The difference to the margin, scaled.
        floor=lambda x, y: 64 * 6e-8,
    ),
]
