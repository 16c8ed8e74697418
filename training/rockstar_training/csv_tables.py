"""CSV and Parquet files with a target column: column types, the task, and encoding for training."""

import difflib
import hashlib
import io
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from rockstar_contract import table_cells, tables
from rockstar_contract.contract import Task
from rockstar_contract.csv_rows import encoding_hint, read_table
from rockstar_contract.errors import InvalidInputError, name_first, quote_names
from rockstar_contract.limits import IMAGE_SUFFIXES
from rockstar_contract.table_cells import ISO, MISSING, TIME, parse_date, parse_number
from rockstar_training.config import ColumnType
from rockstar_training.errors import DataError

# The part of a row, by its file; without other files, rows of the training file are split later.
TRAIN, VALIDATION, TEST = range(3)
_UNLABELED = "without it nothing can be learned or tested: ask `rockstar predict` about such rows"
# The most frequent categories of a column are kept, up to this many; the rest becomes "other".
_MAX_CATEGORIES = 100
# A target of whole numbers with at most this many distinct values is a classification.
_MAX_NUMBERED_CLASSES = 20
# A column of texts with more distinct values than this, most of them unique, is a name.
_NAMES_FROM = 20
# Texts among numbers count as missing if there are few of them, and few distinct ones.
_NUMBERS_AT_LEAST = 0.9
_MARKERS_AT_MOST = 5
_NEARLY_ALL = 0.99
# A number that means "missing" occurs several times, and is this many times as far from the others
# as these from each other; or it is the only negative one.
_SENTINEL = re.compile(r"-?9{2,}(\.9+)?")
_SENTINEL_ROWS, _SENTINEL_DISTANCE = 3, 5
# A column reveals the target if its values leave at most one in ten of the wrong guesses that are
# made without it, less for each value, so that unique ones reveal nothing.
_SEVERAL, _FEW_WRONG = 5, 10
_LARGEST = float(np.finfo(np.float32).max)
_ID_NAME = re.compile(
    r"(?i:id|index|idx|key|uid|uuid|guid|#|id[ _-].*|no\.?|nr\.?"
    r"|row[ _]?(?:id|no|nr|num|number|names?)?|unnamed: \d+"
    r"|.*[ _-](?:id|uuid|guid|key|nr|no|index))|.*[a-z]I[dD]"
)
_CODE = re.compile(r"0\d+", re.ASCII)
_DATE_DIGITS = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])", re.ASCII)
_UNIX_DIGITS = re.compile(rf"{_DATE_DIGITS.pattern}|1\d{{9}}(?:\d{{3}})?(?:\.\d+)?", re.ASCII)
_TIME_NAME = re.compile(r"(?i:time|date|epoch|created|updated)|_(?:at|on|ts)$|^ts$")

_PARQUET = b"PAR1"

Targets = NDArray[np.int64] | NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TableColumn:
    """A column of a file, parsed."""

    type: ColumnType
    texts: list[str]  # as in the file
    # Numbers, or days since 1970-01-01 for dates, NaN if missing; or categories, None if missing.
    values: NDArray[np.float64] | list[str | None]
    decimal: tables.DecimalSign = "."
    markers: tuple[str, ...] = ()  # texts and numbers among numbers that count as missing
    ranges: tuple[str, ...] = ()  # texts among numbers that are ranges or bounds
    unit: str = ""  # after the numbers
    quantity: tables.Quantity = ""  # of numbers with several units
    format: str = ISO  # of dates, see rockstar_contract.table_cells.parse_date

    @property
    def numbers(self) -> NDArray[np.float64] | None:
        """The values of a column of numbers, else None."""
        is_number = self.type == "number" and isinstance(self.values, np.ndarray)
        return cast("NDArray[np.float64]", self.values) if is_number else None

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
    """A table of n rows to train on."""

    path: Path  # of the training file
    columns: dict[str, TableColumn]  # to train on, by name, in the order of the file
    target: str  # name of the target column
    targets: Targets  # [n]: int64 labels, or float32 values for a regression
    label_names: tuple[str, ...]  # empty for a regression
    sha256: str  # of the files, hexadecimal
    parts: NDArray[np.int64]  # [n], TRAIN, VALIDATION or TEST: the file that a row is from
    hashes: NDArray[np.int64]  # [n], of all texts of a row, also of columns that are left out
    notes: tuple[str, ...]  # sentences about decisions on columns and rows
    split_by: str  # "group" or "time" if a column decides how rows are split; else empty
    split_values: NDArray[Any]  # [n], of this column: group numbers, or comparable times


