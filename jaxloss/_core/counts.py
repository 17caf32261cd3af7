"""Divergences of counts from the shares that a model expects, as in the binomial laws.

With y successes and r failures, p = y / (y + r) is the share observed and q the share
expected. The likelihood of a binomial or a negative binomial law is its value at q = p,
which is free of the model's parameters or nearly so (`gamma_function`), and

    D = y log(p / q) + r log((1 - p) / (1 - q))
      = y (e^v - 1 - v) + r (e^w - 1 - w),   v = log(q / p), w = log((1 - q) / (1 - p)),

the second because y e^v + r e^w = y + r. No term of it is negative.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core.exponential import exp_excess
from jaxloss._core.gamma_function import binet, factorial_excess
from jaxloss._core.numerics import sigmoid, softplus
from jaxloss._core.relative_entropy import bregman, generalized, log_ratio, surplus
from jaxloss._core.types import Array


def _log_shares(logit: Array, d: Array, y: Array, r: Array) -> tuple[Array, Array]:
    """v = log(q / p) and w = log((1 - q) / (1 - p)); d = logit(q) - logit(p)."""
    # q / p = 1 / (p + (1 - p) e^-d) and (1 - q) / (1 - p) = 1 / (1 - p + p e^d). Where
    # one of the denominators is large, v - w = d.
    none, all_ = y == 0, r == 0
    n = jnp.where(none & all_, 1, y + r)
    d = jnp.where(none | all_, 0, d)
    p, rest = y / n, r / n
    (large_v, v), (large_w, w) = _log_mixture(p, rest, -d), _log_mixture(rest, p, d)
    v, w = jnp.where(large_v, d - w, -v), jnp.where(large_w, -v - d, -w)
    # Without successes, w is log(1 - q) and v, infinite, weighs nothing.
    v = jnp.where(none, 0, jnp.where(all_, -softplus(-logit), v))
    w = jnp.where(all_, 0, jnp.where(none, -softplus(logit), w))
    return v, w


def _log_mixture(stays: Array, moves: Array, d: Array) -> tuple[Array, Array]:
    """Whether stays + moves e^d is above 2, and its logarithm; the two add up to 1."""
    change = moves * jnp.expm1(jnp.minimum(d, 80))
    far = jnp.log(stays + moves * jnp.exp(jnp.minimum(d, 80)))
    near = jnp.abs(change) < 0.5
    return change > 1, jnp.where(near, jnp.log1p(jnp.where(near, change, 0)), far)


def _quotient_logit(logit: Array, y: Array, r: Array) -> Array:
    """logit - log(y / r), as if the quotient were not rounded."""
    r = jnp.where(r == 0, 1, r)
    t = y / r
    # y - t r from products of half the digits, which are exact.
    (a, b), (c, d) = _halves(t), _halves(r)
    rest = (((y - a * c) - a * d) - b * c) - b * d
    positive = (y > 0) & jnp.isfinite(t)
    relative = jnp.where(positive, rest / jnp.where(positive, y, 1), 0)
    return log_ratio(logit, t) - relative


def _halves(x: Array) -> tuple[Array, Array]:
    info = jnp.finfo(x.dtype)
    high = jax.lax.reduce_precision(x, info.nexp, (info.nmant - 1) // 2)
    return high, x - high


def _unless_zero(count: Array, share: Array, other: Array) -> Array:
    """A log-share of some counts to differentiate by: without the logarithm of 0.

    Where there are none, log 0 is left out of log p: the excess of their factorial
    (`gamma_function`) leaves it out of its own derivative, where it would cancel this.
    """
    return jnp.where((count == 0) & ~jnp.isnan(share), other, share)


def _some(count: Array) -> Array:
    """A divisor: 1 in the place of 0, where the share is not differentiated by."""
    return jnp.where(count == 0, 1, count)


def _add(total: Array, slope: Callable[[], Array], tangent) -> Array:
    """A term of a tangent, unless its tangent is known to be 0."""
    if isinstance(tangent, SymbolicZero):
        return total
    return total + slope() * tangent


@jax.custom_jvp
def _surplus(logit: Array, y: Array, r: Array, v: Array, w: Array) -> Array:
    """r q - y (1 - q) = (y + r)(q - p), from the logarithms of the shares."""
    # It is y (e^v - 1), and -r (e^w - 1): the one whose exponential is at most 2.
    return jnp.where(y > r, y * jnp.expm1(v), -r * jnp.expm1(w))


def _surplus_jvp(primals, tangents):
    # v and w follow from the others.
    (logit, y, r, _, _), (dlogit, dy, dr, _, _) = primals, tangents
    q, rest = sigmoid(logit), sigmoid(-logit)
    dsurplus = _add(jnp.zeros_like(q), lambda: (y + r) * q * rest, dlogit)
    return _surplus(*primals), _add(_add(dsurplus, lambda: -rest, dy), lambda: q, dr)


_surplus.defjvp(_surplus_jvp, symbolic_zeros=True)


# ------------------------------------------------------------------ given a rate


@jax.custom_jvp
def poisson_divergence(log_rate: Array, y: Array) -> Array:
    """y log(y / rate) + rate - y."""
    return generalized(log_rate, y)


def _poisson_divergence_jvp(primals, tangents):
    # rate - y, and log(y / rate), of which log 0 is left out.
    (log_rate, y), (dlog_rate, dy) = primals, tangents
    dloss = _add(jnp.zeros_like(y), lambda: surplus(log_rate, y), dlog_rate)
    dloss = _add(dloss, lambda: -log_ratio(log_rate, jnp.where(y == 0, 1, y)), dy)
    return poisson_divergence(log_rate, y), dloss


poisson_divergence.defjvp(_poisson_divergence_jvp, symbolic_zeros=True)


# ------------------------------------------------------------------ given a logit


@jax.custom_jvp
def binomial_shares(logit: Array, y: Array, r: Array) -> tuple[Array, Array]:
    """log(q / p) and log((1 - q) / (1 - p)) for q = σ(logit)."""
    return _log_shares(logit, _quotient_logit(logit, y, r), y, r)


def _binomial_shares_jvp(primals, tangents):
    # d log q = (1 - q) dlogit, d log(1 - q) = -q dlogit; d log p = dy / y - d(y + r) /
    # (y + r), and likewise for 1 - p.
    (logit, y, r), (dlogit, dy, dr) = primals, tangents
    zero, n = jnp.zeros_like(logit), _some(y + r)
    dv = _add(zero, lambda: sigmoid(-logit), dlogit)
    dw = _add(zero, lambda: -sigmoid(logit), dlogit)
    dv = _add(_add(dv, lambda: -(r / n) / _some(y), dy), lambda: 1 / n, dr)
    dw = _add(_add(dw, lambda: 1 / n, dy), lambda: -(y / n) / _some(r), dr)
    return binomial_shares(logit, y, r), (dv, dw)


binomial_shares.defjvp(_binomial_shares_jvp, symbolic_zeros=True)


@jax.custom_jvp
def binomial_divergence(logit: Array, y: Array, r: Array) -> Array:
    """D of y successes and r failures, for q = σ(logit)."""
    v, w = binomial_shares(logit, y, r)
    return bregman(y, v, (y + r) * sigmoid(logit)) + bregman(
        r, w, (y + r) * sigmoid(-logit)
    )


def _binomial_divergence_jvp(primals, tangents):
    # ∂/∂logit = r q - y (1 - q); ∂/∂y = log(p / q) and ∂/∂r = log((1 - p) / (1 - q)),
    # because what p itself varies by adds up to nothing.
    (logit, y, r), (dlogit, dy, dr) = primals, tangents
    v, w = binomial_shares(logit, y, r)
    log_n = jnp.log(_some(y + r))

    def by_y():
        return -_unless_zero(y, v, log_n - softplus(-logit))

    def by_r():
        return -_unless_zero(r, w, log_n - softplus(logit))

    dloss = _add(jnp.zeros_like(v), lambda: _surplus(logit, y, r, v, w), dlogit)
    return binomial_divergence(logit, y, r), _add(_add(dloss, by_y, dy), by_r, dr)


binomial_divergence.defjvp(_binomial_divergence_jvp, symbolic_zeros=True)


# ------------------------------------------------------------------ given a mean


@jax.custom_jvp
def negative_binomial_shares(
    log_mean: Array, y: Array, log_r: Array
) -> tuple[Array, Array]:
    """log(q / p) and log((1 - q) / (1 - p)) for q = mean / (mean + r)."""
    d = log_ratio(log_mean, jnp.where(y == 0, 1, y))
    return _log_shares(log_mean - log_r, d, y, jnp.exp(log_r))


def _negative_binomial_shares_jvp(primals, tangents):
    # As above with logit = log mean - log r; by log r both vary by
    # -(1 - q) + (1 - p) = q - p.
    (log_mean, y, log_r), (dlog_mean, dy, dlog_r) = primals, tangents
    logit, r = log_mean - log_r, jnp.exp(log_r)
    zero, n = jnp.zeros_like(logit), y + r
    shares = v, w = negative_binomial_shares(log_mean, y, log_r)
    dv = _add(zero, lambda: sigmoid(-logit), dlog_mean)
    dw = _add(zero, lambda: -sigmoid(logit), dlog_mean)
    dv = _add(dv, lambda: -(r / n) / _some(y), dy)
    dw = _add(dw, lambda: 1 / n, dy)

    def by_log_r():
        return _surplus(logit, y, r, v, w) / n

    return shares, (_add(dv, by_log_r, dlog_r), _add(dw, by_log_r, dlog_r))


negative_binomial_shares.defjvp(_negative_binomial_shares_jvp, symbolic_zeros=True)


@jax.custom_jvp
def negative_binomial_divergence(log_mean: Array, y: Array, log_r: Array) -> Array:
    """D of y successes before r failures, for q = mean / (mean + r)."""
    logit, r = log_mean - log_r, jnp.exp(log_r)
    v, w = negative_binomial_shares(log_mean, y, log_r)
    return bregman(y, v, (y + r) * sigmoid(logit)) + bregman(
        r, w, (y + r) * sigmoid(-logit)
    )


def _negative_binomial_divergence_jvp(primals, tangents):
    # By log mean and y as above. By log r it is r log((1 - p) / (1 - q)) less the slope
    # by the logit, r q - y (1 - q), and with
    #   (r q - y (1 - q)) / r = 1 - (1 - q) (y + r) / r = 1 - e^w
    # the two make r (e^w - 1 - w): not the difference of large numbers that it is for
    # an r far above mean and y.
    (log_mean, y, log_r), (dlog_mean, dy, dlog_r) = primals, tangents
    logit, r = log_mean - log_r, jnp.exp(log_r)
    v, w = negative_binomial_shares(log_mean, y, log_r)

    def by_y():
        return -_unless_zero(y, v, jnp.log(r + y) - softplus(-logit))

    dloss = _add(jnp.zeros_like(v), lambda: _surplus(logit, y, r, v, w), dlog_mean)
    dloss = _add(_add(dloss, by_y, dy), lambda: r * exp_excess(w), dlog_r)
    return negative_binomial_divergence(log_mean, y, log_r), dloss


negative_binomial_divergence.defjvp(
    _negative_binomial_divergence_jvp, symbolic_zeros=True
)


# ------------------------------------------------------------------ laws


def poisson(log_rate: Array, y: Array) -> Array:
    """rate - y log rate + log y!, the negative log-likelihood."""
    return poisson_divergence(log_rate, y) + factorial_excess(y)


def negative_binomial(log_mean: Array, y: Array, log_r: Array) -> Array:
    """The negative log-likelihood of y successes before r failures."""
    # log Γ(r) + log y! - log Γ(y + r) without the large parts, which make the
    # divergence: the excess of y!, log(1 + y / r) / 2, and the decrease of μ.
    r = jnp.exp(log_r)
    rest = factorial_excess(y) + _log_growth(y, log_r) / 2 + (binet(r) - binet(r + y))
    return negative_binomial_divergence(log_mean, y, log_r) + rest


@jax.custom_jvp
def _log_growth(y: Array, log_r: Array) -> Array:
    """log(1 + y / r)."""
    return jnp.log1p(y / jnp.exp(log_r))


@_log_growth.defjvp
def _(primals, tangents):
    (y, log_r), (dy, dlog_r) = primals, tangents
    n = y + jnp.exp(log_r)
    return _log_growth(y, log_r), dy / n - y / n * dlog_r
