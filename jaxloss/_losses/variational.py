"""Variational and vector-quantised autoencoders: the terms beside reconstruction."""

import jax
import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.exponential import exp_excess
from jaxloss._core.numerics import in_base
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Reduction
from jaxloss._core.validate import Check


@public
def vae_kl_divergence(
    mean: Input,
    log_variance: Input,
    *,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Divergence of a diagonal Gaussian from the standard normal distribution.

    .. math::
        \ell = \tfrac12 \sum_j \left(\mu_j^2 + e^{s_j} - 1 - s_j\right), \qquad
        s_j = \log \sigma_j^2

    The regulariser of a variational autoencoder: multiply it by :math:`\beta` for a
    :math:`\beta`-VAE, and add the reconstruction's negative log-likelihood.

    Args:
      mean: :math:`\mu`, floating, any shape.
      log_variance: :math:`s`, the same shape.
      axis: the axis, or axes, of the latent variables of one example.
      where: mask of the examples kept, the shape of `mean` without `axis`, or of the
        variables kept, the shape of `mean`. Axes may be 1.
      weights: weight of each example.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The divergences in nats (or of `base`), at least 0, float32 (float64 for float64
      inputs): the shape of `mean` without `axis`, or a scalar when reduced.

    Numerics:
      Accurate in relative terms near the prior, where :math:`e^s - 1 - s` would cancel,
      and never negative.

    Gradient:
      :math:`\partial \ell / \partial \mu_j = \mu_j` and
      :math:`\partial \ell / \partial s_j = \tfrac12 (e^{s_j} - 1)`.

    Raises:
      TypeError: an array not floating.
      ValueError: shapes that differ, an axis out of range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> mean, log_variance = jnp.array([[0.0, 1.0]]), jnp.array([[0.0, -1.0]])
      >>> print(jaxloss.vae_kl_divergence(mean, log_variance).round(4))
      [0.6839]

    References:
      Kingma, Welling, *Auto-Encoding Variational Bayes*, arXiv:1312.6114, appendix B;
      Higgins et al., *beta-VAE*, ICLR 2017.

    Elsewhere: `-0.5 * sum(1 + s - mu**2 - exp(s))` in most examples;
    `torch.distributions.kl_divergence` of two `Normal`.
    """
    check = Check("vae_kl_divergence")
    check.reduction(reduction)
    check.base(base)
    check.floating("log_variance", log_variance)
    x = inputs.rows(
        *(check, axis, where, 0.0, 0.0), mean=mean, log_variance=log_variance
    )
    terms = jnp.square(x.predictions) + exp_excess(x.require_targets())
    loss = in_base(0.5 * jnp.sum(terms, axis=x.axis), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def vq_commitment_loss(
    encoded: Input,
    codes: Input,
    *,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Commitment of an encoder to the codes that its outputs were rounded to.

    .. math::
        \ell = \|z - \operatorname{sg}(e)\|^2

    The loss of a VQ-VAE is the reconstruction's, plus `vq_codebook_loss` (unless the
    codes follow moving averages), plus :math:`\beta` times this, with :math:`\beta =
    0.25` usual. The decoder takes `encoded + stop_gradient(codes - encoded)`.

    Args:
      encoded: :math:`z`, the encoder's outputs, floating, any shape.
      codes: :math:`e`, the codes nearest to them, the same shape.
      axis: the axis, or axes, of one code.
      where: mask of the codes kept, the shape of `encoded` without `axis`, or of the
        entries kept, the shape of `encoded`. Axes may be 1.
      weights: weight of each code.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the codes kept).

    Returns:
      The losses, float32 (float64 for float64 inputs): the shape of `encoded` without
      `axis`, or a scalar when reduced.

    Numerics:
      The square of the difference, rounded once.

    Gradient:
      :math:`\partial \ell / \partial z = 2 (z - e)`. None reaches the codes, by its
      definition.

    Raises:
      TypeError: `encoded` not floating, or `codes` not real.
      ValueError: shapes that differ, an axis out of range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> encoded, codes = jnp.array([[1.0, 2.0]]), jnp.array([[0.5, 2.0]])
      >>> print(jaxloss.vq_commitment_loss(encoded, codes))
      [0.25]

    References:
      van den Oord, Vinyals, Kavukcuoglu, *Neural Discrete Representation Learning*,
      arXiv:1711.00937, equation 3.

    Elsewhere: the third term of most implementations, often the mean over `axis`.
    """
    return _distance(
        *("vq_commitment_loss", encoded, codes, axis, where, weights, reduction)
    )


@public
def vq_codebook_loss(
    codes: Input,
    encoded: Input,
    *,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Distance of a codebook's codes from the outputs that were rounded to them.

    .. math::
        \ell = \|e - \operatorname{sg}(z)\|^2

    Args:
      codes: :math:`e`, the codes nearest to the encoder's outputs, floating, any shape.
      encoded: :math:`z`, the encoder's outputs, the same shape.
      axis: the axis, or axes, of one code.
      where: mask of the codes kept, the shape of `codes` without `axis`, or of the
        entries kept, the shape of `codes`. Axes may be 1.
      weights: weight of each code.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the codes kept).

    Returns:
      The losses, float32 (float64 for float64 inputs): the shape of `codes` without
      `axis`, or a scalar when reduced.

    Numerics:
      The square of the difference, rounded once.

    Gradient:
      :math:`\partial \ell / \partial e = 2 (e - z)`. None reaches the encoder, by its
      definition.

    Raises:
      TypeError: `codes` not floating, or `encoded` not real.
      ValueError: shapes that differ, an axis out of range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> encoded, codes = jnp.array([[1.0, 2.0]]), jnp.array([[0.5, 2.0]])
      >>> print(jaxloss.vq_codebook_loss(codes, encoded))
      [0.25]

    References:
      van den Oord, Vinyals, Kavukcuoglu, *Neural Discrete Representation Learning*,
      arXiv:1711.00937, equation 3.

    Elsewhere: the second term of most implementations, often the mean over `axis`.
    """
    return _distance(
        *("vq_codebook_loss", codes, encoded, axis, where, weights, reduction)
    )


def _distance(
    function: str,
    moving: Input,
    fixed: Input,
    axis: Axis,
    where: Input | None,
    weights: Input | None,
    reduction: Reduction,
) -> Array:
    check = Check(function)
    check.reduction(reduction)
    names = ("encoded", "codes")
    if function == "vq_codebook_loss":
        names = names[::-1]
    arrays = dict(zip(names, (moving, fixed), strict=True))
    x = inputs.rows(check, axis, where, 0.0, 0.0, **arrays)
    error = x.predictions - jax.lax.stop_gradient(x.require_targets())
    loss = jnp.sum(jnp.square(error), axis=x.axis)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)
