"""jaxloss: loss functions for JAX, exact, under every transformation."""

import importlib.metadata as _metadata

# Softmax cross entropy
from jaxloss._losses.softmax import (
    safe_softmax_cross_entropy as safe_softmax_cross_entropy,
    softmax_cross_entropy as softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels as softmax_cross_entropy_with_integer_labels,
)
from jaxloss._losses.poly import (
    poly_loss_cross_entropy as poly_loss_cross_entropy,
)
from jaxloss._losses.labels import (
    smooth_labels as smooth_labels,
)

# Binary and focal
from jaxloss._losses.binary import (
    sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy,
)
from jaxloss._losses.focal import (
    sigmoid_focal_loss as sigmoid_focal_loss,
    softmax_focal_loss as softmax_focal_loss,
)

# Margins and Fenchel-Young
from jaxloss._losses.categorical_hinge import (
    categorical_hinge_loss as categorical_hinge_loss,
)
from jaxloss._losses.margin import (
    hinge_loss as hinge_loss,
    multiclass_hinge_loss as multiclass_hinge_loss,
    multiclass_perceptron_loss as multiclass_perceptron_loss,
    perceptron_loss as perceptron_loss,
    squared_hinge_loss as squared_hinge_loss,
)
from jaxloss._losses.fenchel_young import (
    make_fenchel_young_loss as make_fenchel_young_loss,
    multiclass_sparsemax_loss as multiclass_sparsemax_loss,
    sparsemax_loss as sparsemax_loss,
)

# Divergences
from jaxloss._losses.divergence import (
    convex_kl_divergence as convex_kl_divergence,
    generalized_kl_divergence as generalized_kl_divergence,
    kl_divergence as kl_divergence,
    kl_divergence_with_log_targets as kl_divergence_with_log_targets,
)

# Regression and similarity
from jaxloss._losses.regression import (
    huber_loss as huber_loss,
    l2_loss as l2_loss,
    log_cosh as log_cosh,
    squared_error as squared_error,
)
from jaxloss._losses.cosine import (
    cosine_distance as cosine_distance,
    cosine_similarity as cosine_similarity,
)

# Segmentation
from jaxloss._losses.segmentation import (
    binary_dice_loss as binary_dice_loss,
    dice_loss as dice_loss,
    multiclass_generalized_dice_loss as multiclass_generalized_dice_loss,
)

# Sequences
from jaxloss._losses.sequence import (
    ctc_loss as ctc_loss,
    ctc_loss_with_forward_probs as ctc_loss_with_forward_probs,
)

# Ranking
from jaxloss._losses.ranking import (
    ranking_softmax_loss as ranking_softmax_loss,
)

# Metric learning and self-supervision
from jaxloss._losses.metric_learning import (
    triplet_margin_loss as triplet_margin_loss,
)
from jaxloss._losses.self_supervised import (
    ntxent as ntxent,
)

# Regression, robust and relative
from jaxloss._losses.regression import (
    absolute_error as absolute_error,
    root_mean_squared_error as root_mean_squared_error,
)
from jaxloss._losses.robust import (
    charbonnier_loss as charbonnier_loss,
    epsilon_insensitive_loss as epsilon_insensitive_loss,
    pseudo_huber_loss as pseudo_huber_loss,
    robust_loss as robust_loss,
    smooth_l1_loss as smooth_l1_loss,
)
from jaxloss._losses.redescending import (
    cauchy_loss as cauchy_loss,
    geman_mcclure_loss as geman_mcclure_loss,
    tukey_biweight_loss as tukey_biweight_loss,
    welsch_loss as welsch_loss,
)
from jaxloss._losses.quantile import (
    expectile_loss as expectile_loss,
    quantile_loss as quantile_loss,
)
from jaxloss._losses.relative import (
    absolute_percentage_error as absolute_percentage_error,
    squared_log_error as squared_log_error,
    symlog_squared_error as symlog_squared_error,
    symmetric_absolute_percentage_error as symmetric_absolute_percentage_error,
)

# Probabilities and log-probabilities
from jaxloss._losses.cross_entropy import (
    binary_cross_entropy as binary_cross_entropy,
    categorical_cross_entropy as categorical_cross_entropy,
    cross_entropy as cross_entropy,
    nll_loss as nll_loss,
)
from jaxloss._losses.entropy import (
    entropy as entropy,
    softmax_entropy as softmax_entropy,
)

