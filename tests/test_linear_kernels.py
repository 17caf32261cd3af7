"""The kernels of the fused head, interpreted: against the row mathematics in float64.

They run in `interpret=True` (what is never written is NaN there, and so is what lies
behind the end of an array) and in `pltpu.InterpretParams` (which knows of memory:
races, reads out of bounds). Tiles are of 32 tokens, in two groups, and 128 classes, so
that few of them are several tiles and a tail. Hidden states, kernel and bias are
multiples of 1/32: the logits are exact in float32, and everything after them is held to
a few roundings.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.experimental.pallas import tpu as pltpu

import jaxloss
from jaxloss._kernels import chips, tile, told
from jaxloss._kernels.linear_softmax_xent import config, mosaic_tpu, op
from jaxloss._kernels.linear_softmax_xent.config import PARTS, Shape, Tiles
from jaxloss._kernels.softmax_xent.op import Rows
from jaxloss._kernels.tile import Features, Statistic
from tests.test_kernels import Device, options_of, same, truth

F32, BF16 = jnp.dtype("float32"), jnp.dtype("bfloat16")
loss_of = jaxloss.linear_softmax_cross_entropy


@pytest.fixture(autouse=True, scope="module")
def small_tiles():
    whole = config._MOST_ROWS, config._MOST_COLUMNS, config._GROUP
    config._MOST_ROWS, config._MOST_COLUMNS, config._GROUP = 32, 128, 16 * 128
    jax.clear_caches()
    yield
    config._MOST_ROWS, config._MOST_COLUMNS, config._GROUP = whole
    jax.clear_caches()


# ------------------------------------------------------------------ problems


def problem(tokens, units, classes, dtype=F32, options="none", bias=True):
    """A head whose logits are exact, and weights of its tokens."""
    rng = np.random.default_rng(tokens + units + classes)

    def eighths(*shape):
        return np.clip(np.round(8 * rng.standard_normal(shape)), -24, 24) / 8

    head = op.Head(
        jnp.asarray(eighths(tokens, units) / 4, dtype),
        jnp.asarray(eighths(units, classes), dtype),
        jnp.asarray(eighths(classes), F32) if bias else None,
        jnp.asarray(rng.integers(classes, size=tokens), jnp.int32),
        options_of(classes)[options],
    )
    return head, jnp.asarray(rng.uniform(0.5, 2, tokens), F32)


def how(class_axis=1):
    return op.How("f", "interpret", class_axis)


@functools.partial(jax.jit, static_argnums=(0, 3))
def by_kernels(how, head, weights, wanted=(True, True, True)):
    """The losses twice, and the gradients asked for, those of the kernel turned."""
    asked = op.Wanted(wanted[0], wanted[1], wanted[2] and head.bias is not None)
    if how.class_axis == 0:
        head = head._replace(kernel=head.kernel.T)
    losses, gradients = op.gradients(how, head, weights, asked)
    if wanted[1] and how.class_axis == 0:
        gradients[wanted[0]] = gradients[wanted[0]].T
    return op.losses(how, head), losses, gradients


def f64(x):
    return np.asarray(x).astype(np.float64)


def expected(head, weights):
    """The losses and the gradients, and what each of them is a sum of."""
    logits = f64(head.hidden) @ f64(head.kernel)
    if head.bias is not None:
        logits = logits + f64(head.bias)
    assert np.all((logits == logits.astype(np.float32)) | np.isnan(logits))
    rows = Rows(jnp.asarray(logits, F32), head.label, None, head.options)
    loss, slope, size, size_of_loss = truth(rows, weights)
    # The maximum of nothing but NaN is -inf by XLA on CPU, and that loss infinite.
    loss = np.where(np.all(np.isnan(logits), axis=1), np.nan, loss)
    hidden, kernel = f64(head.hidden), f64(head.kernel)
    size = np.nan_to_num(size) + np.abs(np.nan_to_num(slope))
    gradients = [
        (slope @ kernel.T, size @ np.abs(kernel).T),
        (hidden.T @ slope, np.abs(np.nan_to_num(hidden)).T @ size),
        (slope.sum(0), size.sum(0)),
    ]
    return (loss, size_of_loss), gradients


def is_right(found, head, weights):
    again, losses, gradients = found
    (loss, size), truths = expected(head, weights)
    same(losses, loss, 5e-7, size)
    same(again, losses, 1e-7)
    for gradient, (value, size) in zip(gradients, truths, strict=False):
        # In bfloat16 the derivative is rounded before the product, and the result.
        rounded = gradient.dtype == BF16 or head.kernel.dtype == BF16
        same(gradient, value, 2**-8 if rounded else 5e-6, size)


# ------------------------------------------------------------------ values

# Tokens, hidden units, classes: one of each, fewer than a tile, whole tiles, tails.
SHAPE = (40, 24, 300)
FURTHER = [
    (33, 130, 257),
    (1, 8, 1),
    (1, 3, 2),
    (3, 100, 129),
    (32, 16, 256),
    (16, 128, 128),
]


def thoroughly(*values):
    return [pytest.param(value, marks=pytest.mark.thorough) for value in values]


@pytest.mark.parametrize("shape", [SHAPE, *thoroughly(*FURTHER)], ids=str)
@pytest.mark.parametrize("class_axis", [1, *thoroughly(0)])
def test_shapes(shape, class_axis):
    head, weights = problem(*shape)
    is_right(by_kernels(how(class_axis), head, weights), head, weights)


@pytest.mark.parametrize("shape", [*thoroughly(SHAPE, *FURTHER)], ids=str)
def test_shapes_in_bfloat16(shape):
    head, weights = problem(*shape, BF16)
    found = by_kernels(how(), head, weights)
    assert [gradient.dtype for gradient in found[2]] == [BF16, BF16, F32]
    is_right(found, head, weights)


@pytest.mark.thorough
@pytest.mark.parametrize("class_axis", [1, 0])
def test_two_dtypes(class_axis):
    head, weights = problem(40, 24, 300)
    head = head._replace(hidden=head.hidden.astype(BF16))
    found = by_kernels(how(class_axis), head, weights)
    assert [gradient.dtype for gradient in found[2]] == [BF16, F32, F32]
    (loss, size), truths = expected(head, weights)
    same(found[1], loss, 5e-7, size)
    for gradient, (value, size), rtol in zip(
        found[2], truths, (2**-8, 5e-6, 5e-6), strict=True
    ):
        same(gradient, value, rtol, size)


@pytest.mark.thorough
@pytest.mark.parametrize("options", [*options_of(2)])
@pytest.mark.parametrize("class_axis", [1, 0])
def test_options(options, class_axis):
    head, weights = problem(40, 24, 300, options=options)
    is_right(by_kernels(how(class_axis), head, weights), head, weights)


@pytest.mark.thorough
@pytest.mark.parametrize("wanted", [(True, False, False), (False, False, True)])
def test_one_gradient(wanted):
    head, weights = problem(40, 24, 300)
    _, _, (gradient,) = by_kernels(how(), head, weights, wanted)
    value, size = expected(head, weights)[1][wanted.index(True)]
    same(gradient, value, 5e-6, size)


@pytest.mark.thorough
@pytest.mark.parametrize("options", ["none", "both", "z_loss", "logit_softcap"])
def test_rows_that_kernels_get_wrong(options):
    """A first tile of classes that are not there, NaN, labels that do not exist."""
    head, weights = problem(40, 24, 300, options=options)
    hidden, bias, label = (np.array(x) for x in (head.hidden, head.bias, head.label))
    bias[:129] = -np.inf
    label[:] = np.maximum(label, 130)
    label[3], label[4], label[5] = -1, 300, 2  # the last is a class that is not there
    hidden[1] = np.nan
    head = head._replace(
        hidden=jnp.asarray(hidden), bias=jnp.asarray(bias), label=jnp.asarray(label)
    )
    _, losses, (of_hidden, of_kernel, _) = by_kernels(how(), head, weights)
    (loss, size), truths = expected(head, weights)
    same(losses, loss, 5e-7, size)
    same(of_hidden, *(truths[0][0], 5e-6, truths[0][1]))
    assert np.all(np.isnan(of_kernel))
    # Without those rows, that of the kernel is what it should be.
    kept = np.setdiff1d(np.arange(40), [1, 3, 4])
    head = head._replace(hidden=head.hidden[kept], label=head.label[kept])
    is_right(by_kernels(how(), head, weights[kept]), head, weights[kept])


@pytest.mark.thorough
@pytest.mark.parametrize("fill", [-np.inf, np.inf])
def test_no_finite_logit(fill):
    """All classes missing, or a class at infinity: the limits, as in the definition."""
    head, weights = problem(5, 8, 200)
    bias = np.array(head.bias)
    bias[:] = -np.inf if fill < 0 else bias
    bias[7] = fill
    head = head._replace(bias=jnp.asarray(bias), label=head.label.at[0].set(7))
    _, losses, (of_hidden, *_) = by_kernels(how(), head, weights)
    (loss, size), truths = expected(head, weights)
    same(losses, loss, 5e-7, size)
    same(of_hidden, truths[0][0], 5e-6, truths[0][1])


# ------------------------------------------------------------------ memory


@pytest.fixture
def memory(capfd):
    """The interpreter that knows of memory; nothing may race in it."""
    yield pltpu.InterpretParams(detect_races=True, num_cores_or_threads=2)
    pltpu.reset_tpu_interpret_mode_state()
    said = "".join(capfd.readouterr())
    # An earlier JAX says so where a later one raises.
    assert "RACE" not in said.upper(), said


def on_tpu(part, head, weights, class_axis, interpret):
    """One kernel by itself."""
    kernel = head.kernel if class_axis else head.kernel.T
    classes = head.kernel.shape[1]
    known = told.tell(head.label, None, head.options, classes, weights, None)
    columns = list(known.row)
    if part != "losses":
        logits = jnp.dot(head.hidden, head.kernel, preferred_element_type=F32)
        logits = logits if head.bias is None else logits + head.bias[None]
        is_label = jnp.arange(classes, dtype=jnp.int32)[None] == head.label[:, None]
        weights_of = head.options.class_weights if known.on.class_weights else None
        seen = tile.statistic(logits, is_label, known.row, weights_of, known.on)
        columns += tile.slope_of(seen, known.row, known.on)
    results = mosaic_tpu.head(
        part,
        head.hidden,
        kernel,
        jnp.concatenate(columns, axis=1),
        None if head.bias is None else head.bias[None],
        head.options.class_weights if known.on.class_weights else None,
        on=known.on,
        class_axis=class_axis,
        tiles=Tiles(32, 128, 16, 2**24),
        of_bias=part == "kernel" and head.bias is not None,
        interpret=interpret,
    )
    if part == "losses":
        seen = (results[0][:, i : i + 1] for i in range(5))
        return [told.losses(known, Statistic(*seen))]
    if part == "kernel":
        of_kernel, *of_bias = results
        results = [of_kernel if class_axis else of_kernel.T, *(x[0] for x in of_bias)]
    return results


def is_right_on_tpu(part, head, weights, class_axis, interpret):
    found = on_tpu(part, head, weights, class_axis, interpret)
    (loss, size), truths = expected(head, weights)
    if part == "losses":
        same(found[0], loss, 5e-7, size)
        return
    first = PARTS.index(part) - 1
    for gradient, (value, size) in zip(found, truths[first:], strict=False):
        same(gradient, value, 5e-6, size)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("class_axis", [1, *thoroughly(0)])
def test_no_race_and_nothing_out_of_bounds(memory, part, class_axis):
    # Two blocks of tokens, three of classes, both with a tail.
    head, weights = problem(40, 8, 300)
    is_right_on_tpu(part, head, weights, class_axis, memory)


@pytest.mark.thorough
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("options", ["all", "both"])
def test_no_race_with_options(memory, part, options):
    head, weights = problem(40, 8, 300, options=options)
    is_right_on_tpu(part, head, weights, 1, memory)


@pytest.mark.thorough
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("shape", [(1, 3, 2), (64, 8, 256)], ids=str)
def test_no_race_in_other_shapes(memory, part, shape):
    head, weights = problem(*shape, bias=False)
    is_right_on_tpu(part, head, weights, 1, memory)


@pytest.mark.parametrize("part", PARTS)
def test_index_maps_are_32_bits_wide(part):
    """Also where JAX has 64: the compiler for TPU knows no others."""
    assert jax.config.jax_enable_x64
    head, weights = problem(40, 8, 300, options="both")
    jaxpr = jax.make_jaxpr(lambda h, g: on_tpu(part, h, g, 1, True))(head, weights)
    calls = [e for e in jaxpr.jaxpr.eqns if "grid_mapping" in e.params]
    (mapping,) = (call.params["grid_mapping"] for call in calls)
    assert len(mapping.block_mappings) >= 6
    for block in mapping.block_mappings:
        dtypes = {place.dtype.name for place in block.index_map_jaxpr.out_avals}
        assert dtypes == {"int32"}


# ------------------------------------------------------------------ transformations

HEAD, _ = problem(40, 24, 300)
HIDDEN, KERNEL, BIAS, LABELS = HEAD[:4]
ARRAYS = HIDDEN, KERNEL, BIAS
# Gradients by the kernels, and by chunks of tokens.
WAYS = {"tiles": {"class_chunk_size": 128}, "chunks": {}, "none": {}}


def head_by(implementation, way, **options):
    given = WAYS[way] if implementation != "xla" else {}
    reduction = "none" if way == "none" else "mean"

    def loss(hidden, kernel, bias, labels=LABELS):
        result = loss_of(
            hidden,
            kernel,
            labels,
            bias=bias,
            reduction=reduction,
            implementation=implementation,
            **given,
            **options,
        )
        return jnp.sum(result)

    return loss


def stacked(x, by=1):
    """Twice, the second time against what is not moved."""
    return jnp.stack([x, jnp.roll(x, by, axis=0)])


ALL = (0, 1, 2)
TRANSFORMATIONS = {
    "grad": lambda f: jax.value_and_grad(f, ALL)(*ARRAYS),
    "jvp": lambda f: jax.jvp(f, ARRAYS, ARRAYS),
    "hvp": lambda f: jax.jvp(jax.grad(f, ALL), ARRAYS, ARRAYS),
    "reverse over reverse": lambda f: jax.grad(
        lambda w: jnp.vdot(jax.grad(f, 1)(HIDDEN, w, BIAS), KERNEL)
    )(KERNEL),
    "vmap": lambda f: jax.vmap(f, (0, None, None, 0))(
        stacked(HIDDEN), KERNEL, BIAS, stacked(LABELS, 2)
    ),
    "vmap of kernels": lambda f: jax.vmap(f, (None, 0, None))(
        HIDDEN, stacked(KERNEL), BIAS
    ),
    "vmap(grad)": lambda f: jax.vmap(jax.grad(f, ALL), (0, None, None))(
        stacked(HIDDEN), KERNEL, BIAS
    ),
    "grad of vmap": lambda f: jax.grad(
        lambda w: jnp.sum(jax.vmap(f, (0, None, None))(stacked(HIDDEN), w, BIAS))
    )(KERNEL),
    "checkpoint": lambda f: jax.grad(jax.checkpoint(f), ALL)(*ARRAYS),
    "linearize": lambda f: jax.linearize(f, *ARRAYS)[1](*ARRAYS),
    "one gradient": lambda f: jax.grad(f, 0)(*ARRAYS),
    "x64 off": lambda f: without_x64(f),
}


def without_x64(f):
    with jax.enable_x64(False):
        return jax.jit(jax.value_and_grad(f, ALL))(*ARRAYS)


@pytest.mark.thorough
@pytest.mark.parametrize("name", TRANSFORMATIONS)
@pytest.mark.parametrize("way", WAYS)
def test_every_transformation(name, way):
    given = {"label_smoothing": 0.1, "z_loss": 0.01}
    run = TRANSFORMATIONS[name]
    if name != "x64 off":
        run = jax.jit(run, static_argnums=0)
    actual, wanted = (run(head_by(by, way, **given)) for by in ("interpret", "xla"))
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(wanted), strict=True):
        assert a.dtype == e.dtype
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=2e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("way", ["tiles", "chunks"])
def test_derivatives_with_respect_to_everything_else(way):
    of_classes = jnp.linspace(0.5, 2, 300, dtype=F32)
    arrays = jnp.linspace(1, 2, 40, dtype=F32), of_classes, jnp.asarray(0.1, F32)

    def loss(weights, of_classes, smoothing, implementation):
        options = {"class_weights": of_classes, "label_smoothing": smoothing}
        return head_by(implementation, way, weights=weights, **options)(*ARRAYS)

    actual, wanted = (
        jax.jit(jax.grad(lambda *a, by=by: loss(*a, by), ALL))(*arrays)
        for by in ("interpret", "xla")
    )
    for a, e in zip(actual, wanted, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6)


SAME_LOSS = {
    "sum, all options": {
        "reduction": "sum",
        "label_smoothing": 0.1,
        "z_loss": 0.01,
        "logit_softcap": 5.0,
        "temperature": 0.8,
        "class_weights": jnp.linspace(0.5, 2, 300, dtype=F32),
        "base": 2,
    },
    "ignored labels": {"ignore_index": int(LABELS[3])},
    "nothing kept": {"where": jnp.zeros(40, bool)},
    "masked tokens": {
        "where": LABELS % 3 != 0,
        "weights": jnp.linspace(0, 2, 40, dtype=F32),
    },
    "promised tokens": {"where": jnp.arange(40) < 9, "max_tokens": 10},
    "options of each token": {"label_smoothing": jnp.linspace(0, 0.3, 40, dtype=F32)},
    "class axis": {"class_axis": 0},
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", SAME_LOSS)
def test_the_loss_is_the_same_by_name(name):
    options = dict(SAME_LOSS[name])
    kernel = KERNEL.T if options.get("class_axis") == 0 else KERNEL
    garbage = HIDDEN.at[0].set(jnp.nan) if "where" in options else HIDDEN
    options["where"] = options.get("where", jnp.ones(40, bool)) & (
        (jnp.arange(40) > 0) | ~jnp.isnan(garbage[0, 0])
    )

    def loss(hidden, kernel, bias, by, dtype):
        wide = {
            k: v.astype(dtype) if getattr(v, "dtype", None) == F32 else v
            for k, v in options.items()
        }
        given = {"class_chunk_size": 128} if by == "interpret" else {}
        return loss_of(
            hidden, kernel, LABELS, bias=bias, implementation=by, **given, **wide
        )

    arrays = garbage, kernel, BIAS
    actual = jax.jit(jax.value_and_grad(lambda *a: loss(*a, "interpret", F32), ALL))(
        *arrays
    )
    wide = (x.astype(jnp.float64) for x in arrays)
    wanted = jax.jit(jax.value_and_grad(lambda *a: loss(*a, "xla", jnp.float64), ALL))(
        *wide
    )
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(wanted), strict=True):
        assert (a.dtype, a.shape) == (F32, e.shape)
        np.testing.assert_allclose(a, e, rtol=2e-5, atol=1e-6)


# ------------------------------------------------------------------ which one runs


def exported(loss, *platforms):
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in ARRAYS]
    return export.export(jax.jit(loss), platforms=platforms)(*shapes).mlir_module()


def test_each_way_has_its_kernels():
    """Lowered for a TPU: which kernels are in the program, by their names."""
    name = "jaxloss_linear_softmax_xent_"
    parts = {
        way: {
            part
            for part in PARTS
            if name + part
            in exported(jax.value_and_grad(head_by("mosaic_tpu", way), ALL), "tpu")
        }
        for way in WAYS
    }
    # Differentiated by chunks, the losses come along with them.
    assert parts == {"tiles": set(PARTS), "chunks": set(), "none": {"losses"}}
    value = exported(head_by("mosaic_tpu", "chunks"), "tpu")
    assert name + "losses" in value
    # Not without being asked for.
    assert "tpu_custom_call" not in exported(head_by(None, "chunks"), "tpu")


def refused(match, error=NotImplementedError, hidden=HIDDEN, **given):
    with pytest.raises(error, match=match) as raised:
        loss_of(hidden, KERNEL, LABELS, **{"implementation": "interpret", **given})
    assert "eave" in str(raised.value)


def test_what_cannot_run_says_why():
    refused("needs a TPU", implementation="mosaic_tpu", class_chunk_size=128)
    refused("multiples of 128, and not 200", class_chunk_size=200)
    refused("leave out `logits_dtype`", class_chunk_size=128, logits_dtype=BF16)
    refused("losses one by one", class_chunk_size=128, reduction="none")
    refused(
        "needs all classes of a token",
        class_chunk_size=128,
        implementation="mosaic_gpu",
    )
    refused("this has float16", class_chunk_size=128, hidden=HIDDEN.astype("float16"))
    refused("mask of classes", where=jnp.ones((40, 300), bool))
    shapes = [
        jax.ShapeDtypeStruct(shape, BF16) for shape in ((40, 10**6), (10**6, 1000))
    ]
    with pytest.raises(NotImplementedError, match="so many hidden units and 256"):
        jax.eval_shape(
            lambda h, w: loss_of(
                h, w, LABELS, implementation="interpret", class_chunk_size=256
            ),
            *shapes,
        )
    # Chosen freely, the tokens are taken in chunks.
    arrays = *shapes, jax.ShapeDtypeStruct((40,), jnp.int32)
    (plan,) = jaxloss.explain(loss_of, *arrays, implementation="interpret")
    assert plan.tiles is None and "so many hidden units" in plan.reason


LARGE = (
    jax.ShapeDtypeStruct((8192, 4096), BF16),
    jax.ShapeDtypeStruct((4096, 128_256), BF16),
    jax.ShapeDtypeStruct((8192,), jnp.int32),
)


def test_explain_says_which_way_and_why(monkeypatch, capsys):
    monkeypatch.setattr(config, "_MOST_ROWS", 1024)
    monkeypatch.setattr(config, "_MOST_COLUMNS", 1024)

    def plan(kind, **given):
        monkeypatch.setattr(jax, "devices", lambda: [Device("tpu", kind)])
        given = {"implementation": "mosaic_tpu", **given}
        (found,) = jaxloss.explain(loss_of, *LARGE, **given)
        return found

    # 16 GiB, of which a head may have two.
    small = plan("TPU v5 lite")
    assert small.tiles is not None and small.tiles.gradients
    assert "more than 2,048" in small.reason
    assert tuple(small.matmuls.values()) == (1, 3, 5)
    assert small.tiles.losses == (1024, 768)
    said = capsys.readouterr().out
    assert "losses 1,024 x 768, hidden" in said and "chunks" not in said.split("\n")[3]
    # 32 GiB.
    large = plan("TPU v6 lite")
    assert large.tiles is not None and not large.tiles.gradients
    assert "within 4,096" in large.reason
    assert tuple(large.matmuls.values()) == (1, 2, 3)
    # What is asked for decides.
    chunks = plan("TPU v5 lite", chunk_size=1024)
    assert chunks.tiles is None and chunks.reason.endswith("as are chunks of tokens")
    asked = plan("TPU v6 lite", class_chunk_size=512)
    assert asked.tiles is not None and asked.tiles.gradients
    assert asked.tiles.kernel[1] == 512
    assert asked.temporaries < 64 * 2**20 < small.hidden * small.classes * 2
    # Each array once for every tile of the other side that it meets.
    size, (tokens, classes) = 2 * 4096 * 128_256, asked.tiles.kernel
    times = sum(
        -(-8192 // rows) for rows, _ in (asked.tiles.losses, asked.tiles.hidden)
    )
    states = 2 * 8192 * 4096
    read = (times + 1) * size + (2 + -(-128_256 // classes)) * states
    assert asked.bytes_moved == read + size + states
    assert tokens <= 1024
    each = plan("TPU v5 lite", reduction="none")
    assert each.tiles is not None and not each.tiles.gradients
    assert tuple(each.matmuls.values()) == (1, 3, 4)


# ------------------------------------------------------------------ sizes


@pytest.mark.parametrize("units", [1, 100, 1024, 4096, 8192])
@pytest.mark.parametrize("classes", [1, 1000, 50_257, 128_256, 262_144])
def test_tiles_fit(units, classes, monkeypatch):
    monkeypatch.setattr(config, "_MOST_ROWS", 1024)
    monkeypatch.setattr(config, "_MOST_COLUMNS", 1024)
    for vmem in {chip.vmem for chip in chips.TPUS.values()}:
        for dtype in (F32, BF16):
            for tokens in (1, 600, 8192):
                shape = Shape(tokens, units, classes, dtype, dtype)
                for part in PARTS:
                    tiles = config.tiles(part, shape, Features(), vmem)
                    assert tiles is not None and tiles.vmem < vmem
                    assert tiles.rows % tiles.group == tiles.group % 16 == 0
                    assert tiles.rows <= 1024
                    whole = tiles.columns == classes
                    assert whole or tiles.columns % 128 == 0 < classes - tiles.columns


def test_what_does_not_fit_is_none():
    shape = Shape(8192, 10**6, 1000, F32, F32)
    assert config.tiles("hidden", shape, Features(), 64 * 2**20) is None
