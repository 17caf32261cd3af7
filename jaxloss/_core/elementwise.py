"""A loss that acts entry by entry: its arrays, hyperparameters, mask and reduction."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.parameters import kept_parameter
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check


class Entries(NamedTuple):
    """The arrays of one loss, checked, widened and masked."""

    check: Check
    arrays: list[Array]
    """The model's outputs, then the targets."""
    keep: Array | None
    """The entries kept by the mask."""
    reduction: Reduction

    @property
    def residual(self) -> Array:
        """Predictions minus targets, rounded once; 0 where masked."""
        prediction, target = self.arrays
        return prediction - target

    def parameter(
        self,
        argument: str,
        value: Number,
        *,
        low: float = -jnp.inf,
        high: float = jnp.inf,
        open_low: bool = False,
        open_high: bool = False,
        masked: float = 1.0,
    ) -> Array:
        """A hyperparameter, one or one per entry; masked entries hold `masked`."""
        return kept_parameter(
            self.check,
            argument,
            value,
            self.arrays[0],
            self.keep,
            low=low,
            high=high,
            open_low=open_low,
            open_high=open_high,
            masked=masked,
        )

    def reduced(self, loss: Array, weights: Input | None) -> Array:
        """The common end."""
        weights = self.check.weights(weights, loss)
        return reduce(loss, where=self.keep, weights=weights, reduction=self.reduction)


def entries(
    function: str,
    where: Input | None,
    reduction: Reduction,
    outputs: Mapping[str, Input],
    targets: Mapping[str, Input],
    masked: Mapping[str, float] | None = None,
) -> Entries:
    """The arguments of a public function, as for `inputs.aligned`."""
    check = Check(function)
    check.reduction(reduction)
    arrays, keep = inputs.aligned(check, where, outputs, targets, masked)
    return Entries(check, arrays, keep, reduction)


def residuals(
    function: str,
    predictions: Input,
    targets: Input,
    where: Input | None,
    reduction: Reduction,
) -> Entries:
    """The same for `predictions` and `targets`."""
    return entries(
        function, where, reduction, {"predictions": predictions}, {"targets": targets}
    )
