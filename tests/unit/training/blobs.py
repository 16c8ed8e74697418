"""Small problems that models learn within a moment."""

import numpy as np

from rockstar_training.pipeline import Arrays
from rockstar_training.prepared_data import Task

TASK = Task((6, 6, 1), 3)


def blobs(count: int, seed: int = 0) -> Arrays:
    """Images of 6 x 6 with a light left, middle or right, which is the label."""
    random = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 3
    images = random.uniform(0, 0.6, size=(count, 6, 6, 1)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        image[:, 2 * label : 2 * label + 2] += 0.4
    return Arrays(images, labels)


def line() -> Arrays:
    """The line y = 1 - x at 1, 2, 3 and 4."""
    x = np.array([[1], [2], [3], [4]], np.float32)
    return Arrays(x, 1 - x[:, 0])
