"""Which rows of a table are trained on, validated with and tested with."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from rockstar_training.csv_tables import TEST, TRAIN, VALIDATION, Table
from rockstar_training.datasets import hold_out
from rockstar_training.errors import DataError
from rockstar_training.prepared import Division, Fractions, Index


def split_table(table: Table, fractions: Fractions) -> Division:
    """Divide a table: by files where there are several, by groups, by time, or at random.

    Args:
        table: the rows.
        fractions: how large the parts are that have no file of their own.

    Raises:
        DataError: a side would be empty.
    """
    test_fraction, validation_fraction, seed = fractions.test, fractions.validation, fractions.seed
    rows, test = _rows(table, TRAIN), _rows(table, TEST)
    if not len(test):
        rows, test = _part(table, rows, test_fraction, seed)
    validation = _rows(table, VALIDATION)
    if not len(validation) and validation_fraction:
        rows, validation = _part(table, rows, validation_fraction, seed)
    return Division(rows, validation, test)


def folds_of(table: Table, folds: int, validation_fraction: float, seed: int) -> Iterator[Division]:
    """Divide the rows that may be trained on anew for each fold: every row is tested with once.

    With a time column a fold tests with the rows that follow the earlier ones, and trains on all
    earlier ones. Rows with a file of their own are left out, but for those to validate with.

    Raises:
        DataError: fewer rows, or groups, than folds.
    """
    from sklearn.model_selection import TimeSeriesSplit

    rows, validation = _rows(table, TRAIN), _rows(table, VALIDATION)
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
        found = _splits(table, rows, folds, seed)
    for kept, held_out in found:
        own = validation
        if not len(own) and validation_fraction:
            kept, own = _part(table, kept, validation_fraction, seed)
        yield Division(kept, own, held_out)


def _rows(table: Table, part: int) -> Index:
    return np.flatnonzero(table.parts == part).astype(np.int64)


def _part(table: Table, rows: Index, fraction: float, seed: int) -> tuple[Index, Index]:
    """Both sides, ascending; the second one is to have this share of the rows."""
    if table.split_by == "group":
        return _by_group(table, rows, fraction, seed)
    if table.split_by == "time":
        return _by_time(table, rows, fraction)
    labels = table.targets[rows] if table.label_names else None
    return hold_out(rows, labels, fraction, seed, table.path.name)


def _by_group(table: Table, rows: Index, fraction: float, seed: int) -> tuple[Index, Index]:
    count = len(np.unique(table.split_values[rows]))
    if count < 2:
        raise DataError(f"{table.path}: a split needs two or more groups, there is {count}")
    # One fold of so many is about the share that is wanted.
    folds = min(count, max(2, round(1 / fraction)))
    # Where one group has most of the rows, folds may be left with none.
    found = [sides for sides in _splits(table, rows, folds, seed) if all(map(len, sides))]
    if not found:
        raise DataError(f"{table.path}: its {count} groups cannot be divided in two")
    return found[0]


def _by_time(table: Table, rows: Index, fraction: float) -> tuple[Index, Index]:
    times = table.split_values[rows]
    # Rows of the same time stay together.
    border = np.sort(times)[min(len(rows) - 1, round(len(rows) * (1 - fraction)))]
    late = times >= border
    if late.all():
        late = times > border
    if not late.any():
        raise DataError(f"{table.path}: a split by time needs rows of different times")
    return rows[~late], rows[late]


def _splits(table: Table, rows: Index, folds: int, seed: int) -> list[tuple[Index, Index]]:
    """Both sides of random folds, each with the same share of every label and with whole groups."""
    from sklearn.model_selection import (
        GroupKFold,
        KFold,
        StratifiedGroupKFold,
        StratifiedKFold,
    )

    labels, grouped = table.targets[rows], table.split_by == "group"
    splitter: Any
    if table.label_names:
        kind = StratifiedGroupKFold if grouped else StratifiedKFold
        splitter = kind(folds, shuffle=True, random_state=seed)
    else:
        splitter = GroupKFold(folds) if grouped else KFold(folds, shuffle=True, random_state=seed)
    groups = table.split_values[rows] if grouped else None
    try:
        with warnings.catch_warnings():
            # Of labels with fewer examples than there are folds; they are named elsewhere.
            warnings.simplefilter("ignore")
            found = list(splitter.split(rows, labels, groups))
    except ValueError as error:
        raise DataError(f"{table.path} cannot be divided into {folds} folds: {error}") from error
    return [(np.sort(rows[kept]), np.sort(rows[held_out])) for kept, held_out in found]
