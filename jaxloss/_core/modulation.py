"""The modulation of focal losses, (1 - p_t)^γ, and its product with the cross entropy.

p_t is the probability given to the truth: that of a class, or a mixture of both where a
binary label is soft; there |p - y|, the distance to the label, may stand for 1 - p_t. γ
may be any number from 0.
"""

import functools

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core import rows
from jaxloss._core.numerics import logistic_slope, sigmoid, tanh, unknown, weighted
from jaxloss._core.types import Array

# ------------------------------------------------------------------ of a class


@jax.custom_jvp
def class_focal(nll: Array, gamma: Array) -> Array:
    """(1 - e^-ℓ)^γ ℓ: the focal loss of a class is a function of its ℓ = -log p."""
    return _class_modulation(nll, gamma) * nll


def _class_focal_jvp(primals, tangents):
    # With u = 1 - e^-ℓ: u' / u = e^-ℓ / (1 - e^-ℓ) = 1 / (e^ℓ - 1), so
    # d(u^γ ℓ) = u^γ (1 + γ ℓ / (e^ℓ - 1)) dℓ + u^γ ℓ log u dγ: nothing cancels.
    (nll, gamma), (dnll, dgamma) = primals, tangents
    loss = class_focal(nll, gamma)
    dloss = jnp.zeros_like(loss)
    if not isinstance(dnll, SymbolicZero):
        dloss += _class_slope(nll, gamma) * dnll
    if not isinstance(dgamma, SymbolicZero):
        dloss += _finite(loss) * _log_missed(nll) * dgamma
    return loss, dloss


class_focal.defjvp(_class_focal_jvp, symbolic_zeros=True)


def _class_slope(nll: Array, gamma: Array) -> Array:
    """The derivative of `class_focal` with respect to -log p."""
    return _class_modulation(nll, gamma) * (1 + gamma * _bernoulli(nll))


@jax.custom_jvp
def _class_modulation(nll: Array, gamma: Array) -> Array:
    """(1 - e^-ℓ)^γ."""
    return jnp.power(-jnp.expm1(-nll), gamma)


def _class_modulation_jvp(primals, tangents):
    (nll, gamma), (dnll, dgamma) = primals, tangents
    modulation = _class_modulation(nll, gamma)
    dmodulation = jnp.zeros_like(modulation)
    if not isinstance(dnll, SymbolicZero):
        dmodulation += gamma * modulation * _odds(nll) * dnll
    if not isinstance(dgamma, SymbolicZero):
        dmodulation += modulation * _log_missed(nll) * dgamma
    return modulation, dmodulation


_class_modulation.defjvp(_class_modulation_jvp, symbolic_zeros=True)


@jax.custom_jvp
def _bernoulli(nll: Array) -> Array:
    """ℓ / (e^ℓ - 1), from 1 at 0 to 0 at infinity."""
    return jnp.where(nll == 0, 1, _finite(nll) * _odds(nll))


@_bernoulli.defjvp
def _(primals, tangents):
    # With k = 1 / (e^ℓ - 1), k' = -k (1 + k): (ℓ k)' = k (1 - ℓ - ℓ k). Beside the
    # derivative of the modulation, k itself, the rounding of the bracket is nothing.
    (nll,), (dnll,) = primals, tangents
    value = _bernoulli(nll)
    return value, _odds(nll) * (1 - _finite(nll) - value) * dnll


def _odds(nll: Array) -> Array:
    """p / (1 - p) = 1 / (e^ℓ - 1), and 0 at ℓ = 0, where no ℓ has a derivative."""
    return 1 / jnp.expm1(jnp.where(nll == 0, jnp.inf, nll))


def _log_missed(nll: Array) -> Array:
    """log(1 - e^-ℓ), and 0 at ℓ = 0, where the loss it multiplies is 0."""
    small = nll < 0.5
    return jnp.where(
        small,
        jnp.log(-jnp.expm1(-jnp.where(small & (nll > 0), nll, jnp.inf))),
        jnp.log1p(-jnp.exp(-jnp.where(small, jnp.inf, nll))),
    )


