"""keras.losses, on JAX. What it clips lies outside of these inputs."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.parity.row import ROUNDINGS, Row, distributions, normal, signs, uniform

PREDICTIONS, TARGETS = normal(40, 4, 3, scale=2.0), normal(41, 4, 3)
POSITIVE, AMOUNTS = uniform(42, 4, 3, high=5.0), uniform(43, 4, 3, high=5.0)
LOGITS, SOFT = normal(44, 4, 3), distributions(45, 4, 3)
LABELS = np.asarray([2, 0, 1, 1])
ONE_HOT = np.eye(3)[LABELS]
HOLDS = (normal(46, 4, 3) > 0).astype(float)
# Of means and of the CTC.
IN_FLOAT32 = {
    "tolerance": ROUNDINGS * 2.0**-23,
    "why": "keras on JAX has it in float32, whatever the dtype",
}
FIRST, LAST = "keras puts the target first", "and means over the last axis"
OF_LOGITS = "both of the softmax of logits, as keras divides probabilities by their sum"


def last(loss):
    """Ours, with keras's mean over the last axis."""
    return lambda f, *x: loss(f, *x).mean(-1)


def entries(theirs, ours, inputs=(PREDICTIONS, TARGETS)):
    return Row(
        theirs,
        ours,
        inputs,
        lambda f, x, y: f()(y, x),
        lambda f, x, y: f(x, y).mean(-1),
        differs=f"{FIRST}, {LAST}",
        **IN_FLOAT32,
    )


REGRESSION = [
    entries("MeanSquaredError", "squared_error"),
    entries("MeanAbsoluteError", "absolute_error"),
    entries("LogCosh", "log_cosh"),
    entries("MeanSquaredLogarithmicError", "squared_log_error", (POSITIVE, AMOUNTS)),
    entries(
        "MeanAbsolutePercentageError", "absolute_percentage_error", (POSITIVE, AMOUNTS)
    ),
    Row(
        "Huber",
        "huber_loss",
        (PREDICTIONS, TARGETS),
        lambda f, x, y: f(delta=0.8)(y, x),
        lambda f, x, y: f(x, y, delta=0.8).mean(-1),
        differs=f"{FIRST}, {LAST}",
        **IN_FLOAT32,
    ),
    Row(
        "CosineSimilarity",
        "cosine_similarity",
        (PREDICTIONS, TARGETS),
        lambda f, x, y: f()(y, x),
        lambda f, x, y: -f(x, y),
        differs="keras's is the negative similarity",
    ),
    Row(
        "CosineSimilarity",
        "cosine_distance",
        (PREDICTIONS, TARGETS),
        lambda f, x, y: 1 + f()(y, x),
        differs="keras's is the negative similarity",
    ),
    Row(
        "Poisson",
        "poisson_nll",
        (LOGITS,),
        lambda f, x, y: f()(y, jnp.exp(x)),
        lambda f, x, y: (f(x, y) - jax.scipy.special.gammaln(y + 1)).mean(-1),
        fixed=(np.round(AMOUNTS),),
        differs="takes the logarithm of the rate, has the log-factorial",
        tolerance=5e-6,
        why="keras takes the logarithm of the rate plus 1e-7; rates are 0.1 and more",
    ),
    Row(
        "KLDivergence",
        "kl_divergence",
        (LOGITS, SOFT),
        lambda f, x, t: f()(t, jax.nn.softmax(x)),
        lambda f, x, t: f(jax.nn.log_softmax(x), t),
        differs="takes log-probabilities",
    ),
]

