"""Seeded inputs: the named shapes of real models, and arrays that look like theirs.

Every generator returns NumPy arrays for given dimensions. Floating arrays are then
rounded to the dtype under test; integers stay as they are. The draws keep away from
kinks and ties (a hinge exactly at its corner, two equal maxima), where every
subgradient is right and two correct libraries may differ. The distances kept survive
rounding to bfloat16.
"""

import functools
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

Dims = tuple[int, ...]
Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Shape:
    """A named shape, its origin, and a tiny stand-in of equal rank for smoke runs."""

    dims: Dims
    small: Dims
    origin: str


SHAPES: dict[str, Shape] = {
    "digits": Shape((64, 10), (4, 10), "a batch of handwritten digits, 10 classes"),
    "imagenet": Shape((4096, 1000), (6, 17), "a large ImageNet batch, 1000 classes"),
    "gpt2": Shape((1024, 50257), (3, 37), "one GPT-2 context, its vocabulary"),
    "llama3": Shape((256, 128256), (3, 64), "256 tokens, the Llama-3 vocabulary"),
    "dense": Shape((10_000_000,), (37,), "dense regression, ten million values"),
    "criteo": Shape((65536,), (24,), "a click-through batch, one logit an example"),
    "coco": Shape((100_000, 80), (7, 5), "detector anchors of one image, 80 classes"),
    "clip": Shape((1024, 512), (6, 8), "CLIP embeddings, 512 features"),
    "sbert": Shape((8192, 768), (5, 12), "sentence embeddings, 768 features"),
    "facenet": Shape((1800, 128), (7, 6), "face embeddings, 128 features"),
    "simclr": Shape((1024, 256), (8, 6), "two views of 512 images, 256 features"),
    "cifar": Shape((256, 128), (6, 5), "two views of 128 images, 128 features"),
    "mslr": Shape((1024, 200), (5, 9), "1024 queries of 200 documents each"),
    "speech": Shape((16, 400, 32, 60), (2, 12, 5, 3), "utterances, 32 characters"),
    "wordpiece": Shape((8, 200, 1024, 40), (2, 10, 7, 3), "utterances, 1024 pieces"),
    "brats": Shape((8, 256, 256, 4), (2, 6, 5, 4), "8 slices of 256 x 256, 4 tissues"),
    "carvana": Shape((8, 512, 512), (2, 6, 5), "8 binary masks of 512 x 512 pixels"),
}


def _zipf_labels(rng: np.random.Generator, rows: int, classes: int) -> np.ndarray:
    """Labels as frequent as words are: P(k) about 1 / (k + 1), by inversion."""
    ranks = np.exp(rng.random(rows) * np.log(classes + 1.0)) - 1.0
    return np.minimum(ranks.astype(np.int32), classes - 1)


def _trained_logits(
    rng: np.random.Generator, rows: int, classes: int, labels: np.ndarray
) -> np.ndarray:
    """Logits of a model that is right about 70 % of the time, with a clear winner."""
    logits = 2.0 * rng.standard_normal((rows, classes), dtype=np.float32)
    wrong = (labels + rng.integers(1, classes, rows)) % classes
    winner = np.where(rng.random(rows) < 0.7, labels, wrong)
    lead = rng.uniform(2.0, 4.0, rows).astype(np.float32)
    logits[np.arange(rows), winner] = logits.max(axis=1) + lead
    return logits


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _teacher(rng: np.random.Generator, student: np.ndarray) -> np.ndarray:
    """Log-probabilities of a teacher that agrees with the student, roughly."""
    noise = rng.standard_normal(student.shape, dtype=np.float32)
    return _log_softmax(student + noise)


def logits_and_labels(rng: np.random.Generator, dims: Dims) -> Arrays:
    rows, classes = dims
    labels = _zipf_labels(rng, rows, classes)
    return _trained_logits(rng, rows, classes, labels), labels


def logits_and_probs(rng: np.random.Generator, dims: Dims) -> Arrays:
    logits, _ = logits_and_labels(rng, dims)
    return logits, np.exp(_teacher(rng, logits))


def masked_logits_and_one_hot(rng: np.random.Generator, dims: Dims) -> Arrays:
    """A tenth of the classes forbidden by -inf, as action masks do; never the label."""
    logits, labels = logits_and_labels(rng, dims)
    one_hot = np.zeros(dims, np.float32)
    one_hot[np.arange(dims[0]), labels] = 1.0
    forbidden = (rng.random(dims, dtype=np.float32) < 0.1) & (one_hot == 0)
    forbidden &= logits < logits.max(axis=1, keepdims=True)
    logits[forbidden] = -np.inf
    return logits, one_hot


def logits_and_one_hot(rng: np.random.Generator, dims: Dims) -> Arrays:
    logits, labels = logits_and_labels(rng, dims)
    one_hot = np.zeros(dims, np.float32)
    one_hot[np.arange(dims[0]), labels] = 1.0
    return logits, one_hot


def one_hot_and_alpha(rng: np.random.Generator, dims: Dims) -> Arrays:
    return logits_and_one_hot(rng, dims)[1], np.array(0.1, np.float32)


def log_probs_and_probs(rng: np.random.Generator, dims: Dims) -> Arrays:
    log_probs, log_teacher = log_probs_and_log_probs(rng, dims)
    return log_probs, np.exp(log_teacher)


