"""Rows of tables to the tensor that a model was trained on.

Training and serving share this module, driven by the columns of a contract. Each column becomes one
or more values of the tensor, optionally with an indicator, which is 1 if the value was missing. A
missing value is imputed as training chose, and a category that training did not see counts as
"other". With `strict`, missing values, unseen categories and other columns are errors.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from numbers import Real
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from rockstar_contract.errors import InvalidInputError, quote_names
from rockstar_contract.table_cells import (
    ISO,
    MISSING,
    MISSING_NUMBERS,
    TIME,
    UNIX,
    date_text,
    fold_spelling,
    number_text,
    parse_date,
    parse_quantity,
    parse_range,
)

# Largest value in the tensor, so that no cast overflows.
_LARGEST = float(np.finfo(np.float32).max)
# Maximum length of a number as a category, in characters.
_LONGEST_NUMBER = 40
# Spellings of booleans in lower case, the likeliest first.
_BOOLEANS = {
    True: ("true", "yes", "1", "t", "y", "on", "1.0", "wahr", "ja", "vrai", "oui"),
    False: ("false", "no", "0", "f", "n", "off", "0.0", "falsch", "nein", "faux", "non"),
}
# Spellings in lower case to the boolean that they mean.
TRUTHS = {spelling: truth for truth in _BOOLEANS for spelling in _BOOLEANS[truth]}
# Parsed values of one column: numbers, NaN if missing, or categories, None if missing.
Values = NDArray[np.float64] | Sequence[float] | Sequence[str | None]
Row = Mapping[str, Any]
DecimalSign = Literal[".", ","]
Quantity = Literal["", "amount", "bytes", "duration", "length", "mass", "volume"]


class TextRow(dict[str, str]):
    """A row of a CSV file, with numbers still as text.

    Attributes:
        decimal: the decimal sign of the file, "." or ","; None if the file does not show it.
        hint: for errors about names, if the encoding of the file is a guess.
    """

    decimal: str | None = None
    hint: str = ""


class Adjustments(msgspec.Struct, omit_defaults=True):
    """Changes to a row that make it acceptable to the model, by column.

    Attributes:
        imputed: the value that replaced a missing one.
        other: the category that training did not see.
        ignored: columns that the model does not take.
    """

    imputed: dict[str, float | str] = {}
    other: dict[str, str] = {}
    ignored: list[str] = []

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.imputed or self.other or self.ignored)


class ColumnBase(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    kw_only=True,
    tag_field="kind",
):
    """Base of all columns; `indicator`: the last value of the tensor indicates a missing value."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    indicator: bool = False

    @property
    def width(self) -> int:
        """The number of values in the tensor."""
        return len(self.features)

    @property
    def features(self) -> tuple[str, ...]:
        """A name for each value in the tensor."""
        names = self._features()
        return (*names, f"{self.name} is missing") if self.indicator else names

    def _features(self) -> tuple[str, ...]:
        """The features without the indicator."""
        raise NotImplementedError

    def _block(
        self, parts: Sequence[NDArray[Any]], missing: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Parts, each [n, k], side by side with the indicator."""
        parts = [*parts, missing[:, np.newaxis]] if self.indicator else parts
        block = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        return block.astype(np.float32, copy=False)


class NumericColumn(ColumnBase, frozen=True, tag="numeric"):
    """Numbers: (value - mean) / scale.

    Attributes:
        fill: replaces missing values; if None, they are errors, as in contracts of imported models
            and of earlier releases.
        decimal: the decimal sign in ambiguous texts.
        missing: texts and numbers that mean "missing", besides the usual ones, such as -999.
        unit: may follow the numbers in texts, such as "kg".
        quantity: of numbers in texts with several units, such as "2h 50m"; one of QUANTITIES.
        ranges: whether texts may be ranges or bounds, see `parse_range`.
    """

    mean: float
    scale: Annotated[float, msgspec.Meta(gt=0)]
    fill: float | None = None
    decimal: DecimalSign = "."
    missing: tuple[str, ...] = ()
    unit: str = ""
    quantity: Quantity = ""
    ranges: bool = False

    def _features(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def _is_boolean(self) -> bool:
        """Whether training saw only 0 and 1: only then is the variance mean x (1 - mean)."""
        if self.mean in (0, 1):
            return self.scale == 1 and self.fill == self.mean
        return math.isclose(self.scale**2, self.mean * (1 - self.mean), rel_tol=1e-9)

    def encode(self, values: Values) -> NDArray[np.float32]:
        """Encode numbers, NaN if missing, [n] to float32 [n, width]."""
        numbers = np.asarray(values, dtype=np.float64)
        missing = np.isnan(numbers)
        fill = math.nan if self.fill is None else self.fill
        # Standardised in 64 bits, so that large numbers with small differences stay distinct.
        standard = (np.where(missing, fill, numbers) - self.mean) / self.scale
        return self._block([standard[:, np.newaxis]], missing)

    def parse(self, value: Any, field: str, decimal: str | None) -> float:
        """Parse a finite number, else raise InvalidInputError; NaN if it is missing."""
        if isinstance(value, str):
            text = value.strip()
            if text.lower() in MISSING_NUMBERS or text in self.missing:
                return math.nan
            bare = text.removesuffix(self.unit).rstrip()
            value = parse_quantity(bare, self.quantity, decimal or self.decimal)
            if value is None and self.ranges:
                value = parse_range(bare, self.quantity, decimal or self.decimal)
            if value is None and self._is_boolean:
                value = TRUTHS.get(text.lower())
            if value is None:
                if fold_spelling(text) in map(fold_spelling, self.missing):
                    return math.nan
                expected = f"a number or {self.quantity}" if self.quantity else "a number"
                raise InvalidInputError(field, expected=expected, got=_what(text))
        if value is None or _is_nan(value):
            return math.nan
        if not isinstance(value, Real):
            raise InvalidInputError(field, expected="a number", got=_what(value))
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if self.missing and number_text(number) in self.missing:
            return math.nan
        if not abs(number - self.mean) / self.scale <= _LARGEST:
            got = _what(number) if not math.isfinite(number) else f"{number:g}, far too large"
            raise InvalidInputError(field, expected="a finite number", got=got)
        return number


class CategoricalColumn(ColumnBase, frozen=True, tag="categorical"):
    """Categories: one-hot encoded texts.

    Attributes:
        categories: those with a value of their own in the tensor.
        fill: the category that replaces missing values; if None, they are errors, as for numbers.
        other: whether all other categories share one more value, because training grouped rare
            ones.
        shares: of each category in the training rows. An unknown category is encoded as this
            mixture: linear models spread their intercept over the categories, and zeros would lose
            it. Empty in earlier contracts and with `other`: unknown categories become zeros.
    """

    categories: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    fill: str | None = None
    other: bool = False
    shares: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.categories)) != len(self.categories):
            raise ValueError(f"categories of {self.name!r} must be different")
        if self.fill is not None and self.fill not in self.categories:
            raise ValueError(f"fill of {self.name!r} must be one of its categories")
        if self.shares and (len(self.shares) != len(self.categories) or self.other):
            raise ValueError(f"shares of {self.name!r} must be for each category, without other")

    def _features(self) -> tuple[str, ...]:
        names = (*self.categories, "other") if self.other else self.categories
        return tuple(f"{self.name} = {name}" for name in names)

    def encode(self, values: Values) -> NDArray[np.float32]:
        """Encode categories, None if missing, [n] to float32 [n, width]."""
        places: dict[Any, int] = {name: place for place, name in enumerate(self.categories)}
        width = len(self.categories) + self.other
        # The block has one column more than are kept, for unknown categories.
        other = len(self.categories)
        places[None] = width if self.fill is None else places[self.fill]
        block = np.zeros((len(values), width + 1), dtype=np.float32)
        block[np.arange(len(values)), [places.get(value, other) for value in values]] = 1
        if self.shares:
            block[block[:, other] == 1, :other] = self.shares
        missing = np.array([value is None for value in values], dtype=np.bool_)
        return self._block([block[:, :width]], missing)

    def parse(self, value: Any, field: str) -> str | None:
        """Parse a category, which may be unknown; None if it is missing."""
        if value is None or _is_nan(value):
            return None
        texts = _as_texts(value)
        if not texts:
            raise InvalidInputError(field, expected=_expected(self), got=_what(value))
        known = next((text for text in texts if text in self.categories), None)
        if known is None and (truth := TRUTHS.get(texts[0].lower())) is not None:
            known = self._spelling(truth, texts[0].lower(), strictly=not isinstance(value, bool))
        if known is not None:
            return known
        if texts[0].lower() in MISSING:
            return None
        return _spellings(self.categories).get(fold_spelling(texts[0])) or texts[0]

    def _spelling(self, truth: bool, text: str, *, strictly: bool) -> str | None:
        """The category that means a boolean; None if there is none.

        With `strictly`, the categories must look like booleans: y, n and f may be codes.
        """
        names = {name.lower(): name for name in reversed(self.categories)}
        if strictly:
            spelled = [name for name in names if name in TRUTHS]
            with_others = len(spelled) < len(names)
            if with_others and (len(spelled) < 2 or any(len(name) == 1 for name in spelled)):
                return None
            if len({TRUTHS[name] for name in spelled}) < len(spelled):
                # Two spellings of one boolean are different categories.
                return names.get(text)
        return next((names[each] for each in (text, *_BOOLEANS[truth]) if each in names), None)


class DateColumn(ColumnBase, frozen=True, tag="date"):
    """Dates: standardized days, and the place in the year, month and week as a point on a circle.

    Attributes:
        format: of texts, for `strptime`; "iso" is ISO 8601, which is always accepted; "time" is a
            time of day, whose date is not encoded; "quarter", "unix" and "unix milliseconds".
        mean: of the days since 1970-01-01; of times, of the fractions of the day.
        scale: likewise.
        fill: days that replace a missing value.
        time: whether the time of day is encoded, too.
    """

    format: str
    mean: float
    scale: Annotated[float, msgspec.Meta(gt=0)]
    fill: float
    time: bool = False

    def _features(self) -> tuple[str, ...]:
        circles = () if self.format == TIME else ("year", "month", "week")
        if self.time:
            circles = (*circles, "day")
        parts = [f"{self.name}: {circle}, {axis}" for circle in circles for axis in ("sin", "cos")]
        return (self.name, *parts)

    def encode(self, values: Values) -> NDArray[np.float32]:
        """Encode days since 1970-01-01, NaN if missing, [n] to float32 [n, width]."""
        days = np.asarray(values, dtype=np.float64)
        missing = np.isnan(days)
        days = np.where(missing, self.fill, days)
        whole = np.floor(days).astype(np.int64)
        circles = []
        if self.format != TIME:
            dates = whole.astype("datetime64[D]")
            year, month = (dates.astype(f"datetime64[{unit}]") for unit in "YM")
            in_year, in_month = ((dates - start).astype(np.int64) for start in (year, month))
            circles += [(in_year, 366), (in_month, 31), ((whole + 3) % 7, 7)]
        if self.time:
            minutes = np.floor((days - whole) * 1440 + 1e-6).astype(np.int64)
            circles.append((minutes, 1440))
        points = [_circle(size)[np.clip(place, 0, size - 1)] for place, size in circles]
        standard = (days - self.mean) / self.scale
        return self._block([standard[:, np.newaxis], *points], missing)

    @property
    def noun(self) -> str:
        """What the values are."""
        return "a time" if self.format == TIME else "a date"

    def text(self, days: float) -> str:
        """A value as ISO 8601."""
        return date_text(days, TIME if self.format == TIME else ISO)

    def parse(self, value: Any, field: str) -> float:
        """Parse a date to days since 1970-01-01, else raise InvalidInputError; NaN if missing."""
        if value is None or _is_nan(value):
            return math.nan
        if type(value) in (int, float) and (self.format in UNIX or self.format == "%Y%m%d"):
            value = number_text(value)
        if isinstance(value, str):
            text = value.strip()
            if text.lower() in MISSING:
                return math.nan
            days = parse_date(text, self.format)
            if days is None and self.format != TIME:
                days = parse_date(text, ISO)
            if days is not None and abs(days - self.mean) / self.scale <= _LARGEST:
                return days
        expected = f"{self.noun} such as {self.text(self.fill)}"
        if self.format not in (ISO, TIME):
            expected += f" or {date_text(self.fill, self.format)}"
        raise InvalidInputError(field, expected=expected, got=_what(value))


Column = NumericColumn | CategoricalColumn | DateColumn


def encode_row(
    row: Row,
    columns: Sequence[Column],
    field: str,
    *,
    strict: bool = False,
    adjusted: Adjustments | None = None,
) -> NDArray[np.float32]:
    """Encode one row of numbers, texts, booleans, and None if missing, by column.

    Args:
        row: values by column.
        columns: in the order of the tensor.
        field: name of the row in errors; a column is called "field.column".
        strict: whether missing values, unknown categories and other columns are errors.
        adjusted: records what was imputed and ignored.

    Returns:
        float32 [sum of the columns' widths].

    Raises:
        InvalidInputError: a value is not valid for its column, or the row has none of the columns.
    """
    adjusted = Adjustments() if adjusted is None else adjusted
    names = {column.name for column in columns}
    unknown = [name for name in row if name not in names]
    if unknown and (strict or len(unknown) == len(row)):
        hint = "none of the columns has a name that the model knows"
        if strict:
            hint = "leave out what the model does not take, the target too"
        if isinstance(row, TextRow) and row.hint:
            hint += f"; {row.hint}"
        raise InvalidInputError(
            f"{field}.{unknown[0]}",
            expected=f"{'just ' if strict else ''}the columns {quote_names(names_of(columns))}",
            got=f"an unknown column {unknown[0]!r}",
            hint=hint,
        )
    if not row and not strict:
        expected = f"the columns {quote_names(names_of(columns))}"
        raise InvalidInputError(field, expected=expected, got="an empty row")
    adjusted.ignored.extend(unknown)
    decimal = row.decimal if isinstance(row, TextRow) else None
    if decimal:
        signs: list[str] = [each.decimal for each in columns if isinstance(each, NumericColumn)]
        if 2 * signs.count(decimal) >= len(signs):
            decimal = None  # as in training: columns keep their own signs, which may differ
    blocks = [
        column.encode([_value(row, column, f"{field}.{column.name}", strict, decimal, adjusted)])[0]
        for column in columns
    ]
    return np.concatenate(blocks)


def encode_columns(values: Mapping[str, Values], columns: Sequence[Column]) -> NDArray[np.float32]:
    """Encode n rows of parsed values, by column name, to float32 [n, sum of the widths]."""
    blocks = [column.encode(values[column.name]) for column in columns]
    return np.ascontiguousarray(np.concatenate(blocks, axis=1))


def names_of(columns: Sequence[Column]) -> tuple[str, ...]:
    """The names of columns, in order."""
    return tuple(column.name for column in columns)


@lru_cache(maxsize=1000)
def _spellings(categories: tuple[str, ...]) -> dict[str, str | None]:
    """Categories by folded spelling, None if several share it; 15 times faster than a search."""
    names: dict[str, str | None] = {}
    for name in categories:
        key = fold_spelling(name)
        names[key] = None if key in names else name
    return names


def _value(
    row: Row, column: Column, field: str, strict: bool, decimal: str | None, adjusted: Adjustments
) -> Any:
    """Parse the value of a column and record its adjustments."""
    cell, is_text = row.get(column.name), isinstance(row, TextRow)
    if strict and is_text and isinstance(cell, str):
        cell = cell.strip()
    value: float | str | None
    if isinstance(column, CategoricalColumn):
        if strict:
            value = cell if isinstance(cell, str) and cell in column.categories else None
        else:
            value = column.parse(cell, field)
            if value is not None and value not in column.categories:
                adjusted.other[column.name] = value
    elif isinstance(column, DateColumn):
        value = column.parse(cell, field)
    elif strict and (isinstance(cell, bool) or (isinstance(cell, str) and not is_text)):
        value = None
    else:
        value = column.parse(cell, field, decimal)
    if value is not None and value == value:  # neither missing nor NaN
        return value
    if strict or column.fill is None:
        hint = "" if strict else "the model has no value for missing ones"
        raise InvalidInputError(field, expected=_expected(column), got=_what(cell), hint=hint)
    fill = column.text(column.fill) if isinstance(column, DateColumn) else column.fill
    adjusted.imputed[column.name] = fill
    return value


def _expected(column: Column) -> str:
    if isinstance(column, CategoricalColumn):
        return f"one of {quote_names(column.categories)}"
    return column.noun if isinstance(column, DateColumn) else "a number"


def _as_texts(value: Any) -> tuple[str, ...]:
    """Texts of a value as a category, the likeliest first; none for lists and objects."""
    if isinstance(value, str):
        return (value.strip(),)
    if isinstance(value, bool):
        return _BOOLEANS[value]
    if isinstance(value, (int, float)) and abs(value) < 2**53 and value == int(value):
        return (str(int(value)), f"{int(value)}.0")
    if isinstance(value, Real):
        return (str(value)[:_LONGEST_NUMBER],)
    return ()


def _circle(size: int) -> NDArray[np.float64]:
    """Sine and cosine of `size` places on a circle, [size, 2].

    A table, because NumPy's sine of one number may differ in the last bit from its sine of many.
    """
    angles = np.arange(size) * (2 * math.pi / size)
    return np.column_stack([np.sin(angles), np.cos(angles)])


def _is_nan(value: Any) -> bool:
    return isinstance(value, Real) and value != value


def _what(value: object) -> str:
    """Describe a received value in an error."""
    if value is None or value == "":
        return "nothing"
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, Real):
        return "NaN" if value != value else f"the number {value}"[:40]
    names: dict[type, str] = {dict: "an object", list: "a list"}
    return names.get(type(value), type(value).__name__)
