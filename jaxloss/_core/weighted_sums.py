"""Sums of exponentials over ranges of a sequence, as numbers with a factor.

A sum is sum * e^peak, its peak the largest exponent in it, so that neither a common
offset nor a wide range of exponents costs digits. Autodiff takes the peaks for
constants, which is exact.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core.types import Array


class Sum(NamedTuple):
    """sum * e^peak."""

    sum: Array
    peak: Array
    """A constant to autodiff; far down where there is nothing."""


def exp(x: Array, there: Array) -> Sum:
    """e^x for finite x, or nothing."""
    peak = jax.lax.stop_gradient(jnp.where(there, x, -jnp.finfo(x.dtype).max))
    return Sum(jnp.where(there, jnp.exp(x - jax.lax.stop_gradient(x)), 0), peak)


def add(a: Sum, b: Sum) -> Sum:
    """The sum of both."""
    peak = jnp.maximum(a.peak, b.peak)
    total = a.sum * jnp.exp(a.peak - peak) + b.sum * jnp.exp(b.peak - peak)
    return Sum(total, peak)


def at(a: Sum, index: Array) -> Sum:
    """Sums at other places."""
    return Sum(a.sum[index], a.peak[index])


def before(a: Sum) -> Sum:
    """For each place, the sum of what stands before it."""
    return _shifted(jax.lax.associative_scan(add, a))


def within(a: Sum, first: Array) -> Sum:
    """For each place, the sum of the others of its group; `first` begins a group."""
    last = jnp.concatenate([first[1:], jnp.ones_like(first[:1])])
    after = _segmented(Sum(a.sum[::-1], a.peak[::-1]), last[::-1])
    return add(_segmented(a, first), Sum(after.sum[::-1], after.peak[::-1]))


def _segmented(a: Sum, first: Array) -> Sum:
    """For each place, the sum of what stands before it in its group."""

    def combine(left, right):
        (begun, a), (begins, b) = left, right
        both = add(a, b)
        total = jnp.where(begins, b.sum, both.sum)
        peak = jnp.where(begins, b.peak, both.peak)
        return begun | begins, Sum(total, peak)

    _, inclusive = jax.lax.associative_scan(combine, (first, a))
    shifted = _shifted(inclusive)
    peak = jnp.where(first, -jnp.finfo(a.peak.dtype).max, shifted.peak)
    return Sum(jnp.where(first, 0, shifted.sum), peak)


def _shifted(a: Sum) -> Sum:
    """Each sum at the next place; nothing at the first."""
    nothing = jnp.full_like(a.peak[:1], -jnp.finfo(a.peak.dtype).max)
    total = jnp.concatenate([jnp.zeros_like(a.sum[:1]), a.sum[:-1]])
    return Sum(total, jnp.concatenate([nothing, a.peak[:-1]]))
