"""The kernels of the fused head, compiled for TPUs that are not there.

They hold no logits, so that a program has no array of the size of them, and none of the
size of the kernel but its gradient. Nothing is run.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import pytest
from jax import export

import jaxloss
from jaxloss._kernels import chips
from jaxloss._kernels.linear_softmax_xent import config
from tests.verify.targets import MIB, Program, compiled, device

TPUS = ("v5e", "v5p", "v6e", "tpu7x")
VOCABULARIES = (32_000, 50_257, 128_256, 151_936, 262_144)
# Not a multiple of the rows of a tile, and more than hidden units.
TOKENS, HIDDEN = 1100, 512
NAME = "jaxloss_linear_softmax_xent_"

ALL = {
    "bias": True,
    "label_smoothing": 0.1,
    "z_loss": 1e-4,
    "logit_softcap": 30.0,
    "temperature": 0.7,
    "class_weights": True,
}


@pytest.fixture
def on(monkeypatch):
    """Tiles for that chip; its memory has no room for chunks of tokens."""

    def chosen(target):
        kind = device(target).device_kind
        monkeypatch.setattr(chips, "vmem", lambda: chips.TPUS[kind].vmem)
        monkeypatch.setattr(config, "budget", lambda: 0)
        return target

    return chosen


def loss_of(class_axis=-1, **options):
    """Of hidden states, kernel, labels, and one number a class."""

    def loss(hidden, kernel, labels, of_class):
        given = {k: of_class if v is True else v for k, v in options.items()}
        return jaxloss.linear_softmax_cross_entropy(
            hidden,
            kernel,
            labels,
            class_axis=class_axis,
            implementation="mosaic_tpu",
            **given,
        )

    return loss


def shapes(tokens, hidden, classes, dtype=jnp.bfloat16, class_axis=-1):
    kernel = (hidden, classes) if class_axis else (classes, hidden)
    return (
        jax.ShapeDtypeStruct((tokens, hidden), dtype),
        jax.ShapeDtypeStruct(kernel, dtype),
        jax.ShapeDtypeStruct((tokens,), jnp.int32),
        jax.ShapeDtypeStruct((classes,), jnp.float32),
    )


def is_right(target, loss, arguments, table, label, wanted=(0, 1)):
    """Value and gradients: the kernels, and next to no memory."""
    function = jax.value_and_grad(loss, wanted)
    done = Program(target, compiled(target, function, *arguments))
    (plan,) = jaxloss.explain(loss, *arguments)
    promise = dataclasses.replace(plan, platform="tpu").temporaries
    row = target, label, done.temporaries / MIB, f"promised {promise / MIB:.0f}"
    table.append(row)
    assert plan.in_tiles is not None
    for part in config.PARTS:
        assert NAME + part in done.text
    assert done.matmuls == 0
    assert done.temporaries <= promise
    tokens, classes = arguments[2].shape[0], arguments[3].shape[0]
    assert all(math.prod(shape) < tokens * classes for _, shape in done.arrays)
    kernel = arguments[1].shape
    assert done.moved(kernel, kernel[::-1]) == []
    if arguments[1].dtype == jnp.bfloat16:
        assert ("f32", kernel) not in done.arrays
        assert ("f32", kernel[::-1]) not in done.arrays


@pytest.mark.parametrize("target", TPUS)
@pytest.mark.parametrize("classes", VOCABULARIES)
def test_every_vocabulary_compiles(on, target, classes, table):
    arguments = shapes(TOKENS, HIDDEN, classes)
    label = f"the head's kernels, {TOKENS:,} x {HIDDEN} x {classes:,}"
    is_right(on(target), loss_of(), arguments, table, label)


@pytest.mark.parametrize("target", TPUS)
@pytest.mark.parametrize("class_axis", [-1, 0])
def test_every_option(on, target, class_axis, table):
    arguments = shapes(TOKENS, HIDDEN, 50_257, class_axis=class_axis)
    loss = loss_of(class_axis, **ALL)
    is_right(on(target), loss, arguments, table, f"all options, axis {class_axis}")


@pytest.mark.parametrize("target", TPUS)
def test_float32(on, target, table):
    arguments = shapes(600, 256, 32_000, jnp.float32)
    is_right(on(target), loss_of(), arguments, table, "float32")


@pytest.mark.parametrize("target", TPUS)
def test_the_head_of_a_large_model(on, target, table):
    arguments = shapes(8192, 4096, 128_256)
    label = "the head's kernels, 8,192 x 4,096 x 128,256"
    is_right(on(target), loss_of(), arguments, table, label)


@pytest.mark.parametrize("target", ["v5e", "tpu7x"])
@pytest.mark.parametrize(
    "sizes", [(1, 8, 2), (5, 100, 7), (17, 130, 129), (40, 8192, 1000)], ids=str
)
def test_odd_sizes(on, target, sizes):
    loss, arguments = loss_of(**ALL), shapes(*sizes)
    compiled(on(target), jax.value_and_grad(loss, (0, 1)), *arguments)


@pytest.mark.parametrize("target", ["v5p", "v6e"])
def test_many_hidden_units(on, target, table):
    """Smaller tiles, whose last ones are cut, of factors that are turned."""
    arguments = shapes(600, 8192, 50_257)
    function = jax.value_and_grad(loss_of(), (0, 1))
    done = Program(on(target), compiled(target, function, *arguments))
    label = "the head's kernels, 600 x 8,192 x 50,257"
    table.append((target, label, done.temporaries / MIB, ""))
    assert done.temporaries <= 32 * MIB


@pytest.mark.parametrize("target", TPUS)
def test_the_value_alone(on, target, table):
    """Next to nothing, wherever the gradients would be taken."""
    arguments = shapes(TOKENS, HIDDEN, 128_256)
    done = Program(on(target), compiled(target, loss_of(), *arguments))
    table.append((target, "the head's kernel, value", done.temporaries / MIB, ""))
    assert NAME + "losses" in done.text and NAME + "hidden" not in done.text
    assert done.temporaries <= 32 * MIB


@pytest.mark.parametrize("target", ["v5e", "v6e"])
def test_where_there_is_room_the_derivative_is_kept(target):
    """Three matmuls of XLA's, and the kernel of rows between them."""
    arguments = shapes(TOKENS, HIDDEN, 32_000)
    function = jax.value_and_grad(loss_of(), (0, 1))
    # Planned on this machine, for the smallest chip.
    (plan,) = jaxloss.explain(loss_of(), *arguments)
    assert plan.tiles is not None and plan.in_tiles is None
    done = Program(target, compiled(target, function, *arguments))
    assert "tpu_custom_call" in done.text and NAME not in done.text
    assert done.matmuls == 3


@pytest.mark.parametrize("target", ["v5e", "v6e"])
def test_classes_at_a_time(target, table):
    arguments = shapes(TOKENS, HIDDEN, 50_257)
    loss = functools.partial(loss_of, class_chunk_size=256)
    is_right(target, loss(), arguments, table, "256 classes at a time")


@pytest.mark.parametrize("classes", [2, 1000, 50_257])
def test_export(classes):
    loss = loss_of(class_chunk_size=256, **ALL)
    function = jax.jit(jax.value_and_grad(loss, (0, 1)))
    exported = export.export(function, platforms=["tpu"])(*shapes(20, 64, classes))
    assert exported.platforms == ("tpu",)
    for part in config.PARTS:
        assert NAME + part in exported.mlir_module()


@pytest.mark.parametrize("target", ["v5e", "tpu7x"])
def test_x64_changes_nothing(on, target, table):
    with jax.enable_x64(True):
        arguments = shapes(TOKENS, HIDDEN, 50_257)
        is_right(on(target), loss_of(**ALL), arguments, table, "x64")
