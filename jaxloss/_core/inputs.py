"""From arguments to arrays that a formula may use: checked, widened, masked."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxloss._core.numerics import in_base
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check, computing


class Elements(NamedTuple):
    """Predictions and targets of a loss that acts entry by entry."""

    predictions: Array
    targets: Array
    keep: Array | None
    """The entries kept by the mask."""


def elements(
    check: Check,
    where: Input | None,
    /,
    **arguments: Input,
) -> Elements:
    """Two arrays of one shape, the model's output first, by their argument names."""
    (name, output), (target_name, target) = arguments.items()
    (predictions, targets), keep = aligned(
        check, where, {name: output}, {target_name: target}
    )
    return Elements(predictions, targets, keep)


def aligned(
    check: Check,
    where: Input | None,
    outputs: Mapping[str, Input],
    targets: Mapping[str, Input],
    masked: Mapping[str, float] | None = None,
) -> tuple[list[Array], Array | None]:
    """Any number of arrays of one shape, and the entries kept by the mask.

    Args:
      check: of the function whose arguments they are.
      where: its mask.
      outputs: what the model says, floating, by argument name; the first gives the
        shape.
      targets: real, by argument name.
      masked: what stands where an entry is masked, by argument name: a value at which
        the loss and its derivatives exist. 0 if left out.
    """
    arrays = {name: check.floating(name, value) for name, value in outputs.items()}
    arrays |= {name: check.real(name, value) for name, value in targets.items()}
    check.same_shape(**arrays)
    keep, _ = check.where(where, loss=next(iter(arrays.values())).shape)
    computed = dict(zip(arrays, computing(*arrays.values()), strict=True))
    if keep is not None:
        fill = masked or {}
        computed = {
            name: jnp.where(keep, value, fill.get(name, 0))
            for name, value in computed.items()
        }
    return list(computed.values()), keep


class Observed(NamedTuple):
    """What a likelihood is computed from."""

    output: Array
    targets: Array
    parameters: list[Array]
    """The further parameters of the law, each one number or of the targets' shape."""
    keep: Array | None
    """The entries kept by the mask."""

    def reduced(
        self,
        check: Check,
        loss: Array,
        *,
        weights: Input | None,
        reduction: Reduction,
        base: float | None = None,
    ) -> Array:
        """Unit and reduction: the common end."""
        return ended(check, loss, self.keep, weights, reduction, base)


def observed(
    check: Check,
    where: Input | None,
    outputs: Mapping[str, Input],
    targets: Mapping[str, Input],
    parameters: Mapping[str, Number],
    masked: float = 0.0,
) -> Observed:
    """The main parameter of a law, its targets and its further parameters, by name.

    Where an entry is masked, the targets hold `masked` and the parameters 0, at which
    the likelihood and its derivatives must exist.
    """
    arrays = [p for p in parameters.values() if isinstance(p, jax.Array | np.ndarray)]
    given = {name: check.floating(name, value) for name, value in outputs.items()}
    wide = any(array.dtype == jnp.float64 for array in arrays)
    given = {k: v.astype(jnp.float64) if wide else v for k, v in given.items()}
    fill = dict.fromkeys(targets, masked)
    (output, target), keep = aligned(check, where, given, targets, fill)
    values = []
    for name, value in parameters.items():
        parameter = check.parameter(name, value, target)
        if keep is not None and parameter.ndim:
            parameter = jnp.where(keep, parameter, 0)
        values.append(parameter)
    return Observed(output, target, values, keep)


class Rows(NamedTuple):
    """Predictions of a loss that runs along an axis, and targets of their shape."""

    predictions: Array
    """In the dtype of computation; removed entries hold `removed`."""
    targets: Array | None
    """Removed entries hold `removed_target`."""
    axis: int
    """The axis of the entries, such as the classes."""
    keep: Array | None
    """The rows kept by the mask, in the losses' shape."""
    entries: Array | None
    """The entries kept by the mask, in the predictions' shape."""
    shape: tuple[int, ...]
    """The shape of the losses: that of the predictions without the axis."""

    @property
    def like(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the losses."""
        return jax.ShapeDtypeStruct(self.shape, self.predictions.dtype)

    @property
    def classes(self) -> int:
        """The number of entries in a row."""
        return self.predictions.shape[self.axis]

    def spread(self, per_loss: Array) -> Array:
        """A value per loss, or one for all, lined up with the predictions."""
        return jnp.expand_dims(per_loss, self.axis) if per_loss.ndim else per_loss

    def along(self, per_entry: Array) -> Array:
        """A value per entry of the axis, lined up with the predictions."""
        shape = [1] * self.predictions.ndim
        shape[self.axis] = -1
        return per_entry.reshape(shape)

    def require_targets(self) -> Array:
        """The targets of a loss that was given some."""
        if self.targets is None:
            raise AssertionError("these rows were made without targets")
        return self.targets

    def reduced(
        self,
        check: Check,
        loss: Array,
        *,
        weights: Input | None,
        reduction: Reduction,
        base: float | None = None,
    ) -> Array:
        """Unit and reduction of losses of size 1 along the axis: the common end."""
        loss = jnp.squeeze(loss, self.axis)
        return ended(check, loss, self.keep, weights, reduction, base)

    def drop(self, keep: Array | None) -> "Rows":
        """The same rows without those not kept: zeros in their place."""
        if keep is None:
            return self
        kept = jnp.expand_dims(keep, self.axis)
        targets = self.targets
        return self._replace(
            predictions=jnp.where(kept, self.predictions, 0),
            targets=None if targets is None else jnp.where(kept, targets, 0),
            keep=both(self.keep, keep),
        )


def rows(
    check: Check,
    axis: Axis,
    where: Input | None,
    removed: float = 0.0,
    removed_target: float = 0.0,
    /,
    **arguments: Input,
) -> Rows:
    """The model's output, and targets of its shape if there are any, by name.

    Several axes become one, flattened in the order given. Masked rows hold zeros;
    masked entries hold what the loss does not see, such as -inf for a logit.
    """
    (name, output), *target = arguments.items()
    arrays = [check.floating(name, output)]
    if target:
        arrays.append(check.real(*target[0]))
        check.same_shape(**{name: arrays[0], target[0][0]: arrays[1]})
    whole = arrays[0].shape
    axes = check.axes(axis, len(whole), of=name)
    shape = tuple(size for i, size in enumerate(whole) if i not in axes)
    keep, entries = check.where(where, loss=shape, output=whole, output_name=name)
    (entry_axis,) = axes if len(axes) == 1 else (len(shape),)
    if len(axes) != 1:
        last = tuple(range(len(shape), len(whole)))
        arrays = [jnp.moveaxis(a, axes, last).reshape(*shape, -1) for a in arrays]
        if entries is not None:
            entries = jnp.moveaxis(entries, axes, last).reshape(*shape, -1)
    arrays = list(computing(*arrays))
    if entries is not None:
        arrays = [
            jnp.where(entries, array, fill)
            for array, fill in zip(arrays, (removed, removed_target), strict=False)
        ]
    targets = arrays[1] if target else None
    return Rows(arrays[0], targets, entry_axis, None, entries, shape).drop(keep)


def ended(
    check: Check,
    loss: Array,
    keep: Array | None,
    weights: Input | None,
    reduction: Reduction,
    base: float | None,
) -> Array:
    """Losses of what is kept, in their unit, weighted and reduced."""
    loss = in_base(loss, base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


def both(first: Array | None, second: Array | None) -> Array | None:
    """The conjunction of two masks, either of which may be absent."""
    if first is None or second is None:
        return second if first is None else first
    return first & second
