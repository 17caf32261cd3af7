"""Sums over all paths of a transducer: the lattice of frames and labels.

At node (t, u), t frames have been read and u labels written. Its class is drawn: the
blank leads to (t + 1, u), the next label to (t, u + 1), any other class nowhere. P is
the probability to arrive at (frames, labels). The nodes with equal t + u, a diagonal of
the lattice, are reached at once: a scan takes one diagonal after another, as arrays
[batch, labels + 1] of u.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core import axes, rows, scaled
from jaxloss._core.mesh import beside
from jaxloss._core.scaled import Scaled
from jaxloss._core.types import Array


class Lattice(NamedTuple):
    """What is to be written, and in how many frames."""

    labels: Array
    """[batch, labels]: classes."""
    frames: Array
    """[batch, 1]: the number of frames."""
    length: Array
    """[batch, 1]: the number of labels."""


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def nll(blank_id: int, logits: Array, lattice: Lattice) -> Array:
    """-log P, [batch], of logits [batch, frames, labels + 1, classes]; inf if P = 0.

    The logits of nodes that are not there are finite.
    """
    edges = _edges(blank_id, logits, lattice)
    end, _ = _read(edges)
    return _loss(edges, end)


@nll.defjvp
def _(blank_id, primals, tangents):
    # d(-log P) = Σ_n Σ_k (γ_n p_nk - γ_nk) dx_nk, where γ_n is the share of P that
    # goes through node n, and γ_nk of that which leaves it by class k.
    (logits, lattice), (dx, _) = primals, tangents
    loss, gradient = _loss_and_gradient(_edges(blank_id, logits, lattice))
    return loss, jnp.sum(gradient * dx, axis=(1, 2, 3))


# ------------------------------------------------------------------ the lattice


class _Edges(NamedTuple):
    """What leaves the nodes, on diagonals: [diagonals, batch, labels + 1] each."""

    logits: Array
    """[batch, frames, labels + 1, classes]."""
    lattice: Lattice
    blank: Array
    """log p of the blank; -inf where there is no node."""
    label: Array
    """log p of the next label; -inf where there is none."""
    blank_id: int

    @property
    def diagonals(self) -> Array:
        """The numbers t + u of the diagonals, but for that of the end: [diagonals]."""
        return jnp.arange(self.blank.shape[0], dtype=jnp.int32)

    @property
    def next(self) -> Array:
        """The label that comes next, -1 where there is none: [batch, labels + 1]."""
        labels = jnp.pad(self.lattice.labels, [(0, 0), (0, 1)], constant_values=-1)
        return jnp.where(self.written < self.lattice.length, labels, -1)

    @property
    def written(self) -> Array:
        """The number of labels written, u: [batch, labels + 1]."""
        batch, labels = self.lattice.labels.shape
        return jax.lax.broadcasted_iota(jnp.int32, (batch, labels + 1), 1)

    @property
    def start(self) -> Array:
        """Before the first frame: [batch, labels + 1]."""
        return (self.written == 0).astype(self.logits.dtype)

    def is_end(self, diagonal: Array) -> Array:
        """Where all frames are read and all labels written: [batch, labels + 1]."""
        last = self.lattice.frames + self.lattice.length
        return (self.written == self.lattice.length) & (last == diagonal)


def _edges(blank_id: int, logits: Array, lattice: Lattice) -> _Edges:
    batch, frames, columns, _ = logits.shape
    nodes = (batch, frames, columns)
    t, u = (jax.lax.broadcasted_iota(jnp.int32, nodes, i) for i in (1, 2))
    there = (t < lattice.frames[..., None]) & (u <= lattice.length[..., None])
    at = jnp.full((*nodes, 1), blank_id, jnp.int32)
    blank = -jnp.squeeze(rows.label_nll(logits, at, -1), -1)
    at = jnp.broadcast_to(
        lattice.labels[:, None, :, None], (*nodes[:2], columns - 1, 1)
    )
    label = -jnp.squeeze(rows.label_nll(logits[:, :, :-1], at, -1), -1)
    label = jnp.pad(label, [(0, 0), (0, 0), (0, 1)], constant_values=-jnp.inf)
    more = there & (u < lattice.length[..., None])
    return _Edges(
        logits=logits,
        lattice=lattice,
        blank=_diagonals(jnp.where(there, blank, -jnp.inf), -jnp.inf),
        label=_diagonals(jnp.where(more, label, -jnp.inf), -jnp.inf),
        blank_id=blank_id,
    )


def _diagonals(x: Array, fill: float) -> Array:
    """From [batch, frames, labels + 1] to [frames + labels, batch, labels + 1]."""
    _, frames, columns = x.shape
    shape = (frames + columns - 1, columns)
    n, u = (jax.lax.broadcasted_iota(jnp.int32, shape, i) for i in range(2))
    t = n - u
    there = (t >= 0) & (t < frames)
    if not frames:
        return jnp.full((shape[0], x.shape[0], columns), fill, x.dtype)
    x = x[:, jnp.clip(t, 0, frames - 1), u]
    return jnp.moveaxis(jnp.where(there, x, fill), 1, 0)


def _nodes(x: Array, frames: int) -> Array:
    """The way back: [batch, frames, labels + 1]."""
    shape = (frames, x.shape[-1])
    t, u = (jax.lax.broadcasted_iota(jnp.int32, shape, i) for i in range(2))
    return jnp.moveaxis(x[t + u, :, u], 2, 0)


def _onwards(x: Array, fill: float, places: int = 1) -> Array:
    """Each entry so many labels further along."""
    return jax.lax.pad(x, jnp.asarray(fill, x.dtype), [(0, 0, 0), (places, -places, 0)])


def _select(condition: Array, a: Any, b: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), a, b)


def _read(edges: _Edges) -> tuple[Scaled, Array]:
    """P, [batch], and how what arrives at each node divides between blank and label."""

    def step(carry, diagonal):
        before, end = carry
        log_blank, log_label, n = diagonal
        read = scaled.multiply(before, scaled.exp(log_blank))
        written = scaled.multiply(before, scaled.exp(log_label))
        written = Scaled(
            _onwards(written.mantissa, 0.0),
            _onwards(written.exponent, scaled.FAR_DOWN),
        )
        after = scaled.add(read, written)
        end = _select(edges.is_end(n + 1), after, end)
        return (after, end), scaled.division(read, written)

    start = scaled.of(edges.start)
    # With neither frames nor labels the start is the end.
    nothing = scaled.of(jnp.zeros_like(edges.start))
    at_once = _select(edges.is_end(jnp.int32(0)), start, nothing)
    diagonals = edges.blank, edges.label, edges.diagonals
    states = beside((start, at_once), edges)
    (_, end), divisions = jax.lax.scan(step, states, diagonals)
    end = jax.tree.map(
        lambda a: jnp.take_along_axis(a, edges.lattice.length, axis=1)[:, 0], end
    )
    return end, divisions


def _loss(edges: _Edges, p: Scaled) -> Array:
    """-log P; near P = 1 from 1 - P, a sum of its own, for a batch that needs it."""
    lost = jax.lax.cond(
        jnp.any(scaled.plain(p) > 0.45),
        lambda: _lost(edges),
        lambda: jnp.ones_like(p.mantissa),
    )
    likely = lost < 0.5
    return jnp.where(likely, -jnp.log1p(-jnp.where(likely, lost, 0)), -scaled.log(p))


def _lost(edges: _Edges) -> Array:
    """1 - P, [batch], where it is small: what leads nowhere, from every node."""
    frames = edges.lattice.frames
    p = rows.softmax(edges.logits, -1).p
    k = jax.lax.broadcasted_iota(jnp.int32, p.shape, 3)
    onwards = (k == edges.blank_id) | (k == edges.next[:, None, :, None])
    others = jnp.sum(jnp.where(onwards, 0, p), axis=-1)
    t = jax.lax.broadcasted_iota(jnp.int32, others.shape, 1)
    out = _diagonals(jnp.where(t < frames[..., None], others, 0), 0.0)
    # All frames are read, and labels are missing: lost, all of it.
    read = edges.diagonals[:, None, None] - edges.written[None]
    missing = edges.written < edges.lattice.length
    out = jnp.where((read == frames[None]) & missing[None], 1, out)

    def step(carry, diagonal):
        before, lost = carry
        log_blank, log_label, out = diagonal
        lost += jnp.sum(before * out, axis=1)
        written = _onwards(before * jnp.exp(log_label), 0.0)
        return (before * jnp.exp(log_blank) + written, lost), None

    nothing = jnp.zeros(edges.start.shape[:1], out.dtype)
    diagonals = edges.blank, edges.label, out
    states = beside((edges.start, nothing), edges)
    (_, lost), _ = jax.lax.scan(step, states, diagonals)
    return lost


# ------------------------------------------------------------------ the gradient


def _loss_and_gradient(edges: _Edges) -> tuple[Array, Array]:
    """-log P, and γ_n p_nk - γ_nk: [batch, frames, labels + 1, classes].

    At a node both sum to γ_n over the classes. Where one class holds most of p, its own
    difference is minus the sum of the others', which does not cancel. Where P = 0 the
    loss is constant.
    """
    end, divisions = _read(edges)
    loss = _loss(edges, end)
    of_blank, of_label = _shares(edges, divisions)
    p = rows.softmax(edges.logits, -1).p
    k = jax.lax.broadcasted_iota(jnp.int32, p.shape, 3)
    left = jnp.where(k == edges.blank_id, of_blank[..., None], 0)
    left += jnp.where(k == edges.next[:, None, :, None], of_label[..., None], 0)
    others = (of_blank + of_label)[..., None] * p - left
    main = p > 0.5
    others = jnp.where(main, 0, others)
    gradient = jnp.where(main, -axes.total(others, -1), others)
    return loss, jnp.where((loss == jnp.inf)[:, None, None, None], 0, gradient)


def _shares(edges: _Edges, divisions: Array) -> tuple[Array, Array]:
    """The shares of P that leave each node by blank and by label.

    What arrives at a node came by two ways, in known parts. Backwards, the share of P
    that goes through a node divides in these parts: no number but a share in [0, 1] is
    met. [batch, frames, labels + 1].
    """

    def step(after, diagonal):
        division, n = diagonal
        share = jnp.where(edges.is_end(n + 1), 1, after)
        read, written = scaled.parts(division)
        by_blank = share * read
        by_label = _onwards(share * written, 0.0, -1)
        return by_blank + by_label, (by_blank, by_label)

    start = beside(jnp.zeros_like(edges.start), edges)
    diagonals = divisions, edges.diagonals
    _, shares = jax.lax.scan(step, start, diagonals, reverse=True)
    frames = edges.logits.shape[1]
    by_blank, by_label = (_nodes(share, frames) for share in shares)
    return by_blank, by_label
