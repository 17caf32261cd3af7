"""Linear-chain conditional random fields: a label for every step of a sequence."""

import functools

import jax
import jax.numpy as jnp

from jaxloss._core import axes, padding, rows
from jaxloss._core.exact import Twofold
from jaxloss._core.mesh import beside
from jaxloss._core.numerics import in_base, softplus
from jaxloss._core.passes import bounded
from jaxloss._core.public import public
from jaxloss._core.reduce import reduce
from jaxloss._core.types import Array, Input, Reduction
from jaxloss._core.validate import Check, computing


@public
def crf_nll(
    logits: Input,
    labels: Input,
    *,
    transitions: Input,
    start_scores: Input | None = None,
    end_scores: Input | None = None,
    lengths: Input | None = None,
    where: Input | None = None,
    weights: Input | None = None,
    reduction: Reduction = "none",
    base: float | None = None,
) -> Array:
    r"""Linear-chain CRF: negative log-likelihood of the labels of a sequence.

    .. math::
        \ell = \log \sum_z e^{s(z)} - s(y), \qquad
        s(z) = a_{z_1} + \sum_t x_{t z_t} + \sum_{t > 1} A_{z_{t-1} z_t} + b_{z_T}

    Args:
      logits: scores :math:`x` of the classes at every step, floating, shape `[...,
        steps, classes]`; -inf is an absent class.
      labels: the classes :math:`y`, integer, shape `[..., steps]`.
      transitions: scores :math:`A` of a class (first axis) before another (second
        axis), floating, shape `[classes, classes]`; -inf is a transition that does not
        exist.
      start_scores: scores :math:`a` of the first class, floating, shape `[classes]`;
        zeros if left out.
      end_scores: scores :math:`b` of the last class, floating, shape `[classes]`; zeros
        if left out.
      lengths: the number of steps of each sequence, integer, of the losses' shape; all
        if left out. A length out of [0, steps] gives NaN.
      where: mask of the shape of `labels` (steps kept: the others are left out of the
        chain, wherever they are; a sequence without steps contributes nothing) or of
        the losses' shape (sequences kept). Axes may be 1.
      weights: weight of each sequence, of the losses' shape.
      reduction: `"none"`, `"sum"` or `"mean"` (weighted, over the sequences kept).
      base: unit of the result: None for nats, 2 for bits.

    Returns:
      The losses, in nats (or of `base`), float32 (float64 for float64 inputs): the
      shape of `labels` without the steps, or a scalar when reduced.

    Numerics:
      Every score is taken relative to that of the labels, :math:`x_{tk} - x_{t y_t}`
      and :math:`A_{jk} - A_{y_{t-1} y_t}`, so that the loss is the logarithm of 1 plus
      what all other sequences weigh beside the labels' own: offsets cancel exactly,
      confident chains keep value and gradient, and no loss is negative. Sums of scores
      keep what their roundings drop, as large ones may cancel. Labels that
      -inf excludes give +inf with gradient 0; a label that is no class gives NaN in
      value and gradient.

    Gradient:
      :math:`\partial \ell / \partial x_{tk} = P(z_t = k) - [y_t = k]` and
      :math:`\partial \ell / \partial A_{jk} = \sum_t P(z_{t-1} = j, z_t = k) -
      [y_{t-1} = j, y_t = k]`.

    Raises:
      TypeError: scores not floating, `labels` not integer.
      ValueError: shapes that do not fit, an option out of its range.

    Examples:
      >>> import jax.numpy as jnp, jaxloss
      >>> logits = jnp.array([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
      >>> transitions = jnp.array([[0.5, -0.5], [-0.5, 0.5]])
      >>> labels = jnp.array([0, 1, 1])
      >>> loss = jaxloss.crf_nll(logits, labels, transitions=transitions)
      >>> print(f"{loss:.4f}")
      1.6656

    References:
      Lafferty, McCallum, Pereira, *Conditional Random Fields*, ICML 2001.

    Elsewhere: `tensorflow_addons.text.crf_log_likelihood` (its negative),
    `torchcrf.CRF`; not in optax, torch or keras.
    """
    check = Check("crf_nll")
    check.reduction(reduction)
    check.base(base)
    x = check.floating("logits", logits)
    if x.ndim < 2:
        raise check.value_error(
            "logits",
            "of shape [..., steps, classes]",
            f"of shape {x.shape}",
            "Add the missing axis: logits[None] for a single step.",
        )
    classes = x.shape[-1]
    y = check.labels("labels", labels)
    check.shape("labels", y, x.shape[:-1])
    y = y.astype(jnp.int64 if y.dtype.itemsize == 8 else jnp.int32)
    scores = {"transitions": transitions}
    scores |= {} if start_scores is None else {"start_scores": start_scores}
    scores |= {} if end_scores is None else {"end_scores": end_scores}
    given = {name: check.floating(name, value) for name, value in scores.items()}
    for name, value in given.items():
        check.shape(name, value, (classes,) * (2 if name == "transitions" else 1))
    lead = y.shape[:-1]
    keep, there = check.where(where, loss=lead, output=y.shape, output_name="labels")
    if keep is not None:
        there = jnp.broadcast_to(keep[..., None], y.shape)
    exists = (y >= 0) & (y < classes)
    valid = jnp.ones(lead, bool)
    if lengths is not None:
        length, valid = padding.lengths(check, "lengths", lengths, lead, y.shape[-1])
        step = jax.lax.broadcasted_iota(jnp.int32, y.shape, len(lead))
        inside = step < length[..., None]
        there = inside if there is None else there & inside
    if there is None:
        there = jnp.ones(y.shape, bool)
    else:
        keep = jnp.any(there, axis=-1)
    valid = valid & jnp.all(exists | ~there, axis=-1)
    y = jnp.where(there & exists, y, 0).astype(jnp.int32)
    x, *values = computing(x, *given.values())
    given = dict(zip(given, values, strict=True))
    x = jnp.where(there[..., None], x, 0)
    none = jnp.zeros((classes,), x.dtype)
    first, last = (given.get(name, none) for name in ("start_scores", "end_scores"))
    loss = _nll(x, y, there, given["transitions"], first, last)
    loss = in_base(loss * jnp.where(valid, 1, jnp.nan).astype(loss.dtype), base)
    weights = check.weights(weights, loss)
    return reduce(loss, where=keep, weights=weights, reduction=reduction)


