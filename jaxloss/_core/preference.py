"""What a preference costs: functions of two answers' log-ratios.

The log-ratio of an answer is log π - log π_ref, and the margin h the chosen one's less
the rejected one's. A sigmoid of either is taken from the side on which it is small.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core import logit_divergence
from jaxloss._core.exact import add4
from jaxloss._core.numerics import (
    logistic_loss,
    positive_part,
    sigmoid,
    softplus,
    weighted,
)
from jaxloss._core.types import Array


class Pair(NamedTuple):
    """The log-ratios of a pair of answers."""

    chosen: Array
    rejected: Array
    margin: Array
    """chosen - rejected, from the four numbers at once: their roundings cancel."""


def pair(chosen: Array, rejected: Array, of_chosen: Array, of_rejected: Array) -> Pair:
    """From the log-probabilities of the policy and of its reference."""
    return Pair(
        chosen - of_chosen,
        rejected - of_rejected,
        add4(chosen, -rejected, -of_chosen, of_rejected),
    )


class Settings(NamedTuple):
    """The hyperparameters of the variants."""

    beta: Array
    smoothing: Array | None
    """The share ε of wrong preferences; None for 0."""
    shift: Array
    temperature: Array


class Smoothing(NamedTuple):
    """The range of ε."""

    high: float = 0.0
    open_low: bool = False
    open_high: bool = False


class Variant(NamedTuple):
    """One form of the loss."""

    loss: Callable[[Pair, Settings], Array]
    smoothing: Smoothing = Smoothing()
    shifted: bool = False


def smoothed_logistic(d: Array, smoothing: Array | None) -> Array:
    """-(1 - ε) log σ(d) - ε log σ(-d)."""
    if smoothing is None:
        return softplus(-d)
    return logistic_loss(d, 1 - smoothing, smoothing, jnp.ones_like(smoothing))


def _sigmoid(r: Pair, s: Settings) -> Array:
    return smoothed_logistic(s.beta * r.margin, s.smoothing)


def _robust(r: Pair, s: Settings) -> Array:
    # (1 - ε) sp(-d) - ε sp(d) = (1 - 2ε) sp(-d) - ε d, without the cancelling part.
    d = s.beta * r.margin
    if s.smoothing is None:
        return softplus(-d)
    return softplus(-d) - s.smoothing / (1 - 2 * s.smoothing) * d


def _ipo(r: Pair, s: Settings) -> Array:
    return jnp.square(r.margin - 0.5 / s.beta)


def _hinge(r: Pair, s: Settings) -> Array:
    return positive_part(1 - s.beta * r.margin)


def _exo(r: Pair, s: Settings) -> Array:
    if s.smoothing is None:
        raise AssertionError("its range leaves out 0")
    d = s.beta * r.margin
    return _coin_kl(d, jnp.broadcast_to(s.smoothing, d.shape))


@jax.custom_jvp
def _coin_kl(d: Array, smoothing: Array) -> Array:
    """KL of the coin σ(d) from the coin 1 - ε."""
    rare, sure = -jnp.log(smoothing), -jnp.log1p(-smoothing)
    odds = rare - sure
    # Near each other, as of two softmaxes, where nothing cancels.
    near = jnp.abs(d - odds) < 1
    model, target = (
        jnp.stack([x, jnp.zeros_like(x)], axis=-1)
        for x in (jnp.where(near, d, 0), jnp.where(near, odds, 0))
    )
    close = logit_divergence.kl(model, target, -1)[..., 0]
    won = sigmoid(d) * (sure - softplus(-d))
    lost = weighted(rare - softplus(d), sigmoid(-d))
    return jnp.where(near, close, won + lost)


@_coin_kl.defjvp
def _(primals, tangents):
    # ∂/∂d = σ(d) σ(-d) (d - log (1 - ε) / ε), ∂/∂ε = σ(d) / (1 - ε) - σ(-d) / ε.
    (d, smoothing), (dd, dsmoothing) = primals, tangents
    odds = jnp.log1p(-smoothing) - jnp.log(smoothing)
    by_d = weighted(d - odds, sigmoid(d) * sigmoid(-d))
    by_smoothing = sigmoid(d) / (1 - smoothing) - sigmoid(-d) / smoothing
    return _coin_kl(d, smoothing), by_d * dd + by_smoothing * dsmoothing


def _nca(r: Pair, s: Settings) -> Array:
    half = jnp.full_like(s.beta, 0.5)
    one = jnp.ones_like(s.beta)
    chosen = logistic_loss(s.beta * r.chosen, one, half, one)
    return chosen + 0.5 * softplus(s.beta * r.rejected)


def _bco(r: Pair, s: Settings) -> Array:
    chosen, rejected = s.beta * r.chosen - s.shift, s.beta * r.rejected - s.shift
    return softplus(-chosen) + softplus(rejected)


def _sppo(r: Pair, s: Settings) -> Array:
    half = 0.5 / s.beta
    return jnp.square(r.chosen - half) + jnp.square(r.rejected + half)


def _apo_zero(r: Pair, s: Settings) -> Array:
    return sigmoid(-s.beta * r.chosen) + sigmoid(s.beta * r.rejected)


def _apo_down(r: Pair, s: Settings) -> Array:
    return sigmoid(s.beta * r.chosen) + sigmoid(-s.beta * r.margin)


def _discopop(r: Pair, s: Settings) -> Array:
    # e^-d σ(d/τ) as one exponential: e^-d alone overflows where the product is 0.
    d = s.beta * r.margin
    u = d / s.temperature
    return softplus(-d) * sigmoid(-u) + jnp.exp(-d - softplus(-u))


VARIANTS = {
    "sigmoid": Variant(_sigmoid, Smoothing(1.0)),
    "robust": Variant(_robust, Smoothing(0.5, open_high=True)),
    "ipo": Variant(_ipo),
    "hinge": Variant(_hinge),
    "exo": Variant(_exo, Smoothing(1.0, open_low=True, open_high=True)),
    "nca": Variant(_nca),
    "bco": Variant(_bco, shifted=True),
    "sppo": Variant(_sppo),
    "apo_zero": Variant(_apo_zero),
    "apo_down": Variant(_apo_down),
    "discopop": Variant(_discopop),
}
