"""Overlap losses of segmentation that reduce over images: Dice, Tversky, Jaccard."""

import functools

import mpmath as mp
import numpy as np

from tests.case import BATCH, Case
from tests.cases import softmax
from tests.cases.segmentation import (
    CLASS_WEIGHTS,
    CLASSES,
    PIXELS,
    dice,
    dice_slope,
    exact_weights,
    masks,
    mean_dice,
    mean_dice_gradient,
    rounding,
    soft_masks,
    softmax_rows,
    through_softmax,
)


def labels(rng, scale):
    x, t = masks(rng, scale)
    return x, t.argmax(-1).astype(np.int32)


def eye(y):
    return np.array([[mp.mpf(int(c) == k) for k in range(CLASSES)] for c in y])


def terms(slope):
    """A component is a difference of slopes times p: two roundings of its terms."""

    def floor(x, t):
        with mp.workdps(60):
            p = softmax_rows(x)
            largest = abs(slope(p, t)).max(axis=-1)
            nearer = np.minimum(p, 1 - p).max(axis=-1)
            return 2.4e-7 * float((largest * nearer).max())

    return floor


def whole_masks(rng, scale):
    """The same as integers, which rounding does not move beyond 1."""
    x, t = masks(rng, scale)
    return x, t.astype(np.int32)


def mean(weights=(1,) * CLASSES, power=1, **options):
    """The mean over the classes of a power of their losses."""
    weights = exact_weights(weights) / CLASSES
    options = {name: mp.mpf(value) for name, value in options.items()}

    def formula(x, t):
        return (weights * dice(softmax_rows(x), t, **options) ** power).sum()

    def slope(p, t):
        outer = weights * power * dice(p, t, **options) ** (power - 1)
        return outer * dice_slope(p, t, **options)

    def gradient(x, t):
        p = softmax_rows(x)
        return through_softmax(p, slope(p, t))

    return {
        "formula": formula,
        "gradient": gradient,
        "floor": terms(slope),
        "event": (2, 2),
    }


def of_labels(row):
    """The same of the pixels' classes."""
    return {
        "inputs": labels,
        "formula": lambda x, y: row["formula"](x, eye(y)),
        "gradient": lambda x, y: row["gradient"](x, eye(y)),
        "floor": lambda x, y: row["floor"](x, eye(y)),
        "event": (2, 1),
    }


def generalized(x, t):
    p, w = softmax_rows(x), 1 / t.sum(axis=0) ** 2
    return 1 - 2 * (w * (p * t).sum(axis=0)).sum() / (w * (p + t).sum(axis=0)).sum()


def generalized_gradient(x, t):
    p, w = softmax_rows(x), 1 / t.sum(axis=0) ** 2
    both, either = (w * (p * t).sum(axis=0)).sum(), (w * (p + t).sum(axis=0)).sum()
    return through_softmax(p, 2 * w * (both - t * either) / either**2)


WEIGHTS = {"dice_weight": 0.5, "cross_entropy_weight": 2.0}


def with_cross_entropy(dice_weight, cross_entropy_weight):
    row = mean()

    def formula(x, y):
        nll = [softmax.cross_entropy(*pixel) for pixel in zip(x, y, strict=True)]
        dice = row["formula"](x, eye(y))
        return dice_weight * dice + cross_entropy_weight * mp.fsum(nll) / PIXELS

    def gradient(x, y):
        nll = [softmax.cross_entropy_gradient(*a) for a in zip(x, y, strict=True)]
        dice = row["gradient"](x, eye(y))
        return dice_weight * dice + cross_entropy_weight * np.array(nll) / PIXELS

    return {"inputs": labels, "formula": formula, "gradient": gradient, "event": (2, 1)}


# ------------------------------------------------------------------ Lovász


def jaccard(wrong, inside):
    """1 - intersection / union of the segmentation that is wrong about these pixels."""
    truth = {i for i, y in enumerate(inside) if y}
    predicted = truth ^ set(wrong)
    union = truth | predicted
    return 1 - mp.mpf(len(truth & predicted)) / len(union) if union else mp.mpf(0)


def steps(errors, inside):
    """What each pixel adds to the Jaccard loss, in decreasing order of the errors."""
    order = sorted(range(len(errors)), key=lambda i: (-errors[i], i))
    result = np.full(len(errors), mp.mpf(0))
    for k, i in enumerate(order):
        result[i] = jaccard(order[: k + 1], inside) - jaccard(order[:k], inside)
    return result


def lovasz_hinge(x, y):
    errors = 1 - x * (2 * y - 1)
    return sum(
        max(mp.mpf(0), e) * s
        for e, s in zip(errors, steps(errors, y == 1), strict=True)
    )


