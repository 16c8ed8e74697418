"""CSV files with a target column: column types, the task, and encoding for training."""

import difflib
import hashlib
import math
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rockstar_contract.contract import Task
from rockstar_contract.csv_rows import CsvTable, read_table
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.table_cells import (
    DATE_FORMATS,
    ISO,
    MISSING,
    MISSING_NUMBERS,
    TIME_FORMATS,
    decimal_sign,
    parse_date,
    parse_number,
)
from rockstar_contract.tables import (
    CategoricalColumn,
    Column,
    DateColumn,
    DecimalSign,
    NumericColumn,
    TextRow,
    encode_columns,
    listed,
)
from rockstar_training.config import ColumnType
from rockstar_training.errors import DataError
from rockstar_training.prepared import Index

# Where a row ends: a line number of the training file, or a description with another file's name.
Line = int | str
# The part of a row, by its file; without other files, rows of the training file are divided later.
TRAIN, VALIDATION, TEST = range(3)
_UNLABELLED = "without it nothing can be learned or tested: ask `rockstar predict` about such rows"
# The most frequent categories of a column are kept, up to this many; the rest becomes "other".
MAX_CATEGORIES = 100
# A target of whole numbers with at most this many distinct values is a classification.
MAX_NUMBERED_CLASSES = 20
# A column of texts with more distinct values than this, most of them unique, is a name.
_NAMES_FROM = 20
# Texts among numbers count as missing if there are few of them, and few distinct ones.
_NUMBERS_AT_LEAST = 0.9
_MARKERS_AT_MOST = 5
# Average number of rows per value in columns that are checked for revealing the target.
_SEVERAL = 5
# Columns with missing values that are listed.
_NAMED = 12
_LARGEST = float(np.finfo(np.float32).max)
_ID_NAME = re.compile(
    r"(?i:id|index|idx|key|uid|uuid|guid|#|id[ _-].*|no\.?|nr\.?"
    r"|row[ _]?(?:id|no|nr|num|number|names?)?|unnamed: \d+"
    r"|.*[ _-](?:id|uuid|guid|key|nr|no|index))|.*[a-z]I[dD]"
)
_CODE = re.compile(r"0\d+", re.ASCII)


@dataclass(frozen=True, eq=False)
class TableColumn:
    """A column of a file, parsed.

    Attributes:
        type: of its values.
        texts: as in the file.
        values: float64 [n], NaN if missing: numbers, or days since 1970-01-01 for dates; or
            categories, None if missing.
        decimal: the decimal sign of numbers.
        markers: texts among numbers that count as missing.
        format: of dates, see `rockstar_contract.table_cells.parse_date`.
    """

    type: ColumnType
    texts: list[str]
    values: NDArray[np.float64] | list[str | None]
    decimal: DecimalSign = "."
    markers: tuple[str, ...] = ()
    format: str = ISO

    @property
    def missing(self) -> int:
        """The number of missing values."""
        if isinstance(self.values, np.ndarray):
            return int(np.isnan(self.values).sum())
        return self.values.count(None)

    @property
    def different(self) -> int:
        """The number of distinct values, without missing ones."""
        if isinstance(self.values, np.ndarray):
            return len(np.unique(self.values[~np.isnan(self.values)]))
        return len(set(self.values) - {None})


@dataclass(frozen=True, eq=False)
class Table:
    """A table to train on.

    Attributes:
        path: of the training file.
        columns: the columns to train on, by name, in the order of the file.
        target: name of the target column.
        task: follows from the target, unless given.
        targets: int64 [n] labels, or float32 [n] values for a regression.
        label_names: names of the labels; empty for a regression.
        lines: of the file, where each row ends; with its name for other files.
        sha256: of the files, hexadecimal.
        parts: int64 [n], TRAIN, VALIDATION or TEST: the file that a row is from.
        notes: sentences about decisions on columns and rows.
        split_by: "group" or "time" if a column decides how rows are divided; else empty.
        split_values: of this column, [n]: group numbers, or comparable times.
    """

    path: Path
    columns: dict[str, TableColumn]
    target: str
    task: Task
    targets: NDArray[np.int64] | NDArray[np.float32]
    label_names: tuple[str, ...]
    lines: tuple[Line, ...]
    sha256: str
    parts: NDArray[np.int64]
    notes: tuple[str, ...] = ()
    split_by: str = ""
    split_values: NDArray[Any] = field(default_factory=lambda: np.empty(0))


