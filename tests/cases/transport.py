"""Distances of two samples: optimal transport, kernels, energies."""

import functools

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np

from tests.case import BATCH, Case, Scale
from tests.cases.regression import residuals

POINTS, OTHERS, FEATURES = 4, 3, 2
# Of clouds as close as "tiny" ones, gradients and curvatures are not of the size of the
# floors below: `tests/test_transport.py` measures them.
APART: tuple[Scale, ...] = ("unit", "wide", "offset", "saturated")
KEY = jax.random.key(3)
PROJECTIONS = 3


def clouds(rng, scale, others=OTHERS):
    """Two clouds in each example: apart, close, far from 0, of very different sizes."""
    x = rng.normal(size=(BATCH, POINTS, FEATURES))
    y = rng.normal(size=(BATCH, others, FEATURES)) + 0.5
    match scale:
        case "tiny":
            return 1e-3 * x, 1e-3 * y
        case "wide":
            return 3 * x, 3 * y + 4
        case "offset":
            return x + 1e5, y + 1e5
        case "saturated":
            return x, y + 30
        case _:
            return x, y


def length(d):
    return mp.sqrt(mp.fsum(d * d))


def mean(f, x, y):
    return mp.fsum(f(a - b) for a in x for b in y) / (len(x) * len(y))


def discrepancy(f, unbiased=False):
    """Twice the mean of f across, less those within."""

    def loss(x, y):
        def within(z):
            n = len(z)
            return mean(f, z, z) * (mp.mpf(n) / (n - 1) if unbiased else 1)

        return 2 * mean(f, x, y) - within(x) - within(y)

    return loss


def discrepancy_gradient(slope):
    """For the biased form, with slope the gradient of f."""

    def gradient(x, y):
        rows = []
        for a in x:
            across = sum(slope(a - b) for b in y) / len(y)
            within = sum(slope(a - b) for b in x) / len(x)
            rows.append(2 * (across - within) / len(x))
        return np.array(rows)

    return gradient


def direction(d):
    size = length(d)
    return 0 * d if size == 0 else d / size


def kernel(widths):
    def loss(d):
        square = mp.fsum(d * d)
        return mp.fsum(1 - mp.exp(-square / (2 * s * s)) for s in widths) / len(widths)

    def slope(d):
        square = mp.fsum(d * d)
        return sum(d / s**2 * mp.exp(-square / (2 * s * s)) for s in widths) / len(
            widths
        )

    return loss, slope


WIDTHS = np.array([0.5, 2.0], np.float32)
one_kernel, one_slope = kernel([mp.mpf(1)])
two_kernels, _ = kernel([mp.mpf(0.5), mp.mpf(2)])

# ------------------------------------------------------------------ sorted samples


def sorted_costs(p):
    def loss(x, y):
        pairs = zip(sorted(x), sorted(y), strict=True)
        return mp.fsum(abs(a - b) ** p for a, b in pairs) / len(x)

    return loss


def sorted_slopes(p):
    def gradient(x, y):
        target = sorted(y)
        result = np.empty(len(x), object)
        for i, j in enumerate(sorted(range(len(x)), key=lambda k: x[k])):
            d = x[j] - target[i]
            result[j] = p * mp.sign(d) * abs(d) ** (p - 1) / len(x)
        return result

    return gradient


def directions():
    drawn = np.asarray(jax.random.normal(KEY, (FEATURES, PROJECTIONS), jnp.float32))
    rows = [np.array([mp.mpf(float(v)) for v in row]) for row in drawn.T]
    return [row / length(row) for row in rows]


def sliced(x, y):
    return mp.fsum(
        sorted_costs(2)([mp.fsum(a * u) for a in x], [mp.fsum(b * u) for b in y])
        for u in directions()
    ) / len(directions())


# ------------------------------------------------------------------ Sinkhorn


def transport(x, y, epsilon, iterations):
    """The two potentials."""
    cost = [[mp.fsum((a - b) ** 2) / 2 for b in y] for a in x]
    n, m = len(x), len(y)

    def by_row(g):
        return [
            -epsilon
            * mp.log(
                mp.fsum(mp.exp((g[j] - cost[i][j]) / epsilon) for j in range(m)) / m
            )
            for i in range(n)
        ]

    def by_column(f):
        return [
            -epsilon
            * mp.log(
                mp.fsum(mp.exp((f[i] - cost[i][j]) / epsilon) for i in range(n)) / n
            )
            for j in range(m)
        ]

    f, g = by_row([0] * m), by_column([0] * n)
    for _ in range(iterations):
        new_f, new_g = by_row(g), by_column(f)
        f = [(u + v) / 2 for u, v in zip(f, new_f, strict=True)]
        g = [(u + v) / 2 for u, v in zip(g, new_g, strict=True)]
    return by_row(g), by_column(f)


