"""A finished run as the report and the model card need it, with the path of gradient descent."""

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.contract import Contract, ImageInput, TableInput
from rockstar_contract.images import decode_image, ignore_warnings
from rockstar_contract.tables import CategoricalColumn, NumericColumn
from rockstar_training.config import TrainConfig
from rockstar_training.evaluation import Answer, TestPredictions, answers
from rockstar_training.network import KerasNetwork, Network
from rockstar_training.prepared import Part, Prepared
from rockstar_training.progress import Epoch
from rockstar_training.report.data import (
    Classified,
    ColumnImportance,
    Descent,
    EpochRecord,
    Regressed,
    ReportData,
    Weights,
)


@dataclass
class DescentPath:
    """W and b of y = W x + b after each epoch, for x as the network takes it: standardised.

    Attributes:
        column: x, with its mean and scale.
        points: W and b, from where training began.
    """

    column: NumericColumn
    points: list[tuple[float, float]] = field(default_factory=list)

    def watch(self, network: Network) -> None:
        """Note where the network is."""
        scale = network.task.target_std
        weight, bias = (
            scale * float(variable.numpy().reshape(-1)[0]) for variable in network.weights
        )
        self.points.append((weight, bias))

    @property
    def line(self) -> tuple[float, float]:
        """W and b in the end, in the data's own units."""
        weight, bias = self.points[-1]
        slope = weight / self.column.scale
        return slope, bias - slope * self.column.mean


def path_of(config: TrainConfig, data: Prepared) -> DescentPath | None:
    """What watches a linear model of one number; None for other models, which have no such path."""
    if config.model != "linear" or not isinstance(data.input, TableInput):
        return None
    first, *others = data.input.columns
    if others or not isinstance(first, NumericColumn) or first.width > 1:
        return None
    return DescentPath(first)


Column64 = NDArray[np.float64]
# Rows of a regression that are plotted.
_PLOTTED = 5000
# With fewer held-out rows than this a regression is shown on all that there are.
_FEW = 10


def report_data(
    config: TrainConfig,
    contract: Contract,
    outcome: Classified | Regressed,
    history: Sequence[Epoch],
    network: Network,
    notes: Sequence[str] = (),
    importance: Sequence[ColumnImportance] = (),
) -> ReportData:
    """Everything that the report of a run shows."""
    return ReportData(
        contract=contract,
        config=dataclasses.asdict(config),
        outcome=outcome,
        history=[_record(epoch) for epoch in history],
        weights=_weights(config, contract, network),
        importance=importance,
        notes=notes,
    )


def outcome_of(
    data: Prepared, test: TestPredictions, answer: Answer, path: DescentPath | None = None
) -> Classified | Regressed:
    """What a model says of the held-out examples; of all where a regression has next to none.

    Args:
        data: that it was trained and tested on.
        test: its answers.
        answer: the model.
        path: how a linear model came to its weights, if that was watched.
    """
    if data.task == "classification":
        image = (
            (lambda row: _pixels(data.test, row)) if isinstance(data.input, ImageInput) else None
        )
        return Classified(test.truth, test.outputs, image)
    held_out = data.test.count >= _FEW
    truth, predicted, tensors = _rows(data.test, test.outputs)
    if not held_out:
        more = _rows(data.train, answers(answer, data.train))
        truth, predicted, tensors = (
            np.concatenate(pair) for pair in zip((truth, predicted, tensors), more, strict=True)
        )
    scale, mean = _units(data, tensors.shape[1])
    return Regressed(
        truth=truth,
        predicted=predicted,
        features=tensors * scale + mean,
        feature_names=_feature_names(data),
        target=data.target or "target",
        descent=None if path is None else _descent(data, path),
        held_out=held_out,
    )


def _rows(part: Part, outputs: NDArray[np.float32]) -> tuple[Column64, Column64, Column64]:
    """True and predicted values and the tensors, as many as are plotted."""
    rows = np.arange(min(part.count, _PLOTTED))
    tensors = part.tensors(rows).astype(np.float64)
    return part.targets[rows].astype(np.float64), outputs[rows, 0].astype(np.float64), tensors


def _pixels(part: Part, row: int) -> NDArray[np.uint8]:
    raw = part.raw(row)
    assert isinstance(raw, bytes)  # noqa: S101 - what parts of images hold
    with warnings.catch_warnings():
        ignore_warnings()
        return decode_image(raw)


def _record(epoch: Epoch) -> EpochRecord:
    return EpochRecord(
        epoch=epoch.number,
        loss=epoch.loss,
        accuracy=epoch.accuracy,
        val_loss=epoch.val_loss,
        val_accuracy=epoch.val_accuracy,
        learning_rate=epoch.learning_rate,
        seconds=epoch.seconds,
    )


def _weights(config: TrainConfig, contract: Contract, network: Network) -> Weights:
    if not isinstance(contract.input, ImageInput):
        return Weights()
    kernel = np.asarray(_first_kernel(network))
    if config.model == "logistic":
        return Weights(logistic=kernel.reshape(*contract.input.shape, len(contract.labels)))
    filters = config.model == "cnn" and kernel.ndim == 4  # a backbone may begin with something else
    return Weights(first_filters=kernel) if filters else Weights()


def _first_kernel(network: Network) -> Any:
    """The first weights; both APIs have them in the order of the layers."""
    weights = network.model.weights if isinstance(network, KerasNetwork) else network.weights
    return weights[0].numpy()


def _feature_names(data: Prepared) -> tuple[str, ...]:
    """A name for each value of the tensor."""
    assert isinstance(data.input, TableInput)  # noqa: S101 - regressions are of tables
    return tuple(name for column in data.input.columns for name in column.features)


def _units(data: Prepared, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What turns the tensor's values back into the columns' own: value * scale + mean."""
    scale, mean, place = np.ones(width), np.zeros(width), 0
    assert isinstance(data.input, TableInput)  # noqa: S101 - regressions are of tables
    for column in data.input.columns:
        if not isinstance(column, CategoricalColumn):
            scale[place], mean[place] = column.scale, column.mean
        place += column.width
    return scale, mean


def _descent(data: Prepared, path: DescentPath) -> Descent:
    x = data.train.tensors(np.arange(data.train.count)).astype(np.float64)[:, 0]
    return Descent(
        x=x,
        y=data.train.targets.astype(np.float64),
        path=np.array(path.points),
        mean=path.column.mean,
        scale=path.column.scale,
    )
