"""Losses of optimal transport between two samples."""

import jax
import jax.numpy as jnp

from jaxloss._core import inputs, norms, rows, samples
from jaxloss._core.public import public
from jaxloss._core.reduce import divided, reduce
from jaxloss._core.residual import magnitude
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def wasserstein_1d(
    predictions: Input,
    targets: Input,
    *,
    power: Number = 1.0,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Wasserstein distance of two samples of numbers, to its power.

    .. math::
        \ell = W_p^p = \frac1n \sum_i \bigl| x_{(i)} - y_{(i)} \bigr|^p

    Args:
      predictions: samples :math:`x`, floating, shape `[..., samples]` (the samples
        along `axis`).
      targets: samples :math:`y`, real, the shape of `predictions`; their order does not
        matter.
      power: :math:`p`, at least 1: a number, or an array that fits the losses. For the
        distance itself, take the root of the loss.
      axis: the axis of the samples; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `predictions`
        (samples kept, of predictions and targets alike). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).

    Returns:
      The losses, in the unit of the samples to the power, float32 (float64 for float64
      inputs): the shape of `predictions` without `axis`, or a scalar when reduced.

    Numerics:
      Two sorts and one mean; each difference is rounded once. The power itself, not its
      root, so that equal samples have a gradient: 0.

    Gradient:
      :math:`\partial \ell / \partial x_{(i)} = \tfrac{p}{n} \operatorname{sign}(d_i)\,
      |d_i|^{p-1}` for :math:`d_i = x_{(i)} - y_{(i)}`, 0 at :math:`d_i = 0`.

    Raises:
      TypeError: `predictions` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an unknown reduction or base.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([3.0, 0.0, 1.0]), jnp.array([5.0, 6.0, 8.0])
      >>> print(f"{jaxloss.wasserstein_1d(predictions, targets):.4f}")
      5.0000

    References:
      Villani, *Topics in Optimal Transportation*, 2003, 2.2.

    Elsewhere: `scipy.stats.wasserstein_distance` for the power 1, `ott.tools.soft_sort`
    and `ot.wasserstein_1d` of POT.
    """
    check = Check("wasserstein_1d")
    check.reduction(reduction)
    x = inputs.rows(
        check, axis, where, jnp.inf, jnp.inf, predictions=predictions, targets=targets
    )
    p = check.parameter("power", power, x.like, low=1)
    if x.keep is not None and p.ndim:
        p = jnp.where(x.keep, p, 1)
    count = jnp.asarray(x.classes, x.predictions.dtype)
    if x.entries is not None:
        count = jnp.sum(x.entries.astype(x.predictions.dtype), x.axis, keepdims=True)
    costs = _sorted_costs(
        x.predictions, x.require_targets(), count, x.spread(p), x.axis
    )
    loss = jnp.squeeze(
        divided(jnp.sum(costs, axis=x.axis, keepdims=True), count), x.axis
    )
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@public
def sliced_wasserstein(
    predictions: Input,
    targets: Input,
    *,
    key: Array,
    projections: int = 64,
    power: Number = 2.0,
    where: Input | None = None,
) -> Array:
    r"""Sliced Wasserstein distance of two clouds of points, to its power.

    .. math::
        \ell = \frac1L \sum_l \frac1n \sum_i
        \bigl| (\theta_l^\top x)_{(i)} - (\theta_l^\top y)_{(i)} \bigr|^p

    Args:
      predictions: samples :math:`x`, one a row, floating, shape `[n, features]`. For
        several pairs of samples use `jax.vmap`.
      targets: samples :math:`y`, real, the shape of `predictions`.
      key: a key of `jax.random` for the directions :math:`\theta_l`, which are uniform
        on the sphere and the same for every dtype; a new key each step makes the loss
        unbiased for the mean over all directions.
      projections: :math:`L`, the number of directions, at least 1. Static.
      power: :math:`p`, at least 1, a number or a scalar array.
      where: mask of the samples kept, of predictions and targets alike, shape `[n]`.

    Returns:
      The loss, a scalar, float32 (float64 for float64 inputs); 0 where nothing is kept.

    Numerics:
      The mean of the predictions is taken from both before they are projected, so an
      offset costs no digits. Memory `[n, projections]`.

    Gradient:
      The mean over the directions of :math:`\tfrac{p}{n} \operatorname{sign}(d)\,
      |d|^{p-1}\, \theta_l` at the places of the sorted projections, :math:`d` their
      differences.

    Raises:
      TypeError: `predictions` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> import jax
      >>> predictions, targets = jnp.zeros((4, 3)), jnp.ones((4, 3))
      >>> loss = jaxloss.sliced_wasserstein(predictions, targets, key=jax.random.key(0))
      >>> print(f"{loss:.1f}")
      0.9

    References:
      Bonneel et al., *Sliced and Radon Wasserstein Barycenters of Measures*, J. Math.
      Imaging Vis. 51, 2015.

    Elsewhere: `ot.sliced_wasserstein_distance` of POT, which takes the root.
    """
    check = Check("sliced_wasserstein")
    check.static(projections=projections)
    if not isinstance(projections, int) or projections < 1:
        raise check.value_error(
            "projections",
            "a number of directions, at least 1",
            repr(projections),
            "Take some tens.",
        )
    cloud = samples.pair(check, predictions, targets, where=where, target_where=where)
    x, y = cloud.x, cloud.y
    if x.shape != y.shape:
        check.same_shape(predictions=x, targets=y)
    p = check.parameter("power", power, jax.ShapeDtypeStruct((), x.dtype), low=1)
    theta = jax.random.normal(key, (x.shape[1], projections), jnp.float32).astype(
        x.dtype
    )
    theta = norms.unit(theta, axis=0)
    # What both have in common does not matter: better that it is not rounded.
    centre = jax.lax.stop_gradient(cloud.a @ x)
    x, y = (
        jnp.matmul(z - centre[None, :], theta, precision=jax.lax.Precision.HIGHEST)
        for z in (x, y)
    )
    count = jnp.asarray(x.shape[0], x.dtype)
    if cloud.kept_x is not None:
        count = jnp.sum(cloud.kept_x.astype(x.dtype))
        kept = cloud.kept_x[:, None]
        x, y = jnp.where(kept, x, jnp.inf), jnp.where(kept, y, jnp.inf)
    costs = _sorted_costs(x, y, count, p, 0)
    return divided(jnp.sum(costs), count * projections)


@public
def sinkhorn_divergence(
    predictions: Input,
    targets: Input,
    *,
    epsilon: Number = 0.1,
    iterations: int = 100,
    power: int = 2,
    where: Input | None = None,
    target_where: Input | None = None,
    weights: Input | None = None,
    target_weights: Input | None = None,
) -> Array:
    r"""Debiased entropic optimal transport between two clouds of points.

    .. math::
        \ell = \mathrm{OT}_\varepsilon(x, y) - \tfrac12 \mathrm{OT}_\varepsilon(x, x)
        - \tfrac12 \mathrm{OT}_\varepsilon(y, y), \qquad
        \mathrm{OT}_\varepsilon = \min_{P} \langle P, C \rangle
        + \varepsilon \operatorname{KL}(P \,\|\, a b^\top)

    Args:
      predictions: samples :math:`x`, one a row, floating, shape `[n, features]`. For
        several pairs of samples use `jax.vmap`.
      targets: samples :math:`y`, real, shape `[m, features]`.
      epsilon: :math:`\varepsilon`, the entropic regularisation in the unit of the
        costs, above 0: a number or a scalar array. Small ones need more iterations.
      iterations: number of steps, at least 0. Static.
      power: 2 for the costs :math:`C_{ij} = \tfrac12 |x_i - y_j|^2`, 1 for :math:`|x_i
        - y_j|`. Static.
      where: mask of the predictions kept, shape `[n]`.
      target_where: mask of the targets kept, shape `[m]`.
      weights: weight of each prediction, at least 0, shape `[n]`; they are divided by
        their sum.
      target_weights: likewise of each target, shape `[m]`.

    Returns:
      The loss, a scalar, float32 (float64 for float64 inputs); 0 where no predictions
      or no targets are kept.

    Numerics:
      Symmetric steps in the log domain, :math:`f \leftarrow \tfrac12 (f + T g)`, with
      one full step :math:`f = T g` at the end, where :math:`(T g)_i = -\varepsilon \log
      \sum_j b_j e^{(g_j - C_{ij}) / \varepsilon}`; the loss is :math:`\langle a, f - p
      \rangle + \langle b, g - q \rangle` with the potentials :math:`p, q` of the two
      self-terms. Equal clouds give exactly 0. The costs are of differences, so an
      offset costs no digits. The number of steps is fixed, and nothing tests for
      convergence.

    Gradient:
      That of these steps, through the scan, each of which is computed again: exact for
      any number of them, to every order, with memory :math:`O(n m)` beside the
      potentials of each step. Once converged it is, by the envelope theorem,
      :math:`\sum_j P_{ij} \nabla C_{ij}` less the same of the self-term.

    Raises:
      TypeError: `predictions` not floating, `targets` not real, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([[0.0], [1.0]]), jnp.array([[3.0], [4.0]])
      >>> print(f"{jaxloss.sinkhorn_divergence(predictions, targets):.2f}")
      4.50

    References:
      Cuturi, *Sinkhorn Distances*, arXiv:1306.0895; Feydy et al., *Interpolating
      between Optimal Transport and MMD using Sinkhorn Divergences*, arXiv:1810.08278.

    Elsewhere: `geomloss.SamplesLoss("sinkhorn", blur=epsilon**(1/p))`,
    `ott.tools.sinkhorn_divergence`, whose costs have no factor :math:`\tfrac12`.
    """
    check = Check("sinkhorn_divergence")
    check.choice("power", power, (1, 2))
    check.static(iterations=iterations)
    if not isinstance(iterations, int) or iterations < 0:
        raise check.value_error(
            "iterations",
            "a number of steps, at least 0",
            repr(iterations),
            "100 is the default.",
        )
    cloud = samples.pair(
        check,
        predictions,
        targets,
        where=where,
        target_where=target_where,
        weights=weights,
        target_weights=target_weights,
    )
    epsilon_ = check.parameter(
        "epsilon",
        epsilon,
        jax.ShapeDtypeStruct((), cloud.x.dtype),
        low=0,
        open_low=True,
    )
    cost = (
        samples.distances
        if power == 1
        else lambda x, y: samples.squared_distances(x, y) / 2
    )
    across = cost(cloud.x, cloud.y)
    log_a, log_b = _log(cloud.a), _log(cloud.b)
    f, g = _potentials(across, log_a, log_b, epsilon_, iterations)
    p, _ = _potentials(cost(cloud.x, cloud.x), log_a, log_a, epsilon_, iterations)
    q, _ = _potentials(cost(cloud.y, cloud.y), log_b, log_b, epsilon_, iterations)
    loss = jnp.sum(cloud.a * (f - p)) + jnp.sum(cloud.b * (g - q))
    return jnp.where(cloud.exists, loss, 0)


def _sorted_costs(x: Array, y: Array, count: Array, p: Array, axis: int) -> Array:
    """|x - y|^p of the sorted samples; only the first `count` are there."""
    error = jnp.sort(x, axis=axis) - jnp.sort(y, axis=axis)
    place = jax.lax.broadcasted_iota(x.dtype, x.shape, axis)
    # What is removed stands at the end, as inf; a NaN stands there too, and is loud.
    lost = (jnp.isnan(x) | jnp.isnan(y)).any(axis=axis, keepdims=True)
    there = (place < count) | lost
    error = jnp.where(there, error * jnp.where(lost, jnp.nan, 1), 0)
    return magnitude(error) ** p


def _log(mass: Array) -> Array:
    """The logarithm of masses; their derivative is that of the masses that are."""
    none = mass == 0
    return jnp.where(none, -jnp.inf, jnp.log(jnp.where(none, 1, mass)))


def _potentials(
    cost: Array, log_a: Array, log_b: Array, epsilon: Array, iterations: int
) -> tuple[Array, Array]:
    """The dual potentials after some symmetric steps and a full one."""

    def soft_minimum(g, log_mass, axis):
        # -ε log Σ_j b_j e^{(g_j - C_ij) / ε}.
        shape = (1, -1) if axis == 1 else (-1, 1)
        terms = (g.reshape(shape) - cost) / epsilon + log_mass.reshape(shape)
        return -epsilon * jnp.squeeze(rows.log_sum_exp(terms, axis), axis)

    def full(f, g):
        return soft_minimum(g, log_b, 1), soft_minimum(f, log_a, 0)

    @jax.checkpoint
    def step(potentials, _):
        f, g = potentials
        new_f, new_g = full(f, g)
        return ((f + new_f) / 2, (g + new_g) / 2), None

    start = full(jnp.zeros_like(log_a), jnp.zeros_like(log_b))
    (f, g), _ = jax.lax.scan(step, start, None, length=iterations)
    return full(f, g)
