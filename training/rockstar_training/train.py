"""Training runs: train a model, test it on held-out examples, publish it, and record the run."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.contract import Contract, TableInput
from rockstar_training.augmentation import augmentation_for, score_threshold
from rockstar_training.config import TrainConfig
from rockstar_training.contracts import draft, promised_by, require_compatible, worse_than_served
from rockstar_training.distribution import has_several_workers, is_chief, strategy
from rockstar_training.errors import ConfigError, TrainingError
from rockstar_training.evaluation import (
    Answer,
    TestPredictions,
    column_importance,
    compute_metrics,
    majority_note,
    predict_part,
)
from rockstar_training.export import export, quantization_for
from rockstar_training.fit import Fitted, fit, unfinished_folder, unfinished_run
from rockstar_training.networks import Network
from rockstar_training.prepare import prepare_folds, prepare_for
from rockstar_training.prepared import Prepared
from rockstar_training.pretrained import pretrained_note
from rockstar_training.progress import Epoch, Progress
from rockstar_training.report.card import CARD_FILE, model_card
from rockstar_training.report.data import (
    DescentPath,
    Regressed,
    descent_path,
    outcome_of,
    report_data,
)
from rockstar_training.report.page import write_report
from rockstar_training.runs import LOGS_FOLDER, require_writable, write_record
from rockstar_training.task import task_of, weights_note
from rockstar_training.tensorflow_setup import make_repeatable, tf

# Fine-tuning divides the learning rate by this: large steps would destroy pretrained weights.
_FINE_TUNING = 1000
# The metric that is reported for each fold (the first one present) and its display name.
_HEADLINES = {"test_accuracy": "accuracy", "test_r2": "R²", "test_rmse": "RMSE"}


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """The result of a training run.

    Attributes:
        folder: of the published version, models/<name>/<version>.
        run_folder: with the record and the report, runs/<name>-<version>.
        contract: as published.
        metrics: those of the contract: test_accuracy, test_balanced_accuracy, test_f1, test_auc,
            test_loss, train_accuracy for a classification, test_r2, test_rmse, test_loss,
            train_r2 for a regression; after a cross-validation cv_accuracy, cv_accuracy_std, …
        test: predictions for the held-out examples.
        history: all epochs.
        notes: sentences about the data and the training.
        line: W and b of a linear model of one number; else None.
        seconds: from start to end.
        held: why the version is published but not served; "" if it is served.
    """

    folder: Path
    run_folder: Path
    contract: Contract
    metrics: dict[str, float]
    test: TestPredictions
    history: list[Epoch]
    notes: tuple[str, ...]
    line: tuple[float, float] | None
    seconds: float
    held: str = ""


def train_and_evaluate(
    config: TrainConfig,
    workdir: Path,
    progress: Progress | None = None,
    data: Prepared | None = None,
    folds: dict[str, float] | None = None,
    *,
    replace: bool = False,
    serve_anyway: bool = False,
) -> TrainingResult:
    """Train as configured, test once on the held-out examples, and publish the next version.

    The same configuration gives the same model on the same machine. An interrupted training
    continues where it stopped.

    Args:
        config: what to train and how.
        workdir: for models/<name>/<version>/ and runs/<name>-<version>/.
        progress: called at the end of every epoch.
        data: result of `prepare_for(config)`, if the caller has it already.
        folds: result of `cross_validate(config)`, likewise.
        replace: publish even if the served version promises something else.
        serve_anyway: serve the version even if it is worse than the served one.

    Raises:
        TrainingError: the data cannot be used, the folder cannot be written, a different model is
            served under this name, or the export does not read back; the message says which.
    """
    if not is_chief():
        raise TrainingError("this process is not the chief of TF_CONFIG's workers: use take_part")
    started = time.perf_counter()
    require_writable(workdir)
    data = data or prepare_for(config)
    models = workdir / "models"
    if not replace:
        require_compatible(models, config.name, promised_by(data))
    if config.folds and folds is None:
        folds = cross_validate(config)
    devices = _devices(config)
    path = descent_path(config, data)
    with unfinished_run(workdir / "runs", config, data.train) as folder:
        fitted = _fit(config, data, devices, folder, progress, path)
        network = fitted.network
        answer = _answer(network)
        # Held-out examples are used from here on only, so nothing is selected by them.
        test = TestPredictions(data.test.places, data.test.targets, predict_part(answer, data.test))
        metrics = {**compute_metrics(data, test, answer), **(folds or {})}
        augmentation = augmentation_for(config.data, config.augmentation)
        threshold = score_threshold(answer, data.validation, augmentation, config.seed)
        promised = draft(config.name, data, metrics, test, threshold)
        worse = "" if serve_anyway else worse_than_served(models, promised, len(test.truth))
        outcome = outcome_of(data, test, answer, path)
        exported = export(
            network.predict,
            network.trackables,
            promised,
            data.golden,
            models,
            quantization=quantization_for(data, config.quantize),
            documents=lambda contract: {
                PurePath(CARD_FILE): model_card(contract, outcome, asdict(config))
            },
            held=bool(worse),
        )
        contract = exported.contract
        logs = folder / LOGS_FOLDER
        run = write_record(workdir / "runs", config, contract, test, fitted.history, logs)
    notes = (
        *data.notes,
        *weights_note(config, data),
        *pretrained_note(config, network),
        *fitted.notes,
        *majority_note(contract, test),
    )
    importance = (
        column_importance(answer, data.test, data.input.columns, len(data.labels), config.seed)
        if isinstance(data.input, TableInput)
        else ()
    )
    report = report_data(config, contract, outcome, fitted.history, network, notes, importance)
    write_report(report, run)
    descent = outcome.descent if isinstance(outcome, Regressed) else None
    return TrainingResult(
        folder=exported.folder,
        run_folder=run,
        contract=contract,
        metrics=contract.metrics,
        test=test,
        history=fitted.history,
        notes=notes,
        held=worse,
        line=descent.line if descent else None,
        seconds=time.perf_counter() - started,
    )


def take_part(
    config: TrainConfig,
    workdir: Path,
    progress: Progress | None = None,
    data: Prepared | None = None,
) -> None:
    """Train together with the chief of TF_CONFIG's workers, without publishing.

    Args:
        config: what to train and how.
        workdir: for the checkpoints, which all workers must be able to read.
        progress: called at the end of every epoch.
        data: as for train_and_evaluate.

    Raises:
        TrainingError: as from train_and_evaluate.
    """
    devices = _devices(config)
    data = data or prepare_for(config)
    folder = unfinished_folder(workdir / "runs", config, data.train)
    _fit(config, data, devices, folder, progress)


def cross_validate(
    config: TrainConfig, report: Callable[[str], None] = lambda _: None
) -> dict[str, float]:
    """Train and test once on each fold of a table, without publishing.

    Args:
        config: what to train, how, and on how many folds.
        report: called with a line for each fold.

    Returns:
        Mean and standard deviation over the folds of each held-out metric, such as "cv_accuracy"
        and "cv_accuracy_std".

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
    summary: dict[str, float] = {}
    for name in found[0]:
        if name.startswith("test_"):
            # The AUC is undefined for a fold that lacks a class.
            values = [metrics[name] for metrics in found if name in metrics]
            summary[f"cv_{name[5:]}"] = float(np.mean(values))
            summary[f"cv_{name[5:]}_std"] = float(np.std(values))
    return summary


