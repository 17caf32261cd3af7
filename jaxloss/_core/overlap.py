"""The overlap of a prediction with its target, and the fraction of it that errs.

The errors are summed as such, p where there is nothing and 1 - p where there is
something, so a nearly perfect overlap is as exact as any.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from jaxloss._core.fusion import separately, sums
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

    # Squared, Σ max(p - t, 0)² and Σ max(t - p, 0)²: the intersection and half of both
    # make half of Σ (p² + t²), where it is else half of Σ (p + t).


def overlap_of(
    check: Check,
    predictions: Array,
    targets: Array,
    logits: bool,
    axes: tuple[int, ...],
    where: Input | None,
    squared: bool = False,
) -> tuple[Overlap, Array]:
    """The overlap of logits or probabilities with targets; and the targets' sums."""
    check.same_shape(predictions=predictions, targets=targets)
    keep, _ = check.where(where, loss=predictions.shape[:-1])
    few = predictions.shape[-1] <= _FEW
    if not few and keep is not None:
        keep = keep[..., None]
    if not logits:
        predictions = _checked(check, predictions, keep)
    outputs, truths = _classes(predictions), _classes(targets)
    if logits and len(outputs) == 1 and few:
        parts = [_overlap_of_logits(outputs[0], truths[0], keep, axes, squared)]
    else:
        pixels = [_pixels(*each, keep) for each in zip(outputs, truths, strict=True)]
        x, present, absent = zip(*pixels, strict=True)
        p, rest = _softmax(*x) if logits else (x, [1 - each for each in x])
        parts = [
            _over_pixels(axes, *_terms(*each, squared))
            for each in zip(p, rest, present, absent, strict=True)
        ]
    both, false, missed, mass, excess = (
        jnp.stack(each, axis=-1) if few else each[0]
        for each in zip(*parts, strict=True)
    )
    # A target outside [0, 1] is none: its class has no loss.
    false = false + jnp.where(excess == 0, 0, jnp.nan)
    return Overlap(both, false, missed), mass


def _pixels(
    x: Array, targets: Array, keep: Array | None, one: Array | float = 1
) -> tuple[Array, Array, Array]:
    """Predictions, targets and 1 - targets, all 0 where nothing is kept."""
    x, present = computing(x, targets)
    absent = one - present
    if keep is not None:
        x, present, absent = (jnp.where(keep, a, 0) for a in (x, present, absent))
    return x, present, absent


def _terms(
    p: Array, rest: Array, present: Array, absent: Array, squared: bool
) -> tuple[Array, ...]:
    """What the overlap sums; the targets, and how far they are outside [0, 1]."""
    excess = jnp.maximum(present * present - present, 0)
    false, missed = p * absent, rest * present
    if squared:
        # p - t. A maximum may drop a NaN; the product does not.
        error = false - missed
        false = error * jnp.maximum(error, 0)
        missed = error * jnp.minimum(error, 0)
    return p * present, false, missed, present, excess


def _over_pixels(axes: tuple[int, ...], *terms: Array) -> tuple[Array, ...]:
    """The sums of several terms over the pixels, in one pass over all of them."""
    if not axes:
        return terms
    # The pass leaves all axes but one, so that no rounding meets very many others.
    *others, last = sorted(axes)
    return tuple(
        jnp.sum(jnp.squeeze(total, last), axis=tuple(others))
        for total in sums(last, *terms)
    )


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _overlap_of_logits(
    x: Array,
    targets: Array,
    keep: Array | None,
    axes: tuple[int, ...],
    squared: bool,
) -> tuple[Array, ...]:
    """The sums of the terms of one class, each from the logits."""

    def total_of(i: int) -> Callable[..., Array]:
        def total(x, targets, one):
            x, present, absent = _pixels(x, targets, keep, one)
            p, rest = _binary(x, one)
            return jnp.sum(_terms(p, rest, present, absent, squared)[i], axis=axes)

        return total

    one = jnp.ones((), jnp.result_type(*computing(x, targets)))
    return separately([total_of(i) for i in range(5)], x, targets, one)


