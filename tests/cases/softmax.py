"""Softmax cross entropies."""

import mpmath as mp
import numpy as np
from optax import losses as optax

from tests.case import BATCH, Case, Scale

CLASSES = 7


def logits(
    rng: np.random.Generator, scale: Scale, classes: int = CLASSES
) -> np.ndarray:
    """Rows at every scale: nearly equal, ordinary, spread, far from 0, confident."""
    x = rng.normal(size=(BATCH, classes))
    match scale:
        case "tiny":
            return 1e-4 * x
        case "unit":
            return x
        case "wide":
            return 10 * x
        case "offset":
            return x + 1e5 * rng.choice([-1, 1], size=(BATCH, 1))
        case "saturated":
            x[np.arange(BATCH), rng.integers(classes, size=BATCH)] += 25
            return x


def labelled(rng, scale):
    x = logits(rng, scale)
    label = rng.integers(CLASSES, size=BATCH)
    # Half of the rows are confident and right, half confident and wrong.
    right = np.arange(BATCH) % 2 == 0
    return x, np.where(right, x.argmax(-1), label).astype(np.int32)


def log_partition(x):
    peak = max(x)
    return peak + mp.log(mp.fsum(mp.exp(v - peak) for v in x))


def softmax(x):
    total = log_partition(x)
    return np.array([mp.exp(v - total) for v in x])


def cross_entropy(x, y):
    return log_partition(x) - x[y]


def cross_entropy_gradient(x, y):
    p = softmax(x)
    p[y] -= 1
    return p


def soft(rng, scale):
    """Soft targets: full, sparse and one-hot rows, not normalised by the harness."""
    x, label = labelled(rng, scale)
    t = rng.dirichlet(np.ones(CLASSES), size=BATCH)
    t[::4, 1::2] = 0
    t[1::4] = np.eye(CLASSES)[label[1::4]]
    t[3::4] = np.eye(CLASSES)[label[3::4]]
    return x, t


def one_hot(rng, scale):
    x, label = labelled(rng, scale)
    return x, np.eye(CLASSES)[label]


def soft_cross_entropy(x, t):
    total = log_partition(x)
    return mp.fsum(v * (total - u) for u, v in zip(x, t, strict=True))


def soft_cross_entropy_gradient(x, t):
    return mp.fsum(t) * softmax(x) - t


def soft_floor(x, t):
    # (sum of t) p_j - t_j is the difference of two rounded numbers: the targets are
    # given to half a unit in the last place of float32, and so is p.
    return 1.2e-7 if 0 < max(t) < 1 else 0.0


# The options at once, on numbers that are exact in float32 and differ from each other.
CLASS_WEIGHTS = np.array([0.5, 1.25, 2.0, 0.75, 1.5, 0.25, 3.0], np.float32)


def with_options(nll, smoothing, z_loss, cap, temperature):
    """The documented formula of all options, on top of target masses."""

    def formula(x, y):
        e, z, c, t = map(mp.mpf, (smoothing, z_loss, cap, temperature))
        x = np.array([c * mp.tanh(v / c) / t for v in x])
        w = [mp.mpf(float(v)) for v in CLASS_WEIGHTS]
        total = log_partition(x)
        masses = nll(y)
        loss = mp.mpf(0)
        for j in range(CLASSES):
            mass = (1 - e) * masses[j] + e / CLASSES
            loss += w[j] * mass * (total - x[j])
        return loss + z * total**2

    def gradient(x, y):
        e, z, c, t = map(mp.mpf, (smoothing, z_loss, cap, temperature))
        capped = np.array([c * mp.tanh(v / c) / t for v in x])
        w = np.array([mp.mpf(float(v)) for v in CLASS_WEIGHTS])
        masses = w * ((1 - e) * np.array(nll(y)) + e / CLASSES)
        scale = mp.fsum(masses) + 2 * z * log_partition(capped)
        slope = np.array([mp.sech(v / c) ** 2 / t for v in x])
        return (scale * softmax(capped) - masses) * slope

    return formula, gradient


def masses_of_label(y):
    return [mp.mpf(int(j == y)) for j in range(CLASSES)]


