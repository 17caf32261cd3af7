"""Keywords of the losses of a head whose results differ in kind: for type checkers.

What such a loss returns depends on a flag, so its signature is written once for each
kind of result, with the other keywords by name.
"""

from typing import TypedDict

from jax.typing import DTypeLike

from jaxloss._core.types import Implementation, Input, Number, Reduction
from jaxloss._linear.engine import Backward


class OfHead(TypedDict, total=False):
    """Those of `linear_log_probs`, but for `return_entropy`."""

    bias: Input | None
    logit_softcap: Number | None
    temperature: Number
    ignore_index: int | None
    where: Input | None
    base: float | None
    class_axis: int
    chunk_size: int | None
    max_tokens: int | None
    backward: Backward
    axis_name: str | None
    logits_dtype: DTypeLike | None
    implementation: Implementation | None


class OfCrossEntropy(OfHead, total=False):
    """Those of `linear_softmax_cross_entropy`, but for `return_predictions`."""

    label_smoothing: Number
    z_loss: Number
    class_weights: Input | None
    weights: Input | None
    reduction: Reduction
    class_chunk_size: int | None
