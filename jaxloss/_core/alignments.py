"""Sums over all alignments of a label sequence with frames: the lattice of CTC.

A path gives every frame a class. It spells a label sequence: repetitions merged, then
blanks removed. P is the probability of the paths that spell the labels.

Two things matter of a path that has been read so far: how many labels it has spelt, and
whether its last frame was a blank. So the states are `blank[n]`, n labels and then a
blank, and `label[n]`, n labels of which the last is still held; arrays of them are
[batch, labels + 1], and label[0], which does not exist, stays 0. A frame does this:

    blank'[n] = (blank[n] + label[n]) p(blank)
    label'[n] = (label[n] + entering[n]) p(the n-th label)
    entering[n + 1] = blank[n] + (label[n] unless the next label repeats it)

Any other class leads out of the states: the path is lost.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core import axes, rows, scaled
from jaxloss._core.mesh import beside
from jaxloss._core.scaled import Scaled
from jaxloss._core.types import Array


class Sequences(NamedTuple):
    """Which frames count, and the labels to spell."""

    skipped: Array
    """[batch, frames]: the frames that are not there."""
    labels: Array
    """[batch, labels]: classes; behind the last label, the number of classes."""
    length: Array
    """[batch, 1]: the number of labels."""


class States(NamedTuple):
    """What has been spelt: [batch, labels + 1] each."""

    blank: Any
    label: Any


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def nll(blank_id: int, logits: Array, sequences: Sequences) -> Array:
    """-log P, [batch], of logits [batch, frames, classes]; inf if no path spells it.

    The logits of skipped frames are finite.
    """
    frames = _frames(blank_id, logits, sequences)
    end, _ = _read(frames, lambda *_: None)
    return _loss(frames, end)


@nll.defjvp
def _(blank_id, primals, tangents):
    # d(-log P) = Σ_t Σ_k (p_k - γ_k) dx_k, where γ_k is the share of P that has class k
    # in frame t.
    (logits, sequences), (dx, _) = primals, tangents
    loss, gradient = _loss_and_gradient(_frames(blank_id, logits, sequences))
    return loss, jnp.sum(gradient * dx, axis=(1, 2))


def forward(blank_id: int, logits: Array, sequences: Sequences) -> States:
    """The states after every frame: [frames, batch, labels + 1]."""
    frames = _frames(blank_id, logits, sequences)
    return _read(frames, lambda before, entering, after: after)[1]


# ------------------------------------------------------------------ reading


class _Frames(NamedTuple):
    """What the lattice sees of a batch."""

    logits: Array
    """[batch, frames, classes]."""
    log_p: Array
    """[frames, batch, labels + 1]: of the labels; at 0, of the blank."""
    skipped: Array
    """[frames, batch, 1]."""
    classes: Array
    """[batch, labels + 1]: the classes of `log_p`."""
    last: Array
    """[batch, labels + 1]: the label that a state has spelt last."""
    next: Array
    """[batch, labels + 1]: the label that comes next."""
    length: Array
    """[batch, 1]: the index of the states that have spelt all labels."""
    blank_id: int

    @property
    def repeats(self) -> Array:
        """Where the next label repeats the last one."""
        return self.last == self.next

    @property
    def complete(self) -> Array:
        """Where all labels are spelt."""
        return self._index == self.length

    @property
    def start(self) -> States:
        """The states before the first frame: nothing has been spelt."""
        blank = (self._index == 0).astype(self.log_p.dtype)
        return States(blank, jnp.zeros_like(blank))

    @property
    def _index(self) -> Array:
        return jax.lax.broadcasted_iota(self.length.dtype, self.last.shape, 1)

    def at_end(self, states: Any) -> Any:
        """The complete states: [batch, 1]."""
        return jax.tree.map(
            lambda a: jnp.take_along_axis(a, self.length, axis=1), states
        )


def _frames(blank_id: int, logits: Array, sequences: Sequences) -> _Frames:
    skipped, labels, length = sequences
    none = jnp.full_like(length, logits.shape[-1])
    classes = jnp.concatenate([jnp.full_like(length, blank_id), labels], axis=1)
    log_p = -axes.take(rows.nll(logits, -1), classes[:, None], -1)
    # What is behind the last label is not there.
    log_p = jnp.where((classes == none)[:, None], -jnp.inf, log_p)
    return _Frames(
        logits=logits,
        log_p=jnp.moveaxis(log_p, 1, 0),
        skipped=skipped.T[..., None],
        classes=classes,
        last=jnp.concatenate([none, labels], axis=1),
        next=jnp.concatenate([labels, none], axis=1),
        length=length,
        blank_id=blank_id,
    )


def _read(
    frames: _Frames, record: Callable[[States, Scaled, States], Any]
) -> tuple[States, Any]:
    """The states in the end, and for each frame a record of what it did.

    `record` is given the states before the frame, what enters the labels, and the
    states after the frame.
    """
    repeats = frames.repeats

    def step(before: States, frame: tuple[Array, Array]) -> tuple[States, Any]:
        log_p, skipped = frame
        p = scaled.exp(log_p)
        either = scaled.add(before.blank, before.label)
        leaving = _select(repeats, before.blank, either)
        entering = Scaled(
            _onwards(leaving.mantissa, 0.0),
            _onwards(leaving.exponent, scaled.FAR_DOWN),
        )
        after = States(
            scaled.multiply(either, Scaled(p.mantissa[:, :1], p.exponent[:, :1])),
            scaled.multiply(scaled.add(before.label, entering), p),
        )
        after = _select(skipped, before, after)
        return after, record(before, entering, after)

    start = beside(States(*map(scaled.of, frames.start)), frames)
    return jax.lax.scan(step, start, (frames.log_p, frames.skipped))


def _onwards(x: Array, fill: float, places: int = 1) -> Array:
    """Each entry so many places further along the labels."""
    return jax.lax.pad(x, jnp.asarray(fill, x.dtype), [(0, 0, 0), (places, -places, 0)])


def _select(condition: Array, a: Any, b: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), a, b)


# ------------------------------------------------------------------ the loss


def _loss(frames: _Frames, end: States) -> Array:
    """-log P, from the states in the end.

    Near P = 1 the logarithm of a sum is all rounding. There, the loss is computed from
    1 - P, a sum of positive terms of its own: a second pass, for a batch that needs it.
    """
    p = scaled.add(*frames.at_end(end))
    lost = jax.lax.cond(
        jnp.any(scaled.plain(p) > 0.45),
        lambda: _lost(frames),
        lambda: jnp.ones_like(p.mantissa),
    )
    likely = lost < 0.5
    loss = jnp.where(likely, -jnp.log1p(-jnp.where(likely, lost, 0)), -scaled.log(p))
    return jnp.squeeze(loss, 1)


def _lost(frames: _Frames) -> Array:
    """1 - P, [batch, 1], where it is small: floats hold every state that matters.

    It is the probability of the paths that some frame leads out of the states, and of
    those that have not spelt all labels in the end.

    Out of a state leads every class but the blank, its last and its next label. What
    these leave of 1 must not be a difference. So the two likeliest classes but the
    blank are taken apart from the others' sum; if a label has to be taken from that
    sum, then one of the two is none of the state's labels, and adds at least as much.
    """
    repeats = frames.repeats

    def step(before: tuple[States, Array], frame: tuple[Array, ...]):
        (blank, label), lost = before
        logits, log_p, skipped = frame
        likeliest, others = _likeliest(logits, frames.blank_id)
        p = jnp.exp(log_p)
        from_others = p
        for best, _ in likeliest:
            from_others = jnp.where(frames.last == best, 0, from_others)
        out_of_blank = others - _onwards(from_others, 0.0, -1)
        out_of_label = out_of_blank - jnp.where(repeats, 0, from_others)
        for best, p_best in likeliest:
            is_next, is_last = frames.next == best, frames.last == best
            out_of_blank += jnp.where(is_next, 0, p_best)
            out_of_label += jnp.where(is_next | is_last, 0, p_best)
        out = blank * out_of_blank + label * out_of_label
        either = blank + label
        entering = _onwards(jnp.where(repeats, blank, either), 0.0)
        after = (
            States(either * p[:, :1], (label + entering) * p),
            lost + jnp.sum(out, axis=1, keepdims=True),
        )
        return _select(skipped, before, after), None

    nothing = jnp.zeros(frames.length.shape, frames.log_p.dtype)
    frame_by_frame = jnp.moveaxis(frames.logits, 1, 0), frames.log_p, frames.skipped
    start = beside((frames.start, nothing), frames)
    (end, lost), _ = jax.lax.scan(step, start, frame_by_frame)
    short = jnp.where(frames.complete, 0, end.blank + end.label)
    return lost + jnp.sum(short, axis=1, keepdims=True)


def _likeliest(logits: Array, blank_id: int) -> tuple[list[tuple[Array, Array]], Array]:
    """The two likeliest classes but the blank, with their p, and the sum of the others.

    Of logits [batch, classes]: [batch, 1] each.
    """
    p = rows.softmax(logits, -1).p
    index = jax.lax.broadcasted_iota(jnp.int32, p.shape, 1)
    others = index != blank_id
    likeliest = []
    for _ in range(min(2, p.shape[1] - 1)):
        best = jnp.argmax(jnp.where(others, p, -1), axis=1, keepdims=True)
        best = best.astype(index.dtype)
        likeliest.append((best, axes.take(p, best, 1)))
        others &= index != best
    return likeliest, jnp.sum(jnp.where(others, p, 0), axis=1, keepdims=True)


# ------------------------------------------------------------------ the gradient


def _loss_and_gradient(frames: _Frames) -> tuple[Array, Array]:
    """-log P, and its gradient p - γ: [batch, frames, classes].

    Both p and γ sum to 1 over the classes. Where one class holds most of p, its own
    p - γ is minus the sum of the others', which does not cancel. Where no path spells
    the labels, the loss is constant.
    """
    loss, shares = _loss_and_shares(frames)
    p = rows.softmax(frames.logits, -1).p
    main = p > 0.5
    of_main = axes.take(p, frames.classes[:, None], -1) > 0.5
    others = jax.vmap(
        lambda p, classes, shares: p.at[:, classes].add(-shares, mode="drop")
    )(
        jnp.where(main, 0, p),
        frames.classes,
        jnp.where(of_main, 0, jnp.moveaxis(shares, 0, 1)),
    )
    gradient = jnp.where(main, -jnp.sum(others, axis=-1, keepdims=True), others)
    skipped = jnp.moveaxis(frames.skipped, 0, 1)
    constant = skipped | (loss == jnp.inf)[:, None, None]
    return loss, jnp.where(constant, 0, gradient)


def _loss_and_shares(frames: _Frames) -> tuple[Array, Array]:
    """-log P, and the share of P that has each label, and at 0 the blank, in a frame.

    What arrives in a state comes from two sides, in parts. Backwards, the share of P
    that goes through a state divides in these parts: no number but a share in [0, 1]
    is met. [frames, batch, labels + 1].
    """
    repeats = frames.repeats
    end, parts = _read(
        frames,
        lambda before, entering, after: (
            scaled.division(before.blank, before.label),
            scaled.division(before.label, entering),
        ),
    )

    def step(after: States, frame: tuple[Array, Array, Array]):
        skipped, either, label = frame
        share = after.label.at[:, :1].set(jnp.sum(after.blank, axis=1, keepdims=True))
        of_blank, of_label = scaled.parts(either)
        of_held, of_entering = scaled.parts(label)
        left = _onwards(after.label * of_entering, 0.0, -1)
        from_either = after.blank + jnp.where(repeats, 0, left)
        before = States(
            from_either * of_blank + jnp.where(repeats, left, 0),
            from_either * of_label + after.label * of_held,
        )
        return _select(skipped, after, before), share

    through = States(*scaled.parts(scaled.division(*frames.at_end(end))))
    through = jax.tree.map(lambda part: jnp.where(frames.complete, part, 0), through)
    _, shares = jax.lax.scan(step, through, (frames.skipped, *parts), reverse=True)
    return _loss(frames, end), shares
