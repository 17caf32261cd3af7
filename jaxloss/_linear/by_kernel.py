"""The losses between the two matmuls of a fused head, by a kernel."""

from collections.abc import Callable

from jaxloss._core.mesh import Tree
from jaxloss._core.types import Array
from jaxloss._core.validate import Check
from jaxloss._kernels.softmax_xent import op as kernels
from jaxloss._linear import by_tiles
from jaxloss._linear.engine import Step
from jaxloss._linear.head import Head, Kept

Rows = kernels.Rows
RowsOf = Callable[[Array, Tree, Tree], Rows]
"""(logits [chunk, classes], shared, per_token) -> rows of logits."""


def choose(check: Check, x: Head, kept: Kept, base: float | None) -> kernels.Choice:
    """Which kernel, if one is to run, and why."""
    obstacle = None
    if x.settings.axis_name is not None:
        obstacle = "has no classes spread over devices: leave out `axis_name`"
    elif x.settings.class_chunk_size is not None and not by_tiles.exist(x):
        obstacle = "needs all classes of a token: leave out `class_chunk_size`"
    elif kept != Kept():
        obstacle = "has no mask of classes"
    return kernels.choose(
        check,
        x.settings.implementation,
        x.logits_dtype,
        (x.chunk, x.classes_here),
        base=base,
        obstacle=obstacle,
    )


def row(how: kernels.How, rows_of: RowsOf) -> Callable[[Array, Tree, Tree], Array]:
    """The losses of a chunk."""

    def losses(z: Array, shared: Tree, per_token: Tree) -> Array:
        return kernels.losses(how, rows_of(z, shared, per_token))

    return losses


def step(how: kernels.How, rows_of: RowsOf) -> Step:
    """The losses of a chunk, and the derivative of their weighted sum."""

    def with_slope(z, shared, per_token, weights, dtype):
        return kernels.with_slope(how, dtype, rows_of(z, shared, per_token), weights)

    return with_slope
