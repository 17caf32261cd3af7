"""Arrays whose sharding is part of their type, as `jax.make_mesh` has it by default."""

import functools
import inspect
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import jaxloss
from jaxloss import metrics
from jaxloss._core.compiled import compiled
from tests.cases import CASES, FLAGSHIPS
from tests.devices import test_batch_losses as batches
from tests.devices.test_sharding import close, collectives, mesh_of, problem
from tests.test_readme import run

FIRST = {case.name: case for case in reversed(CASES)}
plain = jaxloss.softmax_cross_entropy_with_integer_labels


def placed(mesh, *pairs):
    return tuple(jax.device_put(a, NamedSharding(mesh, spec)) for a, spec in pairs)


def arrays_of(case):
    inputs = case.inputs(np.random.default_rng(0), case.ordinary)
    return tuple(map(jnp.asarray, inputs))


def losses_of(case):
    loss = functools.partial(case.loss, **case.options)
    return jax.vmap(loss) if case.vmapped else loss


def total_of(losses):
    """A sum in which each number counts differently, and the losses themselves."""

    def total(*arrays):
        result = losses(*arrays)
        real = [x for x in jax.tree.leaves(result) if jnp.isrealobj(x)]
        return sum(jnp.sum(jnp.sin(x)) for x in real), result

    return total


@pytest.mark.parametrize("name", FIRST)
def test_every_loss_takes_arrays_sharded_along_every_axis(name):
    # What JAX refuses does not depend on the number of devices, and divides evenly.
    names = tuple("abcdef")
    kinds = (AxisType.Explicit,) * len(names)
    mesh = jax.make_mesh((1,) * len(names), names, axis_types=kinds)
    case = FIRST[name]
    pairs = [(a, P(*names[: a.ndim])) for a in arrays_of(case)]
    arrays = placed(mesh, *pairs)
    slope = jax.grad(total_of(losses_of(case)), case.argument, has_aux=True)
    with jax.set_mesh(mesh):
        gradient, result = jax.eval_shape(slope, *arrays)
    argument, output = arrays[case.argument], arrays[0]
    assert gradient.sharding.spec == jax.typeof(argument).sharding.spec
    for x in jax.tree.leaves(result):
        if x.shape == output.shape[: x.ndim]:
            assert x.sharding.spec == P(*names[: x.ndim])


@pytest.mark.parametrize(
    "name", sorted(FLAGSHIPS | {"entmax_loss", "bi_tempered_logistic_loss"})
)
def test_values_and_gradients_are_those_of_one_device(name):
    case = FIRST[name]
    mesh = mesh_of((4, 2), AxisType.Explicit)

    def spec(array):
        rest = [None] * (array.ndim - 1)
        if array.ndim > 1 and array.shape[-1] % 2 == 0:
            rest[-1] = "model"
        return P("data", *rest)

    arrays = arrays_of(case)
    step = jax.jit(
        jax.value_and_grad(total_of(losses_of(case)), case.argument, has_aux=True)
    )
    sharded = placed(mesh, *((a, spec(a)) for a in arrays))
    close(step(*sharded), step(*arrays))


@pytest.mark.parametrize("name", ["nt_xent_loss", "koleo_loss", "vicreg_loss"])
def test_batches_whose_examples_meet(name):
    make = {**batches.REDUCED, **batches.WHOLE}[name]
    loss = make(getattr(jaxloss, name))
    *arrays, keep, _ = batches.problem()
    specs = P("data"), P("data"), P("data"), P(), P("data")

    def total(a, b, labels, proxies, keep):
        return jnp.sum(jnp.sin(loss(a, b, labels, proxies, where=keep)))

    step = jax.jit(jax.value_and_grad(total, (0, 1)))
    mesh = mesh_of((8,), AxisType.Explicit)
    sharded = placed(mesh, *zip((*arrays, keep), specs, strict=True))
    close(step(*sharded), step(*arrays, keep))


FUSED = {
    "linear_log_probs": lambda h, w, y: jaxloss.linear_log_probs(h, w, y, chunk_size=5),
    "linear_loss": lambda h, w, y: jaxloss.linear_loss(plain)(
        h, w, y, reduction="none", chunk_size=5
    ),
    "linear_distillation_loss": lambda h, w, y: jaxloss.linear_distillation_loss(
        h, w, 0.5 * h, w[:, ::-1], chunk_size=5
    ),
    "clip_loss": lambda h, w, y: jaxloss.clip_loss(h, jnp.cos(h), scale=2.0),
    "info_nce_loss": lambda h, w, y: jaxloss.info_nce_loss(h, jnp.cos(h), scale=2.0),
    "siglip_loss": lambda h, w, y: jaxloss.siglip_loss(
        h, jnp.cos(h), scale=2.0, bias=-1.0
    ),
}


@pytest.mark.parametrize("name", FUSED)
def test_fused_losses(name):
    hidden, kernel, _, _, labels = problem()

    def total(hidden, kernel, labels):
        return jnp.sum(jnp.sin(FUSED[name](hidden, kernel, labels)))

    step = jax.jit(jax.value_and_grad(total, (0, 1)))
    mesh = mesh_of((8,), AxisType.Explicit)
    pairs = (hidden, P("data")), (kernel, P()), (labels, P("data"))
    close(step(*placed(mesh, *pairs)), step(hidden, kernel, labels))


