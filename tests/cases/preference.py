"""Preferences between answers, from their log-probabilities or rewards."""

import mpmath as mp
import numpy as np

from tests.case import BATCH, Case, Scale

NOT_REDUCED = {"preference_rewards", "kto_reference_point"}
# They return several arrays, or one for a batch, through which no gradient passes.
WITHOUT_ROW = {"preference_rewards", "kto_reference_point"}
IN_NATS = {"reward_model_loss"}

BETA = 0.125
"""Exact in every dtype."""


def scaled(rng: np.random.Generator, scale: Scale) -> tuple[np.ndarray, ...]:
    """Log-probabilities of answers: policy and reference, chosen and rejected."""
    size = {"tiny": 1e-3, "wide": 20, "saturated": 1500}.get(scale, 3)
    reference = -rng.uniform(5, 100, size=(2, BATCH))
    if scale == "offset":
        reference = reference - 5e3
    policy = reference + size * rng.normal(size=(2, BATCH))
    return (*policy, *reference)


def logp(x):
    """log σ(x)."""
    return -mp.log1p(mp.exp(-x))


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def slope(x):
    return sigmoid(x) * sigmoid(-x)


def of_pair(function):
    """A function of both log-ratios and their margin."""

    def loss(chosen, rejected, of_chosen, of_rejected):
        a, b = chosen - of_chosen, rejected - of_rejected
        return function(a, b, a - b)

    return loss


def cdpo(epsilon):
    e = mp.mpf(epsilon)
    b = mp.mpf(BETA)
    return (
        lambda _a, _b, h: -(1 - e) * logp(b * h) - e * logp(-b * h),
        lambda _a, _b, h: b * (e * sigmoid(b * h) - (1 - e) * sigmoid(-b * h)),
    )


def robust(epsilon):
    e, b = mp.mpf(epsilon), mp.mpf(BETA)
    return (
        lambda _a, _b, h: (-(1 - e) * logp(b * h) + e * logp(-b * h)) / (1 - 2 * e),
        lambda _a, _b, h: (
            -b * ((1 - e) * sigmoid(-b * h) + e * sigmoid(b * h)) / (1 - 2 * e)
        ),
    )


def exo(epsilon):
    e, b = mp.mpf(epsilon), mp.mpf(BETA)

    def loss(_a, _b, h):
        d = b * h
        won = sigmoid(d) * (logp(d) - mp.log1p(-e))
        return won + sigmoid(-d) * (logp(-d) - mp.log(e))

    def gradient(_a, _b, h):
        return b * slope(b * h) * (b * h - mp.log1p(-e) + mp.log(e))

    return loss, gradient


def nca(a, b, _h):
    a, b = BETA * a, BETA * b
    return -logp(a) - logp(-a) / 2 - logp(-b) / 2


def bco(shift):
    s = mp.mpf(shift)
    return (
        lambda a, b, _h: -logp(BETA * a - s) - logp(s - BETA * b),
        lambda a, _b, _h: -BETA * sigmoid(s - BETA * a),
    )


def discopop(_a, _b, h):
    d = BETA * h
    m = sigmoid(16 * d)
    return -(1 - m) * logp(d) + mp.exp(-d) * m


def discopop_gradient(_a, _b, h):
    d = BETA * h
    m, dm = sigmoid(16 * d), 16 * slope(16 * d)
    by_d = dm * logp(d) - (1 - m) * sigmoid(-d) - mp.exp(-d) * m + mp.exp(-d) * dm
    return BETA * by_d


half = mp.mpf(1) / (2 * BETA)
b_ = mp.mpf(BETA)

