"""Losses on the logits of a linear head, without the logits.

The tokens are scanned in chunks: the logits of a chunk, its losses, their derivative
with respect to the logits, and at once its share of every gradient. Of the size of
`[tokens, classes]` nothing is ever held but one chunk. The engine knows no particular
loss: it is given a function of a chunk of logits, and differentiates that.

For a weighted sum of the losses, the gradients are taken together with the value,
where the logits are at hand: one matmul for the value, and one more for each of the
two gradients. A Jacobian-vector product is then an inner product with the gradient,
which makes forward mode and higher orders follow. The cotangent of a sum is one
number, and meets the float32 gradient before that is rounded.

For the losses one by one the cotangents are not known beforehand. There the chunk is
differentiated by JAX, its logits computed again (or their derivative kept).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core.mesh import Tree, all_mesh_axes, mesh_axes, varying
from jaxloss._core.numerics import weighted
from jaxloss._core.tangents import Split, is_zero, jvp, mask, nonzero
from jaxloss._core.types import Array
from jaxloss._linear.product import accumulator, product, scaled
from jaxloss._linear.tracing import is_mapped, whole

Backward = Literal["recompute", "save"]
"""How the losses one by one are differentiated: the logits of a chunk again, or their
derivative kept in the dtype of the hidden states."""

Step = Callable[[Array, Tree, Tree, Array, jnp.dtype], tuple[Array, Array]]


class Inputs(NamedTuple):
    """What the losses of a head depend on."""

    hidden: Array
    """`[tokens, hidden]`."""
    kernel: Array
    """`[hidden, classes]`, or `[classes, hidden]`."""
    bias: Array | None
    """`[classes]`."""
    shared: Tree
    """What the loss of every token may use."""
    per_token: Tree
    """What belongs to a token, its label for instance: the first axis is the tokens."""


class Wanted(NamedTuple):
    """For which leaves of the inputs a gradient is wanted."""

    hidden: tuple[bool, ...]
    kernel: tuple[bool, ...]
    bias: tuple[bool, ...]
    shared: tuple[bool, ...]
    per_token: tuple[bool, ...]


@dataclasses.dataclass(frozen=True)
class Tiled:
    """The losses by kernels to which the logits of a chunk are no array either."""

    losses: Callable[[Inputs], Array]
    gradients: Callable[[Wanted, Inputs, Array], tuple[Array, list[Array]]] | None
    """Of their weighted sum, as `_gradients`, in the dtypes of the inputs; None leaves
    them to the chunks."""


@dataclasses.dataclass(frozen=True)
class Engine:
    """A loss on logits, and how to run it on those of a head."""

    row: Callable[[Array, Tree, Tree], Tree]
    """(logits [chunk, classes], shared, per_token) -> losses, each [chunk]."""
    chunk: int
    """Tokens at a time."""
    class_axis: int = 1
    """The axis of the classes in the kernel."""
    axis_name: str | None = None
    """The mesh axis over which the classes are spread."""
    backward: Backward = "recompute"
    logits_dtype: jnp.dtype | None = None
    """How a chunk's logits are stored, if not as they are summed."""
    step: Step | None = None
    """The same losses by a kernel, and the derivative of their weighted sum in the
    dtype asked for: (logits as they are stored, shared, per_token, weights, dtype)."""
    tiled: Tiled | None = None
    """The same losses, tile by tile."""
    beside: Callable[[Array, Tree, Tree], Tree] | None = None
    """What else is told of a chunk of logits, each [chunk], without a derivative."""

    # ------------------------------------------------------------------ the two forms

    def losses(self, inputs: Inputs) -> tuple[Tree, Tree]:
        """The losses one by one, each [tokens], and what is told beside them."""
        return _losses(self, inputs)

    def total(self, inputs: Inputs, weights: Array) -> tuple[Array, Tree]:
        """Σ_i weights_i · loss_i, and what is told beside the losses; a token that
        weighs nothing contributes nothing."""
        return _total(self, inputs, weights)

    # ------------------------------------------------------------------ pieces

    def spread(self, like: Tree, inputs: Tree) -> Inputs:
        """The inputs, or their tangents, said to differ over the mesh axes over which
        anything of `like` does; but for the classes' axis, if they know of no classes.
        """
        everywhere = all_mesh_axes(like)
        tokens = everywhere - {self.axis_name}
        return Inputs(*varying(inputs[:3], everywhere), *varying(inputs[3:], tokens))

    def logits(self, hidden: Array, kernel: Array, bias: Array | None) -> Array:
        """In float32, or float64."""
        dtype = accumulator(hidden.dtype, kernel.dtype)
        z = self.stored(hidden, kernel).astype(dtype)
        return z if bias is None else z + bias.astype(dtype)[None, :]

    def stored(self, hidden: Array, kernel: Array) -> Array:
        """As they are stored, without a bias."""
        contract = (1, 1 - self.class_axis)
        return product(hidden, kernel, contract, self.logits_dtype)

    def for_step(self, hidden: Array, kernel: Array, bias: Array | None) -> Array:
        """What a kernel is given: it widens them itself."""
        if bias is None:
            return self.stored(hidden, kernel)
        return self.logits(hidden, kernel, bias)

    def others(self, z: Array, shared: Tree, per_token: Tree) -> Tree:
        """What is told beside the losses."""
        if self.beside is None:
            return ()
        return self.beside(jax.lax.stop_gradient(z), shared, per_token)

    def tangent(self, hidden: Array, kernel: Array) -> Array:
        """What either, as a tangent, adds to the logits' tangent."""
        return product(hidden, kernel, (1, 1 - self.class_axis))

    def scan(
        self, body: Callable, carry: Tree, per_token: Tree, weights: Tree = ()
    ) -> tuple[Tree, Tree]:
        """`body(carry, per_token, weights) -> (carry, outputs)` over chunks of tokens.

        The last chunk is filled with the last token, which is as good as any other,
        and with zero weights; the outputs are cut to the tokens that there are.
        """
        tokens = jax.tree.leaves(per_token)[0].shape[0]
        if tokens <= self.chunk:
            return body(carry, per_token, weights)
        count = -(-tokens // self.chunk)
        missing = count * self.chunk - tokens

        def split(x, fill):
            if missing:
                x = jnp.concatenate([x, jnp.repeat(fill(x[-1:]), missing, axis=0)])
            return x.reshape(count, self.chunk, *x.shape[1:])

        def join(x):
            return x.reshape(count * self.chunk, *x.shape[2:])[:tokens]

        chunks = (
            jax.tree.map(lambda x: split(x, lambda last: last), per_token),
            jax.tree.map(lambda x: split(x, jnp.zeros_like), weights),
        )
        carry, outputs = jax.lax.scan(lambda c, xs: body(c, *xs), carry, chunks)
        return carry, jax.tree.map(join, outputs)


def _wide(x: Array) -> Array:
    return x.astype(accumulator(x.dtype))


# ------------------------------------------------------------------ one by one


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _losses(engine: Engine, inputs: Inputs) -> tuple[Tree, Tree]:
    inputs = engine.spread(inputs, inputs)
    if engine.tiled is not None:
        return engine.tiled.losses(inputs), ()

    def body(carry, chunk, _):
        hidden, per_token = chunk
        logits = engine.logits if engine.step is None else engine.for_step
        z = logits(hidden, inputs.kernel, inputs.bias)
        others = engine.others(z, inputs.shared, per_token)
        return carry, (engine.row(z, inputs.shared, per_token), others)

    return engine.scan(body, (), (inputs.hidden, inputs.per_token))[1]


def _losses_jvp(engine: Engine, primals, tangents):
    # What is linear is a scan again, which JAX transposes. It sums the cotangent of
    # what every chunk uses in the dtype of its tangent: hence tangents in float32.
    (inputs,), (d,) = primals, tangents
    if engine.backward == "save":
        told, slopes = whole(functools.partial(_slopes, engine))(inputs)
    else:
        told, slopes = _losses(engine, inputs), None
    like = inputs
    inputs = engine.spread(like, inputs)
    shared = Split.of(inputs.shared, mask(d.shared))
    rows = Split.of(inputs.per_token, mask(d.per_token))
    dkernel = None if is_zero(d.kernel) else _wide(d.kernel)
    dbias = None if d.bias is None or is_zero(d.bias) else _wide(d.bias)
    dshared = [_wide(t) for t in nonzero(d.shared)]
    dhidden = None if is_zero(d.hidden) else d.hidden
    tangents = dhidden, dkernel, dbias, dshared, nonzero(d.per_token)
    dhidden, dkernel, dbias, dshared, drows = engine.spread(like, tangents)

    def body(carry, chunk, _):
        hidden, dhidden, slope, active, fixed, drows = chunk
        z = engine.logits(hidden, inputs.kernel, inputs.bias)
        dz = jnp.zeros_like(z)
        if dhidden is not None:
            dz += engine.tangent(dhidden, inputs.kernel)
        if dkernel is not None:
            dz += engine.tangent(hidden, dkernel)
        if dbias is not None:
            dz += dbias[None, :]

        def row(z, shared_active, rows_active):
            of_all = shared.join(shared_active, shared.fixed)
            return engine.row(z, of_all, rows.join(rows_active, fixed))

        pairs = zip(dshared, shared.active, strict=True)
        others = [t.astype(x.dtype) for t, x in pairs], drows
        point = shared.active, active
        if slope is None:
            return carry, jax.jvp(row, (z, *point), (dz, *others))[1]
        dloss = jnp.sum(slope.astype(dz.dtype) * dz, axis=-1)
        if engine.axis_name is not None:
            dloss = jax.lax.psum(dloss, engine.axis_name)
        if jax.tree.leaves(others):
            dloss += jax.jvp(functools.partial(row, z), point, others)[1]
        return carry, dloss

    chunks = inputs.hidden, dhidden, slopes, rows.active, rows.fixed, drows
    # Of a chunk nothing is kept but what it is computed from.
    body = jax.checkpoint(body, prevent_cse=False)
    return told, (engine.scan(body, (), chunks)[1], _still(told[1]))


_losses.defjvp(_losses_jvp, symbolic_zeros=True)


def _still(others: Tree) -> Tree:
    """The tangents of what has no derivative."""
    return jax.tree.map(lambda x: varying(jnp.zeros_like(x), mesh_axes(x)), others)


def _slopes(engine: Engine, inputs: Inputs) -> tuple[tuple[Array, Tree], Array]:
    """The losses with what is told beside them, and their derivatives with respect to
    the logits, in the dtype of the hidden states."""
    inputs = engine.spread(inputs, inputs)

    def body(carry, chunk, _):
        hidden, per_token = chunk
        z = engine.logits(hidden, inputs.kernel, inputs.bias)
        loss, pull = jax.vjp(lambda z: engine.row(z, inputs.shared, per_token), z)
        (slope,) = pull(jnp.ones_like(loss))
        others = engine.others(z, inputs.shared, per_token)
        return carry, ((loss, others), slope.astype(hidden.dtype))

    return engine.scan(body, (), (inputs.hidden, inputs.per_token))[1]


# ------------------------------------------------------------------ their sum


def _sum(losses: Array, weights: Array) -> Array:
    return jnp.sum(weighted(losses, weights))


def _one_by_one(engine: Engine, inputs: Inputs, weights: Array) -> tuple[Array, Tree]:
    losses, others = _losses(engine, inputs)
    return _sum(losses, weights), others


_total = jax.custom_jvp(_one_by_one, nondiff_argnums=(0,))


def _total_jvp(engine: Engine, primals, tangents):
    (inputs, weights), (d, dweights) = primals, tangents
    if any(mask((d.kernel, d.bias, d.shared))) and is_mapped(primals):
        # One kernel under several sums, as when losses of examples are mapped and then
        # averaged: a gradient for each sum would be as many kernels.
        return jvp(functools.partial(_one_by_one, engine), primals, tangents)
    wanted = Wanted(*map(mask, d))
    gradients_of = whole(functools.partial(_gradients, engine, wanted))
    losses, others, gradients = gradients_of(inputs, weights)
    dtotal = here = jnp.zeros((), losses.dtype)
    for gradient, tangent in zip(gradients, nonzero(d), strict=True):
        share = jnp.vdot(_wide(gradient), _wide(tangent)).astype(dtotal.dtype)
        # Of what knows of the classes each device has the gradient of its own.
        if engine.axis_name in mesh_axes(gradient):
            here += share
        else:
            dtotal += share
    if engine.axis_name is not None:
        dtotal += jax.lax.psum(here, engine.axis_name)
    if not is_zero(dweights):
        dtotal += jnp.vdot(losses, dweights)
    return (_sum(losses, weights), others), (dtotal, _still(others))


_total.defjvp(_total_jvp, symbolic_zeros=True)


def _gradients(
    engine: Engine, wanted: Wanted, inputs: Inputs, weights: Array
) -> tuple[Array, Tree, list[Array]]:
    """The losses, what is told beside them, and the gradients of their weighted sum, in
    the order of the leaves.

    Those with respect to what every token uses are sums over the chunks, in float32.
    """
    like = inputs, weights
    inputs = engine.spread(like, inputs)
    weights = varying(weights, all_mesh_axes(like) - {engine.axis_name})
    in_tiles = None if engine.tiled is None else engine.tiled.gradients
    if in_tiles is not None and not any((*wanted.shared, *wanted.per_token)):
        by_chunks = functools.partial(_rounded_gradients, engine, wanted)
        of_tiles = whole(functools.partial(in_tiles, wanted), by_chunks)
        losses, gradients = of_tiles(inputs, weights)
        return losses, (), gradients
    shared = Split.of(inputs.shared, wanted.shared)
    rows = Split.of(inputs.per_token, wanted.per_token)
    (of_hidden,), (of_kernel,) = wanted.hidden, wanted.kernel
    of_bias = any(wanted.bias)
    stored = inputs.hidden.dtype
    if stored == jnp.float16:
        # Out of its range before the sum's cotangent has scaled it back.
        stored = jnp.float32

    def body(sums, chunk, weight):
        hidden, active, fixed = chunk

        def row(z, shared_active, rows_active):
            of_all = shared.join(shared_active, shared.fixed)
            return engine.row(z, of_all, rows.join(rows_active, fixed))

        if engine.step is not None and not (shared.active or rows.active):
            z = engine.for_step(hidden, inputs.kernel, inputs.bias)
            # The bias's gradient is a sum of it, unrounded.
            dtype = jnp.dtype("float32") if of_bias else stored
            of_token = rows.join([], fixed)
            loss, slope = engine.step(z, inputs.shared, of_token, weight, dtype)
            dshared, drows = [], []
        else:
            z = engine.logits(hidden, inputs.kernel, inputs.bias)
            loss, pull = jax.vjp(row, z, shared.active, active)
            slope, dshared, drows = pull(weight)
        factor, unit = scaled(slope, hidden.dtype, inputs.kernel.dtype)
        others = engine.others(z, inputs.shared, rows.join(active, fixed))
        dhidden = []
        if of_hidden:
            contract = (1, engine.class_axis)
            dhidden = [(product(factor, inputs.kernel, contract) * unit).astype(stored)]
        here = []
        if of_kernel:
            pair = (hidden, factor) if engine.class_axis == 1 else (factor, hidden)
            here.append(product(*pair, (0, 0)) * unit)
        if of_bias:
            here.append(jnp.sum(slope, axis=0))
        here += [_wide(t) for t in dshared]
        sums = [total + share for total, share in zip(sums, here, strict=True)]
        return sums, (loss, others, dhidden, drows)

    summed = [inputs.kernel] if of_kernel else []
    if of_bias and inputs.bias is not None:
        summed.append(inputs.bias)
    summed += shared.active
    zeros = [
        varying(jnp.zeros(x.shape, accumulator(x.dtype)), mesh_axes(x)) for x in summed
    ]
    chunks = inputs.hidden, rows.active, rows.fixed
    sums, told = engine.scan(body, zeros, chunks, weights)
    losses, others, dhidden, drows = told
    return losses, others, [*dhidden, *sums, *drows]


def _rounded_gradients(
    engine: Engine, wanted: Wanted, inputs: Inputs, weights: Array
) -> tuple[Array, list[Array]]:
    """Those of the head by chunks, in the dtypes of the inputs."""
    by_chunks = dataclasses.replace(engine, tiled=None)
    losses, _, gradients = _gradients(by_chunks, wanted, inputs, weights)
    of_head = wanted.hidden + wanted.kernel + wanted.bias
    leaves = jax.tree.leaves(inputs[:3])
    dtypes = [x.dtype for x, is_in in zip(leaves, of_head, strict=True) if is_in]
    pairs = zip(gradients, dtypes, strict=True)
    return losses, [gradient.astype(dtype) for gradient, dtype in pairs]
