"""Robust, asymmetric and relative losses of two numbers."""

import math

import mpmath as mp
import numpy as np

from tests.case import BATCH, Case, Scale
from tests.cases.regression import ENTRIES, clipped, each, huber, residuals

mpf = mp.mpf


def pairs(function):
    """A function of prediction and target, entry by entry."""
    return np.vectorize(function, otypes=[object])


def sign(e):
    return (e > 0) - (e < 0)


# ------------------------------------------------------------------ rows


def rmse(p, t):
    return mp.sqrt(mp.fsum((p - t) ** 2) / len(p))


def rmse_gradient(p, t):
    # At offsets in half precision a whole row may be a perfect fit.
    return (p - t) / (len(p) * (rmse(p, t) or mpf(1)))


# ------------------------------------------------------------------ robust


def smooth_l1(beta):
    return (
        lambda p, t: huber(beta)(p, t) / mpf(beta),
        lambda p, t: clipped(beta)(p, t) / mpf(beta),
    )


def pseudo_huber(delta):
    delta = mpf(delta)

    def h(e):
        return mp.sqrt(1 + (e / delta) ** 2)

    return each(lambda e: delta**2 * (h(e) - 1)), each(lambda e: e / h(e))


def charbonnier(epsilon):
    def root(e):
        return mp.sqrt(e**2 + mpf(epsilon) ** 2)

    return each(root), each(lambda e: e / root(e))


def barron(alpha, c):
    c = mpf(c)

    def loss(e):
        z = (e / c) ** 2
        if alpha == 2:
            return z / 2
        if alpha == 0:
            return mp.log1p(z / 2)
        if math.isinf(alpha):
            return sign(alpha) * mp.expm1(sign(alpha) * z / 2)
        b, a = abs(mpf(alpha) - 2), mpf(alpha)
        return b / a * ((z / b + 1) ** (a / 2) - 1)

    def gradient(e):
        z = (e / c) ** 2
        if alpha == 2:
            return e / c**2
        if math.isinf(alpha):
            return e / c**2 * mp.exp(sign(alpha) * z / 2)
        return e / c**2 * (z / abs(mpf(alpha) - 2) + 1) ** (mpf(alpha) / 2 - 1)

    return each(loss), each(gradient)


def tukey(c):
    c = mpf(c)
    return (
        each(lambda e: c**2 / 6 * (1 - (1 - min((e / c) ** 2, mpf(1))) ** 3)),
        each(lambda e: e * (1 - min((e / c) ** 2, mpf(1))) ** 2),
    )


# ------------------------------------------------------------------ asymmetric


LEVELS = (0.125, 0.25, 0.5, 0.75, 0.875)


def quantile(tau):
    tau = mpf(tau)
    return (
        each(lambda e: max(-tau * e, (1 - tau) * e)),
        each(lambda e: (1 - tau if e > 0 else -tau) if e else mpf(0.5) - tau),
    )


def quantile_huber(tau, delta):
    tau, delta = mpf(tau), mpf(delta)

    def weight(e):
        return 1 - tau if e > 0 else tau

    def huber(e):
        return e**2 / (2 * delta) if abs(e) < delta else abs(e) - delta / 2

    return (
        each(lambda e: weight(e) * huber(e)),
        each(lambda e: weight(e) * max(min(e / delta, mpf(1)), mpf(-1))),
    )


def smooth_quantile(tau, beta):
    tau, beta = mpf(tau), mpf(beta)

    return (
        each(lambda e: -tau * e + beta * mp.log1p(mp.exp(e / beta))),
        each(lambda e: 1 / (1 + mp.exp(-e / beta)) - tau),
    )


def expectile(tau):
    tau = mpf(tau)

    def weight(e):
        return 1 - tau if e > 0 else tau

    return each(lambda e: weight(e) * e**2), each(lambda e: 2 * weight(e) * e)


def insensitive(epsilon, power):
    def beyond(e):
        return max(abs(e) - mpf(epsilon), mpf(0))

    return (
        each(lambda e: beyond(e) ** power),
        each(lambda e: power * sign(e) * (beyond(e) if power == 2 else beyond(e) != 0)),
    )


# ------------------------------------------------------------------ relative


