"""sklearn.metrics: the target first, and the mean, weighted by `sample_weight`."""

import jax
import numpy as np

from tests.parity.row import Row, distributions, normal, signs, uniform

PREDICTIONS, TARGETS, LOG = (normal(seed, 12) for seed in (100, 101, 102))
WEIGHTS = uniform(103, 12)
AMOUNTS, POSITIVE = uniform(104, 12, high=5.0), uniform(105, 12, high=5.0)
PROBS, CLASSES = (
    distributions(106, 12, 4),
    np.random.default_rng(107).permutation(np.arange(12) % 4),
)
SCORES = normal(108, 12, 4)
BITS = (signs(109, 12) + 1) // 2
RELEVANCE = np.random.default_rng(110).integers(0, 4, size=(3, 5)).astype(float)
SPREAD = np.argsort(normal(111, 3, 5)).astype(float)
FIRST = "scikit-learn puts the target first, and means"


def mean(theirs, ours, inputs, their_options=None, options=None, **settings):
    """Our mean of two arrays, weighted, and theirs."""
    return Row(
        theirs,
        ours,
        inputs,
        lambda f, x, y, w: np.asarray(
            f(y, x, sample_weight=w, **(their_options or {}))
        ),
        lambda f, x, y, w: f(x, y, weights=w, reduction="mean", **(options or {})),
        fixed=(WEIGHTS,),
        differs=FIRST,
        **settings,
    )


def deviance(theirs, ours, their_options=None, options=None):
    return Row(
        theirs,
        ours,
        (LOG, POSITIVE),
        lambda f, x, y, w: f(y, np.exp(x), sample_weight=w, **(their_options or {})),
        lambda f, x, y, w: f(x, y, weights=w, reduction="mean", **(options or {})),
        fixed=(WEIGHTS,),
        case=str(their_options or ""),
        differs=f"{FIRST}; takes the logarithm of the mean",
    )


REGRESSION = [
    mean("mean_squared_error", "squared_error", (PREDICTIONS, TARGETS)),
    mean("mean_absolute_error", "absolute_error", (PREDICTIONS, TARGETS)),
    mean("mean_squared_log_error", "squared_log_error", (AMOUNTS, POSITIVE)),
    Row(
        "mean_absolute_percentage_error",
        "absolute_percentage_error",
        (AMOUNTS, POSITIVE),
        lambda f, x, y, w: 100 * f(y, x, sample_weight=w),
        lambda f, x, y, w: f(x, y, weights=w, reduction="mean"),
        fixed=(WEIGHTS,),
        differs=f"{FIRST}; a fraction, not in percent",
    ),
    mean(
        "mean_pinball_loss",
        "quantile_loss",
        (PREDICTIONS, TARGETS),
        {"alpha": 0.3},
        {"quantile": 0.3},
    ),
    deviance("mean_poisson_deviance", "poisson_deviance"),
    deviance("mean_gamma_deviance", "gamma_deviance"),
    *(
        deviance(
            "mean_tweedie_deviance", "tweedie_deviance", {"power": p}, {"power": p}
        )
        for p in (1.5, 2.5, 3.0)
    ),
]

CLASSIFICATION = [
    Row(
        "log_loss",
        "categorical_cross_entropy",
        (PROBS,),
        lambda f, p, y, w: f(y, p / p.sum(-1, keepdims=True), sample_weight=w),
        lambda f, p, y, w: f(
            p, jax.nn.one_hot(y, 4, dtype=p.dtype), weights=w, reduction="mean"
        ),
        fixed=(CLASSES, WEIGHTS),
        differs=f"{FIRST}; targets are one-hot",
    ),
    Row(
        "log_loss",
        "binary_cross_entropy",
        (WEIGHTS,),
        lambda f, p, y, w: f(y, p, sample_weight=w),
        lambda f, p, y, w: f(p, y, weights=w, reduction="mean"),
        fixed=(BITS, AMOUNTS),
        differs=FIRST,
    ),
    Row(
        "brier_score_loss",
        "brier_score",
        (PROBS,),
        lambda f, p, y: f(y, p / p.sum(-1, keepdims=True), scale_by_half=False),
        lambda f, p, y: f(p, jax.nn.one_hot(y, 4, dtype=p.dtype), reduction="mean"),
        fixed=(CLASSES,),
        differs=f"{FIRST}; of two classes scikit-learn's is half of ours",
    ),
    Row(
        "hinge_loss",
        "hinge_loss",
        (PREDICTIONS,),
        lambda f, x, y, w: f(y, x, sample_weight=w),
        lambda f, x, y, w: f(x, 2 * y - 1, weights=w, reduction="mean"),
        fixed=(BITS, WEIGHTS),
        differs=FIRST,
    ),
    Row(
        "hinge_loss",
        "multiclass_hinge_loss",
        (SCORES,),
        lambda f, x, y, w: f(y, x, sample_weight=w),
        lambda f, x, y, w: f(x, y, weights=w, reduction="mean"),
        fixed=(CLASSES, WEIGHTS),
        differs=FIRST,
    ),
    Row(
        "ndcg_score",
        "approx_ndcg_loss",
        (SPREAD,),
        lambda f, s, y: 1 - f(y, s),
        lambda f, s, y: f(s, y, temperature=0.01, gain="linear", reduction="mean"),
        fixed=(RELEVANCE,),
        differs="1 minus it, where the temperature is far below the gaps of scores",
    ),
]


def metric(theirs, ours, inputs, their_call, fixed=(), *, differs="", **options):
    """Ours is a total and a count, of which the value is asked."""
    return Row(
        theirs,
        f"metrics.{ours}",
        inputs,
        their_call,
        lambda f, x, y, *w: f(x, y, weights=w[0] if w else None, **options).value,
        fixed=fixed,
        differs=differs,
    )


METRICS = [
    metric(
        "accuracy_score",
        "accuracy",
        (SCORES,),
        lambda f, x, y, w: f(y, x.argmax(-1), sample_weight=w),
        (CLASSES, WEIGHTS),
        differs="takes logits",
    ),
    metric(
        "accuracy_score",
        "binary_accuracy",
        (PREDICTIONS,),
        lambda f, x, y: f(y, x > 0),
        (BITS,),
        differs="takes logits",
    ),
    metric(
        "zero_one_loss",
        "accuracy",
        (SCORES,),
        lambda f, x, y: 1 - f(y, x.argmax(-1)),
        (CLASSES,),
        differs="1 minus it, of logits",
    ),
    metric(
        "top_k_accuracy_score",
        "top_k_accuracy",
        (SCORES,),
        lambda f, x, y, w: f(y, x, k=2, sample_weight=w),
        (CLASSES, WEIGHTS),
        k=2,
    ),
    metric(
        "root_mean_squared_error",
        "rmse",
        (PREDICTIONS, TARGETS),
        lambda f, x, y, w: f(y, x, sample_weight=w),
        (WEIGHTS,),
    ),
    metric(
        "mean_absolute_error",
        "mae",
        (PREDICTIONS, TARGETS),
        lambda f, x, y, w: f(y, x, sample_weight=w),
        (WEIGHTS,),
    ),
]

ROWS = [*REGRESSION, *CLASSIFICATION, *METRICS]
