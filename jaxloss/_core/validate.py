"""Checks at trace time. Every error message of the library is worded here.

A message names the function and the argument, says what was expected and what came,
and shows the way out. Types are `TypeError`, shapes and options `ValueError`.
"""

import math
from collections.abc import Sequence
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxloss._core.errors import Errors
from jaxloss._core.mesh import mesh_axes
from jaxloss._core.types import (
    Array,
    Axis,
    Implementation,
    Input,
    Number,
    Reduction,
)


class Check(Errors):
    """Checks the arguments of one public function, whose name its errors carry."""

    # ------------------------------------------------------------------ arrays

    def array(self, argument: str, value: Input) -> Array:
        """Any array, its dtype unchanged."""
        if not isinstance(value, jax.Array | np.ndarray | np.generic):
            raise self.type_error(
                argument,
                "a JAX or NumPy array",
                f"a Python {type(value).__name__}",
                "Wrap it: jnp.asarray(...).",
            )
        return jnp.asarray(value)

    def floating(self, argument: str, value: Input) -> Array:
        """A model's output: floating point, its dtype unchanged."""
        array = self.array(argument, value)
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise self.type_error(
                argument,
                "an array of floating-point numbers",
                f"of dtype {array.dtype}",
                f"Convert it: {argument}.astype(jnp.float32).",
            )
        return array

    def real(self, argument: str, value: Input) -> Array:
        """Targets: floating point, integer or bool, the dtype unchanged."""
        array = self.array(argument, value)
        if jnp.issubdtype(array.dtype, jnp.complexfloating) or jnp.issubdtype(
            array.dtype, jax.dtypes.extended
        ):
            raise self.type_error(
                argument,
                "an array of real numbers",
                f"of dtype {array.dtype}",
                "Losses here are defined on real numbers only.",
            )
        return array

    def hermitian(self, argument: str, value: Input) -> Array:
        """Square matrices, the last two axes, floating or complex, dtype unchanged.

        That they are Hermitian is not known while tracing; losses take that part.
        """
        array = self.array(argument, value)
        if not jnp.issubdtype(array.dtype, jnp.inexact):
            raise self.type_error(
                argument,
                "an array of floating-point or complex numbers",
                f"of dtype {array.dtype}",
                f"Convert it: {argument}.astype(jnp.float32).",
            )
        if array.ndim < 2 or array.shape[-1] != array.shape[-2]:
            raise self.value_error(
                argument,
                "of square matrices, of shape [..., d, d]",
                f"of shape {array.shape}",
                "The matrices are along the last two axes.",
            )
        return array

    def labels(self, argument: str, value: Input) -> Array:
        """Class indices: integers."""
        array = self.array(argument, value)
        if not jnp.issubdtype(array.dtype, jnp.integer):
            raise self.type_error(
                argument,
                "an array of integer class indices",
                f"of dtype {array.dtype}",
                f"Convert indices with {argument}.astype(jnp.int32); one-hot or soft "
                "labels go to the loss that takes a distribution.",
            )
        return array

    def same_shape(self, **arrays: Array) -> None:
        """All arrays have the shape of the first: nothing is broadcast."""
        (first, reference), *others = arrays.items()
        for argument, array in others:
            if array.shape != reference.shape:
                raise self.value_error(
                    argument,
                    f"of the shape of `{first}`, {reference.shape}",
                    f"of shape {array.shape}",
                    "Shapes are never broadcast against each other: reshape or "
                    "jnp.broadcast_to one of them.",
                )

    def shape(self, argument: str, array: Array, expected: Sequence[int]) -> None:
        """The array has just this shape."""
        if array.shape != tuple(expected):
            raise self.value_error(
                argument,
                f"of shape {tuple(expected)}",
                f"of shape {array.shape}",
                "Shapes are never broadcast against each other: reshape it.",
            )

    # ------------------------------------------------------------------ structure

    def static(self, **options: object) -> None:
        """Structural options are Python values, not traced arrays."""
        for argument, value in options.items():
            if isinstance(value, jax.Array):
                raise self.type_error(
                    argument,
                    "a Python value, because it shapes the computation",
                    f"a traced or concrete array ({value.dtype}{list(value.shape)})",
                    f"Mark it static: jax.jit(..., static_argnames={argument!r}).",
                )

    def choice(self, argument: str, value: object, choices: Sequence[object]) -> None:
        """One of a closed set of options."""
        self.static(**{argument: value})
        if not any(value is choice or value == choice for choice in choices):
            raise self.value_error(
                argument,
                "one of " + ", ".join(map(repr, choices)),
                repr(value),
                "See the docstring for what each means.",
            )

    def count(self, argument: str, value: object, hint: str) -> None:
        """A number of things, at least one."""
        self.static(**{argument: value})
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.value_error(
                argument, "an integer of at least 1", repr(value), hint
            )

    def reduction(self, reduction: Reduction) -> None:
        """`"none"`, `"sum"` or `"mean"`."""
        self.choice("reduction", reduction, get_args(Reduction))

    def implementation(self, implementation: Implementation | None) -> None:
        """None, or one of those there are."""
        choices = (None, *get_args(Implementation))
        self.choice("implementation", implementation, choices)

    def base(self, base: float | None) -> None:
        """The base of the logarithm: None for nats, or a number above 1."""
        self.static(base=base)
        if base is not None and not (
            isinstance(base, int | float) and 1 < base < math.inf
        ):
            raise self.value_error(
                "base",
                "None (nats) or a number above 1, such as 2 (bits)",
                repr(base),
                "Leave it out for nats.",
            )

    def axes(self, axis: Axis, ndim: int, *, of: str) -> tuple[int, ...]:
        """The axes of one prediction as non-negative numbers, in the given order."""
        self.static(axis=axis)
        if axis is None:
            return tuple(range(ndim))
        given = axis if isinstance(axis, tuple) else (axis,)
        for each in given:
            if not isinstance(each, int) or isinstance(each, bool):
                raise self.type_error(
                    "axis",
                    "an integer, a tuple of integers or None",
                    repr(axis),
                    "Pass for instance axis=-1.",
                )
            if not -ndim <= each < ndim:
                raise self.value_error(
                    "axis",
                    f"an axis of `{of}`, which has {ndim} dimension(s)",
                    repr(axis),
                    f"Add the missing dimension to `{of}`, or choose another axis.",
                )
        axes = tuple(each % ndim for each in given)
        if len(set(axes)) != len(axes):
            raise self.value_error(
                "axis",
                "a tuple of different axes",
                repr(axis),
                "Name each axis once.",
            )
        return axes

    def axis_name(self, name: str) -> None:
        """A mesh axis of a surrounding `jax.shard_map` that knows what differs."""
        self.static(axis_name=name)
        try:
            index = jax.lax.axis_index(name)
        except NameError:
            raise self.value_error(
                "axis_name",
                "a mesh axis of the surrounding jax.shard_map",
                repr(name),
                "Call the loss inside jax.shard_map(..., mesh=...) with that axis, or "
                "leave it out: under jax.jit sharded arrays need no name.",
            ) from None
        if name not in mesh_axes(index):
            raise self.unable(
                "`axis_name` needs a surrounding jax.shard_map(..., check_vma=True)",
                "Without it, JAX does not know which values are the same on all "
                "devices, and gradients would be counted once for each.",
            )

    # ------------------------------------------------------------------ options

    def stored(self, argument: str, dtype: DTypeLike | None) -> jnp.dtype | None:
        """A floating dtype to store something in, or None for that of computation."""
        self.static(**{argument: dtype})
        if dtype is None or jnp.issubdtype(dtype, jnp.floating):
            return None if dtype is None else jnp.dtype(dtype)
        raise self.value_error(
            argument,
            "None or a floating-point dtype, such as jnp.bfloat16",
            repr(dtype),
            "Leave it out for float32.",
        )

    def parameter(
        self,
        argument: str,
        value: Number,
        like: Array | jax.ShapeDtypeStruct,
        *,
        low: float = -math.inf,
        high: float = math.inf,
        open_low: bool = False,
        open_high: bool = False,
    ) -> Array:
        """A hyperparameter in the dtype of `like`: one number, or one per loss.

        A Python number out of its range is an error. The value of an array is not
        known while tracing: there, out of range becomes NaN, in value and gradient.
        """
        interval = (
            f"{'(' if open_low or low == -math.inf else '['}{low}, "
            f"{high}{')' if open_high or high == math.inf else ']'}"
        )
        if isinstance(value, bool | np.bool_) or not isinstance(
            value, int | float | jax.Array | np.ndarray | np.generic
        ):
            raise self.type_error(
                argument,
                "a number or an array of numbers",
                f"a Python {type(value).__name__}",
                "Pass a float, or an array (it may be traced).",
            )
        if isinstance(value, int | float):
            above = value > low if open_low else value >= low
            below = value < high if open_high else value <= high
            if not (above and below):
                raise self.value_error(
                    argument,
                    f"a number in {interval}",
                    repr(value),
                    "Choose a value in that range.",
                )
            return jnp.asarray(value, like.dtype)
        array = self.real(argument, value).astype(like.dtype)
        if array.ndim and not _fits(array.shape, like.shape):
            raise self.value_error(
                argument,
                f"one number or an array that fits the losses, {like.shape}",
                f"of shape {array.shape}",
                "Give it one value for each loss; its axes may have size 1.",
            )
        if low > -math.inf or open_low:
            array = jnp.where(array > low if open_low else array >= low, array, jnp.nan)
        if high < math.inf or open_high:
            array = jnp.where(
                array < high if open_high else array <= high, array, jnp.nan
            )
        return array

    def where(
        self,
        where: Input | None,
        *,
        loss: Sequence[int],
        output: Sequence[int] = (),
        output_name: str = "logits",
    ) -> tuple[Array | None, Array | None]:
        """The mask, read by its rank: (examples kept, entries kept), one of them None.

        `loss` is the shape of the unreduced loss, `output` that of the model's output
        where losses run along an axis. A mask of the loss's rank keeps examples, one
        of the output's rank keeps entries. Axes are equal or 1.
        """
        if where is None:
            return None, None
        mask = self.real("where", where).astype(bool)
        loss, output = tuple(loss), tuple(output)
        if mask.ndim == len(loss) and _fits(mask.shape, loss):
            return jnp.broadcast_to(mask, loss), None
        if output and mask.ndim == len(output) and _fits(mask.shape, output):
            return None, jnp.broadcast_to(mask, output)
        expected = f"a mask of shape {loss}, to keep examples"
        if output:
            expected += f", or of shape {output}, to keep entries of `{output_name}`"
        raise self.value_error(
            "where",
            expected,
            f"of shape {mask.shape}",
            "Its rank says which is meant; axes may have size 1, and none is added.",
        )

    def weights(
        self, weights: Input | None, loss: Array | jax.ShapeDtypeStruct
    ) -> Array | None:
        """Weights of the losses, in their dtype and shape (axes may have size 1)."""
        if weights is None:
            return None
        array = self.real("weights", weights).astype(loss.dtype)
        if array.ndim != loss.ndim or not _fits(array.shape, loss.shape):
            raise self.value_error(
                "weights",
                f"of the shape of the losses, {loss.shape}",
                f"of shape {array.shape}",
                "Give each loss one weight; axes may have size 1.",
            )
        return jnp.broadcast_to(array, loss.shape)

    def class_weights(
        self, weights: Input | None, classes: int, dtype: jnp.dtype
    ) -> Array | None:
        """One weight per class, `[classes]`."""
        if weights is None:
            return None
        array = self.real("class_weights", weights).astype(dtype)
        if array.shape != (classes,):
            raise self.value_error(
                "class_weights",
                f"one weight for each class, of shape ({classes},)",
                f"of shape {array.shape}",
                "Its order is that of the classes.",
            )
        return array


def _fits(shape: Sequence[int], full: Sequence[int]) -> bool:
    """Whether a shape of the same rank has each axis equal to `full`'s or 1."""
    return len(shape) == len(full) and all(
        size in (1, whole) for size, whole in zip(shape, full, strict=True)
    )


def computing(*arrays: Array) -> tuple[Array, ...]:
    """Arrays in the dtype of computation: float64 if any of them is, else float32.

    Half precision is widened before the first operation, so that a loss is the exact
    mathematics of its rounded inputs; the gradient of this cast rounds once, back.
    """
    wide = any(array.dtype == jnp.float64 for array in arrays)
    dtype = jnp.float64 if wide else jnp.float32
    return tuple(array.astype(dtype) for array in arrays)


def is_off(value: Number | None, neutral: float) -> bool:
    """Whether an option is the Python number that turns its feature off.

    Such an option compiles to nothing; an array of that value does not.
    """
    return value is None or (isinstance(value, int | float) and value == neutral)
