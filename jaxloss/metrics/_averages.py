"""Averages in parts: what is added up before it is divided."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from jaxloss._core.numerics import weighted
from jaxloss._core.reduce import divided
from jaxloss._core.types import Array, Input
from jaxloss._core.validate import Check

Link = Literal["identity", "root", "exp"]
"""What is taken of a mean."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mean:
    """A weighted mean in two parts, which may be added up before they are divided.

    Both are in float32 (float64 for float64 inputs): a count that exceeds 2^24 is
    rounded, and so are its sums.
    """

    total: Array
    """Σ w x."""
    count: Array
    """Σ w."""
    link: Link = dataclasses.field(default="identity", metadata={"static": True})
    """What is taken of the mean: itself, its square root, or its exponential."""

    @property
    def value(self) -> Array:
        """The metric: the link of total / count, whose mean of nothing is 0."""
        mean = divided(self.total, self.count)
        if self.link == "root":
            return jnp.sqrt(mean)
        return jnp.exp(mean) if self.link == "exp" else mean

    def merge(self, other: "Mean") -> "Mean":
        """That of both together."""
        if self.link != other.link:
            raise ValueError(
                f"jaxloss.metrics.Mean.merge: `other` must be of link {self.link!r}, "
                f"but it is of link {other.link!r}. Merge values of one metric."
            )
        return Mean(self.total + other.total, self.count + other.count, self.link)

    def psum(self, axis_name: str | tuple[str, ...]) -> "Mean":
        """That of all the devices of a mesh axis together, inside `jax.shard_map`."""
        return jax.lax.psum(self, axis_name)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Calibration:
    """A reliability diagram: sums over the examples of each bin of confidence."""

    confidence: Array
    """Σ w p, p the probability of the predicted class. Shape `[bins]`."""
    correct: Array
    """Σ w over the predictions that were right. Shape `[bins]`."""
    count: Array
    """Σ w. Shape `[bins]`."""

    @property
    def value(self) -> Array:
        """Σ |correct - confidence| / Σ count: the expected calibration error."""
        gap = jnp.abs(self.correct - self.confidence)
        return divided(jnp.sum(gap, axis=-1), jnp.sum(self.count, axis=-1))

    def merge(self, other: "Calibration") -> "Calibration":
        """That of both together."""
        if self.count.shape != other.count.shape:
            raise ValueError(
                "jaxloss.metrics.Calibration.merge: `other` must be of shape "
                f"{self.count.shape}, but it is of shape {other.count.shape}. Use one "
                "number of bins."
            )
        return jax.tree.map(jnp.add, self, other)

    def psum(self, axis_name: str | tuple[str, ...]) -> "Calibration":
        """That of all the devices of a mesh axis together, inside `jax.shard_map`."""
        return jax.lax.psum(self, axis_name)


def weight_of(
    check: Check, like: Array, keep: Array | None, weights: Input | None
) -> Array:
    """The weight of each entry, 0 where it is not kept."""
    weight = check.weights(weights, like)
    weight = jnp.ones_like(like) if weight is None else weight
    return weight if keep is None else jnp.where(keep, weight, 0)


def total_of(
    check: Check,
    values: Array,
    keep: Array | None,
    weights: Input | None,
    link: Link = "identity",
) -> Mean:
    """The mean of values, whose masked entries may hold anything."""
    weight = weight_of(check, values, keep, weights)
    if keep is not None:
        values = jnp.where(keep, values, 0)
    return Mean(jnp.sum(weighted(values, weight)), jnp.sum(weight), link)
