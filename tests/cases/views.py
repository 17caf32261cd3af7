"""Self-supervised losses: of views, of prototypes, of the statistics of a batch."""

import functools

import jax.numpy as jnp
import mpmath as mp
import numpy as np

import jaxloss
from tests.case import BATCH, Case
from tests.cases.contrastive import (
    FEATURES,
    MEMBERS,
    by_embedding,
    distance,
    spread,
)
from tests.cases.regression import (
    ANGLES,
    residuals,
    similarity,
    similarity_gradient,
    vectors,
)
from tests.cases.self_supervised import EMBEDDING_SCALES, lengths, sharply, units
from tests.cases.softmax import log_partition, logits, softmax

# ------------------------------------------------------------------ teachers

CENTER = np.array([0.5, -0.25, 0.0, 1.0, -0.5, 0.25, 0.75])


def students(rng, scale):
    """Students that know little, and ones that nearly say what the teacher says."""
    x, teacher = logits(rng, scale), logits(rng, scale)
    alike = (np.arange(BATCH) % 2 == 0)[:, None]
    return x, np.where(alike, x + 0.01 * (teacher - x), 0.3 * teacher + 0.7 * x)


def images(rng, scale):
    pairs = [students(rng, scale) for _ in range(PATCHES)]
    return tuple(
        np.stack(side, axis=1)[..., :PROTOTYPES] for side in zip(*pairs, strict=True)
    )


PATCHES, PROTOTYPES = 2, 4


def to_teacher(x, teacher, center, student=0.1, sharp=0.04):
    """The cross entropy and its gradient."""
    tau = mp.mpf(student)
    center = np.array([mp.mpf(float(c)) for c in center])
    t = softmax((teacher - center[: len(teacher)]) / mp.mpf(sharp))
    total = log_partition(x / tau)
    loss = mp.fsum(p * (total - z / tau) for p, z in zip(t, x, strict=True))
    return loss, (softmax(x / tau) - t) / tau


def only_the_loss(function):
    """Without the new centre, and with one of as many prototypes as there are."""

    @functools.wraps(function)
    def loss(student_logits, teacher_logits, **options):
        shape, axis = np.shape(student_logits), options.get("axis", -1)
        if isinstance(axis, int) and -len(shape) <= axis < len(shape):
            options["center"] = jnp.asarray(CENTER[: shape[axis]])
        return function(student_logits, teacher_logits, **options).loss

    return loss


def dino(x, teacher):
    return to_teacher(x, teacher, CENTER)[0]


def dino_gradient(x, teacher):
    return to_teacher(x, teacher, CENTER)[1]


def ibot(x, teacher):
    rows = zip(x, teacher, strict=True)
    return mp.fsum(to_teacher(*row, CENTER)[0] for row in rows) / PATCHES


def ibot_gradient(x, teacher):
    rows = zip(x, teacher, strict=True)
    return np.array([to_teacher(*row, CENTER)[1] for row in rows]) / PATCHES


def teacher_floor(x, teacher):
    # (p_s - p_t) / τ_s is a difference of two probabilities, each rounded, where both
    # logits were divided by their temperatures: 10 times the rounding of p_s, and in
    # p_t that of a logit over 0.04.
    size = float(max(abs(v) for v in np.ravel(teacher - np.max(teacher))))
    return 1e-6 * max(1.0, size)


# ------------------------------------------------------------------ prototypes


def assigned(rng, scale):
    """Scores of two views, whose exponentials may leave the range of floats."""
    size = {"tiny": 1e-3, "wide": 10.0, "saturated": 100.0}.get(scale, 1.0)
    return tuple(size * rng.uniform(-1, 1, size=(2, BATCH, MEMBERS, FEATURES)))


def sinkhorn(scores, epsilon=0.05, iterations=3):
    q = np.array([[mp.exp(v / mp.mpf(epsilon)) for v in row] for row in scores])
    for _ in range(iterations):
        q = q / np.array([mp.fsum(column) for column in q.T])
        q = q / np.array([[mp.fsum(row)] for row in q])
    return q


def swav(scores, other):
    codes = sinkhorn(other)
    losses = []
    for row, q in zip(scores / mp.mpf(0.1), codes, strict=True):
        total = log_partition(row)
        losses.append(mp.fsum(q * (total - row)))
    return np.array(losses)


def swav_gradient(scores, other):
    p = np.array([softmax(row / mp.mpf(0.1)) for row in scores])
    return (p - sinkhorn(other)) / mp.mpf(0.1)


def score_floor(scores, other):
    # Logits are scores over 0.1 and 0.05, rounded three times in their unit.
    return 1e-5 * max(1.0, float(np.max(np.abs(other))))


# ------------------------------------------------------------------ statistics