@_overlap_of_logits.defjvp
def _(axes, squared, primals, tangents):
    # With a derivative, what the sums share is stored in any case.
    x, targets, keep = primals

    def at_once(x, targets):
        x, present, absent = _pixels(x, targets, keep)
        p, rest = _binary(x, jnp.ones((), x.dtype))
        return _over_pixels(axes, *_terms(p, rest, present, absent, squared))

    return jax.jvp(at_once, (x, targets), tangents[:2])


@jax.custom_jvp
def _binary(x: Array, one: Array) -> tuple[Array, Array]:
    """σ(x) and 1 - σ(x) = σ(-x), each accurate where it is small."""
    return one / (one + jnp.exp(-x)), one / (one + jnp.exp(x))


@_binary.defjvp
def _(primals, tangents):
    p, rest = _binary(*primals)
    dp = p * rest * tangents[0]
    return (p, rest), (dp, -dp)


# XLA's reductions on CPU are slow over a few neighbours, and before an axis of size 1:
# a few classes are taken one by one, each without the axis, and many as one array.
_FEW = 8


def _classes(x: Array) -> list[Array]:
    if x.shape[-1] > _FEW:
        return [x]
    return [jnp.squeeze(each, -1) for each in jnp.split(x, x.shape[-1], axis=-1)]


def _over(combine: Any, classes: Sequence[Array]) -> Array:
    """The sum or the maximum over the classes."""
    if len(classes) > 1:
        return functools.reduce(combine, classes)
    return combine.reduce(classes[0], axis=-1, keepdims=True)


@jax.custom_jvp
def _softmax(*x: Array) -> tuple[list[Array], list[Array]]:
    """p and 1 - p of every class, each accurate where it is small."""
    # An infinite logit takes the pixel: as the largest float, which no other reaches.
    z = [jnp.minimum(each, jnp.finfo(each.dtype).max) for each in x]
    peak = _over(jnp.maximum, z)
    total = _over(jnp.add, [jnp.exp(each - peak) for each in z])
    # The barriers keep XLA on CPU from storing the exponentials for a second use.
    peak, half = jax.lax.optimization_barrier((peak, total / 2))
    # 1 - p_j cancels only for a class that holds more than half: there it is the sum
    # of the others.
    e = [jnp.exp(each - peak) for each in z]
    others = _over(jnp.add, [jnp.where(each > half, 0, each) for each in e])
    peak, total, others = jax.lax.optimization_barrier((peak, total, others))
    p = [jnp.exp(each - peak) / total for each in z]
    return p, [jnp.where(each > 0.5, others / total, 1 - each) for each in p]


@_softmax.defjvp
def _(x, dx):
    # dp_j = p_j (dx_j - Σ_k p_k dx_k). For a class d that holds more than half, dx is
    # taken relative to dx_d, and dp_d is minus the sum of the others. The transpose
    # does the same in the opposite order, so that neither direction cancels.
    p, rest = _softmax(*x)
    dominant = [each > 0.5 for each in p]

    def select(first, second):
        return list(map(jnp.where, dominant, first, second))

    none = [jnp.zeros_like(each) for each in p]
    reference = _over(jnp.add, select(dx, none))
    dx = select(none, [v - reference for v in dx])
    mean = _over(jnp.add, list(map(jnp.multiply, p, dx)))
    dp = [each * (v - mean) for each, v in zip(p, dx, strict=True)]
    others = _over(jnp.add, select(none, dp))
    dp = select([-others] * len(p), dp)
    return (p, rest), (dp, [-v for v in dp])


def _checked(check: Check, given: Array, keep: Array | None) -> Array:
    """Probabilities: checked now if their values are known, else NaN if invalid."""
    slack = max(1e-5, float(jnp.finfo(given.dtype).eps))
    (p,) = computing(given)
    if keep is not None:
        keep = keep.reshape(*p.shape[:-1], 1)
        p = jnp.where(keep, p, 0)
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
