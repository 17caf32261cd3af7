"""Classification under noise and imbalance, with many labels or sparse outputs."""

import functools

import mpmath as mp
import numpy as np

import jaxloss
from tests.case import BATCH, Case
from tests.cases import binary, softmax
from tests.cases.margin import labelled as apart
from tests.cases.softmax import CLASSES, cross_entropy, labelled

# ------------------------------------------------------------------ noisy labels


def missed(x, y):
    return -mp.expm1(-cross_entropy(x, y))


def generalized(x, y, q):
    return -mp.expm1(-q * cross_entropy(x, y)) / q


def direction(x, y):
    """p - e_y."""
    p = softmax.softmax(x)
    p[y] = -mp.fsum(np.delete(p, y))
    return p


def generalized_gradient(x, y, q):
    return mp.exp(-q * cross_entropy(x, y)) * direction(x, y)


ALPHA, BETA, LOG_ZERO = 0.25, 1.5, -3.0


def symmetric(x, y):
    return ALPHA * cross_entropy(x, y) - BETA * LOG_ZERO * missed(x, y)


def symmetric_gradient(x, y):
    p = mp.exp(-cross_entropy(x, y))
    return (ALPHA - BETA * LOG_ZERO * p) * direction(x, y)


PENALTY = 0.125


def entropy(x):
    total = softmax.log_partition(x)
    return mp.fsum(p * (total - v) for p, v in zip(softmax.softmax(x), x, strict=True))


def penalised(x, y):
    return cross_entropy(x, y) - PENALTY * entropy(x)


def penalised_gradient(x, y):
    total, h = softmax.log_partition(x), entropy(x)
    bend = [p * (v - total + h) for p, v in zip(softmax.softmax(x), x, strict=True)]
    return direction(x, y) + PENALTY * np.array(bend)


def penalised_floor(x, y):
    # Cross entropy and entropy are rounded before one is taken from the other; so are
    # p - e_y and the slope of the entropy.
    return float(3e-7 * (1 + PENALTY) * min(1, cross_entropy(x, y) + entropy(x)))


MIX = 0.75


def two_labels(rng, scale):
    x, y = labelled(rng, scale)
    return x, y, rng.integers(CLASSES, size=BATCH).astype(np.int32)


def mixed(x, y, z):
    return MIX * cross_entropy(x, y) + (1 - MIX) * cross_entropy(x, z)


def mixed_gradient(x, y, z):
    return MIX * direction(x, y) + (1 - MIX) * direction(x, z)


# ------------------------------------------------------------------ imbalance

LOG_PRIORS = np.array([0.0, -1.5, -0.25, -3.0, 1.0, -0.5, 0.75], np.float32)
TAU = 0.5


def along(logits, axis=-1, **options):
    """How many entries there are along the axis; 0 if it is none."""
    shape = np.shape(logits)
    there = isinstance(axis, int) and -len(shape) <= axis < len(shape)
    return shape[axis] if there else 0


@functools.wraps(jaxloss.logit_adjusted_cross_entropy)
def adjusted_call(logits, labels, **options):
    """With the priors of the classes there are, whichever axis they stand along."""
    priors = LOG_PRIORS[: along(logits, **options)]
    return jaxloss.logit_adjusted_cross_entropy(
        logits, labels, log_priors=priors, **options
    )


def adjusted(x):
    return x + TAU * np.array([mp.mpf(float(v)) for v in LOG_PRIORS])


def class_counts(rng, scale):
    return (rng.integers(1, 10**5, size=(BATCH, CLASSES)).astype(np.float64),)


COUNTED = 1 - 2.0**-10


def balanced(n):
    return np.array([(1 - COUNTED) / (1 - mp.mpf(COUNTED) ** v) for v in n])


def balanced_gradient(n):
    decay = [mp.mpf(COUNTED) ** v for v in n]
    return np.array(
        [(1 - mp.mpf(COUNTED)) * mp.log(COUNTED) * d / (1 - d) ** 2 for d in decay]
    )


LARGEST = 0.75


def margins(n):
    rarest = min(n)
    return np.array([LARGEST * (rarest / v) ** mp.mpf(0.25) for v in n])


def margins_slope(n):
    """The rarest class moves all margins but its own."""
    size = margins(n)
    rarest = min(range(len(n)), key=lambda c: n[c])
    slope = -size / 4 / n
    slope[rarest] = mp.fsum(np.delete(size, rarest)) / 4 / n[rarest]
    return slope


BINS = 8


def norms(rng, scale):
    return (rng.beta(0.5, 1, size=(BATCH, 24)),)


def density(g):
    place = [min(int(BINS * v), BINS - 1) for v in g]
    size = {b: place.count(b) for b in place}
    return np.array([mp.mpf(len(g)) / (len(size) * size[b]) for b in place])


