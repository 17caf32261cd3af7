"""Surrogates of a policy's return: the ratio to the policy that acted, clipped.

A ratio is the exponential of a difference of log-probabilities, and may be infinite. It
is never multiplied where it does not count, so that no 0 meets an infinity.
"""

import jax
import jax.numpy as jnp

from jaxloss._core.exponential import exp_excess
from jaxloss._core.loudness import loud
from jaxloss._core.types import Array


def clipped_surrogate(
    log_ratio: Array, advantage: Array, low: Array, high: Array, cap: Array | None
) -> Array:
    """-min(ρ A, clip(ρ, 1 - low, 1 + high) A), and at most -cap A where A < 0."""
    # The minimum bounds ρ from above where A > 0 and from below where A < 0.
    ceiling = jnp.full_like(advantage, jnp.inf) if cap is None else cap
    upper = jnp.where(advantage > 0, 1 + high, ceiling)
    lower = jnp.where(advantage < 0, 1 - low, 0)
    # What has no advantage has no ratio, but for a NaN.
    idle = (advantage == 0) & ~jnp.isnan(log_ratio)
    log_ratio = jnp.where(idle, 0, log_ratio)
    ratio = jax.lax.stop_gradient(jnp.exp(log_ratio))
    above, below = ratio > upper, ratio < lower
    free = ~(above | below)
    bound = jnp.where(above, upper, lower)
    ratio = jnp.where(free, jnp.exp(jnp.where(free, log_ratio, 0)), bound)
    return -advantage * ratio


def estimate(log_ratio: Array, estimator: str) -> Array:
    """An estimate of KL(π ‖ π_ref) from log π_ref - log π of a sample of π."""
    if estimator == "k1":
        return -loud(log_ratio)
    if estimator == "k2":
        return 0.5 * jnp.square(log_ratio)
    return exp_excess(log_ratio)


ESTIMATORS = ("k1", "k2", "k3")


def mean_over_tokens(x: Array, keep: Array | None) -> Array:
    """The mean along the last axis, kept with size 1, of what is kept; 0 of nothing."""
    if keep is None:
        return jnp.sum(x, axis=-1, keepdims=True) / max(x.shape[-1], 1)
    count = jnp.sum(keep.astype(x.dtype), axis=-1, keepdims=True)
    total = jnp.sum(jnp.where(keep, x, 0), axis=-1, keepdims=True)
    return total / jnp.maximum(count, 1)