BINARY = [
    Row(
        "BinaryCrossentropy",
        "binary_cross_entropy",
        (uniform(47, 4, 3),),
        lambda f, p, y: f()(y, p),
        last(lambda f, p, y: f(p, y)),
        fixed=(HOLDS,),
        differs=f"{FIRST}, {LAST}",
        **IN_FLOAT32,
    ),
    Row(
        "BinaryCrossentropy",
        "sigmoid_binary_cross_entropy",
        (LOGITS,),
        lambda f, x, y: f(from_logits=True, label_smoothing=0.2)(y, x),
        last(lambda f, x, y: f(x, y, label_smoothing=0.2)),
        fixed=(HOLDS,),
        differs=f"{FIRST}, {LAST}",
        **IN_FLOAT32,
    ),
    Row(
        "BinaryFocalCrossentropy",
        "sigmoid_focal_loss",
        (LOGITS,),
        lambda f, x, y: f(from_logits=True, gamma=1.5)(y, x),
        last(lambda f, x, y: f(x, y, gamma=1.5)),
        fixed=(HOLDS,),
        differs=f"{FIRST}, {LAST}",
        **IN_FLOAT32,
    ),
    Row(
        "BinaryFocalCrossentropy",
        "sigmoid_focal_loss",
        (LOGITS,),
        lambda f, x, y: f(from_logits=True, apply_class_balancing=True)(y, x),
        last(lambda f, x, y: f(x, y, alpha=0.25)),
        fixed=(HOLDS,),
        case="balanced",
        differs=f"{FIRST}, {LAST}",
        **IN_FLOAT32,
    ),
    Row(
        "Hinge",
        "hinge_loss",
        (PREDICTIONS,),
        lambda f, x, y: f()((y + 1) // 2, x),
        last(lambda f, x, y: f(x, y)),
        fixed=(signs(48, 4, 3),),
        differs="targets are -1 and 1, which keras makes of 0 and 1",
        **IN_FLOAT32,
    ),
    Row(
        "SquaredHinge",
        "squared_hinge_loss",
        (PREDICTIONS,),
        lambda f, x, y: f()(y, x),
        last(lambda f, x, y: f(x, y)),
        fixed=(signs(49, 4, 3),),
        differs=f"{FIRST}, {LAST}",
        **IN_FLOAT32,
    ),
]

CLASSES = [
    Row(
        "CategoricalCrossentropy",
        "categorical_cross_entropy",
        (LOGITS, SOFT),
        lambda f, x, t: f()(t, jax.nn.softmax(x)),
        lambda f, x, t: f(jax.nn.softmax(x), t),
        differs=OF_LOGITS,
    ),
    Row(
        "CategoricalCrossentropy",
        "softmax_cross_entropy",
        (LOGITS, SOFT),
        lambda f, x, t: f(from_logits=True, label_smoothing=0.1)(t, x),
        lambda f, x, t: f(x, t, label_smoothing=0.1),
    ),
    Row(
        "SparseCategoricalCrossentropy",
        "softmax_cross_entropy_with_integer_labels",
        (LOGITS,),
        lambda f, x, y: f(from_logits=True, ignore_class=1)(y, x),
        lambda f, x, y: f(x, y, ignore_index=1),
        fixed=(LABELS,),
    ),
    Row(
        "CategoricalFocalCrossentropy",
        "softmax_focal_loss",
        (LOGITS,),
        lambda f, x, t: f(from_logits=True)(t, x),
        lambda f, x, t: f(x, t, alpha=0.25),
        fixed=(ONE_HOT,),
        differs="alpha multiplies every class in keras, and is None here",
    ),
    Row(
        "CategoricalGeneralizedCrossEntropy",
        "generalized_cross_entropy",
        (LOGITS,),
        lambda f, x, y: f(q=0.6)(y, jax.nn.softmax(x)),
        lambda f, x, y: f(x, y, q=0.6),
        fixed=(LABELS,),
        differs="takes logits",
    ),
    Row(
        "CategoricalHinge",
        "categorical_hinge_loss",
        (LOGITS,),
        lambda f, x, t: f()(t, x),
        lambda f, x, t: f(x, t),
        fixed=(ONE_HOT,),
    ),
    Row(
        "CategoricalHinge",
        "multiclass_hinge_loss",
        # Above 0: keras takes the 0 that stands for the label for a rival.
        (POSITIVE,),
        lambda f, x, t, y: f()(t, x),
        lambda f, x, t, y: f(x, y),
        fixed=(ONE_HOT, LABELS),
        differs="keras has a rival of score 0: test_differences.py",
    ),
]

SEQUENCES = np.asarray([[1, 2, 2], [3, 1, 0]])
MASKS = (uniform(50, 2, 4, 4, 3) > 0.4).astype(float)
PIXELS = normal(51, 2, 4, 4, 3)
EPSILON = {
    "tolerance": 1e-6,
    "why": "keras adds 1e-7 to the denominator, which is above 1 here",
}
UNIT = normal(52, 6, 4)
KINDS = np.asarray([0, 1, 0, 2, 1, 0])


def normalized(x):
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


STRUCTURES = [
    Row(
        "CTC",
        "ctc_loss",
        (normal(53, 2, 7, 4),),
        lambda f, x, y: f()(y, x),
        lambda f, x, y: f(x, None, y, None, label_lengths=(y != 0).sum(-1)),
        fixed=(SEQUENCES,),
        differs="keras ends the labels at a 0",
        **IN_FLOAT32,
    ),
    Row(
        "Dice",
        "dice_loss",
        (uniform(54, 2, 4, 4, 1),),
        lambda f, p, t: f(axis=(1, 2, 3))(t, p),
        lambda f, p, t: f(p, t, smooth=0.0, apply_softmax=False),
        fixed=(MASKS[..., :1],),
        differs="probabilities; keras sums over all but what axis leaves",
        **EPSILON,
    ),
    Row(
        "Tversky",
        "tversky_loss",
        (PIXELS,),
        lambda f, x, t: f(alpha=0.3, beta=0.6, axis=(1, 2))(t, jax.nn.softmax(x)).mean(
            -1
        ),
        lambda f, x, t: f(x, t, alpha=0.6, beta=0.3, smooth=0.0),
        fixed=(MASKS,),
        differs="keras's alpha weighs the misses, and beta the false positives",
        **EPSILON,
    ),
    Row(
        "Circle",
        "circle_loss",
        (UNIT,),
        lambda f, x, y: f(gamma=8.0)(y, normalized(x)),
        lambda f, x, y: f(normalized(x), y, scale=8.0, detach_pace=False),
        fixed=(KINDS,),
        differs="keras wants embeddings of length 1, and differentiates the paces",
    ),
]

ROWS = [*REGRESSION, *BINARY, *CLASSES, *STRUCTURES]
