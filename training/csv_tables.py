"""CSV files with a target column: numbers and categories to train on."""

import difflib
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serving.contract import Task
from serving.csv_rows import read_table
from serving.errors import InvalidInputError
from serving.tables import CategoricalColumn, Column, NumericColumn, encode_columns, listed
from training.errors import DataError
from training.parts import Index

# What stands for nothing in a column of numbers; an empty field does in every column.
MISSING = {"", "?", "na", "n/a", "nan", "null", "none", "-"}
MAX_CATEGORIES = 1000
# A column of texts with more than this many different ones that mostly occur once is a name.
_NAMES_FROM = 20
_LARGEST = float(np.finfo(np.float32).max)

# Numbers, float64 [n], or texts.
Values = NDArray[np.float64] | list[str]


@dataclass(frozen=True, eq=False)
class Table:
    """A table to train on.

    Attributes:
        path: of the file.
        columns: the values of each column but the target, by name, in the order of the file.
        target: the name of the target column.
        task: what follows from the target.
        targets: int64 [n] labels, or float32 [n] values for a regression.
        label_names: what the labels mean; empty for a regression.
        lines: of the file, where each row ends.
        sha256: over the file, hexadecimal.
    """

    path: Path
    columns: dict[str, Values]
    target: str
    task: Task
    targets: NDArray[np.int64] | NDArray[np.float32]
    label_names: tuple[str, ...]
    lines: tuple[int, ...]
    sha256: str


class TableExamples:
    """The rows of a table, encoded as the columns say."""

    def __init__(self, table: Table, columns: Sequence[Column]) -> None:
        """Encode all rows.

        Args:
            table: the rows.
            columns: as `fit_columns` makes them.
        """
        self._table = table
        self._array = encode_columns(table.columns, columns)

    def tensors(self, places: Index) -> NDArray[np.float32]:
        """Encoded rows, float32 [n, width]."""
        return self._array[places]

    def raw(self, place: int) -> dict[str, float | str]:
        """A row by column names, without the target."""
        return {
            name: float(values[place]) if isinstance(values, np.ndarray) else values[place]
            for name, values in self._table.columns.items()
        }

    def source(self, place: int) -> str:
        """The line of the file."""
        return f"{self._table.path.name} line {self._table.lines[place]}"


def read_csv(
    path: Path, target: str | None, task: Task | None = None, ignore: Sequence[str] = ()
) -> Table:
    """Read a table to train on.

    Args:
        path: of the CSV file: UTF-8, names of the columns in the first line.
        target: the column to predict.
        task: None takes a target of numbers for a regression and one of texts for a classification.
        ignore: columns to leave out.

    Raises:
        DataError: it cannot be read, a column is not there, or its values cannot be trained on.
    """
    data, names, texts, lines = _read(path)
    if target is None:
        raise DataError(f"{path}: name the column to predict (--target), one of {listed(names)}")
    for name in (target, *ignore):
        _require_known(name, names, path)
    columns = {
        name: _Column(path, name, texts[name], lines).values()
        for name in names
        if name != target and name not in ignore
    }
    if not columns:
        raise DataError(f"{path}: expected one or more columns besides the target {target!r}")
    wanted = _Column(path, target, texts[target], lines)
    targets, labels, task = _targets(wanted, task)
    digest = hashlib.sha256(data).hexdigest()
    return Table(path, columns, target, task, targets, labels, tuple(lines), digest)


def fit_columns(table: Table, places: Index) -> tuple[Column, ...]:
    """How the columns are encoded: mean and scale of some rows, the categories of all.

    Args:
        table: the rows.
        places: int64 [n], the rows to train on.
    """
    columns: list[Column] = []
    for name, values in table.columns.items():
        if isinstance(values, np.ndarray):
            mean, std = float(values[places].mean()), float(values[places].std())
            # A column may be constant in the rows to train on, though it is not in all.
            scale = std if std > 1e-12 * abs(mean) else 1.0
            columns.append(NumericColumn(name=name, mean=mean, scale=scale))
        else:
            columns.append(CategoricalColumn(name=name, categories=tuple(sorted(set(values)))))
    return tuple(columns)


