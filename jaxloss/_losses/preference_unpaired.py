"""Preferences without pairs: answers that are each desirable or not."""

import jax
import jax.numpy as jnp

from jaxloss._core import inputs
from jaxloss._core.exact import add3
from jaxloss._core.numerics import sigmoid
from jaxloss._core.parameters import kept_parameter
from jaxloss._core.public import public
from jaxloss._core.reduce import divided, reduce
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def kto_loss(
    log_probs: Input,
    labels: Input,
    *,
    reference_log_probs: Input,
    kl: Number = 0.0,
    beta: Number = 0.1,
    desirable_weight: Number = 1.0,
    undesirable_weight: Number = 1.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Kahneman-Tversky optimisation: answers are desirable or not, one by one.

    .. math::
        \ell = \begin{cases}
            \lambda_D\, \sigma\left(-\beta (r - z)\right) & \text{desirable} \\
            \lambda_U\, \sigma\left(\beta (r - z)\right) & \text{undesirable}
        \end{cases}
        \qquad r = \log \pi(y) - \log \pi_{\text{ref}}(y)

    with :math:`z` the reference point, an estimate of the divergence from the
    reference policy (`kto_reference_point`).

    Args:
      log_probs: :math:`\log \pi(y)`, summed over the tokens of the answer, floating,
        any shape.
      labels: 1 or True for desirable answers, 0 or False for others, the same shape.
      reference_log_probs: :math:`\log \pi_{\text{ref}}(y)`, the same shape.
      kl: :math:`z`: a number, or an array that fits the losses.
      beta: :math:`\beta`, above 0: a number, or an array that fits the losses.
      desirable_weight: :math:`\lambda_D`, at least 0.
      undesirable_weight: :math:`\lambda_U`, at least 0.
      where: mask of the same shape, the answers kept. Axes may be 1.
      weights: weight of each answer, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the answers kept).

    Returns:
      The losses, float32 (float64 for float64 inputs): the shape of `log_probs`, or a
      scalar when reduced.

    Numerics:
      Each loss is the sigmoid that is small where the loss is, never 1 minus the other.
      A label outside [0, 1] gives NaN in value and gradient; one between them mixes
      both losses.

    Gradient:
      :math:`\partial \ell / \partial \log \pi = \mp \lambda \beta\, \sigma(\beta (r -
      z))\, \sigma(-\beta (r - z))`, with the minus for desirable answers. By the
      method's definition none reaches the reference and :math:`z`.

    Raises:
      TypeError: an array not of the kind described.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> loss = jaxloss.kto_loss(
      ...     jnp.array([-12.0, -30.0]),
      ...     jnp.array([1, 0]),
      ...     reference_log_probs=jnp.array([-13.0, -29.0]),
      ...     kl=1.0,
      ... )
      >>> print(loss.round(5))
      [0.5     0.45017]

    References:
      Ethayarajh et al., *KTO: Model Alignment as Prospect Theoretic Optimization*,
      arXiv:2402.01306.

    Elsewhere: TRL's `KTOTrainer`, Liger Kernel's `LigerFusedLinearKTOLoss`.
    """
    check = Check("kto_loss")
    check.reduction(reduction)
    (policy, label, reference), keep = inputs.aligned(
        check,
        where,
        {"log_probs": log_probs},
        {"labels": labels, "reference_log_probs": reference_log_probs},
    )
    point = kept_parameter(check, "kl", kl, policy, keep)
    strength = kept_parameter(check, "beta", beta, policy, keep, low=0, open_low=True)
    gain = kept_parameter(
        *(check, "desirable_weight", desirable_weight, policy, keep), low=0
    )
    harm = kept_parameter(
        *(check, "undesirable_weight", undesirable_weight, policy, keep), low=0
    )
    fixed = jax.lax.stop_gradient((reference, jnp.broadcast_to(point, policy.shape)))
    x = strength * add3(policy, -fixed[0], -fixed[1])
    label = jnp.where((label >= 0) & (label <= 1), label, jnp.nan)
    loss = gain * label * sigmoid(-x) + harm * (1 - label) * sigmoid(x)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


@public
def kto_reference_point(
    log_probs: Input,
    reference_log_probs: Input,
    *,
    where: Input | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""The reference point of `kto_loss`: a divergence estimated from a whole batch.

    .. math::
        z = \max\left(0, \frac1n \sum_i \left[\log \pi(y_i') -
            \log \pi_{\text{ref}}(y_i')\right]\right)

    over answers :math:`y'` that were not written for the prompts they are paired with,
    such as those of the batch shifted by one.

    Args:
      log_probs: :math:`\log \pi(y')`, floating, any shape.
      reference_log_probs: :math:`\log \pi_{\text{ref}}(y')`, the same shape.
      where: mask of the same shape, the answers kept. Axes may be 1.
      axis_name: inside `jax.shard_map` or `jax.vmap`, the axis over which the batch is
        spread. Static.

    Returns:
      The estimate in nats, at least 0, float32 (float64 for float64 inputs), a scalar;
      0 where nothing is kept.

    Numerics:
      A NaN that is not masked makes it NaN, whatever its sign.

    Gradient:
      None passes.

    Raises:
      TypeError: an array not floating.
      ValueError: shapes that differ.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> policy, reference = jnp.array([-12.0, -30.0]), jnp.array([-13.0, -29.5])
      >>> print(jaxloss.kto_reference_point(policy, reference))
      0.25

    References:
      Ethayarajh et al., *KTO: Model Alignment as Prospect Theoretic Optimization*,
      arXiv:2402.01306, section 4.1.

    Elsewhere: the `kl` of TRL's `KTOTrainer` and of Liger Kernel's KTO loss.
    """
    check = Check("kto_reference_point")
    check.static(axis_name=axis_name)
    (policy, reference), keep = inputs.aligned(
        check,
        where,
        {"log_probs": log_probs},
        {"reference_log_probs": reference_log_probs},
    )
    ratio = jax.lax.stop_gradient(policy - reference)
    ones = jnp.ones_like(ratio)
    count = jnp.sum(ones if keep is None else jnp.where(keep, ones, 0))
    total = jnp.sum(ratio)
    if axis_name is not None:
        total, count = jax.lax.psum((total, count), axis_name)
    mean = divided(total, count)
    # Not a maximum, which may drop a NaN.
    return jnp.where(mean < 0, 0, mean)
