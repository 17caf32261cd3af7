"""rax: lists of items, with items missing, with lists in lists, with weighed pairs."""

import functools

import jax.numpy as jnp
import numpy as np

import jaxloss
from tests.parity.row import Row, distributions, normal

SCORES = normal(60, 4, 6, scale=2.0)
RELEVANCE = np.random.default_rng(61).integers(0, 4, size=(4, 6)).astype(float)
# In an order of their own, as random ties are rax's to break.
ORDER = np.argsort(normal(62, 4, 6)).astype(float)
KEPT = np.asarray(
    [[1, 1, 1, 1, 0, 0], [1, 0, 1, 1, 1, 1], [0, 1, 0, 0, 1, 1], [1] * 6], bool
)
SEGMENTS = np.asarray(
    [[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 2, 2], [0] * 6, [3, 3, 3, 3, 1, 1]]
)
CLASSES = distributions(63, 4, 6)
# As rax's `reduce_fn`: over the pairs of a list, and the lists in it, on one axis.
SUMS = functools.partial(jnp.sum, axis=-1)
PER_PAIR = "rax means over all pairs; here each list has the sum over its pairs"
USUAL = {"": {}}
MASKED = USUAL | {"where": {"where": jnp.asarray(KEPT)}}
NESTED = MASKED | {"segments": {"segments": jnp.asarray(SEGMENTS)}}
# How many lists there are in each list of `SEGMENTS`.
NUMBERS = np.asarray([2.0, 3.0, 1.0, 2.0])


def lists(
    theirs,
    ours,
    labels,
    cases,
    their_options=None,
    call=None,
    their_call=None,
    **settings,
):
    """A row for each case, whose options both sides take."""

    def as_usual(f, s, y, **options):
        return f(s, y, **options)

    for case, options in cases.items():
        reduced = {"reduce_fn": SUMS if "segments" in options else None}
        asked = reduced | options | (their_options or {})
        yield Row(
            theirs,
            ours,
            (SCORES,),
            lambda f, s, y, o=asked: (their_call or as_usual)(f, s, y, **o),
            lambda f, s, y, o=options: (call or as_usual)(f, s, y, **o),
            fixed=(labels,),
            case=case,
            **settings,
        )


PAIRS = [
    row
    for kind in ("hinge", "logistic", "mse", "soft_zero_one")
    for row in lists(
        f"pairwise_{kind}_loss",
        f"pairwise_{kind}_loss",
        RELEVANCE,
        NESTED,
        {"reduce_fn": SUMS},
        differs=PER_PAIR,
    )
]

POINTS = [
    row
    for theirs, ours in (
        ("pointwise_mse_loss", "squared_error"),
        ("pointwise_sigmoid_loss", "sigmoid_binary_cross_entropy"),
    )
    for row in lists(theirs, ours, CLASSES, MASKED)
]


def approximate(names, s, y, **options):
    metric, ranks = names
    return -metric(s, y, rank_fn=ranks, **options)


def approx_ndcg(f, s, y, **options):
    count = NUMBERS if "segments" in options else np.ones(4)
    return f(s, y, **options) - count.astype(s.dtype)


LISTS = [
    *lists(
        "softmax_loss",
        "ranking_softmax_loss",
        RELEVANCE,
        MASKED,
        call=lambda f, s, y, **options: f(s, y, reduce_fn=None, **options),
    ),
    *lists(
        "poly1_softmax_loss",
        "poly_loss_cross_entropy",
        CLASSES,
        USUAL,
        {"epsilon": 1.5},
        lambda f, s, y: f(s, y, epsilon=1.5),
        differs="rax brings labels to sum 1 in its second term: these do",
    ),
    *lists("listmle_loss", "listmle_loss", ORDER, NESTED),
    *lists(
        "unique_softmax_loss",
        "unique_softmax_loss",
        RELEVANCE,
        NESTED,
    ),
    *lists(
        "approx_t12n(ndcg_metric)",
        "approx_ndcg_loss",
        RELEVANCE,
        NESTED,
        call=approx_ndcg,
        their_call=approximate,
        expression="ndcg_metric, utils.approx_ranks",
        differs="rax's is the negative NDCG, without 1 plus; what it makes approx_t12n "
        "of (0.4.0 asks for jax.util, which has gone) is called with its smooth ranks",
    ),
]

GAINS = normal(64, 4, 6) ** 2
SCALED = "rax multiplies by the number of items"
LAMBDAS = [
    Row(
        "labeldiff_lambdaweight",
        "label_difference_lambda_weights",
        (GAINS,),
        lambda f, y: f(jnp.zeros_like(y), y).reshape(4, 6, 6),
    ),
    *(
        Row(
            theirs,
            "dcg_lambda_weights",
            (SCORES, GAINS),
            lambda f, s, y, o=options: f(s, y, **o).reshape(4, 6, 6),
            lambda f, s, y, o=options, m=formula: 6 * f(s, y, formula=m, **o),
            case=case,
            by_gradient=False,
            differs=f"{SCALED}; ours are constants to differentiation, rax's by scores",
        )
        for theirs, formula in (
            ("dcg_lambdaweight", "lambdarank"),
            ("dcg2_lambdaweight", "lambdaloss"),
        )
        for case, options in (NESTED | {"normalized": {"normalize": True}}).items()
    ),
    Row(
        "dcg_lambdaweight",
        "dcg_lambda_weights",
        (SCORES, GAINS),
        lambda f, s, y: f(s, y, topn=3, normalize=True).reshape(4, 6, 6),
        lambda f, s, y: 6 * f(s, y, topn=3, normalize=True),
        case="top",
        by_gradient=False,
        differs=SCALED,
    ),
    Row(
        "pairwise_logistic_loss",
        "pairwise_logistic_loss",
        (SCORES,),
        lambda f, s, y: f[0](s, y, lambdaweight_fn=f[1], reduce_fn=SUMS),
        lambda f, s, y: 6 * f(s, y, lambda_weights=jaxloss.dcg_lambda_weights(s, y)),
        fixed=(RELEVANCE,),
        case="LambdaRank",
        expression="pairwise_logistic_loss, dcg_lambdaweight",
        differs=f"{PER_PAIR}; {SCALED}",
    ),
]

ROWS = [*PAIRS, *POINTS, *LISTS, *LAMBDAS]
