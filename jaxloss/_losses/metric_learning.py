"""Losses on distances between embeddings."""

import functools
import math

import jax
import jax.numpy as jnp

from jaxloss._core import inputs, norms
from jaxloss._core.exact import add3
from jaxloss._core.numerics import positive_part
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check, computing, is_off


@public
def triplet_margin_loss(
    anchors: Input,
    positives: Input,
    negatives: Input,
    axis: int = -1,
    norm_degree: Number = 2,
    margin: Number = 1.0,
    eps: Number = 1e-6,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
) -> Array:
    r"""Triplet loss: an anchor is to be nearer to its positive than to its negative.

    .. math::
        \ell = \max(0,\; d(a, p) - d(a, n) + m), \qquad
        d(x, y) = \Bigl(\sum_i |x_i - y_i|^q + \epsilon\Bigr)^{1/q}

    Args:
      anchors: embeddings :math:`a`, floating, shape `[..., dim]` (the entries along
        `axis`).
      positives: embeddings :math:`p` of the same kind, real, the shape of `anchors`.
      negatives: embeddings :math:`n` of another kind, real, the shape of `anchors`.
      axis: the axis of the entries. Static.
      norm_degree: :math:`q`, at least 1; `math.inf` gives the largest difference,
        without `eps`.
      margin: :math:`m`, by how much the negative is to be farther away.
      eps: :math:`\epsilon`, at least 0, under the root.
      where: mask of the losses' shape (examples kept) or of the shape of `anchors`
        (entries kept, removed from all three). Axes may be 1.
      weights: weight of each triplet, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the triplets kept).

    Returns:
      The losses, in the unit of the embeddings, float32 (float64 for float64 inputs):
      the shape of `anchors` without `axis`, or a scalar when reduced.

    Numerics:
      Differences of any size: their powers neither overflow nor vanish. Equal
      embeddings have distance :math:`\epsilon^{1/q}` and no gradient, also for
      :math:`\epsilon = 0`.

    Gradient:
      Where the loss is positive, :math:`\partial \ell / \partial p_i =
      -\operatorname{sign}(a_i - p_i)\, (|a_i - p_i| / d(a, p))^{q-1}`, the opposite
      with :math:`n` for the negative, and minus their sum for the anchor. At the kink
      it is the mean of both sides.

    Raises:
      TypeError: `anchors` not floating, the others not real, a traced static option.
      ValueError: shapes that differ; `norm_degree` below 1 or `eps` below 0 (NaN, if
        it is an array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> anchors = jnp.array([[0.0, 0.0], [1.0, 1.0]])
      >>> positives = jnp.array([[0.1, 0.1], [1.1, 1.1]])
      >>> negatives = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> print(jaxloss.triplet_margin_loss(anchors, positives, negatives).round(4))
      [0.1414 0.1414]

    References:
      Balntas et al., *Learning local feature descriptors with triplets and shallow
      convolutional neural networks*, BMVC 2016.

    Elsewhere: `optax.losses.triplet_margin_loss`;
    `torch.nn.functional.triplet_margin_loss` adds `eps` to the differences.
    """
    check = Check("triplet_margin_loss")
    check.reduction(reduction)
    x = inputs.rows(check, axis, where, anchors=anchors, positives=positives)
    y = inputs.rows(check, axis, where, anchors=anchors, negatives=negatives)
    anchor, positive, negative = computing(
        x.predictions, x.require_targets(), y.require_targets()
    )
    like = jax.ShapeDtypeStruct(x.shape, anchor.dtype)
    margin = x.spread(check.parameter("margin", margin, like))
    eps_ = x.spread(check.parameter("eps", eps, like, low=0))
    degree = x.spread(check.parameter("norm_degree", norm_degree, like, low=1))
    exact = next((q for q in (1, 2, math.inf) if is_off(norm_degree, q)), None)
    to_near, to_far = anchor - positive, anchor - negative
    if exact == 2 and isinstance(eps, float) and eps >= _ORDINARY:
        # Two units, because XLA would spread a common one over an array and store it.
        unit = _unit(eps, anchor.dtype)
        near = _root_of_squares(to_near, eps, unit, x.axis)
        far = _root_of_squares(to_far, eps, unit / 2, x.axis)
    else:
        near = _distance(to_near, degree, eps_, exact, x.axis)
        far = _distance(to_far, degree, eps_, exact, x.axis)
    loss = positive_part(add3(near, margin + jnp.zeros_like(near), -far))
    loss = jnp.squeeze(loss, x.axis)
    weights = check.weights(weights, loss)
    return reduce(loss, where=x.keep, weights=weights, reduction=reduction)


