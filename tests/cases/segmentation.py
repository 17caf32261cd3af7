"""Overlap losses of segmentation."""

import functools

import mpmath as mp
import numpy as np
import optax

from tests.case import BATCH, Case
from tests.cases import binary, softmax

PIXELS, CLASSES = 4, 3
CLASS_WEIGHTS = np.array([1.0, 2.0, 0.25])
# The logits' common offset cancels in a softmax, not in a sigmoid.
LOGIT_SCALES = binary.LOGIT_SCALES


def pixels(rng, scale):
    """Logits of a few pixels: the rows of the softmax's table, rearranged."""
    rows = [softmax.logits(rng, scale, CLASSES) for _ in range(PIXELS)]
    return np.stack(rows, axis=1)


def masks(rng, scale):
    """Every class occurs; half of the examples are segmented as they should be."""
    x = pixels(rng, scale)
    labels = rng.integers(CLASSES, size=(BATCH, PIXELS))
    right = (np.arange(BATCH) % 2 == 0)[:, None]
    labels = np.where(right, x.argmax(-1), labels)
    labels[:, :CLASSES] = np.arange(CLASSES)
    return x, np.eye(CLASSES)[labels]


def soft_masks(rng, scale):
    return pixels(rng, scale), rng.dirichlet(np.ones(CLASSES), size=(BATCH, PIXELS))


def binary_masks(rng, scale):
    x = np.stack([binary.logits(rng, scale) for _ in range(PIXELS)], axis=1)
    return x, np.where(rng.uniform(size=x.shape) < 0.75, x > 0, x < 0).astype(float)


def probabilities(rng, scale):
    return rng.uniform(size=(BATCH, PIXELS)), binary_masks(rng, scale)[1]


def softmax_rows(x):
    return np.array([softmax.softmax(row) for row in x])


def sigmoids(x):
    return np.array([binary.sigmoid(v) for v in x])


def parts(p, t, alpha, beta, squared):
    """Intersection and weighted errors of each class, from pixels first, and slopes."""
    if squared:
        slopes = 2 * np.where(p > t, alpha, beta) * (p - t)
        errors = slopes * (p - t) / 2
    else:
        slopes = alpha * (1 - t) - beta * t
        errors = alpha * p * (1 - t) + beta * (1 - p) * t
    return (p * t).sum(axis=0), errors.sum(axis=0), slopes


def dice(p, t, smooth=1, alpha=0.5, beta=0.5, squared=False):
    both, errors, _ = parts(p, t, alpha, beta, squared)
    return 1 - (both + smooth) / (both + errors + smooth)


def dice_slope(p, t, smooth=1, alpha=0.5, beta=0.5, squared=False):
    """d(dice) / dp."""
    both, errors, slopes = parts(p, t, alpha, beta, squared)
    whole = both + errors + smooth
    return (slopes * (both + smooth) - errors * t) / whole**2


def through_softmax(p, slope):
    """d / dlogits from d / dp, pixel by pixel."""
    return p * (slope - (p * slope).sum(axis=-1, keepdims=True))


def exact_weights(weights):
    return np.array([mp.mpf(w) for w in weights])


def mean_dice(x, t, weights=(1, 1, 1), **options):
    losses = dice(softmax_rows(x), t, **options)
    return (exact_weights(weights) * losses).sum() / len(losses)


def mean_dice_gradient(x, t, weights=(1, 1, 1), **options):
    p = softmax_rows(x)
    slope = dice_slope(p, t, **options) * exact_weights(weights)
    return through_softmax(p, slope / CLASSES)


def binary_dice(x, t, **options):
    return dice(sigmoids(x), t, **options)


def binary_dice_gradient(x, t, **options):
    p = sigmoids(x)
    return dice_slope(p, t, **options) * p * (1 - p)


# ------------------------------------------------------------------ generalized


def generalized_masks(rng, scale):
    """Small batches of their own, of two images each."""
    both = [masks(rng, scale) for _ in range(2)]
    return tuple(np.stack(each, axis=1) for each in zip(*both, strict=True))


def rarity(t):
    inverse = 1 / t.sum(axis=(0, 1)) ** 2
    return inverse / inverse.sum()


def generalized(x, t):
    losses = [dice(softmax_rows(a), b) for a, b in zip(x, t, strict=True)]
    return sum((rarity(t) * loss).sum() for loss in losses) / len(losses)


def generalized_gradient(x, t):
    weights = rarity(t) / len(x)
    p = [softmax_rows(a) for a in x]
    return np.array(
        [
            through_softmax(a, weights * dice_slope(a, b))
            for a, b in zip(p, t, strict=True)
        ]
    )


def sudre(x, t):
    p = np.array([softmax_rows(a) for a in x])
    weights = rarity(t)
    both = (weights * (p * t).sum(axis=(0, 1))).sum()
    either = (weights * (p + t).sum(axis=(0, 1))).sum()
    return 1 - 2 * both / either


def sudre_gradient(x, t):
    p = np.array([softmax_rows(a) for a in x])
    weights = rarity(t)
    both = (weights * (p * t).sum(axis=(0, 1))).sum()
    either = (weights * (p + t).sum(axis=(0, 1))).sum()
    return through_softmax(p, 2 * weights * (both - t * either) / either**2)


def numbers(options):
    return {name: mp.mpf(value) for name, value in options.items()}


