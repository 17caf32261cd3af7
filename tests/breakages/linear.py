"""Breakages of the fused head."""

from tests.breakages import Breakage

HEAD = "tests/test_linear.py"
DEVICES = "tests/devices/test_sharding.py"

BREAKAGES = [
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
        "_linear/product.py",
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
        "terms = bregman(p, d, q), _others",
        "terms = -_unless_zero(p, d), _others",
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
    Breakage(
        "a token that is not kept has a prediction",
        "_linear/head.py",
        "classes = classes if keep is None else jnp.where(keep, classes, -1)",
        "",
        "tests/test_linear_predictions.py -k masks",
    ),
    Breakage(
        "the first class is predicted, whatever the logits are",
        "_core/axes.py",
        "first = jnp.where(x == peak(x, axis), each, here)",
        "first = jnp.where(x == peak(x, axis), 0, here)",
        "tests/test_linear_predictions.py -k largest",
    ),
    Breakage(
        "predictions count the classes of their own device",
        "_core/axes.py",
        "first = jnp.where(first < here, first + before, everywhere)",
        "first = jnp.where(first < here, first, everywhere)",
        f"{DEVICES} -k predictions",
    ),
]