@functools.wraps(jaxloss.gradient_density_weights)
def density_call(*args, **options):
    return jaxloss.gradient_density_weights(*args, **options).weights


HARDEST = 3


def losses(rng, scale):
    """Losses of one batch in a row, without ties."""
    x, _ = apart(rng, "unit")
    return (np.abs(x) * {"tiny": 1e-4, "wide": 100.0}.get(scale, 1.0) + 0.25 * x,)


def hardest(x):
    return mp.fsum(sorted(x, reverse=True)[:HARDEST]) / HARDEST


def hardest_gradient(x):
    order = sorted(range(len(x)), key=lambda i: -x[i])
    return np.array([mp.mpf(i in order[:HARDEST]) / HARDEST for i in range(len(x))])


# ------------------------------------------------------------------ sampled classes

SAMPLES = 5


def sampled(rng, scale):
    """Logits of the true class and of samples, two of which are accidental hits."""
    x, _ = labelled(rng, scale)
    label = rng.integers(100, size=BATCH).astype(np.int32)
    drawn = rng.integers(100, 200, size=(BATCH, SAMPLES)).astype(np.int32)
    drawn[1, 2], drawn[4, 0] = label[1], label[4]
    q = np.log(rng.uniform(0.125, 1, size=(BATCH, SAMPLES + 1)))
    if scale == "tiny":
        # The corrections are as close as the logits are.
        q = 1e-4 * q
    return x[:, 0], x[:, 1 : SAMPLES + 1], label, drawn, q[:, 0], q[:, 1:]


def sampled_row(x, others, label, drawn, own_q, q):
    kept = [i for i in range(SAMPLES) if drawn[i] != label]
    return kept, np.array([x - own_q, *(others[i] - q[i] for i in kept)])


def sampled_loss(*example):
    return cross_entropy(sampled_row(*example)[1], 0)


def by_own(*example):
    return direction(sampled_row(*example)[1], 0)[0]


def by_sampled(*example):
    kept, row = sampled_row(*example)
    slope = np.full(SAMPLES, mp.mpf(0))
    slope[kept] = softmax.softmax(row)[1:]
    return slope


SAMPLED = ("labels", "sampled_labels", "log_expected", "sampled_log_expected")


def sampled_floor(*example):
    # A correction is rounded as the sum of it and the logit's distance is.
    return 2.4e-7


# ------------------------------------------------------------------ many labels

POSITIVE, NEGATIVE, MARGIN = 0.5, 3.0, 0.0625


def asymmetric(x, y):
    p = binary.sigmoid(x)
    p_m = max(p - mp.mpf(MARGIN), mp.mpf(0))
    present = -((binary.sigmoid(-x)) ** mp.mpf(POSITIVE)) * mp.log(p)
    absent = -(p_m ** mp.mpf(NEGATIVE)) * mp.log1p(-p_m)
    return y * present + (1 - y) * absent


def asymmetric_gradient(x, y):
    p, q = binary.sigmoid(x), binary.sigmoid(-x)
    p_m = max(p - mp.mpf(MARGIN), mp.mpf(0))
    g = mp.mpf(POSITIVE)
    present = g * p * q**g * mp.log(p) - q ** (g + 1)
    if p_m == 0:
        return y * present
    g = mp.mpf(NEGATIVE)
    bend = p_m**g / (1 - p_m) - g * p_m ** (g - 1) * mp.log1p(-p_m)
    return y * present + (1 - y) * p * q * bend


def asymmetric_floor(x, y):
    # p - m is a difference of two rounded numbers.
    return float(2e-7 * mp.mpf(MARGIN) * (1 - y)) if abs(x) < 4 else 0.0


def signed_logits(rng, scale):
    return binary.logits(rng, scale), rng.choice([-1.0, 1.0], size=BATCH)


def many(rng, scale):
    x = np.stack([binary.logits(rng, scale) for _ in range(5)], axis=1)
    y = rng.integers(2, size=x.shape).astype(np.float64)
    y[0] = rng.uniform(size=5)
    return x, y


TASKS = np.array([0.5, 1.25, 2.0, 0.75, 1.5], np.float32)
EXACT_TASKS = [mp.mpf(float(v)) for v in TASKS]


def mean_binary(x, y, w=(1,) * 5):
    terms = (v * binary.cross_entropy(a, b) for v, a, b in zip(w, x, y, strict=True))
    return mp.fsum(terms) / len(x)


def mean_binary_gradient(x, y, w=(1,) * 5):
    return np.array(
        [v * binary.slope(a, b) / len(x) for v, a, b in zip(w, x, y, strict=True)]
    )


def pairs(rng, scale):
    x, _ = apart(rng, scale)
    y = (rng.uniform(size=x.shape) < 0.4).astype(np.float64)
    # Beside the none of the last class: a law removes it.
    y[:, 0], y[:, 1] = 1, 0
    return x, y


