"""A data set that is ready to train on: its parts, statistics, and what the contract says of it.

A part holds its targets in memory. Inputs are requested by index, a batch at a time, and come from
an array or from files that are decoded on request.
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

# What a user would send: a file's bytes, or a row.
Raw = bytes | dict[str, Any]
Index = NDArray[np.int64]


class Examples(Protocol):
    """All examples of a data set, each known by its place in it."""

    def tensors(self, places: Index) -> NDArray[np.float32]:
        """Preprocessed, float32 [n, *shape of one example], for int64 [n]."""

    def raw(self, place: int) -> Raw:
        """One as a user would send it: serving makes the same tensor of it."""

    def source(self, place: int) -> str:
        """Where it is from, for people."""


@dataclass(frozen=True, eq=False)
class MemoryExamples:
    """Examples whose tensors are all in memory, float32 [n, *shape of one example]."""

    array: NDArray[np.float32]
    raw: Callable[[int], Raw]
    source: Callable[[int], str]

    def tensors(self, places: Index) -> NDArray[np.float32]:
        """The rows of the array."""
        return self.array[places]


@dataclass(frozen=True, eq=False)
class Part:
    """Some examples of a data set: those to train on, to validate with, or to test with.

    Attributes:
        examples: of the whole data set.
        places: int64 [count], which of them are in this part, ascending.
        targets: of this part: int64 labels, or float32 values for a regression, [count].
    """

    examples: Examples
    places: Index
    targets: NDArray[Any]

    @property
    def count(self) -> int:
        """How many examples there are."""
        return len(self.places)

    def tensors(self, indices: Index) -> NDArray[np.float32]:
        """Preprocessed inputs of some of its examples.

        Args:
            indices: int64 [n], from 0 to count - 1, in any order.

        Returns:
            float32 [n, *shape of one example].
        """
        return self.examples.tensors(self.places[indices])

    def raw(self, index: int) -> Raw:
        """One of its examples as a user would send it."""
        return self.examples.raw(int(self.places[index]))

    def source(self, index: int) -> str:
        """Where one of its examples is from."""
        return self.examples.source(int(self.places[index]))

    def batches(self, size: int) -> Iterator[tuple[NDArray[np.float32], NDArray[Any]]]:
        """Tensors and targets of all its examples, in order, at most `size` at a time."""
        for start in range(0, self.count, size):
            indices = np.arange(start, min(start + size, self.count))
            yield self.tensors(indices), self.targets[indices]


HISTOGRAM_BINS = 10


def input_statistics(
    tensors: NDArray[np.float32], targets: NDArray[Any], classes: int, wanted: Input
) -> Statistics:
    """What the training examples are like.

    Args:
        tensors: float32 [n, *shape of one example], all or a sample.
        targets: of all training examples: int64 labels, or float32 values of a regression.
        classes: how many labels there are; 0 for a regression.
        wanted: an image's range is the histogram's.
    """
    low, high = float(tensors.min()), float(tensors.max())
    bounds = wanted.range if isinstance(wanted, ImageInput) else (low, high)
    counts, _ = np.histogram(tensors, bins=HISTOGRAM_BINS, range=bounds)
    shares = np.bincount(targets, minlength=classes) / len(targets) if classes else np.empty(0)
    return Statistics(
        examples=len(tensors),
        mean=float(tensors.mean(dtype=np.float64)),
        std=float(tensors.std(dtype=np.float64)),
        minimum=low,
        maximum=high,
        histogram=tuple((counts / tensors.size).tolist()),
        label_share=tuple(shares.tolist()),
        target=None if classes else _target_statistics(targets),
    )


def _target_statistics(targets: NDArray[Any]) -> TargetStatistics:
    values = targets.astype(np.float64)
    return TargetStatistics(
        mean=float(values.mean()),
        std=float(values.std()),
        minimum=float(values.min()),
        maximum=float(values.max()),
    )


# A class with fewer training examples than this is named.
_FEW = 5
# Classes that a note names.
_NAMED = 10
# Samples that every path must agree on after an export: the first to train on.
GOLDEN_SAMPLES = 32


@dataclass(frozen=True, eq=False)
class GoldenSamples:
    """Samples as a user sends them, and float32 [n, *shape of one example], what became of them."""

    raw: tuple[Raw, ...]
    tensors: NDArray[np.float32]


@dataclass(frozen=True)
class Fractions:
    """How a data set is divided.

    Attributes:
        test: share of the examples, where the data set has no test split of its own.
        validation: share of those that are left; 0 for none.
        seed: the same one gives the same parts.
    """

    test: float
    validation: float
    seed: int


@dataclass(frozen=True, eq=False)
class Source:
    """A data set before it is divided.

    Attributes:
        name: as the contract calls it.
        task: what a model of it answers.
        labels: names of the classes, in order; empty for a regression.
        target: the column that is predicted; None where the data has no names.
        targets: of all examples: int64 labels, or float32 values for a regression, [n].
        sha256: over the data, hexadecimal.
        notes: sentences for the person.
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
        name: as the contract calls it.
        task: what a model of it answers.
        input: what a model of it takes.
        labels: names of the classes, in order; empty for a regression.
        target: the column that is predicted; None where the data has no names.
        sha256: over the data, hexadecimal.
        examples: how many there are in all parts together.
        train: to learn from.
        validation: to choose by, apart from both others; may be empty.
        test: to be looked at once.
        statistics: of `train`, or of a sample of it.
        golden: some of `train`.
        notes: sentences for the person: files that were skipped, doubts about the target.
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
    """Which examples are in which part: int64 places, ascending, none in two."""

    train: Index
    validation: Index
    test: Index


def divide(source: Source, fractions: Fractions, given: Split | None = None) -> Division:
    """Decide which examples to train on, to validate with and to test with.

    Every part gets the same share of every label.

    Args:
        source: the data set.
        fractions: how large the parts are.
        given: a test split or a validation split that is already decided, or both.

    Raises:
        DataError: some part would not have every label.
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
    """Put a data set together.

    Args:
        source: the data set.
        division: its parts.
        wanted: what a model of it takes.
        examples: its tensors.
        sample: statistics are of at most this many examples, spread over `train`; None for all.
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
    """Sentences about labels that cannot be learned or judged well, with their counts."""
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
