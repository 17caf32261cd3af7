"""Ways to break the kernels of the fused head on purpose, and the tests that notice."""

from tests.breakages import Breakage

TESTS = "tests/test_linear_kernels.py"
ON_TPU = "_kernels/linear_softmax_xent/mosaic_tpu.py"
CALL = "_kernels/linear_softmax_xent/call.py"
OP = "_kernels/linear_softmax_xent/op.py"

# Each kernel, in plain interpretation, and with its memory watched.
SHAPES = f"{TESTS} -k test_shapes and 1-"
MEMORY = f"{TESTS} -k test_no_race_and and 1-"

BREAKAGES = [
    Breakage(
        "the head: classes behind the end count",
        ON_TPU,
        "counts = column < classes if ragged else None",
        "counts = None",
        SHAPES,
    ),
    Breakage(
        "the head: the last class does not count",
        ON_TPU,
        "counts = column < classes if ragged else None",
        "counts = column < classes - 1 if ragged else None",
        SHAPES,
    ),
    Breakage(
        "the head: statistics begin with what memory holds",
        ON_TPU,
        "    @pl.when(j == 0)\n    def _():\n        nothing",
        "    @pl.when(j == 1)\n    def _():\n        nothing",
        SHAPES,
    ),
    Breakage(
        "the head: the last tile of classes is all there is",
        ON_TPU,
        "merged = tile.merged(seen, here, row, head.on)",
        "merged = here",
        SHAPES,
    ),
    Breakage(
        "the head: only the first group of tokens is worked on",
        ON_TPU,
        "count = jnp.int32(self.tiles.rows // size)",
        "count = jnp.int32(1)",
        SHAPES,
    ),
    Breakage(
        "the head: the label is counted from the start of its tile",
        ON_TPU,
        "column = start + jax.lax.broadcasted_iota",
        "column = 0 * start + jax.lax.broadcasted_iota",
        SHAPES,
    ),
    Breakage(
        "the head: all tiles of classes are the first",
        ON_TPU,
        "weights = block(part_of_kernel, lambda i, j: (zero, j))",
        "weights = block(part_of_kernel, lambda i, j: (zero, zero))",
        SHAPES,
    ),
    Breakage(
        "the head: all tiles of an embedding table are the first",
        ON_TPU,
        "weights = block(part_of_kernel, lambda i, j: (j, zero))",
        "weights = block(part_of_kernel, lambda i, j: (zero, zero))",
        SHAPES,
    ),
    Breakage(
        "the head: tiles of classes out of bounds",
        ON_TPU,
        "weights = block(part_of_kernel, lambda i, j: (zero, j))",
        "weights = block(part_of_kernel, lambda i, j: (zero, j + 1))",
        MEMORY,
    ),
    Breakage(
        "the head: two cores sum in one place",
        ON_TPU,
        'dimension_semantics=("parallel", "arbitrary")',
        'dimension_semantics=("parallel", "parallel")',
        MEMORY,
    ),
    Breakage(
        "the head: the states' gradient is that of the last classes",
        ON_TPU,
        "    @pl.when(j == 0)\n    def _():\n        total",
        "    @pl.when(j >= 0)\n    def _():\n        total",
        SHAPES,
    ),
    Breakage(
        "the head: the states' gradient has garbage behind the classes",
        ON_TPU,
        "_clear(refs.weight, head.class_axis, classes)",
        "pass",
        SHAPES,
    ),
    Breakage(
        "the head: the states' gradient is written too early",
        ON_TPU,
        "@pl.when(j == pl.num_programs(1) - 1)",
        "@pl.when(j == 0)",
        SHAPES,
    ),
    Breakage(
        "the head: the kernel's gradient begins with that of other classes",
        ON_TPU,
        "    @pl.when(i == 0)\n    def _():\n        if total",
        "    @pl.when((i == 0) & (start == 0))\n    def _():\n        if total",
        SHAPES,
    ),
    Breakage(
        "the head: derivatives of tokens behind the end are summed",
        ON_TPU,
        "head.slopes(refs, rows, start, exists if ragged else None)",
        "head.slopes(refs, rows, start, None)",
        SHAPES,
    ),
    Breakage(
        "the head: states of tokens behind the end are multiplied",
        ON_TPU,
        "_clear(refs.hidden, TOKENS, tokens)",
        "pass",
        SHAPES,
    ),
    Breakage(
        "the head: the bias is left out of the logits",
        ON_TPU,
        "x = x + refs.bias[...]",
        "x = x + 0 * refs.bias[...]",
        SHAPES,
    ),
    Breakage(
        "the head: an index map that x64 makes 64 bits wide",
        ON_TPU,
        "zero = np.int32(0)",
        "zero = 0",
        f"{TESTS} -k 32_bits_wide",
    ),
    Breakage(
        "the head: mapped tokens share what the first was told",
        CALL,
        "every = x if mapped else",
        "every = x[:1] + 0 * x if mapped else",
        f"{TESTS} -k transformation and tiles-vmap",
    ),
    Breakage(
        "the head: a table without multiples of 128 classes is not turned back",
        CALL,
        'if turned and call.part == "kernel"',
        'if not turned and call.part == "kernel"',
        SHAPES,
    ),
    Breakage(
        "the head: the weights of the tokens do not reach the gradients",
        OP,
        "    seen = _see(how, head, weights)",
        "    seen = _see(how, head, jnp.ones_like(weights))",
        SHAPES,
    ),
    Breakage(
        "the head: the curvature of what kernels compute is nothing",
        "_linear/tracing.py",
        "return whole(*primals), jvp(reference, primals, tangents)[1]",
        "return whole(*primals), jax.tree.map("
        "jnp.zeros_like, jvp(reference, primals, tangents)[1])",
        f"{TESTS} -k transformation and tiles-hvp",
    ),
    Breakage(
        "the head: a mean's gradients are those of the sum",
        "_linear/head.py",
        "share, count = divided(share, count), None",
        "share, count = divided(share, jnp.ones_like(count)), None",
        f"{TESTS} -k transformation and tiles-grad",
    ),
    Breakage(
        "the head: the kernels compute the gradients where there is room to keep them",
        "_linear/by_tiles.py",
        "(columns is not None or held > most)",
        "(columns is not None or held < most)",
        f"{TESTS} -k explain",
    ),
    Breakage(
        "the head: bytes moved are those of chunks",
        "_linear/plan.py",
        "return size * (read + kernel + states)",
        "return size * (read + kernel)",
        f"{TESTS} -k explain",
    ),
]
