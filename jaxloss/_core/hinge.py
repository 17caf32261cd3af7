"""Hinges: how much a score lacks of the lead that is demanded of it."""

import functools

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core.axes import exists, is_label, peak, take, total
from jaxloss._core.exact import add3
from jaxloss._core.fusion import constants
from jaxloss._core.numerics import positive_part, step
from jaxloss._core.passes import along
from jaxloss._core.types import Array

# ------------------------------------------------------------------ signed labels


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def signed_hinge(x: Array, sign: Array, margin: float, power: int) -> Array:
    """max(0, margin - sign x)^power, NaN unless the sign is -1 or 1."""
    # Arithmetic only, for XLA fuses no comparison into a sum on CPU. The square is 0
    # for a sign and inf for all else; times 0 and the sign of the lack it is 0, or NaN
    # for what is no sign and for a NaN of x, which a maximum may drop.
    largest = float(jnp.finfo(x.dtype).max)
    demanded, one, zero, huge = constants(x.dtype, margin, 1, 0, largest**0.75)
    lack = demanded - sign * x
    invalid = jnp.square(huge * (sign * sign - one))
    loss = jnp.maximum(lack, zero) + zero * (invalid * jnp.sign(lack))
    return loss if power == 1 else jnp.square(loss)


def _signed_hinge_jvp(margin, power, primals, tangents):
    # With l = margin - sign x the derivative is step(l) dl, or 2 max(0, l) dl.
    # The value by selection, which beside a slope costs nothing on CPU: as arithmetic
    # it would be a program of its own, before which half precision is stored widened.
    (x, sign), (dx, dsign) = primals, tangents
    lack = jnp.where(sign > 0, margin - x, margin + x)
    valid = jnp.abs(sign) == 1
    height = positive_part(lack)
    loss = jnp.where(valid, height if power == 1 else jnp.square(height), jnp.nan)
    slope = step(lack) if power == 1 else 2 * height
    dloss = jnp.zeros_like(loss)
    if not isinstance(dx, SymbolicZero):
        dloss -= jnp.where(valid, sign, jnp.nan) * slope * dx
    if not isinstance(dsign, SymbolicZero):
        dloss -= jnp.where(slope == 0, 0, x * slope) * dsign
    return loss, dloss


signed_hinge.defjvp(_signed_hinge_jvp, symbolic_zeros=True)


# ------------------------------------------------------------------ rows with a label


def strongest_rival(
    x: Array, label: Array, margin: Array, power: int, axis: int
) -> Array:
    """max(0, max_{j≠y} (m + x_j - x_y))^p."""
    loss = _crammer_singer(x, label, margin, axis)
    return loss if power == 1 else jnp.square(loss)


def all_rivals(x: Array, label: Array, margin: Array, power: int, axis: int) -> Array:
    """Σ_{j≠y} max(0, m + x_j - x_y)^p."""
    own = _own(x, label, axis)
    rival = ~is_label(x, label, axis) & (x != -jnp.inf)
    # Replaced before and after: what is no rival has no value and no derivative.
    lack = add3(jnp.where(rival, x, 0), -own, margin)
    terms = positive_part(jnp.where(rival, lack, -jnp.inf))
    loss = jnp.sum(terms if power == 1 else jnp.square(terms), axis, keepdims=True)
    return loss + jnp.where(own == -jnp.inf, jnp.inf, 0)


def _own(x: Array, label: Array, axis: int) -> Array:
    """The label's score, NaN for a label that does not exist."""
    return jnp.where(exists(x, label, axis), take(x, label, axis), jnp.nan)


def _rival(x: Array, half: Array, infinity: Array, distance: Array) -> Array:
    """The score, and -inf for the label's own, at a distance of 0 from the label."""
    return jnp.minimum(x, (distance - half) * infinity)


def _finite(x: Array, one: Array) -> Array:
    """A finite number, and NaN for NaN."""
    return one / (one + jnp.abs(x * one))


def _lack(x: Array, label: Array, margin: Array, axis: int) -> tuple[Array, Array]:
    """m + max_{j≠y} x_j - x_y, and that largest x_j."""
    own = _own(x, label, axis)
    narrow = jnp.full_like(own, 0.5), jnp.full_like(own, jnp.inf)
    rival = along(peak, axis, _rival, (x,), narrow, label=label)
    # A maximum along rows may drop a NaN on CPU, and a sum does not.
    rival += 0 * along(total, axis, _finite, (x,), (jnp.ones_like(own),))
    # A label that is absent is infinitely far behind, also when all others are.
    ahead = jnp.where((own == -jnp.inf) & (rival == -jnp.inf), 0, rival)
    return add3(ahead, -own, margin), rival


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _crammer_singer(x: Array, label: Array, margin: Array, axis: int) -> Array:
    return positive_part(_lack(x, label, margin, axis)[0])


@_crammer_singer.defjvp
def _(axis, primals, tangents):
    # The loss is the maximum of m + x_j - x_y over the rivals and of 0, which is the
    # label's own term; its derivative is the mean of those of the terms that attain it.
    # Ties are found among the scores, where they are exact, not among rounded sums.
    (x, label, margin), (dx, _, dmargin) = primals, tangents
    lack, rival = _lack(x, label, margin, axis)
    hit = is_label(x, label, axis)
    tied = ~hit & (x == rival) & (x > -jnp.inf)
    count = jnp.sum(tied.astype(x.dtype), axis=axis, keepdims=True)
    attained = jnp.where(lack == 0, count + 1, jnp.maximum(count, 1))
    share = jnp.where(lack < 0, 0, 1 / attained)
    share = jnp.where(jnp.isnan(lack), lack, share)
    # A NaN belongs to every entry. The others are left out rather than multiplied by 0,
    # for the sake of infinite cotangents.
    moves = tied | (hit & (count > 0)) | jnp.isnan(lack)
    slope = jnp.where(hit, -count * share, share)
    dloss = jnp.sum(jnp.where(moves, slope * dx, 0), axis=axis, keepdims=True)
    return positive_part(lack), dloss + count * share * dmargin
