"""jaxloss: loss functions for JAX, exact, under every transformation."""

from importlib.metadata import PackageNotFoundError, version

# Softmax cross entropy
from jaxloss._losses.softmax import (
    poly_loss_cross_entropy as poly_loss_cross_entropy,
    safe_softmax_cross_entropy as safe_softmax_cross_entropy,
    softmax_cross_entropy as softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels as softmax_cross_entropy_with_integer_labels,
)

try:
    __version__ = version("jaxloss")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0+unknown"
