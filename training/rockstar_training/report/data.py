"""What a report is drawn from: plain arrays and records, whatever library trained the model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.contract import Contract

# A raw held-out image by its row: uint8 [h, w, 1 or 3]; images may differ in size.
ImageAt = Callable[[int], NDArray[np.uint8]]


@dataclass(frozen=True)
class EpochRecord:
    """What an epoch left; None where it was not measured.

    Attributes:
        epoch: from 1.
        loss: mean over the epoch's training batches.
        accuracy: the same, a share.
        val_loss: on the validation split, at the end of the epoch.
        val_accuracy: the same, a share.
        learning_rate: at the end of the epoch.
        seconds: that the epoch took.
    """

    epoch: int
    loss: float | None = None
    accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    learning_rate: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, eq=False)
class Classified:
    """What a classifier says of the held-out examples.

    Attributes:
        truth: int64 [n], indices into the contract's labels.
        probabilities: float32 [n, classes].
        image: gives a held-out image; called for the few that are shown. None for other data.
    """

    truth: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    image: ImageAt | None = None

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The likeliest class of each, int64 [n]."""
        likeliest: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return likeliest

    @property
    def right(self) -> int:
        """How many are classified as they should be."""
        return int((self.predicted == self.truth).sum())


@dataclass(frozen=True, eq=False)
class Descent:
    """Gradient descent on the mean squared error of y = W x + b.

    Attributes:
        x: float64 [n], of the training data, as the steps were taken on it.
        y: float64 [n].
        path: float64 [steps + 1, 2], W and b at the start and after each step.
        mean: that was taken from x before training.
        scale: that x was then divided by.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    path: NDArray[np.float64]
    mean: float = 0.0
    scale: float = 1.0

    @property
    def line(self) -> tuple[float, float]:
        """W and b in the end, in the data's own units."""
        slope = float(self.path[-1, 0]) / self.scale
        return slope, float(self.path[-1, 1]) - slope * self.mean


@dataclass(frozen=True, eq=False)
class Regressed:
    """What a linear model says of rows, which it was not trained on unless `held_out` is false.

    Attributes:
        truth: float64 [n].
        predicted: float64 [n].
        features: float64 [n, features].
        feature_names: of the columns.
        target: name of what is predicted.
        descent: how it was trained, where there is one feature.
        held_out: whether these rows were kept from training; a handful of points may be too few.
    """

    truth: NDArray[np.float64]
    predicted: NDArray[np.float64]
    features: NDArray[np.float64]
    feature_names: tuple[str, ...]
    target: str
    descent: Descent | None = None
    held_out: bool = True


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights that can be looked at; None for models that have no such layer.

    Attributes:
        logistic: float32 [h, w, c, classes], of softmax regression on pixels.
        first_filters: float32 [kh, kw, c, filters], of the first convolution.
    """

    logistic: NDArray[np.float32] | None = None
    first_filters: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class ColumnImportance:
    """By how much a model's figure falls when a column is shuffled: mean and standard deviation."""

    name: str
    mean: float
    std: float


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything that a report shows.

    Attributes:
        contract: as published.
        config: of the run, setting by setting.
        outcome: what the model says of the held-out examples.
        history: an entry for each epoch; empty where training has none.
        weights: to be drawn.
        importance: of a table's columns, the most important first; empty where not measured.
        notes: sentences about the data, and how training went.
    """

    contract: Contract
    config: Mapping[str, object]
    outcome: Classified | Regressed
    history: Sequence[EpochRecord] = ()
    weights: Weights = field(default_factory=Weights)
    importance: Sequence[ColumnImportance] = ()
    notes: Sequence[str] = ()
