"""Regression as classification: the target becomes a distribution over bins."""

import functools

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from jaxloss._core import axes, inputs, rows
from jaxloss._core.bins import between_edges, hats, increasing
from jaxloss._core.numerics import in_base
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Axis, Input, Number, Reduction
from jaxloss._core.validate import Check, computing


@public
def hl_gauss_loss(
    logits: Input,
    targets: Input,
    *,
    edges: Input,
    sigma: Number | None = None,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""HL-Gauss: cross entropy with a normal distribution around the target, in bins.

    .. math::
        \ell = -\sum_i t_i \log p_i, \qquad
        t_i = \frac{\Phi\bigl(\frac{e_{i+1} - y}{\sigma}\bigr)
                    - \Phi\bigl(\frac{e_i - y}{\sigma}\bigr)}
                   {\Phi\bigl(\frac{e_C - y}{\sigma}\bigr)
                    - \Phi\bigl(\frac{e_0 - y}{\sigma}\bigr)}

    with :math:`p = \operatorname{softmax}(x)`, :math:`y` the target and :math:`e` the
    edges of the bins. The value is decoded as the mean of p over the centres of the
    bins: `jax.nn.softmax(logits) @ ((edges[1:] + edges[:-1]) / 2)`.

    Args:
      logits: unnormalised log-probabilities of the bins, floating, `[..., bins]`.
      targets: real, the shape of `logits` without `axis`. Clipped to the support
        `[edges[0], edges[-1]]`, with derivative 0 outside.
      edges: increasing, real, `[bins + 1]`.
      sigma: :math:`\sigma` above 0, in the unit of the targets: a number, or an array
        that fits the losses. None: three quarters of the mean width of the bins.
      axis: the axis of the bins; several are flattened in the order given. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `logits` (bins
        kept, over which t is normalised). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `targets`, or a scalar when reduced.

    Numerics:
      Differences of :math:`\Phi` are taken in the nearer tail, where they do not
      cancel, and add up to 1 over the bins. Edges out of order give NaN.

    Gradient:
      :math:`\partial \ell / \partial x_i = p_i - t_i`; that with respect to the target
      is defined.

    Raises:
      TypeError: `logits` not floating, `targets` or `edges` not real.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[0.0, 1.0, 2.0, 0.0], [2.0, 0.0, 0.0, 0.0]])
      >>> edges = jnp.linspace(-1.0, 1.0, 5)
      >>> loss = jaxloss.hl_gauss_loss(logits, jnp.array([0.3, -0.8]), edges=edges)
      >>> print(loss.round(4))
      [1.2779 0.9434]

    References:
      Imani, White, *Improving Regression Performance with Distributional Losses*,
      arXiv:1806.04613; Farebrother et al., *Stop Regressing*, arXiv:2403.03950.

    Elsewhere: in many reinforcement learning codebases (with sigma 0.75 bins); not in
    optax, torch or keras.
    """
    check = Check("hl_gauss_loss")
    check.reduction(reduction)
    check.base(base)
    x, y = _binned(check, axis, where, logits, targets)
    t = _gauss(check, y, edges, sigma, x)
    if x.entries is not None:
        t = jnp.where(x.entries, t, 0)
        mass = jnp.sum(t, axis=x.axis, keepdims=True)
        x = x.drop(jnp.squeeze(mass != 0, x.axis))
        t = jnp.where(mass == 0, 0, t / jnp.where(mass == 0, 1, mass))
    return _cross_entropy(check, x, t, weights, reduction, base)


@public
def hl_gauss_targets(
    targets: Input, *, edges: Input, sigma: Number | None = None
) -> Array:
    r"""The distributions over bins that `hl_gauss_loss` compares the logits with.

    .. math::
        t_i \propto \Phi\Bigl(\frac{e_{i+1} - y}{\sigma}\Bigr)
                    - \Phi\Bigl(\frac{e_i - y}{\sigma}\Bigr)

    Args:
      targets: :math:`y`, real, any shape. Clipped to `[edges[0], edges[-1]]`.
      edges: :math:`e`, increasing, real, `[bins + 1]`.
      sigma: above 0: a number, or an array that fits the targets. None: three quarters
        of the mean width of the bins.

    Returns:
      The distributions, float32 (float64 for float64 inputs), shape `[..., bins]`; they
      add up to 1.

    Numerics:
      As for `hl_gauss_loss`.

    Gradient:
      That with respect to the targets and sigma is defined, and 0 for a target outside
      the support.

    Raises:
      TypeError: `targets` or `edges` not real.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> edges = jnp.linspace(-1.0, 1.0, 5)
      >>> print(jaxloss.hl_gauss_targets(jnp.array(0.25), edges=edges).round(4))
      [0.0229 0.2352 0.5068 0.2352]

    References:
      Imani, White, arXiv:1806.04613.

    Elsewhere: `HLGaussLoss.transform_to_probs` in the code of arXiv:2403.03950.
    """
    check = Check("hl_gauss_targets")
    (y,) = computing(check.real("targets", targets))
    x = _rows_of(y, check.real("edges", edges).shape[-1] - 1)
    return _gauss(check, y[..., None], edges, sigma, x)


@public
def two_hot_loss(
    logits: Input,
    targets: Input,
    *,
    support: Input,
    axis: Axis = -1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Cross entropy with a target split between the two nearest points of a support.

    .. math::
        \ell = -\sum_i t_i \log p_i, \qquad
        t_i = \frac{z_{i+1} - y}{z_{i+1} - z_i},\quad
        t_{i+1} = \frac{y - z_i}{z_{i+1} - z_i}
        \quad\text{for}\quad z_i \le y \le z_{i+1}

    with :math:`p = \operatorname{softmax}(x)`, :math:`y` the target and :math:`z` the
    support, evenly spaced or not. The mean of t over the support is the target:
    `jax.nn.softmax(logits) @ support` decodes the prediction.

    Args:
      logits: unnormalised log-probabilities of the points, floating, `[..., points]`.
      targets: real, the shape of `logits` without `axis`. Clipped to
        `[support[0], support[-1]]`, with derivative 0 outside.
      support: increasing, real, `[points]`.
      axis: the axis of the points; several are flattened in the order given. Static.
      where: mask of the losses' shape (examples kept) or of the shape of `logits`
        (points kept; the others lose their share). Axes may be 1.
      weights: weight of each example, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses in nats (or of `base`), float32 (float64 for float64 inputs): the shape
      of `targets`, or a scalar when reduced.

    Numerics:
      Both shares are quotients of rounded differences, without an epsilon: they
      interpolate to rounding. A support out of order gives NaN.

    Gradient:
      :math:`\partial \ell / \partial x_i = p_i - t_i`;
      :math:`\partial \ell / \partial y = (\log p_i - \log p_{i+1}) / (z_{i+1} - z_i)`,
      the mean of both sides at a point of the support.

    Raises:
      TypeError: `logits` not floating, `targets` or `support` not real.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[0.0, 1.0, 2.0, 0.0], [2.0, 0.0, 0.0, 0.0]])
      >>> support = jnp.array([-2.0, -0.5, 0.5, 2.0])
      >>> loss = jaxloss.two_hot_loss(logits, jnp.array([0.25, -5.0]), support=support)
      >>> print(loss.round(4))
      [0.7438 0.3408]

    References:
      Hafner et al., *Mastering Diverse Domains through World Models*, arXiv:2301.04104;
      Schrittwieser et al., *MuZero*, arXiv:1911.08265.

    Elsewhere: `rlax.transform_to_2hot` with a cross entropy (adds 1e-5 to the width of
    a bin, so that it does not interpolate exactly); not in optax, torch or keras.
    """
    check = Check("two_hot_loss")
    check.reduction(reduction)
    check.base(base)
    x, y = _binned(check, axis, where, logits, targets)
    points = increasing(check, "support", support, x.classes, x.like.dtype)
    t = hats(y, points, x.axis)
    if x.entries is not None:
        t = jnp.where(x.entries, t, 0)
    return _cross_entropy(check, x, t, weights, reduction, base)