def binary_pixels(rng, scale):
    x = softmax.logits(rng, scale, PIXELS + 1)
    y = np.where(rng.uniform(size=x.shape) < 0.7, x > 0, x < 0)
    return x, y.astype(np.float64)


def lovasz_softmax(count):
    def parts(x, y):
        p, t = softmax_rows(x), eye(y)
        for c in range(CLASSES):
            if count == "all" or t[:, c].sum():
                errors = np.where(t[:, c] == 1, 1 - p[:, c], p[:, c])
                yield c, errors, steps(errors, t[:, c] == 1)

    def formula(x, y):
        losses = [(errors * step).sum() for _, errors, step in parts(x, y)]
        return mp.fsum(losses) / len(losses)

    def gradient(x, y):
        p, t = softmax_rows(x), eye(y)
        slope, number = np.full(x.shape, mp.mpf(0)), 0
        for c, _, step in parts(x, y):
            slope[:, c] = step * (1 - 2 * t[:, c])
            number += 1
        return through_softmax(p, slope / number)

    return {
        "formula": formula,
        "gradient": gradient,
        "floor": rounding(gradient),
        "event": (2, 1),
    }


def some_labels(rng, scale):
    """Not every class occurs."""
    x, _ = masks(rng, scale)
    y = rng.integers(CLASSES, size=(BATCH, PIXELS))
    y[::2] = x.argmax(-1)[::2]
    return x, np.where(np.arange(BATCH)[:, None] % 4 == 1, y % 2, y).astype(np.int32)


TVERSKY = {"smooth": 0.25, "alpha": 0.75, "beta": 0.125}
FOCAL = {"alpha": 0.7, "beta": 0.3}
AXIS = {"axis": -2}

SIBLINGS = {
    "dice_loss_with_integer_labels",
    "focal_tversky_loss",
    "jaccard_loss",
    "lovasz_softmax_loss",
}

CASES = [
    Case(name="tversky_loss", options=AXIS, inputs=masks, **mean()),
    Case(
        name="tversky_loss",
        variant="class weights, soft masks",
        options={**AXIS, **TVERSKY, "class_weights": CLASS_WEIGHTS},
        inputs=soft_masks,
        **mean(CLASS_WEIGHTS, **TVERSKY),
    ),
    Case(
        name="focal_tversky_loss",
        options=AXIS,
        inputs=whole_masks,
        **mean(power=mp.mpf(0.75), **FOCAL),
    ),
    Case(name="jaccard_loss", options=AXIS, inputs=masks, **mean(alpha=1, beta=1)),
    Case(name="dice_loss_with_integer_labels", options=AXIS, **of_labels(mean())),
    Case(
        name="dice_loss_with_integer_labels",
        variant="squared denominator",
        options={**AXIS, "squared_denominator": True},
        **of_labels(
            {
                "formula": functools.partial(mean_dice, squared=True),
                "gradient": functools.partial(mean_dice_gradient, squared=True),
                "floor": rounding(functools.partial(mean_dice_gradient, squared=True)),
            }
        ),
    ),
    Case(
        name="generalized_dice_loss",
        options=AXIS,
        inputs=masks,
        formula=generalized,
        gradient=generalized_gradient,
        floor=rounding(generalized_gradient),
        event=(2, 2),
    ),
    Case(
        name="dice_cross_entropy_loss",
        options={**AXIS, **WEIGHTS},
        # Two gradients of different signs.
        floor=lambda x, y: 2e-7,
        **with_cross_entropy(*map(mp.mpf, WEIGHTS.values())),
    ),
    Case(
        name="lovasz_hinge_loss",
        inputs=binary_pixels,
        formula=lovasz_hinge,
        gradient=lambda x, y: (
            -(2 * y - 1) * (x * (2 * y - 1) < 1) * steps(1 - x * (2 * y - 1), y == 1)
        ),
        event=(1, 1),
        hessian=False,
        # Equal hinges, and hinges at 0, of half-precision inputs are kinks; at 1e5 all
        # but the sign of the logits is.
        kinks=True,
        scales=("unit", "wide", "saturated"),
        # A hinge is as coarse as the 1 that it starts from.
        floor=lambda x, y: 1.2e-7,
    ),
    Case(
        name="lovasz_softmax_loss",
        options=AXIS,
        inputs=some_labels,
        **lovasz_softmax("present"),
    ),
    Case(
        name="lovasz_softmax_loss",
        variant="all classes",
        options={**AXIS, "classes": "all"},
        inputs=some_labels,
        **lovasz_softmax("all"),
    ),
]
