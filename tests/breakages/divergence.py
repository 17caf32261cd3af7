"""Breakages of the divergences."""

from tests.breakages import LAWS, Breakage

BREAKAGES = [
    Breakage(
        "the gradient of KL with the wrong sign",
        "_core/relative_entropy.py",
        "slope = jnp.where(jnp.isnan(log_p) | ~(t >= 0), jnp.nan, -t)",
        "slope = jnp.where(jnp.isnan(log_p) | ~(t >= 0), jnp.nan, t)",
        f"{LAWS} -k kl_divergence",
    ),
    Breakage(
        "the logarithm of a ratio of softmaxes has its centre off",
        "_core/softmax_pair.py",
        "small = jnp.abs(gain) < 0.5",
        "small = jnp.abs(gain) < 0",
        "tests/test_accuracy.py -k softmax_kl_divergence",
    ),
    Breakage(
        "an offset of the logits is rounded",
        "_core/softmax_pair.py",
        "((lost - c_lost) - w_lost)",
        "0 * ((lost - c_lost) - w_lost)",
        "tests/test_accuracy.py -k softmax_kl_divergence",
    ),
    Breakage(
        "the slope of what holds most of the mass cancels",
        "_core/logit_divergence.py",
        "return jnp.where(p > 0.5, -others, slope)",
        "return slope",
        "tests/test_accuracy.py -k js_divergence",
    ),
    Breakage(
        "the complement of the largest share is fixed",
        "_core/softmax_pair.py",
        "return complements_of(logits, row, axis), changes",
        "return complements_of(logits, row, axis), (0 * changes[0], 0 * changes[1])",
        "tests/test_accuracy.py -k hessian and reverse_kl_divergence",
    ),
]
