"""What a model answers, in words and numbers that people read."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray


class Score(msgspec.Struct, frozen=True):
    """A label and the probability that the model gives it."""

    label: str
    score: float


class Prediction(msgspec.Struct, frozen=True):
    """The likeliest label of one example, its probability, and the likeliest labels in order."""

    label: str
    score: float
    top: tuple[Score, ...]


class Value(msgspec.Struct, frozen=True):
    """The number that a regression answers for one example."""

    value: float


def predictions(
    probabilities: NDArray[Any], labels: tuple[str, ...], top: int = 3
) -> list[Prediction]:
    """Name what a classification answered.

    Args:
        probabilities: float [n, classes].
        labels: of the classes, in order.
        top: how many labels to list; fewer where the model has fewer.

    Returns:
        One prediction for each row. Of equal probabilities the first class wins.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, : min(top, len(labels))].tolist()
    answers = []
    for row, classes in zip(probabilities, order, strict=True):
        scores = tuple([Score(labels[c], row.item(c)) for c in classes])
        answers.append(Prediction(scores[0].label, scores[0].score, scores))
    return answers


def values(outputs: NDArray[Any]) -> list[Value]:
    """What a regression answered, float [n, 1], as one number for each row."""
    return [Value(float(number)) for number in outputs[:, 0]]
