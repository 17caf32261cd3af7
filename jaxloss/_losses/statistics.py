"""Losses of the statistics of a batch of embeddings: correlation, spread, entropy."""

import jax
import jax.numpy as jnp

from jaxloss._core import axes, batch, norms, rows
from jaxloss._core.angle import angle
from jaxloss._core.distances import pairwise
from jaxloss._core.numerics import in_base, positive_part
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def barlow_twins_loss(
    za: Input,
    zb: Input,
    *,
    off_diagonal_weight: Number = 5e-3,
    where: Input | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Barlow Twins: features of two views agree, and are not redundant.

    .. math::
        L = \sum_i (1 - c_{ii})^2 + \lambda \sum_{i \ne j} c_{ij}^2

    with :math:`c_{ij}` the correlation, over the batch, of feature i of one view and
    feature j of the other.

    Args:
      za: embeddings of the first views, floating, shape `[batch, features]`.
      zb: embeddings of the second views, the same shape.
      off_diagonal_weight: :math:`\lambda`, at least 0.
      where: mask of the examples kept, `[batch]`; the others take part nowhere.
      axis_name: inside `jax.shard_map`, the mesh axis over which the examples are
        spread: correlations are those over all devices. Static.

    Returns:
      One number for the batch, float32 (float64 for float64 inputs): the loss is a sum
      over features, not over examples.

    Numerics:
      Exact correlations, without an epsilon: features of any size, around any offset. A
      feature that is constant over the batch correlates with none and has no gradient.
      One product of matrices, memory :math:`O(B D + D^2)`; over devices, sums only.

    Gradient:
      :math:`-2 (1 - c_{ii})` to :math:`c_{ii}` and :math:`2 \lambda c_{ij}` to the
      others; with :math:`\hat a, \hat b` the centred features divided by their lengths,
      :math:`\partial c_{ij} / \partial a_i = (\hat b_j - c_{ij} \hat a_i) / |a_i -
      \bar a_i|`.

    Raises:
      TypeError: embeddings that are not floating.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> za = jnp.array([[1.0, 0.0], [0.0, 1.0], [2.0, 3.0]])
      >>> zb = jnp.array([[0.8, 0.6], [-0.6, 0.8], [1.0, 2.0]])
      >>> print(f"{jaxloss.barlow_twins_loss(za, zb):.4f}")
      0.0108

    References:
      Zbontar et al., *Barlow Twins: Self-Supervised Learning via Redundancy Reduction*,
      arXiv:2103.03230.

    Elsewhere: `BarlowTwinsLoss` of lightly (weight 5e-3; the 1e-5 of a batch norm under
    the root).
    """
    check = Check("barlow_twins_loss")
    (a, b), of = batch.embeddings(check, where, axis_name, za=za, zb=zb)
    scalar = jax.ShapeDtypeStruct((), a.dtype)
    weight = check.parameter("off_diagonal_weight", off_diagonal_weight, scalar, low=0)
    u, v = (of.directions(of.centred(x)) for x in (a, b))
    correlation = _sum_of_products(u, v, of)
    # 1 - u·v = |u - v|² / 2 for directions, where 1 - c would cancel.
    lack = axes.total(jnp.square(u - v), of.axis)[0] / 2
    constant = (axes.total(jnp.square(u), of.axis) == 0) | (
        axes.total(jnp.square(v), of.axis) == 0
    )
    lack = jnp.where(constant[0], 1, lack)
    loss = jnp.sum(jnp.square(lack)) + weight * _off_diagonal(correlation)
    return jnp.where(of.count(a.dtype)[0] > 0, loss, 0)


@public
def vicreg_loss(
    za: Input,
    zb: Input,
    *,
    invariance_weight: Number = 25.0,
    variance_weight: Number = 25.0,
    covariance_weight: Number = 1.0,
    deviation: Number = 1.0,
    epsilon: Number = 1e-4,
    where: Input | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""VICReg: views agree, features vary, and do not vary together.

    .. math::
        L = \frac{\lambda}{N D} \sum |a - b|^2 + \frac{\mu}{2} \bigl( v(a) + v(b) \bigr)
        + \nu \bigl( c(a) + c(b) \bigr), \\
        v(z) = \frac{1}{D} \sum_j \max \Bigl( 0, \gamma - \sqrt{C_{jj} + \epsilon}
        \Bigr), \qquad c(z) = \frac{1}{D} \sum_{i \ne j} C_{ij}^2

    with :math:`C` the unbiased covariance of the features of a view over the batch.

    Args:
      za: embeddings :math:`a` of the first views, floating, shape `[batch, features]`.
      zb: embeddings :math:`b` of the second views, the same shape.
      invariance_weight: :math:`\lambda`, at least 0.
      variance_weight: :math:`\mu`, at least 0.
      covariance_weight: :math:`\nu`, at least 0.
      deviation: :math:`\gamma`, at least 0, the standard deviation demanded.
      epsilon: :math:`\epsilon`, at least 0, under the root.
      where: mask of the examples kept, `[batch]`; the others take part nowhere.
      axis_name: inside `jax.shard_map`, the mesh axis over which the examples are
        spread: means and covariances are those over all devices. Static.

    Returns:
      One number for the batch, float32 (float64 for float64 inputs): the loss is a sum
      over features, not over examples.

    Numerics:
      Covariances are those of differences, so that an offset cancels exactly. A feature
      that is constant has no gradient from its deviation, also for an `epsilon` of 0.
      The covariance of a single example is 0. Memory :math:`O(B D + D^2)`; over
      devices, sums only.

    Gradient:
      :math:`2 \lambda (a - b) / (N D)` from the first term; with :math:`\tilde a` the
      centred features and :math:`s_j = \sqrt{C_{jj} + \epsilon}`,
      :math:`-\mu \tilde a_j / (2 D (N - 1) s_j)` where :math:`s_j < \gamma` and
      :math:`4 \nu \sum_{i \ne j} C_{ij} \tilde a_i / (D (N - 1))` to feature j.

    Raises:
      TypeError: embeddings that are not floating.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> za = jnp.array([[1.0, 0.0], [0.0, 1.0], [2.0, 3.0]])
      >>> zb = jnp.array([[0.8, 0.6], [-0.6, 0.8], [1.0, 2.0]])
      >>> print(f"{jaxloss.vicreg_loss(za, zb):.3f}")
      15.087

    References:
      Bardes, Ponce, LeCun, *VICReg: Variance-Invariance-Covariance Regularization for
      Self-Supervised Learning*, arXiv:2105.04906.

    Elsewhere: `VICRegLoss` of lightly and of pytorch-metric-learning, with the same
    weights and epsilon.
    """
    check = Check("vicreg_loss")
    (a, b), of = batch.embeddings(check, where, axis_name, za=za, zb=zb)
    scalar = jax.ShapeDtypeStruct((), a.dtype)

    def parameter(name: str, value: Number) -> Array:
        return check.parameter(name, value, scalar, low=0)

    agree = parameter("invariance_weight", invariance_weight)
    vary = parameter("variance_weight", variance_weight)
    apart = parameter("covariance_weight", covariance_weight)
    gamma, eps = parameter("deviation", deviation), parameter("epsilon", epsilon)
    features = max(a.shape[1], 1)
    loss = agree * jnp.sum(of.mean(jnp.square(a - b))) / features
    count = of.count(a.dtype)[0]
    for x in (a, b):
        centred = of.centred(x)
        covariance = _sum_of_products(centred, centred, of) / jnp.maximum(count - 1, 1)
        square = jnp.diagonal(covariance) + eps
        constant = square == 0
        root = jnp.sqrt(jnp.where(constant, 1, square))
        lack = positive_part(gamma - jnp.where(constant, 0, root))
        loss = loss + vary * jnp.sum(lack) / (2 * features)
        loss = loss + apart * _off_diagonal(covariance) / features
    return jnp.where(count > 0, loss, 0)


@public
def koleo_loss(
    embeddings: Input,
    *,
    epsilon: Number = 1e-8,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""KoLeo: the entropy of a batch of directions, by the nearest neighbours.

    .. math::
        \ell_i = -\log \Bigl( \min_{j \ne i} |\hat x_i - \hat x_j| + \epsilon \Bigr),
        \qquad \hat x = \frac{x}{|x|}

    Args:
      embeddings: :math:`x`, floating, shape `[batch, features]`.
      epsilon: :math:`\epsilon`, at least 0. With 0 the loss of two equal directions is
        infinite.
      where: mask of the examples kept, `[batch]`; the others take part nowhere.
      weights: weight of each example, `[batch]`.
      reduction: `"none"`, `"sum"` or `"mean"`, which counts the examples that have a
        neighbour.
      base: unit of the result: None for nats, 2 for bits.
      axis_name: inside `jax.shard_map`, the mesh axis over which the examples are
        spread: neighbours are sought on all devices, and sums are those of all. Static.

    Returns:
      The losses in nats (or of `base`), `[batch]`, float32 (float64 for float64
      embeddings), or a scalar when reduced. An example without any other has loss 0.

    Numerics:
      Distances are computed from chords: good to a few roundings down to about 1e-4 in
      float32, and to 2e-5 of themselves at 1e-5. Equal directions have no gradient.
      Time :math:`O(B^2 D)`, memory :math:`O(B^2 + B D)`.

    Gradient:
      With :math:`d` the distance and :math:`c` the cosine to the nearest neighbour
      :math:`j`: :math:`(\hat x_j - c\, \hat x_i) / (|x_i|\, d\, (d + \epsilon))`, and
      the same with i and j exchanged to the neighbour.

    Raises:
      TypeError: `embeddings` not floating.
      ValueError: shapes that do not fit, an option out of its range (NaN, if an array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> embeddings = jnp.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
      >>> print(jaxloss.koleo_loss(embeddings).round(4))
      [-0.3466 -0.3466 -0.3466]

    References:
      Sablayrolles et al., *Spreading vectors for similarity search*, arXiv:1806.03198;
      Oquab et al., *DINOv2*, arXiv:2304.07193.

    Elsewhere: `KoLeoLoss` of lightly, a mean, with the same epsilon.
    """
    check = Check("koleo_loss")
    check.reduction(reduction)
    check.base(base)
    (x,), of = batch.embeddings(check, where, axis_name, embeddings=embeddings)
    like = jax.ShapeDtypeStruct((of.size,), x.dtype)
    eps = check.parameter("epsilon", epsilon, like, low=0)
    everyone = of.all(x)
    others = of.others()
    d = jax.lax.stop_gradient(pairwise(x, everyone, "cosine"))
    nearest = jnp.argmin(jnp.where(others, d, jnp.inf), axis=1)
    some = jnp.any(others, axis=1)
    nearest = jnp.where(some, nearest, of.place())
    # |u - v|² = 2 (1 - cos).
    square = 2 * angle(x, everyone[nearest], None, 1).distance[:, 0]
    equal = square == 0
    d = jnp.where(equal, 0, jnp.sqrt(jnp.where(equal, 1, square))) + eps
    nothing = d == 0
    loss = jnp.where(nothing, jnp.inf, -jnp.log(jnp.where(nothing, 1, d)))
    loss = in_base(jnp.where(some, loss, 0), base)
    return reduce(
        loss,
        where=of.keep,
        weights=check.weights(weights, loss),
        normalizer=some.astype(x.dtype),
        reduction=reduction,
        axis_name=axis_name,
    )


@public
def uniformity_loss(
    embeddings: Input,
    *,
    t: Number = 2.0,
    where: Input | None = None,
    base: float | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Uniformity: the log of the mean Gaussian potential of pairs of directions.

    .. math::
        L = \log \operatorname*{mean}_{i \ne j} e^{-t |\hat x_i - \hat x_j|^2},
        \qquad \hat x = \frac{x}{|x|}

    Args:
      embeddings: :math:`x`, floating, shape `[batch, features]`.
      t: the sharpness, above 0.
      where: mask of the examples kept, `[batch]`; the others take part nowhere.
      base: unit of the result: None for nats, 2 for bits.
      axis_name: inside `jax.shard_map`, the mesh axis over which the examples are
        spread: pairs are those of all devices. Static.

    Returns:
      One number for the batch in nats (or of `base`), at most 0, float32 (float64 for
      float64 embeddings): the loss is the logarithm of a mean over pairs, not a sum
      over examples. Without any pair it is 0.

    Numerics:
      Independent of the lengths of the embeddings; no exponential vanishes. An exponent
      is good to a rounding of :math:`t`. One product of matrices, memory
      :math:`O(B^2 + B D)`.

    Gradient:
      With :math:`p` the softmax of :math:`2 t \cos_{ij}` over all pairs,
      :math:`2 t\, p_{ij}` to :math:`\cos_{ij}`.

    Raises:
      TypeError: `embeddings` not floating.
      ValueError: shapes that do not fit, an option out of its range (NaN, if an array).

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> embeddings = jnp.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
      >>> print(f"{jaxloss.uniformity_loss(embeddings):.4f}")
      -4.3963

    References:
      Wang, Isola, *Understanding Contrastive Representation Learning through Alignment
      and Uniformity on the Hypersphere*, arXiv:2005.10242.

    Elsewhere: the second term of `HypersphereLoss` of lightly (there t = 1).
    """
    check = Check("uniformity_loss")
    check.base(base)
    (x,), of = batch.embeddings(check, where, axis_name, embeddings=embeddings)
    scalar = jax.ShapeDtypeStruct((), x.dtype)
    sharpness = check.parameter("t", t, scalar, low=0, open_low=True)
    u = norms.unit(x, 1)
    cosines = batch.products(u, of.all(u))
    others = of.others()
    # Relative to equal directions, for which the loss is 0.
    exponents = jnp.where(others, 2 * sharpness * (cosines - 1), -jnp.inf)
    total = rows.log_sum_exp(exponents.reshape(-1), of.axis)[0]
    pairs = axes.total(others.astype(x.dtype).reshape(-1), of.axis)[0]
    some = pairs > 0
    loss = jnp.where(some, total, 0) - jnp.log(jnp.where(some, pairs, 1))
    return in_base(loss, base)


# ------------------------------------------------------------------ what they share


def _sum_of_products(x: Array, y: Array, of: batch.Batch) -> Array:
    """Σ x_i y_j over the examples of all devices, `[features, features]`."""
    here = batch.products(x.T, y.T)
    return here if of.axis_name is None else jax.lax.psum(here, of.axis_name)


def _off_diagonal(x: Array) -> Array:
    """The sum of the squares of what is not on the diagonal."""
    return jnp.sum(jnp.where(jnp.eye(len(x), dtype=bool), 0, jnp.square(x)))
