"""Cross-validation: how good a model of few rows is, and how much that depends on the split."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from rockstar_training.config import TrainConfig
from rockstar_training.distribution import has_several_workers
from rockstar_training.errors import ConfigError
from rockstar_training.evaluation import TestPredictions, answers
from rockstar_training.fit import fit
from rockstar_training.metrics import metrics_of
from rockstar_training.prepare import prepare_folds
from rockstar_training.prepared import Prepared
from rockstar_training.task import task_of
from rockstar_training.tensorflow_setup import make_repeatable, tf

# What is told of each fold, the first that there is.
_HEADLINES = {"test_accuracy": "accuracy", "test_r2": "R²", "test_rmse": "RMSE"}


def cross_validate(
    config: TrainConfig, report: Callable[[str], None] = lambda _: None
) -> dict[str, float]:
    """Train and test once on each fold of a table; publishes nothing.

    Args:
        config: what to train, how, and on how many folds.
        report: gets a line for each fold.

    Returns:
        Mean and standard deviation over the folds of each figure of held-out rows, such as
        "cv_accuracy" and "cv_accuracy_std".

    Raises:
        TrainingError: the data cannot be used, or has too few rows for the folds.
    """
    if has_several_workers():
        raise ConfigError("folds: expected 0 with TF_CONFIG, as workers train one model together")
    found: list[dict[str, float]] = []
    for number, data in enumerate(prepare_folds(config), start=1):
        found.append(held_out_metrics(config, data))
        name, words = next(item for item in _HEADLINES.items() if item[0] in found[-1])
        report(f"Fold {number} of {config.folds}: {words} {found[-1][name]:.4f}")
    return _summary(found)


def held_out_metrics(config: TrainConfig, data: Prepared) -> dict[str, float]:
    """Train on a data set and test on what it holds out; publishes nothing."""
    make_repeatable(config.seed)
    network = fit(task_of(config, data), data.train, data.validation, config).network

    def answer(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(network.predict(tf.constant(batch)))

    test = TestPredictions(data.test.places, data.test.targets, answers(answer, data.test))
    return metrics_of(data, test, answer)


def _summary(found: Sequence[dict[str, float]]) -> dict[str, float]:
    summary: dict[str, float] = {}
    for name in found[0]:
        # A fold without some class has no area under its curve.
        values = [metrics[name] for metrics in found if name in metrics]
        if name.startswith("test_"):
            summary[f"cv_{name[5:]}"] = float(np.mean(values))
            summary[f"cv_{name[5:]}_std"] = float(np.std(values))
    return summary
