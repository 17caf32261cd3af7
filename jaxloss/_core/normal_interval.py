"""-log of the share of a normal law that lies in an interval, and its derivatives.

By symmetry the interval lies above the mean, or its larger part does: its nearer edge
is a, its width w, its middle m = a + w/2 >= 0, its further edge b = a + w, in units of
the standard deviation. With the density φ of the standard law

    P = ∫_a^b φ = φ(a) M,    M = ∫_0^w e^{-at - t²/2} dt.

M is a sum of positive terms, and so are its moments: no two values of the distribution
function are subtracted, in the tails and for intervals as narrow as floats allow. With
E the mean over t with the density of M and λ = w φ(b) / P,

    ℓ = -log P = a²/2 + log √2π - log M
    ∂ℓ/∂a = (φ(a) - φ(b)) / P = a + E t
    ∂ℓ/∂log w = -λ = E t (a + t) - 1
    ∂²ℓ/∂a² = 1 - var t
    ∂²ℓ/∂a ∂log w = λ (w - E t)
    ∂²ℓ/∂(log w)² = λ (w b - E t (a + t)) = λ E (w - t)(b + t).

A wide interval around the mean holds nearly all, and ℓ = -log(1 - Q) by what it lacks,
Q = ∫_{-∞}^a φ + ∫_b^∞ φ. There a < 0 < b, and with d = ∂ℓ/∂a = (φ(a) - φ(b)) / P the
second derivatives are (b φ(b) - a φ(a)) / P + d², λ (b - d) and λ (w b + λ - 1).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss._core.types import Array

# From this width on an interval around the mean is a wide one: P is above 1/2.
_WIDE = 1.5
# So many standard deviations count as infinitely many: what is left of 1/a beside a,
# and of the law further out, is below the last place.
_FAR = 1e9
# M is integrated to where its integrand is e^-DEPTH, by Gauss and Legendre's rule on so
# many points. M is then off by at most 4.3e-8 of it in float32 and 2e-14 in float64,
# E t² by 7e-6 and 2e-13 of it, where it is small beside 1: the tests hold them to that.
_DEPTH_AND_POINTS = {32: (17, 11), 64: (36, 22)}


class Interval(NamedTuple):
    """Where it lies. Edge and logarithm of the width have the derivatives."""

    near: Array
    """a, negative if the mean lies inside."""
    middle: Array
    """m, beside a: it is small where a and w/2 nearly cancel."""
    width: Array
    log_width: Array
    """log w, beside w, which may underflow."""

    @property
    def around(self) -> Array:
        """Whether it is a wide interval around the mean."""
        return (self.near < 0) & (self.width > _WIDE)


def interval(near: Array, middle: Array, width: Array, log_width: Array) -> Interval:
    """The same with finite numbers; middle and width of an open one are infinite."""
    near = jnp.where(near < -_FAR, -_FAR, near)
    middle, width = (jnp.where(a > _FAR, _FAR, a) for a in (middle, width))
    return Interval(near, middle, width, log_width)


@jax.custom_jvp
def interval_nll(x: Interval) -> Array:
    """-log P."""
    near = jnp.where(x.around, 0, x.near)
    beside = 0.5 * near * near + (0.5 * math.log(2 * math.pi) - _beside(x).log_mass)
    return jnp.where(x.around, -jnp.log1p(-_around(x).lacking), beside)


@interval_nll.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    dloss = _by_near(x) * dx.near + _by_log_width(x) * dx.log_width
    return interval_nll(x), dloss


@jax.custom_jvp
def _by_near(x: Interval) -> Array:
    """∂/∂a."""
    return jnp.where(x.around, _around(x).slope, _beside(x).slope)


@_by_near.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    around, beside = _around(x), _beside(x)
    inner = around.density * (around.far * around.drop - around.near)
    inner += around.slope * around.slope
    curve = jnp.where(x.around, inner, 1 - beside.variance)
    return _by_near(x), curve * dx.near + _mixed(x) * dx.log_width


@jax.custom_jvp
def _by_log_width(x: Interval) -> Array:
    """∂/∂log w."""
    return -jnp.where(x.around, _around(x).last, _beside(x).last)


@_by_log_width.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    around, beside = _around(x), _beside(x)
    inner = around.width * around.far + around.last - 1
    outer = x.width * (x.middle + x.width / 2)
    outer -= beside.near * beside.moment(1) + beside.moment(2)
    curve = jnp.where(x.around, around.last * inner, beside.last * outer)
    return _by_log_width(x), _mixed(x) * dx.near + curve * dx.log_width


def _mixed(x: Interval) -> Array:
    """∂²/∂a ∂log w."""
    around, beside = _around(x), _beside(x)
    inner = around.last * (around.far - around.slope)
    return jnp.where(x.around, inner, beside.last * (x.width - beside.moment(1)))


class _Beside(NamedTuple):
    """What an interval beside the mean, or a narrow one, is computed from."""

    interval: Interval
    near: Array
    """a, no larger than counts."""
    reach: Array
    """How far M is integrated at most."""
    whole: Array
    """Whether that is all of it."""
    per_height: Array
    """1 over the mean height of the integrand: the length that is integrated over M."""

    @property
    def log_mass(self) -> Array:
        """log M."""
        log_reach = jnp.log(self.reach)
        log_length = jnp.where(self.whole, self.interval.log_width, log_reach)
        return log_length - jnp.log(self.per_height)

    @property
    def slope(self) -> Array:
        """(1 - e^-wm) / M, also where w and with it M underflow."""
        product = self.interval.width * self.interval.middle
        some = product != 0
        share = -jnp.expm1(-product)
        ratio = jnp.where(some, share / jnp.where(some, product, 1), 1)
        per_length = jnp.where(
            self.whole, self.interval.middle * ratio, share / self.reach
        )
        # With 1/a lost beside a, it is a.
        far = self.interval.near > _FAR
        return jnp.where(far, self.interval.near, per_length * self.per_height)

    @property
    def last(self) -> Array:
        """λ."""
        stretch = jnp.where(self.whole, 1, self.interval.width / self.reach)
        drop = jnp.exp(-self.interval.width * self.interval.middle)
        return stretch * drop * self.per_height

    @property
    def variance(self) -> Array:
        """var t."""
        return self.moment(2) - self.moment(1) ** 2

    def moment(self, power: int) -> Array:
        """E t or E t²."""
        length = jnp.where(self.whole, self.interval.width, self.reach)
        return _mean(self.near, length, power) * self.per_height


def _beside(x: Interval) -> _Beside:
    depth, _ = _DEPTH_AND_POINTS[jnp.finfo(x.near.dtype).bits]
    near = jnp.where(x.near > _FAR, _FAR, jnp.where(x.around, 0, x.near))
    reach = 2 * depth / (near + jnp.sqrt(near * near + 2 * depth))
    whole = x.width < reach
    # XLA computes a quotient once for value and slopes to share. A sum is added up for
    # each of them, and all its exponentials are stored.
    per_height = 1 / _mean(near, jnp.where(whole, x.width, reach), 0)
    return _Beside(x, near, reach, whole, per_height)


def _mean(near: Array, length: Array, power: int) -> Array:
    """The mean of t^power e^{-at - t²/2} over [0, length]."""
    _, points = _DEPTH_AND_POINTS[jnp.finfo(near.dtype).bits]
    nodes, shares = np.polynomial.legendre.leggauss(points)
    mean = jnp.zeros_like(near)
    for node, share in zip(nodes.tolist(), shares.tolist(), strict=True):
        t = (1 + node) / 2 * length
        mean += share / 2 * t**power * jnp.exp(-t * (near + t / 2))
    return mean


class _Around(NamedTuple):
    """What a wide interval around the mean is computed from."""

    near: Array
    far: Array
    """b."""
    width: Array
    lacking: Array
    """Q."""
    density: Array
    """φ(a) / P."""
    exponent: Array
    """log φ(b) / φ(a) = -w m."""

    @property
    def drop(self) -> Array:
        """φ(b) / φ(a)."""
        return jnp.exp(self.exponent)

    @property
    def slope(self) -> Array:
        """d."""
        return self.density * -jnp.expm1(self.exponent)

    @property
    def last(self) -> Array:
        """λ."""
        return self.width * self.density * self.drop


def _around(x: Interval) -> _Around:
    near = jnp.where(x.around, x.near, -1)
    width, middle = jnp.where(x.around, x.width, 2), jnp.where(x.around, x.middle, 0)
    far = middle + width / 2
    root = math.sqrt(0.5)
    lacking = (jax.lax.erfc(-near * root) + jax.lax.erfc(far * root)) / 2
    density = jnp.exp(-near * near / 2) / (math.sqrt(2 * math.pi) * (1 - lacking))
    return _Around(near, far, width, lacking, density, -width * middle)
