"""Does anything notice? Breaks the library on purpose, one change at a time.

`python -m tests.breakages` copies the package, makes one change in the copy (a formula,
a mask, a dtype rule, a derivative, a check), runs the tests named for it, and expects a
failure. A change that no test notices is printed as SURVIVED, and the exit status is 1.
`--only WORD` runs the changes whose description or file contains the word.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).parent.parent


@dataclass(frozen=True)
class Breakage:
    """One change of one file, and where it must be noticed."""

    what: str
    file: str
    old: str
    new: str
    tests: str
    """Arguments of pytest."""


LAWS = "tests/test_laws.py tests/test_accuracy.py"
INTEGER = f"{LAWS} tests/test_softmax.py -k integer"
SOFT = f"{LAWS} tests/test_softmax.py -k softmax_cross_entropy"

HEAD = "tests/test_linear.py"
DEVICES = "tests/devices/test_sharding.py"

BREAKAGES: list[Breakage] = [
    # The fused head.
    Breakage(
        "a token that fills the last chunk is counted",
        "_linear/engine.py",
        "jax.tree.map(lambda x: split(x, jnp.zeros_like), weights)",
        "jax.tree.map(lambda x: split(x, jnp.ones_like), weights)",
        f"{HEAD} -k chunks_change",
    ),
    Breakage(
        "the kernel's gradient is that of the last chunk",
        "_linear/engine.py",
        "sums = [total + share for total, share in",
        "sums = [0 * total + share for total, share in",
        f"{HEAD} -k chunks_change",
    ),
    Breakage(
        "the derivative of a float16 head is not scaled up",
        "_linear/engine.py",
        "if dtype != jnp.float16:",
        "if dtype is not None:",
        f"{HEAD} -k float16",
    ),
    Breakage(
        "the kernel's gradient is summed in the dtype of the kernel",
        "_linear/engine.py",
        "varying(jnp.zeros(x.shape, accumulator(x.dtype)), mesh_axes(x))",
        "varying(jnp.zeros(x.shape, x.dtype), mesh_axes(x))",
        f"{HEAD} -k error_does_not_grow",
    ),
    Breakage(
        "the gradient of a mapped head is one for each sum",
        "_linear/engine.py",
        "if any(mask((d.kernel, d.bias, d.shared))) and is_mapped(primals):",
        "if False:",
        f"{HEAD} -k shared_kernel",
    ),
    Breakage(
        "JAX takes the scan apart, and hoists arrays of a chunk's size",
        "_linear/engine.py",
        "gradients_of = whole(functools.partial(_gradients, engine, wanted))",
        "gradients_of = functools.partial(_gradients, engine, wanted)",
        "tests/test_linear_memory.py tests/test_linear.py -k memory",
    ),
    Breakage(
        "a masked token's hidden state is not replaced",
        "_linear/head.py",
        "hidden = jnp.where(keep[:, None], self.hidden, 0)",
        "hidden = jnp.asarray(self.hidden)",
        f"{HEAD} -k masked",
    ),
    Breakage(
        "more tokens than promised are dropped in silence",
        "_linear/head.py",
        "poison = jnp.where(count > bound, jnp.nan, 1.0)",
        "poison = jnp.where(count > bound, 1.0, 1.0)",
        f"{HEAD} -k promise",
    ),
    Breakage(
        "the transpose of a half-precision product loses its rounding rule",
        "_linear/product.py",
        "ct.astype(known.dtype) if known.dtype.itemsize < 4 else ct,",
        "ct.astype(known.dtype) * 2 if known.dtype.itemsize < 4 else ct,",
        f"{HEAD} -k is_the_loss",
    ),
    Breakage(
        "the derivative kept for the backward pass forgets the bias",
        "_linear/engine.py",
        "dz += dbias[None, :]",
        "dz += 0 * dbias[None, :]",
        f"{HEAD} -k every_transformation",
    ),
    Breakage(
        "the entropy's derivative forgets the entropy",
        "_core/entropy.py",
        "rows.nll(x, axis) - entropy",
        "rows.nll(x, axis) - 0 * entropy",
        f"{HEAD} -k entropies",
    ),
    Breakage(
        "the divergence of near distributions cancels",
        "_core/logit_divergence.py",
        "jnp.where(far, direct, close)",
        "jnp.where(far, direct, direct)",
        "tests/test_accuracy.py -k linear_distillation",
    ),
    Breakage(
        "labels count the classes of their own device",
        "_core/axes.py",
        "return label - first.astype(label.dtype)",
        "return label - 0 * first.astype(label.dtype)",
        DEVICES,
    ),
    Breakage(
        "each device adds up only its own classes' share of a derivative",
        "_linear/engine.py",
        "dtotal += jax.lax.psum(here, engine.axis_name)",
        "dtotal += jax.lax.pmean(here, engine.axis_name)",
        DEVICES,
    ),
    # Reduction, masks, weights.
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
        "predictions = jnp.where(keep, predictions, 0)",
        "predictions = jnp.asarray(predictions)",
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
    # Dtypes.
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
    # Checks.
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
    # The softmax family.
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
        INTEGER,
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
        "normalizer=None if share is None else",
        "normalizer=None if True else",
        SOFT,
    ),
    Breakage(
        "1 - p by subtraction in the second derivative of the sigmoid",
        "_core/numerics.py",
        "return sigmoid(x), sigmoid(x) * sigmoid(-x) * dx",
        "return sigmoid(x), sigmoid(x) * (1 - sigmoid(x)) * dx",
        f"{LAWS} tests/test_binary.py tests/test_focal.py -k sigmoid or focal",
    ),
    Breakage(
        "1 - tanh² by subtraction",
        "_core/numerics.py",
        "return tanh(x), sech_squared(x) * dx",
        "return tanh(x), (1 - tanh(x) ** 2) * dx",
        f"{LAWS} -k log_cosh",
    ),
    Breakage(
        "PolyLoss forgets its term",
        "_core/rows.py",
        "+ factor * (t * missed)",
        "+ 0 * factor * (t * missed)",
        f"{LAWS} -k poly",
    ),
    # Other formulas and derivatives.
    Breakage(
        "Huber's derivative is not clipped",
        "_core/residual.py",
        "dloss += clipped(e, delta) * de",
        "dloss += e * de",
        f"{LAWS} -k huber",
    ),
    Breakage(
        "half a coefficient of log cosh",
        "_core/residual.py",
        "_TANGENT = (1, 2, 16,",
        "_TANGENT = (1, 2, 8,",
        f"{LAWS} -k log_cosh",
    ),
    Breakage(
        "an example is its own positive",
        "_losses/self_supervised.py",
        "positive = same & ~jnp.eye(y.size, dtype=bool)",
        "positive = same & jnp.ones((y.size, y.size), dtype=bool)",
        f"{LAWS} -k ntxent",
    ),
    Breakage(
        "the gradient of KL with the wrong sign",
        "_core/relative_entropy.py",
        "slope = jnp.where(jnp.isnan(log_p) | ~(t >= 0), jnp.nan, -t)",
        "slope = jnp.where(jnp.isnan(log_p) | ~(t >= 0), jnp.nan, t)",
        f"{LAWS} -k kl_divergence",
    ),
    Breakage(
        "a label may follow itself without a blank",
        "_core/alignments.py",
        "return self.last == self.next",
        "return self.last != self.last",
        f"{LAWS} -k ctc_loss",
    ),
]


def noticed(breakage: Breakage) -> tuple[bool, str]:
    """Whether the tests fail on the changed copy, and by which test."""
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder)
        shutil.copytree(ROOT / "jaxloss", copy / "jaxloss")
        shutil.copytree(ROOT / "tests", copy / "tests")
        shutil.copy(ROOT / "pyproject.toml", copy)
        path = copy / "jaxloss" / breakage.file
        text = path.read_text()
        if text.count(breakage.old) != 1:
            raise SystemExit(
                f"{breakage.what}: the text to change stands "
                f"{text.count(breakage.old)} times in {breakage.file}"
            )
        path.write_text(text.replace(breakage.old, breakage.new))
        command, _, words = breakage.tests.partition(" -k ")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"),
                *command.split(),
                *(["-k", words] if words else []),
            ],
            cwd=copy,
            env={
                **os.environ,
                "PYTHONPATH": str(copy),
                "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
            },
            capture_output=True,
            text=True,
            check=False,
        )
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    if done.returncode not in (0, 1) and "error" in done.stdout.lower():
        failed = failed or ["collection failed"]
    return done.returncode != 0, failed[0].split(" - ")[0] if failed else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="")
    word = parser.parse_args().only
    chosen = [b for b in BREAKAGES if word in b.what or word in b.file]
    survived = 0
    for breakage in chosen:
        seen, by = noticed(breakage)
        survived += not seen
        verdict = "noticed " if seen else "SURVIVED"
        by = by.removeprefix("FAILED ")
        print(f"{verdict} {breakage.file}: {breakage.what}  {by}", flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} changes noticed")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