def standard(x):
    """Centred columns over their lengths, and the lengths."""
    centred = x - np.array([mp.fsum(c) for c in x.T]) / len(x)
    lengths = np.array([mp.sqrt(mp.fsum(c * c)) for c in centred.T])
    return centred / lengths, lengths


def features(rng, scale):
    """Two views: ordinary, of all sizes, far from 0, or nearly the same."""
    a, b = rng.normal(size=(2, BATCH, MEMBERS, FEATURES))
    match scale:
        case "wide":
            sizes = 10.0 ** rng.uniform(-2, 2, size=(BATCH, 1, FEATURES))
            return sizes * a, sizes * b
        case "offset":
            return a + 300, b - 300
        case "saturated":
            return a, a + 0.05 * b
        case "tiny":
            return 1e-3 * a, 1e-3 * b
        case _:
            return a, b


def barlow(x, y, weight=5e-3):
    c = standard(x)[0].T @ standard(y)[0]
    squares = [
        (1 - c[i, j]) ** 2 if i == j else mp.mpf(weight) * c[i, j] ** 2
        for i in range(len(c))
        for j in range(len(c))
    ]
    return mp.fsum(squares)


def barlow_gradient(x, y, weight=5e-3):
    (a, lengths), (b, _) = standard(x), standard(y)
    result = 0 * x
    for i in range(FEATURES):
        for j in range(FEATURES):
            c = mp.fsum(a[:, i] * b[:, j])
            slope = -2 * (1 - c) if i == j else 2 * mp.mpf(weight) * c
            result[:, i] += slope * (b[:, j] - c * a[:, i]) / lengths[i]
    return result


def covariance(x):
    centred = x - np.array([mp.fsum(c) for c in x.T]) / len(x)
    return centred, centred.T @ centred / (len(x) - 1)


EPSILON = mp.mpf(1e-4)


def vicreg(x, y):
    loss = 25 * mp.fsum(np.ravel((x - y) ** 2)) / (MEMBERS * FEATURES)
    for z in (x, y):
        _, c = covariance(z)
        for i in range(FEATURES):
            deviation = mp.sqrt(c[i, i] + EPSILON)
            loss += mp.mpf(25) / 2 * max(0, 1 - deviation) / FEATURES
            loss += mp.fsum(c[i, j] ** 2 for j in range(FEATURES) if j != i) / FEATURES
    return loss


def vicreg_gradient(x, y):
    gradient = 50 * (x - y) / (MEMBERS * FEATURES)
    centred, c = covariance(x)
    for j in range(FEATURES):
        deviation = mp.sqrt(c[j, j] + EPSILON)
        if deviation < 1:
            pull = 25 * centred[:, j] / (2 * FEATURES * (MEMBERS - 1) * deviation)
            gradient[:, j] -= pull
        for i in range(FEATURES):
            if i != j:
                push = 4 * c[i, j] * centred[:, i] / (FEATURES * (MEMBERS - 1))
                gradient[:, j] += push
    return gradient


def vicreg_floor(x, y):
    # A covariance is a sum of products of both signs, as are its gradients.
    size = float(max(abs(v) for z in (x, y) for v in np.ravel(covariance(z)[0])))
    return 1e-6 * max(1.0, size**4)


# ------------------------------------------------------------------ directions


def directions(rng, scale):
    labels = np.array([[0, 0, 1, 1, 2]] * BATCH)
    return (spread(rng, scale, labels),)


def nearest(u):
    for i in range(len(u)):
        others = [j for j in range(len(u)) if j != i]
        j = min(others, key=lambda j: distance(u[i], u[j]))
        yield i, j, distance(u[i], u[j]), mp.fsum(u[i] * u[j])


def koleo(x):
    u, _ = units(x)
    return np.array([-mp.log(d + mp.mpf(1e-8)) for _, _, d, _ in nearest(u)])


def koleo_gradient(x):
    u, lengths = units(x)
    result = 0 * x
    for i, j, d, c in nearest(u):
        for one, other in ((i, j), (j, i)):
            slope = 1 / (d * (d + mp.mpf(1e-8)))
            result[one] += slope * (u[other] - c * u[one]) / lengths[one]
    return result


def potentials(u, t):
    s = u @ u.T
    keys = [(i, j) for i in range(len(u)) for j in range(len(u)) if i != j]
    return {(i, j): mp.exp(-t * (2 - 2 * s[i, j])) for i, j in keys}


