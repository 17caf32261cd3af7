"""The cross entropy of a linear head with the classes in chunks: the least memory.

The engine's chunks of tokens all add to the kernel's gradient, which is summed in
float32: two gigabytes for 4,096 hidden units and 128,256 classes. Here all tokens meet
a chunk of classes at a time, whose part of that gradient is then final, and nothing of
the kernel's size is held beside the gradient itself. What a row has to know of all of
its classes is a pass of its own before, so the logits are computed twice: 4 matmuls of
the head's size for value and both gradients, where the engine needs 3.

The loss of a row, with q_j what label smoothing spreads over the classes (the class
weights included), w the label's weight and all logits divided by the temperature, is

    (1 - ε) w (-log p_y) + Σ_j q_j (-log p_j) + λ (log Σ_j e^{z_j})²
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core import rows
from jaxloss._core.cross_entropy import Options, capped
from jaxloss._core.mesh import Tree, all_mesh_axes, varying
from jaxloss._core.numerics import in_base, weighted
from jaxloss._core.passes import bounded
from jaxloss._core.tangents import is_zero, mask, nonzero
from jaxloss._core.types import Array, Reduction
from jaxloss._core.validate import Check
from jaxloss._linear import by_tiles
from jaxloss._linear.engine import Inputs
from jaxloss._linear.head import Head
from jaxloss._linear.product import accumulator, factors, product
from jaxloss._linear.tracing import whole


class Row(NamedTuple):
    """What the losses depend on beside the head, one a token or for all of them."""

    label: Array
    """`[tokens, 1]`."""
    options: Options
    """Lined up with `[tokens, classes]`."""
    kept: Array | None
    """The classes there are, lined up likewise."""


class _Statistic(NamedTuple):
    """What is known of each row after some of its classes, `[tokens, 1]`."""

    peak: Array
    """The largest logit."""
    rest: Array
    """Σ e^{(z_j - peak) / T} over all but the label."""
    at_label: Array
    """z_y, or 0 before it came."""
    label_weight: Array
    """The class weight of the label, likewise."""
    spread: Array
    """Σ q_j (peak - z_j) / T."""
    mass: Array
    """Σ q_j."""


@dataclasses.dataclass(frozen=True)
class ClassChunks:
    """The weighted sum of the losses of a head, classes in chunks."""

    function: str
    """The public function, for its errors."""
    chunk: int
    """Classes at a time."""
    class_axis: int
    """Their axis in the kernel."""
    base: float | None
    logits_dtype: jnp.dtype | None
    row: Callable[[Tree, Tree], Row]
    """(shared, per_token) -> what the losses of all tokens depend on."""

    def total(self, inputs: Inputs, weights: Array) -> tuple[Array, Tree]:
        """Σ_i weights_i · loss_i, and nothing beside it; a token that weighs nothing
        contributes nothing."""
        return _total(self, inputs, weights), ()


def total_of(
    check: Check,
    x: Head,
    reduction: Reduction,
    base: float | None,
    row: Callable[[Tree, Tree], Row],
    *,
    predictions: bool,
) -> Callable[[Inputs, Array], tuple[Array, Tree]] | None:
    """The sum over the losses with chunks of classes, if that was asked for."""
    size = x.settings.class_chunk_size
    if size is None:
        return None
    for asked, what in (
        (reduction == "none", 'losses one by one (`reduction="none"`)'),
        (x.settings.axis_name is not None, "an `axis_name`"),
        (predictions, "`return_predictions`"),
    ):
        if asked:
            raise check.unable(
                f"`class_chunk_size` does not go with {what}",
                "Leave it out, and the tokens are taken in chunks.",
            )
    if by_tiles.exist(x):
        return None
    return ClassChunks(
        check.function,
        min(size, x.classes),
        x.class_axis,
        base,
        x.settings.logits_dtype,
        row,
    ).total


def _over(chunk: int, classes: int, body: Callable, carry: Tree) -> Tree:
    """`body(carry, start, size) -> carry` over chunks of the classes."""
    count, last = divmod(classes, chunk)
    if count > 1:
        starts = chunk * jnp.arange(count, dtype=jnp.int32)
        carry, _ = jax.lax.scan(lambda c, s: (body(c, s, chunk), None), carry, starts)
    elif count:
        carry = body(carry, jnp.int32(0), chunk)
    return body(carry, jnp.int32(count * chunk), last) if last else carry


def _part(array: Array, start: Array, size: int, axis: int) -> Array:
    """These classes of an array; of one that is the same for all of them, that."""
    if array.shape[axis] == 1 and size > 1:
        return array
    return jax.lax.dynamic_slice_in_dim(array, start, size, axis)


class _Chunk(NamedTuple):
    """The logits of some classes, and what their losses depend on."""

    raw: Array
    """Before the cap."""
    z: Array
    """After it, before the temperature."""
    hit: Array
    """Where the label stands."""
    q: Array | None
    """What label smoothing spreads over them."""
    class_weights: Array | None


def _chunk(
    setting: ClassChunks, inputs: Inputs, row: Row, start: Array, size: int
) -> _Chunk:
    dtype = accumulator(inputs.hidden.dtype, inputs.kernel.dtype)
    kernel = _part(inputs.kernel, start, size, setting.class_axis)
    contract = (1, 1 - setting.class_axis)
    raw = product(inputs.hidden, kernel, contract, setting.logits_dtype).astype(dtype)
    if inputs.bias is not None:
        raw = raw + _part(inputs.bias, start, size, 0).astype(dtype)[None, :]
    kept = jnp.ones((), bool) if row.kept is None else _part(row.kept, start, size, 1)
    if row.kept is not None:
        raw = jnp.where(kept, raw, -jnp.inf)
    options = row.options
    weights = options.class_weights
    weights = None if weights is None else _part(weights, start, size, 1)
    q = None
    if options.label_smoothing is not None:
        if row.kept is None:
            q = options.label_smoothing / inputs.kernel.shape[setting.class_axis]
        else:
            count = jnp.sum(row.kept, axis=1, keepdims=True).astype(dtype)
            q = options.label_smoothing * kept.astype(dtype) / jnp.maximum(count, 1)
        q = jnp.broadcast_to(q if weights is None else q * weights, raw.shape)
    z = raw if options.logit_softcap is None else capped(raw, options.logit_softcap)
    here = jax.lax.broadcasted_iota(row.label.dtype, (1, size), 1)
    hit = start.astype(row.label.dtype) + here == row.label
    return _Chunk(raw, z, hit, q, weights)


def _divided(x: Array, temperature: Array | None) -> Array:
    return x if temperature is None else x / temperature


def _apart(z: Array, peak: Array) -> Array:
    """peak - z, 0 where both are the same infinity."""
    same = jnp.isinf(peak) & (z == peak)
    return jnp.where(same, 0, bounded(peak) - jnp.where(same, 0, z))


def _relative_exp(z: Array, peak: Array, temperature: Array | None) -> Array:
    """e^{(z - peak) / T}, also at infinite peaks."""
    return jnp.exp(_divided(-_apart(z, peak), temperature))


def _statistic(setting: ClassChunks, inputs: Inputs, row: Row) -> _Statistic:
    tokens, classes = inputs.hidden.shape[0], inputs.kernel.shape[setting.class_axis]
    dtype = accumulator(inputs.hidden.dtype, inputs.kernel.dtype)
    temperature = row.options.temperature

    def body(so_far: _Statistic, start: Array, size: int) -> _Statistic:
        part = _chunk(setting, inputs, row, start, size)

        def total(x):
            return jnp.sum(x, axis=1, keepdims=True)

        here = jnp.max(jax.lax.stop_gradient(part.z), axis=1, keepdims=True)
        peak = jnp.maximum(so_far.peak, here)
        others = jnp.where(part.hit, 0, _relative_exp(part.z, peak, temperature))
        shrunk = so_far.rest * _relative_exp(so_far.peak, peak, temperature)
        rest = shrunk + total(others)
        at_label = so_far.at_label + total(jnp.where(part.hit, part.z, 0))
        label_weight, spread, mass = so_far.label_weight, so_far.spread, so_far.mass
        if part.class_weights is not None:
            here = jnp.where(part.hit, part.class_weights, 0)
            label_weight = label_weight + total(here)
        if part.q is not None:
            moved = _divided(_apart(so_far.peak, peak), temperature)
            apart = _divided(_apart(part.z, peak), temperature)
            spread = spread + weighted(moved, mass) + total(weighted(apart, part.q))
            mass = mass + total(part.q)
        return _Statistic(peak, rest, at_label, label_weight, spread, mass)

    zero = jnp.zeros((tokens, 1), dtype)
    one = zero if row.options.class_weights is not None else zero + 1
    nothing = _Statistic(zero - jnp.inf, zero, zero, one, zero, zero)
    nothing = varying(nothing, all_mesh_axes((inputs, row)))
    return _over(setting.chunk, classes, body, nothing)


class _Rows(NamedTuple):
    """The losses, and what their derivatives are made of, `[tokens, 1]`.

    That with respect to the logits after cap and temperature is
    (a + b) p_j - q_j, and at the label -a (1 - p_y) + b p_y - q_y.
    """

    loss: Array
    own: Array
    scale: Array
    a: Array
    b: Array


def _rows(setting: ClassChunks, inputs: Inputs, row: Row, known: _Statistic) -> _Rows:
    options = row.options
    peak = known.peak
    # Also where the label is the largest: its logit moves against a peak that does not.
    gap = _divided(_apart(known.at_label, peak), options.temperature)
    classes = inputs.kernel.shape[setting.class_axis]
    exists = (row.label >= 0) & (row.label < classes)
    nll, log_total, scale = rows.of_statistic(peak, gap, known.rest, exists)
    a = known.label_weight
    if options.label_smoothing is not None:
        a = (1 - options.label_smoothing) * a
    loss = weighted(nll, a)
    b = known.mass
    if options.label_smoothing is not None:
        loss = loss + weighted(log_total, known.mass) + known.spread
    if options.z_loss is not None:
        log_partition = _divided(peak, options.temperature) + log_total
        loss = loss + options.z_loss * log_partition**2
        b = b + 2 * options.z_loss * log_partition
    return _Rows(in_base(loss, setting.base), jnp.exp(-gap), scale, a, b)


def _sum(losses: Array, weights: Array) -> Array:
    return jnp.sum(weighted(losses, weights))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _total(setting: ClassChunks, inputs: Inputs, weights: Array) -> Array:
    row = setting.row(inputs.shared, inputs.per_token)
    known = _statistic(setting, inputs, row)
    return _sum(_rows(setting, inputs, row, known).loss[:, 0], weights)


def _total_jvp(setting: ClassChunks, primals, tangents):
    (inputs, weights), (d, dweights) = primals, tangents
    if any(mask((d.shared, d.per_token))):
        raise Check(setting.function).unable(
            "`class_chunk_size` gives no gradients with respect to the options",
            "Leave it out, and the tokens are taken in chunks.",
        )
    wanted = tuple(mask(leaf) for leaf in (d.hidden, d.kernel, d.bias))
    gradients_of = whole(functools.partial(_gradients, setting, wanted))
    losses, gradients = gradients_of(inputs, weights)
    dtotal = jnp.zeros((), losses.dtype)
    pairs = zip(gradients, nonzero((d.hidden, d.kernel, d.bias)), strict=True)
    for gradient, tangent in pairs:
        wide = accumulator(gradient.dtype)
        dtotal += jnp.vdot(gradient.astype(wide), tangent.astype(wide)).astype(
            dtotal.dtype
        )
    if not is_zero(dweights):
        dtotal += jnp.vdot(losses, dweights)
    return _sum(losses, weights), dtotal


_total.defjvp(_total_jvp, symbolic_zeros=True)


def _gradients(
    setting: ClassChunks,
    wanted: tuple[tuple[bool, ...], ...],
    inputs: Inputs,
    weights: Array,
) -> tuple[Array, list[Array]]:
    """The losses, and the gradients of their weighted sum, in the order of the inputs.

    That of the kernel stands in its dtype, for it is written once.
    """
    of_hidden, of_kernel, of_bias = map(any, wanted)
    row = setting.row(inputs.shared, inputs.per_token)
    temperature, cap = row.options.temperature, row.options.logit_softcap
    known = _statistic(setting, inputs, row)
    each = _rows(setting, inputs, row, known)
    axis, dtype = setting.class_axis, known.peak.dtype
    share = in_base(_divided(weights[:, None], temperature), setting.base)

    def body(carry, start, size):
        dhidden, dkernel, dbias = carry
        part = _chunk(setting, inputs, row, start, size)
        p = _relative_exp(part.z, known.peak, temperature) * each.scale
        at_label = each.b * each.own * each.scale - each.a * (known.rest * each.scale)
        slope = jnp.where(part.hit, at_label, (each.a + each.b) * p)
        if part.q is not None:
            slope = slope - part.q
        # What weighs nothing has no gradient, whatever its loss.
        slope = jnp.where(share == 0, 0, slope * share)
        if cap is not None:
            _, pull = jax.vjp(functools.partial(capped, cap=cap), part.raw)
            (slope,) = pull(slope)
        kernel = _part(inputs.kernel, start, size, axis)
        # What is multiplied in half precision has been scaled by the weights: of a mean
        # the result is as small, and float16 holds no more of it.
        factor = slope.astype(factors(inputs.hidden.dtype, inputs.kernel.dtype))
        if of_hidden:
            dhidden = dhidden + product(factor, kernel, (1, axis))
        if of_kernel:
            pair = (inputs.hidden, factor) if axis == 1 else (factor, inputs.hidden)
            here = product(*pair, (0, 0)).astype(dkernel.dtype)
            dkernel = jax.lax.dynamic_update_slice_in_dim(dkernel, here, start, axis)
        if of_bias:
            here = jnp.sum(slope, axis=0).astype(dbias.dtype)
            dbias = jax.lax.dynamic_update_slice_in_dim(dbias, here, start, 0)
        return dhidden, dkernel, dbias

    start = (
        jnp.zeros(inputs.hidden.shape, dtype) if of_hidden else None,
        jnp.zeros_like(inputs.kernel) if of_kernel else None,
        None if inputs.bias is None or not of_bias else jnp.zeros_like(inputs.bias),
    )
    start = varying(start, all_mesh_axes((inputs, weights)))
    done = _over(setting.chunk, inputs.kernel.shape[axis], body, start)
    return each.loss[:, 0], [gradient for gradient in done if gradient is not None]
