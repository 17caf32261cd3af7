"""The continuous ranked probability score of forecasts that are a known law."""

from jaxloss._core.elementwise import entries
from jaxloss._core.location_scale import GAUSSIAN, LAPLACE, LOGISTIC, crps
from jaxloss._core.public import public
from jaxloss._core.types import Array, Input, Reduction


@public
def crps_gaussian(
    mean: Input,
    targets: Input,
    *,
    log_scale: Input,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Continuous ranked probability score of a Gaussian forecast.

    .. math::
        \ell = \int \bigl(F(x) - [x \ge y]\bigr)^2 dx
             = s\, \Bigl[ z\,(2 \Phi(z) - 1) + 2 \varphi(z)
               - \tfrac{1}{\sqrt{\pi}} \Bigr],
        \qquad z = \frac{\mu - y}{s}

    with :math:`F` the distribution function of the Gaussian law with mean :math:`\mu`
    and standard deviation :math:`s`, :math:`\Phi` and :math:`\varphi` the standard
    distribution function and density. Strictly proper: expected over the targets, it is
    least for their law. It grows as the absolute error, where a log-likelihood grows as
    the square.

    Args:
      mean: :math:`\mu`, floating, any shape.
      targets: :math:`y`, real, the shape of `mean`.
      log_scale: :math:`\log s`, floating, the shape of `mean`.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The scores, in the unit of the targets, float32 (float64 for float64 inputs): the
      shape of `mean`, or a scalar when reduced.

    Numerics:
      Accurate in relative terms in both tails and for every scale; a scale of 0
      (`log_scale` of -inf) gives the absolute error.

    Gradient:
      :math:`\partial \ell / \partial \mu = 2 \Phi(z) - 1`;
      :math:`\partial \ell / \partial \log s = s\,(2 \varphi(z) - 1/\sqrt{\pi})`.

    Raises:
      TypeError: `mean` or `log_scale` not floating, `targets` not real.
      ValueError: shapes that differ, an unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> mean, targets = jnp.array([0.0, 0.0]), jnp.array([0.0, 3.0])
      >>> log_scale = jnp.zeros(2)
      >>> print(jaxloss.crps_gaussian(mean, targets, log_scale=log_scale).round(4))
      [0.2337     2.4366    ]

    References:
      Gneiting and Raftery, *Strictly Proper Scoring Rules, Prediction, and Estimation*,
      JASA 102, 2007, 4.2.

    Elsewhere: `properscoring.crps_gaussian`, `scoringRules::crps_norm`.
    """
    x = entries(
        "crps_gaussian",
        where,
        reduction,
        {"mean": mean, "log_scale": log_scale},
        {"targets": targets},
    )
    location, log_scale, target = x.arrays
    return x.reduced(crps(GAUSSIAN, location - target, log_scale), weights)


@public
def crps_logistic(
    location: Input,
    targets: Input,
    *,
    log_scale: Input,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Continuous ranked probability score of a logistic forecast.

    .. math::
        \ell = \int \bigl(F(x) - [x \ge y]\bigr)^2 dx
             = s\, \bigl[ z - 2 \log \sigma(z) - 1 \bigr],
        \qquad z = \frac{\mu - y}{s}

    with :math:`F` the distribution function of the logistic law with location
    :math:`\mu` and scale :math:`s`. Strictly proper: expected over the targets, it is
    least for their law. Its tails are heavier than the Gaussian ones.

    Args:
      location: :math:`\mu`, floating, any shape.
      targets: :math:`y`, real, the shape of `location`.
      log_scale: :math:`\log s`, floating, the shape of `location`.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The scores, in the unit of the targets, float32 (float64 for float64 inputs): the
      shape of `location`, or a scalar when reduced.

    Numerics:
      Accurate in relative terms in both tails and for every scale; a scale of 0
      (`log_scale` of -inf) gives the absolute error.

    Gradient:
      :math:`\partial \ell / \partial \mu = 1 - 2 \sigma(-z)`;
      :math:`\partial \ell / \partial \log s =
      s\,(2 z\, \sigma(-z) - 2 \log \sigma(z) - 1)`.

    Raises:
      TypeError: `location` or `log_scale` not floating, `targets` not real.
      ValueError: shapes that differ, an unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> location, targets = jnp.array([0.0, 0.0]), jnp.array([0.0, 3.0])
      >>> log_scale = jnp.zeros(2)
      >>> print(jaxloss.crps_logistic(location, targets, log_scale=log_scale).round(4))
      [0.3863 2.0972]

    References:
      Gneiting and Raftery, *Strictly Proper Scoring Rules, Prediction, and Estimation*,
      JASA 102, 2007; Jordan, Krüger, Lerch, J. Stat. Softw. 90, 2019.

    Elsewhere: `scoringRules::crps_logis`.
    """
    x = entries(
        "crps_logistic",
        where,
        reduction,
        {"location": location, "log_scale": log_scale},
        {"targets": targets},
    )
    location, log_scale, target = x.arrays
    return x.reduced(crps(LOGISTIC, location - target, log_scale), weights)


@public
def crps_laplace(
    location: Input,
    targets: Input,
    *,
    log_scale: Input,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Continuous ranked probability score of a Laplace forecast.

    .. math::
        \ell = \int \bigl(F(x) - [x \ge y]\bigr)^2 dx
             = s\, \bigl[ |z| + e^{-|z|} - \tfrac34 \bigr],
        \qquad z = \frac{\mu - y}{s}

    with :math:`F` the distribution function of the Laplace law with location
    :math:`\mu` and scale :math:`s`. Strictly proper: expected over the targets, it is
    least for their law. The location is the median.

    Args:
      location: :math:`\mu`, floating, any shape.
      targets: :math:`y`, real, the shape of `location`.
      log_scale: :math:`\log s`, floating, the shape of `location`.
      where: mask of the same shape, the entries kept. Axes may be 1.
      weights: weight of each entry, the same shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the entries kept).

    Returns:
      The scores, in the unit of the targets, float32 (float64 for float64 inputs): the
      shape of `location`, or a scalar when reduced.

    Numerics:
      Accurate in relative terms in both tails and for every scale; a scale of 0
      (`log_scale` of -inf) gives the absolute error.

    Gradient:
      :math:`\partial \ell / \partial \mu = \operatorname{sign}(z)\,(1 - e^{-|z|})`;
      :math:`\partial \ell / \partial \log s = s\,((1 + |z|)\, e^{-|z|} - \tfrac34)`.

    Raises:
      TypeError: `location` or `log_scale` not floating, `targets` not real.
      ValueError: shapes that differ, an unknown reduction.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> location, targets = jnp.array([0.0, 0.0]), jnp.array([0.0, 3.0])
      >>> log_scale = jnp.zeros(2)
      >>> print(jaxloss.crps_laplace(location, targets, log_scale=log_scale).round(4))
      [0.25   2.2998]

    References:
      Jordan, Krüger, Lerch, *Evaluating Probabilistic Forecasts with scoringRules*, J.
      Stat. Softw. 90, 2019.

    Elsewhere: `scoringRules::crps_lapl`.
    """
    x = entries(
        "crps_laplace",
        where,
        reduction,
        {"location": location, "log_scale": log_scale},
        {"targets": targets},
    )
    location, log_scale, target = x.arrays
    return x.reduced(crps(LAPLACE, location - target, log_scale), weights)
