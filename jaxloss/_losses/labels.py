"""Labels: what is done to them before a loss sees them."""

import math

import jax
import jax.numpy as jnp

from jaxloss._core.public import public
from jaxloss._core.types import Array, Axis, Input, Number
from jaxloss._core.validate import Check, computing, is_off


@public
def smooth_labels(
    labels: Input,
    alpha: Number,
    *,
    axis: Axis = -1,
    where: Input | None = None,
) -> Array:
    r"""Label smoothing: a share of the mass is spread evenly over the classes.

    .. math::
        t_c = (1 - \alpha)\, y_c + \alpha / C

    Args:
      labels: one-hot or soft labels, real, shape `[..., classes]` (the classes along
        `axis`).
      alpha: the share, in [0, 1]: one number, or one for each row.
      axis: the axis of the classes; several, or None for all. Static.
      where: mask of the shape of `labels` (classes kept: the others are no classes,
        get no mass and stay 0) or of that shape without `axis` (rows kept: the others
        are 0). Axes may be 1.

    Returns:
      The smoothed labels, float32 (float64 for float64 labels), the shape of `labels`.
      :math:`C` counts the classes kept; a row without any is 0.

    Numerics:
      Half-precision labels are smoothed in float32, so that a row still adds up to 1.

    Gradient:
      :math:`\partial t_c / \partial \alpha = 1/C - y_c`.

    Raises:
      TypeError: `labels` not real, a traced static option.
      ValueError: shapes that do not fit, `alpha` out of its range (an array out of its
        range gives NaN).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> labels = jnp.array([[0.0, 1.0, 0.0, 0.0]])
      >>> print(jaxloss.smooth_labels(labels, 0.2))
      [[0.05 0.85 0.05 0.05]]
      >>> print(jaxloss.smooth_labels(labels, 0.2, where=labels[:, ::-1] == 0))
      [[0.06666667 0.8666667  0.         0.06666667]]

    References:
      Szegedy et al., *Rethinking the Inception Architecture*, arXiv:1512.00567; Müller
      et al., *When Does Label Smoothing Help?*, arXiv:1906.02629.

    Elsewhere: `optax.losses.smooth_labels`; `label_smoothing` of
    `torch.nn.functional.cross_entropy` and of `keras.losses.CategoricalCrossentropy`.
    """
    check = Check("smooth_labels")
    y = check.real("labels", labels)
    axes = check.axes(axis, y.ndim, of="labels")
    rows = tuple(size for i, size in enumerate(y.shape) if i not in axes)
    keep, entries = check.where(where, loss=rows, output=y.shape, output_name="labels")
    (y,) = computing(y)
    if keep is not None:
        entries = jnp.broadcast_to(jnp.expand_dims(keep, axes), y.shape)
    if entries is not None:
        y = jnp.where(entries, y, 0)
    like = jax.ShapeDtypeStruct(rows, y.dtype)
    share = check.parameter("alpha", alpha, like, low=0, high=1)
    if is_off(alpha, 0):
        return y
    if share.ndim:
        share = jnp.expand_dims(share, axes)
    if entries is None:
        count = max(math.prod(y.shape[i] for i in axes), 1)
        return _scaled(y, 1 - share) + share / count
    count = jnp.sum(entries, axis=axes, keepdims=True).astype(y.dtype)
    uniform = jnp.where(entries, share / jnp.maximum(count, 1), 0)
    return _scaled(y, 1 - share) + uniform


@jax.custom_jvp
def _scaled(y: Array, factor: Array) -> Array:
    """y · factor, whose derivative by y is NaN where y is."""
    return y * factor


@_scaled.defjvp
def _(primals, tangents):
    # A selection in the value would not be fused into a sum on CPU.
    (y, factor), (dy, dfactor) = primals, tangents
    slope = jnp.where(jnp.isnan(y), y, factor)
    return _scaled(y, factor), slope * dy + y * dfactor
