"""Kullback-Leibler divergences."""

import mpmath as mp
import numpy as np
from optax import losses as optax

from tests.case import BATCH, Case, Scale

CLASSES = 7


def log_softmax(x: np.ndarray) -> np.ndarray:
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def distributions(rng: np.random.Generator, scale: Scale):
    """Two rows of log-probabilities: nearly equal, ordinary, peaked, one-sided."""
    x = rng.normal(size=(BATCH, CLASSES))
    y = rng.normal(size=(BATCH, CLASSES))
    match scale:
        case "tiny":
            y = x + 1e-2 * y
        case "wide":
            x, y = 10 * x, 10 * y
        case "saturated":
            peak = rng.integers(CLASSES, size=BATCH)
            x[np.arange(BATCH), peak] += 15
            y[np.arange(BATCH), peak] += 12
        case _:
            pass
    return log_softmax(x), log_softmax(y)


def normalised(rng, scale):
    log_p, log_t = distributions(rng, scale)
    return log_p, np.exp(log_t)


def measures(rng, scale):
    """Masses that are far from adding up to the same: the definition, as it stands."""
    log_p, log_t = distributions(rng, scale)
    return log_p - 1, 1.5 * np.exp(log_t)


def log_measures(rng, scale):
    log_p, log_t = distributions(rng, scale)
    return log_p - 1, log_t + 0.5


def some_absent(rng, scale):
    """Classes of no target, predicted or not."""
    log_p, t = normalised(rng, scale)
    t[:, 0] = 0
    log_p[::2, 0] = -np.inf
    return log_softmax(log_p), t / t.sum(-1, keepdims=True)


def some_absent_logs(rng, scale):
    with np.errstate(divide="ignore"):
        log_p, t = some_absent(rng, scale)
        return log_p, np.log(t)


def nearly_equal(rng, scale):
    """Measures near each other, whatever they add up to, and one class of no target."""
    log_p, log_t = distributions(rng, scale)
    t = 3 * np.exp(log_t)
    t[:, 0] = 0
    return log_p + np.log(3), t


def exp(x):
    return np.array([mp.exp(v) for v in x])


def literal(log_p, t):
    """The definition. 0 log 0 = 0, and what has no target has no say."""
    return mp.fsum(b * (mp.log(b) - a) for a, b in zip(log_p, t, strict=True) if b)


def defect(log_p, t):
    """Σt - Σp of rows that are normalised but for rounding.

    It is rounded itself, far below float64, so that it is the same number under the
    small steps of a numeric derivative: it is dropped as a constant.
    """
    unit = mp.mpf(2) ** -75
    return mp.nint((mp.fsum(t) - mp.fsum(exp(log_p))) / unit) * unit


def without_defect(log_p, t):
    """What the rounding of half precision leaves is far below any true difference."""
    missing = defect(log_p, t)
    assert abs(missing) < 0.03 * mp.fsum(t)
    return literal(log_p, t) - missing


def of_logs(formula):
    return lambda log_p, log_t: formula(log_p, exp(log_t))


def bregman(log_p, t):
    return literal(log_p, t) + mp.fsum(exp(log_p)) - mp.fsum(t)


def by_targets(log_p, t):
    return np.array([mp.log(b) - a + 1 for a, b in zip(log_p, t, strict=True)])


SCALES: tuple[Scale, ...] = ("tiny", "unit", "wide", "saturated")
# No target may be 0 where it is differentiated; on the wide scale float16 underflows.
POSITIVE: tuple[Scale, ...] = ("tiny", "unit", "saturated")

IN_NATS = {
    "generalized_kl_divergence",
    "kl_divergence",
    "kl_divergence_with_log_targets",
}
# A deprecated alias, kept as it was.
NOT_REDUCED = WITHOUT_ROW = {"convex_kl_divergence"}

FLAGSHIP = {"kl_divergence"}

CASES = [
    # The gradient is linear in the targets and does not depend on the predictions.
    Case(
        name="kl_divergence",
        inputs=normalised,
        formula=without_defect,
        gradient=lambda log_p, t: -t,
        event=(1, 1),
        scales=SCALES,
        hessian=False,
        optax=optax.kl_divergence,
    ),
    Case(
        name="kl_divergence",
        variant="unnormalised",
        inputs=measures,
        formula=literal,
        gradient=lambda log_p, t: -t,
        event=(1, 1),
        scales=SCALES,
        hessian=False,
        optax=optax.kl_divergence,
    ),
    Case(
        name="kl_divergence",
        variant="absent classes",
        inputs=some_absent,
        formula=without_defect,
        gradient=lambda log_p, t: -t,
        event=(1, 1),
        scales=SCALES,
        hessian=False,
    ),
    Case(
        name="kl_divergence",
        variant="targets",
        inputs=measures,
        formula=literal,
        gradient=by_targets,
        argument=1,
        event=(1, 1),
        scales=POSITIVE,
        optax=optax.kl_divergence,
    ),
    Case(
        name="kl_divergence_with_log_targets",
        inputs=distributions,
        formula=of_logs(without_defect),
        gradient=lambda log_p, log_t: -exp(log_t),
        event=(1, 1),
        scales=SCALES,
        hessian=False,
        optax=optax.kl_divergence_with_log_targets,
    ),
    Case(
        name="kl_divergence_with_log_targets",
        variant="absent classes",
        inputs=some_absent_logs,
        formula=of_logs(without_defect),
        gradient=lambda log_p, log_t: -exp(log_t),
        event=(1, 1),
        scales=SCALES,
        hessian=False,
    ),
    Case(
        name="kl_divergence_with_log_targets",
        variant="targets",
        inputs=log_measures,
        formula=of_logs(literal),
        gradient=lambda log_p, log_t: exp(log_t) * by_targets(log_p, exp(log_t)),
        argument=1,
        event=(1, 1),
        scales=SCALES,
        optax=optax.kl_divergence_with_log_targets,
    ),
    Case(
        name="generalized_kl_divergence",
        inputs=measures,
        formula=bregman,
        gradient=lambda log_p, t: exp(log_p) - t,
        event=(1, 1),
        scales=SCALES,
        optax=optax.generalized_kl_divergence,
    ),
    Case(
        name="generalized_kl_divergence",
        variant="nearly equal",
        inputs=nearly_equal,
        formula=bregman,
        gradient=lambda log_p, t: exp(log_p) - t,
        event=(1, 1),
        scales=("tiny", "unit"),
    ),
    Case(
        name="generalized_kl_divergence",
        variant="targets",
        inputs=measures,
        formula=bregman,
        gradient=lambda log_p, t: by_targets(log_p, t) - 1,
        argument=1,
        event=(1, 1),
        scales=POSITIVE,
        optax=optax.generalized_kl_divergence,
    ),
]
