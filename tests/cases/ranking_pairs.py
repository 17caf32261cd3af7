"""Ranking losses of pairs."""

import functools

import mpmath as mp
import numpy as np

import jaxloss
from tests.case import BATCH, Case
from tests.cases import binary, softmax

ITEMS = 4


def relevances(rng, scale):
    """Graded relevance, everywhere a pair; half of the lists are in order."""
    s = softmax.logits(rng, scale, ITEMS)
    y = rng.integers(0, 3, size=(BATCH, ITEMS)).astype(np.float64)
    y[:, 0], y[:, 1] = 2, 0
    order = np.arange(BATCH) % 2 == 0
    ranks = s.argsort(axis=-1).argsort(axis=-1)
    return s, np.where(order[:, None], np.sort(y, axis=-1)[:, :], y)[
        np.arange(BATCH)[:, None], np.where(order[:, None], ranks, np.arange(ITEMS))
    ]


def over_pairs(term, slope, weight=lambda y, i, j: 1):
    """A loss from its term of s_i - s_j, and its gradient from the term's slope."""

    def pairs(y):
        for i, j in np.ndindex(ITEMS, ITEMS):
            if y[i] > y[j]:
                yield i, j, weight(y, i, j)

    def formula(s, y):
        return mp.fsum(w * term(s[i] - s[j]) for i, j, w in pairs(y))

    def gradient(s, y):
        result = np.full(ITEMS, mp.mpf(0))
        for i, j, w in pairs(y):
            result[i] += w * slope(s[i] - s[j])
            result[j] -= w * slope(s[i] - s[j])
        return result

    return {"formula": formula, "gradient": gradient, "inputs": relevances}


def logistic(d):
    return binary.softplus(-d)


def logistic_slope(d):
    return -binary.sigmoid(-d)


def soft_slope(d):
    return -binary.sigmoid(d) * binary.sigmoid(-d)


def hinge(margin):
    return over_pairs(
        lambda d: max(mp.mpf(0), margin - d), lambda d: mp.mpf(-1 if d < margin else 0)
    )


def label_difference(y, i, j):
    return abs(y[i] - y[j])


def terms(slope):
    """An item's gradient is a sum of both signs: a rounding of each of its terms."""

    def floor(s, y):
        total = sum(
            abs(slope(s[i] - s[j]) * label_difference(y, i, j))
            for i, j in np.ndindex(ITEMS, ITEMS)
            if y[i] > y[j]
        )
        return 2.4e-7 * float(total)

    return floor


def reals(rng, scale):
    """Labels that are numbers, near the scores or not."""
    s = softmax.logits(rng, scale, ITEMS)
    return s, rng.normal(size=s.shape)


def squares(s, y):
    return mp.fsum(
        ((s[i] - s[j]) - (y[i] - y[j])) ** 2 for i, j in np.ndindex(ITEMS, ITEMS)
    )


def squares_gradient(s, y):
    e = s - y
    return np.array([4 * mp.fsum(e[i] - v for v in e) for i in range(ITEMS)])


def residuals(s, y):
    # Differences of scores and of labels, each rounded.
    size = max(max(s) - min(s), max(y) - min(y))
    return 1e-6 * float(size + size * mp.sqrt(squares(s, y)))


@functools.wraps(jaxloss.pairwise_logistic_loss)
def by_label_difference(logits, labels, **options):
    axis = options.get("axis", -1)
    weights = jaxloss.label_difference_lambda_weights(labels, axis=axis)
    options["lambda_weights"] = weights
    return jaxloss.pairwise_logistic_loss(logits, labels, **options)


def choices(rng, scale):
    return binary.logits(rng, scale), rng.normal(size=BATCH)


IN_NATS = {"pairwise_logistic_loss", "bayesian_personalized_ranking_loss"}
NOT_REDUCED = {"dcg_lambda_weights", "label_difference_lambda_weights"}
# Weights of pairs are no losses; `tests/test_ranking_pairs.py` holds them, and the row
# "label differences" here.
WITHOUT_ROW = NOT_REDUCED
SIBLINGS = {"pairwise_soft_zero_one_loss"}

CASES = [
    Case(
        name="pairwise_logistic_loss",
        event=(1, 1),
        floor=terms(logistic_slope),
        **over_pairs(logistic, logistic_slope),
    ),
    Case(
        name="pairwise_logistic_loss",
        variant="label differences",
        call=by_label_difference,
        event=(1, 1),
        floor=terms(logistic_slope),
        **over_pairs(logistic, logistic_slope, label_difference),
    ),
    Case(
        name="pairwise_soft_zero_one_loss",
        event=(1, 1),
        floor=terms(soft_slope),
        **over_pairs(lambda d: binary.sigmoid(-d), soft_slope),
    ),
    Case(
        name="pairwise_hinge_loss",
        event=(1, 1),
        kinks=True,
        hessian=False,
        # A lack that nearly cancels the margin is as coarse as both.
        floor=lambda s, y: 1e-6 * float(1 + max(s) - min(s)),
        **hinge(mp.mpf(1)),
    ),
    Case(
        name="pairwise_hinge_loss",
        variant="margin 0.25",
        options={"margin": 0.25},
        event=(1, 1),
        kinks=True,
        hessian=False,
        floor=lambda s, y: 1e-6 * float(1 + max(s) - min(s)),
        **hinge(mp.mpf(0.25)),
    ),
    Case(
        name="pairwise_mse_loss",
        inputs=reals,
        formula=squares,
        gradient=squares_gradient,
        event=(1, 1),
        floor=residuals,
    ),
    Case(
        name="bayesian_personalized_ranking_loss",
        inputs=choices,
        formula=lambda a, b: logistic(a - b),
        gradient=lambda a, b: logistic_slope(a - b),
        event=(0, 0),
        scales=binary.LOGIT_SCALES,
    ),
]