def rounding(gradient):
    """Of the slopes of the classes, whose differences are the gradient."""

    def floor(x, t):
        return 2e-7 * max(abs(g) for g in gradient(x, t).ravel())

    return floor


TVERSKY = {"smooth": 0.25, "alpha": 0.75, "beta": 0.125}


# Every example is a batch of its own: `where` keeps pixels and `reduction` is one over
# classes here, so the laws about examples do not apply.
# They reduce as optax's do: over classes, and over the batch where the weights of the
# classes come from it.
OWN_REDUCTION = {"binary_dice_loss", "dice_loss", "multiclass_generalized_dice_loss"}
SIBLINGS = {"multiclass_generalized_dice_loss"}

FLAGSHIP = {"dice_loss"}

CASES = [
    Case(
        name="dice_loss",
        options={"axis": -2},
        inputs=masks,
        formula=mean_dice,
        gradient=mean_dice_gradient,
        event=(2, 2),
        vmapped=True,
        floor=rounding(mean_dice_gradient),
        optax=lambda x, t: optax.losses.dice_loss(x[None], t[None])[0],
    ),
    Case(
        name="dice_loss",
        variant="Tversky, class weights, soft masks",
        options={"axis": -2, "class_weights": CLASS_WEIGHTS, **TVERSKY},
        inputs=soft_masks,
        formula=lambda x, t: mean_dice(x, t, CLASS_WEIGHTS, **numbers(TVERSKY)),
        gradient=lambda x, t: mean_dice_gradient(
            x, t, CLASS_WEIGHTS, **numbers(TVERSKY)
        ),
        event=(2, 2),
        vmapped=True,
        floor=rounding(
            lambda x, t: mean_dice_gradient(x, t, CLASS_WEIGHTS, **numbers(TVERSKY))
        ),
        optax=lambda x, t: optax.losses.dice_loss(
            x[None], t[None], class_weights=CLASS_WEIGHTS.astype(np.float32), **TVERSKY
        )[0],
    ),
    Case(
        name="dice_loss",
        variant="squared denominator, Tversky, soft masks",
        options={"axis": -2, "squared_denominator": True, **TVERSKY},
        inputs=soft_masks,
        formula=lambda x, t: mean_dice(x, t, squared=True, **numbers(TVERSKY)),
        gradient=lambda x, t: mean_dice_gradient(
            x, t, squared=True, **numbers(TVERSKY)
        ),
        event=(2, 2),
        vmapped=True,
        floor=rounding(
            lambda x, t: mean_dice_gradient(x, t, squared=True, **numbers(TVERSKY))
        ),
    ),
    Case(
        name="dice_loss",
        variant="no smoothing, per class, foreground",
        options={
            "axis": -2,
            "smooth": 0.0,
            "reduction": "none",
            "ignore_background": True,
        },
        inputs=masks,
        formula=lambda x, t: dice(softmax_rows(x), t, smooth=0)[1:],
        gradient=lambda x, t: through_softmax(
            softmax_rows(x),
            dice_slope(softmax_rows(x), t, smooth=0) * np.array([0, 1, 1]),
        ),
        event=(2, 2),
        vmapped=True,
        floor=rounding(
            lambda x, t: through_softmax(
                softmax_rows(x),
                dice_slope(softmax_rows(x), t, smooth=0) * np.array([0, 1, 1]),
            )
        ),
        optax=lambda x, t: optax.losses.dice_loss(
            x[None], t[None], smooth=0.0, reduction="none", ignore_background=True
        )[0],
    ),
    Case(
        name="binary_dice_loss",
        options={"axis": -1},
        inputs=binary_masks,
        formula=binary_dice,
        gradient=binary_dice_gradient,
        event=(1, 1),
        vmapped=True,
        scales=LOGIT_SCALES,
        optax=lambda x, t: optax.losses.binary_dice_loss(x[None], t[None])[0],
    ),
    Case(
        name="binary_dice_loss",
        variant="squared denominator",
        options={"axis": -1, "squared_denominator": True},
        inputs=binary_masks,
        formula=functools.partial(binary_dice, squared=True),
        gradient=functools.partial(binary_dice_gradient, squared=True),
        event=(1, 1),
        vmapped=True,
        scales=LOGIT_SCALES,
    ),
    Case(
        name="binary_dice_loss",
        variant="probabilities",
        options={"axis": -1, "apply_sigmoid": False},
        inputs=probabilities,
        formula=dice,
        gradient=dice_slope,
        event=(1, 1),
        vmapped=True,
        scales=("unit",),
    ),
    Case(
        name="multiclass_generalized_dice_loss",
        inputs=generalized_masks,
        formula=generalized,
        gradient=generalized_gradient,
        event=(3, 3),
        floor=rounding(generalized_gradient),
        vmapped=True,
        scales=("unit", "offset", "saturated"),
        optax=optax.losses.multiclass_generalized_dice_loss,
    ),
    Case(
        name="multiclass_generalized_dice_loss",
        variant="Sudre",
        options={"formula": "sudre", "smooth": 0.0},
        inputs=generalized_masks,
        formula=sudre,
        gradient=sudre_gradient,
        event=(3, 3),
        floor=rounding(sudre_gradient),
        vmapped=True,
        scales=("unit", "offset", "saturated"),
    ),
]
