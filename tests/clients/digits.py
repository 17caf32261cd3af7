"""scikit-learn's handwritten digits, 8 by 8 pixels, a fifth of them held out."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class Batch(NamedTuple):
    images: np.ndarray
    """Shape `[batch, 8, 8, 1]`, from 0 to 1."""
    labels: np.ndarray
    """Shape `[batch]`."""


def load() -> tuple[Batch, Batch]:
    """Those to learn from, and those held out."""
    pixels, labels = load_digits(return_X_y=True)
    images = np.float32(pixels / 16).reshape(-1, 8, 8, 1)
    train_x, test_x, train_y, test_y = train_test_split(
        images, np.int32(labels), test_size=0.2, random_state=0
    )
    return Batch(train_x, train_y), Batch(test_x, test_y)


def batches(data: Batch, size: int, epochs: int) -> Iterator[Batch]:
    """Shuffled, the same at every call; the last ones of an epoch are left out."""
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        order = rng.permutation(len(data.labels))
        for rows in order[: len(order) // size * size].reshape(-1, size):
            yield Batch(data.images[rows], data.labels[rows])