def _read(path: Path) -> tuple[bytes, list[str], dict[str, list[str]], list[int]]:
    """The file, the names of its columns, their texts, and the line that each row ends on."""
    try:
        data = path.read_bytes()
        names, rows, lines = read_table(data, str(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except InvalidInputError as error:
        raise DataError(str(error)) from error
    if not rows:
        raise DataError(f"{path}: expected rows below the header, got none")
    columns = zip(names, zip(*rows, strict=True), strict=True)
    return data, names, {name: [text.strip() for text in found] for name, found in columns}, lines


@dataclass(frozen=True)
class _Column:
    """A column as texts, with what errors say of it."""

    path: Path
    name: str
    texts: list[str]
    lines: list[int]

    def values(self) -> Values:
        """Its numbers or categories; each is there, and not all are the same."""
        values = self.numbers() if self.is_numeric() else self.categories()
        if len(set(values)) == 1:
            raise self.error(f"the same value in all rows ({self.texts[0]!r})", "remove it")
        return values

    def is_numeric(self) -> bool:
        """Whether all that is not missing is a number."""
        present = [text for text in self.texts if text.lower() not in MISSING]
        return bool(present) and all(map(_is_number, present))

    def numbers(self) -> NDArray[np.float64]:
        self.require_present(MISSING)
        numbers = np.array([float(text) for text in self.texts])
        # Written so that infinity fails too.
        wrong = np.flatnonzero(~(np.abs(numbers) <= _LARGEST))
        if len(wrong):
            place = int(wrong[0])
            raise self.error(
                f"{self.texts[place]!r} in line {self.lines[place]}", "numbers must be finite"
            )
        return numbers

    def categories(self) -> list[str]:
        self.require_present({""})
        count, rows = len(set(self.texts)), len(self.texts)
        if count > MAX_CATEGORIES or (count > _NAMES_FROM and count > rows / 2):
            raise self.error(
                f"{count} different texts in {rows} rows, such as {self.texts[0][:40]!r}",
                "a name of each row says nothing about the next one: remove the column; "
                "if it should be numbers, mend those that are not",
            )
        return self.texts

    def require_present(self, missing: set[str]) -> None:
        absent = [
            line
            for text, line in zip(self.texts, self.lines, strict=True)
            if text.lower() in missing
        ]
        if absent:
            where = f"line {absent[0]}" + (
                f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            )
            raise self.error(
                f"no value in {where}", "fill it in, leave such rows out, or remove the column"
            )

    def error(self, what: str, hint: str) -> DataError:
        return DataError(f"{self.path}: column {self.name!r} has {what}; {hint}")


def _targets(
    column: _Column, task: Task | None
) -> tuple[NDArray[np.int64] | NDArray[np.float32], tuple[str, ...], Task]:
    numeric = column.is_numeric()
    if task == "regression" and not numeric:
        place = next(i for i, text in enumerate(column.texts) if not _is_number(text))
        raise column.error(
            f"{column.texts[place]!r} in line {column.lines[place]}", "a regression needs numbers"
        )
    values = column.values()
    if numeric and task != "classification":
        return np.asarray(values, dtype=np.float32), (), "regression"
    names = sorted(set(column.texts), key=lambda text: (float(text) if numeric else 0.0, text))
    places = {name: place for place, name in enumerate(names)}
    labels = np.array([places[text] for text in column.texts], dtype=np.int64)
    return labels, tuple(names), "classification"


def _is_number(text: str) -> bool:
    try:
        # Python takes 1_000 and nan for numbers; nobody writes the one, and the other is none.
        return "_" not in text and not math.isnan(float(text))
    except ValueError:
        return False


def _require_known(name: str, names: Sequence[str], path: Path) -> None:
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise DataError(f"{path} has no column {name!r}; it has {listed(names)}{hint}")