def held_out_metrics(config: TrainConfig, data: Prepared) -> dict[str, float]:
    """Train on a data set and test on its held-out examples, without publishing."""
    make_repeatable(config.seed)
    network = fit(task_of(config, data), data.train, data.validation, config).network
    answer = _answer(network)
    test = TestPredictions(data.test.places, data.test.targets, predict_part(answer, data.test))
    return compute_metrics(data, test, answer)


def _devices(config: TrainConfig) -> Any:
    """Create the tf.distribute.Strategy; this must be the first use of TensorFlow."""
    devices = strategy()
    make_repeatable(config.seed)
    return devices


def _answer(network: Network) -> Answer:
    def answer(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(network.predict(tf.constant(batch)))

    return answer


def _fit(
    config: TrainConfig,
    data: Prepared,
    devices: Any,
    folder: Path,
    progress: Progress | None,
    path: DescentPath | None = None,
) -> Fitted:
    """Train, then fine-tune a pretrained backbone; keep the better network."""
    task = task_of(config, data)
    fitted = fit(
        *(task, data.train, data.validation, config),
        progress=progress,
        folder=folder,
        strategy=devices,
        watch=path.watch if path else None,
    )
    if not config.fine_tune:
        return fitted
    before = fitted.history

    def renumber(epoch: Epoch) -> Epoch:
        total = len(before) + epoch.epochs
        return replace(epoch, number=len(before) + epoch.number, epochs=total)

    rate = (config.learning_rate or 0.0) / _FINE_TUNING
    tuned = fit(
        *(task, data.train, data.validation),
        replace(config, epochs=config.fine_tune, learning_rate=rate),
        progress=progress and (lambda epoch: progress(renumber(epoch))),
        folder=folder / "fine_tuning",
        strategy=devices,
        start=fitted.network,
    )
    history = [*before, *map(renumber, tuned.history)]
    losses = [
        [epoch.val_loss for epoch in epochs if epoch.val_loss is not None]
        for epochs in (before, tuned.history)
    ]
    if config.patience and all(losses) and min(losses[1]) > min(losses[0]):
        note = "Fine-tuning did not improve the validation loss: the network from before was kept."
        return Fitted(fitted.network, history, (*fitted.notes, note))
    return Fitted(tuned.network, history, (*fitted.notes, *tuned.notes))
