"""How a number, or a normal distribution around it, is shared out over points."""

import math

import jax
import jax.numpy as jnp

from jaxloss._core.numerics import positive_part, step
from jaxloss._core.types import Array, Input
from jaxloss._core.validate import Check


def increasing(
    check: Check, name: str, values: Input, size: int, dtype: jnp.dtype
) -> Array:
    """An increasing sequence of this size; NaN if it is none."""
    array = check.real(name, values).astype(dtype)
    check.shape(name, array, (size,))
    return jnp.where(jnp.all(jnp.diff(array) > 0), array, jnp.nan)


def hats(y: Array, points: Array, axis: int) -> Array:
    """The share of y that falls to each point: linear between neighbours.

    Args:
      y: of size 1 along the axis; outside the points it counts as the nearest one.
      points: increasing, `[points]`.
      axis: along which the points will stand.
    """
    axis = axis % y.ndim
    y = _clipped(y, points[0], points[-1])
    points = _along(points, y.ndim, axis)
    low, high = _ends(points, axis)
    width = high - low
    # At either end the other side is level, and the mean of both is half of this one.
    edge = jnp.ones_like(y)
    rising = jnp.concatenate([edge, (y - low) / width], axis=axis)
    falling = jnp.concatenate([(high - y) / width, edge], axis=axis)
    return positive_part(_smaller(rising, falling))


def between_edges(y: Array, edges: Array, sigma: Array, axis: int) -> Array:
    """The shares of bins in a normal distribution around y, normalised over them.

    Args:
      y: of size 1 along the axis; outside the edges it counts as the nearest one.
      edges: increasing, `[bins + 1]`.
      sigma: the standard deviation, one or of size 1 along the axis.
      axis: along which the bins will stand.
    """
    axis = axis % y.ndim
    y = _clipped(y, edges[0], edges[-1])
    edges = _along(edges, y.ndim, axis)
    low, high = _ends(edges, axis)
    # Φ(b) - Φ(a) in the tail where both are small. Of a narrow bin, whose two values of
    # Φ nearly cancel: φ(m) w (1 + (m² - 1) w²/24 + (m⁴ - 6 m² + 3) w⁴/1920 + ...) with
    # the middle m and the width w.
    z = (edges - y) / (sigma * math.sqrt(2))
    (a, b), (c, d) = (_ends(jax.lax.erfc(s * z), axis) for s in (1, -1))
    middle = ((low - y) + (high - y)) / (2 * sigma)
    wide = jnp.where(middle > 0, a - b, d - c) / 2
    width = jnp.broadcast_to((high - low) / sigma, wide.shape)
    narrow = width < 0.125
    w, m = (jnp.where(narrow, v, 0) ** 2 for v in (width, middle))
    series = 1 + w * ((m - 1) / 24 + w * (m * m - 6 * m + 3) / 1920)
    density = jnp.exp(-m / 2) / math.sqrt(2 * math.pi)
    share = jnp.where(narrow, density * width * series, wide)
    return share / jnp.sum(share, axis=axis, keepdims=True)


def _along(values: Array, ndim: int, axis: int) -> Array:
    return values.reshape([-1 if i == axis else 1 for i in range(ndim)])


def _ends(values: Array, axis: int) -> tuple[Array, Array]:
    """The lower and the upper of each two neighbours."""
    size = values.shape[axis]
    return (
        jax.lax.slice_in_dim(values, 0, size - 1, axis=axis),
        jax.lax.slice_in_dim(values, 1, size, axis=axis),
    )


@jax.custom_jvp
def _clipped(y: Array, low: Array, high: Array) -> Array:
    """y within its limits, with the derivative 1 at them too; NaN at NaN."""
    return jnp.clip(y, low, high)


@_clipped.defjvp
def _(primals, tangents):
    (y, low, high), (dy, dlow, dhigh) = primals, tangents
    inside = jnp.where(y < low, dlow, jnp.where(y > high, dhigh, dy))
    return _clipped(y, low, high), jnp.where(jnp.isnan(y), y, 1) * inside


@jax.custom_jvp
def _smaller(a: Array, b: Array) -> Array:
    """min(a, b), NaN at NaN in the derivative too; at a tie the mean of both."""
    return jnp.minimum(a, b)


@_smaller.defjvp
def _(primals, tangents):
    (a, b), (da, db) = primals, tangents
    share = step(b - a)
    return _smaller(a, b), share * da + (1 - share) * db