@public
def two_hot_targets(targets: Input, *, support: Input) -> Array:
    r"""The distributions over a support that `two_hot_loss` compares the logits with.

    .. math::
        t_i = \max\Bigl(0, \min\Bigl(\frac{y - z_{i-1}}{z_i - z_{i-1}},
                                     \frac{z_{i+1} - y}{z_{i+1} - z_i}\Bigr)\Bigr)

    Args:
      targets: :math:`y`, real, any shape. Clipped to `[support[0], support[-1]]`.
      support: :math:`z`, increasing, real, `[points]`.

    Returns:
      The distributions, float32 (float64 for float64 inputs), shape `[..., points]`:
      they add up to 1, and `t @ support` is the target.

    Numerics:
      As for `two_hot_loss`.

    Gradient:
      :math:`\pm 1/(z_{i+1} - z_i)` at the two neighbours, 0 for a target outside the
      support.

    Raises:
      TypeError: `targets` or `support` not real.
      ValueError: a support that is not one axis.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> support = jnp.array([-2.0, -0.5, 0.5, 2.0])
      >>> print(jaxloss.two_hot_targets(jnp.array(0.25), support=support))
      [0. 0.25 0.75 0. ]

    References:
      Hafner et al., arXiv:2301.04104.

    Elsewhere: `rlax.transform_to_2hot`.
    """
    check = Check("two_hot_targets")
    (y,) = computing(check.real("targets", targets))
    points = check.real("support", support)
    points = increasing(check, "support", points, points.shape[-1], y.dtype)
    return hats(y[..., None], points, -1)


