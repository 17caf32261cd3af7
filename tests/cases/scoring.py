"""Proper scores."""

import mpmath as mp
import numpy as np

from tests.case import BATCH, Case, Scale
from tests.cases import softmax
from tests.cases.probabilities import with_targets

mpf = mp.mpf
ENTRIES = 3
MEMBERS = 5


# ------------------------------------------------------------------ probabilities


def brier(p, t):
    return mp.fsum((p - t) ** 2)


def brier_of_logits(x, t):
    return brier(softmax.softmax(x), t)


def brier_of_logits_gradient(x, t):
    p = softmax.softmax(x)
    d = p - t
    return 2 * p * (d - mp.fsum(p * d))


def norm(v):
    return mp.sqrt(mp.fsum(v * v))


def spherical(p, t):
    return -mp.fsum(t * p) / norm(p)


def spherical_gradient(p, t):
    return (mp.fsum(t * p) * p / norm(p) ** 2 - t) / norm(p)


def one_hot_targets(rng, scale):
    """Targets that leave nothing to cancel but what the score itself subtracts."""
    p, _ = with_targets(rng, scale)
    return p, np.eye(p.shape[-1])[rng.integers(p.shape[-1], size=BATCH)]


# ------------------------------------------------------------------ intervals


def intervals(rng: np.random.Generator, scale: Scale):
    """Ends and targets, inside or outside by a little or by far."""
    centre, width, target = rng.normal(size=(3, BATCH, ENTRIES))
    size = {"tiny": 1e-3, "wide": 10.0, "saturated": 300.0}.get(scale, 1.0)
    centre, width, target = size * centre, size * np.abs(width), size * target
    if scale == "offset":
        centre, target = centre + 1e4, target + 1e4
    return centre - width, target, centre + width


def interval(alpha):
    def loss(low, y, high):
        missed = max(low - y, mpf(0)) + max(y - high, mpf(0))
        return high - low + 2 / mpf(alpha) * missed

    def gradient(low, y, high):
        return -1 + (2 / mpf(alpha) if y < low else 1 / mpf(alpha) if y == low else 0)

    return tuple(np.vectorize(f, otypes=[object]) for f in (loss, gradient))


# ------------------------------------------------------------------ laws


def forecasts(rng: np.random.Generator, scale: Scale):
    """Locations, targets and logarithms of scales: errors of few or many scales."""
    location, target, log_scale = rng.normal(size=(3, BATCH, ENTRIES))
    match scale:
        case "tiny":
            return 1e-2 * location, 1e-2 * target, log_scale
        case "wide":
            return location, target, 3 * log_scale
        case "offset":
            return location + 1e4, target + 1e4, log_scale
        case "saturated":
            return location, target, log_scale - 6
        case _:
            return location, target, log_scale


def law(centred, slope):
    def loss(location, y, log_scale):
        s = mp.exp(log_scale)
        return s * centred((location - y) / s)

    def gradient(location, y, log_scale):
        return slope((location - y) / mp.exp(log_scale))

    return tuple(np.vectorize(f, otypes=[object]) for f in (loss, gradient))


def sigmoid(z):
    return 1 / (1 + mp.exp(-z))


LAWS = {
    "crps_gaussian": law(
        lambda z: z * (2 * mp.ncdf(z) - 1) + 2 * mp.npdf(z) - 1 / mp.sqrt(mp.pi),
        lambda z: 2 * mp.ncdf(z) - 1,
    ),
    "crps_logistic": law(
        lambda z: z - 2 * mp.log(sigmoid(z)) - 1, lambda z: 1 - 2 * sigmoid(-z)
    ),
    "crps_laplace": law(
        lambda z: abs(z) + mp.exp(-abs(z)) - mpf(0.75),
        lambda z: (1 if z > 0 else -1) * -mp.expm1(-abs(z)),
    ),
}


def by_log_scale(formula):
    return lambda log_scale, y, location: formula(location, y, log_scale)


# ------------------------------------------------------------------ ensembles


def members(rng: np.random.Generator, scale: Scale):
    x = rng.normal(size=(BATCH, MEMBERS))
    y = rng.normal(size=BATCH)
    match scale:
        case "tiny":
            return 1e-3 * x, 1e-3 * y
        case "wide":
            return 10 * x, 3 * y
        case "offset":
            return 1e4 + x, 1e4 + y
        case "saturated":
            return x, y + 300
        case _:
            return x, y


def pair_weight(m, fairness):
    f = mpf(fairness)
    return (1 - f) / m**2 + f / (m * (m - 1))


def ensemble(fairness):
    def loss(x, y):
        m = len(x)
        spread = mp.fsum(abs(a - b) for a in x for b in x)
        far = mp.fsum(abs(a - y) for a in x) / m
        return far - pair_weight(m, fairness) * spread / 2

    def gradient(x, y):
        m = len(x)
        return np.array(
            [
                mp.sign(a - y) / m
                - pair_weight(m, fairness) * mp.fsum(mp.sign(a - b) for b in x)
                for a in x
            ]
        )

    return loss, gradient