OPTIONS = {
    "label_smoothing": 0.125,
    "z_loss": 0.0625,
    "logit_softcap": 8.0,
    "temperature": 0.75,
}
option_formula, option_gradient = with_options(masses_of_label, *OPTIONS.values())
option_soft_formula, option_soft_gradient = with_options(list, *OPTIONS.values())


def poly(x, t):
    p = softmax(x)
    return soft_cross_entropy(x, t) + 2 * mp.fsum(t * (1 - p))


def poly_gradient(x, t):
    p = softmax(x)
    return soft_cross_entropy_gradient(x, t) + 2 * p * (mp.fsum(t * p) - t)


# A cap flattens the logits of all scales but the small ones; with an offset it flattens
# them to a point, where nothing is left to measure.
CAPPED = ("tiny", "unit", "wide")

IN_NATS = {
    "poly_loss_cross_entropy",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
}
NOT_REDUCED = SIBLINGS = {"safe_softmax_cross_entropy"}

FLAGSHIP = {"softmax_cross_entropy_with_integer_labels"}

CASES = [
    Case(
        name="softmax_cross_entropy_with_integer_labels",
        inputs=labelled,
        formula=cross_entropy,
        gradient=cross_entropy_gradient,
        event=(1, 0),
        optax=optax.softmax_cross_entropy_with_integer_labels,
    ),
    Case(
        name="softmax_cross_entropy_with_integer_labels",
        variant="temperature",
        options={"temperature": 0.75},
        inputs=labelled,
        formula=lambda x, y: cross_entropy(x / mp.mpf(0.75), y),
        gradient=lambda x, y: cross_entropy_gradient(x / mp.mpf(0.75), y) / 0.75,
        event=(1, 0),
    ),
    Case(
        name="softmax_cross_entropy_with_integer_labels",
        variant="all options",
        options={**OPTIONS, "class_weights": CLASS_WEIGHTS},
        inputs=labelled,
        formula=option_formula,
        gradient=option_gradient,
        event=(1, 0),
        scales=CAPPED,
        # The gradient is a sum of several signed terms of the size of the weights.
        floor=lambda x, y: 1e-6,
    ),
    Case(
        name="softmax_cross_entropy",
        inputs=soft,
        formula=soft_cross_entropy,
        gradient=soft_cross_entropy_gradient,
        event=(1, 1),
        optax=optax.softmax_cross_entropy,
        floor=soft_floor,
    ),
    Case(
        name="softmax_cross_entropy",
        variant="one-hot",
        inputs=one_hot,
        formula=soft_cross_entropy,
        gradient=soft_cross_entropy_gradient,
        event=(1, 1),
        optax=optax.softmax_cross_entropy,
    ),
    Case(
        name="softmax_cross_entropy",
        variant="by targets",
        inputs=soft,
        formula=soft_cross_entropy,
        gradient=lambda x, t: log_partition(x) - x,
        event=(1, 1),
        argument=1,
        hessian=False,  # linear
        optax=optax.softmax_cross_entropy,
    ),
    Case(
        name="softmax_cross_entropy",
        variant="all options",
        options={**OPTIONS, "class_weights": CLASS_WEIGHTS},
        inputs=soft,
        formula=option_soft_formula,
        gradient=option_soft_gradient,
        event=(1, 1),
        scales=CAPPED,
        # As for the integer form.
        floor=lambda x, t: 1e-6,
    ),
    Case(
        name="safe_softmax_cross_entropy",
        inputs=one_hot,
        formula=soft_cross_entropy,
        gradient=soft_cross_entropy_gradient,
        event=(1, 1),
        optax=optax.safe_softmax_cross_entropy,
    ),
    Case(
        name="poly_loss_cross_entropy",
        inputs=one_hot,
        formula=poly,
        gradient=poly_gradient,
        event=(1, 1),
        optax=optax.poly_loss_cross_entropy,
    ),
    Case(
        name="poly_loss_cross_entropy",
        variant="soft",
        inputs=soft,
        formula=poly,
        gradient=poly_gradient,
        event=(1, 1),
        optax=optax.poly_loss_cross_entropy,
        floor=lambda x, t: 3 * soft_floor(x, t),
    ),
]
