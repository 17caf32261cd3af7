"""torch.nn.functional: residuals, likelihoods, divergences, embeddings and boxes."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.parity.row import Row, distributions, normal, signs, uniform

PREDICTIONS, TARGETS = normal(20, 4, 3, scale=2.0), normal(21, 4, 3)
COUNTS = np.random.default_rng(22).poisson(3.0, size=(4, 3)).astype(float)
LOG_VARIANCE = normal(23, 4, 3)
LOG_PROBS = np.log(distributions(24, 4, 3))
PROBS = distributions(25, 4, 3)
SIGNS = signs(26, 4)
ANCHORS, POSITIVES, NEGATIVES = (normal(seed, 6, 3) for seed in (27, 28, 29))
WITHOUT_EPSILON = "torch adds eps=1e-6 to each difference, and is told not to"

RESIDUALS = [
    Row(
        theirs,
        ours,
        (PREDICTIONS, TARGETS),
        lambda f, x, y, o=options: f(x, y, reduction="none", **o),
        lambda f, x, y, o=options: f(x, y, **o),
    )
    for theirs, ours, options in [
        ("mse_loss", "squared_error", {}),
        ("l1_loss", "absolute_error", {}),
        ("smooth_l1_loss", "smooth_l1_loss", {"beta": 0.7}),
        ("huber_loss", "huber_loss", {"delta": 1.3}),
    ]
]

LIKELIHOODS = [
    Row(
        "gaussian_nll_loss",
        "gaussian_nll",
        (PREDICTIONS, TARGETS, LOG_VARIANCE),
        lambda f, m, y, s: f(m, y, s.exp(), full=True, reduction="none"),
        lambda f, m, y, s: f(m, y, log_variance=s),
        differs="takes the logarithm of the variance, and clamps nothing",
    ),
    Row(
        "poisson_nll_loss",
        "poisson_nll",
        (PREDICTIONS,),
        lambda f, x, y: f(x, y, reduction="none"),
        lambda f, x, y: f(x, y) - jax.scipy.special.gammaln(y + 1),
        fixed=(COUNTS,),
        differs="torch leaves the log-factorial out; full=True: test_differences.py",
    ),
    Row(
        "kl_div",
        "kl_divergence",
        (LOG_PROBS, PROBS),
        lambda f, x, t: f(x, t, reduction="none").sum(-1),
        differs="torch leaves the sum over the classes to the reduction",
    ),
    Row(
        "kl_div",
        "kl_divergence",
        (LOG_PROBS,),
        lambda f, x, t: f(x, t, reduction="batchmean"),
        lambda f, x, t: f(x, t, reduction="mean"),
        fixed=(np.eye(4, 3),),
        case="batchmean, zeros",
    ),
    Row(
        "kl_div",
        "kl_divergence_with_log_targets",
        (LOG_PROBS, LOG_PROBS[::-1]),
        lambda f, x, t: f(x, t, log_target=True, reduction="none").sum(-1),
        differs="torch leaves the sum over the classes to the reduction",
    ),
]

EMBEDDINGS = [
    Row(
        "hinge_embedding_loss",
        "hinge_embedding_loss",
        (uniform(30, 4, low=0.0, high=2.0),),
        lambda f, d, y: f(d, y, margin=1.2, reduction="none"),
        lambda f, d, y: f(d, y, margin=1.2),
        fixed=(SIGNS,),
    ),
    Row(
        "margin_ranking_loss",
        "margin_ranking_loss",
        (normal(31, 4), normal(32, 4)),
        lambda f, a, b, y: f(a, b, y, margin=0.3, reduction="none"),
        lambda f, a, b, y: f(a, b, labels=y, margin=0.3),
        fixed=(SIGNS,),
    ),
    Row(
        "cosine_embedding_loss",
        "cosine_embedding_loss",
        (ANCHORS[:4], POSITIVES[:4]),
        lambda f, a, b, y: f(a, b, y, margin=-0.2, reduction="none"),
        lambda f, a, b, y: f(a, b, labels=y, margin=-0.2),
        fixed=(SIGNS,),
        tolerance=1e-11,
        why="torch adds 1e-12 to each squared norm",
    ),
    Row(
        "triplet_margin_loss",
        "triplet_loss",
        (ANCHORS, POSITIVES, NEGATIVES),
        lambda f, *x: f(*x, margin=0.8, eps=0.0, reduction="none"),
        lambda f, *x: f(*x, margin=0.8),
        differs=WITHOUT_EPSILON,
    ),
    Row(
        "triplet_margin_loss",
        "triplet_loss",
        (ANCHORS, POSITIVES, NEGATIVES),
        lambda f, *x: f(*x, swap=True, eps=0.0, reduction="none"),
        lambda f, *x: f(*x, swap=True),
        case="swap",
        differs=WITHOUT_EPSILON,
    ),
    Row(
        "triplet_margin_loss",
        "triplet_margin_loss",
        (ANCHORS, POSITIVES, NEGATIVES),
        lambda f, *x: f(*x, p=3, eps=0.0, reduction="none"),
        lambda f, *x: f(*x, norm_degree=3, eps=0.0),
        case="degree 3",
        differs=WITHOUT_EPSILON,
    ),
    Row(
        "triplet_margin_with_distance_loss",
        "triplet_loss",
        (ANCHORS, POSITIVES, NEGATIVES),
        lambda f, *x: f(
            *x,
            distance_function=lambda a, b: (a - b).abs().sum(-1),
            swap=True,
            reduction="none",
        ),
        lambda f, *x: f(
            *x, distance=lambda a, b: jnp.sum(jnp.abs(a - b), -1), swap=True
        ),
    ),
    Row(
        "cosine_similarity",
        "cosine_similarity",
        (ANCHORS, POSITIVES),
        lambda f, a, b: f(a, b, dim=-1),
    ),
]

# Corners: lowest and highest; of the pairs, two overlap, one is inside, one is apart.
BOXES = np.asarray(
    [[0, 0, 2, 3], [1, 1, 4, 2.5], [0.5, 0.2, 1, 3], [0, 0, 1, 1]], float
)
OTHERS = np.asarray([[1, 1, 3, 4], [0, 0, 2, 2], [0, 0, 3, 4], [2, 3, 4, 4]], float)
OVERLAPS = [
    Row(
        f"torchvision.ops.{name}_box_iou_loss",
        "iou_loss",
        (BOXES, OTHERS),
        lambda f, a, b: f(a, b, eps=0.0),
        lambda f, a, b, variant=variant: f(a, b, variant=variant),
        package="torchvision",
        differs="torchvision adds eps=1e-7 to areas, and is told not to",
        **settings,
    )
    for name, variant, settings in [
        ("generalized", "giou", {}),
        ("distance", "diou", {}),
        (
            "complete",
            "ciou",
            {"tolerance": 1e-8, "why": "and adds it to those of its first two terms"},
        ),
    ]
]

ROWS = [*RESIDUALS, *LIKELIHOODS, *EMBEDDINGS, *OVERLAPS]
