"""Fenchel-Young losses: sparsemax, binary and multiclass."""

import jax
import mpmath as mp
import numpy as np
import optax

import jaxloss
from tests.case import BATCH, Case, Scale

CLASSES = 7

# ------------------------------------------------------------------ binary

BINARY_SCALES: tuple[Scale, ...] = ("tiny", "unit", "wide", "saturated")


def logits(rng: np.random.Generator, scale: Scale) -> np.ndarray:
    x = rng.normal(size=BATCH)
    match scale:
        case "tiny":
            return 1e-4 * x
        case "wide":
            return 10 * x
        case "saturated":
            # Where the loss begins to grow, or to be linear.
            return rng.choice([-1, 1], size=BATCH) + 1e-3 * x
        case _:
            return x


def hard(rng, scale):
    return logits(rng, scale), rng.integers(2, size=BATCH).astype(np.float64)


def soft(rng, scale):
    """Probabilities: ordinary ones, an even one, a nearly certain one, 0 and 1."""
    y = rng.uniform(size=BATCH)
    y[:4] = 0.5, 2.0**-20, 0, 1
    return logits(rng, scale), y


def sparse_plus(z):
    if z <= -1:
        return mp.mpf(0)
    return z if z >= 1 else (z + 1) ** 2 / 4


def binary(x, y):
    return y * sparse_plus(-x) + (1 - y) * sparse_plus(x)


def binary_slope(x, y):
    return min(max((x + 1) / 2, mp.mpf(0)), mp.mpf(1)) - y


# ------------------------------------------------------------------ multiclass


def labelled(rng: np.random.Generator, scale: Scale):
    x = rng.normal(size=(BATCH, CLASSES))
    label = rng.integers(CLASSES, size=BATCH)
    # Half of the rows are right.
    label = np.where(np.arange(BATCH) % 2 == 0, x.argmax(axis=1), label)
    match scale:
        case "tiny":
            x = 1e-4 * x
        case "wide":
            x = 10 * x
        case "offset":
            x = x + 1e5 * rng.choice([-1, 1], size=(BATCH, 1))
        case "saturated":
            # One class leads by about 1, where the others drop out.
            rows, best = np.arange(BATCH), x.argmax(axis=1)
            rest = np.where(np.arange(CLASSES) == best[:, None], -np.inf, x)
            x[rows, best] = rest.max(axis=1) + 1 + 1e-3 * rng.normal(size=BATCH)
    return x, label.astype(np.int32)


def projection(x):
    """The point of the simplex next to x: the largest support that is one."""
    ordered = sorted(x, reverse=True)
    for size in range(len(x), 0, -1):
        threshold = (mp.fsum(ordered[:size]) - 1) / size
        if ordered[size - 1] > threshold:
            break
    return np.array([max(v - threshold, mp.mpf(0)) for v in x])


def sparsemax(x, y):
    p = projection(x)
    attained = mp.fsum(p * x) - mp.fsum(p**2) / 2
    return attained + mp.mpf(1) / 2 - x[y]


def sparsemax_slope(x, y):
    p = projection(x)
    p[y] -= 1
    return p


# ------------------------------------------------------------------ of a max function


def scored(rng: np.random.Generator, scale: Scale):
    """Scores, and targets in sixteenths: they sum to 1 in every dtype."""
    x, label = labelled(rng, "unit" if scale == "saturated" else scale)
    if scale == "saturated":
        x[np.arange(BATCH), label] += 25
    targets = rng.multinomial(16, np.full(CLASSES, 1 / CLASSES), size=BATCH) / 16
    one_hot = np.eye(CLASSES)[label]
    return x, np.where(np.arange(BATCH)[:, None] % 2 == 0, one_hot, targets)


def blurred(rng: np.random.Generator, scale: Scale):
    """Scores and targets that agree nowhere, so that no difference cancels."""
    x, _ = scored(rng, scale)
    targets = np.tile(np.array([8, 4, 2, 1, 1, 0, 0]) / 16, (BATCH, 1))
    return x, rng.permuted(targets, axis=1)


def softmax(x):
    total = [mp.exp(v - max(x)) for v in x]
    return np.array(total) / mp.fsum(total)


def log_sum_exp_loss(x, t):
    total = max(x) + mp.log(mp.fsum(mp.exp(v - max(x)) for v in x))
    return total - mp.fsum(t * x)


def known(scores, targets):
    return jaxloss.make_fenchel_young_loss(jax.nn.logsumexp)(scores, targets)


def promised(scores, targets):
    loss = jaxloss.make_fenchel_young_loss(
        lambda row: jax.nn.logsumexp(row), translation_equivariant=True
    )
    return loss(scores, targets)


def unknown(scores, targets):
    """f(x) = |x|²/2, whose maximiser is x itself."""
    return jaxloss.make_fenchel_young_loss(lambda row: (row**2).sum() / 2)(
        scores, targets
    )


NOT_REDUCED = {"make_fenchel_young_loss"}

CASES = [
    Case(
        name="sparsemax_loss",
        inputs=hard,
        formula=binary,
        gradient=binary_slope,
        event=(0, 0),
        scales=BINARY_SCALES,
        optax=optax.losses.sparsemax_loss,
    ),
    Case(
        name="sparsemax_loss",
        variant="soft labels",
        inputs=soft,
        formula=binary,
        gradient=binary_slope,
        event=(0, 0),
        scales=BINARY_SCALES,
    ),
    Case(
        name="sparsemax_loss",
        variant="by labels",
        argument=1,
        inputs=soft,
        formula=binary,
        gradient=lambda x, y: -x,
        event=(0, 0),
        scales=BINARY_SCALES,
        hessian=False,
    ),
    Case(
        name="multiclass_sparsemax_loss",
        inputs=labelled,
        formula=sparsemax,
        gradient=sparsemax_slope,
        event=(1, 0),
        optax=optax.losses.multiclass_sparsemax_loss,
    ),
    Case(
        name="make_fenchel_young_loss",
        call=known,
        inputs=scored,
        formula=log_sum_exp_loss,
        gradient=lambda x, t: softmax(x) - t,
        event=(1, 1),
        optax=optax.losses.make_fenchel_young_loss(jax.nn.logsumexp),
    ),
    Case(
        name="make_fenchel_young_loss",
        variant="by targets",
        call=known,
        argument=1,
        inputs=scored,
        formula=log_sum_exp_loss,
        gradient=lambda x, t: -x,
        event=(1, 1),
        hessian=False,
    ),
    Case(
        name="make_fenchel_young_loss",
        variant="translation_equivariant",
        call=promised,
        inputs=blurred,
        formula=log_sum_exp_loss,
        gradient=lambda x, t: softmax(x) - t,
        event=(1, 1),
        # JAX's own softmax is the gradient: 1 - p rounds where a row is confident.
        scales=("tiny", "unit", "offset"),
    ),
    Case(
        name="make_fenchel_young_loss",
        variant="translation_equivariant, by targets",
        call=promised,
        argument=1,
        inputs=blurred,
        formula=log_sum_exp_loss,
        gradient=lambda x, t: -x,
        event=(1, 1),
        scales=("tiny", "unit", "offset"),
        hessian=False,
    ),
    Case(
        name="make_fenchel_young_loss",
        variant="any function",
        call=unknown,
        inputs=blurred,
        formula=lambda x, t: mp.fsum(x**2) / 2 - mp.fsum(t * x),
        gradient=lambda x, t: x - t,
        event=(1, 1),
        scales=("unit", "wide"),
    ),
]
