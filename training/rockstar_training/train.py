"""Training runs: train a model, test it on held-out examples, publish it, and record the run."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rockstar_contract.contract import Contract, TableInput
from rockstar_training import contract_builder, networks, prepared_data
from rockstar_training.augmentation import augmentation_for, score_threshold
from rockstar_training.config import TrainConfig
from rockstar_training.errors import ConfigError, StoppedError, TrainingError
from rockstar_training.evaluation import (
    Predictor,
    TestPredictions,
    column_importance,
    evaluate,
    majority_note,
)
from rockstar_training.export import export, neighbors_of, quantization_for
from rockstar_training.fit import Fitted, fit, unfinished_folder, unfinished_run
from rockstar_training.indexed_job import has_several_workers, is_chief
from rockstar_training.live import Live
from rockstar_training.prepared_data import PreparedData, prepare_data, prepare_folds, task_of
from rockstar_training.pretrained import pretrained_note
from rockstar_training.progress import Epoch, Progress
from rockstar_training.readback import predictor_of
from rockstar_training.report.card import CARD_FILE, model_card
from rockstar_training.report.classification import Classified
from rockstar_training.report.page import ReportData, outcome_of, write_report
from rockstar_training.report.regression import Regressed, descent_path
from rockstar_training.runs import SCORES, comparable_runs, require_writable, write_record
from rockstar_training.tensorflow_setup import make_repeatable, strategy
from rockstar_training.tracking import Tracking

# Fine-tuning divides the learning rate by this: large steps would destroy pretrained weights.
_FINE_TUNING = 1000
# The metric that is reported for each fold (the first one present) and its display name.
_HEADLINES = {**SCORES, "test_rmse": "RMSE"}


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingResult:
    """The result of a training run."""

    folder: Path  # of the published version, models/<name>/<version>
    run_folder: Path  # with the record and the report, runs/<name>-<version>
    contract: Contract  # as published
    # Those of the contract: test_accuracy, test_balanced_accuracy, test_f1, test_auc, test_loss,
    # train_accuracy for a classification, test_r2, test_rmse, test_loss, train_r2 for a regression;
    # after a cross-validation cv_accuracy, cv_accuracy_std, …
    metrics: dict[str, float]
    test: TestPredictions
    history: list[Epoch]  # all epochs
    notes: tuple[str, ...]  # sentences about the data and the training
    line: tuple[float, float] | None  # W and b of a linear model of one number
    seconds: float  # from start to end
    held: str  # why the version is published but not served; "" if it is served


def train_and_evaluate(
    config: TrainConfig,
    workdir: Path,
    progress: Progress | None = None,
    data: PreparedData | None = None,
    folds: dict[str, float] | None = None,
    *,
    replace: bool = False,
    serve_anyway: bool = False,
    watch: Callable[[Path], None] | None = None,
    mlflow: str | None = None,
) -> TrainingResult:
    """Train as configured, test once on the held-out examples, and publish the next version.

    The same configuration gives the same model on the same machine. An interrupted training
    continues where it stopped.

    Args:
        config: what to train and how.
        workdir: for models/<name>/<version>/ and runs/<name>-<version>/.
        progress: called at the end of every epoch.
        data: result of `prepare_data(config)`, if the caller has it already.
        folds: result of `cross_validate(config)`, likewise.
        replace: publish even if the served version promises something else.
        serve_anyway: serve the version even if it is worse than the served one.
        watch: called with the folder of the unfinished run, before its events.jsonl is written;
            then this also has snapshots of the network.
        mlflow: URI of an MLflow server or database that the training is logged to and the version
            is registered in; "" for MLFLOW_TRACKING_URI. A note of the result names the run, or
            says what is missing.

    Raises:
        TrainingError: the data cannot be used, the folder cannot be written, a different model is
            served under this name, or the export does not read back; the message says which.
        StoppedError: interrupted by Ctrl-C during the training or, after publishing, the report.
    """
    if not is_chief():
        raise TrainingError("this process is not the chief of TF_CONFIG's workers: use take_part")
    started = time.perf_counter()
    require_writable(workdir)
    data = data or prepare_data(config)
    golden = data.golden  # files may change during the training
    models, runs = workdir / "models", workdir / "runs"
    if not replace:
        contract_builder.require_compatible(models, config.name, data)
    if config.folds and folds is None:
        folds = cross_validate(config)
    devices = strategy()  # before any other use of TensorFlow
    make_repeatable(config.seed)
    path = descent_path(config.model, data.input)
    with (
        unfinished_run(runs, config, data.train) as folder,
        Live(folder, config, data, path, watched=watch is not None) as live,
        nullcontext() if mlflow is None else Tracking(mlflow, config, folder) as tracking,
    ):
        if watch is not None:
            watch(folder)

        def report_epoch(epoch: Epoch) -> None:
            if progress is not None:
                progress(epoch)
            if tracking is not None:
                tracking.log(epoch)

        fitted = _fit(config, data, devices, folder, report_epoch, live)
        live.write("testing")
        network, predictor = fitted.network, predictor_of(fitted.network.predict)
        # Held-out examples are used from here on only, so nothing is selected by them.
        test, metrics = evaluate(data, predictor)
        metrics |= folds or {}
        augmentation = augmentation_for(config.data, config.augmentation)
        threshold = score_threshold(predictor, data.validation, augmentation, config.seed)
        draft = contract_builder.build_contract(config.name, data, metrics, test, threshold)
        worse = contract_builder.worse_than_served(models, draft, len(test.truth))
        held = "" if serve_anyway else worse
        outcome = outcome_of(data, test, predictor, path)
        exported = export(
            network.predict,
            network.trackables,
            draft,
            golden,
            models,
            quantization=quantization_for(data, config.quantize),
            documents=lambda contract: {CARD_FILE: model_card(contract, outcome, config.model)},
            neighbors=neighbors_of(data),
            held=bool(held),
        )
        contract = exported.contract
        with _published(exported.folder, "the record of its run was"):
            run = write_record(runs, config, contract, test, fitted.history, folder)
            live.write("finished", run=run.name, metrics=contract.metrics, held=held)
    notes = (
        *data.notes,
        *prepared_data.weights_note(config, data),
        *pretrained_note(config, network),
        *fitted.notes,
        *majority_note(contract, test),
    )
    with (
        nullcontext() if tracking is None else tracking,  # a failure ends the run there, too
        _published(exported.folder, "its report was"),
    ):
        report = _report(config, data, fitted, predictor, outcome, contract, notes, run)
        write_report(report, run)
    if tracking is not None:
        notes = (*notes, tracking.finish(contract, fitted.history, exported.folder, run, held))
    descent = outcome.descent if isinstance(outcome, Regressed) else None
    return TrainingResult(
        folder=exported.folder,
        run_folder=run,
        contract=contract,
        metrics=contract.metrics,
        test=test,
        history=fitted.history,
        notes=notes,
        line=descent.line if descent else None,
        seconds=time.perf_counter() - started,
        held=held,
    )


@contextmanager
def _published(folder: Path, missing: str) -> Iterator[None]:
    """If Ctrl-C ends what follows publishing, say what is published and what is missing."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise StoppedError(
            f"Stopped: {folder} is published and complete, but {missing} not written."
        ) from error


