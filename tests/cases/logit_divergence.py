"""Divergences between two distributions given by logits or by parameters."""

import functools

import mpmath as mp
import numpy as np

from tests.case import BATCH, Case, Scale
from tests.cases import binary, softmax
from tests.cases.divergence import distributions
from tests.cases.softmax import CLASSES

# ------------------------------------------------------------------ two softmaxes


def near_pairs(rng, scale):
    """Two rows of logits: nearly equal, ordinary, apart, far from 0, confident."""
    if scale != "offset":
        return distributions(rng, scale)
    x, y = distributions(rng, "unit")
    return x + 1e5, y - 1e5


def logs(x):
    total = softmax.log_partition(x)
    return np.array([v - total for v in x])


def both(s, t, temperature=1):
    """log q, log p, q, p."""
    scale = mp.mpf(temperature)
    lq, lp = logs(s / scale), logs(t / scale)
    return lq, lp, *(np.array([mp.exp(v) for v in z]) for z in (lq, lp))


def kl(s, t):
    lq, lp, _, p = both(s, t)
    return mp.fsum(p * (lp - lq))


def kl_gradient(s, t):
    _, _, q, p = both(s, t)
    return q - p


def reverse_kl(s, t):
    return kl(t, s)


def reverse_kl_gradient(s, t):
    lq, lp, q, _ = both(s, t)
    return q * (lq - lp - kl(t, s))


def jensen_shannon(s, t, beta):
    lq, lp, q, p = both(s, t)
    lm = np.array([mp.log(v) for v in beta * p + (1 - beta) * q])
    return beta * mp.fsum(p * (lp - lm)) + (1 - beta) * mp.fsum(q * (lq - lm))


def jensen_shannon_gradient(s, t, beta):
    lq, _, q, p = both(s, t)
    lm = np.array([mp.log(v) for v in beta * p + (1 - beta) * q])
    return (1 - beta) * q * (lq - lm - mp.fsum(q * (lq - lm)))


def total_variation(s, t):
    _, _, q, p = both(s, t)
    return mp.fsum(abs(v) for v in q - p) / 2


def total_variation_gradient(s, t):
    _, _, q, p = both(s, t)
    g = np.array([mp.sign(v) / 2 for v in q - p])
    return q * (g - mp.fsum(q * g))


def roots(s, t):
    lq, lp, q, _ = both(s, t)
    r = np.array([mp.exp(v / 2) for v in lq + lp])
    surplus = [mp.exp(a / 2) - mp.exp(b / 2) for a, b in zip(lq, lp, strict=True)]
    return q, r, mp.fsum(v**2 for v in surplus) / 2


def hellinger(s, t):
    return mp.sqrt(roots(s, t)[2])


def squared_hellinger(s, t):
    return roots(s, t)[2]


def squared_hellinger_gradient(s, t):
    q, r, _ = roots(s, t)
    return (q * mp.fsum(r) - r) / 2


def hellinger_gradient(s, t):
    return squared_hellinger_gradient(s, t) / (2 * hellinger(s, t))


def tilted(s, t, alpha):
    lq, lp, q, p = both(s, t)
    r = np.array([mp.exp(v) for v in alpha * lp + (1 - alpha) * lq])
    return q, p, r, mp.fsum(r)


def renyi(s, t, alpha):
    return mp.log(tilted(s, t, alpha)[3]) / (alpha - 1)


def renyi_gradient(s, t, alpha):
    q, _, r, total = tilted(s, t, alpha)
    return q - r / total


def renyi_target_gradient(s, t, alpha):
    _, p, r, total = tilted(s, t, alpha)
    return alpha / (alpha - 1) * (r / total - p)


def swapped(formula):
    return lambda s, t: formula(t, s)


HARD, SOFT, TEMPERATURE = 0.25, 0.75, 2.0


def taught(rng, scale):
    s, t = near_pairs(rng, scale)
    return s, t, rng.integers(CLASSES, size=BATCH).astype(np.int32)


