"""Ways to break the kernels on purpose, and the tests that notice."""

from tests.breakages import Breakage

KERNELS = "tests/test_kernels.py"
ON_TPU = "_kernels/softmax_xent/mosaic_tpu.py"
ON_GPU = "_kernels/softmax_xent/mosaic_gpu.py"
TILE = "_kernels/tile.py"
OP = "_kernels/softmax_xent/op.py"
CALL = "_kernels/softmax_xent/call.py"
TOLD = "_kernels/told.py"
LOWERING = "_kernels/lowering.py"

BREAKAGES = [
    # The kernel for TPU.
    Breakage(
        "TPU: the tail of a row is left out",
        ON_TPU,
        "        if rest:\n            carry = step",
        "        if rest and not whole:\n            carry = step",
        f"{KERNELS} -k no_tile_is_special",
    ),
    Breakage(
        "TPU: the tail begins a tile too early",
        ON_TPU,
        "carry = step(carry, whole * width, rest)",
        "carry = step(carry, max(whole - 1, 0) * width, rest)",
        f"{KERNELS} -k no_tile_is_special",
    ),
    Breakage(
        "TPU: all tiles are the first",
        ON_TPU,
        "pl.multiple_of(i * width, width)",
        "pl.multiple_of(i * 0, width)",
        f"{KERNELS} -k no_tile_is_special",
    ),
    Breakage(
        "TPU: the label is counted from the start of its tile",
        ON_TPU,
        "column == label - start",
        "column == label - 0 * start",
        f"{KERNELS} -k no_tile_is_special",
    ),
    Breakage(
        "TPU: tiles end out of bounds",
        ON_TPU,
        "            carry = step(carry, whole * width, rest)",
        "            carry = step(carry, jnp.int32(whole * width), width)",
        f"{KERNELS} -k out_of_bounds and False-none",
    ),
    Breakage(
        "TPU: every block writes the statistics of the first",
        ON_TPU,
        "return pl.BlockSpec((tiles.rows, columns), lambda i: (i, jnp.int32(0)))",
        "return pl.BlockSpec((tiles.rows, columns), "
        "lambda i: (i * (columns != 5), jnp.int32(0)))",
        f"{KERNELS} -k out_of_bounds and False-none",
    ),
    Breakage(
        "TPU: only the first group of rows of a block is worked on",
        ON_TPU,
        "groups = jnp.int32(tiles.rows // tiles.group)",
        "groups = jnp.int32(1)",
        f"{KERNELS} -k no_tile_is_special",
    ),
    Breakage(
        "TPU: the derivative is written over the wrong operand",
        ON_TPU,
        "input_output_aliases={0: 1}",
        "input_output_aliases={1: 0}",
        f"{KERNELS} -k test_shapes and float32-shape1",
    ),
    Breakage(
        "TPU: an index map that x64 makes 64 bits wide",
        ON_TPU,
        "return pl.BlockSpec((tiles.rows, columns), lambda i: (i, jnp.int32(0)))",
        "return pl.BlockSpec((tiles.rows, columns), lambda i: (i, 0))",
        f"{KERNELS} -k 32_bits_wide",
    ),
    # What the tiles have in common.
    Breakage(
        "a row starts with a maximum of 0",
        TILE,
        "return Statistic(zero - jnp.inf, zero - 1, zero, zero, zero)",
        "return Statistic(zero, zero - 1, zero, zero, zero)",
        f"{KERNELS} -k kind and z_loss",
    ),
    Breakage(
        "the sum of the lower tile is not rescaled",
        TILE,
        "rest = high + jnp.exp(-apart) * (1 + low)",
        "rest = high + (1 + low)",
        f"{KERNELS} -k no_tile_is_special",
    ),
    Breakage(
        "the maximum of the lower tile is lost",
        TILE,
        "rest = high + jnp.exp(-apart) * (1 + low)",
        "rest = high + jnp.exp(-apart) * low",
        f"{KERNELS} -k no_tile_is_special",
    ),
    Breakage(
        "maxima are counted once",
        TILE,
        "(_sum(jnp.where(at_peak, ONE, ZERO)) - 1)",
        "jnp.minimum(_sum(jnp.where(at_peak, ONE, ZERO)) - 1, 0)",
        f"{KERNELS} -k kind and z_loss",
    ),
    Breakage(
        "a tile of absent classes is NaN",
        TILE,
        "bound_a, bound_b = bounded(a.peak), bounded(b.peak)",
        "bound_a, bound_b = a.peak, b.peak",
        f"{KERNELS} -k kind and z_loss",
    ),
    Breakage(
        "the derivative at the label cancels",
        TILE,
        "row.label_mass * complement)",
        "row.label_mass * (1 - label_p))",
        f"{KERNELS} -k test_rows_of_every_kind and none",
    ),
    Breakage(
        "a masked row keeps its derivative",
        TILE,
        "masked = row.label == MASKED",
        "masked = row.label == MASKED - 1",
        f"{KERNELS} -k kind and z_loss",
    ),
    Breakage(
        "the distances of the lower tile are not moved",
        TILE,
        "moved = jnp.where(lower == 0, 0.0, lower * apart)",
        "moved = jnp.where(lower == 0, 0.0, 0 * lower * apart)",
        f"{KERNELS} -k no_tile_is_special and all",
    ),
    # The kernel for GPU.
    Breakage(
        "GPU: the last piece counts what was counted before",
        ON_GPU,
        "(column >= first - at) & (column < classes - at)",
        "(column < classes - at)",
        f"{KERNELS} -k body_for_gpu_on_shapes and 129",
    ),
    Breakage(
        "GPU: the padding of a short row counts",
        ON_GPU,
        "(column >= first - at) & (column < classes - at)",
        "(column >= first - at)",
        f"{KERNELS} -k body_for_gpu_on_shapes and True-2",
    ),
    Breakage(
        "GPU: the last piece begins a column late",
        ON_GPU,
        "max(classes - width, 0)",
        "max(classes - width, 0) + 1",
        f"{KERNELS} -k body_for_gpu_on_shapes and 129",
    ),
    Breakage(
        "GPU: a step is read again after a piece was written over its end",
        ON_GPU,
        "write(step(jnp.int32(steps - 1)), here)",
        "write(step(jnp.int32(steps - 1)), load(step(jnp.int32(steps - 1))))",
        f"{KERNELS} -k body_for_gpu_on_shapes and True-129",
    ),
    Breakage(
        "GPU: the label is counted from the start of its piece",
        ON_GPU,
        "column == label - at",
        "column == label - 0 * at",
        f"{KERNELS} -k body_for_gpu_on_shapes and 256",
    ),
    Breakage(
        "GPU: the first step is skipped",
        ON_GPU,
        "jnp.int32(0), jnp.int32(steps - 1), ahead",
        "jnp.int32(1), jnp.int32(steps - 1), ahead",
        f"{KERNELS} -k body_for_gpu_on_shapes and 512",
    ),
    Breakage(
        "GPU: the second loop ends a step early",
        ON_GPU,
        "jnp.int32(0), jnp.int32(steps - 1), back",
        "jnp.int32(0), jnp.int32(steps - 2), back",
        f"{KERNELS} -k body_for_gpu_on_shapes and 512",
    ),
    Breakage(
        "GPU: the step of the label is like any other",
        ON_GPU,
        "plain = ordinary & (",
        "plain = ordinary | (",
        f"{KERNELS} -k body_for_gpu_on_shapes and 256",
    ),
    Breakage(
        "GPU: a masked row, or one with an infinity, is like any other",
        ON_GPU,
        "plain = ordinary & (",
        "plain = (",
        f"{KERNELS} -k body_for_gpu_on_rows and none",
    ),
    Breakage(
        "GPU: a lane of classes that are not there holds one",
        ON_GPU,
        "rest = jnp.where(lanes.peak == -jnp.inf, -1.0, lanes.rest)",
        "rest = lanes.rest",
        f"{KERNELS} -k lowest_class",
    ),
    Breakage(
        "GPU: neighbouring lanes are not put together",
        ON_GPU,
        "(64, 32, 16, 8, 4, 2, 1)",
        "(64, 32, 16, 8, 4, 2)",
        f"{KERNELS} -k body_for_gpu_on_shapes and 256",
    ),
    Breakage(
        "GPU: the warpgroups read the same steps",
        ON_GPU,
        "(j * groups + group) * pieces",
        "j * groups * pieces",
        f"{KERNELS} -k body_for_gpu_on_shapes and 512",
    ),
    Breakage(
        "GPU: the first warpgroup's statistic is everyone's",
        ON_GPU,
        "for g in range(shared.rows.shape[0])",
        "for g in range(1)",
        f"{KERNELS} -k body_for_gpu_on_shapes and 512",
    ),
    # The seam.
    Breakage(
        "the derivative of a label that does not exist is a number",
        TOLD,
        "weight = jnp.where(exists, in_base(weights[:, None], base), jnp.nan)",
        "weight = jnp.where(exists, in_base(weights[:, None], base), 1.0)",
        f"{KERNELS} -k kind and z_loss",
    ),
    Breakage(
        "the second derivative is that of a constant",
        OP,
        "        return whole(*fixed, *primals), tangent",
        "        return whole(*fixed, *primals), jax.tree.map(jnp.zeros_like, tangent)",
        f"{KERNELS} -k transformation and hvp",
    ),
    Breakage(
        "mapped rows are those of the first",
        CALL,
        "return jnp.moveaxis(x, at, 0)",
        "return 0 * jnp.moveaxis(x, at, 0) + jnp.moveaxis(x, at, 0)[:1]",
        f"{KERNELS} -k transformation and mean-vmap",
    ),
    Breakage(
        "a named kernel is replaced in silence",
        LOWERING,
        'if name not in (*here, "interpret"):',
        'if name not in (*here, "interpret") and here:',
        f"{KERNELS} -k named_implementation",
    ),
]
