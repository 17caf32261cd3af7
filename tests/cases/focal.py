"""Focal losses."""

import functools

import mpmath as mp
import numpy as np
import optax

from tests.case import BATCH, Case
from tests.cases import binary, softmax

GAMMA, ALPHA = 1.5, 0.25
CLASS_ALPHA = np.array([0.5, 2.0, 0.25, 1.0, 1.0, 3.0, 0.125])


# ------------------------------------------------------------------ sigmoid


def certainty(x, y):
    """The probability given to the label, and that withheld from it."""
    p = binary.sigmoid(x)
    q = binary.sigmoid(-x)
    return y * p + (1 - y) * q, y * q + (1 - y) * p


def sigmoid_focal(x, y, gamma=2):
    _, missed = certainty(x, y)
    return missed ** mp.mpf(gamma) * binary.cross_entropy(x, y)


def sigmoid_focal_gradient(x, y, gamma=2):
    p = binary.sigmoid(x)
    _, missed = certainty(x, y)
    bend = (1 - 2 * y) * p * binary.sigmoid(-x) / missed
    return missed ** mp.mpf(gamma) * (
        binary.slope(x, y) + gamma * bend * binary.cross_entropy(x, y)
    )


def sigmoid_focal_label_gradient(x, y, gamma=2):
    p = binary.sigmoid(x)
    _, missed = certainty(x, y)
    bend = (1 - 2 * p) / missed
    return missed ** mp.mpf(gamma) * (gamma * bend * binary.cross_entropy(x, y) - x)


def quality_focal(x, y, gamma=2):
    return abs(binary.slope(x, y)) ** mp.mpf(gamma) * binary.cross_entropy(x, y)


def quality_focal_gradient(x, y, gamma=2):
    distance = binary.slope(x, y)
    bend = binary.sigmoid(x) * binary.sigmoid(-x) / distance
    return abs(distance) ** mp.mpf(gamma) * (
        distance + gamma * bend * binary.cross_entropy(x, y)
    )


def balance(y):
    return ALPHA * y + (1 - ALPHA) * (1 - y)


# ------------------------------------------------------------------ softmax


def one_hot(rng, scale):
    x, y = softmax.labelled(rng, scale)
    return x, np.eye(softmax.CLASSES)[y]


def distribution(rng, scale):
    x = softmax.logits(rng, scale)
    return x, rng.dirichlet(np.ones(softmax.CLASSES), size=BATCH)


def softmax_focal(x, y, gamma=2, alpha=None):
    loss = softmax.cross_entropy(x, y)
    weight = 1 if alpha is None else mp.mpf(alpha[y])
    return weight * (-mp.expm1(-loss)) ** mp.mpf(gamma) * loss


def softmax_focal_gradient(x, y, gamma=2, alpha=None):
    loss = softmax.cross_entropy(x, y)
    missed = -mp.expm1(-loss)
    weight = 1 if alpha is None else mp.mpf(alpha[y])
    factor = (
        weight * missed ** mp.mpf(gamma) * (1 + gamma * loss * mp.exp(-loss) / missed)
    )
    gradient = softmax.softmax(x)
    gradient[y] = -mp.fsum(np.delete(gradient, y))
    return factor * gradient


def summed(formula):
    """The formula of a distribution over labels from that of one label."""

    def of_distribution(x, t, **options):
        return sum(
            (share * formula(x, c, **options) for c, share in enumerate(t)),
            start=mp.mpf(0),
        )

    return of_distribution


soft_focal, soft_focal_gradient = map(summed, (softmax_focal, softmax_focal_gradient))


IN_NATS = {"sigmoid_focal_loss", "softmax_focal_loss"}

CASES = [
    Case(
        name="sigmoid_focal_loss",
        inputs=binary.hard,
        formula=sigmoid_focal,
        gradient=sigmoid_focal_gradient,
        event=(0, 0),
        scales=binary.LOGIT_SCALES,
        optax=optax.sigmoid_focal_loss,
    ),
    Case(
        name="sigmoid_focal_loss",
        variant="soft labels, alpha, gamma",
        options={"alpha": ALPHA, "gamma": GAMMA},
        inputs=binary.soft,
        formula=lambda x, y: balance(y) * sigmoid_focal(x, y, GAMMA),
        gradient=lambda x, y: balance(y) * sigmoid_focal_gradient(x, y, GAMMA),
        event=(0, 0),
        scales=binary.LOGIT_SCALES,
        optax=lambda x, y: optax.sigmoid_focal_loss(x, y, alpha=ALPHA, gamma=GAMMA),
    ),
    Case(
        name="sigmoid_focal_loss",
        variant="gamma below 1",
        options={"gamma": 0.5},
        inputs=binary.soft,
        formula=lambda x, y: sigmoid_focal(x, y, 0.5),
        gradient=lambda x, y: sigmoid_focal_gradient(x, y, mp.mpf("0.5")),
        event=(0, 0),
        scales=binary.LOGIT_SCALES,
        optax=lambda x, y: optax.sigmoid_focal_loss(x, y, gamma=0.5),
    ),
    Case(
        name="sigmoid_focal_loss",
        variant="gradient of labels",
        inputs=binary.soft,
        formula=sigmoid_focal,
        gradient=sigmoid_focal_label_gradient,
        event=(0, 0),
        argument=1,
        scales=binary.LOGIT_SCALES,
        optax=optax.sigmoid_focal_loss,
    ),
    *(
        Case(
            name="sigmoid_focal_loss",
            variant=f"distance, gamma {gamma}",
            options={"modulation": "distance", "gamma": gamma},
            inputs=binary.soft,
            formula=functools.partial(quality_focal, gamma=gamma),
            gradient=functools.partial(quality_focal_gradient, gamma=gamma),
            event=(0, 0),
            scales=binary.LOGIT_SCALES,
        )
        for gamma in (1.0, 2.0)
    ),
    Case(
        name="softmax_focal_loss",
        inputs=softmax.labelled,
        formula=softmax_focal,
        gradient=softmax_focal_gradient,
        event=(1, 0),
    ),
    Case(
        name="softmax_focal_loss",
        variant="gamma below 1, class alpha",
        options={"gamma": 0.5, "alpha": CLASS_ALPHA},
        inputs=softmax.labelled,
        formula=lambda x, y: softmax_focal(x, y, 0.5, CLASS_ALPHA),
        gradient=lambda x, y: softmax_focal_gradient(x, y, mp.mpf("0.5"), CLASS_ALPHA),
        event=(1, 0),
    ),
    Case(
        name="softmax_focal_loss",
        variant="one-hot",
        options={"gamma": GAMMA},
        inputs=one_hot,
        formula=lambda x, t: soft_focal(x, t, gamma=GAMMA),
        gradient=lambda x, t: soft_focal_gradient(x, t, gamma=GAMMA),
        event=(1, 1),
    ),
    Case(
        name="softmax_focal_loss",
        variant="distribution, class alpha",
        options={"alpha": CLASS_ALPHA},
        inputs=distribution,
        formula=lambda x, t: soft_focal(x, t, alpha=CLASS_ALPHA),
        gradient=lambda x, t: soft_focal_gradient(x, t, alpha=CLASS_ALPHA),
        event=(1, 1),
        # Two terms of the size of a share and of a probability cancel in the gradient.
        floor=lambda x, t: 2e-8,
    ),
]
