"""The kernels as the device runs them, against float64 on the host.

What `tests/test_kernels.py` holds interpreted and at small sizes holds here at real
ones, with the tiles that are chosen for them.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxloss
from jaxloss._kernels import chips
from jaxloss._kernels.softmax_xent import config, op
from tests import test_kernels as interpreted

F32, BF16, F16 = map(jnp.dtype, ("float32", "bfloat16", "float16"))
HERE = chips.of_platform(jax.default_backend()) or "interpret"
HOW = op.How("f", HERE)
VOCABULARIES = (2, 5, 127, 128, 1000, 4097, 32_000, 50_257, 128_256, 151_936, 262_144)


@functools.partial(jax.jit, static_argnums=0)
def by_kernel(dtype, rows, weights):
    return op.with_slope(HOW, dtype, rows, weights)


def is_right(found, rows, weights):
    """The answer in float64 is the host's."""
    with jax.default_device(jax.devices("cpu")[0]):
        here = jax.tree.map(np.asarray, (rows, weights))
        here = jax.tree.map(jnp.asarray, here)
        interpreted.is_right(jax.tree.map(np.asarray, found), *here)


@pytest.mark.parametrize("classes", VOCABULARIES)
@pytest.mark.parametrize("dtype", [F32, BF16, F16], ids=lambda dtype: dtype.name)
def test_every_vocabulary(classes, dtype):
    if config.refusal(HERE, dtype, classes):
        pytest.skip(f"NOT RUN: the kernel {config.refusal(HERE, dtype, classes)}")
    for options in ("none", "all"):
        rows, weights = interpreted.problem(15, classes, dtype, options)
        found = by_kernel(dtype, rows, weights)
        if dtype == F16:
            # Its derivative is rounded more coarsely below the smallest normal number.
            exact = by_kernel(jnp.dtype("float32"), rows, weights)
            np.testing.assert_allclose(
                found[1].astype(F32), exact[1], rtol=2**-10, atol=2**-24
            )
            rows = rows._replace(logits=rows.logits.astype(F32))
            found = exact
        is_right(found, rows, weights)


@pytest.mark.parametrize("options", interpreted.NAMES)
@pytest.mark.parametrize("classes", [300, 4097, 50_257, 128_256])
def test_rows_of_every_kind(options, classes):
    """Infinities, NaN, ties, confident rows, masks, labels that are not there."""
    rows, weights = interpreted.problem(17, classes, options=options, corners=True)
    is_right(by_kernel(F32, rows, weights), rows, weights)


@pytest.mark.parametrize("count", [1, 131, 2000])
def test_many_rows_at_a_time(count):
    """More than there are blocks on the device, written over the logits."""
    rows, weights = interpreted.problem(count, 5000, BF16)
    is_right(by_kernel(BF16, rows, weights), rows, weights)


def test_again_and_again_the_same():
    """No race: equal to the last bit, run after run."""
    rows, weights = interpreted.problem(500, 128_256, BF16)
    first = jax.tree.map(np.asarray, by_kernel(BF16, rows, weights))
    for _ in range(20):
        again = jax.tree.map(np.asarray, by_kernel(BF16, rows, weights))
        for a, b in zip(again, first, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", interpreted.TRANSFORMATIONS)
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_every_transformation(name, reduction):
    interpreted.transforms_as_xla(HERE, name, reduction)


def head(tokens, hidden, classes, dtype):
    rng = np.random.default_rng(tokens + classes)
    h = rng.standard_normal((tokens, hidden), np.float32)
    w = rng.standard_normal((hidden, classes), np.float32) * hidden**-0.5
    y = rng.integers(classes, size=tokens, dtype=np.int32)
    return jnp.asarray(h).astype(dtype), jnp.asarray(w).astype(dtype), jnp.asarray(y)


def head_in_float64(h, w, y):
    h, w = (np.asarray(a).astype(np.float64) for a in (h, w))
    z = h @ w
    z -= z.max(axis=1, keepdims=True)
    logs = np.log(np.exp(z).sum(axis=1))
    at = np.arange(len(z)), np.asarray(y)
    loss = np.mean(logs - z[at])
    slope = np.exp(z - logs[:, None])
    slope[at] -= 1
    slope /= len(z)
    return loss, slope @ w.T, h.T @ slope


# Errors of the value and of the gradients. A derivative is rounded to bfloat16 where it
# is a factor of a product; in float32 only the sums are rounded.
@pytest.mark.parametrize(
    ("dtype", "value", "slope"), [(BF16, 1e-5, 4e-3), (F32, 2e-6, 2e-5)]
)
@pytest.mark.parametrize("chunk", [None, 64, 100])
@pytest.mark.parametrize("implementation", [None, "xla", HERE])
def test_the_head(dtype, value, slope, chunk, implementation):
    h, w, y = head(256, 192, 5003, dtype)
    loss = functools.partial(
        jaxloss.linear_softmax_cross_entropy,
        chunk_size=chunk,
        implementation=implementation,
    )
    found, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(h, w, y)
    exact, *expected = head_in_float64(h, w, y)
    assert abs(float(found) / exact - 1) < value
    for a, e in zip(gradients, expected, strict=True):
        a = np.asarray(a).astype(np.float64)
        assert np.linalg.norm(a - e) < slope * np.linalg.norm(e)


def test_the_error_of_a_head_does_not_grow_with_its_chunks():
    h, w, y = head(4096, 256, 8192, BF16)
    _, *expected = head_in_float64(h, w, y)
    errors = []
    for chunk in (4096, 64):
        loss = functools.partial(jaxloss.linear_softmax_cross_entropy, chunk_size=chunk)
        _, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(h, w, y)
        errors.append(
            [
                np.linalg.norm(np.asarray(a).astype(np.float64) - e) / np.linalg.norm(e)
                for a, e in zip(gradients, expected, strict=True)
            ]
        )
    one, many = np.array(errors)
    assert one.max() < 4e-3
    np.testing.assert_allclose(many, one, rtol=0.02)
