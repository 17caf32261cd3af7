"""Dynamic time warping, softly: sequences compared over all their alignments."""

import jax
import jax.numpy as jnp

from jaxloss._core import padding, rows
from jaxloss._core.lists import spread
from jaxloss._core.mesh import beside
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check, computing


@public
def soft_dtw(
    predictions: Input,
    targets: Input,
    *,
    gamma: Number = 1.0,
    divergence: bool = False,
    prediction_lengths: Input | None = None,
    target_lengths: Input | None = None,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Soft dynamic time warping of two sequences of vectors.

    .. math::
        \ell = R_{mn}, \qquad
        R_{ij} = \lVert x_i - y_j \rVert^2 + {\min}^\gamma
            (R_{i-1,j}, R_{i,j-1}, R_{i-1,j-1}), \qquad
        {\min}^\gamma(r) = -\gamma \log \sum_k e^{-r_k / \gamma}

    the smooth minimum over all alignments of their costs. With `divergence` it is

    .. math::
        \ell(x, y) - \tfrac12 \ell(x, x) - \tfrac12 \ell(y, y)

    which is at least 0, and 0 for equal sequences.

    Args:
      predictions: :math:`x`, floating, shape `[..., steps, features]`.
      targets: :math:`y`, real, shape `[..., other steps, features]`.
      gamma: the smoothing :math:`\gamma` above 0, in the squared unit of the features:
        a number, or an array that fits the losses.
      divergence: subtract what each sequence costs against itself. Static.
      prediction_lengths: the number of steps of each prediction, integer, at least 1,
        of the losses' shape; all if left out.
      target_lengths: the number of steps of each target, likewise.
      where: mask of the losses' shape (pairs of sequences kept). Axes may be 1.
      weights: weight of each pair, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the pairs kept).

    Returns:
      The losses, in the squared unit of the features, float32 (float64 for float64
      inputs): the shape of `predictions` without its last two axes, or a scalar when
      reduced. Without `divergence` they may be negative, by gamma times the logarithm
      of the number of alignments at most.

    Numerics:
      Distances are sums of squares of differences, not products of matrices. A minimum
      is the smallest term minus what the others add to it. The table is filled diagonal
      by diagonal. What is behind the lengths may hold anything; lengths out of range
      give NaN.

    Gradient:
      :math:`\partial \ell / \partial x_i = 2 \sum_j E_{ij} (x_i - y_j)` with
      :math:`E_{ij}` the share of the alignments, weighted by :math:`e^{-\text{cost} /
      \gamma}`, that pair the two steps.

    Raises:
      TypeError: `predictions` not floating, `targets` not real, lengths not integer, a
        traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> x, y = jnp.array([[0.0], [1.0], [2.0]]), jnp.array([[0.0], [2.0]])
      >>> print(f"{jaxloss.soft_dtw(x, y, gamma=0.1):.4f}")
      0.9307

    References:
      Cuturi and Blondel, *Soft-DTW*, arXiv:1703.01541; Blondel, Mensch, Vert,
      *Differentiable Divergences Between Time Series*, arXiv:2010.08354.

    Elsewhere: `tslearn.metrics.soft_dtw`, `ott.tools.soft_dtw`; not in optax, torch or
    keras.
    """
    check = Check("soft_dtw")
    check.reduction(reduction)
    check.choice("divergence", divergence, (False, True))
    x = check.floating("predictions", predictions)
    y = check.real("targets", targets)
    if x.ndim < 2 or not x.shape[-2]:
        raise check.value_error(
            "predictions",
            "of shape [..., steps, features] with at least one step",
            f"of shape {x.shape}",
            "A sequence of numbers has one feature: x[..., None].",
        )
    if (
        y.ndim != x.ndim
        or not y.shape[-2]
        or ((*x.shape[:-2], x.shape[-1]) != (*y.shape[:-2], y.shape[-1]))
    ):
        raise check.value_error(
            "targets",
            f"of the shape of `predictions`, {x.shape}, but for the number of steps",
            f"of shape {y.shape}",
            "Shapes are never broadcast against each other.",
        )
    x, y = computing(x, y)
    lead = x.shape[:-2]
    like = jax.ShapeDtypeStruct(lead, x.dtype)
    gamma_ = check.parameter("gamma", gamma, like, low=0, open_low=True)
    keep, _ = check.where(where, loss=lead)
    m, x = _length(check, "prediction_lengths", prediction_lengths, x, keep)
    n, y = _length(check, "target_lengths", target_lengths, y, keep)
    if keep is not None and gamma_.ndim:
        gamma_ = jnp.where(keep, gamma_, 1)
    loss = _soft_dtw(x, y, m, n, gamma_)
    if divergence:
        own = _soft_dtw(x, x, m, m, gamma_) + _soft_dtw(y, y, n, n, gamma_)
        loss = loss - own / 2
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


def _length(
    check: Check, name: str, given: Input | None, x: Array, keep: Array | None
) -> tuple[Array | None, Array]:
    """The lengths, and the sequences with zeros behind them; NaN for a bad length."""
    steps, lead = x.shape[-2], x.shape[:-2]
    there = None if keep is None else keep[..., None, None]
    if given is None:
        return None, x if there is None else jnp.where(there, x, 0)
    length, valid = padding.lengths(check, name, given, lead, steps, least=1)
    index = jax.lax.broadcasted_iota(jnp.int32, (*lead, steps, 1), len(lead))
    inside = index < length[..., None, None]
    x = jnp.where(inside if there is None else there & inside, x, 0)
    if keep is not None:
        valid = valid | ~keep
    # A product, so that the gradient is NaN too.
    return length, x * jnp.where(valid, 1, jnp.nan).astype(x.dtype)[..., None, None]


def _soft_dtw(
    x: Array, y: Array, m: Array | None, n: Array | None, gamma: Array
) -> Array:
    """R at (m, n), from the diagonals i + j of the table, each an array over i."""
    rows_, columns, lead = x.shape[-2], y.shape[-2], x.shape[:-2]
    costs = jnp.sum(jnp.square(x[..., :, None, :] - y[..., None, :, :]), axis=-1)
    shape = (rows_ + columns - 1, rows_)
    d, i = (jax.lax.broadcasted_iota(jnp.int32, shape, axis) for axis in range(2))
    j = d - i
    there = (j >= 0) & (j < columns)
    diagonals = jnp.moveaxis(costs[..., i, jnp.clip(j, 0, columns - 1)], -2, 0)
    last = jnp.full(lead, rows_, jnp.int32) if m is None else m
    ends = last + (jnp.full(lead, columns, jnp.int32) if n is None else n) - 2

    def onwards(r: Array) -> Array:
        first = jnp.full_like(r[..., :1], jnp.inf)
        return jnp.concatenate([first, r[..., :-1]], axis=-1)

    def step(carry, diagonal):
        before, two_before, result = carry
        cost, there, d = diagonal
        there = jnp.broadcast_to(there, cost.shape)
        ways = jnp.stack([before, onwards(before), onwards(two_before)], axis=-1)
        # The first cell has no way to it.
        origin = (d == 0) & (jnp.arange(rows_) == 0)
        origin = jnp.broadcast_to(origin, cost.shape)
        some = there & ~origin
        # Relative to the smallest, of which large costs leave nothing else: a constant
        # to differentiation, for it cancels.
        ways = jnp.where(some[..., None], ways, 0)
        least = jnp.min(jax.lax.stop_gradient(ways), axis=-1)
        least = jnp.where(jnp.isfinite(least), least, 0)
        # What there is no way from counts for nothing, whatever gamma.
        absent = ways == jnp.inf
        behind = jnp.where(absent, 0, least[..., None] - ways) / spread(gamma, 2)
        others = rows.log_sum_exp(jnp.where(absent, -jnp.inf, behind), -1)
        shortest = least - spread(gamma, 1) * jnp.squeeze(others, -1)
        shortest = jnp.where(some, shortest, 0)
        after = jnp.where(there, cost + shortest, jnp.inf)
        value = jnp.take_along_axis(after, last[..., None] - 1, axis=-1)[..., 0]
        result = jnp.where(d == ends, value, result)
        return (after, before, result), None

    nothing = jnp.full((*lead, rows_), jnp.inf, costs.dtype)
    start = (nothing, nothing, jnp.zeros(lead, costs.dtype))
    start = beside(start, costs, ends, gamma)
    index = jnp.arange(shape[0], dtype=jnp.int32)
    (_, _, result), _ = jax.lax.scan(step, start, (diagonals, there, index))
    return result
