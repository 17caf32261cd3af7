"""The overlap of a prediction with its target, and the fraction of it that errs.

The errors are summed as such, p where there is nothing and 1 - p where there is
something, so a nearly perfect overlap is as exact as any.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jaxloss._core.types import Array, Input
from jaxloss._core.validate import Check, computing


class Overlap(NamedTuple):
    """How prediction and target overlap, summed over pixels: `[..., classes]`."""

    intersection: Array
    """Σ p t."""
    false: Array
    """Σ p (1 - t)."""
    missed: Array
    """Σ (1 - p) t."""


def overlap_of(
    check: Check,
    predictions: Array,
    targets: Array,
    logits: bool,
    axes: tuple[int, ...],
    where: Input | None,
) -> tuple[Overlap, Array]:
    """The overlap of logits or probabilities with targets; and the classes' frequency.

    The frequency is the sum of the targets over the whole batch, `[classes]`.
    """
    check.same_shape(predictions=predictions, targets=targets)
    given = predictions.dtype
    keep, _ = check.where(where, loss=predictions.shape[:-1])
    x, present = computing(predictions, targets)
    absent = 1 - present
    if keep is not None:
        keep = keep[..., None]
        x, present, absent = (jnp.where(keep, a, 0) for a in (x, present, absent))
    if not logits:
        x = _checked(check, x, given, keep)
    frequency = jnp.sum(present, axis=tuple(range(present.ndim - 1)))
    binary = x.shape[-1] == 1
    if binary:
        # XLA's reductions on CPU are slow before an axis of size 1.
        x, present, absent = x[..., 0], present[..., 0], absent[..., 0]
    if not logits:
        p, rest = x, 1 - x
    else:
        p, rest = _binary(x) if binary else _softmax(x)
    # A target outside [0, 1] is none: its class has no loss.
    excess = jnp.sum(jnp.maximum(present * present - present, 0), axis=axes)
    sums = Overlap(
        intersection=jnp.sum(p * present, axis=axes),
        false=jnp.sum(p * absent, axis=axes) + jnp.where(excess == 0, 0, jnp.nan),
        missed=jnp.sum(rest * present, axis=axes),
    )
    if binary:
        sums = Overlap(*(each[..., None] for each in sums))
    return sums, frequency


@jax.custom_jvp
def _binary(x: Array) -> tuple[Array, Array]:
    """σ(x) and 1 - σ(x) = σ(-x), each accurate where it is small."""
    return 1 / (1 + jnp.exp(-x)), 1 / (1 + jnp.exp(x))


@_binary.defjvp
def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    p, rest = _binary(x)
    dp = p * rest * dx
    return (p, rest), (dp, -dp)


@jax.custom_jvp
def _softmax(x: Array) -> tuple[Array, Array]:
    """p and 1 - p of every class, each accurate where it is small."""
    # An infinite logit takes the pixel: as the largest float, which no other reaches.
    x = jnp.minimum(x, jnp.finfo(x.dtype).max)
    e = jnp.exp(x - jnp.max(x, axis=-1, keepdims=True))
    p = e / jnp.sum(e, axis=-1, keepdims=True)
    # 1 - p_j is what the maximum leaves, r, and what p_j leaves of the maximum: of
    # two terms that are not negative, the first a sum over all classes but one.
    peak = jnp.max(p, axis=-1, keepdims=True)
    below = jnp.sign(peak - p)
    maxima = x.shape[-1] - jnp.sum(below, axis=-1, keepdims=True)
    rest = jnp.sum(p * below, axis=-1, keepdims=True) + peak * (maxima - 1)
    return p, rest + (peak - p)


@_softmax.defjvp
def _(primals, tangents):
    # dp_j = p_j (dx_j - Σ_k p_k dx_k). For a class d that holds more than half, dx is
    # taken relative to dx_d, and dp_d is minus the sum of the others. The transpose
    # does the same in the opposite order, so that neither direction cancels.
    (x,), (dx,) = primals, tangents
    p, rest = _softmax(x)
    dominant = p > 0.5

    def dominated(v: Array) -> Array:
        return jnp.where(dominant, 0, v)

    dx_dominant = jnp.sum(jnp.where(dominant, dx, 0), axis=-1, keepdims=True)
    dx = dominated(dx - dx_dominant)
    dp = p * (dx - jnp.sum(p * dx, axis=-1, keepdims=True))
    others = jnp.sum(dominated(dp), axis=-1, keepdims=True)
    dp = jnp.where(dominant, -others, dp)
    return (p, rest), (dp, -dp)


def _checked(check: Check, p: Array, given: jnp.dtype, keep: Array | None) -> Array:
    """Probabilities: checked now if their values are known, else NaN if invalid."""
    slack = max(1e-5, float(jnp.finfo(given).eps))
    inside = (p >= -slack) & (p <= 1 + slack)
    if not isinstance(p, Tracer):
        totals = jnp.sum(p, axis=-1, keepdims=True)
        good = jnp.all(inside, axis=-1, keepdims=True)
        if p.shape[-1] > 1:
            good &= jnp.abs(totals - 1) <= slack
        if keep is not None:
            good |= ~keep
        good |= jnp.any(jnp.isnan(p), axis=-1, keepdims=True)
        if not good.all():
            raise check.value_error(
                "predictions",
                "valid probability distributions over the last axis",
                f"from {p.min():.6g} to {p.max():.6g}, with sums from "
                f"{totals.min():.6f} to {totals.max():.6f}",
                "Leave the logits to the loss, or normalise them.",
            )
    return jnp.where(inside, p, jnp.nan)


@jax.custom_jvp
def fraction(part: Array, rest: Array) -> Array:
    """part / (part + rest), and 0 where both are 0."""
    whole = part + rest
    return jnp.where(whole == 0, 0, part / jnp.where(whole == 0, 1, whole))


@fraction.defjvp
def _(primals, tangents):
    # d(e / (e + r)) = (r de - e dr) / (e + r)²: no difference of nearly equal parts.
    (part, rest), (dpart, drest) = primals, tangents
    whole = part + rest
    value = fraction(part, rest)
    numerator = fraction(rest, part) * dpart - value * drest
    return value, numerator / jnp.where(whole == 0, 1, whole)
