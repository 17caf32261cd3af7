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
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core.numerics import weighted
from jaxloss._core.types import Array
from jaxloss._linear.product import accumulator, product

Tree = Any
"""Arrays nested in tuples, dicts or None."""

Backward = Literal["recompute", "save"]
"""How the losses one by one are differentiated: the logits of a chunk again, or their
derivative kept in the dtype of the hidden states."""


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

    # ------------------------------------------------------------------ the two forms

    def losses(self, inputs: Inputs) -> Tree:
        """The losses one by one, each [tokens]."""
        return _losses(self, inputs)

    def total(self, inputs: Inputs, weights: Array) -> Array:
        """Σ_i weights_i · loss_i; a token that weighs nothing contributes nothing."""
        return _total(self, inputs, weights)

    # ------------------------------------------------------------------ pieces

    def logits(self, hidden: Array, kernel: Array, bias: Array | None) -> Array:
        """In float32, or float64."""
        z = product(hidden, kernel, (1, 1 - self.class_axis))
        return z if bias is None else z + bias.astype(z.dtype)

    def scan(
        self, body: Callable, carry: Tree, per_token: Tree, weights: Tree = ()
    ) -> tuple[Tree, Tree]:
        """`body(carry, per_token, weights) -> (carry, outputs)` over chunks of tokens.

        The last chunk is filled with the last token, which is as good as any other,
        and with zero weights; the outputs are cut to the tokens that there are.
        """
        tokens = jax.tree.leaves(per_token)[0].shape[0]
        count = -(-tokens // self.chunk)
        if count <= 1:
            return body(carry, per_token, weights)
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


# ------------------------------------------------------------------ leaves


def _is_active(tangent: Any) -> bool:
    return not isinstance(tangent, SymbolicZero)


class _Split(NamedTuple):
    """A tree, apart into the leaves with respect to which something is linear, and
    the others."""

    active: list[Array]
    fixed: list[Array]
    mask: tuple[bool, ...]
    structure: Any

    @staticmethod
    def of(tree: Tree, mask: Sequence[bool]) -> "_Split":
        leaves, structure = jax.tree.flatten(tree)
        active = [x for x, is_active in zip(leaves, mask, strict=True) if is_active]
        fixed = [x for x, is_active in zip(leaves, mask, strict=True) if not is_active]
        return _Split(active, fixed, tuple(mask), structure)

    def join(self, active: Sequence[Array], fixed: Sequence[Array]) -> Tree:
        ones, others = iter(active), iter(fixed)
        leaves = [next(ones if is_active else others) for is_active in self.mask]
        return jax.tree.unflatten(self.structure, leaves)


def _mask(tangents: Tree) -> list[bool]:
    leaves = jax.tree.leaves(tangents, is_leaf=lambda t: isinstance(t, SymbolicZero))
    return [_is_active(t) for t in leaves]


def _active(tangents: Tree) -> list[Array]:
    leaves = jax.tree.leaves(tangents, is_leaf=lambda t: isinstance(t, SymbolicZero))
    return [t for t in leaves if _is_active(t)]


def _wide(x: Array) -> Array:
    return x.astype(accumulator(x.dtype))


def _varying(like: Tree, x: Array) -> Array:
    """`x`, said to differ over the mesh axes over which anything of `like` does."""
    names = set()
    for leaf in jax.tree.leaves(like):
        names |= set(getattr(jax.typeof(leaf), "vma", None) or ())
    missing = names - set(getattr(jax.typeof(x), "vma", None) or ())
    return jax.lax.pcast(x, tuple(missing), to="varying") if missing else x


def _is_mapped(tree: Tree) -> bool:
    """Whether `jax.vmap` is tracing any of these arrays at this moment."""
    found = []

    @jax.custom_batching.custom_vmap
    def probe(tree):
        return jnp.zeros(())

    @probe.def_vmap
    def _(size, batched, tree):
        found.append(size)
        return jnp.zeros(()), False

    probe(tree)
    return bool(found)


# ------------------------------------------------------------------ one by one


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _losses(engine: Engine, inputs: Inputs) -> Tree:
    def body(carry, chunk, _):
        hidden, per_token = chunk
        z = engine.logits(hidden, inputs.kernel, inputs.bias)
        return carry, engine.row(z, inputs.shared, per_token)

    return engine.scan(body, (), (inputs.hidden, inputs.per_token))[1]


def _losses_jvp(engine: Engine, primals, tangents):
    # JAX transposes the scan below, and sums the cotangent of what every chunk uses in
    # the dtype of its tangent: hence tangents in float32.
    (inputs,), (d,) = primals, tangents
    shared = _Split.of(inputs.shared, _mask(d.shared))
    rows = _Split.of(inputs.per_token, _mask(d.per_token))
    dkernel = _wide(d.kernel) if _is_active(d.kernel) else None
    has_bias = inputs.bias is not None and _is_active(d.bias)
    dbias = _wide(d.bias) if has_bias else None
    dshared = [_wide(t) for t in _active(d.shared)]
    dhidden = d.hidden if _is_active(d.hidden) else None

    def body(carry, chunk, _):
        hidden, dhidden, active, fixed, drows = chunk

        def row(z, shared_active, rows_active):
            return engine.row(
                z,
                shared.join(shared_active, shared.fixed),
                rows.join(rows_active, fixed),
            )

        z = engine.logits(hidden, inputs.kernel, inputs.bias)
        dz = jnp.zeros_like(z)
        if dhidden is not None:
            dz += product(dhidden, inputs.kernel, (1, 1 - engine.class_axis))
        if dkernel is not None:
            dz += product(hidden, dkernel, (1, 1 - engine.class_axis))
        if dbias is not None:
            dz += dbias
        dactive = [
            t.astype(s.dtype) for t, s in zip(dshared, shared.active, strict=True)
        ]
        others = (shared.active, active), (dactive, drows)
        if engine.backward == "save":
            return carry, _saved(row, z, dz, *others, dtype=hidden.dtype)
        return carry, jax.jvp(row, (z, *others[0]), (dz, *others[1]))

    if engine.backward == "recompute":
        body = jax.checkpoint(body, prevent_cse=False)
    chunks = inputs.hidden, dhidden, rows.active, rows.fixed, _active(d.per_token)
    return engine.scan(body, (), chunks)[1]


_losses.defjvp(_losses_jvp, symbolic_zeros=True)


def _saved(row, z, dz, others, dothers, *, dtype):
    """A chunk's losses and their tangents; of the chunk's size only the derivative
    with respect to its logits is kept for the transpose, rounded."""
    loss, pull = jax.vjp(lambda z: row(z, *others), z)
    (slope,) = pull(jax.tree.map(jnp.ones_like, loss))
    slope = slope.astype(dtype)
    # Widened where it is used: widened here, that would be what is kept.
    inner = jax.checkpoint(lambda slope, dz: jnp.sum(slope.astype(dz.dtype) * dz, -1))
    dloss = inner(slope, dz)
    if jax.tree.leaves(dothers):
        fixed = jax.lax.stop_gradient(z)
        dloss += jax.jvp(lambda *others: row(fixed, *others), others, dothers)[1]
    return loss, dloss


# ------------------------------------------------------------------ their sum


def _sum(losses: Array, weights: Array) -> Array:
    return jnp.sum(weighted(losses, weights))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _total(engine: Engine, inputs: Inputs, weights: Array) -> Array:
    return _sum(_losses(engine, inputs), weights)


def _total_jvp(engine: Engine, primals, tangents):
    (inputs, weights), (d, dweights) = primals, tangents
    everywhere = d.kernel, d.bias, d.shared
    if any(_mask(everywhere)) and _is_mapped((inputs, weights)):
        # One kernel under several sums, as when losses of examples are mapped and then
        # averaged: a gradient for each sum would be as many kernels.
        active = _Split.of((inputs, weights), _mask((d, dweights)))

        def total(*leaves):
            inputs, weights = active.join(leaves, active.fixed)
            return _sum(_losses(engine, inputs), weights)

        return jax.jvp(total, tuple(active.active), tuple(_active((d, dweights))))
    losses, gradients = _gradients(engine, inputs, weights, Inputs(*map(_mask, d)))
    dtotal = jnp.zeros((), losses.dtype)
    for gradient, tangent in zip(gradients, _active(d), strict=True):
        dtotal += jnp.vdot(gradient, tangent.astype(gradient.dtype)).astype(
            dtotal.dtype
        )
    if engine.axis_name is not None and gradients:
        dtotal = jax.lax.psum(_varying(inputs, dtotal), engine.axis_name)
    if _is_active(dweights):
        dtotal += jnp.vdot(losses, dweights)
    return _sum(losses, weights), dtotal


_total.defjvp(_total_jvp, symbolic_zeros=True)


def _gradients(
    engine: Engine, inputs: Inputs, weights: Array, wanted: Inputs
) -> tuple[Array, list[Array]]:
    """The losses, and the gradients of their weighted sum, in the order of the leaves.

    Those with respect to what every token uses are sums over the chunks, in float32.
    """
    shared = _Split.of(inputs.shared, wanted.shared)
    rows = _Split.of(inputs.per_token, wanted.per_token)
    of_hidden, of_kernel = any(wanted.hidden), any(wanted.kernel)
    of_bias = any(wanted.bias)
    stored = inputs.hidden.dtype
    if stored == jnp.float16:
        # Out of its range before the sum's cotangent has scaled it back.
        stored = jnp.float32

    def body(sums, chunk, weight):
        hidden, active, fixed = chunk

        def row(z, shared_active, rows_active):
            return engine.row(
                z,
                shared.join(shared_active, shared.fixed),
                rows.join(rows_active, fixed),
            )

        z = engine.logits(hidden, inputs.kernel, inputs.bias)
        loss, pull = jax.vjp(row, z, shared.active, active)
        slope, dshared, drows = pull(weight)
        factor, unit = _factor(slope, hidden.dtype, inputs.kernel.dtype)
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
        return sums, (loss, dhidden, drows)

    summed = [inputs.kernel] * of_kernel + [inputs.bias] * of_bias + shared.active
    zeros = [
        _varying((inputs, weights), jnp.zeros(x.shape, accumulator(x.dtype)))
        for x in summed
    ]
    chunks = inputs.hidden, rows.active, rows.fixed
    sums, (losses, dhidden, drows) = engine.scan(body, zeros, chunks, weights)
    return losses, [*dhidden, *sums, *drows]


def _factor(slope: Array, *dtypes: jnp.dtype) -> tuple[Array, Array | float]:
    """The derivative with respect to the logits, in the dtype to multiply it in, and
    the unit in which it stands there."""
    dtype = jnp.promote_types(*dtypes)
    if dtype != jnp.float16:
        return slope.astype(dtype), 1.0
    # Most probabilities are below what float16 can hold: the largest entry becomes
    # about a thousand, by a power of two.
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(slope), initial=0))
    exponent = jnp.where(largest > 0, jnp.frexp(largest)[1] - 10, 0)
    return jnp.ldexp(slope, -exponent).astype(dtype), jnp.ldexp(
        jnp.ones((), slope.dtype), exponent
    )
