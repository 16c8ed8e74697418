"""What answers are worth against the truth."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_training.prepared import Part

# Examples in one call of the model while it is evaluated.
_BATCH = 256

# float32 [n, *shape of one example] to float32 [n, classes], or [n, 1].
Answer = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class TestPredictions:
    """What a model says of the held-out examples.

    Attributes:
        indices: int64 [n], of the examples in the data set.
        truth: int64 labels, or float32 values for a regression, [n].
        outputs: float32: probabilities [n, classes], or values [n, 1].
    """

    __test__ = False  # not a test, whatever pytest makes of the name

    indices: NDArray[np.int64]
    truth: NDArray[Any]
    outputs: NDArray[np.float32]


def answers(answer: Answer, part: Part) -> NDArray[np.float32]:
    """What a model says of all examples of a part, in their order."""
    return np.concatenate([answer(tensors) for tensors, _ in part.batches(_BATCH)])


def confusion_matrix(test: TestPredictions, labels: int) -> tuple[tuple[int, ...], ...]:
    """How many examples of each label (rows) were taken for each (columns)."""
    counts = np.zeros((labels, labels), np.int64)
    np.add.at(counts, (test.truth, test.outputs.argmax(axis=1)), 1)
    return tuple(map(tuple, counts.tolist()))


def classification_metrics(
    test: NDArray[np.float32], truth: NDArray[np.int64], prefix: str = "test"
) -> dict[str, float]:
    """Figures of probabilities, [n, classes], that count examples alike or classes alike.

    Accuracy and cross-entropy count every example. Balanced accuracy (the mean recall), F1 and
    the area under the ROC curve (each class against the rest) are means over the classes that
    `truth` has, so a rare class counts as much as a frequent one.
    """
    from sklearn.metrics import f1_score, recall_score, roc_auc_score

    present, guesses = np.unique(truth), test.argmax(axis=1)
    options: dict[str, Any] = {"labels": present, "average": "macro", "zero_division": 0.0}
    metrics = {
        f"{prefix}_accuracy": accuracy(test, truth),
        f"{prefix}_balanced_accuracy": float(recall_score(truth, guesses, **options)),
        f"{prefix}_f1": float(f1_score(truth, guesses, **options)),
    }
    if len(present) > 1:
        areas = [roc_auc_score(truth == label, test[:, label]) for label in present]
        metrics[f"{prefix}_auc"] = float(np.mean(areas))
    return metrics | {f"{prefix}_loss": cross_entropy(test, truth)}


def majority_share(truth: NDArray[np.int64]) -> float:
    """Accuracy of a model that always answers the most frequent label."""
    return float(np.bincount(truth).max() / len(truth))


def regression_metrics(
    test: NDArray[np.float32], truth: NDArray[np.float32], prefix: str = "test"
) -> dict[str, float]:
    """Mean squared error of values, [n, 1], its root, and R² where the truth varies."""
    errors = truth.astype(np.float64) - test[:, 0]
    loss = float(np.mean(errors**2))
    metrics = {f"{prefix}_loss": loss, f"{prefix}_rmse": loss**0.5}
    variance = float(np.var(truth.astype(np.float64)))
    if variance > 0:
        metrics[f"{prefix}_r2"] = 1 - loss / variance
    return metrics


def accuracy(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """Share of the rows, [n, classes], whose likeliest class is the true one."""
    return float((probabilities.argmax(axis=1) == truth).mean())


def cross_entropy(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """Mean of -log(probability of the true class), in nats; finite even where that is 0."""
    chosen = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.log(np.maximum(chosen, 1e-7)).mean())
