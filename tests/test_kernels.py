"""The kernels, interpreted: against the row mathematics in float64.

The kernel for TPU runs in `interpret=True` (what is never written is NaN there) and in
`pltpu.InterpretParams` (which knows of memory: races, reads out of bounds). That for
GPU runs in its interpreter where this JAX has one, and its body on plain arrays in any.
Tiles are small, so that a few hundred classes are several of them and a tail.
"""

import functools
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu as plgpu, tpu as pltpu

import jaxloss
from jaxloss._core import cross_entropy
from jaxloss._core.cross_entropy import Options
from jaxloss._core.validate import Check
from jaxloss._kernels import chips, tile
from jaxloss._kernels.softmax_xent import call, config, mosaic_gpu, mosaic_tpu, op
from jaxloss._kernels.softmax_xent.config import GpuTiles, TpuTiles
from jaxloss._kernels.tile import Features, Row
from jaxloss._kernels.told import losses as told_losses

# Many programs to compile: see `tests/selection.py`.
pytestmark = pytest.mark.thorough

F32, BF16 = jnp.dtype("float32"), jnp.dtype("bfloat16")
loss_of = jaxloss.softmax_cross_entropy_with_integer_labels


@pytest.fixture(autouse=True, scope="module")
def small_tiles():
    """Tiles of 128 columns, so that few classes are many tiles."""
    whole = config._TILE
    config._TILE = 8 * 128
    jax.clear_caches()
    yield
    config._TILE = whole
    jax.clear_caches()


# ------------------------------------------------------------------ problems


def number(value):
    return jnp.asarray(value, F32)


def options_of(classes):
    rng = np.random.default_rng(3)
    weights = rng.uniform(0.1, 2, (1, classes)).astype(np.float32)
    weights[0, 0] = 0
    weights = jnp.asarray(weights)
    smoothing = number(0.1)
    return {
        "none": Options(),
        "label_smoothing": Options(label_smoothing=smoothing),
        "class_weights": Options(class_weights=weights),
        "both": Options(label_smoothing=smoothing, class_weights=weights),
        "z_loss": Options(z_loss=number(0.01)),
        "logit_softcap": Options(logit_softcap=number(3.0)),
        "temperature": Options(temperature=number(0.7)),
        "all": Options(smoothing, weights, number(0.01), number(8.0), number(0.7)),
    }


NAMES = tuple(options_of(2))


