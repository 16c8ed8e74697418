"""A data set ready to train on: its parts, its statistics, and its entries in the contract.

Parts have their targets in memory. Inputs are requested by index, a batch at a time, and come from
an array or from files that are decoded on demand.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.contract import (
    Encoded,
    ImageInput,
    Input,
    Statistics,
    TargetStatistics,
    Task,
)
from rockstar_training.datasets import Split, hold_out

# An example as clients send it: the bytes of a file, or a row.
Raw = bytes | dict[str, Any]
Index = NDArray[np.int64]


class Examples(Protocol):
    """All examples of a data set, by their index in it."""

    def tensors(self, places: Index) -> NDArray[np.float32]:
        """Return preprocessed examples, float32 [n, *shape of one example]."""

    def raw(self, place: int) -> Raw:
        """Return an example as clients send it; serving computes the same tensor from it."""

    def source(self, place: int) -> str:
        """Describe where an example is from."""


@dataclass(frozen=True, eq=False)
class MemoryExamples:
    """Examples with all tensors in memory, float32 [n, *shape of one example]."""

    array: NDArray[np.float32]
    raw: Callable[[int], Raw]
    source: Callable[[int], str]

    def tensors(self, places: Index) -> NDArray[np.float32]:
        """Return rows of the array."""
        return self.array[places]


@dataclass(frozen=True, eq=False)
class Part:
    """The examples for training, validation or testing.

    Attributes:
        examples: of the whole data set.
        places: int64 [count], indices of this part's examples, ascending.
        targets: of this part: int64 labels, or float32 values for a regression, [count].
    """

    examples: Examples
    places: Index
    targets: NDArray[Any]

    @property
    def count(self) -> int:
        """The number of examples."""
        return len(self.places)

    def tensors(self, indices: Index) -> NDArray[np.float32]:
        """Return preprocessed inputs of some examples.

        Args:
            indices: int64 [n], from 0 to count - 1, in any order.

        Returns:
            float32 [n, *shape of one example].
        """
        return self.examples.tensors(self.places[indices])

    def raw(self, index: int) -> Raw:
        """Return an example as clients send it."""
        return self.examples.raw(int(self.places[index]))

    def source(self, index: int) -> str:
        """Describe where an example is from."""
        return self.examples.source(int(self.places[index]))

    def batches(self, size: int) -> Iterator[tuple[NDArray[np.float32], NDArray[Any]]]:
        """Iterate over tensors and targets in order, at most `size` at a time."""
        for start in range(0, self.count, size):
            indices = np.arange(start, min(start + size, self.count))
            yield self.tensors(indices), self.targets[indices]


HISTOGRAM_BINS = 10


def input_statistics(
    tensors: NDArray[np.float32], targets: NDArray[Any], classes: int, wanted: Input
) -> Statistics:
    """Compute statistics of the training examples.

    Args:
        tensors: float32 [n, *shape of one example], all or a sample.
        targets: of all training examples: int64 labels, or float32 values of a regression.
        classes: number of labels; 0 for a regression.
        wanted: the model's input; the histogram covers the range of an image.
    """
    low, high = float(tensors.min()), float(tensors.max())
    bounds = wanted.range if isinstance(wanted, ImageInput) else (low, high)
    counts, _ = np.histogram(tensors, bins=HISTOGRAM_BINS, range=bounds)
    shares = np.bincount(targets, minlength=classes) / len(targets) if classes else np.empty(0)
    target = None
    if not classes:
        values = targets.astype(np.float64)
        target = TargetStatistics(
            mean=float(values.mean()),
            std=float(values.std()),
            minimum=float(values.min()),
            maximum=float(values.max()),
        )
    return Statistics(
        examples=len(tensors),
        mean=float(tensors.mean(dtype=np.float64)),
        std=float(tensors.std(dtype=np.float64)),
        minimum=low,
        maximum=high,
        histogram=tuple((counts / tensors.size).tolist()),
        label_share=tuple(shares.tolist()),
        target=target,
    )


# Classes with fewer training examples than this are named.
_FEW = 5
# Classes that a note names.
_NAMED = 10
# Samples that are predicted by all files of an export: the first training examples.
GOLDEN_SAMPLES = 32


@dataclass(frozen=True, eq=False)
class GoldenSamples:
    """Samples as clients send them, and preprocessed: float32 [n, *shape of one example]."""

    raw: tuple[Raw, ...]
    tensors: NDArray[np.float32]


@dataclass(frozen=True)
class Fractions:
    """How a data set is divided.

    Attributes:
        test: share of the examples, unless the data set has its own test split.
        validation: share of the rest; 0 for none.
        seed: of the random division.
    """

    test: float
    validation: float
    seed: int


@dataclass(frozen=True, eq=False)
class Source:
    """A data set before it is divided.

    Attributes:
        name: in the contract.
        task: of a model.
        labels: names of the classes, in order; empty for a regression.
        target: the predicted column; None if it has no name.
        targets: of all examples: int64 labels, or float32 values for a regression, [n].
        sha256: of the data, hexadecimal.
        notes: sentences for users.
    """

    name: str
    task: Task
    labels: tuple[str, ...]
    target: str | None
    targets: NDArray[Any]
    sha256: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Prepared:
    """A data set, ready to train on.

    Attributes:
        name: in the contract.
        task: of a model.
        input: of a model.
        labels: names of the classes, in order; empty for a regression.
        target: the predicted column; None if it has no name.
        sha256: of the data, hexadecimal.
        examples: number of examples in all parts.
        train: for training.
        validation: for decisions during training; may be empty.
        test: for a single evaluation at the end.
        statistics: of `train`, or of a sample of it.
        golden: the first examples of `train`.
        notes: sentences for users, about skipped files and doubtful targets, for example.
    """

    name: str
    task: Task
    input: Encoded
    labels: tuple[str, ...]
    target: str | None
    sha256: str
    examples: int
    train: Part
    validation: Part
    test: Part
    statistics: Statistics
    golden: GoldenSamples
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Division:
    """The examples of each part: int64 indices, ascending, disjoint."""

    train: Index
    validation: Index
    test: Index


def divide(source: Source, fractions: Fractions, given: Split | None = None) -> Division:
    """Divide examples for training, validation and testing, with the same share of every label.

    Args:
        source: the data set.
        fractions: sizes of the parts.
        given: an existing test split, validation split, or both.

    Raises:
        DataError: a part would lack a label.
    """
    labels = source.targets if source.labels else None
    nothing = np.empty(0, dtype=np.int64)
    given = given or Split(np.arange(len(source.targets), dtype=np.int64), nothing)
    train, test, validation = given.train_index, given.test_index, given.validation_index
    if not len(test):
        left = None if labels is None else labels[train]
        train, test = hold_out(train, left, fractions.test, fractions.seed, source.name)
    if validation is None:
        validation = nothing
        if fractions.validation:
            left = None if labels is None else labels[train]
            what = f"the training examples of {source.name}"
            train, validation = hold_out(train, left, fractions.validation, fractions.seed, what)
    return Division(train, validation, test)


def assemble(
    source: Source,
    division: Division,
    wanted: Encoded,
    examples: Examples,
    sample: int | None = None,
) -> Prepared:
    """Assemble a data set from its parts.

    Args:
        source: the data set.
        division: its parts.
        wanted: the model's input.
        examples: its tensors.
        sample: number of examples, spread over `train`, for statistics; None for all.
    """
    parts = (division.train, division.validation, division.test)
    train, validation, test = (Part(examples, at, source.targets[at]) for at in parts)
    every = np.arange(train.count)
    if sample is not None and sample < train.count:
        every = np.linspace(0, train.count - 1, sample).astype(np.int64)
    golden = np.arange(min(GOLDEN_SAMPLES, train.count))
    return Prepared(
        name=source.name,
        task=source.task,
        input=wanted,
        labels=source.labels,
        target=source.target,
        sha256=source.sha256,
        examples=len(source.targets),
        train=train,
        validation=validation,
        test=test,
        statistics=input_statistics(
            train.tensors(every), train.targets, len(source.labels), wanted
        ),
        golden=GoldenSamples(tuple(train.raw(int(i)) for i in golden), train.tensors(golden)),
        notes=(*source.notes, *_small_classes(source, train, test)),
    )


def _small_classes(source: Source, train: Part, test: Part) -> list[str]:
    """Note the labels with too few examples for training or testing."""
    if not source.labels:
        return []
    learned = np.bincount(train.targets, minlength=len(source.labels))
    tested = np.bincount(test.targets, minlength=len(source.labels))
    few = [place for place in np.argsort(learned, kind="stable") if learned[place] < _FEW]
    notes = []
    if few:
        named = ", ".join(f"{source.labels[place]!r} ({learned[place]})" for place in few[:_NAMED])
        more = f" and {len(few) - _NAMED} more" if len(few) > _NAMED else ""
        notes.append(
            f"labels with fewer than {_FEW} training examples are hardly learned: {named}{more}"
        )
    if not tested.all():
        names = [repr(source.labels[place]) for place in np.flatnonzero(tested == 0)]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        notes.append(f"labels without held-out examples: {', '.join(names[:_NAMED])}{more}")
    return notes
