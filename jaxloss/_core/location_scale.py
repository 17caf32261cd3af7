"""The continuous ranked probability score of location-scale families.

A law with location μ and scale s scores y by s C(z), z = (μ - y) / s. Being homogeneous
in μ - y and s, the score is, by Euler's theorem, the sum of its own slopes:

  s C(z) = (μ - y) C'(z) + s D(z),   ∂/∂μ = C'(z),   ∂/∂s = D(z) = C(z) - z C'(z),

so that C' and D are all that is needed. Neither 1 / s nor z may overflow: C' and D have
their limits long before.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core.numerics import tanh
from jaxloss._core.types import Array


class Law(NamedTuple):
    """What the score of a law is made of, as functions of z."""

    by_location: Callable[[Array], Array]
    """C'."""
    by_scale: Callable[[Array], Array]
    """D."""


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def crps(law: Law, error: Array, log_scale: Array) -> Array:
    """s C(error / s)."""
    z = _standardised(error, log_scale)
    return error * law.by_location(z) + jnp.exp(log_scale) * law.by_scale(z)


@crps.defjvp
def _(law, primals, tangents):
    # The slopes of the module's docstring, and ds = s d(log s).
    (error, log_scale), (derror, dlog_scale) = primals, tangents
    z = _standardised(error, log_scale)
    by_log_scale = jnp.exp(log_scale) * _by_scale(law, z)
    dloss = law.by_location(z) * derror + by_log_scale * dlog_scale
    return crps(law, error, log_scale), dloss


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _by_scale(law: Law, z: Array) -> Array:
    return law.by_scale(z)


@_by_scale.defjvp
def _(law, primals, tangents):
    # D' = C' - C' - z C''.
    (z,), (dz,) = primals, tangents
    curvature = jax.jvp(law.by_location, (z,), (jnp.ones_like(z),))[1]
    return _by_scale(law, z), -z * curvature * dz


def _inverse(log_scale: Array) -> Array:
    """1 / s, finite."""
    inverse = jnp.exp(-log_scale)
    return jnp.where(jnp.isinf(inverse), jnp.finfo(inverse.dtype).max, inverse)


@jax.custom_jvp
def _standardised(error: Array, log_scale: Array) -> Array:
    """error / s, no larger than where its powers are finite."""
    z = error * _inverse(log_scale)
    limit = float(jnp.finfo(z.dtype).max) ** 0.25
    return jnp.where(jnp.abs(z) > limit, jnp.sign(z) * limit, z)


@_standardised.defjvp
def _(primals, tangents):
    (error, log_scale), (derror, dlog_scale) = primals, tangents
    z = _standardised(error, log_scale)
    return z, _inverse(log_scale) * derror - z * dlog_scale


# ------------------------------------------------------------------ laws

_ROOT_HALF = math.sqrt(0.5)
_TWICE_DENSITY = math.sqrt(2 / math.pi)
_AT_CENTRE = _TWICE_DENSITY - 1 / math.sqrt(math.pi)

# C = z (2 Φ(z) - 1) + 2 φ(z) - 1/√π. The density is taken from its centre, so that the
# two constants are subtracted exactly.
GAUSSIAN = Law(
    lambda z: jax.lax.erf(z * _ROOT_HALF),
    lambda z: _AT_CENTRE + _TWICE_DENSITY * jnp.expm1(-0.5 * z * z),
)


def _logistic_by_scale(z: Array) -> Array:
    tail = jnp.exp(-jnp.abs(z))
    return 2 * (jnp.abs(z) * tail / (1 + tail) + jnp.log1p(tail)) - 1


# C = z - 2 log σ(z) - 1.
LOGISTIC = Law(lambda z: tanh(0.5 * z), _logistic_by_scale)


@jax.custom_jvp
def _laplace_by_location(z: Array) -> Array:
    return -jnp.sign(z) * jnp.expm1(-jnp.abs(z))


@_laplace_by_location.defjvp
def _(primals, tangents):
    # Smooth at 0, where the sign is not.
    (z,), (dz,) = primals, tangents
    return _laplace_by_location(z), jnp.exp(-jnp.abs(z)) * dz


# C = |z| + e^-|z| - 3/4.
LAPLACE = Law(
    _laplace_by_location,
    lambda z: (1 + jnp.abs(z)) * jnp.exp(-jnp.abs(z)) - 0.75,
)