def log_probs_and_log_probs(rng: np.random.Generator, dims: Dims) -> Arrays:
    logits, _ = logits_and_labels(rng, dims)
    return _log_softmax(logits), _teacher(rng, logits)


def binary_logits(rng: np.random.Generator, dims: Dims) -> Arrays:
    """Mostly negative examples, as clicks and detector anchors are."""
    positive = (rng.random(dims, dtype=np.float32) < 0.1).astype(np.float32)
    noise = rng.standard_normal(dims, dtype=np.float32)
    return 2.0 * noise + 4.0 * positive - 3.0, positive


def binary_logits_and_integers(rng: np.random.Generator, dims: Dims) -> Arrays:
    logits, positive = binary_logits(rng, dims)
    return logits, positive.astype(np.int32)


def margins(rng: np.random.Generator, dims: Dims) -> Arrays:
    """Scores against targets in {-1, 1}, none at the corners 0 and 1 of the hinges."""
    scores = 1.5 * rng.standard_normal(dims, dtype=np.float32)
    scores[np.abs(scores) < 1 / 64] = 0.5
    scores[np.abs(np.abs(scores) - 1.0) < 1 / 64] = 0.75
    targets = np.where(rng.random(dims, dtype=np.float32) < 0.5, -1.0, 1.0)
    return scores, targets.astype(np.float32)


def regression(rng: np.random.Generator, dims: Dims) -> Arrays:
    targets = rng.standard_normal(dims, dtype=np.float32)
    return targets + rng.standard_normal(dims, dtype=np.float32), targets


def probs_and_one_hot(rng: np.random.Generator, dims: Dims) -> Arrays:
    logits, one_hot = logits_and_one_hot(rng, dims)
    return np.exp(_log_softmax(logits)), one_hot


def embedding_pairs(rng: np.random.Generator, dims: Dims) -> Arrays:
    targets = rng.standard_normal(dims, dtype=np.float32)
    return targets + rng.standard_normal(dims, dtype=np.float32), targets


def triplets(rng: np.random.Generator, dims: Dims) -> Arrays:
    """Embeddings about one long; positives nearer than negatives, most of the time."""
    scale = np.float32(dims[-1] ** -0.5)
    anchors, near, far = scale * rng.standard_normal((3, *dims), dtype=np.float32)
    return anchors, anchors + near, anchors + 1.25 * far


def two_views(rng: np.random.Generator, dims: Dims) -> Arrays:
    batch, features = dims
    images = rng.standard_normal((batch // 2, features), dtype=np.float32)
    views = np.concatenate([images, images])
    noise = rng.standard_normal(dims, dtype=np.float32)
    return views + noise, np.tile(np.arange(batch // 2, dtype=np.int32), 2)


def graded_lists(rng: np.random.Generator, dims: Dims) -> Arrays:
    """Relevance grades 0 to 4, most documents irrelevant."""
    grades = rng.choice(5, dims, p=[0.55, 0.25, 0.13, 0.05, 0.02]).astype(np.float32)
    return grades + rng.standard_normal(dims, dtype=np.float32), grades


def utterances(rng: np.random.Generator, dims: Dims) -> Arrays:
    """Logits, frame paddings, labels without the blank 0, label paddings."""
    batch, frames, classes, length = dims
    logits = 2.0 * rng.standard_normal((batch, frames, classes), dtype=np.float32)
    labels = rng.integers(1, classes, (batch, length), dtype=np.int32)
    spoken = rng.integers(frames * 4 // 5, frames + 1, (batch, 1))
    written = rng.integers(length * 3 // 5, length + 1, (batch, 1))
    frame_padding = (np.arange(frames) >= spoken).astype(np.float32)
    label_padding = (np.arange(length) >= written).astype(np.float32)
    return logits, frame_padding, labels, label_padding


def tissue_maps(rng: np.random.Generator, dims: Dims) -> Arrays:
    """Mostly background; every image holds some of every class, as scans do."""
    classes = dims[-1]
    frequency = np.array([0.7] + [0.3 / (classes - 1)] * (classes - 1))
    labels = rng.choice(classes, dims[:-1], p=frequency)
    targets = (labels[..., None] == np.arange(classes)).astype(np.float32)
    noise = rng.standard_normal(dims, dtype=np.float32)
    return 1.5 * noise + 2.0 * targets, targets


def binary_masks(rng: np.random.Generator, dims: Dims) -> Arrays:
    targets = (rng.random(dims, dtype=np.float32) < 0.3).astype(np.float32)
    noise = rng.standard_normal(dims, dtype=np.float32)
    return 1.5 * noise + 3.0 * targets - 1.5, targets


Generator = Callable[[np.random.Generator, Dims], Arrays]


# One draw is kept, because neighbouring entries of the plan share it and the largest
# take seconds to draw; two would hold gigabytes.
@functools.lru_cache(maxsize=1)
def make(generator: Generator, dims: Dims, dtype: str) -> tuple[jax.Array, ...]:
    """The inputs, floats rounded to `dtype`. The same on every machine and day."""
    seed = zlib.crc32(f"{generator.__name__}{dims}".encode())
    arrays = generator(np.random.default_rng(seed), dims)
    return tuple(
        jnp.asarray(a, jnp.dtype(dtype) if a.dtype.kind == "f" else a.dtype)
        for a in arrays
    )