class TableExamples:
    """The rows of a table, encoded for the model."""

    def __init__(self, table: Table, columns: Sequence[Column]) -> None:
        """Encode all rows.

        Args:
            table: the rows.
            columns: from `fit_columns`.
        """
        self._table = table
        values = {name: column.values for name, column in table.columns.items()}
        self._array = encode_columns(values, columns)

    def tensors(self, places: Index) -> NDArray[np.float32]:
        """Return encoded rows, float32 [n, width]."""
        return self._array[places]

    def raw(self, place: int) -> TextRow:
        """Return a row by column names, as texts of the file, without the target."""
        columns = self._table.columns.items()
        return TextRow({name: column.texts[place] for name, column in columns})

    def source(self, place: int) -> str:
        """Return the line of the file."""
        line = self._table.lines[place]
        return f"line {line}" if isinstance(line, str) else f"{self._table.path.name} line {line}"


def read_csv(
    path: Path,
    target: str | None,
    task: Task | None = None,
    ignore: Sequence[str] = (),
    types: Mapping[str, ColumnType] | None = None,
    split: str = "random",
    validation: Path | None = None,
    test: Path | None = None,
) -> Table:
    """Read a table to train on.

    Args:
        path: of the CSV file, with the column names in the first line.
        target: the column to predict.
        task: None makes a target of texts or of few distinct whole numbers a classification, one of
            other numbers a regression.
        ignore: columns to leave out.
        types: of columns with ambiguous values.
        split: "random", "group:COLUMN" or "time:COLUMN".
        validation: a file with rows for validation, with the same columns.
        test: a file with rows for testing, with the same columns.

    Raises:
        DataError: a file cannot be read, a column is missing, or its values cannot be trained on.
    """
    types = types or {}
    split_by, _, split_column = split.partition(":")
    files = [(TRAIN, path), (VALIDATION, validation), (TEST, test)]

    # Read all files into columns of texts.
    data, file = _read(path)
    names, decimal, lines = file.names, file.decimal, list[Line](file.lines)
    texts = _columns(file)
    digest, parts = hashlib.sha256(data), [TRAIN] * len(lines)
    notes = [] if file.encoding.startswith("utf") else [f"read as {file.encoding}, not UTF-8"]
    for part, other in files[1:]:
        if other is None:
            continue
        data, file = _read(other)
        digest.update(data)
        found = _columns(file)
        if target in texts and target not in found:
            raise DataError(
                f"{other} has no column {target!r}, it has {listed(file.names)}; {_UNLABELLED}"
            )
        for name in texts:
            if name not in ignore:
                _require_known(name, file.names, other)
            texts[name] += found.get(name, [""] * len(file.lines))
        lines += [f"{line} of {other.name}" for line in file.lines]
        parts += [part] * len(file.lines)

    # Check the names of columns.
    if target is None:
        raise DataError(f"{path}: name the column to predict (--target), one of {listed(names)}")
    for name in (target, *ignore, *types, *([split_column] if split_column else [])):
        _require_known(name, names, path)
    if target in ignore:
        raise DataError(f"{path}: column {target!r} is the target, it cannot be ignored")

    def parse(name: str) -> TableColumn:
        return _parse(_Cells(path, name, texts[name], lines, decimal), types.get(name))

    # Leave out rows without a target, then derive the task.
    wanted = parse(target)
    if wanted.missing:
        absent = np.array([value is None or value != value for value in wanted.values])
        if absent.all():
            raise DataError(f"{path}: column {target!r} has no values to learn from")
        notes.append(
            f"rows without a value in {target!r} are left out: {int(absent.sum())} of "
            f"{len(lines)}, the first in line {lines[int(np.flatnonzero(absent)[0])]}"
        )
        kept = np.flatnonzero(~absent).tolist()
        texts = {name: [column[place] for place in kept] for name, column in texts.items()}
        lines, before = [lines[place] for place in kept], set(parts)
        parts = [parts[place] for place in kept]
        for part, other in files:
            if part in before and part not in parts:
                raise DataError(f"{other}: column {target!r} has no values; {_UNLABELLED}")
        wanted = parse(target)
    if task is None and types.get(target) in ("number", "category"):
        task = "regression" if types[target] == "number" else "classification"
    targets, labels, task = _targets(path, target, wanted, lines, task, notes)

    # Decide which of the other columns to learn from.
    columns = {}
    for name in names:
        if name == target or name in ignore:
            continue
        if name == split_column and split_by == "group":
            notes.append(f"column {name!r} tells the groups apart and is not learned from")
            continue
        column = parse(name)
        reason = _useless(name, column, explicit=name in types)
        if reason:
            notes.append(f"column {name!r} is left out: {reason}")
            continue
        notes += _remarks(name, column, explicit=name in types)
        if task == "classification" and _tells_the_target(column, targets):
            notes.append(
                f"column {name!r} alone tells {target!r} in all rows: if it is not known before, "
                f"leave it out with --ignore {shlex.quote(name)}"
            )
        columns[name] = column
    counting = [name for name, column in columns.items() if _counts_rows(column)]
    if counting and len(columns) > 1:
        notes.append(
            f"column {counting[0]!r} counts the rows: if it says nothing else, leave it out with "
            f"--ignore {shlex.quote(counting[0])}"
        )
    missing = [f"{name!r} {column.missing}" for name, column in columns.items() if column.missing]
    if missing:
        more = f" and {len(missing) - _NAMED} more columns" if len(missing) > _NAMED else ""
        notes.append(
            "missing values are filled with the median or the most frequent value, and marked: "
            f"{', '.join(missing[:_NAMED])}{more}"
        )
    if not columns:
        raise DataError(
            "\n".join([f"{path}: no column to learn from besides the target {target!r}", *notes])
        )

    # Read the column that rows are divided by.
    split_values: NDArray[Any] = np.empty(0)
    if split_by == "group":
        split_values = np.unique(texts[split_column], return_inverse=True)[1]
    elif split_by == "time":
        times = parse(split_column)
        where = f"{path}: column {split_column!r} has"
        if not isinstance(times.values, np.ndarray):
            raise DataError(
                f"{where} {times.texts[0][:40]!r} in line {lines[0]}; a split by time needs dates "
                "or numbers"
            )
        empty = np.flatnonzero(np.isnan(times.values))
        if len(empty):
            raise DataError(
                f"{where} no value in line {lines[int(empty[0])]}; a split by time needs one in "
                "each row"
            )
        split_values = times.values
    return Table(
        path=path,
        columns=columns,
        target=target,
        task=task,
        targets=targets,
        label_names=labels,
        lines=tuple(lines),
        sha256=digest.hexdigest(),
        parts=np.array(parts, dtype=np.int64),
        notes=tuple(notes),
        split_by=split_by if split_column else "",
        split_values=split_values,
    )


