"""Connectionist temporal classification."""

import functools
import itertools

import jax.numpy as jnp
import mpmath as mp
import numpy as np
import optax

import jaxloss
from tests.case import BATCH, Case
from tests.cases.softmax import softmax

FRAMES, LABELS, CLASSES = 4, 2, 4

# What the batch spells, and in how many frames: no label, one, two, a repetition, and
# frames to spare or not. (A single frame for two labels is not for this table: inf.)
SPELLINGS = ([1, 2], [2, 2], [3], [], [3, 1], [1, 1], [2], [1, 3])
LENGTHS = (4, 4, 4, 4, 3, 3, 3, 2)


def sequences(blank_id=0):
    """Paddings and labels; classes other than the blank are 1, 2, 3 when it is 0."""
    frames = np.arange(FRAMES) >= np.array(LENGTHS)[:, None]
    labels = np.zeros((BATCH, LABELS), np.int32)
    missing = np.ones((BATCH, LABELS), np.int32)
    for i, spelling in enumerate(SPELLINGS):
        labels[i, : len(spelling)] = spelling
        missing[i, : len(spelling)] = 0
    labels = np.where(labels == blank_id, 0, labels)
    return frames.astype(np.int32), labels, missing


def draw(rng, scale):
    x = rng.normal(size=(BATCH, FRAMES, CLASSES))
    frames, labels, missing = sequences()
    match scale:
        case "tiny":
            x = 1e-4 * x
        case "wide":
            x = 10 * x
        case "offset":
            x = x + 1e5 * rng.choice([-1, 1], size=(BATCH, FRAMES, 1))
        case "saturated":
            # Confident of a path that spells the labels, and every other time of
            # another one.
            for i in range(BATCH):
                paths = [
                    path
                    for path in itertools.product(range(CLASSES), repeat=LENGTHS[i])
                    if spelt(path, 0) == SPELLINGS[i]
                ]
                path = np.array(paths[rng.integers(len(paths))])
                if i % 2:
                    path[rng.integers(len(path))] = rng.integers(CLASSES)
                x[i, np.arange(len(path)), path] += 25
    return x, frames, labels, missing


def with_last_blank(rng, scale):
    """The same with the classes turned, so that the blank is the last one."""
    x, frames, labels, missing = draw(rng, scale)
    turned = np.roll(x, -1, axis=-1)
    return turned, frames, np.where(missing, 0, labels - 1).astype(np.int32), missing


def with_a_label(rng, scale):
    """The same, but nowhere without labels."""
    x, frames, labels, missing = draw(rng, scale)
    empty = missing.all(axis=1)
    labels[empty, 0], missing[empty, 0] = 1, 0
    return x, frames, labels, missing


def spelt(path, blank):
    return [k for k, _ in itertools.groupby(path) if k != blank]


def kept(x, frames, labels, missing):
    p = [softmax(row) for row, skipped in zip(x, frames, strict=True) if not skipped]
    return p, [int(y) for y, gone in zip(labels, missing, strict=True) if not gone]


def probability(p, y, blank):
    """P of the labels, by the forward recursion over blanks and labels in turn."""
    symbols = [blank]
    for label in y:
        symbols += [label, blank]
    alpha = [mp.mpf(s == 0) for s in range(len(symbols))]
    for row in p:
        new = []
        for s, symbol in enumerate(symbols):
            total = alpha[s]
            if s >= 1:
                total += alpha[s - 1]
            if s >= 2 and symbol not in (blank, symbols[s - 2]):
                total += alpha[s - 2]
            new.append(total * row[symbol])
        alpha = new
    return mp.fsum(alpha[-2:]) if y else alpha[-1]


def nll(x, frames, labels, missing, blank=0):
    p, y = kept(x, frames, labels, missing)
    return -mp.log(probability(p, y, blank))


def posterior(p, y, blank):
    """Every class's share of P in every frame, path by path."""
    total, shares = mp.mpf(0), np.full((len(p), CLASSES), mp.mpf(0))
    for path in itertools.product(range(CLASSES), repeat=len(p)):
        if spelt(path, blank) == y:
            weight = mp.fprod(row[k] for row, k in zip(p, path, strict=True))
            total += weight
            shares[np.arange(len(p)), list(path)] += weight
    return shares / total


