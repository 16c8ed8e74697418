"""Train a model, test it once on what was held out, and publish it with a record of the run."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.contract import Contract, TableInput
from rockstar_training.augmentation import augmentation_for, score_threshold
from rockstar_training.checkpoint import unfinished, unfinished_folder
from rockstar_training.comparison import promised_by, require_compatible, worse_than_served
from rockstar_training.config import TrainConfig
from rockstar_training.contract_builder import draft
from rockstar_training.cross_validation import cross_validate
from rockstar_training.distribution import is_chief, strategy
from rockstar_training.errors import TrainingError
from rockstar_training.evaluation import Answer, TestPredictions, answers
from rockstar_training.export import Exported, export
from rockstar_training.fit import Fitted, fit
from rockstar_training.importance import column_importance
from rockstar_training.metrics import majority_note, metrics_of, quantization_of
from rockstar_training.network import Network, pretrained_note
from rockstar_training.prepare import prepare_for
from rockstar_training.prepared import Prepared
from rockstar_training.progress import Epoch, Progress
from rockstar_training.record import LOGS_FOLDER, require_writable, write_record
from rockstar_training.report.card import CARD_FILE, model_card
from rockstar_training.report.page import write_report
from rockstar_training.report_data import DescentPath, outcome_of, path_of, report_data
from rockstar_training.task import task_of, weights_note
from rockstar_training.tensorflow_setup import make_repeatable, tf

# By how much smaller the learning rate of fine-tuning is: a backbone is easily unlearned.
_FINE_TUNING = 1000


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What a training run left.

    Attributes:
        folder: of the published version, models/<name>/<version>.
        run_folder: with the record and the report, runs/<name>-<version>.
        contract: as published.
        metrics: those of the contract: test_accuracy, test_balanced_accuracy, test_f1, test_auc,
            test_loss, train_accuracy for a classification, test_r2, test_rmse, test_loss,
            train_r2 for a regression; after a cross-validation cv_accuracy, cv_accuracy_std, …
        test: what the model says of the held-out examples.
        history: its epochs.
        notes: sentences about the data and how training went.
        line: W and b of a linear model of one number; else None.
        seconds: from start to end.
        held: why the version is published but not served; "" where it is served.
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

    The same configuration on the same machine gives the same model. If it was stopped before, it
    goes on where it was.

    Args:
        config: what to train and how.
        workdir: gets models/<name>/<version>/ and runs/<name>-<version>/.
        progress: called at the end of every epoch.
        data: what `prepare_for(config)` returned, if the caller has prepared it already.
        folds: what `cross_validate(config)` returned, likewise.
        replace: publish also what promises something else than the version that is served.
        serve_anyway: have the version served also where it is worse than the one that is.

    Raises:
        TrainingError: the data cannot be used, the folder cannot be written, another model is
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
    path = path_of(config, data)
    with unfinished(workdir / "runs", config, data.train) as folder:
        fitted = _fit(config, data, devices, folder, progress, path)
        answer = _answer(fitted.network)
        # Held-out examples are looked at from here on only: nothing is chosen by them any more.
        test = TestPredictions(data.test.places, data.test.targets, answers(answer, data.test))
        metrics = {**metrics_of(data, test, answer), **(folds or {})}
        augmentation = augmentation_for(config.data, config.augmentation)
        threshold = score_threshold(answer, data.validation, augmentation, config.seed)
        promised = draft(config.name, data, metrics, test, threshold)
        worse = "" if serve_anyway else worse_than_served(models, promised, len(test.truth))
        exported = _export(config, data, fitted, test, path, models, promised, held=bool(worse))
        contract = exported.contract
        logs = folder / LOGS_FOLDER
        run = write_record(workdir / "runs", config, contract, test, fitted.history, logs)
    outcome = outcome_of(data, test, answer, path)
    notes = (
        *data.notes,
        *weights_note(config, data),
        *pretrained_note(config, fitted.network),
        *fitted.notes,
        *majority_note(contract, test),
    )
    importance = (
        column_importance(answer, data.test, data.input.columns, len(data.labels), config.seed)
        if isinstance(data.input, TableInput)
        else ()
    )
    report = report_data(
        config, contract, outcome, fitted.history, fitted.network, notes, importance
    )
    write_report(report, run)
    return TrainingResult(
        folder=exported.folder,
        run_folder=run,
        contract=contract,
        metrics=contract.metrics,
        test=test,
        history=fitted.history,
        notes=notes,
        held=worse,
        line=path.line if path else None,
        seconds=time.perf_counter() - started,
    )


def take_part(
    config: TrainConfig,
    workdir: Path,
    progress: Progress | None = None,
    data: Prepared | None = None,
) -> None:
    """Train along with the chief of TF_CONFIG's workers, and publish nothing.

    Args:
        config: the chief's.
        workdir: the chief's; a folder that all workers share.
        progress: called at the end of every epoch.
        data: as for train_and_evaluate.

    Raises:
        TrainingError: as from train_and_evaluate.
    """
    devices = _devices(config)
    data = data or prepare_for(config)
    folder = unfinished_folder(workdir / "runs", config, data.train)
    _fit(config, data, devices, folder, progress)


def _devices(config: TrainConfig) -> Any:
    """The tf.distribute.Strategy; it must be made before TensorFlow does anything else."""
    devices = strategy()
    make_repeatable(config.seed)
    return devices


def _fit(
    config: TrainConfig,
    data: Prepared,
    devices: Any,
    folder: Path,
    progress: Progress | None,
    path: DescentPath | None = None,
) -> Fitted:
    fitted = fit(
        task_of(config, data),
        data.train,
        data.validation,
        config,
        progress=progress,
        folder=folder,
        strategy=devices,
        watch=path.watch if path else None,
    )
    if not config.fine_tune:
        return fitted
    return _fine_tuned(fitted, config, data, devices, folder, progress)


def _fine_tuned(
    fitted: Fitted,
    config: TrainConfig,
    data: Prepared,
    devices: Any,
    folder: Path,
    progress: Progress | None,
) -> Fitted:
    """Trained on with its backbone, gently; as it was where that makes it no better."""
    before = fitted.history
    rate = (config.learning_rate or 0.0) / _FINE_TUNING
    gentle = replace(config, epochs=config.fine_tune, learning_rate=rate)

    def counted_on(epoch: Epoch) -> Epoch:
        total = len(before) + epoch.epochs
        return replace(epoch, number=len(before) + epoch.number, epochs=total)

    tuned = fit(
        task_of(config, data),
        data.train,
        data.validation,
        gentle,
        progress=progress and (lambda epoch: progress(counted_on(epoch))),
        folder=folder / "fine_tuning",
        strategy=devices,
        start=fitted.network,
    )
    history = [*before, *map(counted_on, tuned.history)]
    losses = [
        [epoch.val_loss for epoch in epochs if epoch.val_loss is not None]
        for epochs in (before, tuned.history)
    ]
    if config.patience and all(losses) and min(losses[1]) > min(losses[0]):
        note = (
            "Fine-tuning made the validation loss no better: the network from before it was kept."
        )
        return Fitted(fitted.network, history, (*fitted.notes, note))
    return Fitted(tuned.network, history, (*fitted.notes, *tuned.notes))


def _answer(network: Network) -> Answer:
    def answer(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(network.predict(tf.constant(batch)))

    return answer


def _export(
    config: TrainConfig,
    data: Prepared,
    fitted: Fitted,
    test: TestPredictions,
    path: DescentPath | None,
    models: Path,
    promised: Contract,
    *,
    held: bool,
) -> Exported:
    network = fitted.network
    answer = _answer(network)

    def documents(contract: Contract) -> Mapping[PurePath, str]:
        card = model_card(contract, outcome_of(data, test, answer, path), asdict(config))
        return {PurePath(CARD_FILE): card}

    return export(
        network.predict,
        network.trackables,
        promised,
        data.golden,
        models,
        quantization=quantization_of(data, config.quantize),
        documents=documents,
        held=held,
    )
