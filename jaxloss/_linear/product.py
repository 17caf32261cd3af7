"""The matmul of a linear head, and transposes of it that sum in float32 as well.

`jax.lax.dot_general` sums half-precision products in float32 when it is asked to, and
then its transpose multiplies a float32 cotangent: both operands are widened, at a
multiple of the time and with a float32 copy of the kernel. Here the transpose rounds
the cotangent to the dtype of the other operand, as every trained matmul does, and sums
in float32 again. JAX has no way to give a linear function another transpose that
`vmap` and higher derivatives see through, so this is a primitive.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.interpreters import ad, batching, mlir

from jaxloss._core.mesh import all_mesh_axes, varying
from jaxloss._core.types import Array

# The class of JAX's operations. Its public name is in `jax.extend`, whose import brings
# Pallas along.
Primitive = type(jax.lax.dot_general_p)

Axes = Sequence[int]
Dimensions = tuple[tuple[Axes, Axes], tuple[Axes, Axes]]


def product(
    a: Array, b: Array, contract: tuple[int, int], stored: jnp.dtype | None = None
) -> Array:
    """Σ_k a_k b_k over one axis of each, in float32 (float64 for float64).

    The result has the other axes of `a`, then those of `b`; it may be stored in another
    dtype than it is summed in. Its gradient with respect to either factor is in that
    one's dtype.
    """
    (i, j) = contract
    a, b = varying((a, b), all_mesh_axes((a, b)))
    stored = stored or accumulator(a.dtype, b.dtype)
    return _product.bind(
        a, b, dimensions=(((i,), (j,)), ((), ())), stored=jnp.dtype(stored)
    )


def factors(*dtypes: jnp.dtype) -> jnp.dtype:
    """The dtype in which a product's factors meet: that of both, or one that holds
    both."""
    return dtypes[0] if len(set(dtypes)) == 1 else accumulator(*dtypes)


def scaled(slope: Array, *dtypes: jnp.dtype) -> tuple[Array, Array | float]:
    """The derivative with respect to the logits, in the dtype to multiply it in, and
    the unit in which it stands there."""
    dtype = factors(*dtypes)
    if dtype != jnp.float16:
        return slope.astype(dtype), 1.0
    # Most probabilities are below what float16 can hold: the largest entry becomes
    # about a thousand, by a power of two.
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(slope), initial=0))
    exponent = jnp.where(largest > 0, jnp.frexp(largest)[1] - 10, 0)
    unit = jnp.ldexp(jnp.ones((), slope.dtype), exponent)
    return jnp.ldexp(slope, -exponent).astype(dtype), unit


def accumulator(*dtypes: jnp.dtype) -> jnp.dtype:
    """The dtype of a sum of products: float64 if any factor is, else float32."""
    return jnp.dtype("float64" if jnp.dtype("float64") in dtypes else "float32")


def _dot(a: Array, b: Array, *, dimensions: Dimensions, stored: jnp.dtype) -> Array:
    dtype = factors(a.dtype, b.dtype)
    # Products of half-precision numbers are exact in float32 whatever the precision;
    # those of float32 numbers are not, where the hardware would round them first.
    exact = dtype.itemsize >= 4
    return jax.lax.dot_general(
        a.astype(dtype),
        b.astype(dtype),
        dimensions,
        precision=jax.lax.Precision.HIGHEST if exact else None,
        preferred_element_type=stored,
    )


_product = Primitive("jaxloss_product")
_product.def_impl(jax.jit(_dot, static_argnames=("dimensions", "stored")))
mlir.register_lowering(_product, mlir.lower_fun(_dot, multiple_results=False))


@_product.def_abstract_eval
def _(a, b, *, dimensions, stored):
    dtype = factors(a.dtype, b.dtype)
    out, _ = jax.lax.dot_general_p.abstract_eval(
        a.update(dtype=dtype, weak_type=False),
        b.update(dtype=dtype, weak_type=False),
        dimension_numbers=dimensions,
        precision=None,
        preferred_element_type=stored,
        out_sharding=None,
    )
    return out


def _free(ndim: int, *used: Axes) -> tuple[int, ...]:
    return tuple(i for i in range(ndim) if not any(i in axes for axes in used))


def _pull_back(ct, known, wanted, *, contract, batch, first: bool):
    """The cotangent of one operand, from that of the product and the other operand."""
    (of_wanted, of_known), (batch_wanted, batch_known) = contract, batch
    free_wanted = _free(wanted.ndim, of_wanted, batch_wanted)
    free_known = _free(known.ndim, of_known, batch_known)
    batches = len(batch_known)
    start = batches + (len(free_wanted) if first else 0)
    in_ct = tuple(range(start, start + len(free_known)))
    ct, known = varying((ct, known), all_mesh_axes((ct, known)))
    out = _product.bind(
        ct.astype(known.dtype) if known.dtype.itemsize < 4 else ct,
        known,
        dimensions=((in_ct, free_known), (tuple(range(batches)), tuple(batch_known))),
        stored=accumulator(ct.dtype, known.dtype),
    )
    # Its axes: the batch, the free ones of the wanted operand, those contracted, in
    # the order in which they stand in the known one.
    in_order = [w for _, w in sorted(zip(of_known, of_wanted, strict=True))]
    order = [*batch_wanted, *free_wanted, *in_order]
    return jnp.transpose(out, [order.index(i) for i in range(wanted.ndim)]).astype(
        wanted.dtype
    )


def _transpose_first(ct, a, b, *, dimensions, stored):
    return _pull_back(
        ct, b, a.aval, contract=dimensions[0], batch=dimensions[1], first=True
    )


def _transpose_second(ct, a, b, *, dimensions, stored):
    contract, batch = (axes[::-1] for axes in dimensions)
    return _pull_back(ct, a, b.aval, contract=contract, batch=batch, first=False)


ad.defbilinear(_product, _transpose_first, _transpose_second)


def _batched(operands, batch_axes, *, dimensions, stored):
    (a, b), (at_a, at_b) = operands, batch_axes
    (of_a, of_b), (batch_a, batch_b) = dimensions

    def after(axes, at):
        return tuple(i + 1 for i in axes) if at is not None else tuple(axes)

    if at_a is not None:
        a = jnp.moveaxis(a, at_a, 0)
    if at_b is not None:
        b = jnp.moveaxis(b, at_b, 0)
    of_a, batch_a = after(of_a, at_a), after(batch_a, at_a)
    of_b, batch_b = after(of_b, at_b), after(batch_b, at_b)
    if at_a is not None and at_b is not None:
        batch_a, batch_b, out = (0, *batch_a), (0, *batch_b), 0
    elif at_a is not None:
        out = len(batch_a)
    else:
        out = a.ndim - len(of_a)
    dimensions = ((of_a, of_b), (batch_a, batch_b))
    result = _product.bind(a, b, dimensions=dimensions, stored=stored)
    return result, out


batching.primitive_batchers[_product] = _batched
