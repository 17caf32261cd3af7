"""What is averaged over a batch that is spread over devices: value and gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import jaxloss
from jaxloss import metrics
from tests.cases import CASES

B, T, C = 16, 3, 4
rng = np.random.default_rng(0)
LOG_PROBS, OLD = -rng.exponential(size=(2, B, T))
ADVANTAGES = rng.normal(size=B)
WHERE = np.arange(T) < rng.integers(T + 1, size=B)[:, None]
LOGITS = rng.normal(size=(B, T, C))


def grpo(aggregation):
    def loss(new, advantage, old, where, **options):
        return jaxloss.grpo_loss(
            *(new, advantage),
            old_log_probs=old,
            where=where,
            aggregation=aggregation,
            **options,
        )

    return loss, (LOG_PROBS, ADVANTAGES, OLD, WHERE)


def balancing(logits, where, **options):
    return jaxloss.load_balancing_loss(logits, where=where, top_k=2, **options)


LOSSES = {
    **{name: grpo(name) for name in ("token", "sequence", "dr_grpo", "luspo")},
    "load balancing": (balancing, (LOGITS, WHERE)),
}


def over_devices(function, out=None):
    kinds = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((8,), ("data",), axis_types=kinds)
    specs = P() if out is None else out
    return jax.jit(
        jax.shard_map(function, mesh=mesh, in_specs=P("data"), out_specs=specs)
    )


@pytest.mark.parametrize("name", LOSSES)
def test_a_spread_batch_is_one_batch(name):
    loss, arrays = LOSSES[name]
    arrays = tuple(map(jnp.asarray, arrays))
    expected, gradient = jax.value_and_grad(loss)(*arrays)
    spread = over_devices(functools.partial(loss, axis_name="data"))
    actual, by_first = jax.value_and_grad(spread)(*arrays)
    np.testing.assert_allclose(actual, expected, rtol=1e-12)
    np.testing.assert_allclose(by_first, gradient, rtol=1e-10, atol=1e-14)
    assert np.abs(gradient).max() > 1e-4


def test_bnpo_is_the_mean_of_the_devices():
    loss, arrays = grpo("bnpo")
    alone = [loss(*(jnp.asarray(a[i : i + 2]) for a in arrays)) for i in range(0, B, 2)]
    spread = over_devices(functools.partial(loss, axis_name="data"))
    actual = spread(*map(jnp.asarray, arrays))
    np.testing.assert_allclose(actual, np.mean(alone), rtol=1e-12)


def test_the_reference_point_of_kto():
    new, old = LOG_PROBS[:, 0] + 1, OLD[:, 0]
    point = functools.partial(jaxloss.kto_reference_point, axis_name="data")
    actual = over_devices(point)(jnp.asarray(new), jnp.asarray(old))
    np.testing.assert_allclose(actual, (new - old).mean(), rtol=1e-12)


@pytest.mark.parametrize("name", ["accuracy", "expected_calibration_error"])
def test_metrics(name):
    metric = getattr(metrics, name)
    labels = rng.integers(C, size=(B, T))
    arrays = tuple(map(jnp.asarray, (LOGITS, labels, WHERE)))

    def here(logits, labels, where):
        return metric(logits, labels, where=where).psum("data")

    whole = metric(*arrays[:2], where=arrays[2])
    np.testing.assert_allclose(
        over_devices(here)(*arrays).value, whole.value, rtol=1e-12
    )


EVERY = {case.name: case for case in reversed(CASES)}
# The function that it is given is traced for arrays that are the same on all devices.
ALIKE = pytest.mark.xfail(reason="linear_loss inside jax.shard_map", strict=True)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[ALIKE] * (name == "linear_loss")) for name in EVERY],
)
def test_every_loss_has_a_gradient_inside_shard_map(name):
    case = EVERY[name]
    inputs = case.inputs(np.random.default_rng(0), case.ordinary)
    losses = functools.partial(case.loss, **case.options)

    def total(*arrays):
        result = (jax.vmap(losses) if case.vmapped else losses)(*arrays)
        return sum(jnp.sum(x) for x in jax.tree.leaves(result) if jnp.isrealobj(x))

    def here(*arrays):
        slope = jax.grad(total, case.argument)
        return jax.lax.psum(total(*arrays), "data"), slope(*arrays)

    traced = jax.eval_shape(over_devices(here, (P(), P("data"))), *inputs)
    assert traced[1].shape == inputs[case.argument].shape
