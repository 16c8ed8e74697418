"""The record of a run: what was asked for, what came out, and what was said of each test image."""

import csv
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rockstar_contract.contract import Contract
from rockstar_training.config import TrainConfig, to_json
from rockstar_training.errors import TrainingError
from rockstar_training.evaluation import TestPredictions
from rockstar_training.progress import Epoch

CONFIG_FILE = "config.json"
CONTRACT_FILE = "contract.json"
METRICS_FILE = "metrics.json"
HISTORY_FILE = "history.json"
LOGS_FOLDER = "tensorboard"
PREDICTIONS_FILE = "test_predictions.csv"


def require_writable(workdir: Path) -> None:
    """Check before training that models/ and runs/ can be written.

    Raises:
        TrainingError: they cannot; the message names the folder.
    """
    try:
        for name in ("models", "runs"):
            (workdir / name).mkdir(parents=True, exist_ok=True)
            probe = workdir / name / ".writable"
            probe.touch()
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise TrainingError(f"cannot write to {workdir}: {error.strerror}") from error


def write_record(
    runs: Path,
    config: TrainConfig,
    contract: Contract,
    test: TestPredictions,
    history: Sequence[Epoch],
    logs: Path | None = None,
) -> Path:
    """Write runs/<name>-<version>/, over a record of the same version if its model is gone.

    Args:
        runs: the folder of all runs.
        config: what was asked for.
        contract: as published.
        test: what is said of each held-out example.
        history: all epochs.
        logs: TensorBoard's, which are moved there; None or a missing folder is none.

    Returns:
        The folder. Its history.json has a list of epochs. Its test_predictions.csv has a row for
        each held-out example: its index in the data set, the names of its label and of the
        predicted one, and the latter's probability; or the true value and the predicted one.

    Raises:
        TrainingError: it cannot be written; the model is published all the same.
    """
    folder = runs / f"{contract.model}-{contract.version}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG_FILE).write_text(to_json(config), encoding="utf-8")
        (folder / CONTRACT_FILE).write_text(contract.to_json() + "\n", encoding="utf-8")
        _write_json(folder / METRICS_FILE, contract.metrics)
        _write_json(folder / HISTORY_FILE, [asdict(epoch) for epoch in history])
        _write_predictions(folder / PREDICTIONS_FILE, contract, test)
        if logs is not None and logs.is_dir():
            shutil.rmtree(folder / LOGS_FOLDER, ignore_errors=True)
            shutil.move(logs, folder / LOGS_FOLDER)
    except OSError as error:
        raise TrainingError(
            f"{contract.model} version {contract.version} is published, but the record of its run "
            f"cannot be written to {folder}: {error}"
        ) from error
    return folder


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _write_predictions(path: Path, contract: Contract, test: TestPredictions) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if contract.task == "regression":
            writer.writerow(["index", "value", "predicted"])
            # Nine digits bring a float32 back as it was.
            rows = zip(test.indices, test.truth, test.outputs[:, 0], strict=True)
            writer.writerows([i, f"{true:.9g}", f"{guess:.9g}"] for i, true, guess in rows)
            return
        writer.writerow(["index", "label", "predicted", "score"])
        labels = contract.labels
        guesses, scores = test.outputs.argmax(axis=1), test.outputs.max(axis=1)
        for index, true, guess, score in zip(
            test.indices, test.truth, guesses, scores, strict=True
        ):
            writer.writerow([index, labels[true], labels[guess], f"{score:.9g}"])
