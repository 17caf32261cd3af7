"""Ordinal regression, and regression as classification."""

import functools
import itertools

import mpmath as mp
import numpy as np

import jaxloss
from tests.case import BATCH, Case, Scale
from tests.cases import binary, softmax
from tests.cases.classification import along

# ------------------------------------------------------------------ ranks

TASKS = 5
IMPORTANCE = np.array([0.5, 1.25, 2.0, 0.75, 1.5], np.float32)


def ranked(rng, scale):
    """Logits of the thresholds, and every rank from the first to the last."""
    x = np.stack([binary.logits(rng, scale) for _ in range(TASKS)], axis=1)
    y = rng.permutation(np.arange(BATCH) % (TASKS + 1)).astype(np.int32)
    return x, y


def coral(x, y, w=(1,) * TASKS):
    return mp.fsum(
        v * binary.cross_entropy(a, int(y > k))
        for k, (v, a) in enumerate(zip(w, x, strict=True))
    )


def coral_gradient(x, y, w=(1,) * TASKS):
    return np.array(
        [
            v * binary.slope(a, int(y > k))
            for k, (v, a) in enumerate(zip(w, x, strict=True))
        ]
    )


EXACT_IMPORTANCE = [mp.mpf(float(v)) for v in IMPORTANCE]


@functools.wraps(jaxloss.coral_loss)
def important(logits, labels, **options):
    """With the weights of the thresholds there are."""
    given = IMPORTANCE[: along(logits, **options)]
    return jaxloss.coral_loss(logits, labels, importance_weights=given, **options)


def corn(x, y):
    reached = x[: y + 1]
    return mp.fsum(binary.cross_entropy(a, int(y > k)) for k, a in enumerate(reached))


def corn_gradient(x, y):
    slope = np.full(len(x), mp.mpf(0))
    for k, a in enumerate(x[: y + 1]):
        slope[k] = binary.slope(a, int(y > k))
    return slope


def scored(rng, scale):
    """Predictions, ranks, and thresholds of each example."""
    eta = binary.logits(rng, scale)
    y = rng.permutation(np.arange(BATCH) % (TASKS + 1)).astype(np.int32)
    gaps = rng.uniform(0.25, 2, size=(BATCH, TASKS))
    if scale == "tiny":
        gaps *= 1e-3
    return eta, y, np.cumsum(gaps, axis=1) - gaps.sum(1, keepdims=True) / 2


def interval(eta, y, cuts):
    upper = binary.sigmoid(cuts[y] - eta) if y < len(cuts) else mp.mpf(1)
    lower = binary.sigmoid(cuts[y - 1] - eta) if y > 0 else mp.mpf(0)
    return lower, upper


def cumulative_link(eta, y, cuts):
    lower, upper = interval(eta, y, cuts)
    return -mp.log(upper - lower)


def by_prediction(eta, y, cuts):
    lower, upper = interval(eta, y, cuts)
    return 1 - lower - upper


def by_thresholds(eta, y, cuts):
    lower, upper = interval(eta, y, cuts)
    slope = np.full(len(cuts), mp.mpf(0))
    if y < len(cuts):
        slope[y] = -upper * (1 - upper) / (upper - lower)
    if y > 0:
        slope[y - 1] = lower * (1 - lower) / (upper - lower)
    return slope


# ------------------------------------------------------------------ bins

BINS = softmax.CLASSES
EDGES = np.array([-3, -1.75, -1.25, -0.25, 0.5, 1.0, 2.5, 4.0], np.float32)
SIGMA = 0.75
SUPPORT = np.array([-3, -1.75, -1.25, -0.25, 0.5, 1.0, 2.5], np.float32)


def binned(rng, scale):
    """Logits at every scale, and targets between inner points.

    A law takes labels modulo the classes that stay, and removes the last class.
    """
    x = softmax.logits(rng, scale)
    return x, rng.uniform(0, 0.9375, size=BATCH)


