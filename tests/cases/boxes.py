"""Losses of bounding boxes."""

import mpmath as mp
import numpy as np

from tests.case import BATCH, Case, Scale


def boxes(rng: np.random.Generator, scale: Scale):
    """Two boxes each: that overlap, that nearly agree, one in the other, apart."""
    centre, size = rng.normal(size=(BATCH, 2)), rng.uniform(1, 2, size=(BATCH, 2))
    target = np.concatenate([centre - size / 2, centre + size / 2], axis=-1)
    shift = rng.normal(size=(BATCH, 4)) * 0.2
    if scale == "saturated":
        shift *= 1e-3
    shift[::4, :2], shift[::4, 2:] = np.abs(shift[::4, :2]), -np.abs(shift[::4, 2:])
    prediction = target + shift
    if scale == "wide":
        prediction[1::4] += 4
    factor = {"tiny": 1e-3, "wide": 30.0}.get(scale, 1.0)
    offset = 300.0 if scale == "offset" else 0.0
    return factor * prediction + offset, factor * target + offset


def sides(a, b):
    common = min(a[1], b[1]) - max(a[0], b[0])
    hull = max(a[1], b[1]) - min(a[0], b[0])
    return a[1] - a[0], b[1] - b[0], max(mp.mpf(0), common), hull


def loss(variant):
    def formula(p, t):
        wide, high = sides(p[0::2], t[0::2]), sides(p[1::2], t[1::2])
        both = wide[2] * high[2]
        union = wide[0] * high[0] + wide[1] * high[1] - both
        result = 1 - both / union
        if variant == "giou":
            hull = wide[3] * high[3]
            result += (hull - union) / hull
        if variant == "diou":
            centre = [
                (a + b - c - d) / 2
                for a, b, c, d in zip(p[:2], p[2:], t[:2], t[2:], strict=True)
            ]
            result += (centre[0] ** 2 + centre[1] ** 2) / (wide[3] ** 2 + high[3] ** 2)
        return result

    return formula


CASES = [
    Case(
        name="iou_loss",
        variant=variant,
        options={"variant": variant},
        inputs=boxes,
        formula=loss(variant),
        gradient=None,
        # The coordinates of a box are no entries that a mask could remove.
        event=(2, 2),
        kinks=True,
        # Of boxes of length 1 at 300 no area is left, and two that differ by one part
        # in a thousand are the same.
        collapsed=("offset", "saturated"),
        # Many second derivatives are exactly 0, as a ratio of areas is linear in a
        # coordinate or does not depend on it: what is left of them is the rounding of
        # terms of the size of 1 / length².
        hessian=False,
    )
    # "ciou" holds a factor constant, so its gradient is not the derivative of its
    # value: `tests/test_boxes.py`.
    for variant in ("iou", "giou", "diou")
]