class TableExamples:
    """The rows of a table, encoded for the model by the columns from `fit_columns`."""

    def __init__(self, table: Table, columns: Sequence[tables.Column]) -> None:
        self._columns = table.columns
        values = {name: column.values for name, column in table.columns.items()}
        self._array = tables.encode_columns(values, columns)

    def tensors(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return encoded rows, float32 [n, width]."""
        return self._array[places]

    def raw(self, place: int) -> tables.TextRow:
        """Return a row by column names, as texts of the file, without the target."""
        return tables.TextRow((name, each.texts[place]) for name, each in self._columns.items())


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

    The first line of a CSV file has the names of its columns. Without a task, a target of texts or
    of few distinct whole numbers is a classification, one of other numbers a regression.
    TrainConfig describes the other arguments. Raises a DataError if a file cannot be read, a column
    is missing, or its values cannot be trained on.
    """
    types = types or {}
    split_by, _, split_column = split.partition(":")
    files = {TRAIN: path, VALIDATION: validation, TEST: test}
    given = {part: file for part, file in files.items() if file is not None}
    rows = _read_files(types, given, target, ignore)
    if target is None:
        names = quote_names(rows.names)
        raise DataError(f"{path}: name the column to predict (--target), one of {names}")
    for name in (target, *ignore, *types, *([split_column] if split_column else [])):
        _require_known(name, rows.names, path, rows.hint)
    if target in ignore:
        raise DataError(f"{path}: column {target!r} is the target, it cannot be ignored")
    wanted = rows.parse(target)
    if wanted.missing:
        rows.drop_unlabeled(target, wanted)
        wanted = rows.parse(target)
    if task is None and types.get(target) in ("number", "category"):
        task = "regression" if types[target] == "number" else "classification"
    targets, labels = _targets(rows, target, wanted, task)
    grouped = split_column if split_by == "group" else None
    columns = _useful_columns(rows, target, targets if labels else None, ignore, grouped)
    if not columns:
        problem = f"{path}: no column to learn from besides the target {target!r}"
        raise DataError("\n".join([problem, *rows.notes]))
    return Table(
        path=path,
        columns=columns,
        target=target,
        targets=targets,
        label_names=labels,
        sha256=rows.sha256,
        parts=np.array(rows.parts, dtype=np.int64),
        hashes=np.array([*map(hash, zip(*rows.texts.values(), strict=True))], dtype=np.int64),
        notes=tuple(rows.notes),
        split_by=split_by if split_column else "",
        split_values=_split_values(rows, split_by, split_column),
    )


def as_csv(data: bytes, path: Path, notes: list[str]) -> bytes:
    """Convert a Parquet file, but for columns of lists, which are noted; return CSV as it is."""
    if not data.startswith(_PARQUET):
        return data
    try:
        import pyarrow as pa
        from pyarrow import csv, parquet
    except ModuleNotFoundError as error:
        raise DataError(f"{path} needs pyarrow: pip install 'rockstartf[parquet]'") from error
    converted = io.BytesIO()
    try:
        table = parquet.read_table(pa.BufferReader(data))
        nested = [each.name for each in table.schema if pa.types.is_nested(each.type)]
        csv.write_csv(table.drop_columns(nested), converted)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from error
    if nested:
        notes.append(f"columns of lists or records are left out: {quote_names(nested)}")
    return converted.getvalue()


def fit_columns(table: Table, places: NDArray[np.int64]) -> tuple[tables.Column, ...]:
    """Determine how the columns are encoded, from the training rows, int64 [n], alone."""
    return tuple(_fit_column(name, column, places) for name, column in table.columns.items())


def _fit_column(name: str, column: TableColumn, places: NDArray[np.int64]) -> tables.Column:
    common: dict[str, Any] = {"name": name}
    if not isinstance(column.values, np.ndarray):
        some = [column.values[place] for place in places]
        counts = Counter(value for value in some if value is not None)
        counts = counts or Counter(value for value in column.values if value is not None)
        # Ties are broken alphabetically.
        kept = sorted(counts, key=lambda text: (-counts[text], text))[:_MAX_CATEGORIES]
        categories, other = tuple(sorted(kept)), len(counts) > len(kept)
        shares = () if other else tuple(counts[text] / counts.total() for text in categories)
        common |= {"fill": kept[0], "indicator": None in some}
        return tables.CategoricalColumn(categories=categories, other=other, shares=shares, **common)
    values = column.values[places]
    missing = np.isnan(values)
    fill = 0.0 if missing.all() else float(np.median(values[~missing]))
    values = np.where(missing, fill, values)
    mean, std = float(values.mean()), float(values.std())
    # A column may be constant in the training rows only.
    scale = std if std > 1e-12 * abs(mean) else 1.0
    common |= {"mean": mean, "scale": scale, "fill": fill, "indicator": bool(missing.any())}
    if column.type == "number":
        common |= {"decimal": column.decimal, "missing": column.markers}
        common |= {"unit": column.unit, "quantity": column.quantity}
        common |= {"ranges": bool(column.ranges)}
        return tables.NumericColumn(**common)
    days = column.values[~np.isnan(column.values)]
    time = column.format == TIME or bool((days != np.floor(days)).any())
    return tables.DateColumn(format=column.format, time=time, **common)


@dataclass
class _Rows:
    """The rows of all files as texts, and notes about them."""

    types: Mapping[str, ColumnType]  # of columns with ambiguous values
    files: dict[int, Path]  # by part
    names: list[str] = field(default_factory=list)
    decimal: str | None = None  # the decimal sign that the training file shows
    texts: dict[str, list[str]] = field(default_factory=dict)  # by column
    # Where each row ends: a line of the training file, or "3 of test.csv".
    lines: list[int | str] = field(default_factory=list)
    parts: list[int] = field(default_factory=list)
    sha256: str = ""
    notes: list[str] = field(default_factory=list)
    hint: str = ""  # about the encoding of the training file

    def error(self, name: str, place: int, hint: str) -> DataError:
        text = self.texts[name][place][:40]
        return DataError(
            f"{self.files[TRAIN]}: column {name!r} has {text!r} in line {self.lines[place]}; {hint}"
        )

    def parse(self, name: str) -> TableColumn:
        """Parse a column as its given type, or detect its type."""
        texts, wanted, column = self.texts[name], self.types.get(name), None
        if wanted is None and _are_numbered_dates(name, texts):
            column = _dates(texts)
        if column is None and wanted in ("number", None):
            column = self._numbers(name, forced=wanted == "number")
        if column is None and wanted in ("date", None):
            column = _dates(texts)
        if column is not None:
            return column
        if wanted in ("category", None):
            return TableColumn("category", texts, _categories(texts))
        hint = (
            "dates must be written in one way, such as 2024-12-31, 31.12.2024 or 12/31/2024, and "
            "times as 21:30"
        )
        wrong = _present(texts)
        if wanted == "number":
            hint = f"it has too many such texts for --type {name}=number"
            present = _present(texts, table_cells.MISSING_NUMBERS)
            wrong = [text for text in present if parse_number(text) is None]
        raise self.error(name, texts.index(wrong[0]) if wrong else 0, hint)

    def _numbers(self, name: str, forced: bool) -> TableColumn | None:
        """Parse a column of numbers; None if it is none."""
        texts = self.texts[name]
        present = _present(texts, table_cells.MISSING_NUMBERS)
        if not forced and (not present or _are_codes(present)):
            return None
        quantity = cast("tables.Quantity", table_cells.quantity_of([*dict.fromkeys(present)]))
        if quantity == "duration" and not forced and _dates(texts) is not None:
            return None
        units = [] if quantity else table_cells.units_of(present)
        unit = units[0] if len(units) == 1 else ""
        bare = {text: text.removesuffix(unit).rstrip() for text in dict.fromkeys(present)}
        sign = table_cells.decimal_sign(bare.values()) or self.decimal
        decimal: tables.DecimalSign = "," if sign == "," else "."
        numbers = {text: table_cells.parse_quantity(bare[text], quantity, decimal) for text in bare}
        others = [text for text, number in numbers.items() if number is None]
        share = 1 - sum(map({*others}.__contains__, present)) / max(1, len(present))
        numbers |= {text: table_cells.parse_range(bare[text], quantity, decimal) for text in others}
        ranges = tuple(text for text in others if numbers[text] is not None)
        markers = tuple(sorted({*others} - {*ranges}))
        tolerated = _markers_at_most(share, forced=forced)
        # Where most are numbers, and many different ones, a few other texts are no categories.
        several = len(bare) - len(others) > _NAMES_FROM
        least = 0.5 if several else _NUMBERS_AT_LEAST
        too_few = not (share or ranges) if forced else share < least
        if others and (len(markers) > tolerated or too_few):
            return None
        values = np.array([*map(numbers.get, texts)], dtype=np.float64)
        # Programs write it for a division by zero.
        infinite = np.isinf(values)
        markers += tuple(map(table_cells.number_text, np.unique(values[infinite]).tolist()))
        values[infinite] = np.nan
        too_large = np.flatnonzero(np.abs(values) > _LARGEST)
        if len(too_large):
            raise self.error(name, int(too_large[0]), "numbers must be below 3.4e38")
        return TableColumn("number", texts, values, decimal, markers, ranges, unit, quantity)

    def drop_unlabeled(self, target: str, column: TableColumn) -> None:
        """Leave out the rows without a target; each file must have one with a target."""
        absent = np.array([value is None or value != value for value in column.values])
        if absent.all():
            path = self.files[TRAIN]
            raise DataError(f"{path}: column {target!r} has no values to learn from")
        self.notes.append(
            f"rows without a value in {target!r} are left out: {int(absent.sum())} of "
            f"{len(absent)}, the first in line {self.lines[int(absent.argmax())]}"
        )
        kept, before = (~absent).tolist(), set(self.parts)
        self.texts = {name: [*compress(texts, kept)] for name, texts in self.texts.items()}
        self.lines, self.parts = [*compress(self.lines, kept)], [*compress(self.parts, kept)]
        for part in sorted(before - set(self.parts)):
            raise DataError(f"{self.files[part]}: column {target!r} has no values; {_UNLABELED}")


def _read_files(
    types: Mapping[str, ColumnType],
    files: dict[int, Path],
    target: str | None,
    ignore: Sequence[str],
) -> _Rows:
    """Read the training file, then files for validation and testing with the same columns."""
    rows, digest, trained = _Rows(types, files), hashlib.sha256(), 0
    for part, path in files.items():
        try:
            data = path.read_bytes()
            file = read_table(as_csv(data, path, rows.notes), str(path))
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
        except InvalidInputError as error:
            raise DataError(str(error)) from error
        lines = file.lines
        if not lines:
            raise DataError(f"{path}: expected rows below the header, got none")
        digest.update(data)
        hint = encoding_hint(file.encoding)
        for count, place in ((file.above, "above the header"), (file.below, "below the rows")):
            if count:
                rows.notes.append(f"{path.name}: lines {place} are left out: {count}")
        if file.repeated:
            rows.notes.append(
                f"{path.name}: lines that repeat the header are left out: {len(file.repeated)}, "
                f"the first is line {file.repeated[0]}"
            )
        columns = zip(file.names, zip(*file.rows, strict=True), strict=True)
        found = {name: [text.strip() for text in texts] for name, texts in columns}
        rows.parts += [part] * len(lines)
        if part == TRAIN:
            rows.names, rows.decimal, rows.hint = file.names, file.decimal, hint
            rows.texts, rows.lines, trained = found, [*lines], len(lines)
            rows.notes += [hint] if hint else []
            # Whole numbers may be names, such as years and places of pixels.
            if odd := [name for name in file.names if (parse_number(name) or 0) % 1 > 0]:
                rows.notes.append(
                    f"the first line must have the names of the columns, but has {odd[0]!r}: if it "
                    "is a row, write the names above it"
                )
            if file.renamed:
                rows.notes.append(
                    "several columns have the same name in the header: all but the first are "
                    f"called {quote_names(file.renamed)}"
                )
            continue
        rows.notes += [f"{path.name}: {hint}"] if hint else []
        if target in rows.texts and target not in found:
            raise DataError(
                f"{path} has no column {target!r}, it has {quote_names(file.names)}; {_UNLABELED}"
                f"{hint and '; '}{hint}"
            )
        for name, texts in rows.texts.items():
            if name not in ignore:
                _require_known(name, file.names, path, hint)
            own, others = texts[:trained], found.get(name, [""] * len(lines))
            signs = [
                table_cells.decimal_sign(each) or sign
                for each, sign in ((own, rows.decimal), (others, file.decimal))
            ]
            if None not in signs and signs[0] != signs[1]:
                others = [_with_other_decimal(text, signs[1]) for text in others]
            texts += _spelled(own, others)
        rows.lines += [f"{line} of {path.name}" for line in lines]
    rows.sha256 = digest.hexdigest()
    return rows


def _with_other_decimal(text: str, decimal: str | None) -> str:
    """Swap comma and point in a number with this decimal sign; other texts stay as they are."""
    is_number = parse_number(text, decimal or ".") is not None
    return text.translate({44: ".", 46: ","}) if is_number else text


def _spelled(trained: list[str], texts: list[str]) -> list[str]:
    """Spell booleans of another file as the training file does: both would be read so later."""
    names = {*_present(trained)}
    if not 0 < len(names) <= _MAX_CATEGORIES:
        return texts
    column = tables.CategoricalColumn(name="", categories=tuple(sorted(names)))
    spelling = {text: column.parse(text, "") or text for text in set(texts)}
    return [spelling[text] for text in texts]


def _require_known(name: str, names: Sequence[str], path: Path, encoding: str) -> None:
    """Require a column; the hint about the encoding is for names with other letters."""
    if name not in names:
        folded = {text.casefold(): text for text in names}
        close = difflib.get_close_matches(name.casefold(), folded, n=1)
        hint = f"; did you mean {folded[close[0]]!r}?" if close else ""
        numbers = any(parse_number(text) is not None for text in names)
        # The first column may be an index without a name.
        if not close and (numbers or any(text.startswith("Unnamed: ") for text in names[1:])):
            hint = "; the first line must have the names of the columns"
        if encoding:
            hint += f"; {encoding}"
        raise DataError(f"{path} has no column {name!r}; it has {quote_names(names)}{hint}")


def _present(texts: Sequence[str], missing: frozenset[str] = MISSING) -> list[str]:
    """Leave out the texts that mean "missing"."""
    absent = {text for text in set(texts) if text.lower() in missing}
    return [text for text in texts if text not in absent]


def _are_codes(texts: list[str]) -> bool:
    """Check for codes of the same length, some with leading zeros, such as 01069."""
    alike = all(len(text) == len(texts[0]) for text in texts)
    return alike and any(map(_CODE.fullmatch, texts))


def _are_numbered_dates(name: str, texts: list[str]) -> bool:
    """Check for dates such as 20240131, or, with such a name, for Unix times since 2001."""
    form = _UNIX_DIGITS if _TIME_NAME.search(name) else _DATE_DIGITS
    # Most columns have none, which the first text shows.
    if not form.fullmatch(next((text for text in texts if text.lower() not in MISSING), "")):
        return False
    different = {*_present(texts)}
    return len(different) > 2 and all(map(form.fullmatch, different))


def _categories(texts: list[str]) -> list[str | None]:
    """Spell each category in its most frequent way; None if missing."""
    counts = Counter(_present(texts))
    keys: dict[str, object] = {text: table_cells.fold_spelling(text) for text in counts}
    truths: dict[str, object] = {text: tables.TRUTHS.get(text.lower()) for text in counts}
    # Single letters and digits alone, or among other texts, may be codes.
    wordy = {truths[text] for text in counts if len(text) > 1} >= {True, False}
    if wordy and None not in truths.values():
        keys = truths
    names: dict[object, str] = {}
    for text in sorted(counts, key=lambda text: (-counts[text], text)):
        names.setdefault(keys[text], text)
    return [names[keys[text]] if text in keys else None for text in texts]


def _dates(texts: list[str]) -> TableColumn | None:
    """Parse a column of dates or times; None if it is none."""
    present = sorted({*_present(texts)})
    if not present:
        return None
    # As when serving, some may be in ISO 8601.
    iso = {text: day for text in present if (day := parse_date(text, ISO)) is not None}
    others = [text for text in present if text not in iso]
    for form in (TIME, *table_cells.DATE_FORMATS) if others else (ISO,):
        if others and parse_date(others[0], form) is None:
            continue
        days = {text: parse_date(text, form) for text in others} | iso
        if None not in days.values() and not (form == TIME and iso):
            values = np.array([days.get(text) for text in texts], dtype=np.float64)
            return TableColumn("date", texts, values, format=form)
    return None


def _useful_columns(
    rows: _Rows,
    target: str,
    labels: NDArray[Any] | None,
    ignore: Sequence[str],
    grouped: str | None,
) -> dict[str, TableColumn]:
    """Choose the columns to learn from, and note why others are left out.

    `labels` are those of the rows, None for a regression; `grouped` is the column of the groups.
    """
    columns: dict[str, TableColumn] = {}
    for name in rows.names:
        if name == target or name in ignore:
            continue
        if name == grouped:
            rows.notes.append(f"column {name!r} defines the groups, so it is not an input")
            continue
        column = rows.parse(name)
        if name not in rows.types:
            column = _without_sentinels(column)
        reason = _useless(name, column, explicit=name in rows.types)
        if reason:
            rows.notes.append(f"column {name!r} is left out: {reason}")
            continue
        rows.notes += _remarks(name, column, explicit=name in rows.types)
        if labels is not None and (told := _rows_told(column, labels)):
            rows.notes.append(
                f"column {name!r} alone predicts {target!r} in {told} of {len(labels)} rows: if it "
                f"is not known when you predict, leave it out with --ignore {shlex.quote(name)}"
            )
        columns[name] = column
    counting = [name for name, column in columns.items() if _counts_rows(column)]
    if counting and len(columns) > 1:
        rows.notes.append(
            f"column {counting[0]!r} numbers the rows: if it means nothing else, leave it out with "
            f"--ignore {shlex.quote(counting[0])}"
        )
    missing = [f"{name!r} {column.missing}" for name, column in columns.items() if column.missing]
    if missing:
        rows.notes.append(
            "missing values are filled with the median or the most frequent value, and marked: "
            f"{name_first(missing)}"
        )
    return columns


def _without_sentinels(column: TableColumn) -> TableColumn:
    """Count numbers such as -999 or 9999.9 as missing if the others are far away."""
    if (values := column.numbers) is None:
        return column
    numbers, counts = np.unique(values[~np.isnan(values)], return_counts=True)
    regular = [
        number
        for number, count in zip(numbers.tolist(), counts, strict=True)
        if count < _SENTINEL_ROWS or not _SENTINEL.fullmatch(table_cells.number_text(number))
    ]
    inside = (numbers >= min(regular, default=0)) & (numbers <= max(regular, default=0))
    others = numbers[inside]
    if len(others) < _SENTINEL_ROWS:
        return column
    for number in numbers[~inside]:
        far = np.abs(others - number).min() > _SENTINEL_DISTANCE * np.ptp(others)
        if far or number < 0 <= others[0]:
            values = np.where(values == number, np.nan, values)
            markers = (*column.markers, table_cells.number_text(float(number)))
            column = replace(column, values=values, markers=markers)
    return column


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
        if odd := _odd(name, column):
            return f"{odd}; {keep}"
        example = next(text for text in column.values if text is not None)
        if Path(example).suffix.lower() in IMAGE_SUFFIXES:
            return (
                f"it names files, such as {example[:40]!r}; docs/training.md, Image folders, shows "
                "how to sort images by a table of their labels"
            )
        return (
            f"it looks like an ID, a name or free text, with {column.different} different values "
            f"in {rows} rows, such as {example[:40]!r}; {keep}"
        )
    return ""


def _markers_at_most(share: float, *, forced: bool) -> int:
    """The most different texts that may count as missing, by the share of numbers.

    More are tolerated in a column that a user forces to be numbers.
    """
    if forced:
        return 1000 if share >= _NUMBERS_AT_LEAST else _NAMES_FROM
    return 100 if share >= _NEARLY_ALL else _MARKERS_AT_MOST


def _odd(name: str, column: TableColumn) -> str:
    """Explain why a column is categories, if most of its many different values have numbers."""
    if column.different <= _NAMES_FROM:
        return ""
    texts = [text for text in column.values if isinstance(text, str)]
    units = table_cells.units_of(texts)
    if 0 < len(units) <= _MARKERS_AT_MOST:
        return f"its numbers have the units {quote_names(units)}, use one of them"
    odd = [text for text in texts if parse_number(text) is None]
    if not 0 < 2 * len(odd) < len(texts):
        return ""
    advice = "write those as numbers, or leave them empty"
    if len(set(odd)) <= _markers_at_most(1 - len(odd) / len(texts), forced=True):
        advice += f"; to count them as missing, give --type {shlex.quote(f'{name}=number')}"
    return (
        f"{len(odd)} of its {len(texts)} values are no numbers, such as {odd[0][:40]!r}: {advice}"
    )


def _remarks(name: str, column: TableColumn, explicit: bool) -> list[str]:
    """List notes about a column that is kept."""
    notes = _units(name, column)
    if column.markers:
        numbers = any(map(_SENTINEL.fullmatch, column.markers))
        keep = f"; if it is a number, give --type {shlex.quote(f'{name}=number')}" * numbers
        notes.append(f"column {name!r}: {quote_names(column.markers)} counts as missing{keep}")
    if column.type == "category" and column.different > _MAX_CATEGORIES:
        notes.append(
            f"column {name!r} has {column.different} categories: the {_MAX_CATEGORIES} most "
            'frequent ones are kept, the rest is "other"'
        )
    if column.type == "category" and not explicit and (odd := _odd(name, column)):
        notes.append(f"column {name!r} is read as categories: {odd}")
    notes += [f"column {name!r}: {merged}" for merged in _merged(column)]
    if column.type == "category" and not explicit and _are_codes(column.texts):
        notes.append(
            f"column {name!r} has leading zeros, so its values are categories; for numbers, give "
            f"--type {name}=number"
        )
    if column.type == "date" and (column.format in table_cells.UNIX or column.format == "%Y%m%d"):
        days = np.nanmax(np.asarray(column.values, np.float64))
        text = table_cells.date_text(days, column.format)
        kept = f"; for numbers, give --type {shlex.quote(f'{name}=number')}"
        notes.append(f"column {name!r} has dates: {text!r} is {table_cells.date_text(days)}{kept}")
    day_first = column.format.replace("%m/%d", "%d/%m")
    if day_first != column.format and all(
        parse_date(text, day_first) is not None for text in _present(column.texts)
    ):
        notes.append(f"column {name!r} is read as month/day/year")
    return notes


def _units(name: str, column: TableColumn) -> list[str]:
    """Say how ranges and numbers with units are read."""
    notes = []
    if column.ranges:
        text = max(column.ranges, key=len)
        number = cast("NDArray[np.float64]", column.values)[column.texts.index(text)]
        notes.append(f"column {name!r} has ranges or bounds: {text!r} is {number:.10g}")
    if column.unit:
        return [*notes, f"column {name!r} has numbers with the unit {column.unit!r}"]
    if not column.quantity:
        return notes
    units = table_cells.QUANTITIES[column.quantity]
    base = next((unit for unit, factor in units.items() if factor == 1), "")
    read = dict(zip(column.texts, np.asarray(column.values).tolist(), strict=True))
    examples = {text for text in read if read[text] == read[text] and parse_number(text) is None}
    if not (examples := examples - {*column.ranges}):
        return notes
    text = max(sorted(examples), key=len)
    note = f"column {name!r} has several units: {text!r} is {read[text]:.10g} {base}".rstrip()
    return [*notes, note]


def _merged(column: TableColumn) -> list[str]:
    """Note the spellings that are one value, if there are any."""
    spellings: dict[str, set[str]] = defaultdict(set)
    if not isinstance(column.values, np.ndarray):
        for text, name in zip(column.texts, column.values, strict=True):
            if name not in (None, text):
                spellings[str(name)].add(text)
    same = [" = ".join(map(repr, [*sorted(spellings[name]), name])) for name in sorted(spellings)]
    return [f"spellings of one value: {name_first(same, _MARKERS_AT_MOST)}"] if same else []


def _counts_rows(column: TableColumn) -> bool:
    """Check whether the values are 0, 1, 2, … or 1, 2, 3, …, in more than a few rows."""
    values = column.numbers
    if values is None or len(values) <= _NAMES_FROM:
        return False
    return values[0] in (0, 1) and bool((np.diff(values) == 1).all())


def _rows_told(column: TableColumn, labels: NDArray[Any]) -> int:
    """Count the rows whose label follows from a column; 0 if it does not nearly determine labels.

    It may follow from the value, or from whether there is the most frequent one, or none.
    """
    cells = column.values.tolist() if isinstance(column.values, np.ndarray) else column.values
    values = [cell if cell == cell else None for cell in cells]  # NaN is missing
    [(frequent, _)] = Counter(values).most_common(1)
    wrong = len(labels) - int(np.bincount(labels).max())  # always guessing the most frequent label
    for keys in (values, [value == frequent for value in values]):
        best: dict[Any, int] = {}
        for (key, _), count in Counter(zip(keys, labels.tolist(), strict=True)).items():
            best[key] = max(count, best.get(key, 0))
        told = sum(best.values())
        if _SEVERAL * len(best) + _FEW_WRONG * (len(labels) - told) <= wrong:
            return told
    return 0


def _targets(
    rows: _Rows, target: str, column: TableColumn, task: Task | None
) -> tuple[Targets, tuple[str, ...]]:
    """Return labels and their names, or the values of a regression without names."""
    path, texts, values = rows.files[TRAIN], column.texts, column.values
    if column.different == 1:
        raise DataError(
            f"{path}: column {target!r} has the same value in all rows ({texts[0]!r}); there is "
            "nothing to predict"
        )
    numbers = column.numbers
    if task is None:
        task = _detect_task(rows, target, numbers, column.different)
    if task == "regression":
        if numbers is None:
            wrong = (place for place, text in enumerate(texts) if parse_number(text) is None)
            raise rows.error(target, next(wrong, 0), "a regression needs numbers")
        # Numbers that are so large, and so close to each other, that float32 rounds them.
        step, spread = float(np.spacing(np.float32(np.abs(numbers).max()))), float(numbers.std())
        if spread < 10 * step:
            middle = float(np.median(numbers))
            raise DataError(
                f"{path}: column {target!r} is about {middle:.10g} and varies by only "
                f"{spread:.3g}; models answer in 32 bits, in steps of {step:.3g} there; subtract "
                f"{middle:.10g} first"
            )
        rows.notes += _units(target, column)
        return numbers.astype(np.float32), ()
    if column.different > _NAMES_FROM and column.different > len(texts) / 2:
        raise DataError(
            f"{path}: column {target!r} has {column.different} different values in {len(texts)} "
            f"rows, such as {texts[0][:40]!r}: too many for classes"
        )
    if numbers is None:
        rows.notes += [f"target {target!r}: {merged}" for merged in _merged(column)]
        # Dates are classes as they are written.
        names = texts if isinstance(values, np.ndarray) else [str(name) for name in values]
        ordered, labels = np.unique(names, return_inverse=True)
        return labels.astype(np.int64), tuple(ordered.tolist())
    # 1 and 1.0 are the same class, which gets the shorter name.
    labels = np.unique(numbers, return_inverse=True)[1].astype(np.int64)
    pairs = {*zip(labels.tolist(), texts, strict=True)}
    shortest = dict(sorted(pairs, key=lambda pair: (len(pair[1]), pair[1]), reverse=True))
    return labels, tuple(shortest[label] for label in sorted(shortest))


def _detect_task(rows: _Rows, target: str, numbers: NDArray[np.float64] | None, count: int) -> Task:
    """Detect the task by the target's values, of which `count` are distinct."""
    if numbers is None:
        return "classification"
    few = count <= _MAX_NUMBERED_CLASSES
    # Few distinct whole numbers, each of them several times, are classes.
    several = count == 2 or len(numbers) >= 3 * count
    if few and several and (numbers == np.floor(numbers)).all():
        rows.notes.append(
            f"{target!r} has {count} different whole numbers, so each is a class; to predict "
            "a number, give --task regression"
        )
        return "classification"
    if few:
        rows.notes.append(
            f"{target!r} is a number, so this is a regression; to predict its {count} values as "
            "classes, give --task classification"
        )
    return "regression"


def _split_values(rows: _Rows, split_by: str, column: str) -> NDArray[Any]:
    """Return numbers of groups, or comparable times, by which rows are split."""
    if split_by == "group":
        return np.unique(rows.texts[column], return_inverse=True)[1]
    if split_by != "time":
        return np.empty(0)
    times = rows.parse(column).values
    if not isinstance(times, np.ndarray):
        raise rows.error(column, 0, "a split by time needs dates or numbers")
    empty = np.flatnonzero(np.isnan(times))
    if len(empty):
        line = rows.lines[int(empty[0])]
        raise DataError(
            f"{rows.files[TRAIN]}: column {column!r} has no value in line {line}; a split by time "
            "needs one in each row"
        )
    return times
