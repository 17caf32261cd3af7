"""How far a Dirichlet law is from the uniform one.

With the concentrations 1 + ε_k of C classes, ε_k >= 0, and E = Σ ε_k,

  KL = Σ_k g(1, ε_k) - g(C, E),    g(a, r) = ∫_0^r t ψ'(a + t) dt
     = h(C, E) - Σ_k h(1, ε_k),    h(a, r) = r - g(a, r),

  ∂KL/∂ε_j = ε_j ψ'(1 + ε_j) - E ψ'(C + E).

For little evidence g is the small number (of the order of r²), for much evidence h (of
the order of log r), and either form is a difference of little more than itself. The
literal formula, of logarithms of the gamma function, cancels in both.
"""

import functools
import math

import jax
import jax.numpy as jnp

from jaxloss._core.gamma import series_size, tangent_gap, trigamma
from jaxloss._core.types import Array

# Evidence from where Stirling's series is good to the last place of the type.
_MUCH = {32: 5.0, 64: 20.0}


def _much(r: Array) -> Array:
    return r > _MUCH[jnp.finfo(r.dtype).bits]


def _g(a: Array, r: Array) -> Array:
    """∫_0^r t ψ'(a + t) dt."""
    # r ψ(a + r) - log Γ(a + r) + log Γ(a).
    return tangent_gap(a + r, a, -r)


def _stirling(x: Array) -> tuple[Array, Array, Array]:
    """What log Γ, ψ and x² ψ' - x add to (x - ½) log x - x + ½ log 2π and so on."""
    _, bernoulli = series_size(x)
    inverse = 1 / x
    square = inverse * inverse
    log_gamma, digamma, trigamma = (jnp.zeros_like(x) for _ in range(3))
    for k, number in reversed(list(enumerate(bernoulli, start=1))):
        log_gamma = log_gamma * square + number / (2 * k * (2 * k - 1))
        digamma = (digamma + number / (2 * k)) * square
        trigamma = (trigamma + number) * square
    return log_gamma * inverse, digamma, 0.5 + trigamma * x


def _h(a: Array, r: Array) -> Array:
    """r - ∫_0^r t ψ'(a + t) dt."""
    # = r - r ψ(x) + log Γ(x) - log Γ(a) at x = a + r, where r log x cancels in writing.
    much = _much(r)
    x = jnp.where(much, a + r, 30)
    log_gamma, digamma, _ = _stirling(x)
    far = (a - 0.5) * jnp.log(x) - a + 0.5 * math.log(2 * math.pi)
    far += 0.5 * r / x + r * digamma + log_gamma - jax.lax.lgamma(a)
    near = jnp.where(much, 0, r)
    return jnp.where(much, far, near - _g(a, near))


def _h_slope(a: Array, r: Array) -> Array:
    """1 - r ψ'(a + r)."""
    much = _much(r)
    x = jnp.where(much, a + r, 30)
    far = a / x - r / x * (_stirling(x)[2] / x)
    near = jnp.where(much, 0, r)
    return jnp.where(much, far, 1 - near * trigamma(a + near))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def kl_from_uniform(evidence: Array, classes: Array, axis: int) -> Array:
    """KL(Dir(1 + evidence) | Dir(1)); `classes` counts those that are there."""
    total = jnp.sum(evidence, axis=axis, keepdims=True)
    much = _much(total)
    one = jnp.ones_like(evidence)
    little = jnp.where(much, 0, evidence)
    close = jnp.sum(_g(one, little), axis=axis, keepdims=True)
    close -= _g(classes, jnp.where(much, 0, total))
    # Classes that are not there have no evidence, and h(1, 0) = 0.
    far = _h(classes, total) - jnp.sum(_h(one, evidence), axis=axis, keepdims=True)
    return jnp.where(much, far, close)


@kl_from_uniform.defjvp
def _(axis, primals, tangents):
    (evidence, classes), (devidence, _) = primals, tangents
    total = jnp.sum(evidence, axis=axis, keepdims=True)
    one = jnp.ones_like(evidence)
    close = evidence * trigamma(1 + evidence) - total * trigamma(classes + total)
    far = _h_slope(classes, total) - _h_slope(one, evidence)
    slope = jnp.where(_much(total), far, close)
    dkl = jnp.sum(slope * devidence, axis=axis, keepdims=True)
    return kl_from_uniform(evidence, classes, axis), dkl
