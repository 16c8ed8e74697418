"""Train a model, test it once on what was held out, and publish it with a record of the run."""

import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.contract import SCHEMA_VERSION, Contract, DataSet, Input, utc_now
from training import datasets
from training.checkpoint import unfinished, unfinished_folder
from training.config import TrainConfig
from training.distribution import is_chief, strategy
from training.errors import TrainingError
from training.evaluation import TestPredictions, accuracy, cross_entropy
from training.export import Predict, export
from training.fit import fit
from training.pipeline import Arrays, Part, hold_back
from training.preparation import input_for, prepare_images, statistics
from training.progress import Epoch, Progress
from training.readback import Golden
from training.record import LOGS_FOLDER, write_record
from training.task import Task
from training.tensorflow_setup import make_repeatable, tf

# Samples that are compared in the read-back, the first of the training images.
_GOLDEN_SAMPLES = 32
# Examples in one call of the model while it is evaluated.
_EVALUATION_BATCH = 256


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What a training run left.

    Attributes:
        folder: of the published version, models/<name>/<version>.
        run_folder: with the record, runs/<name>-<version>.
        contract: as published.
        metrics: test_accuracy, test_loss, train_accuracy; losses in nats.
        test: what the model says of the held-out images.
        history: its epochs.
        seconds: from start to end.
    """

    folder: Path
    run_folder: Path
    contract: Contract
    metrics: dict[str, float]
    test: TestPredictions
    history: list[Epoch]
    seconds: float


@dataclass(frozen=True, eq=False)
class _Data:
    """A data set as a model takes it: tensors float32 [n, *spec.shape]."""

    dataset: datasets.Dataset
    split: datasets.Split
    spec: Input
    tensors: NDArray[np.float32]

    @property
    def task(self) -> Task:
        """What a network is to learn."""
        return Task(self.spec.shape, len(self.dataset.label_names))

    @property
    def train(self) -> Part:
        """What is not held out for the test."""
        index = self.split.train_index
        return Arrays(self.tensors[index], self.dataset.labels[index])

    @property
    def golden(self) -> Golden:
        """The first training images, raw and prepared."""
        index = self.split.train_index[:_GOLDEN_SAMPLES]
        return Golden(self.dataset.images[index], self.tensors[index])

    def parts(self, config: TrainConfig) -> tuple[Part, Part | None]:
        """What is trained on, and what training is watched with."""
        return hold_back(self.train, config.validation_fraction, config.seed, stratify=True)


def train_and_evaluate(
    config: TrainConfig, workdir: Path, progress: Progress | None = None
) -> TrainingResult:
    """Train as configured, test once on the held-out images, and publish the next version.

    The same configuration on the same machine gives the same model. If it was stopped before, it
    goes on where it was.

    Args:
        config: what to train and how.
        workdir: gets models/<name>/<version>/ and runs/<name>-<version>/.
        progress: called at the end of every epoch.

    Raises:
        TrainingError: the data cannot be used, the folder cannot be written, or the export does
            not read back; the message says which.
    """
    if not is_chief():
        raise TrainingError("this process is not the chief of TF_CONFIG's workers: use take_part")
    started = time.perf_counter()
    _require_writable(workdir)
    devices = strategy()
    make_repeatable(config.seed)
    data = _data(config)
    with unfinished(workdir / "runs", config, data.train) as folder:
        fitted = fit(
            data.task,
            *data.parts(config),
            config,
            progress=progress,
            folder=folder,
            strategy=devices,
        )
        # The only time that the held-out images are looked at.
        test = _predictions(fitted.network.predict, data, data.split.test_index)
        metrics = _metrics(test, _predictions(fitted.network.predict, data, data.split.train_index))
        draft = _draft(config, data, metrics)
        network = fitted.network
        exported = export(
            network.predict, network.trackables, draft, data.golden, workdir / "models"
        )
        run_folder = write_record(
            workdir / "runs",
            config,
            exported.contract,
            test,
            fitted.history,
            folder / LOGS_FOLDER,
        )
    seconds = time.perf_counter() - started
    return TrainingResult(
        exported.folder, run_folder, exported.contract, metrics, test, fitted.history, seconds
    )


def take_part(config: TrainConfig, workdir: Path, progress: Progress | None = None) -> None:
    """Train along with the chief of TF_CONFIG's workers, and publish nothing.

    Args:
        config: the chief's.
        workdir: the chief's; a folder that all workers share.
        progress: called at the end of every epoch.

    Raises:
        TrainingError: as from train_and_evaluate.
    """
    devices = strategy()
    make_repeatable(config.seed)
    data = _data(config)
    folder = unfinished_folder(workdir / "runs", config, data.train)
    fit(data.task, *data.parts(config), config, progress=progress, folder=folder, strategy=devices)


def _require_writable(workdir: Path) -> None:
    """Better now than after training."""
    try:
        for name in ("models", "runs"):
            (workdir / name).mkdir(parents=True, exist_ok=True)
            probe = workdir / name / ".writable"
            probe.touch()
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise TrainingError(f"cannot write to {workdir}: {error}") from error


def _data(config: TrainConfig) -> _Data:
    dataset = datasets.load(config.data)
    split = datasets.split(dataset, config.test_fraction, config.seed)
    spec = input_for(config.data)
    return _Data(dataset, split, spec, prepare_images(dataset.images, spec))


def _predictions(predict: Predict, data: _Data, indices: NDArray[np.int64]) -> TestPredictions:
    probabilities = [
        np.asarray(predict(tf.constant(data.tensors[indices[i : i + _EVALUATION_BATCH]])))
        for i in range(0, len(indices), _EVALUATION_BATCH)
    ]
    return TestPredictions(indices, data.dataset.labels[indices], np.concatenate(probabilities))


def _metrics(test: TestPredictions, train: TestPredictions) -> dict[str, float]:
    return {
        "test_accuracy": accuracy(test.probabilities, test.truth),
        "test_loss": cross_entropy(test.probabilities, test.truth),
        "train_accuracy": accuracy(train.probabilities, train.truth),
    }


def _draft(config: TrainConfig, data: _Data, metrics: dict[str, float]) -> Contract:
    dataset, train = data.dataset, data.split.train_index
    names = dataset.label_names
    return Contract(
        schema_version=SCHEMA_VERSION,
        model=config.name,
        version=1,
        task="classification",
        input=data.spec,
        labels=names,
        metrics=metrics,
        data_set=DataSet(name=dataset.name, examples=len(dataset.labels), sha256=dataset.sha256),
        statistics=statistics(data.tensors[train], dataset.labels[train], len(names), data.spec),
        created=utc_now(),
        producer=", ".join(map(_release, ("rockstartf", "tensorflow", "keras"))),
    )


def _release(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:  # run from a checkout that is not installed
        return package
