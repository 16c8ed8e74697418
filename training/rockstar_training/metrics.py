"""The figures of a model on the data that it was made for."""

import numpy as np

from rockstar_contract.contract import Contract
from rockstar_training.evaluation import (
    Answer,
    TestPredictions,
    accuracy,
    answers,
    classification_metrics,
    majority_share,
    regression_metrics,
)
from rockstar_training.prepared import Prepared
from rockstar_training.quantization import CALIBRATION_EXAMPLES, Quantization


def metrics_of(data: Prepared, test: TestPredictions, answer: Answer) -> dict[str, float]:
    """What a contract says of a model: of the held-out examples, and of those it learned from."""
    train = answers(answer, data.train)
    if data.task == "regression":
        own = regression_metrics(train, data.train.targets, "train")
        return regression_metrics(test.outputs, test.truth) | own
    return classification_metrics(test.outputs, test.truth) | {
        "train_accuracy": accuracy(train, data.train.targets)
    }


def majority_note(contract: Contract, test: TestPredictions) -> tuple[str, ...]:
    """A sentence where a classifier is no better than always giving the same answer."""
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


def quantization_of(data: Prepared, mode: str) -> Quantization | None:
    """How a model of this data is quantised, judged by accuracy, or R², of the held-out examples.

    Args:
        data: that the model was trained on.
        mode: one of QUANTIZATIONS; "none" gives None.
    """
    if mode == "none":
        return None
    train = data.train
    chosen = np.linspace(0, train.count - 1, min(CALIBRATION_EXAMPLES, train.count))
    examples = train.tensors(chosen.astype(np.int64))
    if data.task == "regression":
        return Quantization(
            mode,
            "test_r2",
            lambda answer: regression_metrics(answers(answer, data.test), data.test.targets).get(
                "test_r2", float("nan")
            ),
            examples,
        )
    return Quantization(
        mode,
        "test_accuracy",
        lambda answer: accuracy(answers(answer, data.test), data.test.targets),
        examples,
    )
