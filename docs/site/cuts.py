"""One-dimensional cuts through losses, of which pictures are drawn.

A cut moves one number of the model's output and leaves the rest as it is. Nothing here
is a formula: every curve calls the library.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import jaxloss

Curve = Callable[[jax.Array], jax.Array]


@dataclass(frozen=True)
class Cut:
    """What moves, from where to where, and the loss along it, by legend."""

    what: str
    low: float
    high: float
    curves: Mapping[str, Curve]


def each(make: Callable[..., Curve], options: Mapping[str, Mapping[str, Any]]):
    """A curve for each setting of the options."""
    return {legend: make(**given) for legend, given in options.items()}


def scalar(name: str, target: float, *, integer: bool = False, **options: Any) -> Curve:
    """A loss of one number and one target."""

    def loss(x: jax.Array) -> jax.Array:
        given = jnp.asarray(target, jnp.int32 if integer else x.dtype)
        named = {k: like(v, x) for k, v in options.items()}
        return getattr(jaxloss, name)(x, given, **named)

    return loss


def like(value: Any, x: jax.Array) -> Any:
    """Parameters of a distribution are arrays; what else is given stays as it is."""
    return jnp.asarray(value, x.dtype) if isinstance(value, Parameter) else value


class Parameter(float):
    """A second output of the model, such as a log-variance."""


def residual(name: str, options: Mapping[str, Mapping[str, Any]], span: float = 4.0):
    """Against the prediction of a target that is 0."""
    curves = {k: scalar(name, 0.0, **given) for k, given in options.items()}
    return Cut("prediction - target", -span, span, curves)


def row(name: str, label: Any = 0, **options: Any) -> Curve:
    """A loss of three logits, of which the first moves; the others are 0."""

    def loss(x: jax.Array) -> jax.Array:
        logits = jnp.stack([x, 0 * x, 0 * x])
        named = {k: like_row(v, x) for k, v in options.items()}
        if label is None:
            return getattr(jaxloss, name)(logits, **named)
        return getattr(jaxloss, name)(logits, like_row(label, x), **named)

    return loss


def like_row(value: Any, x: jax.Array) -> Any:
    if isinstance(value, tuple):
        return jnp.asarray(value, x.dtype)
    return jnp.asarray(value, jnp.int32) if isinstance(value, int) else value


ONE_HOT = (1.0, 0.0, 0.0)
EVEN = (0.0, 0.0, 0.0)
PLAIN: Mapping[str, Mapping[str, Any]] = {"": {}}


def label_logit(name: str, options=PLAIN, label: Any = 0) -> Cut:
    curves = each(lambda **given: row(name, label, **given), options)
    return Cut("logit of the label, the other two 0", -6, 6, curves)


def one_logit(name: str, options=PLAIN, label: Any = EVEN) -> Cut:
    curves = each(lambda **given: row(name, label, **given), options)
    return Cut("one logit of three, the others 0; the target is even", -6, 6, curves)


def binary(name: str, *, integer: bool = False, **options: Any) -> Cut:
    curves = {
        f"label {label}": scalar(name, label, integer=integer, **options)
        for label in (1, 0)
    }
    return Cut("logit", -6, 6, curves)


def margin(name: str) -> Cut:
    return Cut("target times prediction", -3, 3, {"": scalar(name, 1.0)})


def settings(name: str, *values: float) -> dict[str, dict[str, float]]:
    return {f"{name} {value:g}": {name: value} for value in values}


def parameters(name: str, *values: float, **others: float):
    fixed = {k: Parameter(v) for k, v in others.items()}
    return {f"{name} {value:g}": {name: Parameter(value), **fixed} for value in values}


def of_target(name: str, what: str, span: tuple[float, float], *targets: float, **more):
    fixed = {k: Parameter(v) for k, v in more.items()}
    curves = {f"target {t:g}": scalar(name, t, **fixed) for t in targets}
    return Cut(what, *span, curves)


def pair(name: str, options=PLAIN) -> Cut:
    """A list of two documents, of which the first is relevant."""

    def make(**given: Any) -> Curve:
        def loss(x: jax.Array) -> jax.Array:
            labels = jnp.asarray([1.0, 0.0], x.dtype)
            return jnp.sum(
                getattr(jaxloss, name)(jnp.stack([x, 0 * x]), labels, **given)
            )

        return loss

    return Cut(
        "score of the relevant item above the other's", -5, 5, each(make, options)
    )


def probability(name: str, target: tuple[float, float], *, logs: bool = False) -> Cut:
    """Two probabilities that add up to 1."""

    def loss(x: jax.Array) -> jax.Array:
        probs = jnp.stack([x, 1 - x])
        given = jnp.asarray(target, x.dtype)
        return getattr(jaxloss, name)(jnp.log(probs) if logs else probs, given)

    what = f"probability of the first of two, target {target[0]:g}"
    return Cut(what, 0.01, 0.99, {"": loss})


def angle(name: str, curves: Mapping[str, Mapping[str, Any]] = PLAIN) -> Cut:
    def make(**given: Any) -> Curve:
        def loss(x: jax.Array) -> jax.Array:
            first = jnp.stack([jnp.cos(x), jnp.sin(x)])
            second = jnp.asarray([1.0, 0.0], x.dtype)
            named = {k: jnp.asarray(v, jnp.int32) for k, v in given.items()}
            return getattr(jaxloss, name)(first, second, **named)

        return loss

    return Cut("angle between the two vectors", -math.pi, math.pi, each(make, curves))


def ratio(name: str, options=PLAIN) -> Cut:
    """Policy losses against the log of the new policy's ratio to the old one."""
    curves = {
        f"advantage {a:+g}{', ' + k if k else ''}": _of_ratio(name, a, given)
        for k, given in options.items()
        for a in (1.0, -1.0)
    }
    return Cut("log of the ratio to the old policy", -1.5, 1.5, curves)