def fit_columns(table: Table, places: Index) -> tuple[Column, ...]:
    """Determine how the columns are encoded, from the training rows alone.

    Args:
        table: the rows.
        places: int64 [n], the training rows.
    """
    return tuple(_fit_column(name, column, places) for name, column in table.columns.items())


def _fit_column(name: str, column: TableColumn, places: Index) -> Column:
    if not isinstance(column.values, np.ndarray):
        return _fit_categories(name, column.values, places)
    values = column.values[places]
    missing = np.isnan(values)
    indicator = bool(missing.any())
    fill = 0.0 if missing.all() else float(np.median(values[~missing]))
    values = np.where(missing, fill, values)
    mean, std = float(values.mean()), float(values.std())
    # A column may be constant in the training rows only.
    scale = std if std > 1e-12 * abs(mean) else 1.0
    if column.type == "date":
        every = column.values[~np.isnan(column.values)]
        time = bool((every != np.floor(every)).any())
        return DateColumn(
            name=name,
            format=column.format,
            mean=mean,
            scale=scale,
            fill=fill,
            time=time,
            indicator=indicator,
        )
    return NumericColumn(
        name=name,
        mean=mean,
        scale=scale,
        fill=fill,
        indicator=indicator,
        decimal=column.decimal,
        missing=column.markers,
    )


