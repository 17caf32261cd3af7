"""Losses fused with their head.

Under the identity as kernel the hidden states are the logits, so that the rows of the
softmax serve the whole scan too, its chunks and its padding.
"""

import jax.numpy as jnp
import mpmath as mp
import numpy as np

import jaxloss
from tests.case import BATCH, Case, Scale
from tests.cases.softmax import (
    CLASS_WEIGHTS,
    CLASSES,
    OPTIONS,
    cross_entropy,
    cross_entropy_gradient,
    labelled,
    log_partition,
    logits,
    option_formula,
    option_gradient,
    softmax,
)

CHUNK = 3


def identity(hidden):
    """A head whose logits are its hidden states."""
    return jnp.eye(CLASSES, dtype=jnp.asarray(hidden).dtype)


def linear_cross_entropy(
    hidden, labels, *, where=None, weights=None, reduction="none", base=None, **options
):
    return jaxloss.linear_softmax_cross_entropy(
        hidden,
        identity(hidden),
        labels,
        where=where,
        weights=weights,
        reduction=reduction,
        base=base,
        chunk_size=CHUNK,
        **options,
    )


def log_probs(hidden, tokens, *, where=None, base=None):
    return jaxloss.linear_log_probs(
        hidden, identity(hidden), tokens, where=where, base=base, chunk_size=CHUNK
    )


def squared_margin(rows, labels):
    """A loss of a user's own: Σ_j (x_j - x_y)²."""
    label = jnp.take_along_axis(rows, labels[:, None], axis=1)
    return jnp.sum((rows - label) ** 2, axis=1)


def own_loss(hidden, labels, *, where=None, weights=None, reduction="none"):
    fused = jaxloss.linear_loss(squared_margin)
    return fused(
        hidden,
        identity(hidden),
        labels,
        where=where,
        weights=weights,
        reduction=reduction,
        chunk_size=CHUNK,
    )


def own_formula(x, y):
    return mp.fsum((v - x[y]) ** 2 for v in x)


def own_gradient(x, y):
    slopes = 2 * (x - x[y])
    slopes[y] = -mp.fsum(slopes)
    return slopes


def near_and_far(rng: np.random.Generator, scale: Scale):
    """A teacher's rows close to the student's, and others that have nothing to do."""
    student = logits(rng, scale)
    step = {"tiny": 1e-6, "unit": 0.5, "wide": 5.0, "saturated": 1.0, "offset": 0.5}
    return student, student + step[scale] * rng.normal(size=student.shape)


def log_softmax(x):
    total = log_partition(x)
    return np.array([v - total for v in x])


def forward_kl(s, t):
    return mp.fsum(softmax(t) * (log_softmax(t) - log_softmax(s)))


def forward_gradient(s, t):
    return softmax(s) - softmax(t)


def reverse_kl(s, t):
    return forward_kl(t, s)


def reverse_gradient(s, t):
    return softmax(s) * (log_softmax(s) - log_softmax(t) - reverse_kl(s, t))


SHARE = mp.mpf(0.25)


def log_mixture(s, t):
    return np.array([mp.log(m) for m in SHARE * softmax(t) + (1 - SHARE) * softmax(s)])


def jensen_shannon(s, t):
    m = log_mixture(s, t)
    of_t = mp.fsum(softmax(t) * (log_softmax(t) - m))
    return SHARE * of_t + (1 - SHARE) * mp.fsum(softmax(s) * (log_softmax(s) - m))


def jensen_shannon_gradient(s, t):
    logs = log_softmax(s) - log_mixture(s, t)
    return (1 - SHARE) * softmax(s) * (logs - mp.fsum(softmax(s) * logs))


def distilled(divergence):
    def call(
        hidden, teacher_hidden, *, where=None, weights=None, reduction="none", base=None
    ):
        return jaxloss.linear_distillation_loss(
            hidden,
            identity(hidden),
            teacher_hidden,
            identity(teacher_hidden),
            divergence=divergence,
            beta=0.25,
            where=where,
            weights=weights,
            reduction=reduction,
            base=base,
            chunk_size=CHUNK,
        )

    return call


PAIRS, FEATURES = 5, 3
PAIR_SCALES: tuple[Scale, ...] = ("tiny", "unit", "wide")


def pairs(rng: np.random.Generator, scale: Scale):
    x, y = rng.normal(size=(2, BATCH, PAIRS, FEATURES))
    size = {"tiny": 1e-3, "unit": 1.0, "wide": 4.0}[scale]
    return size * x, y


def rows_of(x, y):
    return np.array([[mp.fsum(u * v) for v in y] for u in x])


def info_nce(x, y):
    z = rows_of(x, y)
    return mp.fsum(cross_entropy(row, i) for i, row in enumerate(z)) / len(z)


def info_nce_gradient(x, y):
    z = rows_of(x, y)
    slopes = np.array([cross_entropy_gradient(row, i) for i, row in enumerate(z)])
    return slopes @ y / len(z)