def _of_ratio(name: str, advantage: float, options: Mapping[str, Any]) -> Curve:
    def loss(x: jax.Array) -> jax.Array:
        given = jnp.asarray(advantage, x.dtype)
        if name == "grpo_loss":
            found = getattr(jaxloss, name)(
                x[None, None], given[None], old_log_probs=0 * x[None, None], **options
            )
            return jnp.sum(found)
        return getattr(jaxloss, name)(x, given, old_log_probs=0 * x, **options)

    return loss


def preferred(x: jax.Array, **options: Any) -> jax.Array:
    zero = 0 * x
    return jaxloss.dpo_loss(
        *(x, zero),
        reference_chosen_log_probs=zero,
        reference_rejected_log_probs=zero,
        **options,
    )


def shifted(name: str, points: tuple[float, ...], **options: Any) -> Cut:
    """Samples moved away from equal ones."""

    def loss(x: jax.Array) -> jax.Array:
        still = jnp.asarray(points, x.dtype)
        if name != "wasserstein_1d":
            still = still[:, None]
        return getattr(jaxloss, name)(still + x, still, **options)

    return Cut("shift of all predictions from the targets", -3, 3, {"": loss})


def box(variant: str) -> Curve:
    def loss(x: jax.Array) -> jax.Array:
        zero, one = 0 * x, 0 * x + 1
        predicted = jnp.stack([x, zero, x + 1, one])
        return jaxloss.iou_loss(
            predicted, jnp.stack([zero, zero, one, one]), variant=variant
        )

    return loss


def root_mean(x: jax.Array) -> jax.Array:
    return jaxloss.root_mean_squared_error(
        jnp.stack([x, 0 * x + 1]), jnp.zeros(2, x.dtype)
    )


def pixels(name: str) -> Cut:
    """Four pixels of which two are marked, all as sure as each other."""

    def loss(x: jax.Array) -> jax.Array:
        targets = jnp.asarray([1.0, 1.0, 0.0, 0.0], x.dtype)
        # One image, for what keeps the first axis.
        losses = getattr(jaxloss, name)(x * (2 * targets - 1)[None], targets[None])
        return losses.reshape(())

    return Cut("logit of every pixel, to its right side", -6, 6, {"": loss})


def distance(label: int) -> Curve:
    def loss(x: jax.Array) -> jax.Array:
        first = jnp.stack([x, 0 * x])
        given = jnp.asarray(label, jnp.int32)
        return jaxloss.contrastive_loss(first, 0 * first, labels=given)

    return loss


def triplet(name: str) -> Cut:
    """An anchor at 0, a negative at 1, and a positive that moves along the line."""

    def loss(x: jax.Array) -> jax.Array:
        zero, one = jnp.stack([0 * x, 0 * x]), jnp.stack([0 * x + 1, 0 * x])
        return getattr(jaxloss, name)(zero, jnp.stack([x, 0 * x]), one)

    return Cut("distance to the positive, the negative at 1", 0.02, 3, {"": loss})
