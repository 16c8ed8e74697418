"""The results of clients, the same over HTTP and gRPC: answers, explanations, and models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from html import escape
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from rockstar_contract import contract as contracts
from rockstar_contract.contract import Contract, Score, Task, Value, label_probabilities, to_values
from rockstar_contract.tables import Adjustments
from tfs_api.messages.signature_pb2 import SignatureDef
from tfs_api.signature import Signature, signature_of

# Notebooks show this many inputs, and only the number of further ones.
_MAX_ROWS = 20
# A notebook may be light or dark, so only the bars have a color of their own.
_BAR = "background:#4c78a8;height:.8em;border-radius:2px"
_LABEL = "font-size:1.6em;min-width:2em;flex:none;white-space:nowrap"
_TABLE = "border:none;color:inherit"
_CELL = "border:none;padding:1px 8px;text-align:left;white-space:nowrap"


@dataclass(frozen=True)
class Prediction:
    """The prediction of a classification for one example.

    Attributes:
        label: the most likely one; None if the model is not sure.
        score: probability of the most likely label.
        top: the most likely labels with their probabilities, in descending order.
        labels: all labels of the model, in its order.
        probabilities: float32 [labels], of each.
        reason: why there is no label; empty if there is one.
    """

    label: str | None
    score: float
    top: tuple[Score, ...]
    labels: tuple[str, ...] = field(repr=False)
    probabilities: NDArray[np.float32] = field(repr=False, compare=False)
    reason: str = ""

    def __repr__(self) -> str:
        top = ", ".join(f"{each.label} {each.score:.4f}" for each in self.top)
        return f"Prediction({self.label!r}, {self.score:.4f}; {top})"

    def _repr_html_(self) -> str:
        """For notebooks: the label, and the most likely ones as bars."""
        rows = "".join(
            f"<tr><td style='{_CELL}'>{escape(each.label)}</td>"
            f"<td style='{_CELL}'><div style='width:9em'>"
            f"<div style='{_BAR};width:{min(max(each.score, 0.0), 1.0):.1%}'></div></div></td>"
            f"<td style='{_CELL};text-align:right'>{each.score:.4f}</td></tr>"
            for each in self.top
        )
        label = "not sure" if self.label is None else self.label
        return (
            "<div style='display:flex;align-items:center;gap:1em'>"
            f"<strong style='{_LABEL}'>{escape(label)}</strong>"
            f"<table style='{_TABLE};margin:0'>{rows}</table></div>"
        )


@dataclass(frozen=True)
class Answer:
    """The answer of a model, in the order of the inputs.

    Attributes:
        version: that answered.
        predictions: of a classification, else empty.
        values: of a regression, else empty.
        labels: of a classification, in the model's order, else empty.
        probabilities: float32 [inputs, labels], of each label; [0, 0] without labels.
        outputs: of a model of tensors, arrays [inputs, …] by name, else empty; strings are bytes in
            an array of objects.
        adjusted: by the position of the input: what was imputed, taken as "other" or ignored in
            rows of a table. A gateway lists ignored columns once for all rows of a request.
    """

    model: str
    version: int
    predictions: tuple[Prediction, ...] = ()
    values: tuple[Value, ...] = ()
    labels: tuple[str, ...] = field(default=(), repr=False)
    probabilities: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((0, 0), np.float32), repr=False, compare=False
    )
    outputs: Mapping[str, NDArray[Any]] = field(default_factory=dict, compare=False)
    adjusted: Mapping[int, Adjustments] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        """For notebooks: one line for each input, or for each tensor."""
        rows = [prediction._repr_html_() for prediction in self.predictions]
        rows += [f"{each.value:g}" for each in self.values]
        rows += [f"{name}: {array.dtype} {[*array.shape]}" for name, array in self.outputs.items()]
        shown = "".join(
            f"<tr><td style='{_CELL};opacity:.6'>{index}</td><td style='{_CELL}'>{row}</td></tr>"
            for index, row in enumerate(rows[:_MAX_ROWS])
        )
        left = len(rows) - _MAX_ROWS
        more = f"<div style='opacity:.6'>and {left} more</div>" if left > 0 else ""
        title = f"<div>{escape(self.model)} version {self.version}</div>"
        return f"<div>{title}<table style='{_TABLE}'>{shown}</table>{more}</div>"


def answer_of(
    model: str,
    contract: Contract,
    outputs: NDArray[Any],
    top: int,
    adjusted: Mapping[int, Adjustments],
) -> Answer:
    """Interpret outputs: float [n, labels], probabilities; for a regression [n, 1], the numbers."""
    if contract.task == "regression":
        values = tuple(to_values(outputs))
        return Answer(model, contract.version, values=values, adjusted=adjusted)
    probabilities = np.array(outputs, np.float32)
    found = label_probabilities(probabilities, contract.labels, top, contract.threshold)
    return classification(model, contract.version, contract.labels, probabilities, found, adjusted)


def classification(
    model: str,
    version: int,
    labels: tuple[str, ...],
    probabilities: NDArray[np.float32],
    found: Sequence[contracts.Prediction],
    adjusted: Mapping[int, Adjustments],
) -> Answer:
    """The answer with a prediction for each row of probabilities, float32 [n, labels]."""
    # Read-only: predictions and answer share the numbers.
    probabilities.flags.writeable = False
    predictions = tuple(
        Prediction(each.label, each.score, each.top, labels, row, each.reason)
        for each, row in zip(found, probabilities, strict=True)
    )
    return Answer(model, version, predictions, (), labels, probabilities, adjusted=adjusted)


@dataclass(frozen=True)
class ModelVersion:
    """The state of one version.

    Attributes:
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        error: why it is not available; empty if it is.
    """

    version: int
    state: str
    error: str = ""


@dataclass(frozen=True)
class ModelInfo:
    """A served model; the fields after `versions` describe the newest available version.

    Attributes:
        versions: newest first; empty if the server does not know the model.
        task: None if no version is available, or without a contract.
        labels: of a classification, in order.
        target: what a regression predicts.
        created: date of the training.
    """

    model: str
    versions: tuple[ModelVersion, ...]
    task: Task | None = None
    labels: tuple[str, ...] = ()
    target: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    created: datetime | None = None

    @property
    def available(self) -> bool:
        """Whether a version is available."""
        return any(version.state == "AVAILABLE" for version in self.versions)


@dataclass(frozen=True)
class ModelMetadata:
    """A version of a model.

    Attributes:
        signatures: the functions that can be called, by name.
        contract: labels, input with its preprocessing, metrics, data; None if it has no contract.
    """

    model: str
    version: int
    signatures: dict[str, Signature]
    contract: Contract | None


def signatures_of(messages: Mapping[str, SignatureDef]) -> dict[str, Signature]:
    """Convert messages to signatures, by name; a ValueError if a default cannot be read."""
    return {name: replace(signature_of(each), message=None) for name, each in messages.items()}


class Explanation(msgspec.Struct, frozen=True):
    """Which pixels of an image support an answer.

    Attributes:
        label: that is explained.
        score: its probability.
        method: of the explanation, "occlusion".
        window: side of the square that was covered, in pixels of the model's input.
        stride: distance between two squares.
        heatmap: by how much the score falls when a pixel is covered, row by row.
    """

    model: str
    version: int
    label: str
    score: float
    method: str
    window: int
    stride: int
    heatmap: list[list[float]]


class ColumnEffect(msgspec.Struct, frozen=True):
    """The effect of a column on an answer.

    Attributes:
        value: that was sent; None if it is missing.
        replaced_by: its mean in training, or its most frequent category.
        effect: by how much the score, or the predicted value, falls when it is replaced.
    """

    name: str
    value: Any
    replaced_by: float | str | None
    effect: float


class RowExplanation(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The effect of each column of a row on an answer.

    Attributes:
        label: that is explained; None for a regression.
        score: its probability; None for a regression.
        value: predicted by a regression.
        method: of the explanation, "replacement".
        columns: strongest effect first.
    """

    model: str
    version: int
    label: str | None = None
    score: float | None = None
    value: float | None = None
    method: str
    columns: list[ColumnEffect]
