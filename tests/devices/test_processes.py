"""Two processes, each with half of the devices, talking over loopback."""

from tests import processes

PROGRAM = """
import sys

import jax

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"127.0.0.1:{sys.argv[2]}", 2, int(sys.argv[1]))

import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P

import jaxloss

assert jax.process_count() == 2 and jax.device_count() == 8
rng = np.random.default_rng(0)
hidden = rng.normal(size=(32, 16)).astype(np.float32)
kernel = rng.normal(size=(16, 24)).astype(np.float32)
labels = rng.integers(24, size=32).astype(np.int32)
kinds = (jax.sharding.AxisType.Auto,) * 2


def plain(hidden, kernel):
    return jaxloss.softmax_cross_entropy_with_integer_labels(
        hidden @ kernel, jnp.asarray(labels), reduction="mean"
    )


value, gradients = jax.value_and_grad(plain, (0, 1))(hidden, kernel)
# The classes over the processes, then the tokens.
for shape in ((4, 2), (2, 4), (8, 1)):
    devices = np.array(jax.devices()).reshape(2, 4)
    devices = devices.T if shape == (4, 2) else devices.reshape(shape)
    mesh = jax.sharding.Mesh(devices, ("data", "model"), axis_types=kinds)

    def here(hidden, kernel, labels):
        total = jaxloss.linear_softmax_cross_entropy(
            hidden, kernel, labels, chunk_size=3, axis_name="model", reduction="sum"
        )
        return jax.lax.psum(total, "data") / 32

    specs = P("data"), P(None, "model"), P("data")
    loss = jax.shard_map(here, mesh=mesh, in_specs=specs, out_specs=P())
    arrays = []
    for a, spec in zip((hidden, kernel, labels), specs):
        split = NamedSharding(mesh, spec)
        part = jax.make_array_from_callback(a.shape, split, lambda i, a=a: a[i])
        arrays.append(part)
    actual, slopes = jax.jit(jax.value_and_grad(loss, (0, 1)))(*arrays)
    np.testing.assert_allclose(actual.addressable_data(0), value, rtol=1e-6)
    for slope, expected in zip(slopes, gradients):
        for shard in slope.addressable_shards:
            np.testing.assert_allclose(shard.data, expected[shard.index], atol=1e-6)
print("agrees")
"""


def test_two_processes():
    for printed in processes.outputs("-c", PROGRAM):
        assert printed.strip().endswith("agrees")