def sinkhorn(x, y, *, epsilon, iterations):
    epsilon = mp.mpf(epsilon)
    solve = functools.partial(transport, epsilon=epsilon, iterations=iterations)
    f, g = solve(x, y)
    p, _ = solve(x, x)
    q, _ = solve(y, y)
    across = mp.fsum(f) / len(x) + mp.fsum(g) / len(y)
    return across - mp.fsum(p) / len(x) - mp.fsum(q) / len(y)


def spread(x, y):
    """The largest distance."""
    points = [np.array([float(v) for v in row]) for row in (*x, *y)]
    return max(np.linalg.norm(a - b) for a in points for b in points)


NOT_REDUCED = ()
OWN_REDUCTION = {
    "energy_distance",
    "mmd_loss",
    "sinkhorn_divergence",
    "sliced_wasserstein",
}

CASES = [
    Case(
        name="wasserstein_1d",
        inputs=residuals,
        formula=sorted_costs(1),
        gradient=sorted_slopes(1),
        event=(1, 1),
        # Sorting brings equals together: in half precision there are such.
        kinks=True,
        hessian=False,
        # A difference of entries of another row's size, by chance a small one.
        scales=("unit", "wide", "saturated"),
    ),
    *(
        Case(
            name="wasserstein_1d",
            variant=f"power {power}",
            options={"power": power},
            inputs=residuals,
            formula=sorted_costs(power),
            gradient=sorted_slopes(power),
            event=(1, 1),
            hessian=power == 2,
            scales=("unit", "wide", "offset", "saturated"),
        )
        for power in (2.0, 1.5)
    ),
    Case(
        name="sliced_wasserstein",
        options={"key": KEY, "projections": PROJECTIONS},
        inputs=lambda rng, scale: clouds(rng, scale, POINTS),
        formula=sliced,
        gradient=None,
        event=(2, 2),
        vmapped=True,
        scales=APART,
        # A projection is a sum of signed products, rounded relative to the largest.
        floor=lambda x, y: 3e-7 * spread(x, y) ** 2,
    ),
    Case(
        name="sinkhorn_divergence",
        options={"epsilon": 0.5, "iterations": 4},
        inputs=clouds,
        formula=functools.partial(sinkhorn, epsilon=0.5, iterations=4),
        gradient=None,
        event=(2, 2),
        vmapped=True,
        scales=("unit", "wide", "offset"),
        # The difference of potentials of the size of the costs, which are divided by
        # epsilon and multiplied again.
        floor=lambda x, y: 1e-6 * (1 + spread(x, y) ** 2),
    ),
    Case(
        name="mmd_loss",
        inputs=clouds,
        formula=discrepancy(one_kernel),
        gradient=discrepancy_gradient(one_slope),
        event=(2, 2),
        vmapped=True,
        scales=APART,
        # The difference of means of numbers below 1, or below the squared distance.
        floor=lambda x, y: 5e-7 * min(1, spread(x, y) ** 2),
    ),
    Case(
        name="mmd_loss",
        variant="unbiased, two kernels",
        options={"bandwidths": WIDTHS, "estimator": "unbiased"},
        inputs=clouds,
        formula=discrepancy(two_kernels, unbiased=True),
        gradient=None,
        event=(2, 2),
        vmapped=True,
        scales=APART,
        floor=lambda x, y: 2e-6 * min(1, spread(x, y) ** 2),
    ),
    Case(
        name="energy_distance",
        inputs=clouds,
        formula=discrepancy(length),
        gradient=discrepancy_gradient(direction),
        event=(2, 2),
        vmapped=True,
        scales=APART,
        kinks=True,  # points that half precision makes equal
        # The difference of means of distances; their derivatives are of size 1.
        floor=lambda x, y: 5e-7 * max(1, spread(x, y)),
    ),
    Case(
        name="energy_distance",
        variant="unbiased",
        options={"estimator": "unbiased"},
        inputs=clouds,
        formula=discrepancy(length, unbiased=True),
        gradient=None,
        event=(2, 2),
        vmapped=True,
        scales=APART,
        floor=lambda x, y: 5e-7 * max(1, spread(x, y)),
    ),
]
