"""Labels and values of predictions."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray


class Score(msgspec.Struct, frozen=True):
    """A label and the probability that the model gives it."""

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
    """Name what a classification answered.

    Args:
        probabilities: float [n, classes].
        labels: of the classes, in order.
        top: how many labels to list; fewer where the model has fewer.
        threshold: the least score of an answer; below it there is no label. None is no threshold.

    Returns:
        One prediction for each row. Of equal probabilities the first class wins.
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
    """The outputs of a regression, float [n, 1], as one value for each row."""
    return [Value(float(number)) for number in outputs[:, 0]]
