"""One primitive for the three kernels of the fused head, and its batching."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.interpreters import batching

from jaxloss._core.mesh import all_mesh_axes, varying
from jaxloss._core.types import Array, Implementation
from jaxloss._kernels import chips
from jaxloss._kernels.linear_softmax_xent import config
from jaxloss._kernels.linear_softmax_xent.config import Part, Shape
from jaxloss._kernels.lowering import Primitive, refusal, register
from jaxloss._kernels.tile import Features, Statistic


@dataclasses.dataclass(frozen=True)
class Call:
    """Which kernel, and how."""

    function: str
    """The public function that asks, for errors."""
    implementation: Implementation | None
    part: Part
    on: Features
    class_axis: int
    """Of the kernel."""
    columns: int | None = None
    """Classes at a time; None chooses."""
    has_bias: bool = False
    of_kernel: bool = True
    """For the part "kernel": whether its gradient is wanted."""
    of_bias: bool = False
    """Likewise that of the bias."""


def head(
    call: Call,
    hidden: Array,
    kernel: Array,
    told: Array,
    bias: Array | None,
    class_weights: Array | None,
) -> list[Array]:
    """What `mosaic_tpu.head` computes, on whatever there is of it."""
    arrays = [hidden, kernel, told]
    if bias is not None:
        arrays.append(bias)
    if call.on.class_weights and class_weights is not None:
        arrays.append(class_weights)
    return _head.bind(*varying(arrays, all_mesh_axes(arrays)), call=call)


def _tpu(*arrays: Array, call: Call, interpret=False) -> list[Array]:
    hidden, kernel, told, *others = arrays
    bias = others.pop(0) if call.has_bias else None
    shape = Shape.of(hidden, kernel, call.class_axis)
    tiles = config.tiles(call.part, shape, call.on, chips.vmem(), call.columns)
    if tiles is None:
        raise refusal(call, config.TOO_LARGE)
    from jaxloss._kernels.linear_softmax_xent import mosaic_tpu

    # XLA stores `[units, classes]` transposed if less is filled up so: as the kernel
    # is, then, nothing is copied, nor is its gradient.
    turned = call.class_axis == 1 and shape.classes % chips.LANES != 0
    results = mosaic_tpu.head(
        call.part,
        hidden,
        kernel.T if turned else kernel,
        told,
        bias,
        *(others or [None]),
        on=call.on,
        class_axis=0 if turned else call.class_axis,
        tiles=tiles,
        of_kernel=call.of_kernel,
        of_bias=call.of_bias,
        interpret=interpret,
    )
    if turned and call.part == "kernel" and call.of_kernel:
        results[0] = results[0].T
    return results


_head = Primitive("jaxloss_linear_softmax_xent")
_head.multiple_results = True


@_head.def_impl
@functools.partial(jax.jit, static_argnames="call")
def _(*arrays: Array, call: Call) -> list[Array]:
    return _head.bind(*arrays, call=call)


@_head.def_abstract_eval
def _(hidden, kernel, told, *others, call):
    def array(shape, dtype):
        return hidden.update(shape=shape, dtype=jnp.dtype(dtype), weak_type=False)

    if call.part == "losses":
        return [array((hidden.shape[0], len(Statistic._fields)), jnp.float32)]
    if call.part == "hidden":
        return [array(hidden.shape, hidden.dtype)]
    result = [array(kernel.shape, kernel.dtype)] if call.of_kernel else []
    if call.of_bias:
        result.append(array((1, kernel.shape[call.class_axis]), jnp.float32))
    return result


def _batched(arrays, batch_axes, *, call):
    """More tokens, if they share a head whose gradient is not what is asked for; else
    a call for each."""
    (size,) = {
        x.shape[at] for x, at in zip(arrays, batch_axes, strict=True) if at is not None
    }
    is_mapped = [at is not None for at in batch_axes]

    def first(x, at):
        return x if at is None else jnp.moveaxis(x, at, 0)

    moved = [first(x, at) for x, at in zip(arrays, batch_axes, strict=True)]
    hidden, kernel, told, *others = moved
    if call.part != "kernel" and not is_mapped[1] and not any(is_mapped[3:]):
        states = []
        for x, mapped in ((hidden, is_mapped[0]), (told, is_mapped[2])):
            every = x if mapped else jnp.broadcast_to(x, (size, *x.shape))
            states.append(every.reshape(-1, x.shape[-1]))
        (result,) = _head.bind(states[0], kernel, states[1], *others, call=call)
        return [result.reshape(size, -1, result.shape[-1])], [0]

    def each(mapped):
        rest = iter(mapped)
        pairs = zip(moved, is_mapped, strict=True)
        return _head.bind(*(next(rest) if m else x for x, m in pairs), call=call)

    several = [x for x, m in zip(moved, is_mapped, strict=True) if m]
    results = jax.lax.map(each, several)
    return results, [0] * len(results)


batching.primitive_batchers[_head] = _batched

register(
    _head,
    {"mosaic_tpu": _tpu, "interpret": functools.partial(_tpu, interpret=True)},
)