# Likelihoods
from jaxloss._losses.likelihood_real import (
    gaussian_nll as gaussian_nll,
    laplace_nll as laplace_nll,
    student_t_nll as student_t_nll,
)
from jaxloss._losses.likelihood_labels import (
    bernoulli_nll as bernoulli_nll,
    categorical_nll as categorical_nll,
)
from jaxloss._losses.likelihood_counts import (
    binomial_nll as binomial_nll,
    negative_binomial_nll as negative_binomial_nll,
    poisson_nll as poisson_nll,
)
from jaxloss._losses.likelihood_zero_inflated import (
    zero_inflated_negative_binomial_nll as zero_inflated_negative_binomial_nll,
    zero_inflated_poisson_nll as zero_inflated_poisson_nll,
)
from jaxloss._losses.likelihood_positive import (
    exponential_nll as exponential_nll,
    gamma_nll as gamma_nll,
    log_normal_nll as log_normal_nll,
    weibull_nll as weibull_nll,
)
from jaxloss._losses.likelihood_bounded import (
    beta_nll as beta_nll,
    von_mises_nll as von_mises_nll,
)
from jaxloss._losses.likelihood_discretized import (
    discretized_gaussian_nll as discretized_gaussian_nll,
    discretized_logistic_nll as discretized_logistic_nll,
)
from jaxloss._losses.likelihood_mixture import (
    mixture_nll as mixture_nll,
)
from jaxloss._losses.deviance import (
    gamma_deviance as gamma_deviance,
    poisson_deviance as poisson_deviance,
    tweedie_deviance as tweedie_deviance,
)
from jaxloss._losses.survival import (
    cox_partial_nll as cox_partial_nll,
)

# Proper scores
from jaxloss._losses.scoring import (
    brier_score as brier_score,
    interval_score as interval_score,
    softmax_brier_score as softmax_brier_score,
    spherical_score as spherical_score,
)
from jaxloss._losses.crps import (
    crps_gaussian as crps_gaussian,
    crps_laplace as crps_laplace,
    crps_logistic as crps_logistic,
)
from jaxloss._losses.ensemble import (
    crps_ensemble as crps_ensemble,
    energy_score as energy_score,
)
from jaxloss._losses.evidential import (
    evidential_classification_loss as evidential_classification_loss,
    evidential_regression_loss as evidential_regression_loss,
)

# Classification: noise, imbalance, many labels
from jaxloss._losses.noise_robust import (
    confidence_penalty_cross_entropy as confidence_penalty_cross_entropy,
    generalized_cross_entropy as generalized_cross_entropy,
    mixup_cross_entropy as mixup_cross_entropy,
    symmetric_cross_entropy as symmetric_cross_entropy,
)
from jaxloss._losses.tempered import (
    bi_tempered_logistic_loss as bi_tempered_logistic_loss,
)
from jaxloss._losses.gradient_density import (
    gradient_density_weights as gradient_density_weights,
)
from jaxloss._losses.imbalance import (
    class_balanced_weights as class_balanced_weights,
    label_distribution_margins as label_distribution_margins,
    logit_adjusted_cross_entropy as logit_adjusted_cross_entropy,
    top_k_mean as top_k_mean,
)
from jaxloss._losses.multilabel import (
    asymmetric_loss as asymmetric_loss,
    multilabel_margin_loss as multilabel_margin_loss,
    multilabel_soft_margin_loss as multilabel_soft_margin_loss,
    soft_margin_loss as soft_margin_loss,
)
from jaxloss._losses.entmax import (
    entmax_loss as entmax_loss,
)
from jaxloss._losses.sampled_softmax import (
    sampled_softmax_cross_entropy as sampled_softmax_cross_entropy,
)

# Ordinal and binned regression
from jaxloss._losses.ordinal import (
    coral_loss as coral_loss,
    corn_loss as corn_loss,
    cumulative_link_loss as cumulative_link_loss,
)
from jaxloss._losses.binned import (
    hl_gauss_loss as hl_gauss_loss,
    hl_gauss_targets as hl_gauss_targets,
    two_hot_loss as two_hot_loss,
    two_hot_targets as two_hot_targets,
)
from jaxloss._losses.categorical_projection import (
    categorical_projection_loss as categorical_projection_loss,
)