def _report(
    config: TrainConfig,
    data: PreparedData,
    fitted: Fitted,
    predictor: Predictor,
    outcome: Classified | Regressed,
    contract: Contract,
    notes: tuple[str, ...],
    run: Path,
) -> ReportData:
    network = fitted.network
    # Of a network in plain TensorFlow, the same layers of Keras.
    model = (
        network.model
        if isinstance(network, networks.KerasNetwork)
        else networks.build(config, network.task)
    )
    columns = data.input.columns if isinstance(data.input, TableInput) else ()
    return ReportData(
        contract=contract,
        config=asdict(config),
        outcome=outcome,
        history=fitted.history,
        kernel=network.weights[0].numpy(),
        layers=networks.layer_sizes(model),
        earlier=comparable_runs(run.parent, config, run.name),
        importance=column_importance(predictor, data.test, columns, len(data.labels), config.seed),
        notes=notes,
    )


def take_part(
    config: TrainConfig,
    workdir: Path,
    progress: Progress | None = None,
    data: PreparedData | None = None,
) -> list[Epoch]:
    """Train without publishing: with the chief of TF_CONFIG's workers, or as a trial of a search.

    The arguments and errors are those of `train_and_evaluate`, which continues from the checkpoints
    in the workdir. All workers must be able to read them.

    Returns:
        All epochs.
    """
    devices = strategy()  # before any other use of TensorFlow
    make_repeatable(config.seed)
    data = data or prepare_data(config)
    folder = unfinished_folder(workdir / "runs", config, data.train)
    return _fit(config, data, devices, folder, progress).history


def cross_validate(
    config: TrainConfig, report: Callable[[str], None] = lambda _: None
) -> dict[str, float]:
    """Train and test once on each fold of a table, without publishing; report a line for each.

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


def held_out_metrics(config: TrainConfig, data: PreparedData) -> dict[str, float]:
    """Train on a data set and test on its held-out examples, without publishing."""
    make_repeatable(config.seed)
    network = fit(task_of(config, data), data.train, data.validation, config).network
    return evaluate(data, predictor_of(network.predict))[1]


def _fit(
    config: TrainConfig,
    data: PreparedData,
    devices: Any,
    folder: Path,
    progress: Progress | None,
    live: Live | None = None,
) -> Fitted:
    """Train, then fine-tune a pretrained backbone; keep the better network."""
    train = partial(fit, task_of(config, data), data.train, data.validation)
    fitted = train(config, progress=progress, folder=folder, strategy=devices, live=live)
    if not config.fine_tune or (live is not None and live.stopped):
        return fitted
    before = fitted.history

    def renumber(epoch: Epoch) -> Epoch:
        total = len(before) + epoch.epochs
        return replace(epoch, number=len(before) + epoch.number, epochs=total)

    rate = (config.learning_rate or 0.0) / _FINE_TUNING
    tuned = train(
        replace(config, epochs=config.fine_tune, learning_rate=rate),
        progress=progress and (lambda epoch: progress(renumber(epoch))),
        folder=folder / "fine_tuning",
        strategy=devices,
        start=fitted.network,
        live=live,
    )
    history = [*before, *map(renumber, tuned.history)]
    losses, tuned_losses = (
        [epoch.val_loss for epoch in epochs if epoch.val_loss is not None]
        for epochs in (before, tuned.history)
    )
    if config.patience and losses and tuned_losses and min(tuned_losses) > min(losses):
        note = "Fine-tuning did not improve the validation loss: the network from before was kept."
        return Fitted(fitted.network, history, (*fitted.notes, note))
    return Fitted(tuned.network, history, (*fitted.notes, *tuned.notes))
