"""What is measured: one entry per loss, on the named shapes of real models.

A loss is called the same way from both libraries: model output first, positional.
`forward` is the mean of the loss, `value_and_grad` that and its gradient with respect
to the model's output: what evaluation and training compute. The unreduced loss is
checked but not timed: on ten million values that times the allocation of the result.
"""

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import inputs, reference

MODES = ("forward", "value_and_grad")
DTYPES = ("float32", "bfloat16")
CLASSES = ("digits", "imagenet", "gpt2", "llama3")

# Names of `optax.losses` that are not measured, and why.
UNMEASURED = {
    "convex_kl_divergence": "deprecated alias of generalized_kl_divergence",
}


@dataclass(frozen=True)
class Entry:
    """One loss: its inputs, its shapes, and how to call and check it.

    Attributes:
      loss: the public name, in `jaxloss` and in `optax.losses`.
      generator: draws the positional arguments.
      shapes: names in `inputs.SHAPES`.
      options: keyword arguments, the same for both libraries.
      factory: where the public name makes the loss, what it makes it from.
      wrt: positions of the model's outputs, which gradients are taken for.
      modes: of `MODES`.
      oracle: the float64 reference, of the dtype's name and the arguments; None for
        optax's own formula, run in float64.
      tolerance: largest error of our float32 results, relative to the largest
        component of the right answer. The default leaves room for sums of ten
        million rounded terms and none for a wrong term.
    """

    loss: str
    generator: inputs.Generator
    shapes: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    factory: tuple[Any, ...] = field(default=(), hash=False)
    wrt: tuple[int, ...] = (0,)
    modes: tuple[str, ...] = MODES
    oracle: Callable[..., jax.Array] | None = None
    tolerance: float = 2e-5

    def find(self, module: str) -> Callable[..., Any] | None:
        """The loss as that module has it, ready for positional arguments; or None."""
        public = getattr(importlib.import_module(module), self.loss, None)
        if public is None:
            return None
        loss = public(*self.factory) if self.factory else public
        return lambda *args: loss(*args, **self.options)


@dataclass(frozen=True)
class Case:
    """An entry at one shape, dtype and mode: what one line of the results is about."""

    entry: Entry
    shape: str
    dtype: str
    mode: str
    small: bool = False

    @property
    def name(self) -> str:
        return f"{self.entry.loss}/{self.shape}/{self.dtype}/{self.mode}"

    @property
    def dims(self) -> inputs.Dims:
        shape = inputs.SHAPES[self.shape]
        return shape.small if self.small else shape.dims

    def arguments(self) -> tuple[jax.Array, ...]:
        return inputs.make(self.entry.generator, self.dims, self.dtype)

    def program(self, loss: Callable[..., Any]) -> Callable[..., Any]:
        """What is compiled and timed."""

        def mean(*args: jax.Array) -> jax.Array:
            return jnp.mean(primary(loss(*args)))

        def mean_and_rest(*args: jax.Array) -> Any:
            result = loss(*args)
            if not isinstance(result, tuple):
                return jnp.mean(result)
            return jnp.mean(result[0]), *result[1:]

        if self.mode == "forward":
            return mean_and_rest
        return jax.value_and_grad(mean, argnums=self.entry.wrt)

    def compulsory_bytes(self, loss: Callable[..., Any]) -> int:
        """What the best implementation must move: each operand in, each result out.

        The mean comes out in float32 (half-precision inputs are computed and returned
        so), gradients in the dtype of what they are gradients of.
        """
        args = self.arguments()
        read = sum(a.nbytes for a in args)
        if self.mode == "value_and_grad":
            return read + 4 + sum(args[i].nbytes for i in self.entry.wrt)
        results = jax.tree.leaves(jax.eval_shape(self.program(loss), *args))
        return read + 4 * sum(math.prod(r.shape) for r in results)


def primary(result: Any) -> jax.Array:
    """The loss itself, where a function returns it among other things."""
    return result[0] if isinstance(result, tuple) else result