# ------------------------------------------------------------------ what they share


def _binned(
    check: Check, axis: Axis, where: Input | None, logits: Input, targets: Input
) -> tuple[inputs.Rows, Array]:
    """Logits and a real target of each row, in one dtype."""
    y = check.real("targets", targets)
    x = inputs.rows(check, axis, where, -jnp.inf, logits=logits)
    check.shape("targets", y, x.shape)
    predictions, y = computing(x.predictions, y)
    if x.keep is not None:
        y = jnp.where(x.keep, y, 0)
    return x._replace(predictions=predictions), jnp.expand_dims(y, x.axis)


def _rows_of(y: Array, bins: int) -> inputs.Rows:
    """Rows of no logits, whose shape the targets have."""
    nothing = jnp.zeros((*y.shape, bins), y.dtype)
    return inputs.Rows(nothing, None, y.ndim, None, None, y.shape)


def _gauss(
    check: Check, y: Array, edges: Input, sigma: Number | None, x: inputs.Rows
) -> Array:
    """The shares of the bins in a normal distribution around y."""
    edges = increasing(check, "edges", edges, x.classes + 1, x.like.dtype)
    if sigma is None:
        width = 0.75 * (edges[-1] - edges[0]) / max(x.classes, 1)
    else:
        width = check.parameter("sigma", sigma, x.like, low=0, open_low=True)
        width = x.spread(width)
    return between_edges(y, edges, width, x.axis)


def _cross_entropy(
    check: Check,
    x: inputs.Rows,
    t: Array,
    weights: Input | None,
    reduction: Reduction,
    base: float | None,
) -> Array:
    """Cross entropy with the distribution t, unit and reduction."""
    # Of a distribution that the mask has cut the sum is no constant.
    nll = _distribution_nll if x.entries is None else rows.soft_nll
    loss = in_base(jnp.squeeze(nll(x.predictions, t, x.axis), x.axis), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _distribution_nll(x: Array, t: Array, axis: int) -> Array:
    """-Σ t_j log p_j, where Σ t_j is 1 and stays so."""
    return rows.soft_nll(x, t, axis)


def _distribution_nll_jvp(axis, primals, tangents):
    # As Σ dt_j is 0, -log p_j counts relative to any of them: to that of the largest
    # share, so that the logits of its neighbours are compared without what they lose to
    # the row's largest. Where that is no number, as it stands.
    (x, t), (dx, dt) = primals, tangents
    loss = _distribution_nll(x, t, axis)
    dloss = jnp.zeros_like(loss)
    if not isinstance(dx, SymbolicZero):
        dloss += axes.total(rows.soft_slope(x, t, axis) * dx, axis)
    if not isinstance(dt, SymbolicZero):
        largest = jnp.argmax(t, axis=axis, keepdims=True)
        behind = axes.take(x, largest, axis) - x
        behind = jnp.where(jnp.isfinite(behind), behind, rows.nll(x, axis))
        dloss += axes.total(behind * dt, axis)
    return loss, dloss


_distribution_nll.defjvp(_distribution_nll_jvp, symbolic_zeros=True)
