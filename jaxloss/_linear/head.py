"""What every fused loss does around the engine: check, flatten, mask, reduce."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxloss._core import axes, explained, inputs
from jaxloss._core.mesh import Tree, all_mesh_axes
from jaxloss._core.reduce import divided, reduce
from jaxloss._core.settled import settled
from jaxloss._core.types import Array, Implementation, Input, Reduction
from jaxloss._core.validate import Check
from jaxloss._linear import plan
from jaxloss._linear.engine import Backward, Engine, Inputs, Step, Tiled
from jaxloss._linear.product import accumulator, factors


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a fused loss is computed: the options that do not change its value."""

    class_axis: int = -1
    chunk_size: int | None = None
    max_tokens: int | None = None
    axis_name: str | None = None
    backward: Backward = "recompute"
    implementation: Implementation | None = None
    logits_dtype: jnp.dtype | None = None
    class_chunk_size: int | None = None


class Head(NamedTuple):
    """Hidden states, one a row, and the head that makes logits of them."""

    hidden: Array
    kernel: Array
    bias: Array | None
    shape: tuple[int, ...]
    """The shape of the losses."""
    settings: Settings
    keep: Array | None = None
    """The tokens kept, `[tokens]`."""

    @property
    def class_axis(self) -> int:
        """The axis of the classes in the kernel, 0 or 1."""
        return self.settings.class_axis % 2

    @property
    def axis(self) -> axes.RowAxis:
        """The axis of the classes in a chunk of logits."""
        name = self.settings.axis_name
        return 1 if name is None else axes.SpreadAxis(1, name)

    @property
    def classes_here(self) -> int:
        """The classes that this device holds."""
        return self.kernel.shape[self.class_axis]

    @property
    def classes(self) -> int:
        """All classes."""
        name = self.settings.axis_name
        return self.classes_here * (1 if name is None else jax.lax.axis_size(name))

    @property
    def like(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of the losses."""
        arrays = [a for a in (self.hidden, self.kernel, self.bias) if a is not None]
        wide = any(a.dtype == jnp.float64 for a in arrays)
        return jax.ShapeDtypeStruct(self.shape, jnp.float64 if wide else jnp.float32)

    @property
    def logits_dtype(self) -> jnp.dtype:
        """As a chunk of logits is stored, or, with a bias, as it is added to them."""
        summed = accumulator(self.hidden.dtype, self.kernel.dtype)
        stored = self.settings.logits_dtype
        return summed if stored is None or self.bias is not None else stored

    @property
    def chunk(self) -> int:
        """Tokens at a time."""
        tokens = self.hidden.shape[0]
        if self.keep is not None and self.settings.max_tokens is not None:
            tokens = min(tokens, self.settings.max_tokens)
        chosen = self.settings.chunk_size or plan.chunk_of(
            tokens,
            self.hidden.shape[-1],
            self.classes_here,
            self.kernel.dtype.name,
            jax.default_backend(),
            self.logits_dtype.name,
        )
        return min(chosen, tokens)

    def flat(self, per_token: Array) -> Array:
        """One entry a token, whatever further axes there are."""
        rest = per_token.shape[len(self.shape) :]
        return per_token.reshape(self.hidden.shape[0], *rest)

    def drop(self, keep: Array | None) -> "Head":
        """Without the tokens not kept: zeros in their place."""
        if keep is None:
            return self
        hidden = jnp.where(keep[:, None], self.hidden, 0)
        return self._replace(hidden=hidden, keep=inputs.both(self.keep, keep))


def head(
    check: Check,
    hidden: Input,
    kernel: Input,
    bias: Input | None,
    settings: Settings,
    names: tuple[str, str, str] = ("hidden", "kernel", "bias"),
    *,
    by_kernel: bool = False,
) -> Head:
    """The arguments of every fused loss, checked; `by_kernel`: whether there is one."""
    of_hidden, of_kernel, of_bias = names
    check.static(**dataclasses.asdict(settings))
    _check_settings(check, settings, by_kernel)
    x = check.floating(of_hidden, hidden)
    w = check.floating(of_kernel, kernel)
    if x.ndim < 1:
        raise check.value_error(
            of_hidden,
            "of shape [..., hidden]",
            f"of shape {x.shape}",
            "The last axis is that of the hidden units.",
        )
    form = "[hidden, classes]" if settings.class_axis % 2 else "[classes, hidden]"
    if w.ndim != 2 or w.shape[1 - settings.class_axis % 2] != x.shape[-1]:
        raise check.value_error(
            of_kernel,
            f"of shape {form} with {x.shape[-1]} hidden units, as `{of_hidden}` has",
            f"of shape {w.shape}",
            "An embedding table or a weight of shape [classes, hidden] is passed with "
            "class_axis=0.",
        )
    b = None
    if bias is not None:
        b = check.floating(of_bias, bias)
        classes = w.shape[settings.class_axis % 2]
        if b.shape != (classes,):
            raise check.value_error(
                of_bias,
                f"of shape ({classes},), one for each class of `{of_kernel}`",
                f"of shape {b.shape}",
                "Reshape it.",
            )
    return Head(x.reshape(-1, x.shape[-1]), w, b, x.shape[:-1], settings)


_POSITIVE = {
    "chunk_size": "Leave it out to have it chosen.",
    "max_tokens": "It bounds how many tokens are kept.",
    "class_chunk_size": "Leave it out to take the tokens in chunks.",
}


def _check_settings(check: Check, settings: Settings, by_kernel: bool) -> None:
    for name in ("chunk_size", "max_tokens", "class_chunk_size"):
        value = getattr(settings, name)
        if value is not None and (not isinstance(value, int) or value < 1):
            raise check.value_error(
                name,
                "a positive integer or None",
                repr(value),
                _POSITIVE[name],
            )
    check.choice("class_axis", settings.class_axis, (-1, 1, 0, -2))
    check.choice("backward", settings.backward, ("recompute", "save"))
    check.implementation(settings.implementation)
    if not by_kernel and settings.implementation not in (None, "xla"):
        raise check.unable(
            f"implementation={settings.implementation!r} does not exist for this loss",
            'Leave it out, or pass "xla", which runs everywhere.',
        )
    if settings.axis_name is not None:
        check.axis_name(settings.axis_name)


def _check_tokens(check: Check, x: Head, tokens: Tree) -> None:
    if x.settings.axis_name in all_mesh_axes(tokens):
        raise check.value_error(
            "hidden",
            "the same on all devices of the mesh axis "
            f"{x.settings.axis_name!r}, over which the classes are spread, as are the "
            "labels and weights",
            "different on them",
            "Leave that axis out of their in_specs, or gather them with "
            "jax.lax.all_gather first.",
        )


class Kept(NamedTuple):
    """What a mask of the head's rank leaves of the classes."""

    of_all: Array | None = None
    """`[classes]`, the same for every token."""
    of_each: Array | None = None
    """`[tokens, classes]`."""

    def row(self) -> Array | None:
        """Lined up with a chunk of logits."""
        return self.of_each if self.of_all is None else self.of_all[None, :]

    def only(self, z: Array) -> Array:
        """A chunk of logits without the classes not kept."""
        kept = self.row()
        return z if kept is None else jnp.where(kept, z, -jnp.inf)


def masked(check: Check, x: Head, where: Input | None) -> tuple[Head, Kept]:
    """The head without the tokens not kept, and the classes kept."""
    if where is None:
        return x, Kept()
    mask = check.real("where", where)
    logits = (*x.shape, x.classes_here)
    if mask.shape == (1,) * len(x.shape) + logits[-1:]:
        # The same for all tokens: never spread over them.
        return x, Kept(of_all=mask.astype(bool).reshape(-1))
    keep, entries = check.where(where, loss=x.shape, output=logits)
    if entries is not None:
        return x, Kept(of_each=x.flat(entries))
    return x.drop(None if keep is None else keep.reshape(-1)), Kept()


def compute(
    check: Check,
    x: Head,
    row,
    shared: Tree,
    per_token: Tree,
    *,
    weights: Input | None,
    normalizer: Array | None = None,
    reduction: Reduction,
    arrays: int,
    by_classes: Callable[[Inputs, Array], tuple[Array, Tree]] | None = None,
    step: Step | None = None,
    chosen: tuple[str, str] | None = None,
    in_tiles: Callable[[plan.Plan], tuple[plan.Plan, Tiled | None]] | None = None,
    predicted: Callable[[Array, Tree, Tree], Array] | None = None,
) -> Tree:
    """The losses of a head, masked, weighted and reduced; and its predictions if those
    are asked for.

    Args:
      row: (logits [chunk, classes], shared, per_token) -> losses.
      shared: what the loss of every token may use.
      per_token: what belongs to a token; the first axis is the tokens.
      normalizer: a factor of the losses, `[tokens]`, that counts in the mean.
      arrays: of a chunk's size that `row` and its derivative hold at once.
      by_classes: the weighted sum of the losses, with chunks of classes.
      step: the same by a kernel (see `Engine`).
      chosen: the implementation and its reason, if there are several.
      in_tiles: what of the plan runs without the logits of a chunk, and how.
      predicted: (logits [chunk, classes], shared, per_token) -> classes, -1 for none.
    """
    factor = check.weights(weights, x.like)
    factor = None if factor is None else factor.reshape(-1)
    gathered = _gather(x, (per_token, factor, normalizer))
    states, (per_token, factor, normalizer), keep = gathered.chosen
    tokens, hidden = states.shape
    name, backward = x.settings.axis_name, x.settings.backward
    stored = x.settings.logits_dtype
    asked = "asked for" if x.settings.implementation else "the only one there is"
    implementation, reason = chosen or ("xla", asked)
    planned = plan.Plan(
        check.function,
        implementation,
        reason,
        tokens,
        hidden,
        x.classes_here,
        factors(states.dtype, x.kernel.dtype).name,
        x.chunk,
        reduction != "none",
        backward,
        jax.default_backend(),
        arrays,
        x.keep is not None,
        x.settings.class_chunk_size if by_classes else None,
        stored=x.logits_dtype.name,
    )
    planned, tiled = (planned, None) if in_tiles is None else in_tiles(planned)
    explained.note(planned)
    engine = Engine(
        row, x.chunk, x.class_axis, name, backward, stored, step, tiled, predicted
    )
    arguments = Inputs(states, x.kernel, x.bias, shared, per_token)
    arguments, factor = settled((arguments, factor))
    _check_tokens(check, x, (states, per_token, factor))
    if reduction == "none":
        losses, classes = engine.losses(arguments)
        result = jax.tree.map(
            lambda loss: gathered.spread(
                reduce(loss, where=keep, weights=factor)
            ).reshape(x.shape),
            losses,
        )
    else:
        dtype = x.like.dtype
        share = jnp.ones(tokens, dtype) if factor is None else factor
        if keep is not None:
            share = jnp.where(keep, share, 0)
        count = None
        if reduction == "mean":
            count = jnp.sum(share if normalizer is None else share * normalizer)
        final = tiled is not None and tiled.gradients is not None
        if count is not None and (final or by_classes is not None):
            # The gradients are rounded where they are computed: the count is in them.
            share, count = divided(share, count), None
        total, classes = (by_classes or engine.total)(arguments, share)
        result = gathered.loud(total if count is None else divided(total, count))
    if predicted is None:
        return result
    return result, gathered.predictions(classes).reshape(x.shape)


class _Gathered(NamedTuple):
    """The tokens kept, at most as many as was promised."""

    chosen: tuple[Array, Tree, Array | None]
    """Hidden states, what belongs to their tokens, and which of them count."""
    place: Array | None
    """Where they stood."""
    tokens: int
    """How many there were."""
    poison: Array | None
    """1, or NaN where more are kept than was promised."""

    def loud(self, value: Array) -> Array:
        return value if self.poison is None else value * self.poison.astype(value.dtype)

    def spread(self, values: Array, elsewhere: float = 0) -> Array:
        if self.place is None:
            return values
        all_tokens = jnp.full(self.tokens, elsewhere, values.dtype)
        return self.loud(all_tokens.at[self.place].set(values, mode="drop"))

    def predictions(self, classes: Array) -> Array:
        """The classes in their places: -1 where there is no token, or one too many."""
        keep = self.chosen[2]
        classes = classes if keep is None else jnp.where(keep, classes, -1)
        classes = self.spread(classes, -1)
        return jnp.where(classes >= 0, classes, -1).astype(jnp.int32)


def _gather(x: Head, per_token: Tree) -> _Gathered:
    tokens = x.hidden.shape[0]
    bound = x.settings.max_tokens
    if bound is None or bound >= tokens or x.keep is None:
        return _Gathered((x.hidden, per_token, x.keep), None, tokens, None)
    (index,) = jnp.nonzero(x.keep, size=bound, fill_value=tokens)
    count = jnp.sum(x.keep)
    poison = jnp.where(count > bound, jnp.nan, 1.0)

    # A place that is left over takes a token that is kept, whose loss exists.
    source = jnp.where(index < tokens, index, jnp.argmax(x.keep))

    def choose(a):
        return a[source]

    kept = jnp.arange(bound) < count
    chosen = choose(x.hidden), jax.tree.map(choose, per_token), kept
    return _Gathered(chosen, index, tokens, poison)
