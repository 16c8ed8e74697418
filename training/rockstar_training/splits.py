"""Splitting a data set into examples for training, validation and testing."""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_training.csv_tables import TEST, TRAIN, VALIDATION, Table
from rockstar_training.errors import DataError

# Positions of examples in a data set.
Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """The examples of each part: int64 indices, ascending, disjoint."""

    train: Index
    validation: Index
    test: Index


@dataclass(frozen=True)
class Fractions:
    """Sizes of the parts that a data set does not define itself."""

    test: float  # share of all examples
    validation: float  # share of the rest; 0 for none
    seed: int


def split_labeled(
    labels: Index, fractions: Fractions, name: str, given: Split | None = None
) -> Split:
    """Split examples at random, with the same share of every label in each part.

    A data set may define a split itself, whose empty parts are taken from `train`. The name is that
    of the data set in error messages. Raises a DataError if a part would lack a label.
    """
    nothing = np.empty(0, np.int64)
    given = given or Split(np.arange(len(labels), dtype=np.int64), nothing, nothing)
    train, validation, test = given.train, given.validation, given.test
    if not len(test):
        train, test = hold_out(train, labels[train], fractions.test, fractions.seed, name)
    # Labels that have one training example each leave none to validate with.
    if not len(validation) and fractions.validation and np.bincount(labels[train]).max() > 1:
        name = f"the training examples of {name}"
        share = fractions.validation
        train, validation = hold_out(train, labels[train], share, fractions.seed, name)
    return Split(train, validation, test)


def hold_out(
    index: Index, labels: NDArray[Any] | None, fraction: float, seed: int, name: str
) -> tuple[Index, Index]:
    """Divide examples at random into two sides, both ascending.

    Both get about the same share of every label, if there are labels. The second one gets this
    fraction of the examples, and every label with two or more; the only example of a label stays on
    the first side. The name is that of the examples in error messages. Raises a DataError if there
    are too few examples for two sides.
    """
    from sklearn.model_selection import train_test_split

    size: float | int = fraction
    alone = np.empty(0, dtype=np.int64)
    if labels is not None:
        _, label_of, counts = np.unique(labels, return_inverse=True, return_counts=True)
        single = counts[label_of] == 1
        alone, index, labels = index[single], index[~single], labels[~single]
        several = int((counts > 1).sum())
        # Rounded up, as scikit-learn does.
        size = max(math.ceil(fraction * len(index)), several)
        size = min(size, max(several, len(index) - several))
    try:
        kept, held_out = train_test_split(index, test_size=size, stratify=labels, random_state=seed)
    except ValueError as error:
        total = len(alone) + len(index)
        raise DataError(
            f"cannot hold {fraction:g} of {name} out, which has {total} examples to divide; "
            + ("a regression needs two" if labels is None else "each label needs two or more")
        ) from error
    return np.sort(np.concatenate([kept, alone])), np.sort(held_out)


def split_table(table: Table, fractions: Fractions) -> Split:
    """Split a table by its files, by groups, by time, or at random; no part may be empty."""
    rows, validation, test = (
        np.flatnonzero(table.parts == part) for part in (TRAIN, VALIDATION, TEST)
    )
    if not len(test):
        rows, test = _divide(table, rows, fractions.test, fractions.seed)
    if not len(validation) and fractions.validation:
        rows, validation = _divide(table, rows, fractions.validation, fractions.seed)
    return Split(rows, validation, test)


def folds_of(table: Table, folds: int, validation_fraction: float, seed: int) -> Iterator[Split]:
    """Split the training rows for each fold, so that every row is tested with once.

    With a time column, each fold trains on all rows before those it tests with. Rows from separate
    files are used for validation only. Raises a DataError for fewer rows, or groups, than folds.
    """
    from sklearn.model_selection import TimeSeriesSplit

    rows, given = (np.flatnonzero(table.parts == part) for part in (TRAIN, VALIDATION))
    by_time, by_group = table.split_by == "time", table.split_by == "group"
    pieces = len(np.unique(table.split_values[rows])) if by_group else len(rows)
    if pieces < folds + by_time:
        what = "groups" if by_group else "rows"
        raise DataError(f"{table.path}: {pieces} {what} are too few for {folds} folds")
    if by_time:
        ordered = rows[np.argsort(table.split_values[rows], kind="stable")]
        found = [
            (np.sort(ordered[early]), np.sort(ordered[late]))
            for early, late in TimeSeriesSplit(folds).split(ordered)
        ]
    else:
        found = _random_folds(table, rows, folds, seed)
    for train, test in found:
        validation = given
        if not len(validation) and validation_fraction:
            train, validation = _divide(table, train, validation_fraction, seed)
        yield Split(train, validation, test)


def _divide(table: Table, rows: Index, fraction: float, seed: int) -> tuple[Index, Index]:
    """Divide rows in two, both ascending; the second side gets this share of them."""
    if table.split_by == "group":
        count = len(np.unique(table.split_values[rows]))
        if count < 2:
            raise DataError(f"{table.path}: a split needs two or more groups, there is {count}")
        # One of this many folds has about the wanted share.
        folds = min(count, max(2, round(1 / fraction)))
        # If one group has most of the rows, folds may be empty.
        found = [sides for sides in _random_folds(table, rows, folds, seed) if all(map(len, sides))]
        if not found:
            raise DataError(f"{table.path}: its {count} groups cannot be divided in two")
        return found[0]
    if table.split_by == "time":
        times = table.split_values[rows]
        # Rows of the same time stay together.
        border = np.sort(times)[min(len(rows) - 1, round(len(rows) * (1 - fraction)))]
        late = times >= border
        if late.all():
            late = times > border
        if not late.any():
            raise DataError(f"{table.path}: a split by time needs rows of different times")
        return rows[~late], rows[late]
    labels = table.targets[rows] if table.label_names else None
    return hold_out(rows, labels, fraction, seed, table.path.name)


def _random_folds(table: Table, rows: Index, folds: int, seed: int) -> list[tuple[Index, Index]]:
    """Divide rows at random, with the same share of every label and with whole groups."""
    from sklearn import model_selection as sklearn

    grouped = table.split_by == "group"
    random = {"shuffle": True, "random_state": seed}
    splitter: Any
    if table.label_names:
        kind = sklearn.StratifiedGroupKFold if grouped else sklearn.StratifiedKFold
        splitter = kind(folds, **random)
    else:
        splitter = sklearn.GroupKFold(folds) if grouped else sklearn.KFold(folds, **random)
    groups = table.split_values[rows] if grouped else None
    try:
        with warnings.catch_warnings():
            # Labels with fewer examples than folds have a note.
            warnings.simplefilter("ignore")
            found = list(splitter.split(rows, table.targets[rows], groups))
    except ValueError as error:
        raise DataError(f"{table.path} cannot be divided into {folds} folds: {error}") from error
    return [(np.sort(rows[kept]), np.sort(rows[held_out])) for kept, held_out in found]
