"""A fused head by kernels that hold no logits but a tile of them.

The losses come from such a kernel wherever there is one. For the gradients there are
two ways. The engine keeps the derivative of a chunk of tokens, 3 matmuls of the head's
size for value and both gradients, and sums the kernel's gradient in float32: two
gigabytes for 4,096 hidden units and 128,256 classes. The kernels keep nothing and
compute the logits again, 5 matmuls. So the engine does it where that fits in a share of
the memory of the chip, and the kernels do elsewhere; chunks of tokens or of classes
that are asked for decide.
"""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp

from jaxloss._core.cross_entropy import Options
from jaxloss._core.types import Array
from jaxloss._core.validate import Check
from jaxloss._kernels.linear_softmax_xent import op as kernels
from jaxloss._linear.engine import Inputs, Tiled, Wanted
from jaxloss._linear.head import Head
from jaxloss._linear.plan import MIB, Plan, Tiles

OfHead = kernels.Head


def exist(x: Head) -> bool:
    """Whether the implementation asked for has such kernels."""
    return x.settings.implementation in ("mosaic_tpu", "interpret")


def choose(
    check: Check,
    x: Head,
    options: Options,
    base: float | None,
    of_head: Callable[[Inputs], OfHead],
    *,
    predictions: bool,
) -> Callable[[Plan], tuple[Plan, Tiled | None]] | None:
    """What of a plan the kernels do, if an implementation was asked for that has them.

    Raises:
      NotImplementedError: chunks of classes are asked for and cannot be.
    """
    asked, columns = x.settings, x.settings.class_chunk_size
    name = asked.implementation
    if not exist(x) or name is None:
        return None
    tokens, units = x.hidden.shape
    dtypes = x.hidden.dtype, x.kernel.dtype
    shape = kernels.Shape(tokens, units, x.classes_here, *dtypes)
    fit = kernels.fit(name, shape, options, columns)
    if predictions:
        fit = "tells no predictions"
    if columns is not None:
        no = fit if isinstance(fit, str) else None
        if asked.logits_dtype is not None:
            no = "stores no logits: leave out `logits_dtype`"
        if no is not None:
            raise check.unable(
                f"implementation={name!r} with `class_chunk_size` {no}",
                "Leave out `class_chunk_size`, and the tokens are taken in chunks.",
            )
    in_chunks = asked.chunk_size is not None or asked.logits_dtype is not None
    if isinstance(fit, str):
        return _apart(f"the kernel of the whole head {fit}")
    if columns is None and in_chunks:
        return _apart("as are chunks of tokens")
    how = kernels.How(check.function, name, x.class_axis, base, columns)

    def decided(plan: Plan) -> tuple[Plan, Tiled]:
        sizes = kernels.fit(
            name, dataclasses.replace(shape, tokens=plan.tokens), options, columns
        )
        assert isinstance(sizes, kernels.Sizes)
        held = dataclasses.replace(plan, platform="tpu").temporaries
        most = kernels.budget()
        again = plan.reduced and (columns is not None or held > most)
        if columns is not None:
            why = "as `class_chunk_size` is"
        elif not plan.reduced:
            why = "one by one, their gradients are taken in chunks of tokens"
        else:
            than = "more than" if again else "within"
            why = f"chunks of tokens would hold {held / MIB:,.0f} MiB, {than} "
            why += f"{most / MIB:,.0f}"
        losses, hidden, kernel = ((size.rows, size.columns) for size in sizes)
        planned = dataclasses.replace(
            plan,
            tiles=Tiles(losses, hidden, kernel, again),
            reason=f"asked for; {why}" if again else f"{plan.reason}; {why}",
        )
        return planned, _tiled(how, of_head, gradients=again)

    return decided


def _apart(why: str) -> Callable[[Plan], tuple[Plan, None]]:
    """All of it in chunks of tokens."""

    def decided(plan: Plan) -> tuple[Plan, None]:
        return dataclasses.replace(plan, reason=f"{plan.reason}; {why}"), None

    return decided


def _tiled(
    how: kernels.How, of_head: Callable[[Inputs], OfHead], *, gradients: bool
) -> Tiled:
    def losses(inputs: Inputs) -> Array:
        return kernels.losses(how, of_head(inputs))

    def of(wanted: Wanted, inputs: Inputs, weights: Array) -> tuple[Array, list[Array]]:
        asked = kernels.Wanted(*(any(leaves) for leaves in wanted[:3]))
        share = weights.astype(jnp.float32)
        return kernels.gradients(how, of_head(inputs), share, asked)

    return Tiled(losses, of if gradients else None)
