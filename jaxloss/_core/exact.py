"""Sums that keep what a rounded addition drops.

A loss that is small because its terms nearly cancel, as a hinge beside its kink, is
only as good as the roundings of those terms. A rounded addition loses a number that is
itself representable; adding it back makes the sum good to its own last place.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core.types import Array


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b rounded, and what the rounding dropped (Knuth). For finite sums."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


class Twofold(NamedTuple):
    """A sum under way: rounded, and what the roundings have dropped so far.

    The second part has no derivative, and is 0 where the sum is infinite or NaN.
    """

    rounded: Array
    dropped: Array

    @staticmethod
    def of(x: Array) -> "Twofold":
        return Twofold(x, jnp.zeros_like(x))

    def plus(self, other: "Twofold") -> "Twofold":
        return Twofold(*_add(*self, *other))

    def beyond(self, other: "Twofold") -> Array:
        """What is left when the other is subtracted."""
        return (self.rounded - other.rounded) + (self.dropped - other.dropped)

    def where(self, chosen: Array, other: "Twofold") -> "Twofold":
        """This one where it is chosen, elsewhere the other."""
        return jax.tree.map(lambda x, y: jnp.where(chosen, x, y), self, other)

    def each(self, function: Callable[[Array], Array]) -> "Twofold":
        """The same of both parts, which is to move numbers only."""
        return jax.tree.map(function, self)


@jax.custom_jvp
def _add(a: Array, of_a: Array, b: Array, of_b: Array) -> tuple[Array, Array]:
    total = a + b
    finite = jnp.isfinite(total)
    _, dropped = two_sum(jnp.where(finite, a, 0), jnp.where(finite, b, 0))
    return total, jnp.where(finite, dropped + (of_a + of_b), 0)


@_add.defjvp
def _(primals, tangents):
    da, _, db, _ = tangents
    total, dropped = _add(*primals)
    return (total, dropped), (da + db, jnp.zeros_like(dropped))


@jax.custom_jvp
def add3(a: Array, b: Array, c: Array) -> Array:
    """a + b + c to its last place, however much cancels; infinities as in IEEE."""
    plain = a + b + c
    # Where the sum is infinite or NaN nothing can be dropped.
    a, b, c = (jnp.where(jnp.isfinite(plain), term, 0) for term in (a, b, c))
    high, first = two_sum(a, b)
    high, second = two_sum(high, c)
    return jnp.where(jnp.isfinite(plain), high + (first + second), plain)


@add3.defjvp
def _(primals, tangents):
    da, db, dc = tangents
    return add3(*primals), da + db + dc


def split(x: Array) -> tuple[Array, Array]:
    """x as a high and a low part, cut at the same place for all.

    The high parts are multiples of one unit: their sum is exact as long as it is below
    4. The low parts are so small that the rounding of their sum hardly counts. So a sum
    near 1 is known as if in twice the precision.
    """
    unit = 4 * jnp.finfo(x.dtype).epsneg
    high = jnp.round(x / unit) * unit
    return high, x - high


@jax.custom_jvp
def add4(a: Array, b: Array, c: Array, d: Array) -> Array:
    """a + b + c + d to its last place, as `add3`."""
    plain = a + b + c + d
    a, b, c, d = (jnp.where(jnp.isfinite(plain), term, 0) for term in (a, b, c, d))
    high, first = two_sum(a, b)
    high, second = two_sum(high, c)
    high, third = two_sum(high, d)
    # The roundings are as small as their sum's own rounding is harmless.
    rest = first + second + third
    return jnp.where(jnp.isfinite(plain), high + rest, plain)


@add4.defjvp
def _(primals, tangents):
    da, db, dc, dd = tangents
    return add4(*primals), da + db + dc + dd
