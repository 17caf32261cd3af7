"""The fused head's kernels inside `jax.shard_map(check_vma=True)`, interpreted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import jaxloss

TOKENS, UNITS, CLASSES = 16, 8, 200


def spread(implementation, options):
    """The mean loss of tokens that are spread over all devices, under one head."""
    kinds = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((8,), ("data",), axis_types=kinds)

    def local(hidden, kernel, labels, weights):
        loss = jaxloss.linear_softmax_cross_entropy(
            hidden,
            kernel,
            labels,
            weights=weights,
            label_smoothing=0.1,
            implementation=implementation,
            **options,
        )
        return jax.lax.pmean(jnp.mean(loss), "data")

    specs = P("data"), P(), P("data"), P("data")
    return jax.shard_map(
        local, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=True
    )


WAYS = {
    "tiles": {"class_chunk_size": 128},
    "chunks": {},
    "one by one": {"reduction": "none"},
}


@pytest.mark.parametrize("way", WAYS)
def test_value_gradients_and_curvature(way):
    rng = np.random.default_rng(0)
    hidden, kernel = (
        jnp.asarray(rng.standard_normal(shape), jnp.float32)
        for shape in ((TOKENS, UNITS), (UNITS, CLASSES))
    )
    labels = jnp.asarray(rng.integers(CLASSES, size=TOKENS), jnp.int32)
    weights = jnp.asarray(rng.uniform(0.5, 2, TOKENS), jnp.float32)

    def derivatives(implementation):
        options = dict(WAYS[way])
        if implementation == "xla":
            options.pop("class_chunk_size", None)

        def loss(hidden, kernel):
            return spread(implementation, options)(hidden, kernel, labels, weights)

        @jax.jit
        def all_of_them(*arrays):
            gradient = jax.grad(loss, (0, 1))
            value, slopes = jax.value_and_grad(loss, (0, 1))(*arrays)
            return value, slopes, jax.jvp(gradient, arrays, slopes)[1]

        return jax.tree.leaves(all_of_them(hidden, kernel))

    pairs = zip(derivatives("interpret"), derivatives("xla"), strict=True)
    for actual, expected in pairs:
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)
