"""Kullback-Leibler divergences of predictions from targets."""

import math
import warnings

import jax.numpy as jnp

from jaxloss._core import inputs, relative_entropy
from jaxloss._core.public import public
from jaxloss._core.types import Array, Axis, Input, Reduction
from jaxloss._core.validate import Check


@public
def kl_divergence(
    log_predictions: Input,
    targets: Input,
    axis: Axis = -1,
    where: Input | None = None,
    *,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Kullback-Leibler divergence of predicted log-probabilities from targets.

    .. math::
        \ell = \sum_j t_j (\log t_j - \log p_j)

    with :math:`t` the targets and :math:`\log p` the predictions.

    Args:
      log_predictions: log-probabilities, floating, shape `[..., classes]` (the classes
        along `axis`).
      targets: probabilities, not negative, the shape of `log_predictions`.
      axis: the axis of the classes; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of
        `log_predictions` (classes kept, removed from both). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The divergences in nats (or of `base`), float32 (float64 for float64 inputs): the
      shape of `log_predictions` without `axis`, or a scalar when reduced.

    Numerics:
      The inputs need not be normalised: the value is that of the formula, which may
      then be negative. Distributions never add up to 1 exactly once they are rounded,
      and the difference of the two masses would swamp the divergence of near-equal
      ones. Up to

      .. math::
          \Bigl|\sum_j t_j - \sum_j p_j\Bigr| \le
          \bigl(2 \epsilon_t + (2 + \log C)\, \epsilon_p\bigr) \sum_j t_j

      the difference is therefore put down to rounding and left out; :math:`C` is the
      number of classes kept and :math:`\epsilon` the machine epsilon of either
      argument's dtype as it was passed, 0 for integers. (A softmax leaves a third of
      that.) What remains,
      :math:`\sum_j p_j - t_j + t_j (\log t_j - \log p_j)`, is never negative and
      keeps its relative accuracy however close the distributions are.

      :math:`0 \log 0 = 0`, and a class of no target contributes nothing whatever its
      prediction; a prediction of -inf for a positive target gives inf. Negative
      targets give NaN in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial \log p_j = -t_j`, always;
      :math:`\partial \ell / \partial t_j = \log t_j - \log p_j + 1`, and 0 at
      :math:`t_j = 0`, where the limit is :math:`-\infty`: what vanishes there, such as
      the slope of a softmax that has underflowed, vanishes faster.

    Raises:
      TypeError: `log_predictions` not floating, `targets` not real, a traced static
        option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax, jax.numpy as jnp, jaxloss
      >>> log_probs = jax.nn.log_softmax(jnp.array([[2.0, 1.0, 0.1]]))
      >>> loss = jaxloss.kl_divergence(log_probs, jnp.array([[0.7, 0.2, 0.1]]))
      >>> print(f"{loss[0]:.5f}")
      0.00521

    References:
      Kullback and Leibler, *On Information and Sufficiency*, Ann. Math. Stat. 22
      (1951).

    Elsewhere: `optax.kl_divergence`, `torch.nn.functional.kl_div` (elementwise),
    `keras.losses.KLDivergence` (of probabilities, targets first).
    """
    check = Check("kl_divergence")
    check.reduction(reduction)
    check.base(base)
    x = inputs.rows(
        check,
        axis,
        where,
        -jnp.inf,
        log_predictions=log_predictions,
        targets=targets,
    )
    rounding = _rounding(x, log_predictions) + 2 * _epsilon(targets)
    loss = relative_entropy.kl(x.predictions, x.targets, rounding, x.axis)
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)


@public
def kl_divergence_with_log_targets(
    log_predictions: Input,
    log_targets: Input,
    axis: Axis = -1,
    where: Input | None = None,
    *,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Kullback-Leibler divergence of predictions from targets, both as logarithms.

    .. math::
        \ell = \sum_j t_j (\log t_j - \log p_j), \qquad t_j = e^{\log t_j}

    Args:
      log_predictions: log-probabilities, floating, shape `[..., classes]` (the classes
        along `axis`).
      log_targets: log-probabilities, the shape of `log_predictions`; -inf is a class
        of no target.
      axis: the axis of the classes; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of
        `log_predictions` (classes kept, removed from both). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The divergences in nats (or of `base`), float32 (float64 for float64 inputs): the
      shape of `log_predictions` without `axis`, or a scalar when reduced.

    Numerics:
      As for `kl_divergence`, with :math:`(2 + \log C)(\epsilon_t + \epsilon_p)` as the
      share of the mass that is put down to rounding.

    Gradient:
      :math:`\partial \ell / \partial \log p_j = -t_j`;
      :math:`\partial \ell / \partial \log t_j = t_j (\log t_j - \log p_j + 1)`, 0 at
      :math:`t_j = 0`.

    Raises:
      TypeError: `log_predictions` not floating, `log_targets` not real, a traced static
        option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax, jax.numpy as jnp, jaxloss
      >>> student = jax.nn.log_softmax(jnp.array([[2.0, 1.0, 0.1]]))
      >>> teacher = jax.nn.log_softmax(jnp.array([[3.0, 1.0, -jnp.inf]]))
      >>> loss = jaxloss.kl_divergence_with_log_targets(student, teacher)
      >>> print(f"{loss[0]:.4f}")
      0.1709

    References:
      Hinton, Vinyals, Dean, *Distilling the Knowledge in a Neural Network*,
      arXiv:1503.02531.

    Elsewhere: `optax.losses.kl_divergence_with_log_targets`,
    `torch.nn.functional.kl_div(log_target=True)`.
    """
    check = Check("kl_divergence_with_log_targets")
    check.reduction(reduction)
    check.base(base)
    x = inputs.rows(
        check,
        axis,
        where,
        -jnp.inf,
        -jnp.inf,
        log_predictions=log_predictions,
        log_targets=log_targets,
    )
    rounding = _rounding(x, log_predictions) + _rounding(x, log_targets)
    loss = relative_entropy.kl_of_logs(x.predictions, x.targets, rounding, x.axis)
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)


@public
def generalized_kl_divergence(
    log_predictions: Input,
    targets: Input,
    axis: Axis = -1,
    where: Input | None = None,
    *,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Kullback-Leibler divergence between measures that need not be normalised.

    .. math::
        \ell = \sum_j t_j (\log t_j - \log p_j) + p_j - t_j

    the Bregman divergence of :math:`t \log t - t`: never negative, and 0 only where
    the predictions are the targets.

    Args:
      log_predictions: logarithms of the predicted masses, floating, shape
        `[..., classes]` (the classes along `axis`).
      targets: masses, not negative, the shape of `log_predictions`.
      axis: the axis of the classes; several, or None for all. Static.
      where: mask of the losses' shape (examples kept) or of the shape of
        `log_predictions` (classes kept, removed from both). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The divergences in nats (or of `base`), float32 (float64 for float64 inputs): the
      shape of `log_predictions` without `axis`, or a scalar when reduced.

    Numerics:
      Every term is :math:`t (e^d - 1 - d)` with :math:`d = \log p - \log t`, to full
      relative accuracy near equality too. A class of no target contributes :math:`p_j`;
      a prediction of -inf for a positive target gives inf, and so does one whose mass
      overflows. Negative targets give NaN in value and gradient.

    Gradient:
      :math:`\partial \ell / \partial \log p_j = p_j - t_j`;
      :math:`\partial \ell / \partial t_j = \log t_j - \log p_j`, and 0 at
      :math:`t_j = 0`, where the limit is :math:`-\infty`.

    Raises:
      TypeError: `log_predictions` not floating, `targets` not real, a traced static
        option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> log_masses = jnp.log(jnp.array([[1.0, 2.0, 3.0]]))
      >>> targets = jnp.array([[1.0, 2.0, 4.0]])
      >>> loss = jaxloss.generalized_kl_divergence(log_masses, targets)
      >>> print(f"{loss[0]:.4f}")
      0.1507

    References:
      Boyd and Vandenberghe, *Convex Optimization*, p. 90; Bregman, *The relaxation
      method of finding the common point of convex sets*, USSR Comput. Math. Math.
      Phys. 7 (1967).

    Elsewhere: `optax.losses.generalized_kl_divergence`.
    """
    check = Check("generalized_kl_divergence")
    check.reduction(reduction)
    check.base(base)
    x = inputs.rows(
        check,
        axis,
        where,
        -jnp.inf,
        log_predictions=log_predictions,
        targets=targets,
    )
    loss = jnp.sum(
        relative_entropy.generalized(x.predictions, x.targets),
        axis=x.axis,
        keepdims=True,
    )
    return x.reduced(check, loss, weights=weights, reduction=reduction, base=base)


def convex_kl_divergence(
    log_predictions: Input,
    targets: Input,
    axis: Axis = -1,
    where: Input | None = None,
    *,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Deprecated name of `generalized_kl_divergence`.

    .. math::
        \ell = \sum_j t_j (\log t_j - \log p_j) + p_j - t_j

    Args:
      log_predictions: as there.
      targets: as there.
      axis: as there.
      where: as there.
      weights: as there.
      reduction: as there.
      base: as there.

    Returns:
      The divergences, as there, with a DeprecationWarning.

    Elsewhere: `optax.convex_kl_divergence`.
    """
    warnings.warn(
        "jaxloss.convex_kl_divergence is deprecated: use generalized_kl_divergence",
        DeprecationWarning,
        stacklevel=2,
    )
    return generalized_kl_divergence(
        log_predictions,
        targets,
        axis,
        where,
        weights=weights,
        reduction=reduction,
        base=base,
    )


# ------------------------------------------------------------------ what they share


def _epsilon(array: Input) -> float:
    """The relative rounding of an argument as it was passed; integers have none."""
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return 0.0
    return float(jnp.finfo(array.dtype).eps)


def _rounding(x: inputs.Rows, log_masses: Input) -> Array:
    """The share of a mass that the rounding of its logarithms may account for.

    A logarithm is rounded relative to its own size, which the masses average to their
    entropy, at most log C; normalising adds a few roundings. With size 1 along the axis
    or none.
    """
    epsilon = _epsilon(log_masses)
    if x.entries is None:
        spread = 2 + math.log(max(x.classes, 1))
        return jnp.asarray(epsilon * spread, x.like.dtype)
    count = jnp.sum(x.entries, axis=x.axis, keepdims=True).astype(x.like.dtype)
    return epsilon * (2 + jnp.log(jnp.maximum(count, 1)))
