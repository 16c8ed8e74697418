"""What probabilities are worth against the truth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class TestPredictions:
    """What a model says of the held-out images.

    Attributes:
        indices: int64 [n], of the images in the data set.
        truth: int64 [n], their labels.
        probabilities: float32 [n, classes].
    """

    __test__ = False  # not a test, whatever pytest makes of the name

    indices: NDArray[np.int64]
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float32]


def accuracy(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """Share of the rows, [n, classes], whose likeliest class is the true one."""
    return float((probabilities.argmax(axis=1) == truth).mean())


def cross_entropy(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """Mean of -log(probability of the true class), in nats; finite even where that is 0."""
    chosen = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.log(np.maximum(chosen, 1e-7)).mean())
