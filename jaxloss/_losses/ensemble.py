"""Proper scores of forecasts that are ensembles: samples of what may happen."""

import jax
import jax.numpy as jnp

from jaxloss._core import inputs, norms
from jaxloss._core.numerics import step
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check, computing, is_off


@public
def crps_ensemble(
    ensemble: Input,
    targets: Input,
    *,
    fairness: Number = 0.0,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Continuous ranked probability score of an ensemble.

    .. math::
        \ell = \frac1m \sum_i |x_i - y|
             - \frac12 \Bigl( \frac{1 - f}{m^2} + \frac{f}{m (m - 1)} \Bigr)
               \sum_{i,j} |x_i - x_j|

    With fairness :math:`f = 0` it is the score of the empirical law of the members.
    With 1 it is fair: an unbiased estimate of the score of the law that the members are
    drawn from, which makes it proper for that law however few they are.

    Args:
      ensemble: :math:`x`, floating, shape `[..., members]` (the members along `axis`).
      targets: :math:`y`, real, the shape of `ensemble` without `axis`.
      fairness: :math:`f`, in [0, 1]: a number, or an array that fits the losses. The
        almost fair score of few members takes a number just below 1.
      axis: the axis of the members; several, or None for all. Static.
      where: mask of the losses' shape (ensembles kept) or of the shape of `ensemble`
        (members kept, which are counted). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The scores, in the unit of the targets, float32 (float64 for float64 inputs): the
      shape of `targets`, or a scalar when reduced.

    Numerics:
      By sorting, in :math:`m \log m`: with :math:`r_i` the rank of a member (that of
      equal members is their mean), the score is
      :math:`\frac2m \sum_i (x_i - y) ([x_i > y] - (r_i - \tfrac12) / m)`, a sum of
      non-negative terms. An ensemble without members gives 0, and is not counted; a
      fair score of one member does not exist: NaN.

    Gradient:
      :math:`\partial \ell / \partial x_i =
      \frac2m \bigl([x_i > y] - (r_i - \tfrac12) / m\bigr)`, with 1/2 for the bracket
      at :math:`x_i = y`; for the fair score :math:`(r_i - 1) / (m - 1)` stands in the
      place of the fraction.

    Raises:
      TypeError: `ensemble` not floating, `targets` not real, a traced axis.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> ensemble, targets = jnp.array([[1.0, 2.0, 4.0]]), jnp.array([2.5])
      >>> print(jaxloss.crps_ensemble(ensemble, targets).round(4))
      [0.5]
      >>> print(jaxloss.crps_ensemble(ensemble, targets, fairness=1.0).round(4))
      [0.1667]

    References:
      Gneiting and Raftery, JASA 102, 2007; Ferro, *Fair scores for ensemble forecasts*,
      Q. J. R. Meteorol. Soc. 140, 2014; Lang et al., *AIFS-CRPS*, arXiv:2412.15832.

    Elsewhere: `properscoring.crps_ensemble`, `scoringRules::crps_sample`.
    """
    check = Check("crps_ensemble")
    check.reduction(reduction)
    x = inputs.rows(check, axis, where, ensemble=ensemble)
    target = check.real("targets", targets)
    check.shape("targets", target, x.shape)
    members, target = computing(x.predictions, target)
    keep, entries = x.keep, x.entries
    if keep is not None:
        target = jnp.where(keep, target, 0)
    fairness_ = check.parameter("fairness", fairness, target, low=0, high=1)
    if keep is not None and fairness_.ndim:
        fairness_ = jnp.where(keep, fairness_, 0)
    error = members - jnp.expand_dims(target, x.axis)
    if entries is None:
        rank = _mean_ranks(error, x.axis)
        count = jnp.asarray(float(x.classes), error.dtype)
    else:
        # Members that are not there come last.
        rank = _mean_ranks(jnp.where(entries, error, jnp.inf), x.axis)
        error = jnp.where(entries, error, 0)
        count = jnp.sum(entries.astype(error.dtype), axis=x.axis, keepdims=True)
        keep = inputs.both(keep, jnp.squeeze(count > 0, x.axis))
    # The numerators are exact.
    above = step(jax.lax.stop_gradient(error))
    some = jnp.maximum(count, 1)
    share = (above * some - (rank - 0.5)) / some
    if not is_off(fairness, 0):
        spread = x.spread(fairness_)
        fair = (above * (count - 1) - (rank - 1)) / (count - 1)
        share = jnp.where(spread == 0, share, (1 - spread) * share + spread * fair)
    terms = error * share
    if entries is not None:
        terms = jnp.where(entries, terms, 0)
    loss = jnp.squeeze(2 / some * jnp.sum(terms, axis=x.axis, keepdims=True), x.axis)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def energy_score(
    ensemble: Input,
    targets: Input,
    *,
    beta: Number = 1.0,
    fairness: Number = 0.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Energy score: the ranked probability score of an ensemble of vectors.

    .. math::
        \ell = \frac1m \sum_i \lVert x_i - y \rVert^\beta
             - \frac12 \Bigl( \frac{1 - f}{m^2} + \frac{f}{m (m - 1)} \Bigr)
               \sum_{i,j} \lVert x_i - x_j \rVert^\beta

    Strictly proper for the joint law of the entries. In one dimension and with
    :math:`\beta = 1` it is `crps_ensemble`.

    Args:
      ensemble: :math:`x`, floating, shape `[..., members, entries]`.
      targets: :math:`y`, real, shape `[..., entries]`.
      beta: the power of the distances, in (0, 2): a number, or an array that fits the
        losses.
      fairness: :math:`f`, in [0, 1]: 0 for the score of the empirical law, 1 for an
        unbiased estimate of that of the law behind it. A number, or an array that fits
        the losses.
      where: mask of the losses' shape, the ensembles kept. Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The scores, in the unit of the targets to the power `beta`, float32 (float64 for
      float64 inputs): shape `[...]`, or a scalar when reduced.

    Numerics:
      Distances neither overflow nor vanish, and have derivative 0 where they are 0. All
      pairs of members are formed: memory grows as the square of their number.

    Gradient:
      For :math:`\beta = 1`, with :math:`\hat{v} = v / \lVert v \rVert` and :math:`w`
      the factor of the pairs: :math:`\partial \ell / \partial x_i =
      \widehat{x_i - y} / m - w \sum_j \widehat{x_i - x_j}`.

    Raises:
      TypeError: `ensemble` not floating, or `targets` not real.
      ValueError: shapes that do not fit, an option out of its range, fairness with one
        member.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> ensemble = jnp.array([[0.0, 0.0], [3.0, 4.0]])
      >>> print(jaxloss.energy_score(ensemble, jnp.zeros(2)))
      1.25

    References:
      Gneiting and Raftery, *Strictly Proper Scoring Rules, Prediction, and Estimation*,
      JASA 102, 2007, 4.3.

    Elsewhere: `scoringRules::es_sample`.
    """
    check = Check("energy_score")
    check.reduction(reduction)
    x, y = check.floating("ensemble", ensemble), check.real("targets", targets)
    if x.ndim < 2:
        raise check.value_error(
            "ensemble",
            "of shape [..., members, entries]",
            f"of shape {x.shape}",
            "Numbers, rather than vectors, go to crps_ensemble.",
        )
    *batch, members, _ = x.shape
    check.shape("targets", y, (*batch, x.shape[-1]))
    keep, _ = check.where(where, loss=batch)
    x, y = computing(x, y)
    like = jax.ShapeDtypeStruct(tuple(batch), x.dtype)
    power = check.parameter(
        "beta", beta, like, low=0, high=2, open_low=True, open_high=True
    )
    fair = check.parameter("fairness", fairness, like, low=0, high=1)
    if members == 1 and not is_off(fairness, 0):
        raise check.value_error(
            "fairness",
            "0 for an ensemble of one member",
            repr(fairness),
            "Draw two members at least.",
        )
    if keep is not None:
        x = jnp.where(keep[..., None, None], x, 0)
        y = jnp.where(keep[..., None], y, 0)
        power = jnp.where(keep, power, 1) if power.ndim else power
        fair = jnp.where(keep, fair, 0) if fair.ndim else fair
    far = _distances(x - y[..., None, :], beta, power)
    apart = _distances(x[..., :, None, :] - x[..., None, :, :], beta, power)
    pair = (1 - fair) / members**2
    if members > 1:
        pair = pair + fair / (members * (members - 1))
    loss = jnp.sum(far, axis=-1) / max(members, 1)
    loss = loss - 0.5 * pair * jnp.sum(apart, axis=(-2, -1))
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


def _mean_ranks(x: Array, axis: int) -> Array:
    """The rank of each entry from 1; equal entries share the mean of theirs."""
    x, last = jax.lax.stop_gradient(x), x.shape[axis] - 1
    place = jax.lax.broadcasted_iota(jnp.int32, x.shape, axis % x.ndim)
    ordered, origin = jax.lax.sort((x, place), dimension=axis, num_keys=1)
    changes = jnp.diff(ordered, axis=axis) != 0
    edge = jnp.ones_like(jax.lax.slice_in_dim(place, 0, min(1, last + 1), axis=axis))
    first = jnp.concatenate([edge.astype(bool), changes], axis=axis)
    final = jnp.concatenate([changes, edge.astype(bool)], axis=axis)
    axis %= x.ndim
    low = jax.lax.cummax(jnp.where(first, place, 0), axis)
    high = jax.lax.cummin(jnp.where(final, place, last), axis, reverse=True)
    rank = 1 + 0.5 * (low + high).astype(x.dtype)
    return jax.lax.sort((origin, rank), dimension=axis, num_keys=1)[1]


def _distances(x: Array, beta: Number, power: Array) -> Array:
    """|x|^beta along the last axis; 0, with derivative 0, for the zero vector."""
    length = jnp.squeeze(norms.norm(x, -1), -1)
    if is_off(beta, 1):
        return length
    power = power.reshape(*power.shape, *[1] * (length.ndim - power.ndim))
    zero = length == 0
    return jnp.where(zero, 0, jnp.where(zero, 1, length) ** power)
