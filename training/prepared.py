"""A data set that is ready to train on: its parts, and what the contract will say of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.contract import Encoded, Statistics, Task
from training.datasets import Split, hold_out
from training.input_statistics import input_statistics
from training.parts import Examples, Index, Part, Raw

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
