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

# Probabilities and log-probabilities

# Likelihoods

# Proper scores

# Classification: noise, imbalance, many labels

# Ordinal and binned regression

# Divergences and distillation

# Contrastive and metric learning

# Self-supervision: views, prototypes, statistics

# Ranking: pairs and lists

# Segmentation: overlaps, boxes, images

# Sequences: transducers, chains, warping

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

# Quantum

# Fused with the linear head that makes the logits
from jaxloss._linear.contrastive import (
    clip_loss as clip_loss,
    info_nce_loss as info_nce_loss,
    siglip_loss as siglip_loss,
)
from jaxloss._linear.distillation import (
    linear_distillation_loss as linear_distillation_loss,
)
from jaxloss._linear.generic import (
    linear_loss as linear_loss,
)
from jaxloss._linear.losses import (
    linear_log_probs as linear_log_probs,
    linear_softmax_cross_entropy as linear_softmax_cross_entropy,
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
