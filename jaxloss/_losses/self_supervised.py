"""Losses that learn representations from pairs of examples in a batch."""

import jax
import jax.numpy as jnp

from jaxloss._core import batch, norms, rows
from jaxloss._core.numerics import in_base, softplus
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Number, Reduction
from jaxloss._core.validate import Check


@public
def ntxent(
    embeddings: Input,
    labels: Input,
    temperature: Number = 0.07,
    *,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "mean",
    base: float | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""NT-Xent: each example is to be found by its positives among its negatives.

    .. math::
        \ell_{ij} = -\log \frac{e^{s_{ij}}}{e^{s_{ij}} + \sum_{k \in N_i} e^{s_{ik}}},
        \qquad s_{ij} = \frac{\hat x_i \cdot \hat x_j}{\tau}

    for every pair of an example :math:`i` and a positive :math:`j \in P_i`, another
    example with the label of :math:`i`. The negatives :math:`N_i` are the examples with
    other labels: the other positives of :math:`i` are not among them. The loss is the
    mean over all such pairs.

    Args:
      embeddings: :math:`x`, floating, shape `[batch, features]`.
      labels: integers, shape `[batch]`; examples with the same label are positives of
        each other.
      temperature: :math:`\tau`, above 0: a number, or one for each example, `[batch]`.
      where: mask of the examples kept, shape `[batch]`. The others are nobody's
        positive and nobody's negative.
      weights: weight of each example as :math:`i`, shape `[batch]`.
      reduction: `"none"` gives :math:`\ell_i = \sum_{j \in P_i} \ell_{ij}`, shape
        `[batch]`; `"sum"` is :math:`\sum_i w_i \ell_i`; `"mean"`, the default as in
        optax, divides it by :math:`\sum_i w_i |P_i|`. Without any pair it is 0.
      base: unit of the result: None for nats, 2 for bits.
      axis_name: inside `jax.shard_map`, the mesh axis over which the examples are
        spread; each then meets those of all devices, and sums are those of all. Static.

    Returns:
      The loss in nats (or of `base`), float32 (float64 for float64 embeddings), a
      scalar unless `reduction="none"`.

    Numerics:
      Independent of the lengths of the embeddings; the zero vector has similarity 0 to
      all others, and no gradient. A similarity is good to a rounding of 1, and so a
      logit to a rounding of :math:`1 / \tau`. Time :math:`O(B^2 D)` in one matrix
      product, memory :math:`O(B^2 + B D)`, also for the gradient.

    Gradient:
      With :math:`g_{ij} = \sigma(L_i - s_{ij})`, :math:`L_i = \log \sum_{k \in N_i}
      e^{s_{ik}}`: :math:`\partial \ell_i / \partial s_{ij} = -g_{ij}` for positives and
      :math:`e^{s_{ik} - L_i} \sum_{j \in P_i} g_{ij}` for negatives.

    Raises:
      TypeError: `embeddings` not floating, or `labels` not integers.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> embeddings = jnp.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]])
      >>> labels = jnp.array([0, 0, 1, 1])
      >>> print(f"{jaxloss.ntxent(embeddings, labels, temperature=0.5):.4f}")
      0.4302

    References:
      Chen et al., *A Simple Framework for Contrastive Learning of Visual
      Representations*, arXiv:2002.05709; Sohn, *Improved Deep Metric Learning with
      Multi-class N-pair Loss Objective*, NeurIPS 2016.

    Elsewhere: `optax.losses.ntxent`, `NTXentLoss` of pytorch-metric-learning.
    """
    check = Check("ntxent")
    check.reduction(reduction)
    check.base(base)
    (x,), of = batch.embeddings(check, where, axis_name, embeddings=embeddings)
    positive, negative = of.pairs(labels)
    like = jax.ShapeDtypeStruct((of.size,), x.dtype)
    tau = check.parameter("temperature", temperature, like, low=0, open_low=True)
    if of.keep is not None and tau.ndim:
        tau = jnp.where(of.keep, tau, 1)

    directions = norms.unit(x, axis=1)
    logits = batch.products(directions, of.all(directions)) / batch.spread(tau)
    # -log of the share of one positive beside all negatives: softplus(L_i - s_ij).
    partition = rows.log_sum_exp(jnp.where(negative, logits, -jnp.inf), 1)
    pairs = jnp.where(positive, softplus(partition - logits), 0)
    loss = in_base(jnp.sum(pairs, axis=1), base)
    return reduce(
        loss,
        where=of.keep,
        weights=check.weights(weights, loss),
        normalizer=jnp.sum(positive.astype(x.dtype), axis=1),
        reduction=reduction,
        axis_name=axis_name,
    )
