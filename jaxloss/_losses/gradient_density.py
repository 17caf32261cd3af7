"""Weights of examples by how many others have a gradient as large as theirs."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core.loudness import loud
from jaxloss._core.public import public
from jaxloss._core.types import Array, Input, Number
from jaxloss._core.validate import Check, computing


class GradientDensity(NamedTuple):
    """Weights of the examples, and what the next step is to be given."""

    weights: Array
    counts: Array


@public
def gradient_density_weights(
    gradient_norms: Input,
    *,
    bins: int = 10,
    counts: Input | None = None,
    momentum: Number = 0.75,
    where: Input | None = None,
    axis_name: str | None = None,
) -> GradientDensity:
    r"""Gradient harmonising: what many examples have in common counts less for each.

    .. math::
        w_i = \frac{N}{M\, R_{b(i)}}, \qquad b(i) = \lfloor B g_i \rfloor

    with :math:`g` the norms of the examples' gradients, :math:`N` how many examples are
    kept, :math:`R_b` how many of them are in bin :math:`b` of :math:`B`, as a moving
    average if one is given, and :math:`M` how many bins are not empty.

    With the norms :math:`|\sigma(x) - y|` the weights make GHM-C of
    `sigmoid_binary_cross_entropy`, with :math:`|d| / \sqrt{d^2 + \mu^2}` GHM-R of
    `charbonnier_loss`.

    Args:
      gradient_norms: :math:`g`, in [0, 1], floating, any shape.
      bins: :math:`B`, at least 1. Static.
      counts: :math:`R`, `[bins]`, as the last step returned it; None for no average. A
        bin of which it has 0 begins with its present count.
      momentum: of the moving average, in [0, 1).
      where: mask of the same shape, the examples kept. Axes may be 1.
      axis_name: inside `jax.shard_map`, the mesh axis over which the examples are
        spread; they are counted over all devices. Static.

    Returns:
      A pair `(weights, counts)`: the weights, float32 (float64 for float64 norms), the
      shape of `gradient_norms`, for `weights=` of a loss, 0 where masked; and the new
      counts, `[bins]`. Without a moving average the weights sum to :math:`N`, so that
      `reduction="mean"` divides by it. A norm that is not in [0, 1] has weight NaN.

    Numerics:
      A norm of 1 is in the last bin; one within a rounding of an edge may be on either
      side of it.

    Gradient:
      0, for the weights change only where a norm passes an edge.

    Raises:
      TypeError: `gradient_norms` not floating, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax, jax.numpy as jnp, jaxloss
      >>> logits, labels = jnp.array([4.0, 5.0, 6.0, -1.0]), jnp.ones(4)
      >>> norms = jnp.abs(jax.nn.sigmoid(logits) - labels)
      >>> weights, counts = jaxloss.gradient_density_weights(norms)
      >>> print(weights.round(4))
      [0.6667 0.6667 0.6667 2.    ]
      >>> loss = jaxloss.sigmoid_binary_cross_entropy(
      ...     logits, labels, weights=weights, reduction="mean")
      >>> print(loss.round(4))
      0.6611

    References:
      Li, Liu, Wang, *Gradient Harmonized Single-stage Detector*, arXiv:1811.05181.

    Elsewhere: `GHMC` and `GHMR` of mmdetection, which hold the counts, beginning with
    zeros that are averaged in.
    """
    check = Check("gradient_density_weights")
    check.count("bins", bins, "10 and 30 are usual.")
    if axis_name is not None:
        check.axis_name(axis_name)
    g = check.floating("gradient_norms", gradient_norms)
    keep, _ = check.where(where, loss=g.shape)
    (g,) = computing(g)
    valid = (g >= 0) & (g <= 1)
    counted = valid if keep is None else valid & keep
    place = (jnp.where(counted, g, 0) * bins).astype(jnp.int32)
    place = jnp.minimum(place, bins - 1)
    everyone = tuple(range(g.ndim))
    held = jax.nn.one_hot(place, bins, dtype=jnp.int32)
    here = jnp.sum(jnp.where(counted[..., None], held, 0), axis=everyone)
    if axis_name is not None:
        here = jax.lax.psum(here, axis_name)
    occupied, here = here > 0, here.astype(g.dtype)
    average = here
    if counts is not None:
        before = jax.lax.stop_gradient(check.real("counts", counts).astype(g.dtype))
        check.shape("counts", before, (bins,))
        m = check.parameter(
            "momentum", momentum, here[0], low=0, high=1, open_high=True
        )
        moved = jnp.where(before == 0, here, m * before + (1 - m) * here)
        average = jnp.where(occupied, moved, before)
    size = jnp.sum(occupied.astype(g.dtype)) * average[place]
    total = jnp.sum(here)
    weights = jnp.where(counted, total / jnp.where(counted, size, 1), jnp.nan)
    # The derivative is 0, but not by what is NaN.
    weights = weights + 0 * loud(g)
    if keep is not None:
        weights = jnp.where(keep, weights, 0)
    return GradientDensity(weights, average)
