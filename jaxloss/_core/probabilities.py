"""Terms of likelihoods and entropies of probabilities themselves, with 0 log 0 = 0."""

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core.types import Array


def ratio(t: Array, p: Array) -> Array:
    """t / p, with 0 / 0 = 0."""
    return t / jnp.where((t == 0) & (p == 0), 1, p)


@jax.custom_jvp
def cross_term(p: Array, t: Array) -> Array:
    """-t log p; NaN where either is negative."""
    term = -t * jnp.log(jnp.where(t == 0, 1, p))
    return jnp.where((p >= 0) & (t >= 0), term, jnp.nan)


def _cross_term_jvp(primals, tangents):
    # -t / p and -log p. A class of no target does not pull at its probability, not even
    # at 0.
    (p, t), (dp, dt) = primals, tangents
    term = cross_term(p, t)
    valid = (p >= 0) & (t >= 0)
    dterm = jnp.zeros_like(term)
    if not isinstance(dp, SymbolicZero):
        dterm -= jnp.where(valid, ratio(t, p), jnp.nan) * dp
    if not isinstance(dt, SymbolicZero):
        dterm -= jnp.where(valid, jnp.log(p), jnp.nan) * dt
    return term, dterm


cross_term.defjvp(_cross_term_jvp, symbolic_zeros=True)


@jax.custom_jvp
def entropy_term(p: Array) -> Array:
    """-p log p."""
    return cross_term(p, p)


@entropy_term.defjvp
def _(primals, tangents):
    # -log p - 1, and 0 at 0, where the limit is infinite.
    (p,), (dp,) = primals, tangents
    slope = -1 - jnp.log(jnp.where(p == 0, 1, p))
    slope = jnp.where(p >= 0, slope, jnp.nan)
    return entropy_term(p), jnp.where(p == 0, 0, slope) * dp


# ------------------------------------------------------------------ two outcomes


def _valid(p: Array, label: Array, other: Array) -> Array:
    return (p >= 0) & (p <= 1) & (label >= 0) & (other >= 0)


@jax.custom_jvp
def bernoulli_nll(p: Array, label: Array, other: Array) -> Array:
    """-label log p - other log(1 - p), where `other` is 1 - label.

    NaN where any of the four is negative.
    """
    hit = label * jnp.log(jnp.where(label == 0, 1, p))
    miss = other * jnp.log1p(-jnp.where(other == 0, 0, p))
    return jnp.where(_valid(p, label, other), -hit - miss, jnp.nan)


def _bernoulli_nll_jvp(primals, tangents):
    # By the label, which `other` follows: log(1 - p) - log p.
    (p, label, other), (dp, dlabel, _) = primals, tangents
    loss = bernoulli_nll(p, label, other)
    dloss = jnp.zeros_like(loss)
    valid = _valid(p, label, other)
    if not isinstance(dp, SymbolicZero):
        dloss += jnp.where(valid, _slope(p, label, other), jnp.nan) * dp
    if not isinstance(dlabel, SymbolicZero):
        dloss -= jnp.where(valid, _log_odds(p), jnp.nan) * dlabel
    return loss, dloss


bernoulli_nll.defjvp(_bernoulli_nll_jvp, symbolic_zeros=True)


@jax.custom_jvp
def _slope(p: Array, label: Array, other: Array) -> Array:
    """other / (1 - p) - label / p = (p - label) / p (1 - p), finite for hard labels."""
    hard = (label == 0) | (other == 0)
    soft = (p - label) / jnp.where(hard, 1, p) / jnp.where(hard, 1, 1 - p)
    one_sided = ratio(other, 1 - p) - ratio(label, p)
    return jnp.where(hard, one_sided, soft)


@_slope.defjvp
def _(primals, tangents):
    # Both sides add up: label / p² + other / (1 - p)².
    (p, label, other), (dp, dlabel, _) = primals, tangents
    curvature = ratio(ratio(label, p), p) + ratio(ratio(other, 1 - p), 1 - p)
    dslope = curvature * dp - dlabel / p / (1 - p)
    return _slope(p, label, other), dslope


@jax.custom_jvp
def _log_odds(p: Array) -> Array:
    """log p - log(1 - p), also near p = 1/2."""
    middle = (p > 0.25) & (p < 0.75)
    inside = jnp.where(middle, p, 0.5)
    near = jnp.log1p((2 * inside - 1) / (1 - inside))
    return jnp.where(middle, near, jnp.log(p) - jnp.log1p(-p))


@_log_odds.defjvp
def _(primals, tangents):
    (p,), (dp,) = primals, tangents
    return _log_odds(p), dp / p / (1 - p)
