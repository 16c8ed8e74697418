"""The data that reports and model cards are drawn from, extracted from a finished run."""

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.contract import Contract, ImageInput, TableInput
from rockstar_contract.images import decode_image, ignore_warnings
from rockstar_contract.tables import CategoricalColumn, NumericColumn
from rockstar_training.config import TrainConfig
from rockstar_training.evaluation import Answer, ColumnImportance, TestPredictions, predict_part
from rockstar_training.prepared import Part, Prepared
from rockstar_training.progress import Epoch

if TYPE_CHECKING:
    from rockstar_training.networks import Network

# Rows of a regression that are plotted.
_PLOTTED = 5000
# A regression with fewer held-out rows than this is shown with its training rows, too.
_MIN_HELD_OUT = 10

# Returns a raw held-out image by its row: uint8 [h, w, 1 or 3]; sizes may differ.
ImageAt = Callable[[int], NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class Classified:
    """Predictions of a classifier for the held-out examples.

    Attributes:
        truth: int64 [n], indices into the contract's labels.
        probabilities: float32 [n, classes].
        image: loads a held-out image; None if the examples are not images.
    """

    truth: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    image: ImageAt | None = None

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most likely class of each example, int64 [n]."""
        likeliest: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return likeliest

    @property
    def right(self) -> int:
        """The number of correct predictions."""
        return int((self.predicted == self.truth).sum())


@dataclass(frozen=True, eq=False)
class Descent:
    """Gradient descent on the mean squared error of y = W x + b.

    Attributes:
        x: float64 [n], training data, standardized.
        y: float64 [n].
        path: float64 [epochs + 1, 2], W and b at the start and after each epoch.
        mean: subtracted from x before training.
        scale: by which x was then divided.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    path: NDArray[np.float64]
    mean: float = 0.0
    scale: float = 1.0

    @property
    def line(self) -> tuple[float, float]:
        """The final W and b, in the units of the data."""
        slope = float(self.path[-1, 0]) / self.scale
        return slope, float(self.path[-1, 1]) - slope * self.mean


@dataclass(frozen=True, eq=False)
class Regressed:
    """Predictions of a regression.

    Attributes:
        truth: float64 [n].
        predicted: float64 [n].
        features: float64 [n, features].
        feature_names: of the columns.
        target: name of the predicted column.
        descent: how a linear model of one feature was trained; None for other models.
        held_out: whether all rows were held out from training.
    """

    truth: NDArray[np.float64]
    predicted: NDArray[np.float64]
    features: NDArray[np.float64]
    feature_names: tuple[str, ...]
    target: str
    descent: Descent | None = None
    held_out: bool = True

    @property
    def rows(self) -> str:
        """Which rows the metrics are measured on."""
        if self.held_out:
            return "held-out examples"
        return "examples, including training examples"


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything that a report shows.

    Attributes:
        contract: as published.
        config: settings of the run, by name.
        outcome: predictions for the held-out examples.
        history: all epochs.
        logistic_weights: float32 [h, w, c, classes] of a logistic model of images, else None.
        first_filters: float32 [kh, kw, c, filters] of the first convolution, else None.
        importance: of a table's columns, largest first; empty if not measured.
        notes: sentences about the data and the training.
    """

    contract: Contract
    config: Mapping[str, object]
    outcome: Classified | Regressed
    history: Sequence[Epoch] = ()
    logistic_weights: NDArray[np.float32] | None = None
    first_filters: NDArray[np.float32] | None = None
    importance: Sequence[ColumnImportance] = ()
    notes: Sequence[str] = ()


@dataclass
class DescentPath:
    """Records W and b of y = W x + b after each epoch, with x standardized.

    Attributes:
        column: x, with its mean and scale.
        points: W and b, starting before the first epoch.
    """

    column: NumericColumn
    points: list[tuple[float, float]] = field(default_factory=list)

    def watch(self, network: "Network") -> None:
        """Record the network's weights."""
        scale = network.task.target_std
        weight, bias = (
            scale * float(variable.numpy().reshape(-1)[0]) for variable in network.weights
        )
        self.points.append((weight, bias))


def descent_path(config: TrainConfig, data: Prepared) -> DescentPath | None:
    """Return a recorder for a linear model of one number; None for any other model."""
    if config.model != "linear" or not isinstance(data.input, TableInput):
        return None
    first, *others = data.input.columns
    if others or not isinstance(first, NumericColumn) or first.width > 1:
        return None
    return DescentPath(first)


def report_data(
    config: TrainConfig,
    contract: Contract,
    outcome: Classified | Regressed,
    history: Sequence[Epoch],
    network: "Network",
    notes: Sequence[str] = (),
    importance: Sequence[ColumnImportance] = (),
) -> ReportData:
    """Collect everything that the report of a run shows."""
    logistic = filters = None
    if isinstance(contract.input, ImageInput):
        kernel = network.weights[0].numpy()
        if config.model == "logistic":
            logistic = kernel.reshape(*contract.input.shape, len(contract.labels))
        elif config.model == "cnn" and kernel.ndim == 4:  # a backbone may start with another layer
            filters = kernel
    return ReportData(
        contract=contract,
        config=dataclasses.asdict(config),
        outcome=outcome,
        history=history,
        logistic_weights=logistic,
        first_filters=filters,
        importance=importance,
        notes=notes,
    )


def outcome_of(
    data: Prepared, test: TestPredictions, answer: Answer, path: DescentPath | None = None
) -> Classified | Regressed:
    """Describe the predictions for the held-out examples.

    A regression with hardly any held-out rows is described on its training rows, too.

    Args:
        data: the data set.
        test: predictions for the held-out examples.
        answer: the model.
        path: recorded during training.
    """
    if data.task == "classification":
        is_image = isinstance(data.input, ImageInput)
        load = (lambda row: _load_image(data.test, row)) if is_image else None
        return Classified(test.truth, test.outputs, load)
    if not isinstance(data.input, TableInput):
        raise TypeError("expected a table as the input of a regression")
    parts = [(data.test, test.outputs)]
    held_out = data.test.count >= _MIN_HELD_OUT
    if not held_out:
        parts.append((data.train, predict_part(answer, data.train)))
    truth, predicted, tensors = [], [], []
    for part, outputs in parts:
        rows = np.arange(min(part.count, _PLOTTED))
        truth.append(part.targets[rows].astype(np.float64))
        predicted.append(outputs[rows, 0].astype(np.float64))
        tensors.append(part.tensors(rows).astype(np.float64))
    features = np.concatenate(tensors)
    start = 0
    for column in data.input.columns:  # undo the standardization
        if not isinstance(column, CategoricalColumn):
            features[:, start] = features[:, start] * column.scale + column.mean
        start += column.width
    descent = None
    if path is not None:
        x = data.train.tensors(np.arange(data.train.count)).astype(np.float64)[:, 0]
        y, points = data.train.targets.astype(np.float64), np.array(path.points)
        descent = Descent(x, y, points, path.column.mean, path.column.scale)
    return Regressed(
        truth=np.concatenate(truth),
        predicted=np.concatenate(predicted),
        features=features,
        feature_names=tuple(name for column in data.input.columns for name in column.features),
        target=data.target or "target",
        descent=descent,
        held_out=held_out,
    )


def _load_image(part: Part, row: int) -> NDArray[np.uint8]:
    raw = part.raw(row)
    if not isinstance(raw, bytes):
        raise TypeError("expected the bytes of an image")
    with warnings.catch_warnings():
        ignore_warnings()
        return decode_image(raw)
