"""Contrastive losses: an example is to be found by its positives in its batch."""

import jax
import jax.numpy as jnp

from jaxloss._core import axes, batch, norms, rows
from jaxloss._core.numerics import in_base
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def supervised_contrastive_loss(
    embeddings: Input,
    labels: Input,
    *,
    temperature: Number = 0.1,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""SupCon: all examples of a label are positives of each other.

    .. math::
        \ell_i = -\frac{1}{|P_i|} \sum_{p \in P_i} \log
        \frac{e^{s_{ip}}}{\sum_{a \ne i} e^{s_{ia}}},
        \qquad s_{ij} = \frac{\hat x_i \cdot \hat x_j}{\tau}, \quad
        \hat x = \frac{x}{|x|}

    with :math:`P_i` the other examples with the label of :math:`i`. Without any the
    loss is 0.

    Args:
      embeddings: :math:`x`, floating, shape `[batch, features]`; several views of an
        example are rows with one label.
      labels: integers, shape `[batch]`.
      temperature: :math:`\tau`, above 0: a number, or one for each example, `[batch]`.
      where: mask of the examples kept, `[batch]`; the others take part nowhere.
      weights: weight of each example as :math:`i`, `[batch]`.
      reduction: `"none"`, `"sum"` or `"mean"`, which counts the examples that have a
        positive.
      base: unit of the result: None for nats, 2 for bits.
      axis_name: inside `jax.shard_map`, the mesh axis over which the examples are
        spread; each then meets those of all devices, and sums are those of all. Static.

    Returns:
      The losses in nats (or of `base`), `[batch]`, float32 (float64 for float64
      embeddings), or a scalar when reduced.

    Numerics:
      Independent of the lengths of the embeddings; the zero vector has similarity 0 to
      all others, and no gradient. A logit is good to a rounding of :math:`1 / \tau`.
      Memory :math:`O(B^2 + B D)`, also for the gradient.

    Gradient:
      :math:`\partial \ell_i / \partial s_{ij} = p_{ij} - [j \in P_i] / |P_i|` with
      :math:`p_i` the softmax of :math:`s_i` without :math:`i`.

    Raises:
      TypeError: `embeddings` not floating, or `labels` not integers.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> embeddings = jnp.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
      >>> labels = jnp.array([0, 0, 1, 1])
      >>> loss = jaxloss.supervised_contrastive_loss(
      ...     embeddings, labels, temperature=0.5)
      >>> print(loss.round(4))
      [0.2333 0.6271 0.6271 0.2333]

    References:
      Khosla et al., *Supervised Contrastive Learning*, arXiv:2004.11362 (their
      :math:`\mathcal{L}_{out}`).

    Elsewhere: `SupConLoss` of pytorch-metric-learning, whose temperature is 0.1 too.
    """
    check = Check("supervised_contrastive_loss")
    check.reduction(reduction)
    check.base(base)
    (x,), of = batch.embeddings(check, where, axis_name, embeddings=embeddings)
    positive, negative = of.pairs(labels)
    tau = _temperature(check, temperature, of, x)
    u = norms.unit(x, 1)
    logits = batch.products(u, of.all(u)) / batch.spread(tau)
    logits = jnp.where(positive | negative, logits, -jnp.inf)
    positive = positive.astype(x.dtype)
    count = jnp.sum(positive, axis=1)
    shares = positive / jnp.maximum(count, 1)[:, None]
    loss = in_base(jnp.squeeze(rows.soft_nll(logits, shares, 1), 1), base)
    return reduce(
        loss,
        where=of.keep,
        weights=check.weights(weights, loss),
        normalizer=(count > 0).astype(x.dtype),
        reduction=reduction,
        axis_name=axis_name,
    )


@public
def nt_xent_loss(
    za: Input,
    zb: Input,
    *,
    temperature: Number = 0.5,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""NT-Xent of two views: each view of an example is to find the other one.

    .. math::
        \ell_i = \tfrac12 \bigl( \lambda(a_i, b_i) + \lambda(b_i, a_i) \bigr), \qquad
        \lambda(x, y) = -\log \frac{e^{\cos(x, y) / \tau}}
        {\sum_{z \ne x} e^{\cos(x, z) / \tau}}

    with :math:`z` over the views of all examples: SimCLR's loss, example by example.

    Args:
      za: embeddings :math:`a` of the first views, floating, shape `[batch, features]`.
      zb: embeddings :math:`b` of the second views, the same shape.
      temperature: :math:`\tau`, above 0: a number, or one for each example, `[batch]`.
      where: mask of the examples kept, `[batch]`; the others take part nowhere.
      weights: weight of each example, `[batch]`.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.
      axis_name: inside `jax.shard_map`, the mesh axis over which the examples are
        spread; each then meets those of all devices, and sums are those of all. Static.

    Returns:
      The losses in nats (or of `base`), `[batch]`, float32 (float64 for float64
      embeddings), or a scalar when reduced.

    Numerics:
      Independent of the lengths of the embeddings; the zero vector has similarity 0 to
      all others, and no gradient. A logit is good to a rounding of :math:`1 / \tau`.
      One product of matrices, memory :math:`O(B^2 + B D)`, also for the gradient.

    Gradient:
      :math:`\tfrac12 (p_{xz} - [z = y])` to the logit of :math:`x` and :math:`z`, with
      :math:`y` the other view of :math:`x` and :math:`p_x` the softmax of its logits.

    Raises:
      TypeError: embeddings that are not floating.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> za = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> zb = jnp.array([[0.8, 0.6], [-0.6, 0.8]])
      >>> print(jaxloss.nt_xent_loss(za, zb).round(4))
      [0.4302 0.4302]

    References:
      Chen et al., *A Simple Framework for Contrastive Learning of Visual
      Representations*, arXiv:2002.05709.

    Elsewhere: `NTXentLoss` of lightly (temperature 0.5). `ntxent` takes labels instead
    of two views.
    """
    check = Check("nt_xent_loss")
    check.reduction(reduction)
    check.base(base)
    (a, b), of = batch.embeddings(check, where, axis_name, za=za, zb=zb)
    tau = _temperature(check, temperature, of, a)
    cosines, partner, other = _of_views(a, b, of)
    logits = cosines / _twice(tau)
    # A masked view keeps its zeros: what it compares itself with does not matter.
    ours = jnp.concatenate([of.kept, of.kept])[:, None]
    logits = jnp.where(other | ~ours, logits, -jnp.inf)
    loss = rows.label_nll(logits, partner, 1)
    loss = in_base(_mean_of_views(loss), base)
    return reduce(
        loss,
        where=of.keep,
        weights=check.weights(weights, loss),
        reduction=reduction,
        axis_name=axis_name,
    )


@public
def decoupled_contrastive_loss(
    za: Input,
    zb: Input,
    *,
    temperature: Number = 0.1,
    sigma: Number | None = None,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Decoupled contrastive loss: NT-Xent without the positive in its denominator.

    .. math::
        \ell_i = \tfrac12 \bigl( \lambda(a_i, b_i) + \lambda(b_i, a_i) \bigr), \qquad
        \lambda(x, y) = -w_i \frac{\cos(x, y)}{\tau}
        + \log \sum_{z \notin \{a_i, b_i\}} e^{\cos(x, z) / \tau}

    with :math:`z` over the views of the other examples, and :math:`w_i = 1` (DCL) or,
    with `sigma` (DCLW), :math:`w_i = 2 - e^{\cos(a_i, b_i) / \sigma} /
    \operatorname{mean}_k e^{\cos(a_k, b_k) / \sigma}`, more for pairs that are far
    apart. Without any other example the loss is 0.

    Args:
      za: embeddings :math:`a` of the first views, floating, shape `[batch, features]`.
      zb: embeddings :math:`b` of the second views, the same shape.
      temperature: :math:`\tau`, above 0: a number, or one for each example, `[batch]`.
      sigma: :math:`\sigma`, above 0, of the weights; None for none. The weights are
        constants to the gradient.
      where: mask of the examples kept, `[batch]`; the others take part nowhere.
      weights: weight of each example, `[batch]`.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the examples kept).
      base: unit of the result: None for nats, 2 for bits.
      axis_name: inside `jax.shard_map`, the mesh axis over which the examples are
        spread; each then meets those of all devices, and sums are those of all. Static.

    Returns:
      The losses in nats (or of `base`), `[batch]`, float32 (float64 for float64
      embeddings), or a scalar when reduced. They may be negative.

    Numerics:
      As `nt_xent_loss`.

    Gradient:
      To the logit of :math:`x` and :math:`z`: :math:`-w_i / 2` for the partner of
      :math:`x`, half of the softmax over the others for them.

    Raises:
      TypeError: embeddings that are not floating.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> za = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> zb = jnp.array([[0.8, 0.6], [-0.6, 0.8]])
      >>> print(jaxloss.decoupled_contrastive_loss(za, zb, temperature=0.5).round(4))
      [-0.7367 -0.7367]

    References:
      Yeh et al., *Decoupled Contrastive Learning*, arXiv:2110.06848.

    Elsewhere: `DCLLoss` (temperature 0.1) and `DCLWLoss` (sigma 0.5) of lightly.
    """
    check = Check("decoupled_contrastive_loss")
    check.reduction(reduction)
    check.base(base)
    (a, b), of = batch.embeddings(check, where, axis_name, za=za, zb=zb)
    tau = _temperature(check, temperature, of, a)
    cosines, partner, other = _of_views(a, b, of)
    negative = other & ~axes.is_label(cosines, partner, 1)
    near = jnp.take_along_axis(cosines, partner, axis=1, mode="promise_in_bounds")
    attraction = near
    if sigma is not None:
        scalar = jax.ShapeDtypeStruct((), a.dtype)
        width = check.parameter("sigma", sigma, scalar, low=0, open_low=True)
        likeness = jax.lax.stop_gradient(near[: of.size, 0]) / width
        share = rows.softmax(jnp.where(of.kept, likeness, -jnp.inf), of.axis).p
        attraction = near * _twice(2 - of.count(a.dtype) * share)
    logits = cosines / _twice(tau)
    partition = rows.log_sum_exp(jnp.where(negative, logits, -jnp.inf), 1)
    some = jnp.any(negative, axis=1, keepdims=True)
    loss = jnp.where(some, partition, 0) - attraction / _twice(tau)
    loss = in_base(_mean_of_views(jnp.where(some, loss, 0)), base)
    return reduce(
        loss,
        where=of.keep,
        weights=check.weights(weights, loss),
        reduction=reduction,
        axis_name=axis_name,
    )


@public
def n_pair_loss(
    anchors: Input,
    positives: Input,
    *,
    length_penalty: Number = 0.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""N-pair loss: the positives of the other anchors are the negatives.

    .. math::
        \ell_i = \log \Bigl( 1 + \sum_{j \ne i} e^{a_i \cdot p_j - a_i \cdot p_i}
        \Bigr) + \lambda \bigl( |a_i|^2 + |p_i|^2 \bigr)

    Args:
      anchors: embeddings :math:`a`, floating, shape `[batch, features]`, one for each
        class: no two rows are of the same.
      positives: embeddings :math:`p`, each of the class of its anchor, the same shape.
        They are not normalised.
      length_penalty: :math:`\lambda`, at least 0; it holds the lengths, which the first
        term would let grow.
      where: mask of the pairs kept, `[batch]`; the others are no negatives either.
      weights: weight of each pair, `[batch]`.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the pairs kept).
      base: unit of the first term: None for nats, 2 for bits; the second one is divided
        along with it.
      axis_name: inside `jax.shard_map`, the mesh axis over which the pairs are spread;
        each then meets those of all devices, and sums are those of all. Static.

    Returns:
      The losses in nats (or of `base`), `[batch]`, float32 (float64 for float64
      embeddings), or a scalar when reduced.

    Numerics:
      A logit is good to a rounding of the product of two lengths. Accurate in relative
      terms for confident pairs.

    Gradient:
      With :math:`q_i` the softmax of :math:`a_i \cdot p_j` over j, :math:`q_{ij} -
      [i = j]` to that product.

    Raises:
      TypeError: embeddings that are not floating.
      ValueError: shapes that differ, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> anchors = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> positives = jnp.array([[2.0, 0.0], [1.0, 1.0]])
      >>> print(jaxloss.n_pair_loss(anchors, positives).round(4))
      [0.3133 0.3133]

    References:
      Sohn, *Improved Deep Metric Learning with Multi-class N-pair Loss Objective*,
      NeurIPS 2016.

    Elsewhere: `NPairsLoss` of pytorch-metric-learning, `npairs_loss` of TensorFlow
    Addons, both with labels. `info_nce_loss` is it without the array of all pairs.
    """
    check = Check("n_pair_loss")
    check.reduction(reduction)
    check.base(base)
    (a, p), of = batch.embeddings(
        check, where, axis_name, anchors=anchors, positives=positives
    )
    logits = batch.products(a, of.all(p))
    present = of.all(of.kept)[None, :] | ~of.kept[:, None]
    logits = jnp.where(present, logits, -jnp.inf)
    loss = rows.label_nll(logits, of.place()[:, None], 1)[:, 0]
    like = jax.ShapeDtypeStruct((of.size,), a.dtype)
    penalty = check.parameter("length_penalty", length_penalty, like, low=0)
    lengths = jnp.sum(jnp.square(a), 1) + jnp.sum(jnp.square(p), 1)
    loss = in_base(loss + penalty * lengths, base)
    return reduce(
        loss,
        where=of.keep,
        weights=check.weights(weights, loss),
        reduction=reduction,
        axis_name=axis_name,
    )


# ------------------------------------------------------------------ what they share


def _temperature(check: Check, temperature: Number, of: batch.Batch, x: Array) -> Array:
    like = jax.ShapeDtypeStruct((of.size,), x.dtype)
    tau = check.parameter("temperature", temperature, like, low=0, open_low=True)
    return jnp.where(of.kept, tau, 1) if tau.ndim else tau


def _twice(value: Array) -> Array:
    """A value per example for both of its views, lined up with rows of pairs."""
    return jnp.tile(value, 2)[:, None] if value.ndim else value


def _of_views(a: Array, b: Array, of: batch.Batch) -> tuple[Array, Array, Array]:
    """Cosines of all views, first a's then b's, `[2 here, 2 all]`; which of them is the
    other view of an example; and which are of two different views, both kept."""
    u = norms.unit(jnp.concatenate([a, b]), 1)
    cosines = batch.products(u, of.all(u))
    own = of.place(2)
    partner = jnp.roll(own, of.size)[:, None]
    kept = jnp.concatenate([of.kept, of.kept])
    other = kept[:, None] & of.all(kept)[None, :]
    return cosines, partner, other & ~batch.same(own, cosines.shape[1])


def _mean_of_views(loss: Array) -> Array:
    first, second = jnp.split(loss[:, 0], 2)
    return (first + second) / 2
