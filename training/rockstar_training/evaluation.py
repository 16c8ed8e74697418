"""Evaluation on held-out examples: metrics, confidence intervals and permutation importance."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.contract import Contract
from rockstar_contract.tables import Column
from rockstar_training.prepared_data import Part, PreparedData

_BATCH_SIZE = 256
# Permutation importance: shuffles per column, columns and rows used. Of thousands of columns, all
# would take minutes. More rows make no visible difference; fewer than the minimum are not
# informative.
_REPEATS, MAX_COLUMNS = 10, 100
_MAX_ROWS, _MIN_ROWS = 2000, 10

# float32 [n, *shape of one example] to float32 [n, classes] for a classification, [n, 1] for a
# regression.
Predictor = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class TestPredictions:
    """A model's predictions for the held-out examples."""

    __test__ = False  # pytest collects classes whose names start with Test

    indices: NDArray[np.int64]  # [n], positions of the examples in the data set
    truth: NDArray[Any]  # [n], int64 labels or float32 values
    outputs: NDArray[np.float32]  # probabilities [n, classes] or values [n, 1]


@dataclass(frozen=True)
class ColumnImportance:
    """Mean and standard deviation of the drop in a metric when a column is shuffled."""

    name: str
    mean: float
    std: float


def predict_part(predictor: Predictor, part: Part) -> NDArray[np.float32]:
    """Predict all examples of a part, in order and in batches."""
    return np.concatenate([predictor(tensors) for tensors, _ in part.batches(_BATCH_SIZE)])


def evaluate(data: PreparedData, predictor: Predictor) -> tuple[TestPredictions, dict[str, float]]:
    """Predict the held-out examples, and compute the metrics of the contract."""
    outputs, train = predict_part(predictor, data.test), predict_part(predictor, data.train)
    if data.task == "regression":
        metrics = regression_metrics(outputs, data.test.targets)
        metrics |= regression_metrics(train, data.train.targets, "train")
    else:
        metrics = classification_metrics(outputs, data.test.targets)
        metrics["train_accuracy"] = accuracy(train, data.train.targets)
    return TestPredictions(data.test.places, data.test.targets, outputs), metrics


def classification_metrics(test: NDArray[np.float32], truth: NDArray[np.int64]) -> dict[str, float]:
    """Compute metrics of probabilities, [n, classes].

    Accuracy and cross-entropy (nats) count every example alike. Balanced accuracy (mean recall), F1
    and the area under the ROC curve (one class against the rest) are means over the classes in
    `truth`, so a rare class counts as much as a frequent one.
    """
    from sklearn.metrics import f1_score, recall_score, roc_auc_score

    present, guesses = np.unique(truth), test.argmax(axis=1)
    options: dict[str, Any] = {"labels": present, "average": "macro", "zero_division": 0.0}
    metrics = {
        "test_accuracy": accuracy(test, truth),
        "test_balanced_accuracy": float(recall_score(truth, guesses, **options)),
        "test_f1": float(f1_score(truth, guesses, **options)),
    }
    if len(present) > 1:
        areas = [roc_auc_score(truth == label, test[:, label]) for label in present]
        metrics["test_auc"] = float(np.mean(areas))
    chosen = test[np.arange(len(truth)), truth].astype(np.float64)
    # A probability of 0 for the true class would make the loss infinite.
    return metrics | {"test_loss": float(-np.log(np.maximum(chosen, 1e-7)).mean())}


def regression_metrics(
    test: NDArray[np.floating[Any]], truth: NDArray[np.floating[Any]], prefix: str = "test"
) -> dict[str, float]:
    """Compute the mean squared error of values, [n, 1], its root, and R² if the truth varies."""
    errors = truth.astype(np.float64) - test[:, 0]
    loss = float(np.mean(errors**2))
    metrics = {f"{prefix}_loss": loss, f"{prefix}_rmse": loss**0.5}
    variance = float(np.var(truth.astype(np.float64)))
    if variance > 0:
        metrics[f"{prefix}_r2"] = 1 - loss / variance
    return metrics


