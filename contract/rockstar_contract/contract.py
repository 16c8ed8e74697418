"""The contract of a model: the JSON document in the `contract` signature of every export.

Servers and clients learn from it how to prepare inputs and label outputs. Parsing is strict:
a field that is unknown, missing or of the wrong type is an error that names its place.
"""

from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

import msgspec
from numpy.typing import NDArray

from rockstar_contract.preprocessing import Step
from rockstar_contract.tables import Column

SCHEMA_VERSION = 1
# Copy of the document in a version folder.
CONTRACT_FILE = PurePosixPath("assets.extra/contract.json")
# The signature that returns the document, its input and output.
CONTRACT_SIGNATURE = "contract"
CONTRACT_INPUT = "query"
CONTRACT_OUTPUT = "contract"
# The signature that predicts and its inputs.
PREDICT_SIGNATURE = "serving_default"
IMAGE_INPUT = "image"
TABLE_INPUT = "features"

# A model for "tensors" returns its outputs unprocessed.
Task = Literal["classification", "regression", "tensors"]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class ContractError(ValueError):
    """An invalid contract."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all parts of a contract."""


class ImageInput(Record, frozen=True, tag_field="kind", tag="image"):
    """The input of a model that takes an image.

    Attributes:
        shape: of one example, without the batch: [h, w, c].
        range: smallest and largest value.
        preprocessing: the steps from pixels to the tensor.
    """

    name: str
    dtype: Literal["float32"]
    shape: tuple[Positive, ...]
    range: tuple[float, float]
    preprocessing: tuple[Step, ...]


class TableInput(Record, frozen=True, tag_field="kind", tag="table"):
    """The input of a model that takes a row of a table.

    Attributes:
        shape: of one example, without the batch: [width], the sum of the columns' widths.
        columns: in the order of the tensor.
    """

    name: str
    dtype: Literal["float32"]
    shape: tuple[Positive]
    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        if len({column.name for column in self.columns}) != len(self.columns):
            raise ValueError("columns must have different names")
        width = sum(column.width for column in self.columns)
        if self.shape != (width,):
            raise ValueError(f"shape must be [{width}], the width of the columns together")


class TensorSpec(Record, frozen=True):
    """An input or output of `serving_default`.

    Attributes:
        dtype: in TensorFlow's names, such as "float32", "int64" or "string".
        shape: of one example, without the batch; None for any size.
    """

    name: str
    dtype: str
    shape: tuple[Positive | None, ...]


class TensorInput(Record, frozen=True, tag_field="kind", tag="tensor"):
    """The inputs of a model that takes arrays by name, each with a batch dimension in front."""

    tensors: Annotated[tuple[TensorSpec, ...], msgspec.Meta(min_length=1)]

    def __post_init__(self) -> None:
        if len({tensor.name for tensor in self.tensors}) != len(self.tensors):
            raise ValueError("tensors must have different names")


# Inputs that are preprocessed to one float32 tensor.
Encoded = ImageInput | TableInput
Input = ImageInput | TableInput | TensorInput


class DataSet(Record, frozen=True):
    """The data that the model was trained and tested on, with a hash of examples and labels."""

    name: str
    examples: Positive
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class TargetStatistics(Record, frozen=True):
    """Statistics of the target of a regression; `std` is of the population."""

    mean: float
    std: float
    minimum: float
    maximum: float


class Statistics(Record, frozen=True):
    """Statistics of the training inputs after preprocessing, the reference for drift.

    Attributes:
        std: of the population.
        histogram: share of the values in equal bins over the range of images, or from minimum to
            maximum for tables; sums to 1.
        label_share: share of each label, in the order of the labels; empty for a regression.
        target: of a regression.
    """

    examples: Positive
    mean: float
    std: float
    minimum: float
    maximum: float
    histogram: tuple[float, ...]
    label_share: tuple[float, ...]
    target: TargetStatistics | None = None