def _nll(
    x: Array, y: Array, there: Array, transitions: Array, first: Array, last: Array
) -> Array:
    """log(1 + Σ over the other sequences of e^(their score - the labels' score)).

    Step by step, `others[k]` is the logarithm of that sum over the sequences that have
    left the labels and are in class k now, and `impossible` says whether a score of
    the labels is -inf. A sequence is at the labels' class k = y either because it never
    left them, which is what the 1 counts, or because it has come back.
    """
    nowhere = jnp.full((*y.shape[:-1], x.shape[-1]), -jnp.inf, x.dtype)
    steps = (
        jnp.moveaxis(x, -2, 0),
        jnp.moveaxis(y, -1, 0)[..., None],
        jnp.moveaxis(there, -1, 0)[..., None],
    )

    def step(carry, inputs):
        others, before, begun, impossible = carry
        x, y, there = inputs
        x, lost = _relative(x, y)
        # From each class to each, relative to what the labels do: [..., from, to].
        flat = before[..., None] * last.shape[0] + y[..., None]
        pairs = jnp.broadcast_to(
            transitions.reshape(-1), (*y.shape[:-1], transitions.size)
        )
        moves, broken = _relative(pairs, jnp.squeeze(flat, -1))
        square = *y.shape[:-1], *transitions.shape
        moves = moves.each(lambda part: part.reshape(square))
        starts, unborn = _relative(jnp.broadcast_to(first, x.rounded.shape), y)
        is_own = axes.is_label(x.rounded, y, -1)
        leaving = moves.each(
            lambda part: jnp.squeeze(axes.take(part, before[..., None], -2), -2)
        )
        leaving = leaving.where(begun, starts)
        leaving = Twofold.of(nowhere).where(is_own, leaving)
        # An absent class is not there, whatever leads to it.
        stay = others.each(lambda part: part[..., None]).plus(moves)
        reached = jnp.where(begun[..., None], stay.rounded, -jnp.inf)
        after = _log_sum_exp(
            -2, stay._replace(rounded=reached), leaving.each(lambda a: a[..., None, :])
        )
        after = after.each(lambda part: jnp.squeeze(part, -2))
        after = after.plus(x).where(there, others)
        lost = lost | jnp.where(begun, broken, unborn)
        before = jnp.where(there, y, before)
        return (after, before, begun | there, impossible | (lost & there)), None

    one = nowhere[..., :1]
    off = jnp.zeros(one.shape, bool)
    start = (Twofold.of(nowhere), jnp.zeros(one.shape, y.dtype), off, off)
    start = beside(start, steps, transitions, first)
    (others, before, begun, impossible), _ = jax.lax.scan(step, start, steps)
    ends, lost = _relative(jnp.broadcast_to(last, others.rounded.shape), before)
    ahead = sum(_log_sum_exp(-1, others.plus(ends)))
    impossible = impossible | (lost & begun)
    loss = jnp.where(begun, softplus(jnp.where(begun, ahead, 0)), 0)
    return jnp.squeeze(jnp.where(impossible, jnp.inf, loss), -1)


def _log_sum_exp(axis: int, *terms: Twofold) -> Twofold:
    """log Σ e^x over the axis, kept with size 1, of all terms."""
    peaks = (jnp.max(x.rounded, axis=axis, keepdims=True) for x in terms)
    peak = bounded(jax.lax.stop_gradient(functools.reduce(jnp.maximum, peaks)))
    below = [(x.rounded - peak) + x.dropped for x in terms]
    total = rows.log_sum_exp(jnp.concatenate(below, axis), axis)
    return Twofold.of(peak).plus(Twofold.of(total))


def _relative(scores: Array, label: Array) -> tuple[Twofold, Array]:
    """Scores minus that of the label; and whether that one is -inf.

    At the label itself the difference is 0 and has no derivative, so that those of the
    others are all that counts.
    """
    own = axes.take(scores, label, -1)
    lost = own == -jnp.inf
    own = jnp.broadcast_to(jnp.where(lost, 0, own), scores.shape)
    zero = Twofold.of(jnp.zeros_like(scores))
    is_own = axes.is_label(scores, label, -1)
    return zero.where(is_own, Twofold.of(scores).plus(Twofold.of(-own))), lost
