"""Kernels inside `jax.shard_map(check_vma=True)`, interpreted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import jaxloss
from jaxloss._core.mesh import is_alone

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


def test_only_inside_shard_map_is_a_program_alone():
    """Elsewhere JAX may spread it, and would gather what a kernel reads."""
    kinds = (jax.sharding.AxisType.Auto,) * 2
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=kinds)
    said = {}

    def noting(where):
        def function(x):
            said[where] = is_alone()
            return x

        return function

    x = jnp.zeros((8, 2))
    jax.jit(noting("outside"))(x)
    for where, axes in (("all", {"data", "model"}), ("some", {"data"})):
        inside = jax.shard_map(
            noting(where),
            mesh=mesh,
            in_specs=P("data"),
            out_specs=P("data"),
            axis_names=axes,
        )
        jax.jit(inside)(x)
    assert said == {"outside": False, "all": True, "some": False}