# Divergences and distillation
from jaxloss._losses.logit_divergence import (
    js_divergence as js_divergence,
    reverse_kl_divergence as reverse_kl_divergence,
    softmax_kl_divergence as softmax_kl_divergence,
)
from jaxloss._losses.distribution_distance import (
    hellinger_distance as hellinger_distance,
    renyi_divergence as renyi_divergence,
    total_variation as total_variation,
)
from jaxloss._losses.parametric_divergence import (
    bernoulli_kl_divergence as bernoulli_kl_divergence,
    dirichlet_kl_divergence as dirichlet_kl_divergence,
    gaussian_kl_divergence as gaussian_kl_divergence,
)
from jaxloss._losses.distillation import (
    distillation_loss as distillation_loss,
)

# Contrastive and metric learning
from jaxloss._losses.contrastive import (
    decoupled_contrastive_loss as decoupled_contrastive_loss,
    n_pair_loss as n_pair_loss,
    nt_xent_loss as nt_xent_loss,
    supervised_contrastive_loss as supervised_contrastive_loss,
)
from jaxloss._losses.pairs import (
    contrastive_loss as contrastive_loss,
    cosine_embedding_loss as cosine_embedding_loss,
    hinge_embedding_loss as hinge_embedding_loss,
    margin_ranking_loss as margin_ranking_loss,
)
from jaxloss._losses.triplet import (
    batch_hard_triplet_loss as batch_hard_triplet_loss,
    semi_hard_triplet_loss as semi_hard_triplet_loss,
    triplet_loss as triplet_loss,
)
from jaxloss._losses.pair_similarity import (
    circle_loss as circle_loss,
    multi_similarity_loss as multi_similarity_loss,
)
from jaxloss._losses.angular_margin import (
    arcface_logits as arcface_logits,
    cosface_logits as cosface_logits,
)
from jaxloss._losses.proxies import (
    proxy_anchor_loss as proxy_anchor_loss,
)

# Self-supervision: views, prototypes, statistics
from jaxloss._losses.views import (
    negative_cosine_loss as negative_cosine_loss,
)
from jaxloss._losses.self_distillation import (
    dino_loss as dino_loss,
    ibot_loss as ibot_loss,
)
from jaxloss._losses.prototypes import (
    swav_loss as swav_loss,
)
from jaxloss._losses.statistics import (
    barlow_twins_loss as barlow_twins_loss,
    koleo_loss as koleo_loss,
    uniformity_loss as uniformity_loss,
    vicreg_loss as vicreg_loss,
)
from jaxloss._losses.patches import (
    masked_patch_loss as masked_patch_loss,
)

# Ranking: pairs and lists
from jaxloss._losses.lambda_weights import (
    dcg_lambda_weights as dcg_lambda_weights,
    label_difference_lambda_weights as label_difference_lambda_weights,
)
from jaxloss._losses.plackett_luce import (
    bayesian_personalized_ranking_loss as bayesian_personalized_ranking_loss,
    listmle_loss as listmle_loss,
    plackett_luce_nll as plackett_luce_nll,
)
from jaxloss._losses.ranking_lists import (
    approx_ndcg_loss as approx_ndcg_loss,
    listnet_loss as listnet_loss,
    unique_softmax_loss as unique_softmax_loss,
)
from jaxloss._losses.ranking_pairs import (
    pairwise_hinge_loss as pairwise_hinge_loss,
    pairwise_logistic_loss as pairwise_logistic_loss,
    pairwise_mse_loss as pairwise_mse_loss,
    pairwise_soft_zero_one_loss as pairwise_soft_zero_one_loss,
)

