"""How many tokens a chunk of the fused head has, from its shapes alone."""

import itertools

import jax
import jax.numpy as jnp
import optax
import pytest

import jaxloss
from jaxloss._linear.plan import MIB, chunk_of

PLATFORMS = ("cpu", "gpu", "tpu")
SHAPES = list(
    itertools.product(
        (1, 7, 100, 4096, 8191, 65536), (64, 4096), (10, 32_000, 128_256, 262_144)
    )
)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_chunks_are_about_equal_and_cover_the_tokens(platform):
    for tokens, hidden, classes in SHAPES:
        chunk = chunk_of(tokens, hidden, classes, "bfloat16", platform)
        count = -(-tokens // chunk)
        assert 1 <= chunk <= tokens
        # Fewer tokens than one for each chunk and row of a tile are filled in.
        assert count * chunk - tokens < 8 * count
        assert count == 1 or chunk % 8 == 0


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_chunk_is_small_beside_all_logits(platform):
    for tokens, hidden, classes in SHAPES:
        chunk = chunk_of(tokens, hidden, classes, "bfloat16", platform)
        few = {"cpu": 64, "gpu": 4096, "tpu": 4096}[platform]
        assert chunk <= few or 4 * chunk * classes <= 192 * MIB, (tokens, classes)


def test_the_chunks_that_the_figures_are_of():
    # Eleven chunks.
    assert chunk_of(4096, 256, 128_256, "float32", "cpu") == 376
    # Where its logits take no memory of their own, and where there is one chunk.
    assert chunk_of(8192, 4096, 128_256, "bfloat16", "gpu") == 2048
    assert chunk_of(4096, 4096, 128_256, "bfloat16", "tpu") == 4096
    # Stored in as many bytes as the kernel's gradient, twice as many rows are free.
    assert chunk_of(8192, 4096, 128_256, "bfloat16", "gpu", "bfloat16") == 4096


def test_no_tokens_and_no_classes():
    assert chunk_of(0, 16, 10, "float32", "cpu") == 1
    assert chunk_of(5, 16, 0, "float32", "gpu") == 5


def test_the_chunks_chosen_take_a_tenth_of_the_memory_of_full_logits():
    arrays = (
        jax.ShapeDtypeStruct((4096, 256), jnp.float32),
        jax.ShapeDtypeStruct((256, 128_256), jnp.float32),
        jax.ShapeDtypeStruct((4096,), jnp.int32),
    )

    def full(hidden, kernel, labels):
        logits = hidden @ kernel
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        return jnp.mean(losses)

    ours, theirs = (
        jax.jit(jax.value_and_grad(loss, (0, 1)))
        .lower(*arrays)
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for loss in (jaxloss.linear_softmax_cross_entropy, full)
    )
    assert ours <= theirs / 10
