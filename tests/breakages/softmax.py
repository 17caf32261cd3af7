"""Breakages of the softmax cross entropies."""

from tests.breakages import LAWS, Breakage

INTEGER = f"{LAWS} tests/test_softmax.py -k integer"
SOFT = (
    f"{LAWS} tests/test_softmax.py -k softmax_cross_entropy or smoothing or denominator"
)

BREAKAGES = [
    Breakage(
        "the base multiplies",
        "_core/numerics.py",
        "loss / math.log(base)",
        "loss * math.log(base)",
        f"{LAWS} -k softmax_cross_entropy_with",
    ),
    Breakage(
        "ignored labels are trained on",
        "_core/labels.py",
        "x = x.drop(y != ignore_index)",
        "x = x.drop(y == y)",
        INTEGER,
    ),
    Breakage(
        "an offset goes through the temperature",
        "_core/cross_entropy.py",
        "return (z - peak) / options.temperature, peak / options.temperature",
        "return z / options.temperature, jnp.zeros_like(peak)",
        "tests/test_softmax.py -k temperature_cancels",
    ),
    Breakage(
        "smoothing spreads over removed classes",
        "_core/cross_entropy.py",
        "return kept.astype(z.dtype) / jnp.maximum(count, 1)",
        "return jnp.full_like(z, 1 / z.shape[axis]) + 0 * count",
        SOFT,
    ),
    Breakage(
        "class weights stay out of the denominator",
        "_losses/softmax.py",
        "normalizer=None if share is None else jnp.squeeze(share, x.axis)",
        "normalizer=None",
        SOFT,
    ),
    Breakage(
        "PolyLoss forgets its term",
        "_core/rows.py",
        "+ factor * (t * missed)",
        "+ 0 * factor * (t * missed)",
        f"{LAWS} -k poly",
    ),
    Breakage(
        "a NaN comes first in a fused minimum",
        "_core/rows.py",
        "return jnp.minimum(distance, jnp.exp(x - peak))",
        "return jnp.minimum(jnp.exp(x - peak), distance)",
        "tests/test_loudness.py -k integer_labels",
    ),
]