def _finite(loss: Array) -> Array:
    """A finite number for an infinite loss, where a factor 0 ends its influence."""
    return jnp.minimum(loss, jnp.finfo(loss.dtype).max)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def distribution_focal(x: Array, shares: Array, gamma: Array, axis: int) -> Array:
    """Σ t_c (1 - p_c)^γ (-log p_c), with 0 · inf = 0."""
    each = weighted(class_focal(rows.nll(x, axis), gamma), shares)
    return jnp.sum(each, axis=axis, keepdims=True)


def _distribution_focal_jvp(axis, primals, tangents):
    # With f the focal loss of a class, Σ t_c f(ℓ_c) changes with x as the cross entropy
    # Σ s_c ℓ_c with s_c = t_c f'(ℓ_c) held fixed does; its derivative does not cancel
    # for the class that holds most of the mass.
    (x, shares, gamma), (dx, dshares, dgamma) = primals, tangents
    loss = distribution_focal(x, shares, gamma, axis)
    dloss = jnp.zeros_like(loss)
    nll = rows.nll(x, axis)
    if not isinstance(dx, SymbolicZero):
        fixed = shares * _class_slope(nll, gamma)
        dloss += jax.jvp(lambda x: rows.soft_nll(x, fixed, axis), (x,), (dx,))[1]
    if not isinstance(dshares, SymbolicZero):
        each = class_focal(nll, gamma) + unknown(shares)
        dloss += jnp.sum(each * dshares, axis=axis, keepdims=True)
    if not isinstance(dgamma, SymbolicZero):
        each = shares * _finite(class_focal(nll, gamma)) * _log_missed(nll)
        dloss += jnp.sum(each * dgamma, axis=axis, keepdims=True)
    return loss, dloss


distribution_focal.defjvp(_distribution_focal_jvp, symbolic_zeros=True)


# ------------------------------------------------------------------ of a mixture


@jax.custom_jvp
def modulated(loss: Array, modulation: Array) -> Array:
    """m ℓ, where m fades faster than any ℓ grows."""
    return modulation * loss


@modulated.defjvp
def _(primals, tangents):
    # d(m ℓ) = m dℓ + ℓ dm. Where ℓ is infinite m is 1 and dm = 0, and so is their
    # product, the limit of ℓ e^-ℓ.
    (loss, modulation), (dloss, dmodulation) = primals, tangents
    dproduct = modulation * dloss + _finite(loss) * dmodulation
    return modulated(loss, modulation), dproduct


@jax.custom_jvp
def mixture_modulation(x: Array, label: Array, other: Array, gamma: Array) -> Array:
    """(1 - p_t)^γ = (label σ(-x) + other σ(x))^γ; `other` is 1 - label."""
    return jnp.power(label * sigmoid(-x) + other * sigmoid(x), gamma)


def _mixture_modulation_jvp(primals, tangents):
    # With q = σ(-x), p = σ(x), u = y q + (1 - y) p, and the shares a = y q / u,
    # b = (1 - y) p / u of the two terms: q' / q = -p and p' / p = q give
    # u' / u = b q - a p, in which nothing is divided by a u that underflows. With
    # respect to the label (and `other`, which follows it) u' = q - p; u^(γ-1) is
    # infinite only where the loss that it multiplies is 0, and faster.
    (x, label, other, gamma), (dx, dlabel, _, dgamma) = primals, tangents
    modulation = mixture_modulation(x, label, other, gamma)
    dmodulation = jnp.zeros_like(modulation)
    p, q = sigmoid(x), sigmoid(-x)
    if not isinstance(dx, SymbolicZero):
        positive = _mixture_share(x, label, other)
        negative = _mixture_share(-x, other, label)
        slope = negative * q - positive * p
        dmodulation += gamma * modulation * slope * dx
    if not isinstance(dlabel, SymbolicZero):
        less = mixture_modulation(x, label, other, gamma - 1)
        less = jnp.where(jnp.isinf(less), 0, less)
        dmodulation += gamma * less * -tanh(x / 2) * dlabel
    if not isinstance(dgamma, SymbolicZero):
        missed = label * q + other * p
        small = missed < 0.5
        log_missed = jnp.where(
            small,
            jnp.log(jnp.where(small & (missed > 0), missed, 1)),
            jnp.log1p(-jnp.where(small, 0, label * p + other * q)),
        )
        dmodulation += modulation * log_missed * dgamma
    return modulation, dmodulation