def nll_gradient(x, frames, labels, missing, blank=0):
    p, y = kept(x, frames, labels, missing)
    gradient = np.full(x.shape, mp.mpf(0))
    gradient[np.asarray(frames) == 0] = np.array(p) - posterior(p, y, blank)
    return gradient


def log_prefixes(x, frames, labels, missing):
    """log of the probability that all frames spell the first n labels; n = 0, 1."""
    p, y = kept(x, frames, labels, missing)
    return np.array([mp.log(probability(p, y[:n], 0)) for n in range(2)])


def log_prefixes_gradient(x, frames, labels, missing):
    p, y = kept(x, frames, labels, missing)
    gradient = np.full(x.shape, mp.mpf(0))
    shares = posterior(p, [], 0) + posterior(p, y[:1], 0)
    gradient[np.asarray(frames) == 0] = shares - 2 * np.array(p)
    return gradient


def floor(x, frames, labels, missing):
    # A component is p - γ, the difference of two probabilities of the class: all of its
    # digits go where the class may replace another one and still spell the labels. The
    # likeliest class is exempt, being computed from the others.
    p, _ = kept(x, frames, labels, missing)
    return 2.4e-7 * max(float(min(1 - max(row), 0.5)) * 2 for row in p)


def examples_too(loss, axes=2):
    """The loss of a batch, or of one example without its axis, which laws map over."""

    @functools.wraps(loss)
    def call(logits, *arrays, **options):
        if np.ndim(logits) != axes:
            return loss(logits, *arrays, **options)
        return loss(logits[None], *(a[None] for a in arrays), **options)[0]

    return call


@functools.wraps(jaxloss.ctc_loss_with_forward_probs)
def its_loss(*arrays, **options):
    return jaxloss.ctc_loss_with_forward_probs(*arrays, **options)[0]


def its_prefixes(logits, logit_paddings, labels, label_paddings):
    _, log_blank, _ = jaxloss.ctc_loss_with_forward_probs(
        logits, logit_paddings, labels, label_paddings
    )
    return log_blank[-1, :, :2]


def floats(loss):
    """optax wants paddings as floats."""

    def call(logits, frames, labels, missing):
        frames, missing = frames.astype(jnp.float32), missing.astype(jnp.float32)
        return loss(logits, frames, labels, missing)

    return call


COMMON = {
    "inputs": draw,
    "formula": nll,
    "gradient": nll_gradient,
    "event": (2, 1, 1, 1),
    "floor": floor,
}

IN_NATS = {"ctc_loss"}
NOT_REDUCED = SIBLINGS = {"ctc_loss_with_forward_probs"}

CASES = [
    Case(
        name="ctc_loss",
        call=examples_too(jaxloss.ctc_loss),
        optax=floats(optax.losses.ctc_loss),
        **COMMON,
    ),
    Case(
        name="ctc_loss",
        variant="last blank",
        call=examples_too(jaxloss.ctc_loss),
        options={"blank_id": CLASSES - 1},
        scales=("unit", "saturated"),
        optax=floats(functools.partial(optax.losses.ctc_loss, blank_id=CLASSES - 1)),
        **COMMON
        | {
            "inputs": with_last_blank,
            "formula": functools.partial(nll, blank=CLASSES - 1),
            "gradient": functools.partial(nll_gradient, blank=CLASSES - 1),
        },
    ),
    Case(
        name="ctc_loss_with_forward_probs",
        call=examples_too(its_loss),
        scales=("unit",),
        optax=floats(lambda *a: optax.losses.ctc_loss_with_forward_probs(*a)[0]),
        **COMMON,
    ),
    Case(
        name="ctc_loss_with_forward_probs",
        variant="prefixes",
        call=examples_too(its_prefixes),
        scales=("tiny", "unit", "offset"),
        **COMMON
        | {
            "inputs": with_a_label,
            "formula": log_prefixes,
            "gradient": log_prefixes_gradient,
        },
    ),
]
