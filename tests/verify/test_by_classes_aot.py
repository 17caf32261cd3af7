"""The fused head with the classes in chunks, compiled: the least memory."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

import jaxloss
from tests.verify.targets import MIB, TPUS, Program, compiled, platform

TOKENS, HIDDEN, CLASSES = 8192, 4096, 128256
# 128 MiB of float32 logits, cut where TPUs cut their arrays; the last chunk is smaller.
CHUNK = 4096


def loss(class_axis):
    def of(hidden, kernel, labels):
        return jaxloss.linear_softmax_cross_entropy(
            hidden, kernel, labels, class_axis=class_axis, class_chunk_size=CHUNK
        )

    return of


@pytest.mark.parametrize("target", [*TPUS, "h100", "h200"])
@pytest.mark.parametrize("class_axis", [-1, 0])
def test_nothing_of_the_kernels_size_is_held(target, class_axis, table):
    kernel = (HIDDEN, CLASSES) if class_axis else (CLASSES, HIDDEN)
    shapes = (
        jax.ShapeDtypeStruct((TOKENS, HIDDEN), jnp.bfloat16),
        jax.ShapeDtypeStruct(kernel, jnp.bfloat16),
        jax.ShapeDtypeStruct((TOKENS,), jnp.int32),
    )
    of = loss(class_axis)
    done = Program(target, compiled(target, jax.value_and_grad(of, (0, 1)), *shapes))
    (plan,) = jaxloss.explain(of, *shapes)
    promise = dataclasses.replace(plan, platform=platform(target)).temporaries
    label = f"8,192 tokens, {CHUNK:,} classes at a time, axis {class_axis}"
    table.append(
        (target, label, done.temporaries / MIB, f"promised {promise / MIB:.0f}")
    )
    assert done.temporaries <= promise
    # 256 MiB, and the gradient of the states in float32.
    assert done.temporaries <= (256 + 128) * MIB
    # 4 in the loops; those of the last chunk beside them, its logits once or twice.
    assert done.matmuls in (7, 8)
    assert ("f32", kernel) not in done.arrays
    assert done.moved((HIDDEN, CLASSES), (CLASSES, HIDDEN)) == []