def problem(count, classes, dtype=F32, options="none", corners=False):
    """Rows of logits, and with `corners` those that kernels get wrong."""
    rng = np.random.default_rng(count + classes)
    x = (5 * rng.standard_normal((count, classes))).astype(np.float32)
    y = rng.integers(classes, size=count)
    keep = None
    if corners:
        last = classes - 1
        x[0, : classes // 2] = -np.inf  # whole tiles of them
        x[1] = -np.inf
        x[2, 3] = np.nan
        x[3, 1] = np.inf
        x[4, :2] = np.inf
        x[5] = 2.5  # every class at the peak
        x[6, last], y[6] = 60, last  # confident, in the last tile
        x[7], x[7, 0], y[7] = -30, 60, last  # confidently wrong
        y[8], y[9] = -1, classes  # no such class
        x[10] = np.nan  # masked
        x[11] += 1e4
        x[14] -= 1e4
        y[12], y[13] = 0, last
        keep = jnp.asarray(np.arange(count) != 10)
    rows = op.Rows(
        jnp.asarray(x).astype(dtype),
        jnp.asarray(y, jnp.int32),
        keep,
        options_of(classes)[options],
    )
    return rows, jnp.asarray(rng.uniform(0.5, 2, count), F32)


HOW = op.How("f", "interpret")


def truth(rows, weights):
    """In float64: the losses, their derivative, and what it is a difference of."""
    return jax.tree.map(np.asarray, _truth(rows, weights))


@jax.jit
def _truth(rows, weights):
    f64 = functools.partial(jax.tree.map, lambda a: a.astype(jnp.float64))
    logits, label, keep, options = rows
    x, options = logits.astype(jnp.float64), f64(options)
    if keep is not None:
        x = jnp.where(keep[:, None], x, 0)
        label = jnp.where(keep, label, 0)

    def losses(x):
        loss = cross_entropy.of_label(x, label[:, None], options, 1).loss[:, 0]
        return loss if keep is None else jnp.where(keep, loss, 0)

    loss, pull = jax.vjp(losses, x)
    (slope,) = pull(weights.astype(jnp.float64))
    z, _ = cross_entropy.modified(x, options, 1)
    p = jax.nn.softmax(z)
    apart = jnp.max(z, axis=1, keepdims=True) - z
    hot = jnp.arange(x.shape[1], dtype=label.dtype)[None] == label[:, None]
    weight = 1.0 if options.class_weights is None else options.class_weights
    spread = 0.0 if options.label_smoothing is None else options.label_smoothing
    level = 3.0 + 2 * 0.01 * jnp.abs(jax.nn.logsumexp(z, axis=1, keepdims=True))
    size = level * p * (1 + apart / 20) + spread * weight / x.shape[1]
    # A class that is not there has none; at the label it is the sum of all others.
    size = jnp.where(jnp.isfinite(size), size, 0)
    others = jnp.sum(jnp.where(hot, 0, size), axis=1, keepdims=True)
    size = weights[:, None].astype(jnp.float64) * jnp.where(hot, others, size)
    # A difference of logits is rounded, and so is the power of e that it becomes.
    far = jnp.sum(p * jnp.where(p > 0, apart, 0), axis=1) / 4
    return loss, slope, size, jnp.abs(loss) + far


def same(actual, expected, rtol, size=None):
    """Equal, NaN and infinities included, to this much of a value, or of what it is a
    difference of."""
    actual, expected = (np.asarray(a).astype(np.float64) for a in (actual, expected))
    special = ~np.isfinite(expected)
    np.testing.assert_array_equal(actual[special], expected[special])
    assert np.all(np.isfinite(actual[~special]))
    size = np.abs(expected) if size is None else np.nan_to_num(size) + np.abs(expected)
    error = np.abs(actual[~special] - expected[~special])
    # Below that float32 has nothing, or a denormal number: of a power of e, before it
    # is multiplied by a weight.
    least = 4 * np.finfo(np.float32).tiny / rtol
    worst = error / np.maximum(size[~special], least)
    assert np.all(worst <= rtol), (np.max(worst, initial=0), rtol)


def is_right(found, rows, weights):
    """The losses and their derivative, of a kernel."""
    loss, slope, size, size_of_loss = truth(rows, weights)
    same(found[0], loss, 5e-7, size_of_loss)
    same(found[1], slope, 3e-6 if rows.logits.dtype == F32 else 2**-8, size)


@jax.jit
def by_op(rows, weights):
    return op.with_slope(HOW, rows.logits.dtype, rows, weights)


@jax.jit
def one_by_one(rows):
    """By the kernel's statistic alone: the losses twice, and their derivative."""
    return op.losses(HOW, rows), *op._apart(HOW, rows)


# ------------------------------------------------------------------ values


@pytest.mark.parametrize("options", NAMES)
def test_rows_of_every_kind(options):
    rows, weights = problem(17, 300, options=options, corners=True)
    is_right(by_op(rows, weights), rows, weights)
    # One by one, the derivative is XLA's from the kernel's statistic.
    losses, *apart = one_by_one(rows)
    is_right(apart, rows, jnp.ones_like(weights))
    same(losses, np.asarray(apart[0], np.float64), 1e-7)


# One row, fewer than a group, a group, a ragged last block; two classes, a tail alone,
# whole tiles, a tail of one.
SHAPES = [(1, 2), (3, 300), (9, 128), (8, 129), (20, 257)]
MORE = [(n, v) for n in (1, 7, 8, 9, 33) for v in (2, 3, 127, 128, 129, 255, 256, 511)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [F32, BF16], ids=["float32", "bfloat16"])
def test_shapes(shape, dtype):
    rows, weights = problem(*shape, dtype)
    is_right(by_op(rows, weights), rows, weights)


@pytest.mark.exhaustive
@pytest.mark.parametrize("shape", MORE)
@pytest.mark.parametrize("options", ["none", "all"])
@pytest.mark.parametrize("dtype", [F32, BF16], ids=["float32", "bfloat16"])
def test_more_shapes(shape, options, dtype):
    rows, weights = problem(*shape, dtype, options)
    is_right(by_op(rows, weights), rows, weights)


def test_float16_is_interpreted():
    rows, weights = problem(5, 200, jnp.dtype("float16"))
    found = jax.jit(op.with_slope, static_argnums=(0, 1))(HOW, F32, rows, weights)
    is_right(found, rows._replace(logits=rows.logits.astype(F32)), weights)


def test_an_offset_cancels():
    rows, weights = problem(4, 300)
    whole = jnp.round(rows.logits * 8) / 8
    rows, moved = (rows._replace(logits=whole + c) for c in (0, 2.0**17))
    for a, b in zip(by_op(rows, weights), by_op(moved, weights), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("options", ["none", "all"])
def test_no_tile_is_special(options):
    """The same rows in one tile and in several."""
    rows, weights = problem(9, 300, options=options)
    told = op._told(HOW, rows, weights)
    asked = call.Call("f", None, told.on, F32)
    table = jnp.concatenate(told.row, axis=1)
    shared = [rows.options.class_weights] if told.on.class_weights else []
    arrays = rows.logits, table, *shared
    whole = jax.jit(functools.partial(call._plain, call=asked))(*arrays)
    several = jax.jit(functools.partial(call._tpu, call=asked, interpret=True))(*arrays)
    for a, b in zip(several, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


# ------------------------------------------------------------------ memory


@functools.partial(jax.jit, static_argnums=(2, 3))
def on_tpu(rows, weights, interpret, in_place=True):
    """The losses and the derivative, by the kernel for TPU."""
    told = op._told(HOW, rows, weights)
    seen, slope = mosaic_tpu.rows(
        rows.logits,
        jnp.concatenate(told.row, axis=1),
        rows.options.class_weights if told.on.class_weights else None,
        on=told.on,
        tiles=TpuTiles(8, 8, 128, 2**24),
        slope=rows.logits.dtype,
        in_place=in_place,
        interpret=interpret,
    )
    columns = (seen[:, i : i + 1] for i in range(seen.shape[1]))
    return told_losses(told, tile.Statistic(*columns)), slope


@pytest.fixture
def memory(capfd):
    """The interpreter that knows of memory; nothing may race in it."""
    yield pltpu.InterpretParams(detect_races=True, num_cores_or_threads=2)
    pltpu.reset_tpu_interpret_mode_state()
    said = "".join(capfd.readouterr())
    # An earlier JAX says so where a later one raises.
    assert "RACE" not in said.upper(), said


@pytest.mark.parametrize("options", ["none", "all"])
@pytest.mark.parametrize("in_place", [True, False])
def test_no_race_and_nothing_out_of_bounds(memory, options, in_place):
    # Three blocks of rows, two tiles and a tail. The last block is ragged, but for what
    # is written in place, where this interpreter has an error of its own.
    rows, weights = problem(24 if in_place else 20, 300, options=options)
    found = on_tpu(rows, weights, memory, in_place)
    is_right(found, rows, weights)


@pytest.mark.parametrize("shape", [(1, 2), (9, 256)])
def test_no_race_in_small_shapes(memory, shape):
    rows, weights = problem(*shape)
    is_right(on_tpu(rows, weights, memory, False), rows, weights)


def test_the_interpreter_sees_a_race(capfd):
    """What the tests above would miss if it were switched off."""

    def kernel(x_ref, o_ref):
        o_ref[...] = x_ref[...]

    zero = jnp.zeros((16, 128), F32)
    run = pl.pallas_call(
        kernel,
        grid=(2,),
        in_specs=[pl.BlockSpec((8, 128), lambda i: (i, jnp.int32(0)))],
        out_specs=pl.BlockSpec((8, 128), lambda i: (jnp.int32(0), jnp.int32(0))),
        out_shape=jax.ShapeDtypeStruct((8, 128), F32),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel",)),
        interpret=pltpu.InterpretParams(detect_races=True, num_cores_or_threads=2),
    )
    try:
        jax.block_until_ready(run(zero))
        raised = ""
    except Exception as race:
        raised = str(race)
    pltpu.reset_tpu_interpret_mode_state()
    assert "RACE" in (raised + "".join(capfd.readouterr())).upper()


def test_index_maps_are_32_bits_wide():
    """Also where JAX has 64: the compiler for TPU knows no others."""
    assert jax.config.jax_enable_x64
    rows, weights = problem(16, 300, options="all")
    jaxpr = jax.make_jaxpr(on_tpu, static_argnums=(2, 3))(rows, weights, True)

    def calls(jaxpr):
        for equation in jaxpr.eqns:
            if "grid_mapping" in equation.params:
                yield equation.params["grid_mapping"]
            for inner in jax.tree.leaves(list(equation.params.values())):
                yield from (
                    calls(getattr(inner, "jaxpr", inner))
                    if hasattr(getattr(inner, "jaxpr", inner), "eqns")
                    else ()
                )

    (mapping,) = calls(jaxpr.jaxpr)
    assert len(mapping.block_mappings) == 5
    for block in mapping.block_mappings:
        dtypes = {place.dtype.name for place in block.index_map_jaxpr.out_avals}
        assert dtypes == {"int32"}


# ------------------------------------------------------------------ the one for GPU


class Memory:
    """An array that a kernel's body may read and write, within its bounds."""

    def __init__(self, array):
        self.array = np.array(array)

    @property
    def shape(self):
        return self.array.shape

    @property
    def dtype(self):
        return self.array.dtype

    @property
    def at(self):
        return self

    def _place(self, index):
        *rows, column = index
        if hasattr(column, "start"):
            start, size = int(column.start), int(column.size)
            assert 0 <= start <= self.array.shape[-1] - size, "out of bounds"
            column = slice(start, start + size)
        else:
            assert 0 <= column < self.array.shape[-1], "out of bounds"
        return *map(int, rows), column

    def __getitem__(self, index):
        return jnp.asarray(self.array[self._place(index)])

    def __setitem__(self, index, value):
        self.array[self._place(index)] = np.asarray(value)


def body_on_gpu(monkeypatch, rows, weights, tiles, in_place):
    """The kernel's body, a row after the other, on plain arrays."""
    told = op._told(HOW, rows, weights)
    count, classes = rows.logits.shape
    logits = Memory(np.asarray(rows.logits.astype(F32)))
    if classes < tiles.columns:
        logits.array = np.pad(logits.array, ((0, 0), (0, tiles.columns - classes)))
    slope = logits if in_place else Memory(np.full_like(logits.array, np.nan))
    statistic = Memory(np.full((count, 5), np.nan, np.float32))
    of_classes = None
    if told.on.class_weights:
        of_classes = np.array(rows.options.class_weights)
        missing = max(tiles.columns - classes, 0)
        of_classes = Memory(np.pad(of_classes, ((0, 0), (0, missing))))
    groups = tiles.warpgroups
    barrier = threading.Barrier(groups)
    shared = mosaic_gpu.Shared(
        Memory(np.full((groups, 4, max(tiles.columns, 512)), np.nan, np.float32)),
        Memory(np.full((groups, 4), np.nan, np.float32)),
        barrier if groups > 1 else None,
    )
    table = Memory(jnp.concatenate(told.row, axis=1))
    place = threading.local()

    def iota(dtype, shape, dimension, layout=None):
        return jax.lax.broadcasted_iota(dtype, shape, dimension)

    def index(name):
        return jnp.int32(getattr(place, name))

    monkeypatch.setattr(mosaic_gpu, "_load", lambda ref, layout: ref)
    monkeypatch.setattr(plgpu, "broadcasted_iota", iota)
    monkeypatch.setattr(plgpu, "commit_smem", lambda: None)
    monkeypatch.setattr(plgpu, "barrier_arrive", lambda barrier: None)
    monkeypatch.setattr(plgpu, "barrier_wait", lambda barrier: barrier.wait(60))
    monkeypatch.setattr(jax.lax, "axis_index", index)
    refs = [logits, table, of_classes, statistic, slope, shared]

    def run(row, group):
        place.row, place.warpgroup = row, group
        with jax.disable_jit(), jax.numpy_dtype_promotion("strict"):
            mosaic_gpu._kernel(*refs, on=told.on, tiles=tiles, classes=classes)

    with ThreadPoolExecutor(groups) as pool:
        for i in range(count):
            list(pool.map(run, [i] * groups, range(groups)))
    monkeypatch.undo()
    columns = (jnp.asarray(statistic.array[:, k : k + 1]) for k in range(5))
    loss = told_losses(told, tile.Statistic(*columns))
    return loss, slope.array[:, :classes]


GPU_TILES = GpuTiles(128, 1, 1, 4, 0)
TWO_PIECES = GpuTiles(128, 1, 2, 4, 0)
WIDE = GpuTiles(256, 2, 1, 4, 0)
TWO_GROUPS = GpuTiles(128, 1, 2, 4, 0, warpgroups=2)


@pytest.mark.parametrize("options", NAMES)
@pytest.mark.parametrize("tiles", [GPU_TILES, TWO_PIECES, WIDE, TWO_GROUPS])
def test_the_body_for_gpu_on_rows_of_every_kind(monkeypatch, options, tiles):
    rows, weights = problem(15, 700, options=options, corners=True)
    found = body_on_gpu(monkeypatch, rows, weights, tiles, in_place=True)
    is_right(found, rows, weights)


# A row shorter than a piece, pieces alone, whole steps, steps and a piece, and what is
# left of a piece after each.
@pytest.mark.parametrize("classes", [2, 127, 128, 129, 256, 257, 512, 640, 645, 1030])
@pytest.mark.parametrize("in_place", [True, False])
def test_the_body_for_gpu_on_shapes(monkeypatch, classes, in_place):
    options = "both" if classes in (2, 129, 645) else "none"
    rows, weights = problem(2, classes, options=options)
    for tiles in (GPU_TILES, TWO_PIECES, TWO_GROUPS):
        found = body_on_gpu(monkeypatch, rows, weights, tiles, in_place)
        is_right(found, rows, weights)


def test_the_body_for_gpu_tells_the_lowest_class_from_none(monkeypatch):
    """The lowest number there is is how many say that a class is not there."""
    x = np.full((2, 300), -np.inf, np.float32)
    x[0, 7::2] = np.finfo(np.float32).min
    x[1, 295:] = np.finfo(np.float32).min
    rows, weights = problem(2, 300)
    rows = rows._replace(logits=jnp.asarray(x), label=jnp.asarray([7, 299], jnp.int32))
    found = body_on_gpu(monkeypatch, rows, weights, GPU_TILES, True)
    is_right(found, rows, weights)
    np.testing.assert_allclose(found[0], np.log([147, 5]), rtol=1e-6)


@pytest.mark.skipif(
    not hasattr(plgpu, "InterpretGPUParams"),
    reason=f"NOT RUN: JAX {jax.__version__} has no interpreter of Mosaic GPU kernels",
)
@pytest.mark.parametrize("options", ["none", "all"])
@pytest.mark.parametrize("classes", [5, 128, 300, 900, 1300])
@pytest.mark.parametrize("tiles", [TWO_PIECES, TWO_GROUPS])
def test_the_kernel_for_gpu_interpreted(options, classes, tiles):
    rows, weights = problem(2, classes, options=options)
    told = op._told(HOW, rows, weights)
    weights_of = rows.options.class_weights if told.on.class_weights else None
    seen, slope = mosaic_gpu.rows(
        rows.logits,
        jnp.concatenate(told.row, axis=1),
        weights_of,
        on=told.on,
        tiles=tiles,
        slope=F32,
        in_place=True,
        interpret=plgpu.InterpretGPUParams(),
    )
    columns = (seen[:, i : i + 1] for i in range(5))
    loss = told_losses(told, tile.Statistic(*columns))
    is_right((loss, slope), rows, weights)


# ------------------------------------------------------------------ transformations

X, Y, OF_CLASSES = (
    jnp.asarray(3 * np.random.default_rng(0).standard_normal((6, 40)), F32),
    jnp.asarray([3, 0, 39, 7, 3, 21], jnp.int32),
    jnp.linspace(0.5, 2, 40, dtype=F32),
)


def losses_by(implementation, reduction, **options):
    def loss(x, y=Y):
        result = loss_of(
            x, y, implementation=implementation, reduction=reduction, **options
        )
        return jnp.sum(result)

    return loss


TRANSFORMATIONS = {
    "grad": lambda f: jax.value_and_grad(f)(X),
    "jvp": lambda f: jax.jvp(f, (X,), (X[::-1],)),
    "hvp": lambda f: jax.jvp(jax.grad(f), (X,), (X[::-1],)),
    "reverse over reverse": lambda f: jax.grad(lambda x: jnp.vdot(jax.grad(f)(x), X))(
        X[::-1]
    ),
    "vmap": lambda f: jax.vmap(f)(jnp.stack([X, 2 * X]), jnp.stack([Y, Y[::-1]])),
    "vmap of labels": lambda f: jax.vmap(f, (None, 0))(X, jnp.stack([Y, Y[::-1]])),
    "vmap(grad)": lambda f: jax.vmap(jax.grad(f))(jnp.stack([X, 2 * X])),
    "checkpoint": lambda f: jax.grad(jax.checkpoint(f))(X),
    "linearize": lambda f: jax.linearize(f, X)[1](X),
    "x64 off": lambda f: without_x64(f),
}


def without_x64(f):
    with jax.enable_x64(False):
        return jax.jit(jax.value_and_grad(f))(X)


def transforms_as_xla(implementation, name, reduction):
    given = {"label_smoothing": 0.1, "z_loss": 0.01}
    run = TRANSFORMATIONS[name]
    if name != "x64 off":
        run = jax.jit(run, static_argnums=0)
    actual = run(losses_by(implementation, reduction, **given))
    expected = run(losses_by("xla", reduction, **given))
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert a.dtype == e.dtype
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", TRANSFORMATIONS)
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_every_transformation(name, reduction):
    transforms_as_xla("interpret", name, reduction)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_derivatives_with_respect_to_everything_else(reduction):
    def loss(weights, of_classes, smoothing, implementation):
        return jnp.sum(
            loss_of(
                X,
                Y,
                weights=weights,
                class_weights=of_classes,
                label_smoothing=smoothing,
                reduction=reduction,
                implementation=implementation,
            )
        )

    arrays = jnp.linspace(1, 2, 6, dtype=F32), OF_CLASSES, number(0.1)
    actual, expected = (
        jax.jit(jax.grad(lambda *a, name=name: loss(*a, name), (0, 1, 2)))(*arrays)
        for name in ("interpret", "xla")
    )
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6)


def test_class_weights_may_be_mapped():
    def loss(of_classes, implementation):
        given = {"class_weights": of_classes, "label_smoothing": 0.1}
        return loss_of(X, Y, implementation=implementation, **given)

    several = jnp.stack([OF_CLASSES, OF_CLASSES[::-1]])
    actual, expected = (
        jax.jit(jax.vmap(functools.partial(loss, implementation=name)))(several)
        for name in ("interpret", "xla")
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


SAME_LOSS = {
    "axis": lambda by: loss_of(X.T, Y, axis=0, implementation=by),
    "several axes": lambda by: loss_of(
        X.reshape(6, 5, 8), Y, axis=(1, 2), implementation=by
    ),
    "base": lambda by: jax.grad(
        lambda x: loss_of(x, Y, base=2, reduction="sum", implementation=by)
    )(X),
    "masked rows": lambda by: jax.value_and_grad(
        lambda x: loss_of(
            x, Y, where=Y != 3, weights=Y + 1, reduction="mean", implementation=by
        )
    )(X.at[0].set(jnp.nan)),
    "ignored labels": lambda by: jax.value_and_grad(
        lambda x: loss_of(x, Y, ignore_index=3, reduction="mean", implementation=by)
    )(X),
    "nothing kept": lambda by: jax.value_and_grad(
        lambda x: loss_of(x, 0 * Y, ignore_index=0, reduction="mean", implementation=by)
    )(X),
    "no rows": lambda by: jax.value_and_grad(
        lambda x: loss_of(x, Y[:0], reduction="sum", implementation=by)
    )(X[:0]),
    "a loss each": lambda by: loss_of(
        X.reshape(2, 3, 40),
        Y.reshape(2, 3),
        label_smoothing=jnp.asarray([[0.1], [0.3]], F32),
        z_loss=jnp.full((2, 3), 0.01, F32),
        implementation=by,
    ),
    "bfloat16": lambda by: loss_of(X.astype(BF16), Y, implementation=by),
}


@pytest.mark.parametrize("name", SAME_LOSS)
def test_the_loss_is_the_same_by_name(name):
    run = jax.jit(SAME_LOSS[name], static_argnums=0)
    actual, expected = (run(by) for by in ("interpret", "xla"))
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert (a.dtype, a.shape) == (e.dtype, e.shape)
        np.testing.assert_allclose(a, e, rtol=2e-6, atol=1e-8)


# ------------------------------------------------------------------ the fused head


HEADS = {
    "mean": {},
    "sum, all options": {
        "reduction": "sum",
        "label_smoothing": 0.1,
        "z_loss": 0.01,
        "logit_softcap": 5.0,
        "temperature": 0.8,
        "class_weights": OF_CLASSES,
        "bias": OF_CLASSES,
        "ignore_index": 3,
    },
    "none": {"reduction": "none"},
    "save": {"reduction": "none", "backward": "save"},
}


@pytest.mark.parametrize("name", HEADS)
def test_the_fused_head(name):
    rng = np.random.default_rng(1)
    hidden, kernel = (
        jnp.asarray(rng.standard_normal(s), F32) for s in ((6, 5), (5, 40))
    )

    def loss(hidden, kernel, by):
        given = {"chunk_size": 4, "implementation": by, **HEADS[name]}
        return jnp.sum(jaxloss.linear_softmax_cross_entropy(hidden, kernel, Y, **given))

    actual, expected = (
        jax.jit(jax.value_and_grad(loss, (0, 1)), static_argnums=2)(hidden, kernel, by)
        for by in ("interpret", "xla")
    )
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6)


def test_the_fused_head_with_logits_in_bfloat16():
    # The kernel reads them as they are stored, and writes the derivative over them.
    rng = np.random.default_rng(1)
    hidden, kernel = (
        jnp.asarray(rng.standard_normal(s), BF16) for s in ((6, 5), (5, 40))
    )

    def loss(hidden, kernel, by):
        return jaxloss.linear_softmax_cross_entropy(
            hidden, kernel, Y, implementation=by, chunk_size=4, logits_dtype=BF16
        )

    by_kernel = jax.jit(jax.value_and_grad(loss, (0, 1)), static_argnums=2)
    given = by_kernel(hidden, kernel, "interpret")

    def rounded(hidden, kernel):
        logits = jnp.matmul(hidden, kernel, preferred_element_type=F32)
        # An optimizing compiler may leave out a mere conversion there and back.
        logits = jax.lax.reduce_precision(logits, 8, 7)
        return loss_of(logits, Y, reduction="mean")

    expected = jax.jit(jax.value_and_grad(rounded, (0, 1)))(hidden, kernel)
    for a, e in zip(jax.tree.leaves(given), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a.astype(F32), e.astype(F32), rtol=2**-6, atol=2**-9)


def test_explain_names_kernel_tiles_and_reason(capsys):
    shape = jax.ShapeDtypeStruct
    arrays = (
        shape((4096, 256), BF16),
        shape((256, 50_000), BF16),
        shape((4096,), jnp.int32),
    )
    head = jaxloss.linear_softmax_cross_entropy
    (plan,) = jaxloss.explain(head, *arrays, implementation="interpret")
    assert plan.implementation == "interpret"
    assert plan.reason.startswith("asked for; ") and "rows in VMEM" in plan.reason
    (plan,) = jaxloss.explain(head, *arrays)
    assert (plan.implementation, plan.reason) == (
        "xla",
        "the only one on this platform",
    )
    assert "rows in VMEM" in capsys.readouterr().out


def test_explain_of_a_loss_on_logits(capsys):
    shape = jax.ShapeDtypeStruct
    arrays = shape((4, 1024, 50_257), BF16), shape((4, 1024), jnp.int32)

    def mean(logits, labels, **options):
        return jaxloss.softmax_cross_entropy_with_integer_labels(
            logits, labels, reduction="mean", **options
        )

    (plan,) = jaxloss.explain(mean, *arrays)
    assert (plan.implementation, plan.reason) == (
        "xla",
        "the only one on this platform",
    )
    assert (plan.rows, plan.classes, plan.dtype) == (4096, 50_257, "bfloat16")
    assert "4,096 x 50,257, bfloat16" in capsys.readouterr().out
    (plan,) = jaxloss.explain(mean, *arrays, implementation="interpret")
    assert plan.implementation == "interpret" and "VMEM" in plan.reason
    # Inside a fused head the loss is one of its rows, and not asked.
    fused = jaxloss.linear_loss(jaxloss.softmax_cross_entropy_with_integer_labels)
    head = shape((64, 8), BF16), shape((8, 300), BF16), shape((64,), jnp.int32)
    (plan,) = jaxloss.explain(fused, *head)
    assert plan.hidden == 8


# ------------------------------------------------------------------ which one runs


def refused(match, **given):
    x = given.pop("x", X)
    with pytest.raises(NotImplementedError, match=match) as error:
        loss_of(x, Y, **given)
    assert 'pass "xla"' in str(error.value)


def test_a_named_implementation_runs_or_says_why():
    refused("needs a TPU", implementation="mosaic_tpu")
    refused("needs a Hopper GPU", implementation="mosaic_gpu")
    refused("float16", x=X.astype(jnp.float16), implementation="mosaic_tpu")
    refused("these are float64", x=X.astype(jnp.float64), implementation="interpret")
    refused("two classes", x=X[:, :1], implementation="interpret")
    refused(
        "mask of classes", where=jnp.ones((6, 40), bool), implementation="interpret"
    )
    wide = jax.ShapeDtypeStruct((6, 300_000), F32)
    with pytest.raises(NotImplementedError, match="262,144 classes"):
        jax.eval_shape(lambda x: loss_of(x, Y, implementation="interpret"), wide)
    with pytest.raises(ValueError, match="`implementation` must be one of"):
        loss_of(X, Y, implementation="triton")
    head = jaxloss.linear_softmax_cross_entropy
    with pytest.raises(NotImplementedError, match="mask of classes"):
        head(X, X.T, Y, where=jnp.ones((6, 6), bool), implementation="interpret")


class Device:
    """What is asked of one."""

    def __init__(self, platform, device_kind, compute_capability=""):
        self.platform, self.device_kind = platform, device_kind
        self.compute_capability = compute_capability


def test_an_older_device_says_so(monkeypatch):
    monkeypatch.setattr(jax, "devices", lambda: [Device("tpu", "TPU v4")])
    refused("no tiles for this chip, TPU v4", implementation="mosaic_tpu")
    assert op.choose(Check("f"), None, BF16, (8, 1000)).how is None
    monkeypatch.setattr(jax, "devices", lambda: [Device("gpu", "NVIDIA A100", "8.0")])
    refused("this is NVIDIA A100", implementation="mosaic_gpu")
    monkeypatch.setattr(jax, "devices", lambda: [Device("gpu", "NVIDIA H100", "9.0")])
    assert chips.unfit("mosaic_gpu") is None
    monkeypatch.setattr(jax, "devices", lambda: [Device("tpu", "TPU v6 lite")])
    assert chips.unfit("mosaic_tpu") is None and chips.vmem() == 128 * 2**20


def exported(function, *platforms):
    shapes = jax.ShapeDtypeStruct(X.shape, F32), jax.ShapeDtypeStruct(Y.shape, Y.dtype)
    # Not serialized: the call of a kernel is not promised to stay.
    return export.export(jax.jit(function), platforms=platforms)(*shapes)


def test_none_chooses_by_platform_when_it_is_lowered(monkeypatch):
    """On a machine with a TPU, with the kernel on by default."""
    everywhere = config.Measured("for this test", 1, 2, ("float32", "bfloat16"))
    monkeypatch.setattr(config, "BY_DEFAULT", {"mosaic_tpu": everywhere})
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    choice = op.choose(Check("f"), None, BF16, (8, 1000))
    assert choice.name == "mosaic_tpu" and "for this test" in choice.reason
    loss = losses_by(None, "mean")
    expected = losses_by("xla", "mean")
    # This machine runs it without a kernel, with the same value and derivative.
    found = (jax.value_and_grad(f)(X) for f in (loss, expected))
    for a, e in zip(*found, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-7)
    kernel = "tpu_custom_call"
    assert kernel in exported(jax.value_and_grad(loss), "tpu").mlir_module()
    assert kernel not in exported(jax.value_and_grad(loss), "cpu").mlir_module()
    # And a program for both has it on one of them.
    assert kernel in exported(loss, "cpu", "tpu").mlir_module()
    # What the kernel cannot do is done without it.
    choice = op.choose(Check("f"), None, jnp.dtype("float16"), (8, 1000))
    assert choice.how is None and "float16" in choice.reason
    assert jnp.isfinite(loss(X.astype(jnp.float16)))
    assert jnp.isfinite(losses_by(None, "mean", where=jnp.ones((6, 40), bool))(X))


def test_none_is_xla_where_nothing_was_measured(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    choice = op.choose(Check("f"), None, BF16, (8, 1000))
    assert choice.name == "xla" and "not yet measured" in choice.reason
    assert (
        "tpu_custom_call" not in exported(losses_by(None, "mean"), "tpu").mlir_module()
    )


def test_on_a_hopper_gpu_the_kernel_runs_where_it_was_seen_to_win(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(config, "IN_PLACE", True)
    devices = [Device("gpu", "NVIDIA H200", "9.0")]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    monkeypatch.setattr(jax, "device_count", lambda: len(devices))
    at = functools.partial(op.choose, Check("f"), None)
    choice = at(BF16, (256, 32_000))
    assert choice.name == "mosaic_gpu" and "H200" in choice.reason
    assert choice.how == op.How("f", None)
    for dtype, shape, said in (
        (BF16, (255, 32_000), "256 rows or more"),
        (BF16, (256, 31_999), "32,000 classes or more"),
        (F32, (256, 32_000), "was measured in bfloat16"),
    ):
        choice = at(dtype, shape)
        assert choice.how is None and said in choice.reason
    monkeypatch.setattr(config, "IN_PLACE", False)
    assert "from JAX 0.11" in at(BF16, (256, 32_000)).reason
    monkeypatch.setattr(config, "IN_PLACE", True)
    # Beside others, JAX might spread the program, and would gather the logits.
    devices.append(devices[0])
    choice = at(BF16, (256, 32_000))
    assert choice.how is None and "gathered" in choice.reason
    devices[:] = [Device("gpu", "NVIDIA B200", "10.0")]
    assert "Hopper GPUs only" in at(BF16, (256, 32_000)).reason


def test_without_a_kernel_pallas_is_not_imported():
    program = (
        "import sys, jax, jax.numpy as jnp, jaxloss; "
        "loss = jaxloss.softmax_cross_entropy_with_integer_labels; "
        "x, y = jnp.ones((2, 3)), jnp.zeros(2, jnp.int32); "
        "before = {m for m in sys.modules if 'pallas' in m}; "
        "jax.grad(lambda x: loss(x, y).sum())(x); "
        "assert {m for m in sys.modules if 'pallas' in m} == before"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------ sizes

VOCABULARIES = (2, 129, 1000, 32_000, 50_257, 128_256, 151_936, 262_144)
EVERYTHING = Features(True, True, True, True, True)


@pytest.mark.parametrize("classes", VOCABULARIES)
@pytest.mark.parametrize("dtype", [F32, BF16], ids=["float32", "bfloat16"])
def test_tiles_fit(classes, dtype, monkeypatch):
    monkeypatch.setattr(config, "_TILE", 64 * 8 * 128)
    for vmem in {chip.vmem for chip in chips.TPUS.values()}:
        for on in (Features(), EVERYTHING):
            for slope in (None, dtype):
                tiles = config.tpu_tiles(8192, classes, dtype, slope, on, vmem)
                assert tiles is not None and tiles.vmem < vmem
                assert tiles.rows % tiles.group == 0 and tiles.columns % 128 == 0
                assert tiles.group % (8 * 4 // dtype.itemsize) == 0
                assert tiles.group * tiles.columns <= config._TILE
    tiles = config.gpu_tiles(classes, dtype)
    assert classes % tiles.vector == 0
    assert tiles.vector * dtype.itemsize <= 16
    assert tiles.columns % (128 * tiles.vector) == 0
    assert tiles.columns <= max(classes, 128)
    # As many blocks as were meant: one more would not fit.
    if tiles.scratch:
        assert (
            tiles.blocks * tiles.scratch
            <= 228 * 1024
            < tiles.scratch * (tiles.blocks + 1)
        )


def test_what_does_not_fit_is_none():
    bits = jnp.dtype("float32")
    assert config.tpu_tiles(8, 10**7, bits, bits, Features(), 64 * 2**20) is None


def test_a_row_has_the_columns_that_a_kernel_reads():
    assert len(Row._fields) == 8 and len(tile.Statistic._fields) == 5
