"""The kernels, compiled for TPU and Hopper: that they are there, and what they hold.

A machine with neither is enough: nothing is run.
"""

import functools
import math
import re

import jax
import jax.numpy as jnp
import pytest
from jax import export

import jaxloss
from jaxloss._kernels import chips
from jaxloss._kernels.softmax_xent import mosaic_gpu
from tests.verify.targets import GPUS, MIB, Program, compiled, device

# With all TPUs for which there is a table of sizes.
TPUS = ("v5e", "v5p", "v6e", "tpu7x")
VOCABULARIES = (32_000, 50_257, 128_256, 151_936, 262_144)
ROWS = 600  # not a multiple of the rows of a block
KERNEL = {"tpu": '"tpu_custom_call"', "gpu": "mosaic_gpu"}

OPTIONS = {
    "none": {},
    "all": {
        "label_smoothing": 0.1,
        "z_loss": 1e-4,
        "logit_softcap": 30.0,
        "temperature": 0.7,
        "class_weights": True,
    },
}

loss_of = jaxloss.softmax_cross_entropy_with_integer_labels


def kind(target):
    return "tpu" if target in TPUS else "gpu"


def losses(target, reduction="mean", **options):
    """The loss by the kernel, of logits, labels and one number a class."""
    name = f"mosaic_{kind(target)}"

    def loss(logits, labels, of_class):
        given = {k: of_class if v is True else v for k, v in options.items()}
        given["implementation"] = name
        result = loss_of(logits, labels, reduction=reduction, **given)
        return jnp.vdot(result, result) if result.ndim else result

    return loss


def shapes(classes, dtype, rows=ROWS):
    return (
        jax.ShapeDtypeStruct((rows, classes), dtype),
        jax.ShapeDtypeStruct((rows,), jnp.int32),
        jax.ShapeDtypeStruct((classes,), jnp.float32),
    )


def program(target, function, classes, dtype, donated=True):
    options = {"donate_argnums": 0} if donated else {}
    arguments = shapes(classes, dtype)
    return Program(target, compiled(target, function, *arguments, **options))


@pytest.mark.parametrize("target", [*TPUS, "h100"])
@pytest.mark.parametrize("classes", VOCABULARIES)
def test_every_vocabulary_compiles(target, classes, table):
    """Value and gradient with every option, in both dtypes."""
    for dtype in (jnp.bfloat16, jnp.float32):
        for name in ("none", "all") if classes in (50_257, 262_144) else ("none",):
            function = jax.value_and_grad(losses(target, **OPTIONS[name]))
            done = program(target, function, classes, dtype)
            assert KERNEL[kind(target)] in done.text
            size = ROWS * classes * jnp.dtype(dtype).itemsize
            if kind(target) == "tpu" or mosaic_gpu.IN_PLACE:
                # Beside the logits, which the gradient is written over: a few columns
                # of numbers, and a register's width of each.
                assert done.temporaries <= 5 * MIB, done.temporaries
            else:
                # Not over them before JAX 0.12, nor into what was donated.
                assert done.temporaries <= size + 5 * MIB, done.temporaries
    text = f"logits {size / MIB:.0f}"
    label = f"the kernel, {ROWS} x {classes:,}, {name}"
    table.append((target, label, done.temporaries / MIB, text))


@pytest.mark.parametrize("target", TPUS)
def test_the_memory_asked_for_is_that_of_the_chip(target):
    assert device(target).device_kind in chips.TPUS


@pytest.mark.parametrize("target", [*TPUS, *GPUS])
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_no_logits_in_float32_and_no_copy(target, reduction):
    classes = 128_256
    function = jax.value_and_grad(losses(target, reduction))
    done = program(target, function, classes, jnp.bfloat16)
    whole = (ROWS, classes)
    assert ("bf16", whole) in done.arrays
    results = re.findall(r"= (\S+) (\S+)\(", done.text.split("ENTRY")[-1])
    made = [(shape, kind) for shape, kind in results if f"[{ROWS},{classes}]" in shape]
    assert not any(shape.startswith("f32") for shape, _ in made), made
    if kind(target) == "tpu" or mosaic_gpu.IN_PLACE:
        assert not any(name.startswith("copy") for _, name in made), made


@pytest.mark.parametrize("target", [*TPUS, "h100"])
def test_logits_that_are_needed_yet_are_kept(target):
    """Not donated, they are copied: never overwritten under their owner's feet."""
    function = jax.value_and_grad(losses(target))
    done = program(target, function, 32_000, jnp.bfloat16, donated=False)
    assert "may-alias" not in done.text.splitlines()[0]
    assert "must-alias" not in done.text.splitlines()[0]