def distilled(s, t, y):
    half = mp.mpf(TEMPERATURE)
    soft = half**2 * kl(s / half, t / half)
    return HARD * softmax.cross_entropy(s, y) + SOFT * soft


def distilled_gradient(s, t, y):
    half = mp.mpf(TEMPERATURE)
    hard = softmax.softmax(s)
    hard[y] = -mp.fsum(np.delete(hard, y))
    return HARD * hard + SOFT * half * kl_gradient(s / half, t / half)


# ------------------------------------------------------------------ parameters


def gaussians(rng, scale):
    m, v, m0, v0 = rng.normal(size=(4, BATCH))
    match scale:
        case "tiny":
            m, v = m0 + 1e-3 * m, v0 + 1e-3 * v
        case "wide":
            v, v0 = 5 * v, 5 * v0
        case "saturated":
            v, v0 = v - 15, v0 + 5
        case _:
            pass
    return m, v, m0, v0


PRIOR = ("prior_mean", "prior_log_variance")


def gaussian_kl(m, v, m0, v0):
    ratio = mp.exp(v - v0)
    return (ratio - 1 - (v - v0) + (m - m0) ** 2 * mp.exp(-v0)) / 2


def bernoullis(rng, scale):
    s, t = binary.logits(rng, scale), binary.logits(rng, scale)
    return (t + 1e-2 * s, t) if scale == "saturated" else (s, t)


def bernoulli_kl(s, t):
    p, q = binary.sigmoid(t), binary.sigmoid(-t)
    return p * (binary.softplus(-s) - binary.softplus(-t)) + q * (
        binary.softplus(s) - binary.softplus(t)
    )


def concentrations(rng, scale):
    a = rng.gamma(2, size=(BATCH, 4)) + 0.125
    b = rng.gamma(2, size=(BATCH, 4)) + 0.125
    match scale:
        case "tiny":
            b = a * (1 + 2.0**-6 * rng.normal(size=a.shape))
        case "wide":
            a, b = 50 * a, 50 * b
        case "saturated":
            a[:, 0] *= 16
        case _:
            pass
    return a, b


def dirichlet_kl(a, b):
    whole, prior = mp.fsum(a), mp.fsum(b)
    value = mp.loggamma(whole) - mp.loggamma(prior)
    for u, v in zip(a, b, strict=True):
        value += mp.loggamma(v) - mp.loggamma(u)
        value += (u - v) * (mp.digamma(u) - mp.digamma(whole))
    return value


def dirichlet_gradient(a, b):
    whole = mp.psi(1, mp.fsum(a)) * mp.fsum(a - b)
    return np.array([mp.psi(1, u) * (u - v) - whole for u, v in zip(a, b, strict=True)])


def dirichlet_prior_gradient(a, b):
    whole = mp.digamma(mp.fsum(b)) - mp.digamma(mp.fsum(a))
    return np.array(
        [mp.digamma(v) - mp.digamma(u) - whole for u, v in zip(a, b, strict=True)]
    )


def dirichlet_floor(a, b):
    # What the sums miss is taken from the sum of what the entries miss: either is
    # rounded, and so are the derivatives.
    return float(5e-7 * max(abs(v) for v in (*dirichlet_gradient(a, b), *(b - a))))


def crossing_floor(s, t):
    # Where q crosses p, log q - log p is 0 but for its rounding, which is that of the
    # differences of the logits, times the mass beside the largest class.
    _, _, q, p = both(s, t)
    return float(6e-8 * (1 - min(max(p), max(q))))


COOL = mp.mpf(0.75)


def cooled_floor(s, t):
    return crossing_floor(s / COOL, t / COOL)


def quotient_floor(s, t):
    # Both logits below their largest are rounded, and so are the quotients of those by
    # the temperature: log q - log p by as much as it is small, in the mean over p.
    p = both(s, t, COOL)[3]
    below = (max(t) - t) / COOL
    return float(2 * 1.2e-7 * mp.fsum(p * below) / COOL)


