"""Losses of large arrays, compiled for Hopper: what goes through memory.

8,192 rows of 128,256 classes in bfloat16. Nothing of their size is stored on the way:
each pass starts from the inputs, and the last one writes the gradient.
"""

import functools
import re

import jax
import jax.numpy as jnp
import pytest

import jaxloss
from benchmarks.distillation import full as textbook
from tests.verify.targets import GPUS, MIB, Program, compiled

ROWS, CLASSES = 8192, 128256
SHAPE = f"[{ROWS},{CLASSES}]"

LOSSES = {
    "js_divergence": jaxloss.js_divergence,
    "softmax_kl_divergence": jaxloss.softmax_kl_divergence,
    "reverse_kl_divergence": jaxloss.reverse_kl_divergence,
    "distillation_loss": functools.partial(
        jaxloss.distillation_loss, divergence="jensen_shannon"
    ),
    "with labels": functools.partial(
        jaxloss.distillation_loss, labels=jnp.zeros(ROWS, jnp.int32)
    ),
    "l2_loss": jaxloss.l2_loss,
    "with a temperature": functools.partial(jaxloss.js_divergence, temperature=2.0),
}
# Of arrays of the logits' size read and written: both for the maxima, both for what is
# summed relative to them, and so on.
VALUE = dict.fromkeys(LOSSES, 6) | {"l2_loss": 2}
BOTH = dict.fromkeys(LOSSES, 9) | {"softmax_kl_divergence": 7, "l2_loss": 3}
# What gathers one logit a row has the logits among its operands too.
VALUE["with labels"] += 1
BOTH["with labels"] += 1
# The maxima from which a temperature counts come before.
VALUE["with a temperature"] += 2
BOTH["with a temperature"] += 2


@functools.cache
def program(target, name, gradient):
    loss = textbook
    if name != "textbook":
        loss = functools.partial(LOSSES[name], reduction="mean")
    logits = jax.ShapeDtypeStruct((ROWS, CLASSES), jnp.bfloat16)
    function = jax.value_and_grad(loss) if gradient else loss
    return Program(target, compiled(target, function, logits, logits))


def traffic(text):
    """Dtypes of the arrays of the logits' size that its operations read and write."""
    *fused, entry = text.split("\nENTRY ")
    del fused
    types = dict(re.findall(r"%([\w.\-]+) = (.*?) [\w\-]+\(", entry))
    types |= dict(re.findall(r"([\w.]+): (\w+\[[\d,]+\])", entry.split("\n")[0]))
    moved = []
    for line in entry.splitlines():
        found = re.search(r" = (.*?) (fusion|copy|custom-call|reduce)\((.*?)\)", line)
        if found:
            result, _, operands = found.groups()
            read = [
                types.get(name, "") for name in re.findall(r"%([\w.\-]+)", operands)
            ]
            for dtype, shape in re.findall(
                r"(\w+)(\[[\d,]+\])", " ".join([result, *read])
            ):
                moved += [dtype] if shape == SHAPE else []
    return moved


@pytest.mark.parametrize("target", GPUS)
@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_nothing_of_the_size_of_the_logits_is_stored(target, name, gradient, table):
    done = program(target, name, gradient)
    what = f"{name}, value{' and gradient' if gradient else ''}"
    table.append((target, what, done.temporaries / MIB, "limit 100"))
    assert done.temporaries <= 100 * MIB
    moved = traffic(done.text)
    assert set(moved) == {"bf16"}
    assert len(moved) <= (BOTH if gradient else VALUE)[name]


@pytest.mark.parametrize("target", GPUS)
def test_what_is_stored_would_be_seen(target, table):
    done = program(target, "textbook", gradient=True)
    table.append((target, "textbook", done.temporaries / MIB, ""))
    assert done.temporaries > 4 * ROWS * CLASSES
    assert "f32" in traffic(done.text)