# ------------------------------------------------------------------ distances

_ORDINARY = 1e-12


def _unit(eps: float, dtype: jnp.dtype) -> float:
    """A power of two by which differences lose nothing that counts beside eps.

    It is as small as that allows, which leaves room above: for differences up to 1e27
    with the default eps in float32.
    """
    info = jnp.finfo(dtype)
    least = float(info.eps) ** 2 * eps
    return 2.0 ** math.ceil(math.log2(float(info.tiny) / least) / 2)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2, 3))
def _root_of_squares(difference: Array, eps: float, unit: float, axis: int) -> Array:
    """√(Σd² + eps) in one pass, in a unit common to all vectors."""
    squares = jnp.sum(jnp.square(difference * unit), axis=axis, keepdims=True)
    return jnp.sqrt(squares + eps * unit**2) / unit


@_root_of_squares.defjvp
def _(eps, unit, axis, primals, tangents):
    # dh = Σ d dd / h; an infinite difference is all of h.
    (d,), (dd,) = primals, tangents
    root = _root_of_squares(d, eps, unit, axis)
    direction = jnp.where(jnp.isinf(d), jnp.sign(d), (d * unit) / (root * unit))
    return root, jnp.sum(direction * dd, axis=axis, keepdims=True)


def _distance(
    difference: Array, degree: Array, eps: Array, exact: float | None, axis: int
) -> Array:
    """(Σ|d|^q + eps)^(1/q), for a q known beforehand or for any."""
    if exact == 2:
        return _hypotenuse(norms.norm(difference, axis), eps)
    # |d|, with derivative 0 at 0.
    size = difference * jnp.sign(difference)
    if exact == 1:
        return jnp.sum(size, axis=axis, keepdims=True) + eps
    if exact == math.inf:
        return jnp.max(size, axis=axis, keepdims=True, initial=0)
    return _root_of_powers(size, degree, eps, axis)


@jax.custom_jvp
def _hypotenuse(a: Array, square: Array) -> Array:
    """√(a² + square) for a >= 0; its derivative at 0 is 0."""
    b = jnp.sqrt(square)
    unit = norms.nonzero(jnp.maximum(a, b))
    unit = jnp.where(jnp.isinf(unit), 1, unit)
    return unit * jnp.sqrt(jnp.square(a / unit) + jnp.square(b / unit))


@_hypotenuse.defjvp
def _(primals, tangents):
    # dh = (a da + dsquare / 2) / h, where a / h is 1 in the limit of large a.
    (a, square), (da, dsquare) = primals, tangents
    h = _hypotenuse(a, square)
    cosine = jnp.where(jnp.isinf(a), 1, a / norms.nonzero(h))
    return h, cosine * da + dsquare / (2 * norms.nonzero(h))


def _root_of_powers(size: Array, degree: Array, eps: Array, axis: int) -> Array:
    """(Σ size^q + eps)^(1/q), in units of its largest term; max size for infinite q."""
    largest = jnp.max(size, axis=axis, keepdims=True, initial=0)
    infinite = jnp.isinf(degree)
    degree = jnp.where(infinite, 1, degree)
    without = eps == 0
    log_eps = jnp.log(jnp.where(without, 1, eps))
    root = jnp.where(without, 0, jnp.exp(log_eps / degree))
    unit = norms.nonzero(jax.lax.stop_gradient(jnp.maximum(largest, root)))
    unit = jnp.where(jnp.isinf(unit), 1, unit)
    ratio = size / unit
    absent = ratio == 0
    powers = jnp.where(absent, 0, jnp.power(jnp.where(absent, 1, ratio), degree))
    rest = jnp.where(without, 0, jnp.exp(log_eps - degree * jnp.log(unit)))
    total = jnp.sum(powers, axis=axis, keepdims=True) + rest
    nothing = total == 0
    power = jnp.power(jnp.where(nothing, 1, total), 1 / degree)
    return jnp.where(infinite, largest, unit * jnp.where(nothing, 0, power))
