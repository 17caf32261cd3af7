"""Losses of a residual, and of the angle between two vectors."""

import math

import mpmath as mp
import numpy as np
import optax

from tests.case import BATCH, Case, Scale

ENTRIES = 5

# ------------------------------------------------------------------ residuals


def residuals(rng: np.random.Generator, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and targets whose difference is tiny, ordinary, large or cancels."""
    shape = (BATCH, ENTRIES)
    target = rng.normal(size=shape)
    error = rng.normal(size=shape)
    match scale:
        case "tiny":
            # Around 0, so that the residual itself is tiny in every dtype.
            return 1e-4 * error, np.zeros(shape)
        case "wide":
            return target + 10 * error, target
        case "offset":
            target = 1e5 * rng.choice([-1, 1], size=shape) + target
            return target + error, target
        case "saturated":
            return target + 300 * error, target
        case _:
            return target + error, target


def alone(rng, scale):
    """Predictions of targets that are 0."""
    prediction, target = residuals(rng, scale)
    return (prediction - target,)


def each(function):
    """A function of the residual, entry by entry."""
    apply = np.vectorize(function, otypes=[object])
    return lambda prediction, target=0: apply(prediction - target)


def huber(delta):
    delta = mp.mpf(delta)

    def loss(e):
        return e**2 / 2 if abs(e) <= delta else delta * (abs(e) - delta / 2)

    return each(loss)


def clipped(delta):
    return each(lambda e: max(min(e, mp.mpf(delta)), -mp.mpf(delta)))


# ------------------------------------------------------------------ angles

# An offset makes vectors as parallel as its size: "tiny" angles stand for it.
ANGLES: tuple[Scale, ...] = ("tiny", "unit", "wide")


def vectors(rng: np.random.Generator, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    """Vectors at ordinary and tiny angles, of different lengths."""
    a, b = rng.normal(size=(2, BATCH, ENTRIES))
    length = 10.0 ** rng.uniform(-1, 1, size=(BATCH, 1))
    match scale:
        case "tiny":
            return a, length * (a + 1e-2 * b)
        case "wide":
            a = a * 10.0 ** rng.uniform(-2, 2, size=(BATCH, 1))
            return a, length * (a / np.linalg.norm(a, axis=1, keepdims=True) + 0.7 * b)
        case _:
            return a, length * (a + b)


def length(x):
    return mp.sqrt(mp.fsum(x * x))


def divisor(x, epsilon):
    return max(length(x), mp.sqrt(mp.mpf(epsilon)))


def similarity(epsilon=0.0):
    def loss(a, b):
        return mp.fsum(a * b) / (divisor(a, epsilon) * divisor(b, epsilon))

    return loss


def similarity_gradient(epsilon=0.0):
    def gradient(a, b):
        size = divisor(a, epsilon)
        b = b / divisor(b, epsilon)
        if length(a) < size:
            return b / size
        a = a / size
        return (b - mp.fsum(a * b) * a) / size

    return gradient


def distance(epsilon=0.0):
    return lambda a, b: 1 - similarity(epsilon)(a, b)


def distance_gradient(epsilon=0.0):
    return lambda a, b: -similarity_gradient(epsilon)(a, b)


NOT_REDUCED = {"cosine_similarity"}

FLAGSHIP = {"huber_loss"}

CASES = [
    Case(
        name="squared_error",
        inputs=residuals,
        formula=each(lambda e: e**2),
        gradient=each(lambda e: 2 * e),
        event=(1, 1),
        optax=optax.squared_error,
    ),
    Case(
        name="squared_error",
        variant="without targets",
        inputs=alone,
        formula=each(lambda e: e**2),
        gradient=each(lambda e: 2 * e),
        event=(1,),
        optax=optax.squared_error,
    ),
    Case(
        name="l2_loss",
        inputs=residuals,
        formula=each(lambda e: e**2 / 2),
        gradient=each(lambda e: e),
        event=(1, 1),
        optax=optax.l2_loss,
    ),
    Case(
        name="l2_loss",
        variant="by targets",
        inputs=residuals,
        formula=each(lambda e: e**2 / 2),
        gradient=None,  # the closed form is of the first argument
        event=(1, 1),
        argument=1,
        optax=optax.l2_loss,
    ),
    *(
        Case(
            name="huber_loss",
            variant="" if delta == 1 else f"delta {delta}",
            options={} if delta == 1 else {"delta": delta},
            inputs=residuals,
            formula=huber(delta),
            gradient=clipped(delta),
            event=(1, 1),
            optax=None
            if delta == math.inf
            else lambda p, t, delta=delta: optax.huber_loss(p, t, delta=delta),
        )
        for delta in (1, 0.25, 1e4, math.inf)
    ),
    Case(
        name="log_cosh",
        inputs=residuals,
        formula=each(lambda e: mp.log(mp.cosh(e))),
        gradient=each(mp.tanh),
        event=(1, 1),
        optax=optax.log_cosh,
    ),
    *(
        Case(
            name=name,
            variant=f"epsilon {epsilon}" if epsilon else "",
            options={"epsilon": epsilon} if epsilon else {},
            inputs=vectors,
            formula=formula(epsilon),
            gradient=gradient(epsilon),
            event=(1, 1),
            scales=ANGLES,
            # The dot product, and each entry of a gradient, is a difference of numbers
            # that are each rounded, and by chance a small one.
            rtol=3e-6,
            optax=lambda a, b, twin=twin, epsilon=epsilon: twin(a, b, epsilon=epsilon),
        )
        for name, twin, formula, gradient in (
            (
                "cosine_similarity",
                optax.cosine_similarity,
                similarity,
                similarity_gradient,
            ),
            ("cosine_distance", optax.cosine_distance, distance, distance_gradient),
        )
        # With the second one about half of the vectors are shorter than divided by.
        for epsilon in (0.0, 4.0)
    ),
]
