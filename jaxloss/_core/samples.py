"""Two clouds of points with masses, and the distances between their points."""

from typing import NamedTuple

import jax.numpy as jnp

from jaxloss._core import norms
from jaxloss._core.reduce import divided
from jaxloss._core.types import Array, Input
from jaxloss._core.validate import Check, computing


class Pair(NamedTuple):
    """Points, one a row, and the share of each in its cloud."""

    x: Array
    y: Array
    a: Array
    b: Array
    kept_x: Array | None
    """The points kept of the first cloud; the others hold zeros and have no share."""
    exists: Array
    """Whether both clouds have any points."""


def pair(
    check: Check,
    predictions: Input,
    targets: Input,
    *,
    where: Input | None = None,
    target_where: Input | None = None,
    weights: Input | None = None,
    target_weights: Input | None = None,
) -> Pair:
    """The arguments of a loss of two samples, checked, widened and masked."""
    x = check.floating("predictions", predictions)
    y = check.real("targets", targets)
    if x.ndim != 2:
        raise check.value_error(
            "predictions",
            "of shape [samples, features]",
            f"of shape {x.shape}",
            "Flatten the axes of one sample; use jax.vmap for several clouds.",
        )
    if y.ndim != 2 or y.shape[1] != x.shape[1]:
        raise check.value_error(
            "targets",
            f"of shape [samples, {x.shape[1]}], with the features of `predictions`",
            f"of shape {y.shape}",
            "The features are along the last axis; add one of size 1 to numbers.",
        )
    x, y = computing(x, y)
    x, a, kept_x = _shares(check, x, where, weights, "")
    y, b, _ = _shares(check, y, target_where, target_weights, "target_")
    exists = (jnp.sum(a) != 0) & (jnp.sum(b) != 0)
    return Pair(x, y, a, b, kept_x, exists)


def _shares(
    check: Check, x: Array, where: Input | None, weights: Input | None, prefix: str
) -> tuple[Array, Array, Array | None]:
    mass = jnp.ones(x.shape[:1], x.dtype)
    if weights is not None:
        mass = check.real(f"{prefix}weights", weights).astype(x.dtype)
        check.shape(f"{prefix}weights", mass, x.shape[:1])
    keep = None
    if where is not None:
        keep = check.real(f"{prefix}where", where).astype(bool)
        check.shape(f"{prefix}where", keep, x.shape[:1])
        mass = jnp.where(keep, mass, 0)
        x = jnp.where(keep[:, None], x, 0)
    return x, divided(mass, jnp.sum(mass)), keep


def squared_distances(x: Array, y: Array) -> Array:
    """|x_i - y_j|², of differences: what both have in common cancels exactly."""
    return jnp.sum(jnp.square(x[:, None, :] - y[None, :, :]), axis=2)


def distances(x: Array, y: Array) -> Array:
    """|x_i - y_j|, with the derivative 0 at 0."""
    difference = x[:, None, :] - y[None, :, :]
    return jnp.squeeze(norms.norm(difference, 2), 2)
