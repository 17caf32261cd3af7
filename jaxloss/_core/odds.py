"""Odds of events that are given by their log-probabilities.

1 - p is -expm1(log p), never the difference of two floats, so that the odds of what is
nearly certain are finite and exact.
"""

import math

import jax
import jax.numpy as jnp

from jaxloss._core.exponential import expm1
from jaxloss._core.numerics import softplus
from jaxloss._core.types import Array


@jax.custom_jvp
def odds_ratio_loss(log_p: Array, log_q: Array) -> Array:
    """-log σ(log-odds of p - log-odds of q); NaN for p or q above 1."""
    # log q - log p - log((1 - q) / (1 - p)): the logarithm of the ratio, for the
    # log-odds of what is nearly certain are large.
    ratio = (log_q - log_p) + jnp.log(jnp.expm1(log_p) / jnp.expm1(log_q))
    return jnp.where(_exist(log_p, log_q), softplus(ratio), jnp.nan)


@odds_ratio_loss.defjvp
def _(primals, tangents):
    # With D = p (1 - q) + q (1 - p), σ = q (1 - p) / D is the share of the loss's
    # slope, and ∂/∂log p = -σ / (1 - p) = -q / D, ∂/∂log q = σ / (1 - q), which is
    # (q / D) (1 - p) / (1 - q).
    (log_p, log_q), (dlog_p, dlog_q) = primals, tangents
    share = _share(log_p, log_q)
    of_q = share * (expm1(log_p) / expm1(log_q))
    return odds_ratio_loss(log_p, log_q), of_q * dlog_q - share * dlog_p


def _exist(log_p: Array, log_q: Array) -> Array:
    return (log_p <= 0) & (log_q <= 0)


@jax.custom_jvp
def _share(log_p: Array, log_q: Array) -> Array:
    """q / D = 1 / ((p / q) (1 - q) + (1 - p))."""
    one_way = jnp.exp(log_p - log_q) * -expm1(log_q) - expm1(log_p)
    return jnp.where(_exist(log_p, log_q), 1 / one_way, jnp.nan)


@_share.defjvp
def _(primals, tangents):
    # d(1 / share) = (p / q) [(1 - 2q) dlog p - dlog q], whose bracket autodiff would
    # take from terms that cancel, and share² p / q = (q / D) (p / D).
    (log_p, log_q), (dlog_p, dlog_q) = primals, tangents
    twice = -expm1(log_q + math.log(2))
    both = _share(log_p, log_q) * _share(log_q, log_p)
    return _share(log_p, log_q), both * (dlog_q - twice * dlog_p)
