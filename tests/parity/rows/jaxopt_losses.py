"""jaxopt: losses of one example, label first, and objectives of a linear model."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.parity.row import Row, distributions, normal

SCORES, LABELS = normal(70, 6, 4, scale=1.5), np.asarray([0, 3, 1, 1, 2, 0])
SCALARS, BITS = normal(71, 6, scale=1.5), np.asarray([0, 1, 1, 0, 0, 1])
TARGETS = normal(72, 6)
WEIGHTS, INPUTS, INTERCEPT = normal(73, 3, 4), normal(74, 6, 3), normal(75, 4)
L2 = 0.375
LABEL_FIRST = "the label is the second argument here"


def example_by_example(f, x, y):
    return jax.vmap(f)(y, x)


def labelled(theirs, ours, call=None):
    """A loss of scores of classes, or of one score."""
    many = "multiclass" in theirs
    return Row(
        f"loss.{theirs}",
        ours,
        (SCORES if many else SCALARS,),
        example_by_example,
        call or (lambda f, x, y: f(x, y)),
        fixed=(LABELS if many else BITS,),
        differs=LABEL_FIRST if call is None else f"{LABEL_FIRST}, in {{-1, 1}}",
    )


LOSSES = [
    labelled("binary_logistic_loss", "sigmoid_binary_cross_entropy"),
    labelled("binary_sparsemax_loss", "sparsemax_loss"),
    labelled("binary_hinge_loss", "hinge_loss", lambda f, x, y: f(x, 2 * y - 1)),
    labelled(
        "binary_perceptron_loss", "perceptron_loss", lambda f, x, y: f(x, 2 * y - 1)
    ),
    labelled("multiclass_logistic_loss", "softmax_cross_entropy_with_integer_labels"),
    labelled("multiclass_sparsemax_loss", "multiclass_sparsemax_loss"),
    labelled("multiclass_hinge_loss", "multiclass_hinge_loss"),
    labelled("multiclass_perceptron_loss", "multiclass_perceptron_loss"),
    Row(
        "loss.huber_loss",
        "huber_loss",
        (SCALARS, TARGETS),
        lambda f, x, y: f(y, x, 0.7),
        lambda f, x, y: f(x, y, delta=0.7),
        differs="the target is the second argument here",
    ),
    Row(
        "loss.make_fenchel_young_loss",
        "make_fenchel_young_loss",
        (SCORES, distributions(75, 6, 4)),
        lambda f, x, t: jax.vmap(f(jax.nn.logsumexp))(t, x),
        lambda f, x, t: jax.vmap(f(jax.nn.logsumexp))(x, t),
        differs="the target is the second argument here",
    ),
]


def penalty(w):
    return L2 / 2 * jnp.sum(w * w)


OBJECTIVES = [
    Row(
        "objective.least_squares",
        "l2_loss",
        (WEIGHTS[:, 0], INPUTS),
        lambda f, w, x, y: f(w, (x, y)),
        lambda f, w, x, y: f(jnp.dot(x, w), y, reduction="mean"),
        fixed=(TARGETS,),
    ),
    Row(
        "objective.multiclass_logreg",
        "softmax_cross_entropy_with_integer_labels",
        (WEIGHTS, INPUTS),
        lambda f, w, x, y: f(w, (x, y)),
        lambda f, w, x, y: f(jnp.dot(x, w), y, reduction="mean"),
        fixed=(LABELS,),
    ),
    Row(
        "objective.multiclass_logreg",
        "linear_softmax_cross_entropy",
        (WEIGHTS, INPUTS),
        lambda f, w, x, y: f(w, (x, y)),
        lambda f, w, x, y: f(x, w, y),
        fixed=(LABELS,),
    ),
    Row(
        "objective.binary_logreg",
        "sigmoid_binary_cross_entropy",
        (WEIGHTS[:, 0], INPUTS),
        lambda f, w, x, y: f(w, (x, y)),
        lambda f, w, x, y: f(jnp.dot(x, w), y, reduction="mean"),
        fixed=(BITS,),
    ),
    Row(
        "objective.ridge_regression",
        "l2_loss",
        (WEIGHTS[:, 0], INPUTS),
        lambda f, w, x, y: f(w, L2, (x, y)),
        lambda f, w, x, y: f(jnp.dot(x, w), y, reduction="mean") + penalty(w),
        fixed=(TARGETS,),
    ),
    Row(
        "objective.l2_multiclass_logreg",
        "linear_softmax_cross_entropy",
        (WEIGHTS, INPUTS),
        lambda f, w, x, y: f(w, L2, (x, y)),
        lambda f, w, x, y: f(x, w, y) + penalty(w),
        fixed=(LABELS,),
    ),
    Row(
        "objective.multiclass_logreg_with_intercept",
        "linear_softmax_cross_entropy",
        (WEIGHTS, INTERCEPT, INPUTS),
        lambda f, w, b, x, y: f((w, b), (x, y)),
        lambda f, w, b, x, y: f(x, w, y, bias=b),
        fixed=(LABELS,),
    ),
    Row(
        "objective.l2_multiclass_logreg_with_intercept",
        "linear_softmax_cross_entropy",
        (WEIGHTS, INTERCEPT, INPUTS),
        lambda f, w, b, x, y: f((w, b), L2, (x, y)),
        lambda f, w, b, x, y: f(x, w, y, bias=b) + penalty(w),
        fixed=(LABELS,),
    ),
]

ROWS = [*LOSSES, *OBJECTIVES]
