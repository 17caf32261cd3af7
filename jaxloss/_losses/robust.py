"""Robust regression: quadratic near a perfect fit, slower far from it."""

import jax.numpy as jnp

from jaxloss._core import residual, robust
from jaxloss._core.barron import barron
from jaxloss._core.elementwise import residuals
from jaxloss._core.numerics import positive_part
from jaxloss._core.public import public
from jaxloss._core.types import Array, Input, Number, Reduction


@public
def smooth_l1_loss(
    predictions: Input,
    targets: Input,
    *,
    beta: Number = 1.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Smooth L1: the absolute error, rounded off within `beta` of zero.

    .. math::
        \ell = \begin{cases}
            \tfrac{1}{2\beta} e^2 & |e| < \beta \\
            |e| - \tfrac12 \beta & |e| \ge \beta
        \end{cases}
        \qquad e = \hat{y} - y

    It is `huber_loss` divided by its threshold.

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`.
      beta: residual at which the loss becomes linear, at least 0: a number, or an
        array that fits the losses. 0 gives `absolute_error`.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the unit of the predictions, float32 (float64 for float64 inputs):
      the shape of `predictions`, or a scalar when reduced.

    Numerics:
      The gradient is the clipped ratio itself, rounded once, for every `beta`.

    Gradient:
      :math:`\partial \ell / \partial \hat{y} = \operatorname{clip}(e / \beta, -1, 1)`,
      0 at a perfect fit; the second derivative is :math:`1/\beta` where
      :math:`|e| < \beta`, else 0. With :math:`s` that ratio,
      :math:`\partial \ell / \partial \beta = -s^2 / 2`.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an option out of its range (NaN, if it is an
        array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.smooth_l1_loss(predictions, targets))
      [0.125 1.   ]

    References:
      Girshick, *Fast R-CNN*, arXiv:1504.08083.

    Elsewhere: `torch.nn.functional.smooth_l1_loss`; `optax.huber_loss` and
    `keras.losses.Huber` are it times `delta`.
    """
    x = residuals("smooth_l1_loss", predictions, targets, where, reduction)
    beta = x.parameter("beta", beta, low=0)
    return x.reduced(residual.smooth_l1(x.residual, beta), weights)


@public
def pseudo_huber_loss(
    predictions: Input,
    targets: Input,
    *,
    delta: Number = 1.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Pseudo-Huber loss: half the squared error near zero, linear far from it.

    .. math::
        \ell = \delta^2 \Bigl(\sqrt{1 + (e/\delta)^2} - 1\Bigr),
        \qquad e = \hat{y} - y

    It has derivatives of every order, and the slope :math:`\pm\delta` at infinity.

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`.
      delta: where the loss turns from quadratic to linear, above 0: a number, or an
        array that fits the losses.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the squared unit of the predictions, float32 (float64 for float64
      inputs): the shape of `predictions`, or a scalar when reduced.

    Numerics:
      Accurate in relative terms for residuals of every size: the difference of the
      root and 1 is never taken.

    Gradient:
      With :math:`h = \sqrt{1 + (e/\delta)^2}`:
      :math:`\partial \ell / \partial \hat{y} = e / h`, the second derivative
      :math:`1 / h^3`, and :math:`\partial \ell / \partial \delta = \delta (h - 1)^2/h`.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an option out of its range (NaN, if it is an
        array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.pseudo_huber_loss(predictions, targets).round(4))
      [0.118  0.8028]

    References:
      Charbonnier et al., *Deterministic edge-preserving regularization in computed
      imaging*, IEEE Trans. Image Process. 6, 1997; Song and Dhariwal,
      arXiv:2310.14189.

    Elsewhere: in Song and Dhariwal's consistency models, divided by :math:`\delta`.
    """
    x = residuals("pseudo_huber_loss", predictions, targets, where, reduction)
    delta = x.parameter("delta", delta, low=0, open_low=True, open_high=True)
    return x.reduced(robust.scaled(robust.PSEUDO_HUBER, x.residual, delta), weights)


@public
def charbonnier_loss(
    predictions: Input,
    targets: Input,
    *,
    epsilon: Number = 1e-3,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Charbonnier loss: the absolute error with a smooth tip.

    .. math::
        \ell = \sqrt{e^2 + \varepsilon^2}, \qquad e = \hat{y} - y

    A perfect fit costs :math:`\varepsilon`.

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`.
      epsilon: the radius of the tip, at least 0: a number, or an array that fits the
        losses. 0 gives `absolute_error`.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the unit of the predictions, float32 (float64 for float64 inputs):
      the shape of `predictions`, or a scalar when reduced.

    Numerics:
      Squares neither overflow nor vanish, whatever the residual.

    Gradient:
      :math:`\partial \ell / \partial \hat{y} = e / \ell`, 0 at a perfect fit; the
      second derivative is :math:`\varepsilon^2 / \ell^3`;
      :math:`\partial \ell / \partial \varepsilon = \varepsilon / \ell`.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an option out of its range (NaN, if it is an
        array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.charbonnier_loss(predictions, targets, epsilon=1.0).round(4))
      [1.118  1.8028]

    References:
      Charbonnier et al., *Two deterministic half-quadratic regularization algorithms
      for computed imaging*, ICIP 1994; Lai et al., arXiv:1704.03915.

    Elsewhere: in image restoration; it is `pseudo_huber_loss` divided by its threshold,
    plus :math:`\varepsilon`.
    """
    x = residuals("charbonnier_loss", predictions, targets, where, reduction)
    epsilon = x.parameter("epsilon", epsilon, low=0)
    loss = robust.hypotenuse(*jnp.broadcast_arrays(x.residual, epsilon))
    return x.reduced(loss, weights)


@public
def robust_loss(
    predictions: Input,
    targets: Input,
    *,
    alpha: Number = 1.0,
    scale: Number = 1.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Barron's general robust loss, whose shape is a number.

    .. math::
        \ell = \frac{|\alpha - 2|}{\alpha} \left[ \left(
            \frac{(e/c)^2}{|\alpha - 2|} + 1 \right)^{\alpha / 2} - 1 \right],
        \qquad e = \hat{y} - y

    with :math:`c` the scale, and its limits: :math:`\tfrac12 (e/c)^2` for
    :math:`\alpha = 2`, :math:`\log(1 + \tfrac12 (e/c)^2)` for 0 (Cauchy) and
    :math:`1 - e^{-(e/c)^2/2}` for :math:`-\infty` (Welsch). :math:`\alpha = 1` is the
    pseudo-Huber and :math:`-2` the Geman-McClure loss, in units of :math:`c^2`.

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`.
      alpha: the shape, any real number or infinity: the smaller, the less an outlier
        counts. A number, or an array that fits the losses; it may be learned.
      scale: residual at which the loss leaves its quadratic bowl, above 0: a number,
        or an array that fits the losses.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, float32 (float64 for float64 inputs): the shape of `predictions`, or a
      scalar when reduced.

    Numerics:
      Exact at the limits and accurate beside them, in value, gradient and curvature.

    Gradient:
      With :math:`w = (e/c)^2 / |\alpha - 2|`,
      :math:`\partial \ell / \partial \hat{y} = (e / c^2) (1 + w)^{\alpha/2 - 1}` and
      :math:`\partial \ell / \partial c = -(e/c)\, \partial \ell / \partial \hat{y}`.
      :math:`\partial \ell / \partial \alpha` is positive; it has a limit at every
      :math:`\alpha` but 2, where it is infinite (it grows as
      :math:`-\log|\alpha - 2|`).

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an option out of its range (NaN, if it is an
        array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> for alpha in (2.0, 1.0, 0.0, -2.0):
      ...     print(jaxloss.robust_loss(predictions, targets, alpha=alpha).round(4))
      [0.125 1.125]
      [0.118  0.8028]
      [0.1178 0.7538]
      [0.1176 0.72]

    References:
      Barron, *A General and Adaptive Robust Loss Function*, arXiv:1701.03077.

    Elsewhere: `robust_loss_jax.general.lossfun`, which replaces an alpha near 0 or 2 by
    one further away.
    """
    x = residuals("robust_loss", predictions, targets, where, reduction)
    alpha = x.parameter("alpha", alpha)
    scale = x.parameter("scale", scale, low=0, open_low=True, open_high=True)
    return x.reduced(barron(x.residual / scale, alpha), weights)


@public
def epsilon_insensitive_loss(
    predictions: Input,
    targets: Input,
    *,
    epsilon: Number = 0.1,
    power: int = 1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Epsilon-insensitive loss of support vector regression.

    .. math::
        \ell = \max(|e| - \varepsilon, 0)^p, \qquad e = \hat{y} - y

    Args:
      predictions: floating, any shape.
      targets: real, the shape of `predictions`.
      epsilon: the error that costs nothing, at least 0: a number, or an array that fits
        the losses.
      power: :math:`p`, 1 or 2. Static.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The losses, in the unit of the predictions or its square, float32 (float64 for
      float64 inputs): the shape of `predictions`, or a scalar when reduced.

    Numerics:
      The residual is rounded once. At the kinks of power 1 the gradient is the mean
      of both sides.

    Gradient:
      :math:`\partial \ell / \partial \hat{y} = \operatorname{sign}(e)\, [|e| >
      \varepsilon]` for :math:`p = 1`, and
      :math:`2 \operatorname{sign}(e) \max(|e| - \varepsilon, 0)` for :math:`p = 2`;
      by :math:`\varepsilon` the same without the sign of :math:`e`, negative.

    Raises:
      TypeError: `predictions` not floating, or `targets` not real.
      ValueError: shapes that differ, an option out of its range (NaN, if it is an
        array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> predictions, targets = jnp.array([1.0, 2.5]), jnp.array([0.5, 4.0])
      >>> print(jaxloss.epsilon_insensitive_loss(predictions, targets).round(4))
      [0.4        1.4       ]

    References:
      Vapnik, *The Nature of Statistical Learning Theory*, 1995, 6.1.

    Elsewhere: `sklearn.linear_model.SGDRegressor(loss="epsilon_insensitive")` and
    `"squared_epsilon_insensitive"`.
    """
    x = residuals("epsilon_insensitive_loss", predictions, targets, where, reduction)
    epsilon = x.parameter("epsilon", epsilon, low=0)
    x.check.choice("power", power, (1, 2))
    beyond = positive_part(residual.magnitude(x.residual) - epsilon)
    return x.reduced(beyond if power == 1 else jnp.square(beyond), weights)
