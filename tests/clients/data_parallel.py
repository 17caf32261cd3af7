"""One of two processes that train on their own halves of every batch.

    python -m tests.clients.data_parallel RANK PORT

`test_data_parallel.py` starts both. Each holds its own half of the digits, as if read
from files of its own; `jax.jit` sees the arrays of both together. The halves are
uneven: of the second one, most is padding.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P

import jaxloss
from tests.clients import digits

PROCESSES, DEVICES, STEPS, HALF = 2, 4, 3, 64
KEPT = np.array([60, 7])  # examples of each half that are none of the padding


def batch_of(rank: int):
    """The half that a process holds: images, labels, and which are no padding."""
    train, _ = digits.load()
    rows = slice(rank * HALF, (rank + 1) * HALF)
    keep = np.arange(HALF) < KEPT[rank]
    # A large number, not NaN: the mask of the loss replaces logits, and in the gradient
    # of the head 0 times what came before them would be NaN.
    images = np.where(keep[:, None], train.images[rows].reshape(HALF, 64), 1e3)
    return images, train.labels[rows], keep


def initial():
    rng = np.random.default_rng(0)
    shapes = {"first": (64, 32), "head": (32, 10)}
    return {k: np.float32(rng.normal(size=s) / 2) for k, s in shapes.items()}


def objective(params, images, labels, keep):
    hidden = jax.nn.relu(images @ params["first"])
    return jaxloss.softmax_cross_entropy_with_integer_labels(
        hidden @ params["head"], labels, where=keep, reduction="mean"
    )


optimizer = optax.sgd(0.05, momentum=0.9)


@jax.jit
def step(params, state, batch):
    loss, gradient = jax.value_and_grad(objective)(params, *batch)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, updates), state, loss, gradient


def trained(params, batch):
    """The losses and gradients of the steps."""
    state, seen = optimizer.init(params), []
    for _ in range(STEPS):
        params, state, loss, gradient = step(params, state, batch)
        seen.append((loss, gradient))
    return seen


def main(rank: int, port: str) -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", DEVICES // PROCESSES)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", PROCESSES, rank)
    assert (jax.process_count(), jax.device_count()) == (PROCESSES, DEVICES)

    mesh = Mesh(np.array(jax.devices()), ("data",))
    copied, split = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    params = jax.tree.map(lambda a: jax.device_put(a, copied), initial())
    together = [
        jax.make_array_from_process_local_data(split, part) for part in batch_of(rank)
    ]
    assert together[1].shape == (PROCESSES * HALF,)
    spread = trained(params, together)

    halves = [batch_of(rank) for rank in range(PROCESSES)]
    alone = trained(
        jax.tree.map(jnp.asarray, initial()),
        [jnp.concatenate(parts) for parts in zip(*halves, strict=True)],
    )
    for (loss, gradient), (expected, slope) in zip(spread, alone, strict=True):
        # float32 sums over 67 examples, in another order.
        assert np.isfinite(expected)
        np.testing.assert_allclose(loss.addressable_data(0), expected, rtol=1e-6)
        for name, exact in slope.items():
            here = gradient[name].addressable_data(0)
            np.testing.assert_allclose(here, exact, rtol=1e-4, atol=1e-6)
    print(f"{rank} of {PROCESSES}:", *(f"{float(loss):.6f}" for loss, _ in alone))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