REGISTRY: tuple[Entry, ...] = (
    # Softmax: a vocabulary or a set of classes a row.
    Entry(
        "softmax_cross_entropy_with_integer_labels", inputs.logits_and_labels, CLASSES
    ),
    Entry("multiclass_hinge_loss", inputs.logits_and_labels, CLASSES),
    Entry("multiclass_perceptron_loss", inputs.logits_and_labels, CLASSES),
    # Sorting a GPT-2 context takes optax ten seconds a call; one vocabulary will do.
    Entry(
        "multiclass_sparsemax_loss",
        inputs.logits_and_labels,
        ("digits", "imagenet", "llama3"),
    ),
    Entry("softmax_cross_entropy", inputs.logits_and_probs, CLASSES),
    Entry("poly_loss_cross_entropy", inputs.logits_and_probs, CLASSES),
    Entry("safe_softmax_cross_entropy", inputs.masked_logits_and_one_hot, CLASSES),
    Entry(
        "make_fenchel_young_loss",
        inputs.logits_and_one_hot,
        CLASSES,
        factory=(jax.nn.logsumexp,),
    ),
    # Labels are data: nobody takes the gradient of smoothing them.
    Entry("smooth_labels", inputs.one_hot_and_alpha, CLASSES, modes=("forward",)),
    Entry(
        "kl_divergence",
        inputs.log_probs_and_probs,
        CLASSES,
        oracle=reference.kl_divergence,
    ),
    Entry("generalized_kl_divergence", inputs.log_probs_and_probs, CLASSES),
    Entry(
        "kl_divergence_with_log_targets",
        inputs.log_probs_and_log_probs,
        CLASSES,
        oracle=reference.kl_divergence_with_log_targets,
    ),
    # Binary: a logit or a margin an example.
    Entry(
        "sigmoid_binary_cross_entropy",
        inputs.binary_logits,
        ("criteo", "coco", "dense"),
    ),
    Entry(
        "sigmoid_focal_loss",
        inputs.binary_logits,
        ("criteo", "coco"),
        options={"alpha": 0.25, "gamma": 2.0},
    ),
    Entry("sparsemax_loss", inputs.binary_logits_and_integers, ("criteo", "dense")),
    Entry("hinge_loss", inputs.margins, ("criteo", "dense")),
    Entry("perceptron_loss", inputs.margins, ("criteo", "dense")),
    # Regression.
    Entry("squared_error", inputs.probs_and_one_hot, ("digits", "imagenet")),
    Entry("squared_error", inputs.regression, ("dense",)),
    Entry("l2_loss", inputs.regression, ("criteo", "dense")),
    Entry("huber_loss", inputs.regression, ("criteo", "dense")),
    Entry("log_cosh", inputs.regression, ("criteo", "dense")),
    # Embeddings.
    Entry("cosine_similarity", inputs.embedding_pairs, ("clip", "sbert")),
    Entry("cosine_distance", inputs.embedding_pairs, ("clip", "sbert")),
    Entry(
        "triplet_margin_loss",
        inputs.triplets,
        ("facenet", "sbert"),
        options={"margin": 0.2},
        wrt=(0, 1, 2),
    ),
    Entry("ntxent", inputs.two_views, ("cifar", "simclr"), oracle=reference.ntxent),
    # Lists, sequences, images.
    Entry("ranking_softmax_loss", inputs.graded_lists, ("mslr",)),
    Entry("ctc_loss", inputs.utterances, ("speech", "wordpiece")),
    Entry("ctc_loss_with_forward_probs", inputs.utterances, ("speech", "wordpiece")),
    Entry("dice_loss", inputs.tissue_maps, ("brats",)),
    Entry("multiclass_generalized_dice_loss", inputs.tissue_maps, ("brats",)),
    Entry("binary_dice_loss", inputs.binary_masks, ("carvana",)),
)


def cases(
    modes: tuple[str, ...] = MODES,
    dtypes: tuple[str, ...] = DTYPES,
    shapes: tuple[str, ...] = tuple(inputs.SHAPES),
    small: bool = False,
) -> list[Case]:
    """Every case asked for, those that share inputs side by side."""
    found = [
        Case(entry, shape, dtype, mode, small)
        for entry in REGISTRY
        for shape in entry.shapes
        for dtype in dtypes
        for mode in entry.modes
        if shape in shapes and mode in modes
    ]
    order = list(inputs.SHAPES)
    generators = list(dict.fromkeys(entry.generator for entry in REGISTRY))
    return sorted(
        found,
        key=lambda c: (
            order.index(c.shape),
            generators.index(c.entry.generator),
            dtypes.index(c.dtype),
        ),
    )
