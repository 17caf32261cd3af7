"""The distillation of one linear head from another, compiled for TPU and Hopper.

8,192 tokens, 4,096 hidden units of either, and 128,256 classes in bfloat16. Nothing is
run.
"""

import functools
import math

import jax
import jax.numpy as jnp
import pytest

from benchmarks import distillation
from tests.verify.targets import GPUS, MIB, TPUS, Program, compiled

TOKENS, HIDDEN, CLASSES = 8192, 4096, 128256
FUSED, FULL = dict(distillation.losses_of_heads()).values()


@functools.cache
def program(target, loss):
    states = jax.ShapeDtypeStruct((TOKENS, HIDDEN), jnp.bfloat16)
    kernel = jax.ShapeDtypeStruct((HIDDEN, CLASSES), jnp.bfloat16)
    both = jax.value_and_grad(loss, (0, 1))
    return Program(target, compiled(target, both, states, kernel, states, kernel))


@pytest.mark.parametrize("target", [*TPUS, *GPUS])
def test_the_logits_of_neither_head_are_held(target, table):
    done = program(target, FUSED)
    table.append((target, "two heads, fused", done.temporaries / MIB, "limit 4,008"))
    # Less than one array of the logits in float32, with the kernel's gradient, half of
    # that, and a chunk's logits of both.
    assert done.temporaries < 4 * TOKENS * CLASSES
    assert all(math.prod(shape) < TOKENS * CLASSES for _, shape in done.arrays)
    # The student's three, and the teacher's logits.
    assert done.matmuls == 4


@pytest.mark.parametrize("target", ["v5e", "h100"])
def test_full_logits_would_be_seen(target, table):
    done = program(target, FULL)
    table.append((target, "two heads, full logits", done.temporaries / MIB, ""))
    assert any(math.prod(shape) == TOKENS * CLASSES for _, shape in done.arrays)
    assert done.temporaries > 2 * 4 * TOKENS * CLASSES