def root_floor(s, t):
    # The derivative by the largest class is a sum of those by the others, of both signs
    # and as large as the root of their mass, each of some roundings.
    _, _, q, p = both(s, t)
    return float(1e-6 * mp.sqrt(1 - min(max(p), max(q))))


def apart_floor(s, t):
    # Far from equality the derivative is a difference of two rounded probabilities.
    return 1.2e-7 if kl(s, t) > 1 else crossing_floor(s, t)


NO_OFFSET: tuple[Scale, ...] = ("tiny", "unit", "wide", "saturated")

IN_NATS = {
    "bernoulli_kl_divergence",
    "dirichlet_kl_divergence",
    "distillation_loss",
    "gaussian_kl_divergence",
    "js_divergence",
    "renyi_divergence",
    "reverse_kl_divergence",
    "softmax_kl_divergence",
}
BETA, ORDER = mp.mpf(0.25), mp.mpf(0.5)

CASES = [
    Case(
        name="softmax_kl_divergence",
        inputs=near_pairs,
        formula=kl,
        gradient=kl_gradient,
        event=(1, 1),
        floor=crossing_floor,
    ),
    Case(
        name="softmax_kl_divergence",
        variant="by target",
        argument=1,
        inputs=near_pairs,
        formula=kl,
        gradient=swapped(reverse_kl_gradient),
        event=(1, 1),
        floor=crossing_floor,
    ),
    Case(
        name="softmax_kl_divergence",
        variant="temperature",
        options={"temperature": float(COOL)},
        inputs=near_pairs,
        formula=lambda s, t: kl(s / COOL, t / COOL),
        gradient=lambda s, t: kl_gradient(s / COOL, t / COOL) / COOL,
        event=(1, 1),
        floor=cooled_floor,
        slope_floor=quotient_floor,
    ),
    Case(
        name="reverse_kl_divergence",
        inputs=near_pairs,
        formula=reverse_kl,
        gradient=reverse_kl_gradient,
        event=(1, 1),
        floor=crossing_floor,
    ),
    Case(
        name="js_divergence",
        options={"beta": float(BETA)},
        inputs=near_pairs,
        formula=functools.partial(jensen_shannon, beta=BETA),
        gradient=functools.partial(jensen_shannon_gradient, beta=BETA),
        event=(1, 1),
        floor=crossing_floor,
    ),
    Case(
        name="js_divergence",
        variant="by target",
        argument=1,
        inputs=near_pairs,
        formula=functools.partial(jensen_shannon, beta=ORDER),
        gradient=swapped(functools.partial(jensen_shannon_gradient, beta=ORDER)),
        event=(1, 1),
        floor=crossing_floor,
    ),
    Case(
        name="total_variation",
        inputs=near_pairs,
        formula=total_variation,
        gradient=total_variation_gradient,
        event=(1, 1),
        floor=crossing_floor,
        # A sum of differences of probabilities, each good to 2e-7.
        rtol=8e-7,
    ),
    Case(
        name="total_variation",
        variant="by target",
        argument=1,
        inputs=near_pairs,
        formula=total_variation,
        gradient=swapped(total_variation_gradient),
        event=(1, 1),
        floor=crossing_floor,
        # A sum of differences of probabilities, each good to 2e-7.
        rtol=8e-7,
    ),
    Case(
        name="hellinger_distance",
        inputs=near_pairs,
        # Two rows that are one number each have a distance of 0, where it has a kink.
        collapsed=("offset",),
        formula=hellinger,
        gradient=hellinger_gradient,
        event=(1, 1),
        floor=root_floor,
    ),
    Case(
        name="hellinger_distance",
        variant="squared, by target",
        options={"squared": True},
        argument=1,
        inputs=near_pairs,
        formula=squared_hellinger,
        gradient=swapped(squared_hellinger_gradient),
        event=(1, 1),
        floor=crossing_floor,
    ),
    Case(
        name="renyi_divergence",
        inputs=near_pairs,
        formula=functools.partial(renyi, alpha=ORDER),
        gradient=functools.partial(renyi_gradient, alpha=ORDER),
        event=(1, 1),
        floor=apart_floor,
    ),
    *(
        Case(
            name="renyi_divergence",
            variant=f"alpha {alpha}",
            options={"alpha": alpha},
            inputs=near_pairs,
            formula=functools.partial(renyi, alpha=mp.mpf(alpha)),
            gradient=functools.partial(renyi_gradient, alpha=mp.mpf(alpha)),
            event=(1, 1),
            floor=apart_floor,
        )
        for alpha in (1 - 2.0**-10, 2.0)
    ),
    Case(
        name="renyi_divergence",
        variant="by target",
        options={"alpha": 1.5},
        argument=1,
        inputs=near_pairs,
        formula=functools.partial(renyi, alpha=mp.mpf(1.5)),
        gradient=functools.partial(renyi_target_gradient, alpha=mp.mpf(1.5)),
        event=(1, 1),
        # Times α / (α - 1).
        floor=lambda s, t: 3 * apart_floor(s, t),
    ),
    Case(
        name="distillation_loss",
        options={
            "temperature": TEMPERATURE,
            "hard_weight": HARD,
            "soft_weight": SOFT,
        },
        keywords=("labels",),
        inputs=taught,
        formula=distilled,
        gradient=distilled_gradient,
        event=(1, 1, 0),
        # Two gradients are rounded before they are added up.
        floor=lambda s, t, y: 1.2e-7,
    ),
    Case(
        name="gaussian_kl_divergence",
        keywords=PRIOR,
        inputs=gaussians,
        formula=gaussian_kl,
        gradient=lambda m, v, m0, v0: (m - m0) * mp.exp(-v0),
        event=(0, 0, 0, 0),
        scales=NO_OFFSET,
    ),
    Case(
        name="gaussian_kl_divergence",
        variant="by log variance",
        keywords=PRIOR,
        argument=1,
        inputs=gaussians,
        formula=gaussian_kl,
        gradient=lambda m, v, m0, v0: mp.expm1(v - v0) / 2,
        event=(0, 0, 0, 0),
        scales=NO_OFFSET,
    ),
    Case(
        name="gaussian_kl_divergence",
        variant="by prior log variance",
        keywords=PRIOR,
        argument=3,
        inputs=gaussians,
        formula=gaussian_kl,
        gradient=lambda m, v, m0, v0: (
            (-mp.expm1(v - v0) - (m - m0) ** 2 * mp.exp(-v0)) / 2
        ),
        event=(0, 0, 0, 0),
        scales=NO_OFFSET,
        # Two terms cancel where the prior fits best.
        floor=lambda m, v, m0, v0: float(2e-7 * abs(mp.expm1(v - v0))),
    ),
    Case(
        name="bernoulli_kl_divergence",
        inputs=bernoullis,
        formula=bernoulli_kl,
        gradient=lambda s, t: binary.sigmoid(s) - binary.sigmoid(t),
        event=(0, 0),
        scales=binary.LOGIT_SCALES,
    ),
    Case(
        name="bernoulli_kl_divergence",
        variant="by target",
        argument=1,
        inputs=bernoullis,
        formula=bernoulli_kl,
        gradient=lambda s, t: binary.sigmoid(t) * binary.sigmoid(-t) * (t - s),
        event=(0, 0),
        scales=binary.LOGIT_SCALES,
    ),
    Case(
        name="dirichlet_kl_divergence",
        inputs=concentrations,
        formula=dirichlet_kl,
        gradient=dirichlet_gradient,
        event=(1, 1),
        scales=NO_OFFSET,
        floor=dirichlet_floor,
    ),
    Case(
        name="dirichlet_kl_divergence",
        variant="by prior",
        argument=1,
        inputs=concentrations,
        formula=dirichlet_kl,
        gradient=dirichlet_prior_gradient,
        event=(1, 1),
        scales=NO_OFFSET,
        floor=dirichlet_floor,
    ),
]