# name, options, loss, derivative by the chosen log-probability.
VARIANTS = [
    ("cdpo", {"label_smoothing": 0.25}, *cdpo(0.25)),
    ("robust", {"variant": "robust", "label_smoothing": 0.25}, *robust(0.25)),
    (
        "ipo",
        {"variant": "ipo"},
        lambda _a, _b, h: (h - half) ** 2,
        lambda _a, _b, h: 2 * (h - half),
    ),
    (
        "hinge",
        {"variant": "hinge"},
        lambda _a, _b, h: max(mp.mpf(0), 1 - b_ * h),
        lambda _a, _b, h: -b_ if b_ * h < 1 else mp.mpf(0),
    ),
    ("exo", {"variant": "exo", "label_smoothing": 2.0**-10}, *exo(2.0**-10)),
    (
        "nca",
        {"variant": "nca"},
        nca,
        lambda a, _b, _h: b_ * (1.5 * sigmoid(b_ * a) - 1),
    ),
    ("bco", {"variant": "bco", "reward_shift": 0.5}, *bco(0.5)),
    (
        "sppo",
        {"variant": "sppo"},
        lambda a, b, _h: (a - half) ** 2 + (b + half) ** 2,
        lambda a, _b, _h: 2 * (a - half),
    ),
    (
        "apo_zero",
        {"variant": "apo_zero"},
        lambda a, b, _h: 1 - sigmoid(b_ * a) + sigmoid(b_ * b),
        lambda a, _b, _h: -b_ * slope(b_ * a),
    ),
    (
        "apo_down",
        {"variant": "apo_down"},
        lambda a, _b, h: sigmoid(b_ * a) + 1 - sigmoid(b_ * h),
        lambda a, _b, h: b_ * (slope(b_ * a) - slope(b_ * h)),
    ),
    (
        "discopop",
        {"variant": "discopop", "modulation_temperature": 0.0625},
        discopop,
        discopop_gradient,
    ),
]


def ratio_rounding(*log_probs):
    """The log-ratios themselves, where a loss or its slope is a difference of them."""
    a, b = log_probs[0] - log_probs[2], log_probs[1] - log_probs[3]
    return 2e-7 * (1 + abs(a) + abs(b) + half)


def bell_rounding(*_):
    """The gradient of `apo_down`, a difference of two bell curves, each rounded."""
    return 2.0**-23 * BETA


FLOORS = {
    # The residual, and the hinge, may cancel against their targets.
    **dict.fromkeys(("ipo", "sppo", "hinge"), ratio_rounding),
    "apo_down": bell_rounding,
}
REFERENCE = ("reference_chosen_log_probs", "reference_rejected_log_probs")

# ------------------------------------------------------------------ no reference


def averages(rng: np.random.Generator, scale: Scale) -> tuple[np.ndarray, ...]:
    """Average log-probabilities of a token: below 0, some of them barely."""
    size = {"tiny": 1e-3, "wide": 10, "saturated": 80}.get(scale, 1)
    return tuple(-size * rng.exponential(size=(2, BATCH)))


def both(rng: np.random.Generator, scale: Scale) -> tuple[np.ndarray, ...]:
    return scaled(rng, scale)[:2]


def with_nll(rng: np.random.Generator, scale: Scale) -> tuple[np.ndarray, ...]:
    return (*averages(rng, scale), rng.exponential(size=BATCH))


def odds(log_p):
    return log_p - mp.log(-mp.expm1(log_p))


def orpo(w, r, nll):
    return nll - BETA * logp(odds(w) - odds(r))


def orpo_gradient(w, r):
    return BETA * sigmoid(odds(r) - odds(w)) / mp.expm1(w)


# ------------------------------------------------------------------ one by one


def labelled(rng: np.random.Generator, scale: Scale) -> tuple[np.ndarray, ...]:
    policy, _, reference, _ = scaled(rng, scale)
    return policy, np.arange(BATCH) % 2, reference


def kto(policy, label, reference):
    x = BETA * (policy - reference - mp.mpf(0.5))
    return 1.5 * (1 - sigmoid(x)) if label else 1 - sigmoid(-x)


def kto_gradient(policy, label, reference):
    x = BETA * (policy - reference - mp.mpf(0.5))
    return (-1.5 if label else 1) * BETA * slope(x)


