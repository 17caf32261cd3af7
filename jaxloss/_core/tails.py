"""What follows an item in an order: log Σ_{j>i} e^{s_j}, relative to s_i.

A tail is held as (m, r), m the largest score of it and Σ e^{s_j - m} = 1 + r: two
tails merge to r = r1 + e^{m2 - m1} (1 + r2) for m1 >= m2, and t - s_i is
(m - s_i) + log1p(r), in which a common offset cancels exactly. All tails come out of
one associative scan, in logarithmically many steps.

Derivatives do not go through m and r, where they would cancel. Beside them goes a
shadow of t, which has the value 0 and the derivative of t: with d = t2 - t1,

    dt = σ(-d) dt1 + σ(d) dt2,

a mean with positive weights, whose d is again known from (m, r) and has the derivative
of the shadows.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core.numerics import sigmoid, softplus
from jaxloss._core.types import Array


@jax.custom_jvp
def _shadow(x: Array) -> Array:
    """0, with the derivative of x."""
    return jnp.zeros_like(x)


@_shadow.defjvp
def _(primals, tangents):
    return _shadow(*primals), tangents[0]


@jax.custom_jvp
def _with_shadow(value: Array, shadow: Array) -> Array:
    """The value, with the derivative of the shadow."""
    del shadow
    return value


@_with_shadow.defjvp
def _(primals, tangents):
    return _with_shadow(*primals), tangents[1]


@jax.custom_jvp
def _merged(d: Array, first: Array, second: Array) -> Array:
    """The shadow of log(e^t1 + e^t2) from those of t1 and t2, with d = t2 - t1."""
    del d, second
    return jnp.zeros_like(first)


@_merged.defjvp
def _(primals, tangents):
    (d, _, _), (_, dfirst, dsecond) = primals, tangents
    return _merged(*primals), sigmoid(-d) * dfirst + sigmoid(d) * dsecond


class _Tail(NamedTuple):
    start: Array
    """Whether a new order starts with it, from behind."""
    peak: Array
    rest: Array
    shadow: Array

    @property
    def level(self) -> Array:
        """log Σ e^{s_j - m}; of two infinite scores there is none."""
        top = self.peak == jnp.finfo(self.peak.dtype).max
        return jnp.where(top & (self.rest >= 1), jnp.nan, jnp.log1p(self.rest))


def _merge(a: _Tail, b: _Tail) -> _Tail:
    d = (b.peak - a.peak) + (b.level - a.level)
    d = _with_shadow(jax.lax.stop_gradient(d), b.shadow - a.shadow)
    drop = jnp.exp(-jnp.abs(b.peak - a.peak))
    rest = jnp.where(
        a.peak >= b.peak, a.rest + drop * (1 + b.rest), b.rest + drop * (1 + a.rest)
    )
    return _Tail(
        a.start | b.start,
        jnp.where(b.start, b.peak, jnp.maximum(a.peak, b.peak)),
        jnp.where(b.start, b.rest, rest),
        jnp.where(b.start, b.shadow, _merged(d, a.shadow, b.shadow)),
    )


def order_nll(scores: Array, there: Array, ends: Array, counted: Array) -> Array:
    """-log of the probability of an order (Plackett and Luce), `[...]`.

    Each item is drawn among those that are left, with softmax probabilities:
    Σ_i log Σ_{j>=i} e^{s_j - s_i}, over the items that count. Each term is
    softplus(t - s_i), so that confident orders keep their value.

    Args:
      scores: in the order, on the last axis.
      there: the items that exist.
      ends: the last items of an order each, as several may lie behind one another.
      counted: the items whose choice counts.
    """
    info = jnp.finfo(scores.dtype)
    fixed = jax.lax.stop_gradient(scores)
    # An absent item is one with the lowest score that is a number.
    finite = jnp.where(there, jnp.clip(fixed, info.min, info.max), info.min)
    own = _shadow(jnp.where(there, scores, 0))
    items = _Tail(ends, finite, jnp.zeros_like(finite), own)
    tails = jax.lax.associative_scan(_merge, items, reverse=True, axis=scores.ndim - 1)
    # What follows is the tail of the next.
    follows = _Tail(
        *(jnp.concatenate([a[..., 1:], a[..., -1:]], axis=-1) for a in tails)
    )
    some = ~(ends | (follows.peak == info.min)) & counted & there
    ahead = jnp.where(fixed == -jnp.inf, jnp.inf, follows.peak - finite)
    # An infinite score is drawn at once; of two of them there is no saying which.
    limit = jnp.where(finite == info.max, jnp.nan, jnp.inf)
    ahead = jnp.where(follows.peak == info.max, limit, ahead)
    ahead = jax.lax.stop_gradient(ahead + follows.level)
    ahead = _with_shadow(jnp.where(some, ahead, 0), follows.shadow - own)
    return jnp.sum(jnp.where(some, softplus(ahead), 0), axis=-1)
