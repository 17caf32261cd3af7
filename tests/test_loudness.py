"""NaN at the sizes of real batches, where sums are compiled otherwise than in small.

XLA on CPU hands sums of long rows and of many losses to a library, whose maximum and
minimum may drop a NaN: a row of 300 logits with a NaN among them had a finite loss. The
laws run on few and short rows, which are not handed over.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
from tests.case import Case
from tests.cases import CASES
from tests.selection import is_first

LABELLED = {
    name: getattr(jaxloss, name)
    for name in (
        "softmax_cross_entropy_with_integer_labels",
        "softmax_focal_loss",
        "multiclass_hinge_loss",
        "multiclass_perceptron_loss",
        "multiclass_sparsemax_loss",
        "entmax_loss",
        "bi_tempered_logistic_loss",
        "generalized_cross_entropy",
        "symmetric_cross_entropy",
        "confidence_penalty_cross_entropy",
    )
}
LABELLED["with options"] = functools.partial(
    jaxloss.softmax_cross_entropy_with_integer_labels,
    label_smoothing=0.1,
    z_loss=0.1,
    temperature=2.0,
    logit_softcap=30.0,
)
DISTRIBUTED = {
    name: getattr(jaxloss, name)
    for name in (
        "softmax_cross_entropy",
        "safe_softmax_cross_entropy",
        "poly_loss_cross_entropy",
        "softmax_kl_divergence",
        "softmax_brier_score",
        "js_divergence",
        "kl_divergence",
        "kl_divergence_with_log_targets",
        "generalized_kl_divergence",
        "cosine_distance",
        "cosine_similarity",
        "listnet_loss",
        "categorical_hinge_loss",
    )
}
DISTRIBUTED["ranking_softmax_loss"] = functools.partial(
    jaxloss.ranking_softmax_loss, reduction="none"
)
DISTRIBUTED["fenchel_young"] = jaxloss.make_fenchel_young_loss(jax.nn.logsumexp)
FLAGSHIPS = ("softmax_cross_entropy_with_integer_labels", "softmax_cross_entropy")
SHAPES = {"many": (64, 1000), "all": (20, 300)}


def rows(names):
    """Flagships in the usual run, at both sizes; the others in the thorough one."""
    return [
        pytest.param(
            name,
            spoiled,
            marks=[] if name in FLAGSHIPS else [pytest.mark.thorough],
        )
        for name in names
        for spoiled in SHAPES
    ]


def spoilt(spoiled: str) -> tuple[np.ndarray, jax.Array]:
    """Rows of logits, the second half of them with a NaN among them or of nothing else;
    and which."""
    shape = SHAPES[spoiled]
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    half = shape[0] // 2
    x[half:, 3 if spoiled == "many" else slice(None)] = np.nan
    return np.arange(shape[0]) >= half, jnp.asarray(x)


def is_loud(loss, spoiled: str, second: jax.Array):
    bad, x = spoilt(spoiled)

    @jax.jit
    def run(x):
        gradient = jax.grad(lambda x: jnp.sum(loss(x, second)))(x)
        return loss(x, second), gradient

    # Another program than that with a gradient, and than that with the losses.
    np.testing.assert_array_equal(np.isnan(jax.jit(loss)(x, second)), bad)
    assert np.isnan(jax.jit(lambda x: jnp.mean(loss(x, second)))(x))
    value, gradient = run(x)
    np.testing.assert_array_equal(np.isnan(value), bad)
    np.testing.assert_array_equal(np.isnan(gradient).any(axis=1), bad)


@pytest.mark.parametrize(("name", "spoiled"), rows(LABELLED))
def test_nan_in_a_real_row_is_loud(name: str, spoiled: str):
    is_loud(LABELLED[name], spoiled, jnp.zeros(SHAPES[spoiled][0], jnp.int32))


@pytest.mark.parametrize(("name", "spoiled"), rows(DISTRIBUTED))
def test_nan_beside_a_distribution_is_loud(name: str, spoiled: str):
    rng = np.random.default_rng(1)
    logits = jnp.asarray(rng.normal(size=SHAPES[spoiled]), jnp.float32)
    second = jax.nn.log_softmax(logits)
    if name not in ("kl_divergence_with_log_targets", "softmax_kl_divergence"):
        second = jnp.exp(second)
    is_loud(DISTRIBUTED[name], spoiled, second)


MANY = 2**17
"""Numbers of the model's output."""

EXAMPLES_APART = [case for case in CASES if is_first(case) and not case.vmapped]


@pytest.mark.thorough
@pytest.mark.parametrize("case", EXAMPLES_APART, ids=lambda case: case.id)
def test_nan_among_many_losses_is_loud(case: Case):
    """In one example of very many, in the mean over all."""
    arrays = case.inputs(np.random.default_rng(0), case.ordinary)
    copies = max(MANY // arrays[case.argument].size, 1)
    many = [
        np.tile(
            a.astype(np.float32) if a.dtype.kind == "f" else a,
            (copies, *[1] * (a.ndim - 1)),
        )
        for a in arrays
    ]
    mean = jax.jit(lambda *a: jnp.mean(case.loss(*a, **case.options)))
    many[case.argument] = many[case.argument].copy()
    many[case.argument][(0,) * many[case.argument].ndim] = np.nan
    assert np.isnan(mean(*many))