def over(function, points, extra):
    """With the bins there are, whichever axis they stand along."""

    @functools.wraps(function)
    def call(logits, targets, **options):
        name = "edges" if extra else "support"
        given = points[: along(logits, **options) + extra]
        return function(logits, targets, **{name: given}, **options)

    return call


def gauss_shares(y):
    z = [(mp.mpf(float(e)) - y) / mp.mpf(SIGMA) for e in EDGES]
    each = [
        (mp.erfc(a / mp.sqrt(2)) - mp.erfc(b / mp.sqrt(2))) / 2
        for a, b in itertools.pairwise(z)
    ]
    return np.array(each) / mp.fsum(each)


def hat_shares(y, points=SUPPORT):
    z = [mp.mpf(float(v)) for v in points]
    y = min(max(y, z[0]), z[-1])
    shares = np.full(len(z), mp.mpf(0))
    i = max(i for i in range(len(z) - 1) if z[i] <= y)
    shares[i] = (z[i + 1] - y) / (z[i + 1] - z[i])
    shares[i + 1] = (y - z[i]) / (z[i + 1] - z[i])
    return shares


def compared(shares):
    def formula(x, y):
        return softmax.soft_cross_entropy(x, shares(y))

    def gradient(x, y):
        return softmax.soft_cross_entropy_gradient(x, shares(y))

    return formula, gradient


gauss, gauss_gradient = compared(gauss_shares)
two_hot, two_hot_gradient = compared(hat_shares)


def two_hot_by_target(x, y):
    z = [mp.mpf(float(v)) for v in SUPPORT]
    i = max(i for i in range(len(z) - 1) if z[i] <= y)
    return (x[i] - x[i + 1]) / (z[i + 1] - z[i])


# Shares add up to 1, and their derivatives to 0: what each bin is worth makes the sum
# of a row's entries, which the harness differentiates, tell of them.
WORTH = np.array([0.5, -1.0, 2.0, 0.25, -3.0, 1.5, 1.0], np.float32)
EXACT_WORTH = np.array([mp.mpf(float(v)) for v in WORTH])


def valued(function):
    @functools.wraps(function)
    def call(targets, **options):
        shares = function(targets, **options)
        return shares * WORTH.astype(shares.dtype)

    return call


def gauss_slope(y):
    z = [(mp.mpf(float(e)) - y) / mp.mpf(SIGMA) for e in EDGES]
    density = [mp.npdf(v) / mp.mpf(SIGMA) for v in z]
    mass = mp.ncdf(z[-1]) - mp.ncdf(z[0])
    moved = np.array([a - b for a, b in itertools.pairwise(density)]) / mass
    shares = gauss_shares(y)
    return mp.fsum(EXACT_WORTH * (moved - shares * mp.fsum(moved)))


def numbers(rng, scale):
    return (rng.uniform(-2.5, 0.75, size=BATCH),)


def distributional(rng, scale):
    x = softmax.logits(rng, scale)
    q = rng.dirichlet(np.ones(BINS), size=BATCH)
    z = 0.5 * rng.normal(size=(BATCH, 1)) + 0.875 * SUPPORT
    return x, q, z


@functools.wraps(jaxloss.categorical_projection_loss)
def projection(logits, target_probs, target_support, **options):
    return jaxloss.categorical_projection_loss(
        logits,
        target_probs,
        support=SUPPORT,
        target_support=target_support,
        **options,
    )


def projected(q, z):
    return sum(p * hat_shares(v) for p, v in zip(q, z, strict=True))


def projection_floor(x, q, z):
    # The mass that a point receives is a sum of rounded shares of rounded masses, and
    # the derivative is its difference from p.
    return 2.4e-7


def soft_floor(x, y):
    # p_i and t_i are rounded before one is taken from the other.
    return 2.4e-7


SHARED_SCALES: tuple[Scale, ...] = binary.LOGIT_SCALES