PAIR_MARGIN = 0.75


def all_pairs(x, y):
    return [
        (j, i, mp.mpf(PAIR_MARGIN) + x[i] - x[j])
        for j in range(len(x))
        for i in range(len(x))
        if y[j] == 1 and y[i] == 0
    ]


def pair_hinge(x, y):
    return mp.fsum(max(v, mp.mpf(0)) for _, _, v in all_pairs(x, y)) / len(x)


def pair_hinge_gradient(x, y):
    slope = np.full(len(x), mp.mpf(0))
    for j, i, lack in all_pairs(x, y):
        if lack > 0:
            slope[i] += mp.mpf(1) / len(x)
            slope[j] -= mp.mpf(1) / len(x)
    return slope


# ------------------------------------------------------------------ entmax


def entmax(x, alpha):
    """The entmax at many digits: bisection of the threshold, then Newton's method."""
    beta = mp.mpf(alpha) - 1
    top = max(x)
    low, high = top - 1 / beta, top

    def total(theta, power):
        return mp.fsum((beta * (v - theta)) ** power for v in x if v > theta)

    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if total(middle, 1 / beta) >= 1 else (low, middle)
    theta = low
    for _ in range(6):
        theta += (total(theta, 1 / beta) - 1) / total(theta, 1 / beta - 1)
    p = [(beta * (v - theta)) ** (1 / beta) if v > theta else mp.mpf(0) for v in x]
    return np.array(p)


def entmax_value(x, y, alpha=1.5):
    alpha = mp.mpf(alpha)
    p = entmax(x, alpha)
    omega = (mp.fsum(v**alpha for v in p) - 1) / (alpha * (alpha - 1))
    return mp.fsum(p * x) - omega - x[y]


def entmax_gradient(x, y, alpha=1.5):
    p = entmax(x, alpha)
    p[y] = -mp.fsum(np.delete(p, y))
    return p


def sparse(lead):
    """Rows as elsewhere; saturated ones lead by about what the loss demands."""

    def draw(rng, scale):
        x, y = labelled(rng, "unit" if scale == "saturated" else scale)
        if scale == "saturated":
            each, best = np.arange(BATCH), x.argmax(axis=1)
            rest = np.where(np.arange(CLASSES) == best[:, None], -np.inf, x)
            x[each, best] = rest.max(axis=1) + lead + 1e-2 * rng.normal(size=BATCH)
            y = np.where(each % 2 == 0, best, y).astype(np.int32)
        return x, y

    return draw


IN_NATS = {
    "asymmetric_loss",
    "confidence_penalty_cross_entropy",
    "logit_adjusted_cross_entropy",
    "mixup_cross_entropy",
    "multilabel_soft_margin_loss",
    "sampled_softmax_cross_entropy",
    "soft_margin_loss",
}
NOT_REDUCED = {
    "class_balanced_weights",
    "gradient_density_weights",
    "label_distribution_margins",
    "top_k_mean",
}

