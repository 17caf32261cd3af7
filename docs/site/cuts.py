"""One-dimensional cuts through the losses: what their pictures are drawn from.

A cut moves one number of the model's output and leaves the rest as it is. Nothing here
is a formula: every curve calls the library.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import jaxloss

Curve = Callable[[jax.Array], jax.Array]


@dataclass(frozen=True)
class Cut:
    """What moves, from where to where, and the loss along it, by legend."""

    what: str
    low: float
    high: float
    curves: Mapping[str, Curve]


def each(make: Callable[..., Curve], options: Mapping[str, Mapping[str, Any]]):
    """A curve for each setting of the options."""
    return {legend: make(**given) for legend, given in options.items()}


def scalar(name: str, target: float, *, integer: bool = False, **options: Any) -> Curve:
    """A loss of one number and one target."""

    def loss(x: jax.Array) -> jax.Array:
        given = jnp.asarray(target, jnp.int32 if integer else x.dtype)
        named = {k: like(v, x) for k, v in options.items()}
        return getattr(jaxloss, name)(x, given, **named)

    return loss


def like(value: Any, x: jax.Array) -> Any:
    """Parameters of a distribution are arrays; what else is given stays as it is."""
    return jnp.asarray(value, x.dtype) if isinstance(value, Parameter) else value


class Parameter(float):
    """A second output of the model, such as a log-variance."""


def residual(name: str, options: Mapping[str, Mapping[str, Any]], span: float = 4.0):
    """Against the prediction of a target that is 0."""
    curves = {k: scalar(name, 0.0, **given) for k, given in options.items()}
    return Cut("prediction - target", -span, span, curves)


def row(name: str, label: Any = 0, **options: Any) -> Curve:
    """A loss of three logits, of which the first moves; the others are 0."""

    def loss(x: jax.Array) -> jax.Array:
        logits = jnp.stack([x, 0 * x, 0 * x])
        named = {k: like_row(v, x) for k, v in options.items()}
        if label is None:
            return getattr(jaxloss, name)(logits, **named)
        return getattr(jaxloss, name)(logits, like_row(label, x), **named)

    return loss


def like_row(value: Any, x: jax.Array) -> Any:
    if isinstance(value, tuple):
        return jnp.asarray(value, x.dtype)
    return jnp.asarray(value, jnp.int32) if isinstance(value, int) else value


ONE_HOT = (1.0, 0.0, 0.0)
EVEN = (0.0, 0.0, 0.0)
PLAIN: Mapping[str, Mapping[str, Any]] = {"": {}}


def label_logit(name: str, options=PLAIN, label: Any = 0) -> Cut:
    curves = each(lambda **given: row(name, label, **given), options)
    return Cut("logit of the label, the other two 0", -6, 6, curves)


def one_logit(name: str, options=PLAIN, label: Any = EVEN) -> Cut:
    curves = each(lambda **given: row(name, label, **given), options)
    return Cut("one logit of three, the others 0; the target is even", -6, 6, curves)


def binary(name: str, *, integer: bool = False, **options: Any) -> Cut:
    curves = {
        f"label {label}": scalar(name, label, integer=integer, **options)
        for label in (1, 0)
    }
    return Cut("logit", -6, 6, curves)


def margin(name: str) -> Cut:
    return Cut("target times prediction", -3, 3, {"": scalar(name, 1.0)})


def settings(name: str, *values: float) -> dict[str, dict[str, float]]:
    return {f"{name} {value:g}": {name: value} for value in values}


def parameters(name: str, *values: float, **others: float):
    fixed = {k: Parameter(v) for k, v in others.items()}
    return {f"{name} {value:g}": {name: Parameter(value), **fixed} for value in values}


def of_target(name: str, what: str, span: tuple[float, float], *targets: float, **more):
    fixed = {k: Parameter(v) for k, v in more.items()}
    curves = {f"target {t:g}": scalar(name, t, **fixed) for t in targets}
    return Cut(what, *span, curves)


def pair(name: str, options=PLAIN) -> Cut:
    """A list of two documents, of which the first is relevant."""

    def make(**given: Any) -> Curve:
        def loss(x: jax.Array) -> jax.Array:
            labels = jnp.asarray([1.0, 0.0], x.dtype)
            return jnp.sum(
                getattr(jaxloss, name)(jnp.stack([x, 0 * x]), labels, **given)
            )

        return loss

    return Cut(
        "score of the relevant item above the other's", -5, 5, each(make, options)
    )


def probability(name: str, target: tuple[float, float], *, logs: bool = False) -> Cut:
    """Two probabilities that add up to 1."""

    def loss(x: jax.Array) -> jax.Array:
        probs = jnp.stack([x, 1 - x])
        given = jnp.asarray(target, x.dtype)
        return getattr(jaxloss, name)(jnp.log(probs) if logs else probs, given)

    what = f"probability of the first of two, target {target[0]:g}"
    return Cut(what, 0.01, 0.99, {"": loss})


def angle(name: str, curves: Mapping[str, Mapping[str, Any]] = PLAIN) -> Cut:
    def make(**given: Any) -> Curve:
        def loss(x: jax.Array) -> jax.Array:
            first = jnp.stack([jnp.cos(x), jnp.sin(x)])
            second = jnp.asarray([1.0, 0.0], x.dtype)
            named = {k: jnp.asarray(v, jnp.int32) for k, v in given.items()}
            return getattr(jaxloss, name)(first, second, **named)

        return loss

    return Cut("angle between the two vectors", -math.pi, math.pi, each(make, curves))


def ratio(name: str, options=PLAIN) -> Cut:
    """Policy losses against the log of the new policy's ratio to the old one."""
    curves = {
        f"advantage {a:+g}{', ' + k if k else ''}": _of_ratio(name, a, given)
        for k, given in options.items()
        for a in (1.0, -1.0)
    }
    return Cut("log of the ratio to the old policy", -1.5, 1.5, curves)