def accuracy(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """Return the share of rows, [n, classes], whose most likely class is correct."""
    return float((probabilities.argmax(axis=1) == truth).mean())


def majority_share(truth: NDArray[np.int64]) -> float:
    """Return the accuracy of always predicting the most frequent label."""
    return float(np.bincount(truth).max() / len(truth))


def majority_note(contract: Contract, test: TestPredictions) -> tuple[str, ...]:
    """Warn if a classifier is no more accurate than always predicting the most frequent label."""
    if contract.task == "regression":
        return ()
    share = majority_share(test.truth)
    if contract.metrics["test_accuracy"] > share:
        return ()
    most = contract.labels[int(np.bincount(test.truth).argmax())]
    balanced, f1 = contract.metrics["test_balanced_accuracy"], contract.metrics["test_f1"]
    advice = (
        f"judge this model by balanced accuracy ({balanced:.4f}) and F1 ({f1:.4f})"
        if balanced > 1.2 / len(contract.labels)
        else "this model has hardly learned anything"
    )
    return (
        f"Accuracy {contract.metrics['test_accuracy']:.4f} is no better than always answering "
        f"{most!r}, which is right for {share:.4f} of the held-out examples: {advice}.",
    )


def confusion_matrix(test: TestPredictions, labels: int) -> tuple[tuple[int, ...], ...]:
    """Count the examples of each true label (rows) by predicted label (columns)."""
    pairs = labels * test.truth + test.outputs.argmax(axis=1)
    counts = np.bincount(pairs, minlength=labels**2).reshape(labels, labels)
    return tuple(map(tuple, counts.tolist()))


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Compute the 95 % Wilson score interval of a binomial proportion: lower and upper end.

    Unlike p ± z √(p(1 - p)/n), it stays within 0…1 and keeps a width if the share p is 0 or 1.
    """
    from scipy.stats import binomtest

    low, high = binomtest(successes, trials).proportion_ci(0.95, "wilson")
    return float(low), float(high)


def column_importance(
    predictor: Predictor, part: Part, columns: tuple[Column, ...], labels: int, seed: int
) -> list[ColumnImportance]:
    """Measure how much worse a model gets when the values of one column are shuffled.

    Permutation importance (L. Breiman, "Random forests", 2001): the drop in balanced accuracy, or
    in R² without labels, largest first; none for images and for too few rows. Of more than
    MAX_COLUMNS columns, those are measured that vary most with the outputs.
    """
    from sklearn.inspection import permutation_importance
    from sklearn.metrics import r2_score, recall_score

    if not columns or part.count < _MIN_ROWS:
        return []
    rows = np.arange(part.count)
    if part.count > _MAX_ROWS:
        rows = np.random.default_rng(seed).choice(rows, _MAX_ROWS, replace=False)
    truth, tensors = part.targets[rows], part.tensors(rows)
    if np.ptp(truth) == 0:
        return []
    # Squares of large values would overflow.
    scale = 1.0 if labels else float(np.abs(truth.astype(np.float64)).max())
    starts = np.cumsum([0, *(column.width for column in columns)])
    measured = np.arange(len(columns))
    if len(columns) > MAX_COLUMNS:
        outputs = predictor(tensors)
        common = (tensors - tensors.mean(axis=0)).T @ (outputs - outputs.mean(axis=0))
        strength = np.maximum.reduceat(np.abs(common).max(axis=1), starts[:-1])
        measured = np.sort(np.argsort(-strength, kind="stable")[:MAX_COLUMNS])
    places = [slice(starts[place], starts[place + 1]) for place in measured]

    def score(_model: object, orders: NDArray[np.int64], truth: NDArray[Any]) -> float:
        """Score the rows with each measured column in another order, [n, columns]."""
        shuffled = tensors.copy()
        for place, order in zip(places, orders.T, strict=True):
            shuffled[:, place] = tensors[order, place]
        outputs = predictor(shuffled)
        if not labels:
            return float(r2_score(truth / scale, outputs[:, 0].astype(np.float64) / scale))
        guesses, known = outputs.argmax(axis=1), np.unique(truth)
        return float(recall_score(truth, guesses, labels=known, average="macro", zero_division=0.0))

    # scikit-learn shuffles single matrix columns, but one of ours may be several values wide. So it
    # shuffles row numbers.
    matrix = np.repeat(np.arange(len(rows))[:, np.newaxis], len(measured), axis=1)
    estimator = SimpleNamespace(fit=lambda: None)  # must exist; `score` calls the model
    found = permutation_importance(
        estimator, matrix, truth, scoring=score, n_repeats=_REPEATS, random_state=seed
    )
    names = [columns[place].name for place in measured]
    results = zip(names, found.importances_mean, found.importances_std, strict=True)
    importance = [ColumnImportance(name, float(mean), float(std)) for name, mean, std in results]
    return sorted(importance, key=lambda column: -column.mean)
