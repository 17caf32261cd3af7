"""Losses against learned representatives of the classes."""

import jax
import jax.numpy as jnp

from jaxloss._core import axes, batch, norms, rows
from jaxloss._core.numerics import softplus
from jaxloss._core.public import public
from jaxloss._core.reduce import divided
from jaxloss._core.types import Array, Input, Number
from jaxloss._core.validate import Check, computing


@public
def proxy_anchor_loss(
    embeddings: Input,
    proxies: Input,
    *,
    labels: Input,
    margin: Number = 0.1,
    alpha: Number = 32.0,
    ignore_index: int | None = None,
    where: Input | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Proxy-anchor loss: each class's proxy pulls its examples and pushes the others.

    .. math::
        L = \frac{1}{|C^+|} \sum_{c \in C^+} \log \Bigl( 1 + \sum_{i: y_i = c}
        e^{-\alpha (s_{ic} - \delta)} \Bigr) + \frac{1}{|C|} \sum_c \log \Bigl( 1 +
        \sum_{i: y_i \ne c} e^{\alpha (s_{ic} + \delta)} \Bigr)

    with :math:`s_{ic}` the cosine between example :math:`i` and proxy :math:`c`, and
    :math:`C^+` the classes of which there are examples.

    Args:
      embeddings: floating, shape `[batch, features]`.
      proxies: a trained vector for each class, real, shape `[classes, features]`.
      labels: integers, `[batch]`.
      margin: :math:`\delta`.
      alpha: :math:`\alpha`, above 0.
      ignore_index: a label whose examples take part nowhere. Static.
      where: mask of the examples kept, `[batch]`; the others take part nowhere.
      axis_name: inside `jax.shard_map`, the mesh axis over which the examples are
        spread; the proxies are the same everywhere, and the loss is that of the whole
        batch. Static.

    Returns:
      One number for the batch, float32 (float64 for float64 inputs): the loss is a sum
      over classes, not over examples.

    Numerics:
      Independent of the lengths of all vectors; no exponential overflows. A label
      outside [0, classes) gives NaN. Over devices, two small messages.

    Gradient:
      With :math:`h_c` = 1 + the sum inside the logarithm: :math:`-\alpha e^{-\alpha
      (s_{ic} - \delta)} / (h_c |C^+|)` to :math:`s_{ic}` of an example of class c,
      :math:`\alpha e^{\alpha (s_{ic} + \delta)} / (h_c |C|)` of any other.

    Raises:
      TypeError: `embeddings` not floating, `labels` not integers.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> embeddings = jnp.array([[1.0, 0.0], [0.8, 0.6]])
      >>> proxies = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> labels = jnp.array([0, 1])
      >>> print(f"{jaxloss.proxy_anchor_loss(embeddings, proxies, labels=labels):.3f}")
      16.020

    References:
      Kim et al., *Proxy Anchor Loss for Deep Metric Learning*, arXiv:2003.13911.

    Elsewhere: `ProxyAnchorLoss` of pytorch-metric-learning, which holds the proxies.
    """
    check = Check("proxy_anchor_loss")
    check.static(ignore_index=ignore_index)
    p = check.real("proxies", proxies)
    y = check.labels("labels", labels)
    (x,), of = batch.embeddings(check, where, axis_name, embeddings=embeddings)
    if p.ndim != 2 or p.shape[1] != x.shape[1]:
        raise check.value_error(
            "proxies",
            f"of shape [classes, {x.shape[1]}], as `embeddings` has features",
            f"of shape {p.shape}",
            "Both are embedded in the same space.",
        )
    check.shape("labels", y, (of.size,))
    kept = of.kept
    if ignore_index is not None:
        kept = kept & (y != ignore_index)
        x = jnp.where(kept[:, None], x, 0)
    x, p = computing(x, p)
    scalar = jax.ShapeDtypeStruct((), x.dtype)
    delta = check.parameter("margin", margin, scalar)
    a = check.parameter("alpha", alpha, scalar, low=0, open_low=True)
    cosines = batch.products(norms.unit(x, 1), norms.unit(p, 1))
    # A factor of NaN, unlike a selection, reaches the gradient too.
    exists = (y >= 0) & (y < p.shape[0]) | ~kept
    cosines = cosines * jnp.where(exists, 1, jnp.nan)[:, None]
    own = batch.same(y, p.shape[0])

    def term(logits: Array, chosen: Array) -> Array:
        logits = jnp.where(chosen, logits, -jnp.inf)
        return softplus(rows.log_sum_exp(logits, of.axis))[0]

    kept = kept[:, None]
    pull = term(a * (delta - cosines), kept & own)
    push = term(a * (cosines + delta), kept & ~own)
    present = axes.total((kept & own).astype(x.dtype), of.axis)[0] > 0
    pull = divided(jnp.sum(pull), jnp.sum(present.astype(x.dtype)))
    return pull + divided(jnp.sum(push), jnp.asarray(p.shape[0], x.dtype))