CASES = [
    Case(
        name="generalized_cross_entropy",
        options={"q": 0.75},
        inputs=labelled,
        formula=functools.partial(generalized, q=mp.mpf(0.75)),
        gradient=functools.partial(generalized_gradient, q=mp.mpf(0.75)),
        event=(1, 0),
    ),
    Case(
        name="generalized_cross_entropy",
        variant="small q, class weights",
        options={"q": 2.0**-12, "class_weights": softmax.CLASS_WEIGHTS},
        inputs=labelled,
        formula=lambda x, y: (
            mp.mpf(float(softmax.CLASS_WEIGHTS[y]))
            * generalized(x, y, mp.mpf(2) ** -12)
        ),
        gradient=lambda x, y: (
            mp.mpf(float(softmax.CLASS_WEIGHTS[y]))
            * generalized_gradient(x, y, mp.mpf(2) ** -12)
        ),
        event=(1, 0),
    ),
    Case(
        name="symmetric_cross_entropy",
        options={"alpha": ALPHA, "beta": BETA, "log_zero": LOG_ZERO},
        inputs=labelled,
        formula=symmetric,
        gradient=symmetric_gradient,
        event=(1, 0),
    ),
    Case(
        name="confidence_penalty_cross_entropy",
        options={"penalty": PENALTY},
        inputs=labelled,
        formula=penalised,
        gradient=penalised_gradient,
        event=(1, 0),
        floor=penalised_floor,
    ),
    Case(
        name="mixup_cross_entropy",
        options={"mix": MIX},
        keywords=("other_labels",),
        inputs=two_labels,
        formula=mixed,
        gradient=mixed_gradient,
        event=(1, 0, 0),
        # λ (1 - p_y) less (1 - λ) p_y, both rounded, is the derivative of a label.
        floor=lambda x, y, z: 1.2e-7,
    ),
    Case(
        name="logit_adjusted_cross_entropy",
        call=adjusted_call,
        options={"tau": TAU},
        inputs=labelled,
        formula=lambda x, y: cross_entropy(adjusted(x), y),
        gradient=lambda x, y: direction(adjusted(x), y),
        event=(1, 0),
        # The distance of a logit and its prior are added with one rounding.
        floor=lambda x, y: 1.2e-7,
    ),
    Case(
        name="class_balanced_weights",
        options={"beta": COUNTED, "normalize": False},
        inputs=class_counts,
        formula=balanced,
        gradient=balanced_gradient,
        event=(1,),
        vmapped=True,
        scales=("unit",),
    ),
    Case(
        name="label_distribution_margins",
        options={"max_margin": LARGEST},
        inputs=class_counts,
        formula=margins,
        gradient=margins_slope,
        event=(1,),
        vmapped=True,
        scales=("unit",),
    ),
    Case(
        name="gradient_density_weights",
        call=density_call,
        options={"bins": BINS},
        inputs=norms,
        formula=density,
        gradient=lambda g: np.full(g.shape, mp.mpf(0)),
        event=(1,),
        vmapped=True,
        scales=("unit",),
        hessian=False,
    ),
    Case(
        name="top_k_mean",
        options={"k": HARDEST, "axis": -1},
        inputs=losses,
        formula=hardest,
        gradient=hardest_gradient,
        event=(1,),
        scales=("tiny", "unit", "wide"),
        hessian=False,
    ),
    Case(
        name="sampled_softmax_cross_entropy",
        keywords=SAMPLED,
        inputs=sampled,
        formula=sampled_loss,
        gradient=by_own,
        event=(0, 1, 0, 1, 0, 1),
        floor=sampled_floor,
    ),
    Case(
        name="sampled_softmax_cross_entropy",
        variant="by samples",
        keywords=SAMPLED,
        argument=1,
        inputs=sampled,
        formula=sampled_loss,
        gradient=by_sampled,
        event=(0, 1, 0, 1, 0, 1),
        floor=sampled_floor,
    ),
    Case(
        name="asymmetric_loss",
        options={
            "gamma_positive": POSITIVE,
            "gamma_negative": NEGATIVE,
            "margin": MARGIN,
        },
        inputs=binary.soft,
        formula=asymmetric,
        gradient=asymmetric_gradient,
        event=(0, 0),
        scales=binary.LOGIT_SCALES,
        floor=asymmetric_floor,
    ),
    Case(
        name="asymmetric_loss",
        variant="without margin",
        options={"gamma_positive": 0.0, "gamma_negative": 0.0, "margin": 0.0},
        inputs=binary.soft,
        formula=binary.cross_entropy,
        gradient=binary.slope,
        event=(0, 0),
        scales=binary.LOGIT_SCALES,
        # Two terms are added up where the cross entropy has one slope.
        floor=lambda x, y: 6e-8,
    ),
    Case(
        name="soft_margin_loss",
        inputs=signed_logits,
        formula=lambda x, t: binary.softplus(-t * x),
        gradient=lambda x, t: -t * binary.sigmoid(-t * x),
        event=(0, 0),
        scales=binary.LOGIT_SCALES,
    ),
    Case(
        name="multilabel_soft_margin_loss",
        inputs=many,
        formula=mean_binary,
        gradient=mean_binary_gradient,
        event=(1, 1),
        scales=binary.LOGIT_SCALES,
    ),
    Case(
        name="multilabel_soft_margin_loss",
        variant="class weights",
        options={"class_weights": TASKS},
        inputs=many,
        formula=functools.partial(mean_binary, w=EXACT_TASKS),
        gradient=functools.partial(mean_binary_gradient, w=EXACT_TASKS),
        event=(1, 1),
        scales=binary.LOGIT_SCALES,
    ),
    Case(
        name="multilabel_margin_loss",
        kinks=True,
        options={"margin": PAIR_MARGIN},
        inputs=pairs,
        formula=pair_hinge,
        gradient=pair_hinge_gradient,
        event=(1, 1),
        hessian=False,
    ),
    Case(
        name="entmax_loss",
        inputs=sparse(2.0),
        formula=entmax_value,
        gradient=entmax_gradient,
        event=(1, 0),
    ),
    *(
        Case(
            name="entmax_loss",
            variant=f"alpha {alpha}",
            options={"alpha": alpha},
            inputs=sparse(1 / (alpha - 1)),
            formula=functools.partial(entmax_value, alpha=alpha),
            gradient=functools.partial(entmax_gradient, alpha=alpha),
            event=(1, 0),
        )
        for alpha in (1.25, 2.0, 3.0)
    ),
]
