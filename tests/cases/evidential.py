"""Evidential losses."""

import mpmath as mp
import numpy as np

from tests.case import BATCH, Case, Scale
from tests.cases.softmax import one_hot, soft

mpf = mp.mpf
ENTRIES = 3

# ------------------------------------------------------------------ classes


def _evidence(rng: np.random.Generator, scale: Scale, shape) -> np.ndarray:
    """Hardly any, some, of all sizes, or much for one class."""
    x = rng.lognormal(size=shape)
    match scale:
        case "tiny":
            return 1e-3 * x
        case "wide":
            return x * 10.0 ** rng.uniform(-2, 2, size=shape)
        case "saturated":
            x[np.arange(len(x)), rng.integers(shape[-1], size=len(x))] *= 1e4
            return x
        case _:
            return x


def hard(rng, scale):
    _, t = one_hot(rng, "unit")
    return _evidence(rng, scale, t.shape), t


def mixed(rng, scale):
    _, t = soft(rng, "unit")
    return _evidence(rng, scale, t.shape), t


def psi(order, values):
    return np.array([mp.psi(order, v) for v in np.ravel(values)])


def divergence(a):
    total = mp.fsum(a)
    return (
        mp.loggamma(total)
        - mp.loggamma(len(a))
        - mp.fsum(mp.loggamma(v) for v in a)
        + mp.fsum((a - 1) * (psi(0, a) - mp.psi(0, total)))
    )


def classification(variant, weight):
    def loss(e, t):
        a = 1 + e
        total = mp.fsum(a)
        p = a / total
        value = {
            "mse": lambda: mp.fsum((t - p) ** 2 + p * (1 - p) / (total + 1)),
            "log": lambda: mp.fsum(t * np.array([mp.log(total / v) for v in a])),
            "digamma": lambda: mp.fsum(t * (mp.psi(0, total) - psi(0, a))),
        }[variant]()
        return value + weight * divergence(1 + (1 - t) * e)

    def gradient(e, t):
        a = 1 + e
        total = mp.fsum(a)
        p = a / total
        square, d = mp.fsum(p * p), p - t
        slope = {
            "mse": lambda: (
                2 / total * (d - mp.fsum(p * d))
                - 2 / (total * (total + 1)) * (p - square)
                - (1 - square) / (total + 1) ** 2
            ),
            "log": lambda: mp.fsum(t) / total - t / a,
            "digamma": lambda: mp.fsum(t) * mp.psi(1, total) - t * psi(1, a),
        }[variant]()
        wrong = (1 - t) * e
        missing = mp.fsum(wrong)
        pull = wrong * psi(1, 1 + wrong) - missing * mp.psi(1, len(e) + missing)
        return slope + weight * (1 - t) * pull

    return loss, gradient


def gradient_floor(e, t):
    # Where the evidence is right the gradient is a difference of terms of this size.
    return 3e-7 * float(mp.fsum(t * (1 / (1 + e))) + 1 / mp.fsum(1 + e))


# ------------------------------------------------------------------ numbers


def laws(rng: np.random.Generator, scale: Scale):
    """Means, targets, and laws with little or much evidence."""
    mean, target = rng.normal(size=(2, BATCH, ENTRIES))
    nu, alpha, beta = rng.lognormal(size=(3, BATCH, ENTRIES))
    match scale:
        case "tiny":
            mean, target = 1e-3 * mean, 1e-3 * target
        case "wide":
            mean, nu, beta = 10 * mean, 30 * nu, 10 * beta
        case "offset":
            mean, target = mean + 1e4, target + 1e4
        case "saturated":
            mean, alpha = 300 * mean, 300 * alpha
    return mean, target, nu, 1 + alpha, beta


def _regression(weight):
    weight = mpf(weight)

    def loss(g, y, nu, a, b):
        e, omega = g - y, 2 * b * (1 + nu)
        return (
            mp.log(mp.pi / nu) / 2
            - a * mp.log(omega)
            + (a + mpf(0.5)) * mp.log(nu * e**2 + omega)
            + mp.loggamma(a)
            - mp.loggamma(a + mpf(0.5))
            + weight * abs(e) * (2 * nu + a)
        )

    def gradient(g, y, nu, a, b):
        e, omega = g - y, 2 * b * (1 + nu)
        pull = (2 * a + 1) * nu * e / (nu * e**2 + omega)
        return pull + weight * mp.sign(e) * (2 * nu + a)

    return tuple(np.vectorize(f, otypes=[object]) for f in (loss, gradient))


def value_floor(g, y, nu, a, b):
    # A log-likelihood is a difference of terms of this size, whatever its own.
    return 2.5e-7 * float(
        max(1 + abs(mp.log(u)) + mp.log(v) for u, v in zip(b, a, strict=True))
    )


CASES = [
    *(
        Case(
            name="evidential_classification_loss",
            variant=f"{variant}{kind}, kl {weight}",
            options={"variant": variant, "kl_weight": weight},
            inputs=hard if not kind else mixed,
            formula=classification(variant, mpf(weight))[0],
            gradient=classification(variant, mpf(weight))[1],
            event=(1, 1),
            scales=("tiny", "unit", "wide", "saturated"),
            # The divergence is the difference of two sums, each with the roundings of
            # ten terms of the gamma function's series.
            rtol=2e-6 if weight else 5e-7,
            floor=gradient_floor if weight or kind or variant == "mse" else None,
        )
        for variant, kind, weight in (
            ("mse", "", 1.0),
            ("log", "", 0.0),
            ("digamma", "", 0.0),
            ("mse", "", 0.0),
            ("log", " soft", 0.5),
            ("digamma", " soft", 0.5),
        )
    ),
    *(
        Case(
            name="evidential_regression_loss",
            variant=f"weight {weight}",
            options={"error_weight": weight},
            keywords=("evidence", "alpha", "beta"),
            inputs=laws,
            formula=_regression(weight)[0],
            gradient=_regression(weight)[1],
            event=(1,) * 5,
            kinks=True,
            floor=value_floor,
        )
        for weight in (2.0**-7, 0.0)
    ),
    *(
        Case(
            name="evidential_regression_loss",
            variant=f"by {name}",
            options={"error_weight": 2.0**-7},
            keywords=("evidence", "alpha", "beta"),
            inputs=laws,
            formula=_regression(2.0**-7)[0],
            gradient=None,  # the closed form is of the first argument
            event=(1,) * 5,
            argument=argument,
            kinks=True,
            floor=value_floor,
        )
        for argument, name in ((2, "evidence"), (3, "alpha"), (4, "beta"))
    ),
]