def _fit_categories(name: str, values: list[str | None], places: Index) -> CategoricalColumn:
    some = [values[place] for place in places]
    counts = Counter(value for value in some if value is not None)
    if not counts:
        counts = Counter(value for value in values if value is not None)
    # Ties are broken alphabetically.
    ranked = sorted(counts, key=lambda text: (-counts[text], text))
    kept = ranked[:MAX_CATEGORIES]
    categories, other = tuple(sorted(kept)), len(ranked) > len(kept)
    return CategoricalColumn(
        name=name,
        categories=categories,
        fill=kept[0],
        other=other,
        shares=() if other else tuple(counts[text] / counts.total() for text in categories),
        indicator=None in some,
    )


def _read(path: Path) -> tuple[bytes, CsvTable]:
    try:
        data = path.read_bytes()
        file = read_table(data, str(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except InvalidInputError as error:
        raise DataError(str(error)) from error
    if not file.rows:
        raise DataError(f"{path}: expected rows below the header, got none")
    return data, file


def _columns(file: CsvTable) -> dict[str, list[str]]:
    columns = zip(file.names, zip(*file.rows, strict=True), strict=True)
    return {name: [text.strip() for text in found] for name, found in columns}


@dataclass(frozen=True, eq=False)
class _Cells:
    """The texts of a column, with its location for error messages and the file's decimal sign."""

    path: Path
    name: str
    texts: list[str]
    lines: list[Line]
    decimal: str | None

    def error(self, place: int, hint: str) -> DataError:
        return DataError(
            f"{self.path}: column {self.name!r} has {self.texts[place]!r} in line "
            f"{self.lines[place]}; {hint}"
        )


def _parse(cells: _Cells, wanted: ColumnType | None) -> TableColumn:
    """Parse a column as the wanted type, or detect its type.

    Raises:
        DataError: its texts are not of the wanted type, or a number is infinite.
    """
    texts = cells.texts
    if wanted == "category":
        return _categories(texts)
    column = None if wanted == "date" else _numbers(cells, forced=wanted == "number")
    if column is None and wanted != "number":
        column = _dates(texts)
    if column is not None:
        return column
    if wanted is None:
        return _categories(texts)
    markers = MISSING if wanted == "date" else MISSING_NUMBERS
    wrong = (
        place
        for place, text in enumerate(texts)
        if text.lower() not in markers and (wanted == "date" or parse_number(text) is None)
    )
    raise cells.error(
        next(wrong, 0),
        "dates must be written in one way, such as 2024-12-31, 31.12.2024 or 12/31/2024"
        if wanted == "date"
        else f"it has too many such texts for --type {cells.name}=number",
    )


def _categories(texts: list[str]) -> TableColumn:
    values = [None if text.lower() in MISSING else text for text in texts]
    return TableColumn("category", texts, values)


def _numbers(cells: _Cells, forced: bool) -> TableColumn | None:
    """Parse a column of numbers; None if it is none."""
    texts = cells.texts
    decimal: DecimalSign = "," if (decimal_sign(texts) or cells.decimal) == "," else "."
    present = [text for text in texts if text.lower() not in MISSING_NUMBERS]
    if not forced and (not present or _are_codes(present)):
        return None
    numbers = {text: parse_number(text, decimal) for text in set(present)}
    markers = tuple(sorted(text for text, number in numbers.items() if number is None))
    share = sum(numbers[text] is not None for text in present) / max(1, len(present))
    tolerated = _NAMES_FROM if forced else _MARKERS_AT_MOST
    if markers and (len(markers) > tolerated or (not forced and share < _NUMBERS_AT_LEAST)):
        return None
    values = [numbers.get(text) for text in texts]
    array = np.array([math.nan if value is None else value for value in values])
    # NaN passes, infinity does not.
    wrong = np.flatnonzero(np.abs(array) > _LARGEST)
    if len(wrong):
        raise cells.error(int(wrong[0]), "numbers must be finite")
    return TableColumn("number", texts, array, decimal, markers)


def _are_codes(texts: list[str]) -> bool:
    """Check for codes of the same length, some with leading zeros, such as 01069."""
    return len({len(text) for text in texts}) == 1 and any(map(_CODE.fullmatch, texts))


def _dates(texts: list[str]) -> TableColumn | None:
    present = sorted({text for text in texts if text.lower() not in MISSING})
    if not present:
        return None
    forms = [ISO, *(date + time for date in DATE_FORMATS for time in TIME_FORMATS)]
    for form in forms:
        if parse_date(present[0], form) is None:
            continue
        days = {text: parse_date(text, form) for text in present}
        if None not in days.values():
            found = [days.get(text) for text in texts]
            values = np.array([math.nan if day is None else day for day in found])
            return TableColumn("date", texts, values, format=form)
    return None


def _useless(name: str, column: TableColumn, explicit: bool) -> str:
    """Explain why nothing can be learned from a column; empty if something can."""
    rows = len(column.texts)
    if not column.different:
        return "it has no values"
    if column.different == 1 and not column.missing:
        return f"it has the same value in all rows ({column.texts[0][:40]!r})"
    if explicit:
        return ""
    keep = f"to keep it, give --type {shlex.quote(f'{name}={column.type}')}"
    if isinstance(column.values, np.ndarray):
        unique = column.different == rows and (column.values == np.floor(column.values)).all()
        if column.type == "number" and unique and _ID_NAME.fullmatch(name) and rows > 2:
            return f"it looks like an ID, with another number in each row; {keep}"
        return ""
    if column.different > _NAMES_FROM and column.different > (rows - column.missing) / 2:
        example = next(text for text in column.values if text is not None)
        return (
            f"it looks like an ID, a name or free text, with {column.different} different values "
            f"in {rows} rows, such as {example[:40]!r}; {keep}"
        )
    return ""


def _remarks(name: str, column: TableColumn, explicit: bool) -> list[str]:
    """List notes about a column that is kept."""
    notes = []
    if column.markers:
        notes.append(f"column {name!r}: {listed(column.markers)} counts as missing")
    if column.type == "category" and column.different > MAX_CATEGORIES:
        notes.append(
            f"column {name!r} has {column.different} categories: the {MAX_CATEGORIES} most "
            'frequent ones are kept, the rest is "other"'
        )
    if not isinstance(column.values, np.ndarray):
        categories = sorted({text for text in column.values if text is not None})
        alike = _alike(categories)[:_MARKERS_AT_MOST]
        notes += [f"column {name!r}: {names} are different categories" for names in alike]
    if column.type == "category" and not explicit and _are_codes(column.texts):
        notes.append(
            f"column {name!r} has leading zeros, so its values are categories; for numbers, give "
            f"--type {name}=number"
        )
    day_first = column.format.replace("%m/%d", "%d/%m")
    if column.type == "date" and day_first != column.format:
        present = [text for text in column.texts if text.lower() not in MISSING]
        if all(parse_date(text, day_first) is not None for text in present):
            notes.append(f"column {name!r} is read as month/day/year")
    return notes


def _alike(names: Sequence[str]) -> list[str]:
    """List groups of names that differ only in case or spaces."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault("".join(name.casefold().split()), []).append(name)
    return [listed(group) for group in groups.values() if len(group) > 1]


def _counts_rows(column: TableColumn) -> bool:
    """Check whether the values are 0, 1, 2, … or 1, 2, 3, …, in more than a few rows."""
    values = column.values
    if column.type != "number" or not isinstance(values, np.ndarray) or len(values) <= _NAMES_FROM:
        return False
    return values[0] in (0, 1) and bool((np.diff(values) == 1).all())


def _tells_the_target(column: TableColumn, targets: NDArray[Any]) -> bool:
    """Check whether each value of a column, in several rows, has only one label."""
    keys = column.values.tolist() if isinstance(column.values, np.ndarray) else column.values
    pairs = set(zip(keys, targets.tolist(), strict=True))
    different = len(dict(pairs))
    return len(pairs) == different and different * _SEVERAL <= len(keys)


def _targets(
    path: Path,
    target: str,
    column: TableColumn,
    lines: list[Line],
    task: Task | None,
    notes: list[str],
) -> tuple[NDArray[np.int64] | NDArray[np.float32], tuple[str, ...], Task]:
    texts, values = column.texts, column.values
    if column.different == 1:
        raise DataError(
            f"{path}: column {target!r} has the same value in all rows ({texts[0]!r}); there is "
            "nothing to predict"
        )
    numeric = column.type == "number" and isinstance(values, np.ndarray)
    if task == "regression" and not numeric:
        place = next((i for i, text in enumerate(texts) if parse_number(text) is None), 0)
        raise DataError(
            f"{path}: column {target!r} has {texts[place]!r} in line {lines[place]}; a regression "
            "needs numbers"
        )
    if task is None:
        count, numbers = column.different, np.asarray(values)
        # Few distinct whole numbers, each of them several times, are classes.
        several = count == 2 or len(numbers) >= 3 * count
        few = count <= MAX_NUMBERED_CLASSES and several
        classes = not numeric or (few and bool((numbers == np.floor(numbers)).all()))
        task = "classification" if classes else "regression"
        if numeric and task == "classification":
            notes.append(
                f"{target!r} has {count} different whole numbers, so each is a class; to predict "
                "a number, give --task regression"
            )
        elif numeric and count <= MAX_NUMBERED_CLASSES:
            notes.append(
                f"{target!r} is a number, so this is a regression; to tell its {count} values "
                "apart as classes, give --task classification"
            )
    if task == "regression":
        numbers = np.asarray(values, dtype=np.float64)
        # Numbers that are so large, and so close to each other, that float32 rounds them.
        step, spread = float(np.spacing(np.float32(np.abs(numbers).max()))), float(numbers.std())
        if spread < 10 * step:
            middle = float(np.median(numbers))
            raise DataError(
                f"{path}: column {target!r} is about {middle:.10g} and varies by only "
                f"{spread:.3g}; models answer in 32 bits, in steps of {step:.3g} there; subtract "
                f"{middle:.10g} first"
            )
        return numbers.astype(np.float32), (), "regression"
    if column.different > _NAMES_FROM and column.different > len(texts) / 2:
        raise DataError(
            f"{path}: column {target!r} has {column.different} different values in {len(texts)} "
            f"rows, such as {texts[0][:40]!r}: too many for classes"
        )
    if not numeric:
        names = sorted(set(texts))
        notes += [f"{alike} are different labels" for alike in _alike(names)]
        keys: Sequence[object] = texts
        places: dict[object, int] = {name: place for place, name in enumerate(names)}
    else:
        # 1 and 1.0 are the same class, which gets the shorter name.
        keys = np.asarray(values).tolist()
        by_value: dict[object, str] = {}
        for value, text in zip(keys, texts, strict=True):
            known = by_value.setdefault(value, text)
            by_value[value] = min(known, text, key=lambda name: (len(name), name))
        ordered = sorted(by_value, key=lambda value: float(str(value)))
        names = [by_value[value] for value in ordered]
        places = {value: place for place, value in enumerate(ordered)}
    return np.array([places[key] for key in keys], dtype=np.int64), tuple(names), "classification"


def _require_known(name: str, names: Sequence[str], path: Path) -> None:
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        if any(parse_number(text) is not None or text.startswith("Unnamed: ") for text in names):
            hint = "; the first line must have the names of the columns"
        raise DataError(f"{path} has no column {name!r}; it has {listed(names)}{hint}")
