"""The figures of a model on the data that it was made for."""

from training.evaluation import (
    Answer,
    TestPredictions,
    accuracy,
    answers,
    classification_metrics,
    regression_metrics,
)
from training.prepared import Prepared
from training.quantization import Quantization


def metrics_of(data: Prepared, test: TestPredictions, answer: Answer) -> dict[str, float]:
    """What a contract says of a model: of the held-out examples, and of those it learned from."""
    train = answers(answer, data.train)
    if data.task == "regression":
        own = regression_metrics(train, data.train.targets, "train")
        return regression_metrics(test.outputs, test.truth) | own
    return classification_metrics(test.outputs, test.truth) | {
        "train_accuracy": accuracy(train, data.train.targets)
    }


def judged_by(data: Prepared) -> Quantization:
    """What a quantised model is held against: its accuracy, or R², on the held-out examples."""
    if data.task == "regression":
        return Quantization(
            "test_r2",
            lambda answer: regression_metrics(answers(answer, data.test), data.test.targets).get(
                "test_r2", float("nan")
            ),
        )
    return Quantization(
        "test_accuracy",
        lambda answer: accuracy(answers(answer, data.test), data.test.targets),
    )
