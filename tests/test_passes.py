"""Rows in blocks: the same numbers, and no array of the size of the inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
from jaxloss._core import passes


def weighted_spread(axis, x, y, scale):
    """Of each row, a number that depends on all of its entries and on its scale."""
    return scale * jnp.sum(jnp.sin(x) * y, axis=axis, keepdims=True)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((24, 8), -1), ((24, 8), 1), ((4, 6, 8), 2), ((4, 6, 8), 1), ((23, 8), -1)],
    ids=str,
)
@pytest.mark.parametrize("per_row", [True, False])
def test_blocks_change_nothing(monkeypatch, shape, axis, per_row):
    """Also along another axis, and with a number of rows that nothing divides."""
    monkeypatch.setattr(passes, "_BLOCK", 20)
    monkeypatch.setattr(passes, "_SMALLEST_BLOCK", 8)
    rng = np.random.default_rng(0)
    x, y = (jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in range(2))
    narrow = list(shape)
    narrow[axis] = 1
    scale = jnp.asarray(rng.normal(size=narrow if per_row else ()), jnp.float32)

    def run(x, y, scale):
        return passes.in_blocks(weighted_spread, axis, (x, y), (scale,))

    expected = weighted_spread(axis, x, y, jnp.broadcast_to(scale, narrow))
    actual = jax.jit(run)(x, y, scale)
    # A sum in another order.
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    mapped = jax.jit(jax.vmap(run, (0, None, None)))(jnp.stack([x, 2 * x]), y, scale)
    np.testing.assert_allclose(mapped[0], expected, rtol=1e-5, atol=1e-6)


def test_blocks_of_long_and_of_short_rows():
    assert passes._rows_in_block(1024, 50257) == 8
    assert passes._rows_in_block(256, 128256) == 4
    assert passes._rows_in_block(4, 10**7) == 4
    assert passes._rows_in_block(4096, 100) == 4096
    # A number that nothing divides is done at once, unless a row is long.
    assert passes._rows_in_block(1021, 10000) == 1021
    assert passes._rows_in_block(1021, 128256) == 1


@pytest.mark.parametrize(
    "loss", [jaxloss.kl_divergence, jaxloss.kl_divergence_with_log_targets]
)
def test_divergences_store_no_array_of_the_inputs_size(loss):
    like = jax.ShapeDtypeStruct((512, 32768), jnp.float32)
    compiled = jax.jit(lambda p, t: jnp.mean(loss(p, t))).lower(like, like).compile()
    one_array = 4 * 512 * 32768
    # Blocks of 2 MB, of which a few are alive at once.
    assert compiled.memory_analysis().temp_size_in_bytes < one_array / 8
