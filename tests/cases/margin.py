"""Margin losses: hinges and perceptrons, binary and multiclass."""

import mpmath as mp
import numpy as np
import optax

from tests.case import BATCH, Case, Scale

CLASSES = 7

# ------------------------------------------------------------------ binary

# An offset of one output does not cancel. "saturated" is beside the kink here.
BINARY_SCALES: tuple[Scale, ...] = ("tiny", "unit", "wide", "saturated")


def signed(rng: np.random.Generator, scale: Scale):
    x = rng.normal(size=BATCH)
    target = rng.choice([-1.0, 1.0], size=BATCH)
    match scale:
        case "tiny":
            x = 1e-4 * x
        case "wide":
            x = 10 * x
        case "saturated":
            x = target + 1e-3 * x
    return x, target


def positive(v):
    return max(v, mp.mpf(0))


def step(v):
    return mp.mpf(v > 0)


# ------------------------------------------------------------------ multiclass


def labelled(rng: np.random.Generator, scale: Scale):
    """Scores without ties in any dtype, whose gradient would be a convention."""
    order = rng.permuted(np.tile(np.arange(CLASSES), (BATCH, 1)), axis=1)
    x = (order - 3) / 2 + rng.uniform(-0.2, 0.2, size=order.shape)
    label = rng.integers(CLASSES, size=BATCH).astype(np.int32)
    match scale:
        case "tiny":
            x = 1e-4 * x
        case "wide":
            x = 10 * x
        case "offset":
            # bfloat16 counts in steps of 512 there.
            x = 2048 * x + 1e5 * rng.choice([-1, 1], size=(BATCH, 1))
        case "saturated":
            # The label leads by about the margin.
            others = np.where(np.arange(CLASSES) == label[:, None], -np.inf, x)
            lead = others.max(axis=1) + 1 + 1e-3 * rng.normal(size=BATCH)
            x[np.arange(BATCH), label] = lead
    return x, label


def rivals(x, y):
    return [j for j in range(len(x)) if j != y]


def strongest(x, y, margin=1, power=1):
    return positive(margin + max(x[j] for j in rivals(x, y)) - x[y]) ** power


def strongest_slope(x, y, margin=1, power=1):
    slope = np.full(len(x), mp.mpf(0))
    best = max(rivals(x, y), key=lambda j: x[j])
    lead = positive(margin + x[best] - x[y])
    slope[best] = step(lead) if power == 1 else 2 * lead
    slope[y] = -slope[best]
    return slope


def all_rivals(x, y, margin=1, power=1):
    return mp.fsum(positive(margin + x[j] - x[y]) ** power for j in rivals(x, y))


def all_rivals_slope(x, y, margin=1, power=1):
    slope = np.full(len(x), mp.mpf(0))
    for j in rivals(x, y):
        lead = positive(margin + x[j] - x[y])
        slope[j] = step(lead) if power == 1 else 2 * lead
    slope[y] = -mp.fsum(slope)
    return slope


MARGIN = 0.75


def shared(rng: np.random.Generator, scale: Scale):
    """Targets that are shares of the classes, of which each has some."""
    x, _ = labelled(rng, scale)
    return x, rng.dirichlet(np.ones(CLASSES), size=BATCH)


def one_hot(rng: np.random.Generator, scale: Scale):
    x, label = labelled(rng, scale)
    return x, np.eye(CLASSES)[label]


def categorical(x, t):
    return positive(MARGIN + max((1 - t) * x) - mp.fsum(t * x))


def categorical_slope(x, t):
    rival = (1 - t) * x
    slope = -t * step(MARGIN + max(rival) - mp.fsum(t * x))
    best = max(range(len(x)), key=lambda c: rival[c])
    slope[best] += (1 - t[best]) * step(categorical(x, t))
    return slope


CASES = [
    Case(
        name="hinge_loss",
        kinks=True,
        inputs=signed,
        formula=lambda x, t: positive(1 - t * x),
        gradient=lambda x, t: -t * step(1 - t * x),
        event=(0, 0),
        scales=BINARY_SCALES,
        hessian=False,
        optax=optax.losses.hinge_loss,
    ),
    Case(
        name="squared_hinge_loss",
        kinks=True,
        inputs=signed,
        formula=lambda x, t: positive(1 - t * x) ** 2,
        gradient=lambda x, t: -2 * t * positive(1 - t * x),
        event=(0, 0),
        scales=BINARY_SCALES,
        optax=lambda x, t: optax.losses.hinge_loss(x, t) ** 2,
    ),
    Case(
        name="perceptron_loss",
        kinks=True,
        inputs=signed,
        formula=lambda x, t: positive(-t * x),
        gradient=lambda x, t: -t * step(-t * x),
        event=(0, 0),
        scales=BINARY_SCALES,
        hessian=False,
        optax=optax.losses.perceptron_loss,
    ),
    Case(
        name="multiclass_hinge_loss",
        kinks=True,
        inputs=labelled,
        formula=strongest,
        gradient=strongest_slope,
        event=(1, 0),
        hessian=False,
        optax=optax.losses.multiclass_hinge_loss,
    ),
    Case(
        name="multiclass_hinge_loss",
        kinks=True,
        variant="margin, power 2",
        options={"margin": MARGIN, "power": 2},
        inputs=labelled,
        formula=lambda x, y: strongest(x, y, MARGIN, 2),
        gradient=lambda x, y: strongest_slope(x, y, MARGIN, 2),
        event=(1, 0),
    ),
    Case(
        name="multiclass_hinge_loss",
        kinks=True,
        variant="weston_watkins",
        options={"variant": "weston_watkins"},
        inputs=labelled,
        formula=all_rivals,
        gradient=all_rivals_slope,
        event=(1, 0),
        hessian=False,
    ),
    Case(
        name="multiclass_hinge_loss",
        kinks=True,
        variant="weston_watkins, margin, power 2",
        options={"variant": "weston_watkins", "margin": MARGIN, "power": 2},
        inputs=labelled,
        formula=lambda x, y: all_rivals(x, y, MARGIN, 2),
        gradient=lambda x, y: all_rivals_slope(x, y, MARGIN, 2),
        event=(1, 0),
    ),
    Case(
        name="multiclass_perceptron_loss",
        kinks=True,
        inputs=labelled,
        formula=lambda x, y: max(x) - x[y],
        gradient=lambda x, y: strongest_slope(x, y, 0),
        event=(1, 0),
        hessian=False,
        optax=optax.losses.multiclass_perceptron_loss,
    ),
    Case(
        name="categorical_hinge_loss",
        kinks=True,
        options={"margin": MARGIN},
        inputs=shared,
        formula=categorical,
        gradient=categorical_slope,
        event=(1, 1),
        hessian=False,
        # The products of scores and shares are rounded before they are added up.
        floor=lambda x, t: 2e-7 * mp.fsum(abs(t * x)),
    ),
    Case(
        name="categorical_hinge_loss",
        variant="one-hot",
        kinks=True,
        options={"margin": MARGIN},
        inputs=one_hot,
        formula=categorical,
        gradient=categorical_slope,
        event=(1, 1),
        hessian=False,
    ),
]
