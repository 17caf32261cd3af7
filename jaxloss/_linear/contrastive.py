"""Contrastive losses: the embeddings of the other side are the head.

The logits `[N, M]` of all pairs are those of a linear head whose kernel is the other
side's embeddings, so they are never held either.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxloss._core import axes, rows
from jaxloss._core.explicit import automatic
from jaxloss._core.mesh import Tree
from jaxloss._core.numerics import in_base, softplus
from jaxloss._core.reduce import divided
from jaxloss._core.types import Array, Implementation, Input, Number, Reduction
from jaxloss._core.validate import Check
from jaxloss._linear.head import Settings, compute, head
from jaxloss._linear.product import accumulator

Row = Callable[[Array, Array], Array]
"""(logits [rows, columns], the column of each row's partner [rows, 1]) -> [rows].
A column that is not kept holds -inf."""


@automatic
def info_nce_loss(
    queries: Input,
    keys: Input,
    labels: Input | None = None,
    *,
    scale: Number = 1.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "mean",
    base: float | None = None,
    chunk_size: int | None = None,
    axis_name: str | None = None,
    implementation: Implementation | None = None,
) -> Array:
    r"""InfoNCE: which of all keys belongs to a query, without the logits of all pairs.

    .. math::
        \ell_i = -\log \frac{e^{s\, q_i \cdot k_{y_i}}}{\sum_j e^{s\, q_i \cdot k_j}}

    Args:
      queries: embeddings, floating, `[N, features]`; normalise them first if cosines
        are meant.
      keys: embeddings of the candidates, `[M, features]`.
      labels: the key of each query, `[N]` integers; by default key i belongs to query
        i, and further keys are negatives of all.
      scale: multiplies the products: 1 / temperature, above 0. May be trained.
      where: queries kept, `[N]`.
      weights: weight of each query, `[N]`.
      reduction: `"mean"` (weighted, over the queries kept), `"sum"` or `"none"`.
      base: unit of the result: None for nats, 2 for bits.
      chunk_size: queries at a time; None chooses. Static.
      axis_name: inside `jax.shard_map`, the mesh axis over which queries and keys are
        spread; each device's `labels` count its own keys. A query then meets the keys
        of all devices, and sums and means are those of all.
      implementation: None chooses; "xla" runs everywhere.

    Returns:
      The loss in nats (or of `base`), float32 (float64 for float64 inputs): a scalar,
      or `[N]`.

    Numerics:
      As `linear_softmax_cross_entropy`; a label outside [0, M) gives NaN.

    Gradient:
      With :math:`p_i` the softmax of row i: :math:`s \sum_j (p_{ij} - [j = y_i]) k_j`
      to query i, :math:`s \sum_i (p_{ij} - [j = y_i]) q_i` to key j.

    Raises:
      TypeError: an array not of the kind described, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> queries = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> keys = jnp.array([[0.8, 0.6], [-0.6, 0.8]])
      >>> print(f"{jaxloss.info_nce_loss(queries, keys, scale=10.0):.4f}")
      0.0635

    References:
      van den Oord et al., *Representation Learning with Contrastive Predictive Coding*,
      arXiv:1807.03748.

    Elsewhere: `lightly`'s `NTXentLoss`; `optax.losses.ntxent` is its form for views of
    one batch.
    """
    check = Check("info_nce_loss")
    q, k = _embeddings(check, queries=queries, keys=keys)
    if labels is not None:
        y = check.labels("labels", labels)
        check.shape("labels", y, q.shape[:1])
    elif k.shape[0] >= q.shape[0]:
        y = jnp.arange(q.shape[0])
    else:
        raise check.value_error(
            "keys",
            f"at least as many as the {q.shape[0]} queries, one for each",
            f"of shape {k.shape}",
            "Pass `labels` to say which key belongs to which query.",
        )
    pairs = _Pairs(check, axis_name, chunk_size, implementation, reduction, weights)
    pairs = pairs.of(q, where)
    loss = pairs.losses(_cross_entropy(check, base), q, k, y, scale, mask_keys=False)
    return pairs.reduced(loss)


@automatic
def clip_loss(
    images: Input,
    texts: Input,
    *,
    scale: Number = 1.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "mean",
    base: float | None = None,
    chunk_size: int | None = None,
    axis_name: str | None = None,
    implementation: Implementation | None = None,
) -> Array:
    r"""CLIP's symmetric contrastive loss, without the logits of all pairs.

    .. math::
        \ell_i = \tfrac12 \Bigl(
            -\log \frac{e^{s\, x_i \cdot y_i}}{\sum_j e^{s\, x_i \cdot y_j}}
            -\log \frac{e^{s\, x_i \cdot y_i}}{\sum_j e^{s\, x_j \cdot y_i}} \Bigr)

    Args:
      images: embeddings, floating, `[N, features]`; normalise them first if cosines
        are meant, as CLIP does.
      texts: embeddings of their partners, `[N, features]`.
      scale: multiplies the products: 1 / temperature, above 0. May be trained.
      where: pairs kept, `[N]`; the others are no negatives either.
      weights: weight of each pair, `[N]`.
      reduction: `"mean"` (weighted, over the pairs kept), `"sum"` or `"none"`.
      base: unit of the result: None for nats, 2 for bits.
      chunk_size: rows at a time; None chooses. Static.
      axis_name: inside `jax.shard_map`, the mesh axis over which the pairs are spread;
        each pair then meets those of all devices, and sums and means are those of all.
      implementation: None chooses; "xla" runs everywhere.

    Returns:
      The loss in nats (or of `base`), float32 (float64 for float64 inputs): a scalar,
      or `[N]`.

    Numerics:
      As `linear_softmax_cross_entropy`.

    Gradient:
      With P and Q the softmaxes of rows and columns: of a sum,
      :math:`s (\tfrac12 (P + Q) - I) Y` to the images, the transpose times the images
      to the texts.

    Raises:
      TypeError: an array not of the kind described, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> images = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> texts = jnp.array([[0.8, 0.6], [-0.6, 0.8]])
      >>> print(f"{jaxloss.clip_loss(images, texts, scale=10.0):.4f}")
      0.0635

    References:
      Radford et al., *Learning Transferable Visual Models From Natural Language
      Supervision*, arXiv:2103.00020.

    Elsewhere: open_clip's `ClipLoss`.
    """
    check = Check("clip_loss")
    x, y = _embeddings(check, images=images, texts=texts)
    check.same_shape(images=x, texts=y)
    pairs = _Pairs(check, axis_name, chunk_size, implementation, reduction, weights)
    pairs = pairs.of(x, where)
    row, own = _cross_entropy(check, base), jnp.arange(x.shape[0])
    of_images = pairs.losses(row, x, y, own, scale)
    of_texts = pairs.losses(row, y, x, own, scale)
    return pairs.reduced((of_images + of_texts) / 2)


@automatic
def siglip_loss(
    images: Input,
    texts: Input,
    *,
    scale: Number = 1.0,
    bias: Number = 0.0,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "mean",
    base: float | None = None,
    chunk_size: int | None = None,
    axis_name: str | None = None,
    implementation: Implementation | None = None,
) -> Array:
    r"""SigLIP's pairwise sigmoid loss, without the logits of all pairs.

    .. math::
        \ell_i = \sum_j \operatorname{softplus}\bigl(-z_{ij} (s\, x_i \cdot y_j + b)
        \bigr), \qquad z_{ij} = 2 [i = j] - 1

    Args:
      images: embeddings, floating, `[N, features]`; normalise them first if cosines
        are meant, as SigLIP does.
      texts: embeddings of their partners, `[N, features]`.
      scale: multiplies the products, above 0. May be trained.
      bias: added to the logits (SigLIP starts at -10). May be trained.
      where: pairs kept, `[N]`; the others are no negatives either.
      weights: weight of each image, `[N]`.
      reduction: `"mean"` (weighted, over the images kept), `"sum"` or `"none"`.
      base: unit of the result: None for nats, 2 for bits.
      chunk_size: rows at a time; None chooses. Static.
      axis_name: inside `jax.shard_map`, the mesh axis over which the pairs are spread.
      implementation: None chooses; "xla" runs everywhere.

    Returns:
      The loss in nats (or of `base`), float32 (float64 for float64 inputs): a scalar,
      or `[N]`.

    Numerics:
      Every term is accurate for confident pairs too, down to the smallest float.

    Gradient:
      :math:`-z_{ij}\, \sigma(-z_{ij} l_{ij})` to the logit :math:`l_{ij}`.

    Raises:
      TypeError: an array not of the kind described, a traced static option.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> images = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> texts = jnp.array([[0.8, 0.6], [-0.6, 0.8]])
      >>> print(f"{jaxloss.siglip_loss(images, texts, scale=10.0, bias=-5.0):.4f}")
      0.7053

    References:
      Zhai et al., *Sigmoid Loss for Language Image Pre-Training*, arXiv:2303.15343.

    Elsewhere: open_clip's `SigLipLoss`.
    """
    check = Check("siglip_loss")
    check.base(base)
    x, y = _embeddings(check, images=images, texts=texts)
    check.same_shape(images=x, texts=y)
    pairs = _Pairs(check, axis_name, chunk_size, implementation, reduction, weights)
    pairs = pairs.of(x, where)

    def row(z: Array, label: Array) -> Array:
        # A logit of -inf, of a column not kept, contributes softplus(-inf) = 0.
        losses = softplus(jnp.where(axes.is_label(z, label, 1), -z, z))
        return in_base(jnp.sum(losses, axis=1), base)

    own = jnp.arange(x.shape[0])
    return pairs.reduced(pairs.losses(row, x, y, own, scale, bias))


# ------------------------------------------------------------------ what they share


def _embeddings(check: Check, **arguments: Input) -> tuple[Array, Array]:
    """Both sides, `[N, features]` and `[M, features]`."""
    sides = {name: check.floating(name, value) for name, value in arguments.items()}
    (first, x), (second, y) = sides.items()
    for name, side in sides.items():
        if side.ndim != 2:
            raise check.value_error(
                name,
                "of shape [batch, features]",
                f"of shape {side.shape}",
                "Flatten the axes of one embedding; use jax.vmap for several batches.",
            )
    if x.shape[1] != y.shape[1]:
        raise check.value_error(
            second,
            f"of {x.shape[1]} features, as `{first}` is",
            f"of shape {y.shape}",
            "Both sides are embedded in the same space.",
        )
    return x, y


def _cross_entropy(check: Check, base: float | None) -> Row:
    check.base(base)
    return lambda z, label: in_base(rows.label_nll(z, label, 1)[:, 0], base)


@dataclasses.dataclass(frozen=True)
class _Pairs:
    """Rows of one side against all of the other side, on one device or on many."""

    check: Check
    axis_name: str | None
    chunk_size: int | None
    implementation: Implementation | None
    reduction: Reduction
    given_weights: Input | None
    size: int = 0
    """How many rows there are here."""
    keep: Array | None = None
    share: Array | None = None
    """What each row counts."""

    def of(self, x: Array, where: Input | None) -> "_Pairs":
        """With mask and weights for these rows."""
        check = self.check
        check.reduction(self.reduction)
        if self.axis_name is not None:
            check.axis_name(self.axis_name)
        keep, _ = check.where(where, loss=x.shape[:1])
        like = jax.ShapeDtypeStruct(x.shape[:1], accumulator(x.dtype))
        share = check.weights(self.given_weights, like)
        return dataclasses.replace(self, size=x.shape[0], keep=keep, share=share)

    def losses(
        self,
        row: Row,
        x: Array,
        y: Array,
        label: Array,
        scale: Number,
        bias: Number | None = None,
        *,
        mask_keys: bool = True,
    ) -> Array:
        """One by one, or their weighted sum on this device."""
        check = self.check
        scalar = jax.ShapeDtypeStruct((), accumulator(x.dtype, y.dtype))
        scale = check.parameter("scale", scale, scalar, low=0, open_low=True)
        if bias is not None:
            bias = check.parameter("bias", bias, scalar)
        kept = self.keep if mask_keys else None
        if kept is not None:
            y = jnp.where(kept[:, None], y, 0)
        # A label that does not exist here must not become another device's.
        label = jnp.where((label >= 0) & (label < y.shape[0]), label, -1)
        if self.axis_name is not None:
            first = jax.lax.axis_index(self.axis_name) * y.shape[0]
            label = jnp.where(label < 0, label, label + first.astype(label.dtype))
            y, kept = jax.tree.map(
                lambda a: jax.lax.all_gather(a, self.axis_name, tiled=True), (y, kept)
            )
        settings = Settings(
            class_axis=0,
            chunk_size=self.chunk_size,
            implementation=self.implementation,
        )
        states = head(check, x, y, None, settings).drop(self.keep)

        def run(z: Array, shared: Tree, label: Array) -> Array:
            scale, bias, kept = shared
            z = z * scale
            z = z if bias is None else z + bias
            if kept is not None:
                z = jnp.where(kept[None, :], z, -jnp.inf)
            return row(z, label[:, None])

        return compute(
            check,
            states,
            run,
            (scale, bias, kept),
            label,
            weights=self.share,
            reduction="none" if self.reduction == "none" else "sum",
            arrays=3,
        )

    def reduced(self, loss: Array) -> Array:
        """Over all devices."""
        if self.reduction == "none":
            return loss
        if self.reduction == "sum":
            return self._everywhere(loss)
        counts = [a for a in (self.keep, self.share) if a is not None]
        ones = jnp.ones(self.size, loss.dtype)
        count = functools.reduce(lambda n, a: n * a.astype(n.dtype), counts, ones)
        return divided(self._everywhere(loss), self._everywhere(jnp.sum(count)))

    def _everywhere(self, here: Array) -> Array:
        return here if self.axis_name is None else jax.lax.psum(here, self.axis_name)