# Segmentation: overlaps, boxes, images
from jaxloss._losses.boxes import (
    iou_loss as iou_loss,
)
from jaxloss._losses.dice import (
    dice_cross_entropy_loss as dice_cross_entropy_loss,
    dice_loss_with_integer_labels as dice_loss_with_integer_labels,
    generalized_dice_loss as generalized_dice_loss,
)
from jaxloss._losses.images import (
    ssim_loss as ssim_loss,
)
from jaxloss._losses.lovasz import (
    lovasz_hinge_loss as lovasz_hinge_loss,
    lovasz_softmax_loss as lovasz_softmax_loss,
)
from jaxloss._losses.overlap import (
    focal_tversky_loss as focal_tversky_loss,
    jaccard_loss as jaccard_loss,
    tversky_loss as tversky_loss,
)

# Sequences: transducers, chains, warping
from jaxloss._losses.chain import (
    crf_nll as crf_nll,
)
from jaxloss._losses.transducer import (
    rnnt_loss as rnnt_loss,
)
from jaxloss._losses.warping import (
    soft_dtw as soft_dtw,
)

# Preferences
from jaxloss._losses.preference import (
    dpo_loss as dpo_loss,
    preference_rewards as preference_rewards,
)
from jaxloss._losses.preference_reference_free import (
    cpo_loss as cpo_loss,
    orpo_loss as orpo_loss,
    simpo_loss as simpo_loss,
)
from jaxloss._losses.preference_unpaired import (
    kto_loss as kto_loss,
    kto_reference_point as kto_reference_point,
)
from jaxloss._losses.reward_model import (
    reward_model_loss as reward_model_loss,
)

# Policies
from jaxloss._losses.policy import (
    cispo_loss as cispo_loss,
    ppo_loss as ppo_loss,
    sapo_loss as sapo_loss,
    value_clip_loss as value_clip_loss,
)
from jaxloss._losses.policy_divergence import (
    importance_weights as importance_weights,
    kl_estimate as kl_estimate,
    sequence_log_ratio as sequence_log_ratio,
)
from jaxloss._losses.policy_group import (
    aggregate_tokens as aggregate_tokens,
    grpo_loss as grpo_loss,
)
from jaxloss._losses.sequence_log_probs import (
    sequence_log_probs as sequence_log_probs,
)

# Generative and auxiliary
from jaxloss._losses.adversarial import (
    gan_discriminator_loss as gan_discriminator_loss,
    gan_generator_loss as gan_generator_loss,
)
from jaxloss._losses.diffusion import (
    edm_weights as edm_weights,
    flow_matching_loss as flow_matching_loss,
    min_snr_weights as min_snr_weights,
)
from jaxloss._losses.multitask import (
    uncertainty_weighted_sum as uncertainty_weighted_sum,
)
from jaxloss._losses.routing import (
    load_balancing_loss as load_balancing_loss,
    router_z_loss as router_z_loss,
)
from jaxloss._losses.variational import (
    vae_kl_divergence as vae_kl_divergence,
    vq_codebook_loss as vq_codebook_loss,
    vq_commitment_loss as vq_commitment_loss,
)

# Transport and kernels
from jaxloss._losses.transport import (
    sinkhorn_divergence as sinkhorn_divergence,
    sliced_wasserstein as sliced_wasserstein,
    wasserstein_1d as wasserstein_1d,
)
from jaxloss._losses.two_sample import (
    energy_distance as energy_distance,
    mmd_loss as mmd_loss,
)

# Quantum
from jaxloss._losses.quantum import (
    density_matrix_cross_entropy as density_matrix_cross_entropy,
    quantum_cross_entropy as quantum_cross_entropy,
    quantum_relative_entropy as quantum_relative_entropy,
)

# Fused with the linear head that makes the logits
from jaxloss._linear.contrastive import (
    clip_loss as clip_loss,
    info_nce_loss as info_nce_loss,
    siglip_loss as siglip_loss,
)
from jaxloss._linear.cross_entropy import (
    linear_softmax_cross_entropy as linear_softmax_cross_entropy,
)
from jaxloss._linear.distillation import (
    linear_distillation_loss as linear_distillation_loss,
)
from jaxloss._linear.generic import (
    linear_loss as linear_loss,
)
from jaxloss._linear.log_probs import (
    linear_log_probs as linear_log_probs,
)
from jaxloss._linear.plan import (
    explain as explain,
)

# What the loss is not
from jaxloss import metrics as metrics

try:
    __version__ = _metadata.version("jaxloss")
except _metadata.PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"