def rewards(rng: np.random.Generator, scale: Scale) -> tuple[np.ndarray, ...]:
    size = {"tiny": 1e-4, "wide": 10, "saturated": 80}.get(scale, 1)
    offset = 1e4 if scale == "offset" else 0
    return tuple(offset + size * rng.normal(size=(2, BATCH)))


def bradley_terry(margin, centering):
    def loss(w, r):
        return -logp(w - r - margin) + centering * (w + r) ** 2

    def gradient(w, r):
        return -sigmoid(margin - w + r) + 2 * centering * (w + r)

    return loss, gradient


CASES = [
    Case(
        name="dpo_loss",
        keywords=REFERENCE,
        inputs=scaled,
        formula=of_pair(lambda _a, _b, h: -logp(mp.mpf(0.1) * h)),
        gradient=of_pair(lambda _a, _b, h: -mp.mpf(0.1) * sigmoid(-mp.mpf(0.1) * h)),
        event=(0, 0, 0, 0),
    ),
    Case(
        name="dpo_loss",
        variant="by the rejected",
        options={"beta": BETA},
        keywords=REFERENCE,
        inputs=scaled,
        formula=of_pair(lambda _a, _b, h: -logp(b_ * h)),
        gradient=None,  # the closed form is of the first argument
        event=(0, 0, 0, 0),
        argument=1,
    ),
    *(
        Case(
            name="dpo_loss",
            variant=name,
            options={"beta": BETA, **options},
            keywords=REFERENCE,
            inputs=scaled,
            formula=of_pair(formula),
            gradient=of_pair(gradient),
            event=(0, 0, 0, 0),
            floor=FLOORS.get(name),
            kinks=name == "hinge",
            hessian=name != "hinge",
        )
        for name, options, formula, gradient in VARIANTS
    ),
    Case(
        name="cpo_loss",
        options={"beta": BETA},
        inputs=both,
        formula=lambda w, r: -logp(b_ * (w - r)) - w,
        gradient=lambda w, r: -b_ * sigmoid(b_ * (r - w)) - 1,
        event=(0, 0),
    ),
    Case(
        name="cpo_loss",
        variant="smoothed, without the likelihood",
        options={"beta": BETA, "label_smoothing": 0.25, "nll_weight": 0.0},
        inputs=both,
        formula=lambda w, r: cdpo(0.25)[0](w, r, w - r),
        gradient=lambda w, r: cdpo(0.25)[1](w, r, w - r),
        event=(0, 0),
    ),
    Case(
        name="simpo_loss",
        inputs=averages,
        formula=lambda w, r: -logp(2 * (w - r) - 1),
        gradient=lambda w, r: -2 * sigmoid(1 - 2 * (w - r)),
        event=(0, 0),
    ),
    Case(
        name="orpo_loss",
        options={"beta": BETA},
        inputs=averages,
        formula=lambda w, r: orpo(w, r, -w),
        gradient=lambda w, r: orpo_gradient(w, r) - 1,
        event=(0, 0),
    ),
    Case(
        name="orpo_loss",
        variant="with its own likelihood",
        options={"beta": BETA},
        keywords=("chosen_nll",),
        inputs=with_nll,
        formula=orpo,
        gradient=lambda w, r, _nll: orpo_gradient(w, r),
        event=(0, 0, 0),
    ),
    Case(
        name="kto_loss",
        options={"beta": BETA, "kl": 0.5, "desirable_weight": 1.5},
        keywords=("reference_log_probs",),
        inputs=labelled,
        formula=kto,
        gradient=kto_gradient,
        event=(0, 0, 0),
    ),
    *(
        Case(
            name="reward_model_loss",
            variant=f"margin {margin}, centering {centering}" if margin else "",
            options={"margin": margin, "centering": centering} if margin else {},
            inputs=rewards,
            formula=bradley_terry(margin, centering)[0],
            gradient=bradley_terry(margin, centering)[1],
            event=(0, 0),
        )
        for margin, centering in ((0.0, 0.0), (0.5, 2.0**-7))
    ),
]
