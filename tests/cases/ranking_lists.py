"""Ranking losses of whole lists."""

import mpmath as mp
import numpy as np

from tests.case import BATCH, SCALES, Case
from tests.cases import softmax
from tests.cases.ranking_pairs import ITEMS, relevances


def in_order(s, y):
    """The items as the labels order them, the first of equals first."""
    return sorted(range(len(s)), key=lambda i: (-y[i], i))


def order_nll(s, order):
    """Every item drawn among those that are left."""
    left, loss = list(range(len(s))), mp.mpf(0)
    for i in map(int, order):
        loss += softmax.log_partition(s[left]) - s[i]
        left.remove(i)
    return loss


def order_gradient(s, order):
    left, result = list(range(len(s))), np.full(len(s), mp.mpf(0))
    for i in map(int, order):
        result[left] += softmax.softmax(s[left])
        result[i] -= 1
        left.remove(i)
    return result


def draws(s, order):
    # A draw takes from its item what others add to it: differences of numbers of the
    # size of the probability that another one is drawn.
    left, largest = list(range(len(s))), mp.mpf(0)
    for i in map(int, order):
        largest += 1 - softmax.softmax(s[left])[left.index(i)]
        left.remove(i)
    return 2.4e-7 * float(largest)


def first_ranks(rng, scale):
    """Rankings of three of the items but the last; half of them are the likeliest."""
    s = softmax.logits(rng, scale, ITEMS)
    ranking = np.stack([rng.permutation(ITEMS - 1)[:2] for _ in range(BATCH)])
    best = np.argsort(-s[:, : ITEMS - 1], axis=-1)[:, :2]
    right = np.arange(BATCH)[:, None] % 2 == 0
    return s, np.where(right, best, ranking).astype(np.int32)


def listnet(s, y):
    return softmax.soft_cross_entropy(s, softmax.softmax(y))


def listnet_gradient(s, y):
    return softmax.softmax(s) - softmax.softmax(y)


def gains(y):
    return [mp.mpf(2) ** v - 1 for v in y]


def rivals(y, i):
    return [i, *(j for j in range(len(y)) if y[j] < y[i])]


def unique(s, y):
    g = gains(y)
    return mp.fsum(
        g[i] * (softmax.log_partition(s[rivals(y, i)]) - s[i]) for i in range(len(s))
    )


def unique_gradient(s, y):
    g, result = gains(y), np.full(len(s), mp.mpf(0))
    for i in range(len(s)):
        result[rivals(y, i)] += g[i] * softmax.softmax(s[rivals(y, i)])
        result[i] -= g[i]
    return result


def unique_floor(s, y):
    g = gains(y)
    missed = mp.fsum(
        g[i] * (1 - softmax.softmax(s[rivals(y, i)])[0]) for i in range(len(s))
    )
    return 2.4e-7 * float(missed)


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def discount(r):
    return 1 / mp.log(1 + r, 2)


def discount_slope(r):
    return -mp.log(2) / (mp.log(1 + r) ** 2 * (1 + r))


def smooth_ranks(s, t):
    return [
        1 + mp.fsum(sigmoid((b - a) / t) for j, b in enumerate(s) if j != i)
        for i, a in enumerate(s)
    ]


def ideal(y):
    return mp.fsum(
        g * discount(k + 1) for k, g in enumerate(sorted(gains(y), reverse=True))
    )


def approx_ndcg(temperature):
    def formula(s, y):
        r = smooth_ranks(s, temperature)
        dcg = mp.fsum(g * discount(k) for g, k in zip(gains(y), r, strict=True))
        return 1 - dcg / ideal(y)

    def gradient(s, y):
        g, r = gains(y), smooth_ranks(s, temperature)
        h = [a * discount_slope(k) for a, k in zip(g, r, strict=True)]
        result = []
        for k in range(len(s)):
            total = mp.mpf(0)
            for i in range(len(s)):
                d = (s[k] - s[i]) / temperature
                total += (h[i] - h[k]) * sigmoid(d) * sigmoid(-d)
            result.append(-total / (temperature * ideal(y)))
        return np.array(result)

    return {"inputs": relevances, "formula": formula, "gradient": gradient}


def disorder(temperature=1.0):
    def floor(s, y):
        # Ranks that are too low and too high cancel: a rounding of each difference.
        total = sum(
            sigmoid(-abs(s[i] - s[j]) / temperature) + (s[i] < s[j])
            for i, j in np.ndindex(ITEMS, ITEMS)
            if y[i] > y[j]
        )
        equal = sum(
            2 * sigmoid(-abs(s[i] - s[j]) / temperature)
            for i, j in np.ndindex(ITEMS, ITEMS)
            if i < j and y[i] == y[j]
        )
        return 1e-6 / min(temperature, 1) * float(total + equal)

    return floor


IN_NATS = {"listmle_loss", "listnet_loss", "plackett_luce_nll", "unique_softmax_loss"}

CASES = [
    Case(
        name="plackett_luce_nll",
        inputs=first_ranks,
        formula=order_nll,
        gradient=order_gradient,
        event=(1, 1),
        floor=draws,
    ),
    Case(
        name="listmle_loss",
        inputs=relevances,
        formula=lambda s, y: order_nll(s, in_order(s, y)),
        gradient=lambda s, y: order_gradient(s, in_order(s, y)),
        event=(1, 1),
        floor=lambda s, y: draws(s, in_order(s, y)),
    ),
    Case(
        name="listnet_loss",
        inputs=relevances,
        formula=listnet,
        gradient=listnet_gradient,
        event=(1, 1),
        # The difference of two rounded probabilities.
        floor=lambda s, y: 1.2e-7,
    ),
    Case(
        name="unique_softmax_loss",
        inputs=relevances,
        formula=unique,
        gradient=unique_gradient,
        event=(1, 1),
        floor=unique_floor,
    ),
    Case(
        name="approx_ndcg_loss",
        event=(1, 1),
        floor=disorder(),
        **approx_ndcg(mp.mpf(1)),
    ),
    Case(
        name="approx_ndcg_loss",
        variant="temperature 0.25",
        options={"temperature": 0.25},
        event=(1, 1),
        floor=disorder(0.25),
        scales=tuple(s for s in SCALES if s != "offset"),
        **approx_ndcg(mp.mpf(0.25)),
    ),
]