def _of_ratio(name: str, advantage: float, options: Mapping[str, Any]) -> Curve:
    def loss(x: jax.Array) -> jax.Array:
        given = jnp.asarray(advantage, x.dtype)
        if name == "grpo_loss":
            found = getattr(jaxloss, name)(
                x[None, None], given[None], old_log_probs=0 * x[None, None], **options
            )
            return jnp.sum(found)
        return getattr(jaxloss, name)(x, given, old_log_probs=0 * x, **options)

    return loss


def preferred(x: jax.Array, **options: Any) -> jax.Array:
    zero = 0 * x
    return jaxloss.dpo_loss(
        *(x, zero),
        reference_chosen_log_probs=zero,
        reference_rejected_log_probs=zero,
        **options,
    )


def shifted(name: str, points: tuple[float, ...], **options: Any) -> Cut:
    """Samples moved away from equal ones."""

    def loss(x: jax.Array) -> jax.Array:
        still = jnp.asarray(points, x.dtype)
        if name != "wasserstein_1d":
            still = still[:, None]
        return getattr(jaxloss, name)(still + x, still, **options)

    return Cut("shift of all predictions from the targets", -3, 3, {"": loss})


def box(variant: str) -> Curve:
    def loss(x: jax.Array) -> jax.Array:
        zero, one = 0 * x, 0 * x + 1
        predicted = jnp.stack([x, zero, x + 1, one])
        return jaxloss.iou_loss(
            predicted, jnp.stack([zero, zero, one, one]), variant=variant
        )

    return loss


def root_mean(x: jax.Array) -> jax.Array:
    return jaxloss.root_mean_squared_error(
        jnp.stack([x, 0 * x + 1]), jnp.zeros(2, x.dtype)
    )


def pixels(name: str) -> Cut:
    """Four pixels of which two are marked, all as sure as each other."""

    def loss(x: jax.Array) -> jax.Array:
        targets = jnp.asarray([1.0, 1.0, 0.0, 0.0], x.dtype)
        # One image, for what keeps the first axis.
        losses = getattr(jaxloss, name)(x * (2 * targets - 1)[None], targets[None])
        return losses.reshape(())

    return Cut("logit of every pixel, to its right side", -6, 6, {"": loss})


def distance(label: int) -> Curve:
    def loss(x: jax.Array) -> jax.Array:
        first = jnp.stack([x, 0 * x])
        given = jnp.asarray(label, jnp.int32)
        return jaxloss.contrastive_loss(first, 0 * first, labels=given)

    return loss