mixture_modulation.defjvp(_mixture_modulation_jvp, symbolic_zeros=True)


@jax.custom_jvp
def _mixture_share(x: Array, label: Array, other: Array) -> Array:
    """label σ(-x) / (label σ(-x) + other σ(x)), and 0 where both terms underflow."""
    own, both, _ = _mixture(x, label, other)
    return own / jnp.where(both == 0, 1, both)


def _mixture(x: Array, label: Array, other: Array) -> tuple[Array, Array, Array]:
    """label σ(-x) and label σ(-x) + other σ(x), over σ(|x|); and e^-|x|."""
    tail = jnp.exp(-jnp.abs(x))
    own = jnp.where(x < 0, label, label * tail)
    return own, own + jnp.where(x < 0, other * tail, other), tail


def _mixture_share_jvp(primals, tangents):
    # a / (1 - a) = y / (1 - y) e^-x, so a is logistic in -x, and
    # da = -a (1 - a) dx + a (1 - a) / (y (1 - y)) dy, where the last is p q / u².
    (x, label, other), (dx, dlabel, _) = primals, tangents
    share = _mixture_share(x, label, other)
    dshare = jnp.zeros_like(share)
    if not isinstance(dx, SymbolicZero):
        dshare -= share * _mixture_share(-x, other, label) * dx
    if not isinstance(dlabel, SymbolicZero):
        _, both, tail = _mixture(x, label, other)
        both = jnp.where(both == 0, jnp.inf, both)
        dshare += tail / both / both * dlabel
    return share, dshare


_mixture_share.defjvp(_mixture_share_jvp, symbolic_zeros=True)


# ------------------------------------------------------------------ of a distance


def distance_modulation(x: Array, label: Array, other: Array, gamma: Array) -> Array:
    """|σ(x) - label|^γ; `other` is 1 - label."""
    return _even_power(logistic_slope(x, label, other), gamma)


@jax.custom_jvp
def _even_power(e: Array, exponent: Array) -> Array:
    """|e|^a; 0 at 0 for a below 0, in the place of a derivative that does not exist."""
    none = (e == 0) & (exponent < 0)
    return jnp.where(none, 0, jnp.power(jnp.where(none, 1, jnp.abs(e)), exponent))


@jax.custom_jvp
def _odd_power(e: Array, exponent: Array) -> Array:
    """sign(e) |e|^a, which is 0 at 0."""
    return jnp.sign(e) * _even_power(e, exponent)


def _derived(power, derivative):
    """The rule of a power whose derivative, but for a factor a, is another one."""

    def rule(primals, tangents):
        (e, exponent), (de, dexponent) = primals, tangents
        value = power(e, exponent)
        dvalue = jnp.zeros_like(value)
        if not isinstance(de, SymbolicZero):
            dvalue += exponent * derivative(e, exponent - 1) * de
        if not isinstance(dexponent, SymbolicZero):
            dvalue += value * jnp.log(jnp.where(e == 0, 1, jnp.abs(e))) * dexponent
        return value, dvalue

    power.defjvp(rule, symbolic_zeros=True)


_derived(_even_power, _odd_power)
_derived(_odd_power, _even_power)
