"""Losses of the patches of an image that were hidden from the model."""

import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.public import public
from jaxloss._core.reduce import divided, reduce
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def masked_patch_loss(
    predictions: Input,
    targets: Input,
    *,
    normalize: bool = False,
    epsilon: Number = 1e-6,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Masked autoencoder loss: the mean squared error of each patch.

    .. math::
        \ell = \frac{1}{D} \sum_{i=1}^D (\hat x_i - t_i)^2, \qquad t_i = x_i
        \quad\text{or}\quad t_i = \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}}

    with the mean and the unbiased variance of the patch.

    Args:
      predictions: :math:`\hat x`, floating, shape `[..., patches, dim]` (the pixels
        along `axis`).
      targets: the pixels :math:`x`, real, the same shape.
      normalize: whether each patch's pixels are normalised by their own mean and
        variance (the second :math:`t`). Static.
      epsilon: :math:`\epsilon`, at least 0.
      axis: the axis of the pixels; several, or None for all. Static.
      where: mask of the losses' shape, `[..., patches]`: the patches that were hidden,
        of which the loss is; or of the shape of `predictions` (pixels kept). Axes may
        be 1.
      weights: weight of each patch, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the hidden patches).

    Returns:
      The losses, float32 (float64 for float64 inputs): the shape of `predictions`
      without `axis`, or a scalar when reduced.

    Numerics:
      Mean and variance are taken of differences, so that an offset of the pixels
      cancels exactly; a patch of one colour is normalised to zeros.

    Gradient:
      :math:`\partial \ell / \partial \hat x_i = 2 (\hat x_i - t_i) / D`.

    Raises:
      TypeError: `predictions` not floating, `targets` not real, a traced static option.
      ValueError: shapes that differ, an option out of its range (NaN, if an array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions = jnp.zeros((3, 4))
      >>> pixels = jnp.arange(12.0).reshape(3, 4)
      >>> hidden = jnp.array([True, False, True])
      >>> print(jaxloss.masked_patch_loss(predictions, pixels, where=hidden))
      [ 3.5  0.  91.5]
      >>> print(jaxloss.masked_patch_loss(predictions, pixels, normalize=True))
      [0.75 0.75 0.75]

    References:
      He et al., *Masked Autoencoders Are Scalable Vision Learners*, arXiv:2111.06377.

    Elsewhere: `forward_loss` of the authors' code, whose `norm_pix_loss` is
    `normalize`.
    """
    check = Check("masked_patch_loss")
    check.reduction(reduction)
    check.static(normalize=normalize)
    x = inputs.rows(check, axis, where, predictions=predictions, targets=targets)
    there = jnp.ones_like(x.predictions) if x.entries is None else x.entries
    there = there.astype(x.predictions.dtype)
    if x.entries is not None:
        x = x.drop(jnp.any(x.entries, axis=x.axis))
    pixels = x.require_targets()

    def total(values: Array) -> Array:
        return jnp.sum(values * there, axis=x.axis, keepdims=True)

    count = total(there)
    if normalize:
        # The first mean is rounded in the unit of an offset, the second in that of the
        # differences, which are exact.
        for _ in range(2):
            pixels = (pixels - divided(total(pixels), count)) * there
        variance = divided(total(jnp.square(pixels)), jnp.maximum(count - 1, 0))
        square = variance + x.spread(check.parameter("epsilon", epsilon, x.like, low=0))
        flat = square == 0
        pixels = jnp.where(flat, 0, pixels / jnp.sqrt(jnp.where(flat, 1, square)))
    loss = divided(total(jnp.square(x.predictions - pixels)), count)
    loss = jnp.squeeze(loss, x.axis)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)