def vectors(rng, scale):
    x = rng.normal(size=(BATCH, MEMBERS, ENTRIES))
    y = rng.normal(size=(BATCH, ENTRIES))
    match scale:
        case "tiny":
            return 1e-3 * x, 1e-3 * y
        case "wide":
            return 10 * x, 3 * y
        case "offset":
            return 1e3 + x, 1e3 + y
        case "saturated":
            return x, y + 300
        case _:
            return x, y


def energy(beta, fairness):
    def distance(v):
        # Every member is at distance 0 from itself, also when it is moved.
        return norm(v) ** mpf(beta) if any(v) else mpf(0)

    def loss(x, y):
        m = len(x)
        spread = mp.fsum(distance(a - b) for a in x for b in x)
        far = mp.fsum(distance(a - y) for a in x) / m
        return far - pair_weight(m, fairness) * spread / 2

    def pull(v):
        return mpf(beta) * norm(v) ** (mpf(beta) - 2) * v if any(v) else 0 * v

    def gradient(x, y):
        m = len(x)
        return np.array(
            [
                pull(a - y) / m - pair_weight(m, fairness) * sum(pull(a - b) for b in x)
                for a in x
            ]
        )

    return loss, gradient


CASES = [
    Case(
        name="brier_score",
        inputs=with_targets,
        formula=brier,
        gradient=lambda p, t: 2 * (p - t),
        event=(1, 1),
    ),
    Case(
        name="softmax_brier_score",
        inputs=softmax.one_hot,
        formula=brier_of_logits,
        gradient=brier_of_logits_gradient,
        event=(1, 1),
    ),
    Case(
        name="softmax_brier_score",
        variant="soft",
        inputs=softmax.soft,
        formula=brier_of_logits,
        gradient=brier_of_logits_gradient,
        event=(1, 1),
        # p - t is a difference of rounded numbers, as in `softmax_cross_entropy`, and
        # the gradient one of those.
        floor=lambda x, t: 2.5e-7,
    ),
    Case(
        name="spherical_score",
        inputs=one_hot_targets,
        formula=spherical,
        gradient=spherical_gradient,
        event=(1, 1),
    ),
    Case(
        name="spherical_score",
        variant="soft",
        inputs=with_targets,
        formula=spherical,
        gradient=spherical_gradient,
        event=(1, 1),
        # Where targets and probabilities are alike, their difference remains.
        floor=lambda p, t: 2.5e-7 if 0 < max(t) < 1 else 0.0,
    ),
    *(
        Case(
            name="interval_score",
            variant=f"alpha {alpha}",
            options={"alpha": alpha},
            keywords=("upper",),
            inputs=intervals,
            formula=interval(alpha)[0],
            gradient=interval(alpha)[1],
            event=(1, 1, 1),
            kinks=True,
            hessian=False,
            # The width and what is missed are differences of their own.
            floor=lambda low, y, high, alpha=alpha: 0.0,
        )
        for alpha in (0.125, 0.5)
    ),
    *(
        Case(
            name=name,
            keywords=("log_scale",),
            inputs=forecasts,
            formula=formula,
            gradient=gradient,
            event=(1, 1, 1),
        )
        for name, (formula, gradient) in LAWS.items()
    ),
    *(
        Case(
            name=name,
            variant="by scale",
            keywords=("log_scale",),
            inputs=forecasts,
            formula=formula,
            gradient=None,  # the closed form is of the first argument
            event=(1, 1, 1),
            argument=2,
            # The derivative is s C - (μ - y) C', which crosses 0.
            floor=lambda location, y, log_scale: (
                3e-7 * float(max(mp.exp(v) for v in log_scale))
            ),
        )
        for name, (formula, _) in LAWS.items()
    ),
    *(
        Case(
            name="crps_ensemble",
            variant=f"fairness {fairness}" if fairness else "",
            options={"fairness": fairness} if fairness else {},
            inputs=members,
            formula=ensemble(fairness)[0],
            gradient=ensemble(fairness)[1],
            event=(1, 0),
            kinks=True,
            hessian=False,
        )
        for fairness in (0.0, 1.0, 0.9375)
    ),
    *(
        Case(
            name="energy_score",
            variant=f"beta {beta}, fairness {fairness}" if fairness else "",
            options={"beta": beta, "fairness": fairness} if fairness else {},
            inputs=vectors,
            formula=energy(beta, fairness)[0],
            gradient=energy(beta, fairness)[1],
            event=(2, 1),
            # The score is the difference of two means of distances, and its derivatives
            # are differences of sums as large.
            rtol=2e-6,
            floor=lambda x, y: 5e-7,
        )
        for beta, fairness in ((1.0, 0.0), (1.5, 0.5))
    ),
]
