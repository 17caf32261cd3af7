"""Which losses have a picture, and along which cut."""

import math

import jax.numpy as jnp
from cuts import (
    ONE_HOT,
    PLAIN,
    Cut,
    Parameter,
    angle,
    binary,
    box,
    distance,
    each,
    label_logit,
    margin,
    of_target,
    one_logit,
    pair,
    parameters,
    pixels,
    preferred,
    probability,
    ratio,
    residual,
    root_mean,
    row,
    scalar,
    settings,
    shifted,
    triplet,
)

import jaxloss

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
    **{
        name: residual(name, parameters("log_scale", -3, -1), 0.9)
        for name in ("discretized_gaussian_nll", "discretized_logistic_nll")
    },
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
                thresholds=jnp.asarray([-1.0, 1.0], jnp.float32),
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
    "categorical_hinge_loss": label_logit("categorical_hinge_loss", label=ONE_HOT),
    "entmax_loss": label_logit("entmax_loss", settings("alpha", 1.25, 1.5, 2)),
    "bi_tempered_logistic_loss": label_logit(
        "bi_tempered_logistic_loss",
        {
            f"t1 {t1:g}, t2 {t2:g}": {"t1": t1, "t2": t2}
            for t1, t2 in ((1.0, 1.0), (0.5, 1.0), (1.0, 2.0), (0.5, 2.0))
        },
    ),
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