@pytest.mark.parametrize("target", TPUS)
def test_bytes_moved(target, table):
    """What `config.BY_DEFAULT` says, of the logits' own size."""
    classes, rows = 128_256, 1024
    size = rows * classes * 2
    expected = {"value": (2.0, 1.0), "value and gradient": (4.0, 2.0)}

    def of_xla(x, y, _):
        return loss_of(x, y, reduction="mean")

    for name, times in expected.items():
        for function, of_logits in zip((of_xla, losses(target)), times, strict=True):
            donated = {}
            if name != "value":
                function, donated = jax.value_and_grad(function), {"donate_argnums": 0}
            arguments = shapes(classes, jnp.bfloat16, rows)
            done = compiled(target, function, *arguments, **donated)
            moved = done.cost_analysis()["bytes accessed"] / size
            table.append((target, f"{name}, logits moved", moved, f"{of_logits}"))
            assert math.isclose(moved, of_logits, rel_tol=0.05), (name, moved)


@pytest.mark.parametrize("target", ["tpu", "cuda"])
@pytest.mark.parametrize("classes", [2, 1000, 50_257])
def test_export(target, classes):
    name = {"tpu": "v5e", "cuda": "h100"}[target]
    function = jax.jit(jax.value_and_grad(losses(name, **OPTIONS["all"])))
    exported = export.export(function, platforms=[target])(
        *shapes(classes, jnp.bfloat16)
    )
    assert exported.platforms == (target,)
    call = {"tpu": "tpu_custom_call", "cuda": "mosaic_gpu"}[target]
    assert call in exported.mlir_module()


@pytest.mark.parametrize("target", ["v5e", "h100"])
def test_x64_changes_nothing(target):
    with jax.enable_x64(True):
        function = jax.value_and_grad(losses(target, **OPTIONS["all"]))
        done = program(target, function, 50_257, jnp.bfloat16)
    assert KERNEL[kind(target)] in done.text


# ------------------------------------------------------------------ the fused head

TOKENS, HIDDEN, CLASSES, CHUNK = 4096, 2048, 128_256, 1024


def head(target, stored):
    def loss(hidden, kernel, labels):
        return jaxloss.linear_softmax_cross_entropy(
            hidden,
            kernel,
            labels,
            chunk_size=CHUNK,
            logits_dtype=stored,
            implementation=f"mosaic_{kind(target)}",
        )

    return jax.value_and_grad(loss, (0, 1))


@functools.cache
def head_program(target, stored):
    arguments = (
        jax.ShapeDtypeStruct((TOKENS, HIDDEN), jnp.bfloat16),
        jax.ShapeDtypeStruct((HIDDEN, CLASSES), jnp.bfloat16),
        jax.ShapeDtypeStruct((TOKENS,), jnp.int32),
    )
    return Program(target, compiled(target, head(target, stored), *arguments))


@pytest.mark.parametrize("target", ["v5e", "v6e", "h100", "h200"])
@pytest.mark.parametrize("stored", [None, jnp.bfloat16], ids=["float32", "bfloat16"])
def test_the_row_step_of_the_fused_head(target, stored, table):
    done = head_program(target, stored)
    assert KERNEL[kind(target)] in done.text
    assert done.matmuls == 3
    for dtype, shape in done.arrays - {("f32", (HIDDEN, CLASSES))}:
        assert math.prod(shape) < TOKENS * CLASSES, (dtype, shape)
        if stored is not None and dtype == "f32":
            assert math.prod(shape) < CHUNK * CLASSES, (dtype, shape)
    label = f"the head, {TOKENS:,} in {CHUNK:,}, {stored and 'bfloat16'}"
    table.append((target, label, done.temporaries / MIB, ""))
    # The kernel's float32 gradient, a chunk's logits and their derivative.
    chunk = CHUNK * CLASSES
    held = 4 * HIDDEN * CLASSES + chunk * (2 if stored is not None else 4 + 2)
    in_place = kind(target) == "tpu" or mosaic_gpu.IN_PLACE
    if stored is not None and not in_place:
        held += 2 * chunk
    assert done.temporaries <= held + 4 * HIDDEN * TOKENS + 32 * MIB
    if stored is not None and in_place:
        assert done.moved((CHUNK, CLASSES)) == []


@pytest.mark.parametrize("target", GPUS)
def test_the_kernels_gradient_is_summed_by_the_matmul(target):
    text = head_program(target, jnp.bfloat16).text
    calls = [line for line in text.splitlines() if '"__cublas$lt$matmul"' in line]
    assert len([line for line in calls if '"beta":1' in line]) == 1