@pytest.mark.parametrize(
    "name", ["accuracy", "top_k_accuracy", "expected_calibration_error"]
)
def test_metrics(name):
    hidden, *_, labels = problem()
    options = {"k": 2} if name == "top_k_accuracy" else {}
    measure = functools.partial(getattr(metrics, name), **options)
    mesh = mesh_of((2, 4), AxisType.Explicit)
    pairs = (hidden, P("data", "model")), (labels % 16, P("data"))
    close(jax.jit(measure)(*placed(mesh, *pairs)), measure(hidden, labels % 16))


def test_one_by_one_and_without_jit():
    hidden, kernel, _, _, labels = problem()
    mesh = mesh_of((2, 4), AxisType.Explicit)
    loss = functools.partial(jaxloss.linear_softmax_cross_entropy, reduction="none")
    expected = loss(hidden, kernel, labels)
    # What is not on the mesh is on none.
    hidden, kernel = placed(mesh, (hidden, P("data")), (kernel, P(None, "model")))
    actual = loss(labels=labels, kernel=kernel, hidden=hidden)
    assert jax.typeof(actual).sharding.spec == P("data")
    close(actual, expected)


def test_the_result_is_sharded_as_the_axes_that_it_shares_with_the_output():
    mesh = mesh_of((2, 4), AxisType.Explicit)
    logits = placed(mesh, (jnp.ones((4, 6, 8)), P("model", None, "data")))[0]
    labels = jnp.zeros((6, 8), jnp.int32)
    losses = plain(logits, labels, axis=0)
    assert jax.typeof(losses).sharding.spec == P(None, "data")
    assert jax.typeof(plain(logits, labels, 0, reduction="sum")).sharding.spec == P()


def test_mapped_over_a_sharded_axis():
    mesh = mesh_of((2, 4), AxisType.Explicit)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 6, 3)), rng.integers(3, size=(4, 6))

    def total(x, y):
        losses = jax.vmap(jaxloss.semi_hard_triplet_loss)(x, y)
        return jnp.sum(jnp.sin(losses))

    step = jax.jit(jax.value_and_grad(total))
    close(step(*placed(mesh, (x, P("data")), (y, P("data")))), step(x, y))


def test_rows_over_devices_need_no_message():
    hidden, *_, labels = problem()
    mesh = mesh_of((8,), AxisType.Explicit)
    logits, labels = placed(mesh, (hidden, P("data")), (labels % 16, P("data")))
    slope = jax.grad(lambda x: jnp.sum(plain(x, labels)))
    with jax.set_mesh(mesh):
        assert not any(collectives(slope, logits).values())


def test_the_compiler_does_what_it_does_over_automatic_axes():
    hidden, kernel, _, _, labels = problem()
    step = jax.value_and_grad(jaxloss.linear_softmax_cross_entropy, (0, 1))
    pairs = (hidden, P("data")), (kernel, P(None, "model")), (labels, P("data"))
    kinds = AxisType.Explicit, AxisType.Auto
    typed, untyped = (
        collectives(step, *placed(mesh_of((2, 4), kind), *pairs)) for kind in kinds
    )
    assert typed == untyped


def test_the_page_about_it_holds(tmp_path):
    page = pathlib.Path(__file__).parents[2] / "docs" / "sharding.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    said = re.findall(r"# (\[.*\])$", "".join(blocks), re.MULTILINE)
    printed = run("".join(blocks), tmp_path).replace("float32", "").strip()
    assert said == [printed]


@pytest.mark.parametrize("name", sorted(FLAGSHIPS))
def test_nothing_is_added_where_no_axis_is_explicit(name, monkeypatch):
    case = FIRST[name]
    explicit, auto = (
        mesh_of((8,), kind) for kind in (AxisType.Explicit, AxisType.Auto)
    )
    spec = P("data")

    def traced():
        losses, arrays = losses_of(case), arrays_of(case)
        # Inside `jax.shard_map` all axes are manual.
        manual = jax.shard_map(losses, mesh=explicit, out_specs=spec, check_vma=False)
        sharded = placed(explicit, *((a, spec) for a in arrays))
        jaxprs = [jax.make_jaxpr(losses)(*arrays), jax.make_jaxpr(manual)(*sharded)]
        with jax.set_mesh(auto):
            sharded = placed(auto, *((a, spec) for a in arrays))
            jaxprs.append(jax.make_jaxpr(losses)(*sharded))
        return [re.sub("0x[0-9a-f]+", "", str(jaxpr)) for jaxpr in jaxprs]

    ours = traced()
    bordered = getattr(jaxloss, name)
    bare = inspect.unwrap(bordered)
    if bordered.__wrapped__ is not bare:
        bare = compiled(bare)
    monkeypatch.setattr(jaxloss, name, bare)
    assert ours == traced()
