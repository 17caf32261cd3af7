"""Kernels inside `jax.shard_map(check_vma=True)`, interpreted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import jaxloss

ROWS, CLASSES = 16, 40


def spread(implementation, reduction):
    """The mean loss of rows that are spread over all devices."""
    kinds = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((8,), ("data",), axis_types=kinds)

    def local(x, y, weights):
        loss = jaxloss.softmax_cross_entropy_with_integer_labels(
            x,
            y,
            weights=weights,
            label_smoothing=0.1,
            reduction=reduction,
            implementation=implementation,
        )
        return jax.lax.pmean(jnp.mean(loss), "data")

    specs = P("data"), P("data"), P("data")
    return jax.shard_map(
        local, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=True
    )


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_value_gradient_and_curvature(reduction):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((ROWS, CLASSES)), jnp.float32)
    y = jnp.asarray(rng.integers(CLASSES, size=ROWS), jnp.int32)
    weights = jnp.asarray(rng.uniform(0.5, 2, ROWS), jnp.float32)

    def derivatives(implementation):
        def loss(x):
            return spread(implementation, reduction)(x, y, weights)

        @jax.jit
        def all_of_them(x):
            value, gradient = jax.value_and_grad(loss)(x)
            return value, gradient, jax.jvp(jax.grad(loss), (x,), (gradient,))[1]

        return all_of_them(x)

    pairs = zip(derivatives("interpret"), derivatives("xla"), strict=True)
    for actual, expected in pairs:
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-8)