def positive(rng: np.random.Generator, scale: Scale):
    """Two positive numbers: tiny, ordinary, of different sizes, or nearly equal."""
    shape = (BATCH, ENTRIES)
    target, other = rng.lognormal(size=(2, *shape))
    match scale:
        case "tiny":
            # A percentage of less would leave the range of float16.
            return other / 16, target / 16
        case "wide":
            return other * 10.0 ** rng.uniform(-3, 3, size=shape), target
        case "offset":
            return 100 * (1 + 1e-2 * rng.normal(size=shape)), np.full(shape, 100.0)
        case "saturated":
            return 1e4 * other, 1e4 * target
        case _:
            return other, target


def mixed_signs(rng, scale):
    prediction, target = positive(rng, scale)
    flips = rng.choice([-1, 1], size=prediction.shape)
    return prediction * flips, target * np.where(
        rng.random(flips.shape) < 0.7, flips, -flips
    )


def symmetric_log(y):
    return sign(y) * mp.log1p(abs(y))


def symlogs(rng, scale):
    """Targets of every size and sign, and predictions of their logarithms."""
    prediction, target = residuals(rng, "unit")
    size = {"tiny": 1e-4, "wide": 1e2, "offset": 1.0, "saturated": 1e4}.get(scale, 1.0)
    return (1e-4 if scale == "tiny" else 1.0) * prediction * 3, size * target


def smape(p, t):
    return 200 * abs(p - t) / (abs(p) + abs(t))


def smape_gradient(p, t):
    if sign(p) * sign(t) < 0:
        return mpf(0)
    return 400 * sign(p - t) * abs(t) / (abs(p) + abs(t)) ** 2


def at_a_kink(p, t):
    # The two sides of a perfect fit differ in curvature: by the step of the oracle.
    return 1e-30


def log_error(p, t):
    return (mp.log1p(p) - mp.log1p(t)) ** 2


def log_error_gradient(p, t):
    return 2 * (mp.log1p(p) - mp.log1p(t)) / (1 + p)


def percentage(epsilon):
    def size(t):
        return max(abs(t), mpf(epsilon))

    return (
        pairs(lambda p, t: 100 * abs(p - t) / size(t)),
        pairs(lambda p, t: 100 * sign(p - t) / size(t)),
    )


def row(name, formula, gradient, variant="", inputs=residuals, **options):
    further = {
        key: options.pop(key)
        for key in ("kinks", "hessian", "scales", "floor", "rtol")
        if key in options
    }
    return Case(
        name=name,
        variant=variant,
        options=options,
        inputs=inputs,
        formula=formula,
        gradient=gradient,
        event=(1, 1),
        **further,
    )


def _robust(alpha):
    value, slope = barron(alpha, 0.5)
    # Powers of a gross outlier fall below the smallest normal float.
    floor = (lambda p, t: 1e-35) if alpha < -8 else None
    return row(
        "robust_loss",
        value,
        slope,
        f"alpha {alpha}",
        alpha=alpha,
        scale=0.5,
        floor=floor,
    )


# Past these scales a shape above 2 leaves the range of float32.
GROWING: tuple[Scale, ...] = ("tiny", "unit", "offset")

