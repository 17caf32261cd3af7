"""Names for the types that recur in public signatures."""

from typing import Literal

import jax
import numpy as np

Array = jax.Array
"""What every loss returns."""

Input = jax.Array | np.ndarray
"""What every loss takes as an array: bare Python numbers and lists are refused."""

Number = float | jax.Array | np.ndarray
"""A hyperparameter: a Python number, or an array (traced, scheduled, per example)."""

Axis = int | tuple[int, ...] | None
"""Axes of one prediction: one, several (flattened in that order), or all of them."""

Reduction = Literal["none", "sum", "mean"]
"""How the losses of the examples become one."""

Implementation = Literal["xla", "mosaic_gpu", "mosaic_tpu", "interpret"]
"""By what a fused loss is computed; None, everywhere, chooses."""
