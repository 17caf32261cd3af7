"""The fused losses over several devices agree with the plain ones on one."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

import jaxloss

plain = jaxloss.softmax_cross_entropy_with_integer_labels

TOKENS, HIDDEN, CLASSES = 32, 16, 24
MESHES = {"2x4": (2, 4), "8x1": (8, 1), "1x8": (1, 8)}
OPTIONS = {
    "plain": {},
    "options": {
        "label_smoothing": 0.1,
        "z_loss": 0.01,
        "logit_softcap": 3.0,
        "temperature": 0.7,
        "ignore_index": 3,
    },
}


def mesh_of(shape, kind=AxisType.Auto):
    names = ("data", "model")[: len(shape)]
    return jax.make_mesh(shape, names, axis_types=(kind,) * len(shape))


def problem():
    rng = np.random.default_rng(0)
    shapes = (TOKENS, HIDDEN), (HIDDEN, CLASSES), (CLASSES,), (CLASSES,)
    hidden, kernel, bias, weights = (jnp.asarray(rng.normal(size=s)) for s in shapes)
    labels = jnp.asarray(rng.integers(CLASSES, size=TOKENS), jnp.int64)
    # The labels of all devices' classes.
    labels = labels.at[::6].set(3).at[1].set(CLASSES - 1).at[2].set(0)
    return hidden, kernel, bias, jnp.abs(weights), labels


def close(actual, expected):
    pairs = zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True)
    for a, e in pairs:
        # float64 throughout: only the order of the sums differs.
        np.testing.assert_allclose(a, e, rtol=1e-10, atol=1e-12)


every = (0, 1, 2)


def tangents(arrays):
    return tuple(0.3 * a + 0.1 for a in arrays)


def inner(tree, other):
    return sum(jnp.vdot(a, b) for a, b in zip(tree, other, strict=True))


MODES = {
    "value": lambda f, t: f,
    "gradient": lambda f, t: jax.grad(f, every),
    "jvp": lambda f, t: lambda *a: jax.jvp(f, a, t),
    "forward over reverse": lambda f, t: (
        lambda *a: jax.jvp(jax.grad(f, every), a, t)[1]
    ),
    "reverse over reverse": lambda f, t: jax.grad(
        lambda *a: inner(jax.grad(f, every)(*a), t), every
    ),
}


def spread(mesh, options, reduction="sum", backward="recompute"):
    """The classes over `model`, the tokens over `data`."""
    weighted = bool(options)

    def here(hidden, kernel, bias, weights, labels):
        loss = jaxloss.linear_softmax_cross_entropy(
            hidden,
            kernel,
            labels,
            bias=bias,
            class_weights=weights if weighted else None,
            chunk_size=3,
            axis_name="model",
            reduction=reduction,
            backward=backward,
            **options,
        )
        return jax.lax.psum(loss, "data") if reduction == "sum" else loss

    specs = P("data"), P(None, "model"), P("model"), P("model"), P("data")
    out = P() if reduction == "sum" else P("data")
    return jax.shard_map(here, mesh=mesh, in_specs=specs, out_specs=out)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("shape", MESHES)
def test_classes_over_devices(shape, name, mode):
    options = OPTIONS[name]
    *arrays, weights, labels = problem()
    sharded = spread(mesh_of(MESHES[shape]), options)

    def ours(*arrays):
        return sharded(*arrays, weights, labels)

    def theirs(hidden, kernel, bias):
        return plain(
            hidden @ kernel + bias[None, :],
            labels,
            class_weights=weights if options else None,
            reduction="sum",
            **options,
        )

    transform = MODES[mode]
    actual = jax.jit(transform(ours, tangents(arrays)))(*arrays)
    close(actual, transform(theirs, tangents(arrays))(*arrays))


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_predictions_are_those_of_all_classes(reduction):
    hidden, kernel, bias, _, labels = problem()
    # Equal ones on two devices: the first of them counts.
    kernel = kernel.at[:, 5].set(kernel[:, 20])
    bias = bias.at[jnp.array([5, 20])].set(2.0)
    hidden = hidden.at[7].set(jnp.nan)

    def here(hidden, kernel, bias, labels):
        loss, classes = jaxloss.linear_softmax_cross_entropy(
            hidden,
            kernel,
            labels,
            bias=bias,
            chunk_size=3,
            axis_name="model",
            reduction=reduction,
            return_predictions=True,
        )
        return jax.lax.psum(jnp.sum(loss), "data"), classes

    sharded = jax.shard_map(
        here,
        mesh=mesh_of((2, 4)),
        in_specs=(P("data"), P(None, "model"), P("model"), P("data")),
        out_specs=(P(), P("data")),
    )
    arrays = hidden, kernel, bias
    of = jax.value_and_grad(lambda *a: sharded(*a, labels), every, has_aux=True)
    (_, classes), _ = jax.jit(of)(*arrays)
    expected = jnp.argmax(hidden @ kernel + bias[None, :], axis=1)
    assert (expected == 5).any() and not (expected == 20).any()
    np.testing.assert_array_equal(classes, expected.at[7].set(-1))


@pytest.mark.parametrize("backward", ["recompute", "save"])
@pytest.mark.parametrize("mode", ["value", "gradient", "jvp"])
def test_one_by_one(mode, backward):
    *arrays, weights, labels = problem()
    sharded = spread(mesh_of((2, 4)), {}, "none", backward)

    def ours(*arrays):
        return jnp.sum(jnp.cos(sharded(*arrays, weights, labels)))

    def theirs(hidden, kernel, bias):
        return jnp.sum(jnp.cos(plain(hidden @ kernel + bias[None, :], labels)))

    transform = MODES[mode]
    actual = jax.jit(transform(ours, tangents(arrays)))(*arrays)
    close(actual, transform(theirs, tangents(arrays))(*arrays))


def collectives(function, *arrays) -> dict[str, int]:
    text = jax.jit(function).lower(*arrays).compile().as_text()
    kinds = "all-reduce", "all-gather", "all-to-all", "collective-permute"
    return {kind: len(re.findall(rf" {kind}(?:-start)?\(", text)) for kind in kinds}


def test_two_small_messages_a_chunk():
    *arrays, weights, labels = problem()
    sharded = spread(mesh_of((1, 8)), {})

    def loss(*arrays):
        return sharded(*arrays, weights, labels)

    forward = collectives(loss, *arrays)
    # Maximum, and sum with the label's logit; and the sum over `data`, of one device.
    assert forward.pop("all-reduce") <= 3
    assert not any(forward.values())
    both = collectives(jax.value_and_grad(loss, every), *arrays)
    # And the hidden states' gradient, once.
    assert both.pop("all-reduce") <= 4
    assert not any(both.values())


@pytest.mark.parametrize("label", [-1, CLASSES, CLASSES // 8])
def test_labels_that_do_not_exist_are_loud_on_all_devices(label):
    *arrays, weights, labels = problem()
    labels = labels.at[5].set(label)
    sharded = spread(mesh_of((2, 4)), {})

    def loss(*arrays):
        return sharded(*arrays, weights, labels)

    value, gradients = jax.jit(jax.value_and_grad(loss, every))(*arrays)
    wrong = not 0 <= label < CLASSES
    assert np.isnan(value) == wrong
    assert np.isnan(gradients[0][5]).all() == wrong
    assert np.isnan(gradients[1]).all() == wrong


def test_masked_tokens_over_devices():
    *arrays, _, labels = problem()
    keep = jnp.arange(TOKENS) % 3 == 0

    def here(hidden, kernel, bias, labels, keep):
        loss = jaxloss.linear_softmax_cross_entropy(
            hidden,
            kernel,
            labels,
            bias=bias,
            where=keep,
            chunk_size=3,
            max_tokens=6,
            axis_name="model",
            reduction="sum",
        )
        return jax.lax.psum(loss, "data")

    specs = P("data"), P(None, "model"), P("model"), P("data"), P("data")
    sharded = jax.shard_map(here, mesh=mesh_of((2, 4)), in_specs=specs, out_specs=P())
    actual = jax.jit(jax.value_and_grad(sharded, every))(*arrays, labels, keep)

    def theirs(hidden, kernel, bias):
        z = hidden @ kernel + bias[None, :]
        return plain(z, labels, where=keep, reduction="sum")

    close(actual, jax.value_and_grad(theirs, every)(*arrays))


KERNELS = {
    "whole": P(),
    "classes": P(None, "model"),
    "hidden units": P("model", None),
    "hidden units, over the tokens' axis": P("data", None),
}


@pytest.mark.parametrize("mode, chunk", [("gradient", 5), ("jvp", 32)])
@pytest.mark.parametrize("split", KERNELS)
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_plain_jit_on_sharded_arrays(kind, split, mode, chunk):
    hidden, kernel, bias, _, labels = problem()
    mesh, spec = mesh_of((2, 4), kind), KERNELS[split]

    def ours(hidden, kernel, bias, labels):
        return jaxloss.linear_softmax_cross_entropy(
            hidden, kernel, labels, bias=bias, chunk_size=chunk
        )

    def theirs(hidden, kernel, bias):
        z = hidden @ kernel + bias[None, :]
        return plain(z, labels, reduction="mean")

    arrays = hidden, kernel, bias
    specs = P("data"), spec, P(*spec[1:]), P("data")
    pairs = zip((*arrays, labels), specs, strict=True)
    placed = [jax.device_put(a, NamedSharding(mesh, s)) for a, s in pairs]

    def run(*arrays, labels):
        def loss(*arrays):
            return ours(*arrays, labels)

        return MODES[mode](loss, tangents(arrays))(*arrays)

    actual = jax.jit(run)(*placed[:3], labels=placed[3])
    close(actual, MODES[mode](theirs, tangents(arrays))(*arrays))


def test_distillation_over_devices():
    hidden, kernel, *_ = problem()
    teacher, head = hidden[::-1] * 0.5, kernel[:, ::-1]
    for divergence in ("kl", "reverse_kl", "jensen_shannon"):
        loss = functools.partial(
            jaxloss.linear_distillation_loss,
            divergence=divergence,
            reduction="sum",
            chunk_size=3,
        )

        def here(*arrays, loss=loss):
            return jax.lax.psum(loss(*arrays, axis_name="model"), "data")

        split = P(None, "model")
        specs = P("data"), split, P("data"), split
        sharded = jax.shard_map(
            here, mesh=mesh_of((2, 4)), in_specs=specs, out_specs=P()
        )
        arrays = hidden, kernel, teacher, head
        actual = jax.jit(jax.value_and_grad(sharded, (0, 1)))(*arrays)
        close(actual, jax.value_and_grad(loss, (0, 1))(*arrays))


CONTRASTIVE = {
    "clip_loss": {},
    "info_nce_loss": {},
    "siglip_loss": {"bias": -2.0},
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", CONTRASTIVE)
def test_contrastive_losses_over_devices(name, reduction):
    hidden, *_ = problem()
    other, scale = hidden[:, ::-1] * 0.7, jnp.asarray(0.3)
    loss = functools.partial(
        getattr(jaxloss, name), reduction=reduction, chunk_size=3, **CONTRASTIVE[name]
    )

    def here(x, y, scale):
        return loss(x, y, scale=scale, axis_name="data")

    out = P("data") if reduction == "none" else P()
    sharded = jax.shard_map(
        here,
        mesh=mesh_of((8,)),
        in_specs=(P("data"), P("data"), P()),
        out_specs=out,
    )

    def total(loss, x, y, scale):
        return jnp.sum(jnp.sin(loss(x, y, scale)))

    def single(x, y, scale):
        return loss(x, y, scale=scale)

    arrays = hidden, other, scale
    actual = jax.jit(jax.value_and_grad(functools.partial(total, sharded), every))
    expected = jax.value_and_grad(functools.partial(total, single), every)
    close(actual(*arrays), expected(*arrays))


def test_what_is_wrong_over_devices():
    *arrays, _, labels = problem()
    mesh = mesh_of((2, 4))
    specs = P("data"), P(None, "model"), P("data")

    def loss(hidden, kernel, labels, name="model"):
        return jaxloss.linear_softmax_cross_entropy(
            hidden, kernel, labels, axis_name=name, reduction="sum"
        )

    run = functools.partial(
        jax.shard_map, mesh=mesh, in_specs=specs, out_specs=P("data")
    )
    with pytest.raises(ValueError, match="a mesh axis of the surrounding"):
        run(functools.partial(loss, name="tensor"))(*arrays[:2], labels)
    with pytest.raises(NotImplementedError, match="check_vma=True"):
        run(loss, check_vma=False)(*arrays[:2], labels)
    with pytest.raises(ValueError, match="the same on all devices"):
        run(functools.partial(loss, name="data"))(*arrays[:2], labels)
