"""Rows of two logits, the model's and the target's, from the arguments to the end."""

from typing import NamedTuple

import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.types import Array, Axis, Input
from jaxloss._core.validate import Check


class LogitPairs(NamedTuple):
    """Two logits of each class; of a class removed both are -inf."""

    rows: inputs.Rows
    model: Array
    target: Array


def logit_pairs(
    check: Check, axis: Axis, where: Input | None, /, **logits: Input
) -> LogitPairs:
    """The model's logits and the target's, by name."""
    x = inputs.rows(check, axis, where, -jnp.inf, -jnp.inf, **logits)
    return LogitPairs(x, x.predictions, x.require_targets())