def uniformity(t):
    t = mp.mpf(t)

    def loss(x):
        powers = potentials(units(x)[0], t)
        return mp.log(mp.fsum(powers.values()) / len(powers))

    def gradient(x):
        u, lengths = units(x)
        powers = potentials(u, t)
        total = mp.fsum(powers.values())
        by_cosine = np.full((len(u), len(u)), mp.mpf(0))
        for (i, j), power in powers.items():
            by_cosine[i, j] = 2 * t * power / total
        return by_embedding(by_cosine, u, lengths)

    return loss, gradient


# ------------------------------------------------------------------ patches


def normalised(x):
    middle = mp.fsum(x) / len(x)
    variance = mp.fsum((x - middle) ** 2) / (len(x) - 1)
    return (x - middle) / mp.sqrt(variance + mp.mpf(1e-6))


def patches(normalize):
    def error(x, pixels):
        return x - (normalised(pixels) if normalize else pixels)

    def loss(x, pixels):
        return mp.fsum(error(x, pixels) ** 2) / len(x)

    def gradient(x, pixels):
        return 2 * error(x, pixels) / len(x)

    return loss, gradient


def pixels(rng, scale):
    """Predictions of normalised pixels, and pixels of all contrasts and levels."""
    predictions, values = residuals(rng, scale)
    if scale == "offset":
        predictions = predictions - values
    return predictions, values + rng.normal(size=values.shape)


IN_NATS = {"dino_loss", "ibot_loss", "koleo_loss", "swav_loss", "uniformity_loss"}
OWN_REDUCTION = {"barlow_twins_loss", "uniformity_loss", "vicreg_loss"}

CASES = [
    Case(
        name="negative_cosine_loss",
        inputs=vectors,
        formula=lambda p, z: -similarity()(p, z),
        gradient=lambda p, z: -similarity_gradient()(p, z),
        event=(1, 1),
        scales=ANGLES,
        # As for the cosine.
        rtol=3e-6,
    ),
    Case(
        name="dino_loss",
        call=only_the_loss(jaxloss.dino_loss),
        inputs=students,
        formula=dino,
        gradient=dino_gradient,
        event=(1, 1),
        floor=teacher_floor,
    ),
    Case(
        name="ibot_loss",
        call=only_the_loss(jaxloss.ibot_loss),
        inputs=images,
        formula=ibot,
        gradient=ibot_gradient,
        event=(2, 2),
        floor=teacher_floor,
    ),
    Case(
        name="swav_loss",
        inputs=assigned,
        formula=swav,
        gradient=swav_gradient,
        event=(2, 2),
        vmapped=True,
        scales=EMBEDDING_SCALES,
        floor=score_floor,
        rtol=2e-6,
    ),
    Case(
        name="barlow_twins_loss",
        inputs=features,
        formula=barlow,
        gradient=barlow_gradient,
        event=(2, 2),
        vmapped=True,
        # Correlations are rounded in the unit of 1, and the gradient is a sum of them
        # with both signs.
        floor=lambda x, y: 1e-6,
        unit=lambda x, y: standard(x)[1],
        # In bfloat16 whole columns are one number.
        collapsed=("offset",),
    ),
    Case(
        name="vicreg_loss",
        inputs=features,
        formula=vicreg,
        gradient=vicreg_gradient,
        event=(2, 2),
        vmapped=True,
        floor=vicreg_floor,
        rtol=2e-6,
    ),
    Case(
        name="koleo_loss",
        inputs=directions,
        formula=koleo,
        gradient=koleo_gradient,
        event=(2,),
        vmapped=True,
        scales=EMBEDDING_SCALES,
        # A logarithm of a distance near 1 is a difference. The gradient adds up those
        # of several angles with both signs.
        floor=lambda x: 2e-7,
        unit=lambda x: lengths(x) * min(d for _, _, d, _ in nearest(units(x)[0])),
    ),
    *(
        Case(
            name="uniformity_loss",
            variant=f"t {t}" if t != 2 else "",
            options={"t": t} if t != 2 else {},
            inputs=directions,
            formula=uniformity(t)[0],
            gradient=uniformity(t)[1],
            event=(2,),
            vmapped=True,
            scales=EMBEDDING_SCALES,
            # An exponent is rounded in the unit of t.
            floor=lambda x, t=t: 5e-7 * t,
            unit=sharply(t),
        )
        for t in (2.0, 50.0)
    ),
    Case(
        name="masked_patch_loss",
        inputs=residuals,
        formula=patches(False)[0],
        gradient=patches(False)[1],
        event=(1, 1),
    ),
    Case(
        name="masked_patch_loss",
        variant="normalised",
        options={"normalize": True},
        inputs=pixels,
        formula=patches(True)[0],
        gradient=patches(True)[1],
        event=(1, 1),
        # The error is a difference of the prediction and a number of the size of 1.
        floor=lambda x, pixels: 5e-7 * max(1.0, float(np.max(np.abs(x)))),
    ),
]
