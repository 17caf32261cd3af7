"""The cross entropy of rows of logits by a kernel: the seam to the rest of the library.

What kernels have no notion of is here: derivatives of every order and with respect to
everything, the choice of an implementation, and the few numbers a row that a loss is
put together from.

The kernel has the statistic of each row, from one reading of the logits. For losses one
by one, whose cotangents are not known beforehand, their derivative is arithmetic on
the logits and that statistic, which XLA fuses with the cotangents: one more reading,
and a writing. For a weighted sum of the losses it is known at once up to one factor,
and the kernel writes it, over the logits where nobody needs them any more.

The rule of each is the derivative of the same mathematics in plain JAX.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core import cross_entropy
from jaxloss._core.cross_entropy import Options
from jaxloss._core.mesh import mesh_axes, varying
from jaxloss._core.numerics import weighted
from jaxloss._core.tangents import is_zero, jvp, mask
from jaxloss._core.types import Array, Implementation
from jaxloss._core.validate import Check
from jaxloss._kernels import chips, tile, told
from jaxloss._kernels.softmax_xent import call, config
from jaxloss._kernels.told import Told


class Rows(NamedTuple):
    """Rows of logits, and what their losses depend on."""

    logits: Array
    """`[rows, classes]`, in their own dtype."""
    label: Array
    """`[rows]`, integers."""
    keep: Array | None
    """`[rows]`: the others have the loss 0, whatever they hold."""
    options: Options
    """Each a number or `[rows, 1]`; the class weights `[1, classes]`."""


@dataclasses.dataclass(frozen=True)
class How:
    """By what the losses are computed."""

    function: str
    implementation: Implementation | None
    base: float | None = None


class Choice(NamedTuple):
    """What runs, and why."""

    how: How | None
    """None for XLA, without this module."""
    name: Implementation
    reason: str


@dataclasses.dataclass(frozen=True)
class RowsPlan:
    """How the losses of rows of logits would be computed."""

    function: str
    implementation: Implementation
    reason: str
    """Why that implementation; of a kernel its tiles too."""
    rows: int
    classes: int
    dtype: str

    def __str__(self) -> str:
        return (
            f"jaxloss.{self.function}\n"
            f"  implementation  {self.implementation}: {self.reason}\n"
            f"  rows x classes  {self.rows:,} x {self.classes:,}, {self.dtype}"
        )


def choose(
    check: Check,
    implementation: Implementation | None,
    dtype: jnp.dtype,
    shape: tuple[int, int],
    *,
    base: float | None = None,
    obstacle: str | None = None,
) -> Choice:
    """By what losses on logits of this kind are computed.

    Args:
      check: of the function that asks.
      implementation: what the user asks for.
      dtype: that of the logits.
      shape: rows and classes.
      base: unit of the losses.
      obstacle: why no kernel can run, if the caller knows a reason.

    Raises:
      NotImplementedError: what is asked for cannot run.
    """
    if implementation == "xla":
        return Choice(None, "xla", "asked for")
    classes = shape[1]
    if implementation is not None:
        no = obstacle or config.refusal(implementation, dtype, classes)
        no = no or chips.unfit(implementation)
        if no is not None:
            raise check.unable(
                f"implementation={implementation!r} {no}",
                "Leave it out to have one chosen, or pass "
                '"xla", which runs everywhere.',
            )
        how = How(check.function, implementation, base)
        tiles = config.tiles(implementation, shape, dtype)
        return Choice(how, implementation, f"asked for; {tiles}")
    kernel = chips.of_platform(jax.default_backend())
    if kernel is None:
        return Choice(None, "xla", "the only one on this platform")
    no = obstacle or config.refusal(kernel, dtype, classes) or chips.unfit(kernel)
    if no is not None:
        return Choice(None, "xla", f"{kernel} {no}")
    no = config.reluctance(kernel, dtype, shape)
    if no is not None:
        return Choice(None, "xla", f"{kernel} {no}")
    won = config.BY_DEFAULT[kernel].result
    reason = f"{won}; {config.tiles(kernel, shape, dtype)}"
    return Choice(How(check.function, None, base), kernel, reason)


# ------------------------------------------------------------------ the same in JAX


def _reference(how: How, rows: Rows) -> Array:
    logits = rows.logits.astype(jnp.float32)
    label = rows.label
    if rows.keep is not None:
        logits = jnp.where(rows.keep[:, None], logits, 0)
        label = jnp.where(rows.keep, label, 0)
    result = cross_entropy.of_label(
        logits, label[:, None], rows.options, 1, base=how.base
    )
    loss = result.loss[:, 0]
    return loss if rows.keep is None else jnp.where(rows.keep, loss, 0)


def _reference_slope(
    how: How, dtype: jnp.dtype, rows: Rows, weights: Array
) -> tuple[Array, Array]:
    loss, pull = jax.vjp(
        lambda logits: _reference(how, rows._replace(logits=logits)),
        rows.logits.astype(jnp.float32),
    )
    (slope,) = pull(varying(weights, mesh_axes(loss)))
    return loss, slope.astype(dtype)


# ------------------------------------------------------------------ by the statistic


def _told(how: How, rows: Rows, weights: Array) -> Told:
    classes = rows.logits.shape[1]
    return told.tell(rows.label, rows.keep, rows.options, classes, weights, how.base)


def _call(how: How, known: Told, **options: Any) -> call.Call:
    return call.Call(how.function, how.implementation, known.on, **options)


def _whole(function: Any, reference: Any, static: int) -> Any:
    """A function whose derivatives are those of the reference."""
    whole = jax.custom_jvp(function, nondiff_argnums=tuple(range(static)))

    def rule(*arguments):
        *fixed, primals, tangents = arguments
        _, tangent = jvp(functools.partial(reference, *fixed), primals, tangents)
        return whole(*fixed, *primals), tangent

    whole.defjvp(rule, symbolic_zeros=True)
    return whole


def _others_move(d: Rows) -> bool:
    """Whether anything but the logits has a tangent."""
    return any(mask(d._replace(logits=None)))


def label_weights(rows: Rows) -> Array | None:
    """The class weight of each row's label, `[rows]`."""
    weights = rows.options.class_weights
    return None if weights is None else told.of_label(weights, rows.label)