def triplet(name: str) -> Cut:
    """An anchor at 0, a negative at 1, and a positive that moves along the line."""

    def loss(x: jax.Array) -> jax.Array:
        zero, one = jnp.stack([0 * x, 0 * x]), jnp.stack([0 * x + 1, 0 * x])
        return getattr(jaxloss, name)(zero, jnp.stack([x, 0 * x]), one)

    return Cut("distance to the positive, the negative at 1", 0.02, 3, {"": loss})


COUNTS = ("log of the rate", (-3.0, 4.0))
MEAN = ("log of the mean", (-3.0, 4.0))
WIDTHS = (-1.0, 0.0, 1.0)

CUTS: dict[str, Cut] = {
    # Residuals.
    **{
        name: residual(name, PLAIN)
        for name in ("squared_error", "l2_loss", "log_cosh", "absolute_error")
    },
    "root_mean_squared_error": Cut("one residual, the other 1", -4, 4, {"": root_mean}),
    "huber_loss": residual("huber_loss", settings("delta", 0.5, 1, 2)),
    "charbonnier_loss": residual("charbonnier_loss", settings("epsilon", 1e-3, 1)),
    "epsilon_insensitive_loss": residual(
        "epsilon_insensitive_loss",
        {
            "epsilon 1": {"epsilon": 1.0},
            "epsilon 1, power 2": {"epsilon": 1.0, "power": 2},
        },
    ),
    "pseudo_huber_loss": residual("pseudo_huber_loss", settings("delta", 0.5, 1, 2)),
    "robust_loss": residual("robust_loss", settings("alpha", 2, 1, 0, -2)),
    "smooth_l1_loss": residual("smooth_l1_loss", settings("beta", 0.5, 1, 2)),
    "cauchy_loss": residual("cauchy_loss", settings("scale", 1, 2.385), 8),
    "geman_mcclure_loss": residual("geman_mcclure_loss", settings("scale", 1, 2)),
    "tukey_biweight_loss": residual(
        "tukey_biweight_loss", settings("scale", 2, 4.685), 8
    ),
    "welsch_loss": residual("welsch_loss", settings("scale", 1, 2.985), 8),
    "expectile_loss": residual("expectile_loss", settings("expectile", 0.1, 0.5, 0.9)),
    "quantile_loss": residual("quantile_loss", settings("quantile", 0.1, 0.5, 0.9)),
    "symlog_squared_error": of_target(
        "symlog_squared_error",
        "prediction of the target's symlog",
        (-4, 10),
        0,
        10,
        1000,
    ),
    **{
        name: Cut("prediction, target 1", 0.05, 4, {"": scalar(name, 1.0)})
        for name in (
            "absolute_percentage_error",
            "symmetric_absolute_percentage_error",
            "squared_log_error",
        )
    },
    # Likelihoods and scores.
    "gaussian_nll": residual("gaussian_nll", parameters("log_variance", *WIDTHS)),
    "laplace_nll": residual("laplace_nll", parameters("log_scale", *WIDTHS)),
    "student_t_nll": residual(
        "student_t_nll", parameters("log_df", 0, 3, log_scale=0), 8
    ),
    "von_mises_nll": residual(
        "von_mises_nll", parameters("log_concentration", *WIDTHS), math.pi
    ),
    "discretized_logistic_nll": residual(
        "discretized_logistic_nll", parameters("log_scale", -3, -1), 0.9
    ),
    **{
        name: residual(name, parameters("log_scale", *WIDTHS))
        for name in ("crps_gaussian", "crps_laplace", "crps_logistic")
    },
    **{
        name: of_target(name, *COUNTS, 0, 1, 5)
        for name in ("poisson_nll", "poisson_deviance")
    },
    "negative_binomial_nll": of_target(
        "negative_binomial_nll", *MEAN, 0, 1, 5, log_total_count=0
    ),
    "zero_inflated_poisson_nll": of_target(
        "zero_inflated_poisson_nll", *COUNTS, 0, 1, 5, zero_logits=0
    ),
    "zero_inflated_negative_binomial_nll": of_target(
        *("zero_inflated_negative_binomial_nll", *MEAN, 0, 1, 5),
        log_total_count=0,
        zero_logits=0,
    ),
    "exponential_nll": of_target("exponential_nll", "log of the rate", (-3, 3), 0.5, 2),
    "gamma_nll": of_target("gamma_nll", *MEAN, 0.5, 2, log_shape=0),
    "gamma_deviance": of_target("gamma_deviance", *MEAN, 0.5, 2),
    "tweedie_deviance": of_target("tweedie_deviance", *MEAN, 0, 1, 5),
    "log_normal_nll": of_target(
        "log_normal_nll", "mean of the log", (-4, 4), 0.5, 2, log_variance=0
    ),
    "weibull_nll": of_target(
        "weibull_nll", "log of the scale", (-2, 4), 0.5, 2, log_shape=0.5
    ),
    "beta_nll": of_target("beta_nll", "log of alpha", (-3, 3), 0.2, 0.8, log_beta=0.5),
    "binomial_nll": of_target("binomial_nll", "logit", (-6, 6), 0, 2, 4, total_count=4),
    # One logit.
    **{
        name: binary(name) for name in ("sigmoid_binary_cross_entropy", "bernoulli_nll")
    },
    "sigmoid_focal_loss": Cut(
        *("logit, label 1", -6, 6),
        each(
            lambda gamma: scalar("sigmoid_focal_loss", 1.0, gamma=gamma),
            settings("gamma", 0, 2, 5),
        ),
    ),
    "asymmetric_loss": binary("asymmetric_loss"),
    "sparsemax_loss": binary("sparsemax_loss", integer=True),
    "binary_cross_entropy": Cut(
        *("probability", 0.01, 0.99),
        {f"label {y}": scalar("binary_cross_entropy", y) for y in (1, 0)},
    ),
    "bernoulli_kl_divergence": of_target(
        "bernoulli_kl_divergence", "logit, of target logits", (-6, 6), -2, 0, 2
    ),
    "cumulative_link_loss": Cut(
        *("prediction, thresholds -1 and 1", -6, 6),
        {
            f"label {k}": scalar(
                *("cumulative_link_loss", k),
                integer=True,
                thresholds=jnp.asarray([-1.0, 1.0]),
            )
            for k in range(3)
        },
    ),
    # Margins.
    **{
        name: margin(name)
        for name in (
            *("hinge_loss", "squared_hinge_loss", "perceptron_loss"),
            "soft_margin_loss",
        )
    },
    # Rows of logits.
    "softmax_cross_entropy_with_integer_labels": label_logit(
        "softmax_cross_entropy_with_integer_labels",
        {
            "": {},
            "label_smoothing 0.2": {"label_smoothing": 0.2},
            "temperature 2": {"temperature": 2.0},
        },
    ),
    **{
        name: label_logit(name, label=ONE_HOT)
        for name in (
            *("softmax_cross_entropy", "safe_softmax_cross_entropy"),
            "softmax_brier_score",
        )
    },
    "poly_loss_cross_entropy": label_logit(
        "poly_loss_cross_entropy", settings("epsilon", -0.5, 0, 2), ONE_HOT
    ),
    "softmax_focal_loss": label_logit("softmax_focal_loss", settings("gamma", 0, 2, 5)),
    "multiclass_hinge_loss": label_logit(
        "multiclass_hinge_loss",
        {v: {"variant": v} for v in ("crammer_singer", "weston_watkins")},
    ),
    "entmax_loss": label_logit("entmax_loss", settings("alpha", 1.25, 1.5, 2)),
    "generalized_cross_entropy": label_logit(
        "generalized_cross_entropy", settings("q", 0.1, 0.7, 1)
    ),
    **{
        name: label_logit(name)
        for name in (
            *("multiclass_perceptron_loss", "multiclass_sparsemax_loss"),
            *("confidence_penalty_cross_entropy", "symmetric_cross_entropy"),
            "categorical_nll",
        )
    },
    "logit_adjusted_cross_entropy": label_logit(
        "logit_adjusted_cross_entropy",
        {
            "prior 1/3": {"log_priors": (0.0, 0.0, 0.0)},
            "prior 1/21": {"log_priors": (-math.log(10), 0.0, 0.0)},
        },
    ),
    "softmax_entropy": Cut(
        "one logit of three, the others 0", -6, 6, {"": row("softmax_entropy", None)}
    ),
    **{
        name: one_logit(name)
        for name in (
            *("js_divergence", "reverse_kl_divergence", "softmax_kl_divergence"),
            *("hellinger_distance", "total_variation"),
        )
    },
    "renyi_divergence": one_logit("renyi_divergence", settings("alpha", 0.5, 2)),
    # Probabilities.
    "categorical_cross_entropy": probability("categorical_cross_entropy", (1, 0)),
    "brier_score": probability("brier_score", (1, 0)),
    "spherical_score": probability("spherical_score", (1, 0)),
    "cross_entropy": probability("cross_entropy", (0.7, 0.3), logs=True),
    "kl_divergence": probability("kl_divergence", (0.7, 0.3), logs=True),
    "generalized_kl_divergence": probability(
        "generalized_kl_divergence", (0.7, 0.3), logs=True
    ),
    # Angles and distances.
    **{
        name: angle(name)
        for name in ("cosine_similarity", "cosine_distance", "negative_cosine_loss")
    },
    "cosine_embedding_loss": angle(
        "cosine_embedding_loss", {"label 1": {"labels": 1}, "label -1": {"labels": -1}}
    ),
    "contrastive_loss": Cut(
        "distance", 0.02, 2, {f"label {k}": distance(k) for k in (1, 0)}
    ),
    "hinge_embedding_loss": Cut(
        *("distance", 0, 2),
        {
            f"label {k}": scalar("hinge_embedding_loss", k, integer=True)
            for k in (1, -1)
        },
    ),
    **{name: triplet(name) for name in ("triplet_loss", "triplet_margin_loss")},
    "margin_ranking_loss": Cut(
        *("first - second, label 1", -3, 3),
        {
            f"margin {m:g}": lambda x, m=m: jaxloss.margin_ranking_loss(
                x, 0 * x, labels=jnp.asarray(1, jnp.int32), margin=m
            )
            for m in (0.0, 1.0)
        },
    ),
    "iou_loss": Cut(
        *("shift of a unit box", -2.5, 2.5),
        {variant: box(variant) for variant in ("iou", "giou", "diou")},
    ),
    **{name: pixels(name) for name in ("binary_dice_loss", "lovasz_hinge_loss")},
    # Lists.
    **{
        name: pair(name)
        for name in (
            *("ranking_softmax_loss", "listnet_loss", "listmle_loss"),
            *("approx_ndcg_loss", "unique_softmax_loss", "pairwise_hinge_loss"),
            *("pairwise_logistic_loss", "pairwise_mse_loss"),
            "pairwise_soft_zero_one_loss",
        )
    },
    "bayesian_personalized_ranking_loss": Cut(
        *("score of the chosen item above the other's", -5, 5),
        {"": scalar("bayesian_personalized_ranking_loss", 0.0)},
    ),
    # Preferences and policies.
    "dpo_loss": Cut(
        *("log-ratio of the chosen answer above the rejected one's", -40, 40),
        each(
            lambda **given: lambda x: preferred(x, **given),
            {
                "sigmoid": {},
                "label_smoothing 0.2": {"label_smoothing": 0.2},
                "hinge": {"variant": "hinge"},
            },
        ),
    ),
    "simpo_loss": Cut(
        *("average log-probability of the chosen answer, rejected -1", -4, -0.05),
        {"": scalar("simpo_loss", -1.0)},
    ),
    "reward_model_loss": Cut(
        "chosen reward - rejected", -5, 5, {"": scalar("reward_model_loss", 0.0)}
    ),
    "ppo_loss": ratio("ppo_loss"),
    "cispo_loss": ratio("cispo_loss"),
    "sapo_loss": ratio("sapo_loss"),
    "kl_estimate": Cut(
        *("log-probability above the reference's", -2, 2),
        {
            k: lambda x, k=k: jaxloss.kl_estimate(x, 0 * x, estimator=k)
            for k in ("k1", "k2", "k3")
        },
    ),
    "value_clip_loss": Cut(
        *("value, return 1, old value 0", -1, 2),
        {"": scalar("value_clip_loss", 1.0, old_values=Parameter(0.0))},
    ),
    # Generative.
    "gan_generator_loss": Cut(
        *("logit of a generated sample", -4, 4),
        {
            v: lambda x, v=v: jaxloss.gan_generator_loss(x, variant=v)
            for v in ("non_saturating", "hinge", "least_squares")
        },
    ),
    # Transport.
    "wasserstein_1d": shifted("wasserstein_1d", (0.0, 1.0, 2.0)),
    **{
        name: shifted(name, (0.0, 1.0, 2.0)) for name in ("energy_distance", "mmd_loss")
    },
}