CASES = [
    # At offsets in half precision some residuals are 0, the kink.
    row(
        "absolute_error",
        each(abs),
        each(lambda e: mpf(sign(e))),
        kinks=True,
        hessian=False,
    ),
    row("root_mean_squared_error", rmse, rmse_gradient),
    *(
        row(
            "smooth_l1_loss",
            *smooth_l1(beta),
            "" if beta == 1 else f"beta {beta}",
            **({} if beta == 1 else {"beta": beta}),
        )
        for beta in (1, 0.25, 1e4)
    ),
    row(
        "smooth_l1_loss",
        each(abs),
        each(lambda e: mpf(sign(e))),
        "beta 0",
        beta=0.0,
        kinks=True,
        hessian=False,
    ),
    *(
        row(
            "pseudo_huber_loss",
            *pseudo_huber(delta),
            "" if delta == 1 else f"delta {delta}",
            **({} if delta == 1 else {"delta": delta}),
        )
        for delta in (1, 0.125, 64)
    ),
    *(
        row(
            "charbonnier_loss",
            *charbonnier(epsilon),
            f"epsilon {epsilon}",
            epsilon=epsilon,
        )
        for epsilon in (2.0**-10, 1.0)
    ),
    row("robust_loss", *barron(1, 1)),
    *map(_robust, (0.0, 2.0, -math.inf, -2.0, 0.5, 1.5, 2.0**-10, 2 - 2.0**-10, -16.0)),
    row("robust_loss", *barron(3, 8), "alpha 3", alpha=3.0, scale=8.0),
    row(
        "robust_loss",
        *barron(math.inf, 8),
        "alpha inf",
        alpha=math.inf,
        scale=8.0,
        scales=GROWING,
    ),
    row(
        "cauchy_loss",
        each(lambda e: 2 * mp.log1p((e / 2) ** 2)),
        each(lambda e: e / (1 + (e / 2) ** 2)),
        "",
        scale=2.0,
    ),
    row(
        "welsch_loss",
        each(lambda e: -2 * mp.expm1(-((e / 2) ** 2))),
        each(lambda e: e * mp.exp(-((e / 2) ** 2))),
        "",
        scale=2.0,
    ),
    row(
        "geman_mcclure_loss",
        each(lambda e: e**2 / (1 + e**2) / 2),
        each(lambda e: e / (1 + e**2) ** 2),
    ),
    row(
        "geman_mcclure_loss",
        each(lambda e: e**2 / (1 + (e / 4) ** 2) / 2),
        each(lambda e: e / (1 + (e / 4) ** 2) ** 2),
        "scale 4",
        scale=4.0,
    ),
    row("tukey_biweight_loss", *tukey(4.5), "", scale=4.5),
    *(
        row(
            "quantile_loss",
            *quantile(tau),
            "" if tau == 0.5 else f"quantile {tau}",
            **({} if tau == 0.5 else {"quantile": tau}),
            kinks=True,
            hessian=False,
        )
        for tau in (0.5, 0.875)
    ),
    row(
        "quantile_loss",
        *quantile_huber(0.875, 0.75),
        "quadratic near 0",
        quantile=0.875,
        delta=0.75,
    ),
    row(
        "quantile_loss",
        *smooth_quantile(0.875, 0.75),
        "smooth",
        quantile=0.875,
        smoothing=0.75,
    ),
    row(
        "quantile_loss",
        *smooth_quantile(0.5, 2**-10),
        "nearly sharp",
        smoothing=2.0**-10,
    ),
    row(
        "quantile_loss",
        lambda p, t: np.array(
            [quantile(tau)[0](p[i], t[i])[()] for i, tau in enumerate(LEVELS)]
        ),
        lambda p, t: np.array(
            [quantile(tau)[1](p[i], t[i])[()] for i, tau in enumerate(LEVELS)]
        ),
        "levels",
        quantile=np.array([[0.125, 0.25, 0.5, 0.75, 0.875]], np.float32),
        kinks=True,
        hessian=False,
    ),
    *(
        row(
            "expectile_loss",
            *expectile(tau),
            "" if tau == 0.5 else f"expectile {tau}",
            **({} if tau == 0.5 else {"expectile": tau}),
        )
        for tau in (0.5, 0.875)
    ),
    *(
        row(
            "epsilon_insensitive_loss",
            *insensitive(0.125, power),
            f"power {power}",
            epsilon=0.125,
            power=power,
            kinks=power == 1,
            hessian=power == 2,
        )
        for power in (1, 2)
    ),
    row(
        "squared_log_error",
        pairs(log_error),
        pairs(log_error_gradient),
        inputs=positive,
    ),
    *(
        row(
            "absolute_percentage_error",
            *percentage(epsilon),
            f"epsilon {epsilon}" if epsilon else "",
            positive,
            **({"epsilon": epsilon} if epsilon else {}),
            kinks=True,
            hessian=False,
        )
        for epsilon in (0.0, 2.0)
    ),
    row(
        "symmetric_absolute_percentage_error",
        pairs(smape),
        pairs(smape_gradient),
        inputs=positive,
        kinks=True,
        floor=at_a_kink,
    ),
    row(
        "symmetric_absolute_percentage_error",
        pairs(smape),
        pairs(smape_gradient),
        "signs",
        mixed_signs,
        kinks=True,
        floor=at_a_kink,
    ),
    row(
        "symlog_squared_error",
        pairs(lambda p, t: (p - symmetric_log(t)) ** 2),
        pairs(lambda p, t: 2 * (p - symmetric_log(t))),
        inputs=symlogs,
    ),
]
