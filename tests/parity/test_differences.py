"""Where others are off and we are not: their number, by its cause, and the true one.

Should a package come to give the true number, its line here, and what the migration
table says of it, can go.
"""

import math
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

import jaxloss
from tests.parity import peers
from tests.parity.row import Row
from tests.parity.rows import rax_losses


class Difference(NamedTuple):
    """
    Args:
      cause: of theirs.
      theirs: what the package gives.
      true: what the formula gives, and jaxloss.
    """

    package: str
    row: Row
    cause: str
    theirs: Any
    true: Any
    dtype: Any = np.float64


def far_bin(middle: float, half: float) -> float:
    """Minus the logarithm of a logistic law's mass around a point, by its density."""
    return math.log((math.cosh(middle) + math.cosh(half)) / math.sinh(half))


DIFFERENCES = [
    Difference(
        "torch",
        Row(
            "binary_cross_entropy",
            "binary_cross_entropy",
            ([1e-60, 0.0],),
            lambda f, p, y: f(p, y, reduction="none"),
            fixed=([1.0, 1.0],),
        ),
        "the logarithm is clamped at -100",
        [100.0, 100.0],
        [60 * math.log(10), math.inf],
    ),
    Difference(
        "torch",
        Row(
            "poisson_nll_loss",
            "poisson_nll",
            ([0.0, 0.0],),
            lambda f, x, y: f(x, y, full=True, reduction="none"),
            fixed=([1.0, 2.0],),
        ),
        "log 2! is Stirling's approximation of it",
        [1.0, 1 + 2 * math.log(2) - 2 + math.log(4 * math.pi) / 2],
        [1.0, 1 + math.log(2)],
    ),
    Difference(
        "torch",
        Row(
            "gaussian_nll_loss",
            "gaussian_nll",
            ([0.0], [0.0], [math.log(1e-8)]),
            lambda f, m, y, s: f(m, y, s.exp(), full=True, reduction="none"),
            lambda f, m, y, s: f(m, y, log_variance=s),
        ),
        "the variance is clamped at 1e-6",
        [(math.log(2 * math.pi) + math.log(1e-6)) / 2],
        [(math.log(2 * math.pi) + math.log(1e-8)) / 2],
    ),
    Difference(
        "torch",
        Row(
            "triplet_margin_loss",
            "triplet_loss",
            ([[1.0, 2.0]], [[1.0, 2.0]], [[1.0, 2.5]]),
            lambda f, *x: f(*x, reduction="none"),
        ),
        "eps is added to each difference",
        [1 + 1e-6 * math.sqrt(2) - math.hypot(1e-6, -0.5 + 1e-6)],
        [0.5],
    ),
    Difference(
        "keras",
        Row(
            "BinaryCrossentropy",
            "binary_cross_entropy",
            ([[1e-12]],),
            lambda f, p, y: f()(y, p),
            lambda f, p, y: f(p, y).mean(-1),
            fixed=([[1.0]],),
        ),
        "probabilities are clipped at 1e-7",
        [7 * math.log(10)],
        [12 * math.log(10)],
        np.float32,
    ),
    Difference(
        "keras",
        Row(
            "CategoricalHinge",
            "multiclass_hinge_loss",
            ([[-0.5, -3.0, -4.0]],),
            lambda f, x, y: f()(jax.nn.one_hot(y, 3), x),
            fixed=([0],),
        ),
        "the 0 that stands for the label is a rival",
        [1.5],
        [0.0],
    ),
    Difference(
        "keras",
        Row(
            "LogCosh",
            "log_cosh",
            ([[1e-4]],),
            lambda f, x, y: f()(y, x),
            lambda f, x, y: f(x, y).mean(-1),
            fixed=([[0.0]],),
        ),
        "x + softplus(-2 x) - log 2 cancels",
        [0.0],
        [5e-9],
        np.float32,
    ),
    Difference(
        "rax",
        Row(
            "pointwise_sigmoid_loss",
            "sigmoid_binary_cross_entropy",
            ([20.0],),
            lambda f, x, y: f(x, y, reduce_fn=None),
            fixed=([1.0],),
        ),
        "log(1 + exp(-20)) is that of 1",
        [0.0],
        [math.log1p(math.exp(-20))],
        np.float32,
    ),
    Difference(
        "sklearn",
        Row(
            "log_loss",
            "binary_cross_entropy",
            ([1e-30, 0.5],),
            lambda f, p, y: f(y, p),
            lambda f, p, y: f(p, y, reduction="mean"),
            fixed=([1, 0],),
        ),
        "probabilities are clipped at the rounding of their dtype",
        (math.log(2) - math.log(2.0**-52)) / 2,
        (math.log(2) + 30 * math.log(10)) / 2,
    ),
    Difference(
        "scipy",
        Row(
            "stats.logistic.cdf",
            "discretized_logistic_nll",
            ([-48.0],),
            lambda f, m, y: f(y + 0.5, m) - f(y - 0.5, m),
            lambda f, m, y: f(m, y, log_scale=0.0, bins=21, low=-10.0, high=10.0),
            fixed=([2.0],),
        ),
        "both are 1 far above the centre, and their difference has no logarithm",
        [0.0],
        [far_bin(50.0, 0.5)],
    ),
]


@pytest.mark.parametrize(
    "difference",
    DIFFERENCES,
    ids=[f"{x.package}-{x.row.theirs}" for x in DIFFERENCES],
)
def test_theirs_is_off_and_ours_is_true(difference):
    package, row, cause, expected, true, dtype = difference
    theirs = np.asarray(peers.theirs(package, row, dtype).value, np.float64)
    # Of theirs, how far off it is counts, not its last places; ours has 8 roundings.
    np.testing.assert_allclose(theirs, expected, rtol=1e-3, atol=1e-9, err_msg=cause)
    rounding = np.finfo(dtype).eps
    np.testing.assert_allclose(peers.ours(row, dtype).value, true, rtol=8 * rounding)
    # By more than what they could be off for another reason.
    assert np.max(np.abs(theirs - true)) > 1e-9, cause


def test_of_lambdaloss_at_the_top_rax_weighs_the_pairs_beyond():
    """By 1 / (1 - D(r)) of the lower rank, where ours leave pairs out and others be."""
    weigh = peers.imported("rax")["dcg2_lambdaweight"]
    scores, labels = rax_losses.SCORES, rax_losses.GAINS
    ours = {
        top: 6
        * jaxloss.dcg_lambda_weights(scores, labels, formula="lambdaloss", topn=top)
        for top in (None, 3)
    }
    ranks = 1.0 + (scores[:, None, :] > scores[..., None]).sum(-1)
    lower = np.maximum(ranks[..., None], ranks[:, None, :])
    higher = np.minimum(ranks[..., None], ranks[:, None, :])
    factor = np.where(lower > 3, 1 / (1 - 1 / np.log2(1 + np.maximum(lower, 4))), 1)
    theirs = np.reshape(weigh(scores, labels, topn=3), (4, 6, 6))
    np.testing.assert_allclose(theirs, ours[None] * factor, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(ours[3], ours[None] * (higher <= 3), rtol=1e-13)
