"""Surrogates of a policy's return: the ratio to the policy that acted, clipped.

A ratio is the exponential of a difference of log-probabilities, and may be infinite. It
is never multiplied where it does not count, so that no 0 meets an infinity.
"""

import functools

import jax
import jax.numpy as jnp

from jaxloss._core.exponential import exp_excess, expm1
from jaxloss._core.loudness import loud
from jaxloss._core.numerics import sigmoid, softplus
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
    ratio, _ = bounded_ratio(jnp.where(idle, 0, log_ratio), lower, upper)
    return -advantage * ratio


def bounded_ratio(log_ratio: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """ρ = e^log_ratio within bounds, and where it is so without being clipped.

    A NaN is not clipped, nor hidden where it is that of a bound.
    """
    ratio = jax.lax.stop_gradient(jnp.exp(log_ratio))
    above, below = ratio > high, ratio < low
    free = ~(above | below)
    bound = jnp.where(above, high, low)
    ratio = jnp.where(free, jnp.exp(jnp.where(free, log_ratio, 0)), bound)
    # Not before: what XLA on CPU makes of the exponential of a constant NaN is no NaN.
    broken = jnp.isnan(low) | jnp.isnan(high)
    return ratio * jnp.where(broken, jnp.nan, 1), free | broken


# Beyond this the gate is closed for good, while its ratio does not yet overflow.
_CLOSED = 80.0


def soft_gate(log_ratio: Array, temperature: Array) -> Array:
    """(4 / τ) σ(τ (ρ - 1))."""
    bounded = jnp.where(log_ratio > _CLOSED, _CLOSED, log_ratio)
    return _gate(bounded, jnp.broadcast_to(temperature, log_ratio.shape))


@jax.custom_jvp
def _gate(log_ratio: Array, temperature: Array) -> Array:
    return 4 / temperature * sigmoid(temperature * expm1(log_ratio))


@_gate.defjvp
def _(primals, tangents):
    # With z = τ (ρ - 1): ∂/∂log ρ = 4 ρ σ(z) σ(-z), as one exponential, for the
    # sigmoid leaves the range of floats before the product does; and ∂/∂τ is
    # (4 / τ) [(ρ - 1) σ(z) σ(-z) - σ(z) / τ].
    (log_ratio, temperature), (dlog_ratio, dtemperature) = primals, tangents
    gate, surplus = _gate(log_ratio, temperature), expm1(log_ratio)
    z = temperature * surplus
    by_ratio = 4 * jnp.exp(log_ratio - softplus(z) - softplus(-z))
    by_temperature = 4 * surplus * sigmoid(z) * sigmoid(-z) - gate
    return gate, by_ratio * dlog_ratio + by_temperature / temperature * dtemperature


def estimate(log_ratio: Array, estimator: str) -> Array:
    """An estimate of KL(π ‖ π_ref) from log π_ref - log π of a sample of π."""
    if estimator == "k1":
        return -loud(log_ratio)
    if estimator == "k2":
        return 0.5 * jnp.square(log_ratio)
    return exp_excess(log_ratio)


ESTIMATORS = ("k1", "k2", "k3")


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def weighted_estimate(
    new: Array, old: Array, reference: Array, estimator: str
) -> Array:
    """An estimate times ρ = π / π_old: without bias from samples of π_old, which is
    fixed, as π_ref is."""
    return jnp.exp(new - old) * estimate(reference - new, estimator)


@weighted_estimate.defjvp
def _(estimator, primals, tangents):
    # With r = log π_ref - log π, d(ρ k)/d log π = ρ (k - dk/dr): ρ (1 - r) for k1,
    # ρ r (r / 2 - 1) for k2. For k3 = e^r - 1 - r the exponentials cancel: -ρ r.
    new, old, reference = primals
    r, ratio = reference - new, jnp.exp(new - old)
    slope = {"k1": 1 - r, "k2": r * (r / 2 - 1), "k3": -r}[estimator]
    return weighted_estimate(*primals, estimator), ratio * slope * tangents[0]


def mean_over_tokens(x: Array, keep: Array | None) -> Array:
    """The mean along the last axis, kept with size 1, of what is kept; 0 of nothing."""
    if keep is None:
        return jnp.sum(x, axis=-1, keepdims=True) / max(x.shape[-1], 1)
    count = jnp.sum(keep.astype(x.dtype), axis=-1, keepdims=True)
    total = jnp.sum(jnp.where(keep, x, 0), axis=-1, keepdims=True)
    return total / jnp.maximum(count, 1)
