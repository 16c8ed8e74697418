"""What a model promises: the JSON document that every export carries in its `contract` signature.

Whoever serves or calls a model learns from it how inputs are prepared and what outputs mean.
Reading is strict: an unknown field, a missing one or one of the wrong type is an error that names
its place.
"""

from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Annotated, Literal

import msgspec

from rockstar_contract.preprocessing import Step
from rockstar_contract.tables import Column

SCHEMA_VERSION = 1
# Where the document lies inside a version folder, besides the signature.
CONTRACT_FILE = PurePosixPath("assets.extra/contract.json")
# Names of the signature that answers it.
CONTRACT_SIGNATURE = "contract"
CONTRACT_INPUT = "query"
CONTRACT_OUTPUT = "contract"
# Names of the signature that predicts.
PREDICT_SIGNATURE = "serving_default"
PREDICT_OUTPUT = "probabilities"
REGRESSION_OUTPUT = "prediction"
# Names of its input, by what a user sends.
IMAGE_INPUT = "image"
TABLE_INPUT = "features"

# Tasks whose answer has a name; a model of "tensors" answers its outputs as they are.
Task = Literal["classification", "regression", "tensors"]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class ContractError(ValueError):
    """A contract that cannot be read."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the parts of a contract."""


class ImageInput(Record, frozen=True, tag_field="kind", tag="image"):
    """A model takes an image.

    Attributes:
        name: the input of `serving_default`.
        dtype: of the tensor.
        shape: of one example, without the batch: [h, w, c].
        range: smallest and largest value.
        preprocessing: from pixels to the tensor.
    """

    name: str
    dtype: Literal["float32"]
    shape: tuple[Positive, ...]
    range: tuple[float, float]
    preprocessing: tuple[Step, ...]


class TableInput(Record, frozen=True, tag_field="kind", tag="table"):
    """A model takes a row of a table.

    Attributes:
        name: the input of `serving_default`.
        dtype: of the tensor.
        shape: of one example, without the batch: [width], the sum of the columns' widths.
        columns: from a row to the tensor, in its order.
    """

    name: str
    dtype: Literal["float32"]
    shape: tuple[Positive]
    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ValueError("columns must have different names")
        width = sum(column.width for column in self.columns)
        if self.shape != (width,):
            raise ValueError(f"shape must be [{width}], the width of the columns together")


class TensorSpec(Record, frozen=True):
    """An array that a model takes or answers.

    Attributes:
        name: of the input or output of `serving_default`.
        dtype: of its elements, as TensorFlow calls it, such as "float32", "int64" or "string".
        shape: of one example, without the batch; None where any size is right.
    """

    name: str
    dtype: str
    shape: tuple[Positive | None, ...]


class TensorInput(Record, frozen=True, tag_field="kind", tag="tensor"):
    """A model takes one or more arrays by name, without preprocessing.

    Attributes:
        tensors: the inputs of `serving_default`, each with a batch in front.
    """

    tensors: Annotated[tuple[TensorSpec, ...], msgspec.Meta(min_length=1)]

    def __post_init__(self) -> None:
        names = [tensor.name for tensor in self.tensors]
        if len(set(names)) != len(names):
            raise ValueError("tensors must have different names")


# What preprocessing makes one float32 tensor of.
Encoded = ImageInput | TableInput
Input = ImageInput | TableInput | TensorInput


class DataSet(Record, frozen=True):
    """The data that the model was trained and tested on; the hash is over examples and labels."""

    name: str
    examples: Positive
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


class TargetStatistics(Record, frozen=True):
    """Of the numbers that a regression was trained on; `std` is the population's."""

    mean: float
    std: float
    minimum: float
    maximum: float


class Statistics(Record, frozen=True):
    """Of the training inputs after preprocessing: what drift is measured against.

    Attributes:
        examples: how many they are of.
        mean: of all values.
        std: of all values (population).
        minimum: of all values.
        maximum: of all values.
        histogram: share of the values in equal bins over an image's range, for tables from minimum
            to maximum; sums to 1.
        label_share: share of each label, in the order of the labels; empty for a regression.
        target: of the target, for a regression.
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
        task: what it answers: the probability of each label, a number, or its outputs as they are.
        input: what it takes.
        labels: of a classification, in order; else empty.
        metrics: by name, of the held-out examples unless the name says otherwise.
        data_set: what it was trained and tested on; None where that is not known, as of a model
            that was imported.
        statistics: of the training examples, if they are known.
        created: when, with a time zone.
        producer: the software that made it.
        target: what is predicted, where the data names it: a column.
        confusion: of a classification, how many held-out examples of each label (rows) were taken
            for each (columns), in the order of the labels; empty where there are too many labels.
        outputs: of "tensors", what `serving_default` answers; else empty.
        threshold: of a classification, the least score of an answer: where no label reaches it,
            the input most likely shows none of them. None answers the likeliest in any case.
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
        """The input of a model with preprocessing.

        Raises:
            TypeError: it takes tensors as they are.
        """
        if isinstance(self.input, TensorInput):
            raise TypeError(f"{self.model} takes tensors, not an image or a row")
        return self.input

    @property
    def training_data(self) -> tuple[DataSet, Statistics]:
        """What a model that was trained here says of its data.

        Raises:
            TypeError: it was imported.
        """
        if self.data_set is None or self.statistics is None:
            raise TypeError(f"{self.model} does not say what it was trained on")
        return self.data_set, self.statistics

    @property
    def output(self) -> str:
        """The name of the output of `serving_default`."""
        return REGRESSION_OUTPUT if self.task == "regression" else PREDICT_OUTPUT

    @property
    def output_width(self) -> int:
        """How many values it has for one example: one for each label, or the number."""
        return 1 if self.task == "regression" else len(self.labels)

    def to_json(self) -> str:
        """The document as JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, document: str | bytes) -> "Contract":
        """Read a document.

        Raises:
            ContractError: not JSON, of another schema version, or with a field that is unknown,
                missing or of the wrong type.
        """
        try:
            version = _VERSION.decode(document).schema_version
            if version != SCHEMA_VERSION:
                raise ContractError(
                    f"this contract has schema version {version}, this release of RockstarTF reads "
                    f"{SCHEMA_VERSION}: export the model again or use another release"
                )
            return _CONTRACT.decode(document)
        except msgspec.MsgspecError as error:
            raise ContractError(f"not a contract: {error}") from error


class _Version(msgspec.Struct):
    schema_version: int


# Made once: msgspec reads a class at its first use, which crashes when threads do so together.
_VERSION = msgspec.json.Decoder(_Version)
_CONTRACT = msgspec.json.Decoder(Contract)


def utc_now() -> datetime:
    """The current time in whole seconds, as contracts write it."""
    return datetime.now(UTC).replace(microsecond=0)