# ------------------------------------------------------------------ one by one


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def losses(how: How, rows: Rows) -> Array:
    """The losses, `[rows]`, in float32."""
    known = _told(how, rows, jnp.ones(rows.label.shape, jnp.float32))
    weights = rows.options.class_weights
    seen, _ = call.rows(_call(how, known), rows.logits, known.row, weights)
    return told.losses(known, seen)


def _losses_jvp(how: How, primals, tangents):
    (rows,), (d,) = primals, tangents
    if _others_move(d):
        return jvp(functools.partial(_reference, how), primals, tangents)
    loss, slope = _apart(how, rows)
    dloss = jnp.sum(slope * d.logits.astype(jnp.float32), axis=1)
    return loss, dloss


losses.defjvp(_losses_jvp, symbolic_zeros=True)


def _apart_by_statistic(how: How, rows: Rows) -> tuple[Array, Array]:
    """The losses and their derivatives in float32: arithmetic on the logits."""
    known = _told(how, rows, jnp.ones(rows.label.shape, jnp.float32))
    weights = rows.options.class_weights
    seen, _ = call.rows(_call(how, known), rows.logits, known.row, weights)
    of_row = tile.slope_of(seen, known.row, known.on)
    x = rows.logits.astype(jnp.float32)
    column = jax.lax.broadcasted_iota(jnp.int32, x.shape, 1)
    is_label = column == known.row.label.astype(jnp.int32)
    slope = tile.slope(x, is_label, known.row, of_row, weights, known.on)
    return told.losses(known, seen), slope


def _apart_reference(how: How, rows: Rows) -> tuple[Array, Array]:
    ones = jnp.ones(rows.label.shape, jnp.float32)
    return _reference_slope(how, jnp.dtype("float32"), rows, ones)


_apart = _whole(_apart_by_statistic, _apart_reference, 1)


# ------------------------------------------------------------------ their sum


def _sum(losses: Array, weights: Array) -> Array:
    return jnp.sum(weighted(losses, weights))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def total(how: How, rows: Rows, weights: Array) -> Array:
    """Σ_i weights_i · loss_i."""
    return _sum(losses(how, rows), weights)


def _total_jvp(how: How, primals, tangents):
    (rows, weights), (d, dweights) = primals, tangents
    if _others_move(d) or is_zero(d.logits):
        return jvp(lambda r, w: _sum(losses(how, r), w), primals, tangents)
    dtype = rows.logits.dtype
    loss, slope = with_slope(how, dtype, rows, weights)
    dtotal = jnp.vdot(slope.astype(jnp.float32), d.logits.astype(jnp.float32))
    if not is_zero(dweights):
        dtotal += jnp.vdot(loss, dweights)
    return _sum(loss, weights), dtotal


total.defjvp(_total_jvp, symbolic_zeros=True)


def _with_slope(
    how: How, dtype: jnp.dtype, rows: Rows, weights: Array
) -> tuple[Array, Array]:
    known = _told(how, rows, weights)
    asked = _call(how, known, slope=jnp.dtype(dtype), in_place=True)
    class_weights = rows.options.class_weights
    seen, slope = call.rows(asked, rows.logits, known.row, class_weights)
    assert slope is not None
    return told.losses(known, seen), slope


with_slope = _whole(_with_slope, _reference_slope, 2)
"""(how, dtype, rows, weights) -> the losses, and the derivative of their weighted sum
with respect to the logits in this dtype, written over them if it is theirs."""