class Contract(Record, frozen=True):
    """The document.

    Attributes:
        schema_version: SCHEMA_VERSION.
        model: its name.
        version: its number.
        task: decides the output: a probability for each label, a number, or unprocessed tensors.
        input: the input of the model.
        labels: of a classification, in order; else empty.
        metrics: by name, on held-out examples unless the name says otherwise.
        data_set: of training and testing; None if unknown, as for imported models.
        statistics: of the training examples; None if unknown.
        created: time of the export, with a time zone.
        producer: the software that exported the model.
        target: the predicted column of a table.
        confusion: of a classification, the number of held-out examples of each label (rows) by
            predicted label (columns), in the order of the labels; empty if there are too many.
        outputs: of `serving_default`, for "tensors"; else empty.
        threshold: of a classification, the minimum score of a label. Below it, the input most
            likely shows none of the labels. None always returns the most likely label.
    """

    schema_version: int
    model: Name
    version: Positive
    task: Task
    input: Input
    labels: tuple[str, ...]
    metrics: dict[str, float]
    created: datetime
    producer: str
    data_set: DataSet | None = None
    statistics: Statistics | None = None
    target: str | None = None
    confusion: tuple[tuple[int, ...], ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None and self.task != "classification":
            raise ValueError("threshold belongs to a classification")
        sizes = {len(self.confusion), *map(len, self.confusion)}
        if self.confusion and sizes != {len(self.labels)}:
            raise ValueError("confusion must have a row and a column for each label, or be empty")
        if self.task != "classification" and self.labels:
            raise ValueError(f"labels must be empty for the task {self.task}")
        if bool(self.outputs) != (self.task == "tensors"):
            raise ValueError('outputs belong to the task "tensors", which needs them')
        if self.task == "tensors":
            if not isinstance(self.input, TensorInput):
                raise ValueError('the task "tensors" needs an input of the kind "tensor"')
        elif self.task == "regression":
            if not self.target or (self.statistics and self.statistics.target is None):
                raise ValueError("a regression needs target and statistics.target")
        elif len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must be two or more different names")
        if self.created.tzinfo is None:
            raise ValueError("created must have a time zone")

    @property
    def encoded(self) -> Encoded:
        """The input of a model with preprocessing; a TypeError if the model takes tensors."""
        if isinstance(self.input, TensorInput):
            raise TypeError(f"{self.model} takes tensors, not an image or a row")
        return self.input

    @property
    def training_data(self) -> tuple[DataSet, Statistics]:
        """The data of a model and its statistics; a TypeError if the model was imported."""
        if self.data_set is None or self.statistics is None:
            raise TypeError(f"the training data of {self.model} are unknown")
        return self.data_set, self.statistics

    @property
    def output(self) -> str:
        """The name of the output of `serving_default`."""
        return "prediction" if self.task == "regression" else "probabilities"

    @property
    def output_width(self) -> int:
        """The number of values that this output has for one example."""
        return 1 if self.task == "regression" else len(self.labels)

    def to_json(self) -> str:
        """The document as JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, document: str | bytes) -> "Contract":
        """Parse a document.

        Raises:
            ContractError: not JSON, another schema version, or a field that is unknown, missing or
                of the wrong type.
        """
        try:
            version = _VERSION.decode(document).schema_version
            if version != SCHEMA_VERSION:
                raise ContractError(
                    f"this contract has schema version {version}, this release of RockstarTF reads "
                    f"{SCHEMA_VERSION}: export the model again or use another release"
                )
            return _CONTRACT.decode(document)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ContractError(f"not a contract: {error}") from error


class Score(msgspec.Struct, frozen=True):
    """A label and its probability."""

    label: str
    score: float


class Prediction(msgspec.Struct, frozen=True, omit_defaults=True):
    """The prediction of a classification for one example.

    Attributes:
        label: the most likely label; None if its score is below the threshold.
        score: the probability of the most likely label.
        top: the most likely labels with their probabilities, in descending order.
        reason: why there is no label; empty if there is one.
    """

    label: str | None
    score: float
    top: tuple[Score, ...]
    reason: str = ""


class Value(msgspec.Struct, frozen=True):
    """The prediction of a regression for one example."""

    value: float


def label_probabilities(
    probabilities: NDArray[Any],
    labels: tuple[str, ...],
    top: int = 3,
    threshold: float | None = None,
) -> list[Prediction]:
    """Label the outputs of a classification.

    Args:
        probabilities: float [n, classes].
        labels: of the classes, in order.
        top: maximum number of labels to list.
        threshold: minimum score of a label, or None.

    Returns:
        One prediction for each row; of equal probabilities, the first class is first.
    """
    order = (-probabilities).argsort(axis=1, kind="stable")[:, :top].tolist()
    answers = []
    for row, classes in zip(probabilities, order, strict=True):
        scores = tuple([Score(labels[c], row.item(c)) for c in classes])
        best = scores[0]
        if threshold is not None and not best.score >= threshold:
            reason = (
                f"not sure: {best.label} is most likely with {best.score:.4g}, "
                f"but the threshold is {threshold:g}"
            )
            answers.append(Prediction(None, best.score, scores, reason))
        else:
            answers.append(Prediction(best.label, best.score, scores))
    return answers


def to_values(outputs: NDArray[Any]) -> list[Value]:
    """Convert the outputs of a regression, float [n, 1], to one value for each row."""
    return [Value(float(number)) for number in outputs[:, 0]]


class _Version(msgspec.Struct):
    schema_version: int


# Made at import: msgspec inspects a class at its first use, which crashes if threads do so at once.
_VERSION = msgspec.json.Decoder(_Version)
_CONTRACT = msgspec.json.Decoder(Contract)


def utc_now() -> datetime:
    """The current time in whole seconds, for contracts."""
    return datetime.now(UTC).replace(microsecond=0)