IN_NATS = {
    "categorical_projection_loss",
    "coral_loss",
    "corn_loss",
    "cumulative_link_loss",
    "hl_gauss_loss",
    "two_hot_loss",
}
NOT_REDUCED = {"hl_gauss_targets", "two_hot_targets"}

CASES = [
    Case(
        name="coral_loss",
        inputs=ranked,
        formula=coral,
        gradient=coral_gradient,
        event=(1, 0),
        scales=SHARED_SCALES,
    ),
    Case(
        name="coral_loss",
        variant="importance weights",
        call=important,
        inputs=ranked,
        formula=functools.partial(coral, w=EXACT_IMPORTANCE),
        gradient=functools.partial(coral_gradient, w=EXACT_IMPORTANCE),
        event=(1, 0),
        scales=SHARED_SCALES,
    ),
    Case(
        name="corn_loss",
        inputs=ranked,
        formula=corn,
        gradient=corn_gradient,
        event=(1, 0),
        scales=SHARED_SCALES,
    ),
    Case(
        name="cumulative_link_loss",
        keywords=("thresholds",),
        inputs=scored,
        formula=cumulative_link,
        gradient=by_prediction,
        event=(0, 0, 1),
        scales=SHARED_SCALES,
    ),
    Case(
        name="cumulative_link_loss",
        variant="by thresholds",
        keywords=("thresholds",),
        argument=2,
        inputs=scored,
        formula=cumulative_link,
        gradient=by_thresholds,
        event=(0, 0, 1),
        scales=SHARED_SCALES,
    ),
    Case(
        name="hl_gauss_loss",
        call=over(jaxloss.hl_gauss_loss, EDGES, 1),
        options={"sigma": SIGMA},
        inputs=binned,
        formula=gauss,
        gradient=gauss_gradient,
        event=(1, 0),
        floor=soft_floor,
    ),
    Case(
        name="two_hot_loss",
        call=over(jaxloss.two_hot_loss, SUPPORT, 0),
        inputs=binned,
        formula=two_hot,
        gradient=two_hot_gradient,
        event=(1, 0),
        floor=soft_floor,
    ),
    Case(
        name="two_hot_loss",
        variant="by targets",
        argument=1,
        call=over(jaxloss.two_hot_loss, SUPPORT, 0),
        inputs=binned,
        formula=two_hot,
        gradient=two_hot_by_target,
        event=(1, 0),
        hessian=False,
        floor=soft_floor,
    ),
    Case(
        name="hl_gauss_targets",
        options={"edges": EDGES, "sigma": SIGMA},
        call=valued(jaxloss.hl_gauss_targets),
        inputs=numbers,
        formula=lambda y: EXACT_WORTH * gauss_shares(y),
        gradient=gauss_slope,
        event=(0,),
        vmapped=True,
        scales=("unit",),
        hessian=False,
        # A share is rounded as the differences of its number to the bins are.
        floor=lambda y: 4e-7,
    ),
    Case(
        name="two_hot_targets",
        options={"support": SUPPORT},
        call=valued(jaxloss.two_hot_targets),
        inputs=numbers,
        formula=lambda y: EXACT_WORTH * hat_shares(y),
        gradient=lambda y: -two_hot_by_target(EXACT_WORTH, y),
        event=(0,),
        vmapped=True,
        scales=("unit",),
        hessian=False,
        # A share is rounded as the differences of its number to the bins are.
        floor=lambda y: 4e-7,
    ),
    Case(
        name="categorical_projection_loss",
        call=projection,
        keywords=("target_support",),
        inputs=distributional,
        formula=lambda x, q, z: softmax.soft_cross_entropy(x, projected(q, z)),
        gradient=lambda x, q, z: softmax.soft_cross_entropy_gradient(
            x, projected(q, z)
        ),
        event=(1, 1, 1),
        floor=projection_floor,
    ),
]
