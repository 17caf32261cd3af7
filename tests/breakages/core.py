"""Breakages of what all losses share: reduction, masks, weights, dtypes, checks."""

from tests.breakages import LAWS, Breakage

INTEGER = f"{LAWS} tests/test_softmax.py -k integer"
SOFT = f"{LAWS} tests/test_softmax.py -k softmax_cross_entropy"

BREAKAGES = [
    Breakage(
        "the mean divides by the number of examples, not by their weights",
        "_core/reduce.py",
        "normalizer = normalizer * weights",
        "normalizer = normalizer * jnp.ones_like(weights)",
        f"{LAWS} -k huber",
    ),
    Breakage(
        "a masked example counts in the mean",
        "_core/reduce.py",
        "normalizer = jnp.where(where, normalizer, 0)",
        "normalizer = normalizer + jnp.where(where, 0, 0).astype(loss.dtype)",
        f"{LAWS} -k huber",
    ),
    Breakage(
        "a mask selects the loss, but not the input before it",
        "_core/inputs.py",
        "name: jnp.where(keep, value, fill.get(name, 0))",
        "name: jnp.asarray(value)",
        f"{LAWS} -k huber",
    ),
    Breakage(
        "a masked row keeps its logits",
        "_core/inputs.py",
        "predictions=jnp.where(kept, self.predictions, 0)",
        "predictions=jnp.asarray(self.predictions)",
        INTEGER,
    ),
    Breakage(
        "removed classes stay in the rows",
        "_core/inputs.py",
        "jnp.where(entries, array, fill)",
        "jnp.where(entries, array, array)",
        SOFT,
    ),
    Breakage(
        "an empty mean is 0 / 0",
        "_core/reduce.py",
        "return total / jnp.where(count == 0, 1, count)",
        "return total / count",
        f"{LAWS} -k huber",
    ),
    Breakage(
        "0 times an infinite loss is NaN",
        "_core/numerics.py",
        "return weight * jnp.where(vanishes, 0, value)",
        "return weight * value + 0 * vanishes.astype(value.dtype)",
        "tests/test_binary.py tests/test_softmax.py tests/test_focal.py "
        "tests/test_ranking.py tests/test_regression.py",
    ),
    Breakage(
        "half precision is computed in half precision",
        "_core/validate.py",
        "dtype = jnp.float64 if wide else jnp.float32",
        "dtype = jnp.float64 if wide else arrays[0].dtype",
        f"{LAWS} -k huber",
    ),
    Breakage(
        "float64 is computed in float32",
        "_core/validate.py",
        "dtype = jnp.float64 if wide else jnp.float32",
        "dtype = jnp.float32 if wide else jnp.float32",
        f"{LAWS} -k huber",
    ),
    Breakage(
        "shapes are not compared",
        "_core/validate.py",
        "if array.shape != reference.shape:",
        "if array.ndim != array.ndim:",
        f"{LAWS} -k huber",
    ),
    Breakage(
        "any reduction is accepted",
        "_core/validate.py",
        "if not any(value is choice or value == choice for choice in choices):",
        "if not choices:",
        f"{LAWS} -k huber",
    ),
    Breakage(
        "what is no sign has a loss where there is a slope",
        "_core/hinge.py",
        "loss = jnp.where(valid, height",
        "loss = jnp.where(valid | True, height",
        "tests/test_margin.py -k no_signs",
    ),
    Breakage(
        "the zero vector has a derivative",
        "_core/norms.py",
        "inverse = part * jnp.sign(length.size) / divisor(length.size)",
        "inverse = part / divisor(length.size)",
        "tests/test_contrastive.py -k zeros",
    ),
    Breakage(
        "a ratio is not cut to half its digits",
        "_core/angle.py",
        "product = constant * (2.0 ** (half + 1) + 1)",
        "product = 0 * constant",
        f"{LAWS} -k cosine_distance",
    ),
    Breakage(
        "of the squared errors the misses count as false",
        "_core/overlap.py",
        "missed = error * jnp.minimum(error, 0)",
        "missed = error * jnp.maximum(error, 0)",
        f"{LAWS} -k dice_loss and squared",
    ),
    Breakage(
        "a comparison hides the NaN of an argument",
        "_losses/policy.py",
        "error = (value - target) * jnp.where(jnp.isnan(old + bound), jnp.nan, 1)",
        "error = value - target",
        f"{LAWS} -k nan_is_loud and value_clip",
    ),
    Breakage(
        "a ratio hides the NaN of its bounds",
        "_core/surrogate.py",
        "broken = jnp.isnan(low) | jnp.isnan(high)",
        "broken = jnp.isnan(low) & jnp.isnan(high)",
        f"{LAWS} -k numbers_may_be_traced and importance_weights",
    ),
    Breakage(
        "the exponentials of a weighted divergence cancel",
        "_core/surrogate.py",
        '"k3": -r}[estimator]',
        '"k3": estimate(r, "k3") - expm1(r)}[estimator]',
        "tests/test_policy.py -k far_from_its_reference",
    ),
    Breakage(
        "what has no share of a target has a part in its score",
        "_losses/categorical_hinge.py",
        "own = jnp.sum(weighted(s, t)",
        "own = jnp.sum(s * t",
        "tests/test_margin.py -k absent",
    ),
    Breakage(
        "a class without examples is the rarest",
        "_losses/imbalance.py",
        "rarest = jnp.min(jnp.where(exists, n, jnp.inf)",
        "rarest = jnp.min(n",
        "tests/test_classification.py -k margins_of_rare",
    ),
    Breakage(
        "norms that are masked are counted",
        "_losses/gradient_density.py",
        "counted = valid if keep is None else valid & keep",
        "counted = valid",
        f"{LAWS} tests/test_classification.py -k many_have_in_common",
    ),
]
