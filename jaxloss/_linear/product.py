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
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxloss._core.types import Array
from jaxloss._linear.tracing import all_mesh_axes, varying

Axes = Sequence[int]
Dimensions = tuple[tuple[Axes, Axes], tuple[Axes, Axes]]


def product(a: Array, b: Array, contract: tuple[int, int]) -> Array:
    """Σ_k a_k b_k over one axis of each, in float32 (float64 for float64).

    The result has the other axes of `a`, then those of `b`. Its gradient with respect
    to either is in that one's dtype.
    """
    (i, j) = contract
    a, b = varying((a, b), all_mesh_axes((a, b)))
    return _product.bind(a, b, dimensions=(((i,), (j,)), ((), ())))


def accumulator(*dtypes: jnp.dtype) -> jnp.dtype:
    """The dtype of a sum of products: float64 if any factor is, else float32."""
    return jnp.float64 if jnp.float64 in dtypes else jnp.float32


def common(a: jnp.dtype, b: jnp.dtype) -> jnp.dtype:
    """The dtype in which the two are multiplied.

    A transpose may meet a half-precision operand with a float32 one, whatever promotion
    the program has allowed itself.
    """
    with jax.numpy_dtype_promotion("standard"):
        return jnp.promote_types(a, b)


def _dot(a: Array, b: Array, *, dimensions: Dimensions) -> Array:
    dtype = common(a.dtype, b.dtype)
    # Products of half-precision numbers are exact in float32 whatever the precision;
    # those of float32 numbers are not, where the hardware would round them first.
    exact = dtype.itemsize >= 4
    return jax.lax.dot_general(
        a.astype(dtype),
        b.astype(dtype),
        dimensions,
        precision=jax.lax.Precision.HIGHEST if exact else None,
        preferred_element_type=accumulator(dtype),
    )


_product = Primitive("jaxloss_product")
_product.def_impl(jax.jit(_dot, static_argnames="dimensions"))
mlir.register_lowering(_product, mlir.lower_fun(_dot, multiple_results=False))


@_product.def_abstract_eval
def _(a, b, *, dimensions):
    dtype = common(a.dtype, b.dtype)
    out, _ = jax.lax.dot_general_p.abstract_eval(
        a.update(dtype=dtype, weak_type=False),
        b.update(dtype=dtype, weak_type=False),
        dimension_numbers=dimensions,
        precision=None,
        preferred_element_type=accumulator(dtype),
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
    )
    # Its axes: the batch, the free ones of the wanted operand, those contracted, in
    # the order in which they stand in the known one.
    in_order = [w for _, w in sorted(zip(of_known, of_wanted, strict=True))]
    order = [*batch_wanted, *free_wanted, *in_order]
    return jnp.transpose(out, [order.index(i) for i in range(wanted.ndim)]).astype(
        wanted.dtype
    )


def _transpose_first(ct, a, b, *, dimensions):
    return _pull_back(
        ct, b, a.aval, contract=dimensions[0], batch=dimensions[1], first=True
    )


def _transpose_second(ct, a, b, *, dimensions):
    contract, batch = (axes[::-1] for axes in dimensions)
    return _pull_back(ct, a, b.aval, contract=contract, batch=batch, first=False)


ad.defbilinear(_product, _transpose_first, _transpose_second)


def _batched(operands, batch_axes, *, dimensions):
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
    result = _product.bind(a, b, dimensions=((of_a, of_b), (batch_a, batch_b)))
    return result, out


batching.primitive_batchers[_product] = _batched
