"""The fused heads hold what `explain` says, and no array of all tokens' logits.

The memory of a compiled program is known exactly: nothing is run here.
"""

import math
import re

import jax
import jax.numpy as jnp
import pytest

import jaxloss

MIB = 2**20
DTYPES = ("float32", "bfloat16", "float16")

# (tokens, hidden, classes, chunk): where a chunk's logits are larger than the kernel,
# where the kernel is larger, where the last chunk is filled up, and a single chunk.
SHAPES = {
    "logits": (1024, 96, 6000, 256),
    "kernel": (1024, 512, 3000, 128),
    "ragged": (1000, 64, 4001, 128),
    "single": (256, 64, 6000, 256),
}
OPTIONS = {
    "off": {},
    "bias": {"bias": True},
    "label_smoothing": {"label_smoothing": 0.1},
    "z_loss": {"z_loss": 1e-4},
    "class_weights": {"class_weights": True},
    "logit_softcap": {"logit_softcap": 30.0},
    "temperature": {"temperature": 0.7},
    "ignore_index": {"ignore_index": 0},
    "tied": {"class_axis": 0},
}
OPTIONS["all"] = {k: v for o in OPTIONS.values() for k, v in o.items()}


def arguments(shape, dtype, options):
    """The shapes of hidden states, kernel and labels, and of the optional arrays."""
    tokens, hidden, classes, _ = shape
    kernel = (hidden, classes) if options.get("class_axis") != 0 else (classes, hidden)
    arrays = {
        "hidden": jax.ShapeDtypeStruct((tokens, hidden), dtype),
        "kernel": jax.ShapeDtypeStruct(kernel, dtype),
        "labels": jax.ShapeDtypeStruct((tokens,), jnp.int32),
    }
    for name in ("bias", "class_weights"):
        if options.get(name):
            arrays[name] = jax.ShapeDtypeStruct((classes,), dtype)
    return arrays


def program(shape, dtype, options):
    """Value and gradients with respect to everything floating, not run."""
    static = {k: v for k, v in options.items() if v is not True}
    arrays = arguments(shape, dtype, options)
    fixed = {k: v for k, v in arrays.items() if k in ("labels", "class_weights")}
    trained = {k: v for k, v in arrays.items() if k not in fixed}

    def loss(trained, fixed):
        losses = jaxloss.linear_softmax_cross_entropy(
            **trained, **fixed, chunk_size=shape[-1], **static
        )
        return jnp.vdot(losses, losses) if losses.ndim else losses

    return loss, (trained, fixed)


def compiled(shape, dtype, options):
    loss, shapes = program(shape, dtype, options)
    return jax.jit(jax.value_and_grad(loss)).lower(*shapes).compile()


def temporaries(shape, dtype, options):
    return compiled(shape, dtype, options).memory_analysis().temp_size_in_bytes


def promised(shape, dtype, options):
    loss, shapes = program(shape, dtype, options)
    (plan,) = jaxloss.explain(loss, *shapes)
    assert plan.platform == "cpu"
    return plan.temporaries


ROWS = [
    *[("logits", "float32", name, {}) for name in OPTIONS],
    *[
        (shape, dtype, name, {})
        for shape in SHAPES
        for dtype in DTYPES
        for name in ("off", "all")
        if (shape, dtype) != ("logits", "float32")
        and (shape == "kernel" or dtype != "float16")
    ],
    *[
        (shape, dtype, name, {"reduction": "none", "backward": backward})
        for shape, dtype in (("logits", "float32"), ("kernel", "bfloat16"))
        for name in ("off", "all")
        for backward in ("recompute", "save")
    ],
]


@pytest.mark.parametrize(
    ("shape", "dtype", "name", "how"),
    [
        pytest.param(
            *row,
            id="-".join([*row[:3], *row[3].values()]),
            marks=[] if row[2] == "all" or row[3] else [pytest.mark.exhaustive],
        )
        for row in ROWS
    ],
)
def test_the_temporaries_are_what_explain_promises(shape, dtype, name, how):
    options = OPTIONS[name] | how
    held = temporaries(SHAPES[shape], dtype, options)
    promise = promised(SHAPES[shape], dtype, options)
    assert held <= promise, f"{held / MIB:.1f} MiB, promised {promise / MIB:.1f}"
    # A bound that is far off tells nothing.
    assert promise <= 3 * held, f"{held / MIB:.1f} MiB, promised {promise / MIB:.1f}"


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_temporaries_grow_with_the_hidden_states_only(dtype):
    _, hidden, classes, chunk = SHAPES["logits"]
    few, many = (
        temporaries((tokens, hidden, classes, chunk), dtype, {})
        for tokens in (1024, 8192)
    )
    # The gradient of the states before it is scaled, and in bfloat16 the states in
    # float32, which is what XLA on CPU multiplies.
    assert many - few <= 8 * (8192 - 1024) * hidden


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_no_array_of_all_logits_is_held(reduction):
    tokens, _, classes, _ = shape = SHAPES["logits"]
    text = compiled(shape, "float32", {"reduction": reduction}).as_text()
    sizes = re.findall(r"\w+\[([\d,]+)\]", text)
    entries = [math.prod(map(int, size.split(","))) for size in sizes]
    assert max(entries) < tokens * classes


@pytest.mark.thorough
@pytest.mark.parametrize("divergence", ["kl", "reverse_kl", "jensen_shannon"])
def test_distillation_holds_what_explain_promises(divergence):
    tokens, hidden, classes, chunk = SHAPES["logits"]
    states = jax.ShapeDtypeStruct((tokens, hidden), jnp.float32)
    kernel = jax.ShapeDtypeStruct((hidden, classes), jnp.float32)

    def loss(states, kernel, teacher_states, teacher_kernel):
        return jaxloss.linear_distillation_loss(
            states,
            kernel,
            teacher_states,
            teacher_kernel,
            divergence=divergence,
            chunk_size=chunk,
        )

    shapes = states, kernel, states, kernel
    lowered = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(*shapes)
    held = lowered.compile().memory_analysis().temp_size_in_bytes
    (plan,) = jaxloss.explain(loss, *shapes)
    assert held <= plan.temporaries <= 3 * held


def test_log_probabilities_hold_what_explain_promises():
    tokens, hidden, classes, chunk = SHAPES["logits"]
    states = jax.ShapeDtypeStruct((tokens, hidden), jnp.float32)
    kernel = jax.ShapeDtypeStruct((hidden, classes), jnp.float32)
    labels = jax.ShapeDtypeStruct((tokens,), jnp.int32)

    def total(states, kernel, labels):
        of_token, entropy = jaxloss.linear_log_probs(
            states, kernel, labels, return_entropy=True, chunk_size=chunk
        )
        return jnp.sum(of_token) + jnp.sum(entropy)

    shapes = states, kernel, labels
    lowered = jax.jit(jax.value_and_grad(total, (0, 1))).lower(*shapes)
    held = lowered.compile().memory_analysis().temp_size_in_bytes
    (plan,) = jaxloss.explain(total, *shapes)
    assert held <= plan.temporaries <= 3 * held
