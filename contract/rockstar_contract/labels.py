"""Predictions: labels with probabilities, or values."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray


class Score(msgspec.Struct, frozen=True):
    """A label and its probability."""

    label: str
    score: float


class Prediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """The prediction of a classification for one example.

    Attributes:
        label: the most likely label; None if its score is below the threshold.
        score: the probability of the most likely label.
        top: the most likely labels with their probabilities, in descending order.
        reason: why there is no label; empty if there is one.
    """

    label: str | None
    score: float
    top: tuple[Score, ...]
    reason: str = ""


class Value(msgspec.Struct, frozen=True):
    """The prediction of a regression for one example."""

    value: float


def predictions(
    probabilities: NDArray[Any],
    labels: tuple[str, ...],
    top: int = 3,
    threshold: float | None = None,
) -> list[Prediction]:
    """Label the outputs of a classification.

    Args:
        probabilities: float [n, classes].
        labels: of the classes, in order.
        top: maximum number of labels to list.
        threshold: minimum score of a label, or None.

    Returns:
        One prediction for each row; of equal probabilities, the first class is first.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, : min(top, len(labels))].tolist()
    answers = []
    for row, classes in zip(probabilities, order, strict=True):
        scores = tuple([Score(labels[c], row.item(c)) for c in classes])
        best = scores[0]
        if threshold is not None and not best.score >= threshold:
            reason = f"not sure: {best.label} is likeliest with {best.score:.4g}, the threshold is "
            answers.append(Prediction(None, best.score, scores, f"{reason}{threshold:g}"))
        else:
            answers.append(Prediction(best.label, best.score, scores))
    return answers


def values(outputs: NDArray[Any]) -> list[Value]:
    """Convert the outputs of a regression, float [n, 1], to one value for each row."""
    return [Value(float(number)) for number in outputs[:, 0]]
