"""Hyperparameters where the losses that they belong to may be masked."""

import math

import jax.numpy as jnp

from jaxloss._core.types import Array, Number
from jaxloss._core.validate import Check


def kept_parameter(
    check: Check,
    argument: str,
    value: Number,
    like: Array,
    keep: Array | None,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
    masked: float = 1.0,
) -> Array:
    """`Check.parameter`, with a harmless value where its loss is masked."""
    array = check.parameter(
        argument,
        value,
        like,
        low=low,
        high=high,
        open_low=open_low,
        open_high=open_high,
    )
    return array if keep is None or not array.ndim else jnp.where(keep, array, masked)
