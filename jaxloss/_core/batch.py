"""A batch whose examples meet each other, on one device or on many.

Inside `jax.shard_map` the examples may be spread over the devices of a mesh axis: each
holds some, and compares its own with those of all. "Here" is what this device holds.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core import axes, norms
from jaxloss._core.types import Array, Input
from jaxloss._core.validate import Check, computing


class Pairs(NamedTuple):
    """Which pairs (of an example here, of any example) are of one kind."""

    positive: Array
    """Two different examples with one label."""
    negative: Array
    """Two examples with different labels."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """The examples of a batch."""

    check: Check
    size: int
    """How many there are here."""
    keep: Array | None
    """Those here that the mask keeps."""
    axis_name: str | None
    """The mesh axis over which they are spread."""

    @property
    def axis(self) -> axes.RowAxis:
        """The first axis, as one along which sums are those of all devices."""
        return 0 if self.axis_name is None else axes.SpreadAxis(0, self.axis_name)

    @property
    def kept(self) -> Array:
        """The mask, also where there is none."""
        return jnp.ones(self.size, bool) if self.keep is None else self.keep

    def all(self, here: Array) -> Array:
        """What all devices have, one after the other along the first axis."""
        if self.axis_name is None:
            return here
        return jax.lax.all_gather(here, self.axis_name, tiled=True)

    def count(self, dtype: jnp.dtype) -> Array:
        """How many examples are kept on all devices, `[1]`."""
        return axes.total(self.kept.astype(dtype), self.axis)

    def peak(self, x: Array) -> Array:
        """The largest magnitude in each column, without a derivative."""
        return axes.peak(jnp.abs(jax.lax.stop_gradient(x)), self.axis)

    def place(self, copies: int = 1) -> Array:
        """Where the examples here stand in `all` of as many copies of them."""
        size = copies * self.size
        place = jnp.arange(size)
        if self.axis_name is None:
            return place
        first = jax.lax.axis_index(self.axis_name) * size
        return place + first.astype(place.dtype)

    def others(self) -> Array:
        """Pairs of two different examples that are both kept, `[here, all]`."""
        kept = self.kept[:, None] & self.all(self.kept)[None, :]
        return kept & ~same(self.place(), kept.shape[1])

    def pairs(self, labels: Input) -> Pairs:
        """Of examples with integer labels."""
        y = self.check.labels("labels", labels)
        self.check.shape("labels", y, (self.size,))
        alike = y[:, None] == self.all(y)[None, :]
        others = self.others()
        return Pairs(others & alike, others & ~alike)

    def centred(self, x: Array) -> Array:
        """x minus its mean over the kept examples of all devices; 0 for the others."""
        count = jnp.maximum(self.count(x.dtype), 1)[:, None]
        # The first mean is rounded in the unit of an offset, the second in that of the
        # differences, which are exact.
        for _ in range(2):
            x = jnp.where(self.kept[:, None], x, 0)
            x = x - axes.total(x, self.axis) / count
        return jnp.where(self.kept[:, None], x, 0)

    def directions(self, x: Array) -> Array:
        """The columns divided by their lengths over all devices; zeros stay zeros."""
        factor = 1 / norms.power_of_two(self.peak(x))
        square = axes.total(jnp.square(x * factor), self.axis)
        zero = square == 0
        root = jnp.sqrt(jnp.where(zero, 1, square))
        return jnp.where(zero, 0, (x * factor) / root)

    def mean(self, x: Array) -> Array:
        """Over the kept examples of all devices; 0 if there are none."""
        x = jnp.where(self.kept.reshape(-1, *[1] * (x.ndim - 1)), x, 0)
        count = jnp.maximum(self.count(x.dtype), 1)
        return jnp.squeeze(axes.total(x, self.axis), 0) / count[0]


def embeddings(
    check: Check, where: Input | None, axis_name: str | None, /, **arguments: Input
) -> tuple[list[Array], Batch]:
    """Arrays `[batch, features]` of one shape, by name; zeros where masked."""
    arrays = {name: check.floating(name, value) for name, value in arguments.items()}
    for name, array in arrays.items():
        if array.ndim != 2:
            raise check.value_error(
                name,
                "of shape [batch, features]",
                f"of shape {array.shape}",
                "Flatten the axes of one example; use jax.vmap for several batches.",
            )
    check.same_shape(**arrays)
    if axis_name is not None:
        check.axis_name(axis_name)
    computed = list(computing(*arrays.values()))
    size = computed[0].shape[0]
    keep, _ = check.where(where, loss=(size,))
    if keep is not None:
        computed = [jnp.where(keep[:, None], x, 0) for x in computed]
    return computed, Batch(check, size, keep, axis_name)


def products(x: Array, y: Array) -> Array:
    """x_i · y_j of all pairs of rows, at full precision."""
    return jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST)


def same(place: Array, size: int) -> Array:
    """Where each row meets itself, `[rows, size]`."""
    return place[:, None] == jnp.arange(size, dtype=place.dtype)[None, :]


def spread(value: Array) -> Array:
    """One number for all, or one for each example, lined up with rows of pairs."""
    return value[:, None] if value.ndim else value
