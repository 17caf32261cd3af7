"""The fused form of any loss on rows of logits."""

from collections.abc import Callable, Sequence
from typing import Protocol

import jax
import jax.numpy as jnp

from jaxloss._core import explained
from jaxloss._core.explicit import automatic
from jaxloss._core.mesh import Tree
from jaxloss._core.types import Array, Implementation, Input, Reduction
from jaxloss._core.validate import Check
from jaxloss._linear.engine import Backward
from jaxloss._linear.head import Head, Settings, compute, head


class FusedLoss(Protocol):
    """A loss on the logits of a head, without the logits."""

    def __call__(
        self,
        hidden: Input,
        kernel: Input,
        *targets: Input,
        bias: Input | None = None,
        where: Input | None = None,
        weights: Input | None = None,
        reduction: Reduction = "mean",
        class_axis: int = -1,
        chunk_size: int | None = None,
        max_tokens: int | None = None,
        backward: Backward = "recompute",
        implementation: Implementation | None = None,
    ) -> Array: ...


def linear_loss(row_loss: Callable[..., Array]) -> FusedLoss:
    r"""The fused form of any loss on the logits of a head, `hidden @ kernel + bias`.

    .. math::
        \ell_i = f(h_i W + b, t_i)

    Args:
      row_loss: `(logits [rows, classes], *targets [rows, ...]) -> losses [rows]`, each
        loss depending on its own row only: a loss of this library (with its options,
        `functools.partial`), or a function of yours. It is given float32 logits a chunk
        at a time, and may close over arrays; those get gradients too.

    Returns:
      `loss(hidden, kernel, *targets, *, bias, where, weights, reduction, class_axis,
      chunk_size, max_tokens, backward, implementation)`, as
      `linear_softmax_cross_entropy` takes them: `hidden` is `[..., hidden]`, every
      target `[..., *]` with the same leading axes, `where` and `weights` `[...]`, the
      reduction `"mean"` if nothing else is said.

    Numerics:
      The losses and their derivatives are those of `row_loss` on float32 logits.

    Gradient:
      Whatever `row_loss` has: its derivative with respect to a chunk of logits, times
      the kernel and the hidden states. Targets get gradients too.

    Raises:
      TypeError: `row_loss` cannot be called.
      ValueError: it does not return one loss for each row.

    Examples:
      >>> import functools, jax.numpy as jnp, jaxloss
      >>> focal = functools.partial(jaxloss.softmax_focal_loss, gamma=2.0)
      >>> loss = jaxloss.linear_loss(focal)
      >>> hidden, kernel = jnp.ones((4, 8)), jnp.zeros((8, 10))
      >>> print(f"{loss(hidden, kernel, jnp.array([0, 1, 2, 3])):.4f}")
      1.8651

    References:
      Hsu et al., *Liger Kernel*, arXiv:2410.10989.

    Elsewhere: Liger Kernel has a fused form of each of a few losses.
    """
    check = Check("linear_loss")
    if not callable(row_loss):
        raise check.type_error(
            "row_loss",
            "a function of logits and targets",
            f"a {type(row_loss).__name__}",
            "Pass the function itself: linear_loss(jaxloss.softmax_focal_loss).",
        )

    @automatic
    def fused(
        hidden: Input,
        kernel: Input,
        *targets: Input,
        bias: Input | None = None,
        where: Input | None = None,
        weights: Input | None = None,
        reduction: Reduction = "mean",
        class_axis: int = -1,
        chunk_size: int | None = None,
        max_tokens: int | None = None,
        backward: Backward = "recompute",
        implementation: Implementation | None = None,
    ) -> Array:
        check.reduction(reduction)
        settings = Settings(
            class_axis, chunk_size, max_tokens, None, backward, implementation
        )
        x = head(check, hidden, kernel, bias, settings)
        keep, _ = check.where(where, loss=x.shape)
        return apply(
            check,
            row_loss,
            x.drop(None if keep is None else keep.reshape(-1)),
            targets,
            weights=weights,
            reduction=reduction,
        )

    return fused


def apply(
    check: Check,
    row_loss: Callable[..., Array],
    x: Head,
    targets: Sequence[Input],
    *,
    weights: Input | None,
    reduction: Reduction,
) -> Array:
    """The fused form of a loss on rows, for a head already checked and masked."""
    flat = []
    for i, target in enumerate(targets):
        t = check.array(f"targets[{i}]", target)
        if t.shape[: len(x.shape)] != x.shape:
            raise check.value_error(
                f"targets[{i}]",
                f"of shape {x.shape}, as `hidden` is without its last axis, or with "
                "further axes behind",
                f"of shape {t.shape}",
                "What is the same for all tokens may be closed over by the loss.",
            )
        t = x.flat(t)
        if x.keep is not None:
            # That of a token that is kept, or zeros if none is: what is masked may hold
            # anything.
            keep = x.keep.reshape(-1, *[1] * (t.ndim - 1))
            safe = jnp.where(jnp.any(x.keep), t[jnp.argmax(x.keep)], 0)
            t = jnp.where(keep, t, jax.lax.stop_gradient(safe))
        flat.append(t)
    like = jax.ShapeDtypeStruct((x.chunk, x.classes_here), x.like.dtype)
    chunks = [jax.ShapeDtypeStruct((x.chunk, *t.shape[1:]), t.dtype) for t in flat]
    # What the loss closes over becomes an argument, so that it has derivatives.
    # What the loss would say of itself on logits is not what runs.
    with explained.collecting():
        row, closed_over = jax.closure_convert(row_loss, like, *chunks)
    returned = jax.eval_shape(row, like, *chunks, *closed_over)
    if not hasattr(returned, "shape") or returned.shape != (x.chunk,):
        raise check.value_error(
            "row_loss",
            f"a function that returns one loss for each row, of shape ({x.chunk},)",
            f"one that returns {returned}",
            'A loss of this library does with reduction="none", its default.',
        )

    def run(z: Array, shared: Tree, per_token: Tree) -> Array:
        return row(z, *per_token, *shared)

    return compute(
        check,
        x,
        run,
        tuple(jnp.asarray(value) for value in closed_over),
        tuple(flat),
        weights=weights,
        reduction=reduction,
        arrays=3,
    )