def clip(x, y):
    return (info_nce(x, y) + info_nce(y, x)) / 2


def clip_gradient(x, y):
    z = rows_of(x, y)
    by_row = np.array([cross_entropy_gradient(row, i) for i, row in enumerate(z)])
    by_column = np.array([cross_entropy_gradient(c, i) for i, c in enumerate(z.T)])
    return (by_row + by_column.T) @ y / (2 * len(z))


BIAS = mp.mpf(-2)


def signed(x, y):
    signs = 2 * np.eye(len(x), dtype=int) - 1
    return signs, signs * (rows_of(x, y) + BIAS)


def siglip(x, y):
    _, z = signed(x, y)
    return mp.fsum(mp.log(1 + mp.exp(-v)) for v in z.ravel()) / len(x)


def siglip_gradient(x, y):
    signs, z = signed(x, y)
    slopes = np.array([[-1 / (1 + mp.exp(v)) for v in row] for row in z])
    return (signs * slopes) @ y / len(x)


def contrastive(name, **options):
    def call(first, second):
        # A pair at a time, to see the chunks of such small batches.
        return getattr(jaxloss, name)(first, second, chunk_size=2, **options)

    return call


# A product of embeddings is rounded to half a unit in the last place of the largest
# sum it goes through; the losses are of the order of 1.
def product_floor(x, y):
    return 2e-6 * float(np.max(np.abs(x.astype(float)) @ np.abs(y.astype(float)).T))


# The derivatives with respect to a row's logits, at most 1 and rounded to half a unit,
# times the partners: a mean over the rows of twice the largest.
def largest_partner(x, y):
    return float(np.max(np.abs(y))) * 2 / PAIRS


IN_NATS = {
    "clip_loss",
    "info_nce_loss",
    "linear_distillation_loss",
    "linear_softmax_cross_entropy",
    "siglip_loss",
}
# `linear_loss` makes a loss.
NOT_REDUCED = {"explain", "linear_log_probs", "linear_loss"}
WITHOUT_ROW = {"explain"}
SIBLINGS = {
    "info_nce_loss",  # of clip_loss
    "linear_distillation_loss",  # of linear_softmax_cross_entropy
    "linear_log_probs",
    "linear_loss",
    "siglip_loss",
}

FLAGSHIP = {"linear_softmax_cross_entropy"}

CASES = [
    Case(
        name="linear_softmax_cross_entropy",
        call=linear_cross_entropy,
        inputs=labelled,
        formula=cross_entropy,
        gradient=cross_entropy_gradient,
        event=(1, 0),
    ),
    Case(
        name="linear_softmax_cross_entropy",
        variant="all options",
        call=linear_cross_entropy,
        options={**OPTIONS, "class_weights": CLASS_WEIGHTS},
        inputs=labelled,
        formula=option_formula,
        gradient=option_gradient,
        event=(1, 0),
        scales=("tiny", "unit", "wide"),
        # As for the form on logits.
        floor=lambda x, y: 1e-6,
    ),
    Case(
        name="linear_log_probs",
        call=log_probs,
        inputs=labelled,
        formula=lambda x, y: -cross_entropy(x, y),
        gradient=lambda x, y: -cross_entropy_gradient(x, y),
        event=(1, 0),
    ),
    Case(
        name="linear_loss",
        call=own_loss,
        inputs=labelled,
        formula=own_formula,
        gradient=own_gradient,
        event=(1, 0),
        own_shapes=True,
        scales=("tiny", "unit", "wide"),
    ),
    *(
        Case(
            name="linear_distillation_loss",
            variant=divergence.replace("kl", ""),
            call=distilled(divergence),
            inputs=near_and_far,
            formula=formula,
            gradient=gradient,
            event=(1, 1),
            # Everything hangs on the differences of the logits less their mean: a sum
            # of numbers of the size of their spread, whatever the divergence is. On
            # the wide scale, where that is 30, a component may lose as many places.
            scales=("tiny", "unit", "offset", "saturated"),
            rtol=2e-6,
            # So may a component of a saturated row, of the size of 1e-10.
            floor=lambda s, t: 1e-13,
        )
        for divergence, formula, gradient in (
            ("kl", forward_kl, forward_gradient),
            ("reverse_kl", reverse_kl, reverse_gradient),
            ("jensen_shannon", jensen_shannon, jensen_shannon_gradient),
        )
    ),
    *(
        Case(
            name=name,
            call=contrastive(name, **options),
            inputs=pairs,
            formula=formula,
            gradient=gradient,
            event=(2, 2),
            vmapped=True,
            scales=PAIR_SCALES,
            floor=product_floor,
            half_floor=largest_partner,
        )
        for name, formula, gradient, options in (
            ("info_nce_loss", info_nce, info_nce_gradient, {}),
            ("clip_loss", clip, clip_gradient, {}),
            ("siglip_loss", siglip, siglip_gradient, {"bias": float(BIAS)}),
        )
    ),
]
