"""Rows of tables to the tensor that a model was trained on.

Training and serving run this one module, driven by the columns that a contract lists. Each column
becomes one or more values of the tensor, and may bring an indicator, 1 where the value was missing.
A missing value is imputed with what training chose, and a category that training did not see counts
as "other". `strict` rejects both instead, and all columns that the model does not take.
"""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from rockstar_contract.errors import InvalidInputError
from rockstar_contract.table_cells import (
    ISO,
    MISSING,
    MISSING_NUMBERS,
    date_text,
    parse_date,
    parse_number,
)

# Of values in the tensor, so that no cast overflows.
_LARGEST = float(np.finfo(np.float32).max)
# Of a number as a category, in characters.
_LONGEST_NUMBER = 40
# How many names an error lists.
_LISTED = 12
_BOOLEANS = {
    True: ("true", "yes", "1", "t", "y", "on", "1.0", "wahr", "ja", "vrai", "oui"),
    False: ("false", "no", "0", "f", "n", "off", "0.0", "falsch", "nein", "faux", "non"),
}
# Values of one column, parsed: numbers with NaN for what is missing, or categories with None.
Values = NDArray[np.float64] | Sequence[float] | Sequence[str | None]
Row = Mapping[str, Any]
DecimalSign = Literal[".", ","]


class TextRow(dict[str, str]):
    """A row of a CSV file: numbers are still text.

    Attributes:
        decimal: the decimal sign that the file shows, "." or ","; None where it shows none.
    """

    decimal: str | None = None


class Adjustments(msgspec.Struct, omit_defaults=True):
    """What was changed in a row to make it one that the model takes.

    Attributes:
        imputed: columns that had no value, with the value that was used.
        other: columns with a category that training did not see, with that category.
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
    """What all columns share.

    Attributes:
        name: of the column.
        indicator: whether the last value of the tensor says that the value was missing.
    """

    name: Annotated[str, msgspec.Meta(min_length=1)]
    indicator: bool = False

    def _with_indicator(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return (*names, f"{self.name} is missing") if self.indicator else names

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
        fill: in place of a missing value; None makes it an error, as in contracts of models that
            were not trained here, or by an earlier release.
        decimal: the decimal sign in texts that fit both.
        missing: texts that mean "missing", besides the usual ones.
    """

    mean: float
    scale: Annotated[float, msgspec.Meta(gt=0)]
    fill: float | None = None
    decimal: DecimalSign = "."
    missing: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """How many values of the tensor it takes."""
        return 1 + self.indicator

    @property
    def features(self) -> tuple[str, ...]:
        """A name for each value of the tensor."""
        return self._with_indicator((self.name,))

    def encode(self, values: Values) -> NDArray[np.float32]:
        """Numbers, NaN for missing ones, [n] to float32 [n, width]."""
        numbers = np.asarray(values, dtype=np.float64)
        missing = np.isnan(numbers)
        fill = math.nan if self.fill is None else self.fill
        # Standardised in 64 bits: large numbers that differ by little stay apart.
        standard = (np.where(missing, fill, numbers) - self.mean) / self.scale
        return self._block([standard[:, np.newaxis]], missing)

    def parse(self, value: Any, decimal: str | None, field: str) -> float:
        """The number that a cell holds; NaN where it holds none.

        Raises:
            InvalidInputError: the cell holds something else.
        """
        if isinstance(value, str):
            text = value.strip()
            if text.lower() in MISSING_NUMBERS or text in self.missing:
                return math.nan
            parsed = parse_number(text, decimal or self.decimal)
            if parsed is None:
                raise InvalidInputError(field, expected="a number", got=_what(text))
            value = parsed
        if value is None or _is_nan(value):
            return math.nan
        return self._finite(value, field)

    def _finite(self, value: Any, field: str) -> float:
        if not isinstance(value, Real):
            raise InvalidInputError(field, expected="a number", got=_what(value))
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not abs(number - self.mean) / self.scale <= _LARGEST:
            got = _what(number) if not math.isfinite(number) else f"{number:g}, far too large"
            raise InvalidInputError(field, expected="a finite number", got=got)
        return number


class CategoricalColumn(ColumnBase, frozen=True, tag="categorical"):
    """One of some texts: a value of the tensor for each category, 1 for the one that is meant.

    Attributes:
        categories: those that have a value of their own.
        fill: the category in place of a missing value; None makes it an error, as for numbers.
        other: whether all other categories share one more value, because training grouped rare
            ones.
        shares: of the rows, how many training saw of each category; an unknown one is encoded as
            this mixture. Linear models spread their intercept over the categories, so all zeros
            would lose it. Empty in earlier contracts, and with `other`: unknown ones are all zeros.
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
            raise ValueError(
                f"shares of {self.name!r} must be one for each category, without other"
            )

    @property
    def width(self) -> int:
        """How many values of the tensor it takes."""
        return len(self.categories) + self.other + self.indicator

    @property
    def features(self) -> tuple[str, ...]:
        """A name for each value of the tensor."""
        names = (*self.categories, "other") if self.other else self.categories
        return self._with_indicator(tuple(f"{self.name} = {name}" for name in names))

    def encode(self, values: Values) -> NDArray[np.float32]:
        """Categories, None for missing ones, [n] to float32 [n, width]."""
        places: dict[Any, int] = {name: place for place, name in enumerate(self.categories)}
        width = len(self.categories) + self.other
        # One column more than are kept: where unknown categories go.
        other = len(self.categories)
        places[None] = width if self.fill is None else places[self.fill]
        block = np.zeros((len(values), width + 1), dtype=np.float32)
        block[np.arange(len(values)), [places.get(value, other) for value in values]] = 1
        if self.shares:
            block[block[:, other] == 1, :other] = self.shares
        missing = np.array([value is None for value in values], dtype=np.bool_)
        return self._block([block[:, :width]], missing)

    def parse(self, value: Any, field: str) -> str | None:
        """The category that a cell means, which may be one that is not known; None if missing.

        Raises:
            InvalidInputError: a list or an object.
        """
        if value is None or _is_nan(value):
            return None
        texts = _as_texts(value)
        if not texts:
            expected = f"one of {listed(self.categories)}"
            raise InvalidInputError(field, expected=expected, got=_what(value))
        known = [text for text in texts if text in self.categories]
        if known:
            return known[0]
        if isinstance(value, bool):
            # TRUE and True are as good as true.
            known = [name for name in self.categories if name.lower() in texts]
            return known[0] if known else texts[0]
        return None if texts[0].lower() in MISSING else texts[0]


class DateColumn(ColumnBase, frozen=True, tag="date"):
    """Dates: days, standardised, and the place in the year, month and week as a point on a circle.

    Attributes:
        format: how texts write dates, for `strptime`; "iso" is ISO 8601, which is always accepted.
        mean: of the days since 1970-01-01.
        scale: likewise.
        fill: days in place of a missing value.
        time: whether the time of day counts too.
    """

    format: str
    mean: float
    scale: Annotated[float, msgspec.Meta(gt=0)]
    fill: float
    time: bool = False

    @property
    def width(self) -> int:
        """How many values of the tensor it takes."""
        return len(self.features)

    @property
    def features(self) -> tuple[str, ...]:
        """A name for each value of the tensor."""
        circles = ("year", "month", "week", "day") if self.time else ("year", "month", "week")
        parts = [f"{self.name}: {circle}, {axis}" for circle in circles for axis in ("sin", "cos")]
        return self._with_indicator((self.name, *parts))

    def encode(self, values: Values) -> NDArray[np.float32]:
        """Days since 1970-01-01, NaN for missing ones, [n] to float32 [n, width]."""
        days = np.asarray(values, dtype=np.float64)
        missing = np.isnan(days)
        days = np.where(missing, self.fill, days)
        whole = np.floor(days).astype(np.int64)
        dates = whole.astype("datetime64[D]")
        in_year = (dates - dates.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64)
        in_month = (dates - dates.astype("datetime64[M]").astype("datetime64[D]")).astype(np.int64)
        circles = [(in_year, 366), (in_month, 31), ((whole + 3) % 7, 7)]
        if self.time:
            minutes = np.floor((days - whole) * 1440 + 1e-6).astype(np.int64)
            circles.append((minutes, 1440))
        points = [_circle(size)[np.clip(place, 0, size - 1)] for place, size in circles]
        standard = (days - self.mean) / self.scale
        return self._block([standard[:, np.newaxis], *points], missing)

    def parse(self, value: Any, field: str) -> float:
        """The date that a cell holds, as days since 1970-01-01; NaN where it holds none.

        Raises:
            InvalidInputError: the cell holds something else.
        """
        if value is None or _is_nan(value):
            return math.nan
        if isinstance(value, str):
            text = value.strip()
            if text.lower() in MISSING:
                return math.nan
            days = parse_date(text, self.format)
            days = parse_date(text, ISO) if days is None else days
            if days is not None and abs(days - self.mean) / self.scale <= _LARGEST:
                return days
        example = date_text(self.fill)
        wanted = "" if self.format == ISO else f" or {date_text(self.fill, self.format)}"
        raise InvalidInputError(
            field, expected=f"a date such as {example}{wanted}", got=_what(value)
        )


Column = NumericColumn | CategoricalColumn | DateColumn


def encode_row(
    row: Row,
    columns: Sequence[Column],
    field: str,
    *,
    strict: bool = False,
    adjusted: Adjustments | None = None,
) -> NDArray[np.float32]:
    """The tensor for one row.

    Args:
        row: values by column: numbers, texts, booleans, and None for what is missing.
        columns: in the order of the tensor.
        field: what errors call the row; a column is called "field.column".
        strict: whether missing values, unknown categories and other columns are errors.
        adjusted: gets what was imputed and ignored.

    Returns:
        float32 [sum of the columns' widths].

    Raises:
        InvalidInputError: a column has a value that it cannot have, or the row has none of the
            columns.
    """
    adjusted = Adjustments() if adjusted is None else adjusted
    names = {column.name for column in columns}
    unknown = [name for name in row if name not in names]
    if unknown and (strict or len(unknown) == len(row)):
        raise InvalidInputError(
            f"{field}.{unknown[0]}",
            expected=f"{'just ' if strict else ''}the columns {listed(list(names_of(columns)))}",
            got=f"an unknown column {unknown[0]!r}",
            hint="leave out what the model does not take, the target too"
            if strict
            else "none of the columns has a name that the model knows",
        )
    if not row and not strict:
        raise InvalidInputError(
            field, expected=f"the columns {listed(list(names_of(columns)))}", got="an empty row"
        )
    adjusted.ignored.extend(unknown)
    blocks = [
        column.encode([_value(row, column, f"{field}.{column.name}", strict, adjusted)])[0]
        for column in columns
    ]
    return np.concatenate(blocks)


def encode_columns(values: Mapping[str, Values], columns: Sequence[Column]) -> NDArray[np.float32]:
    """The tensors for many rows that are known to be right.

    Args:
        values: of each column by its name, parsed, all of one length n.
        columns: in the order of the tensor.

    Returns:
        float32 [n, sum of the columns' widths].
    """
    blocks = [column.encode(values[column.name]) for column in columns]
    return np.ascontiguousarray(np.concatenate(blocks, axis=1))


def names_of(columns: Sequence[Column]) -> tuple[str, ...]:
    """The names of columns, in their order."""
    return tuple(column.name for column in columns)


def listed(names: Sequence[str]) -> str:
    """Names for an error, not too many of them."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(map(repr, names[:_LISTED])) + more


def _value(row: Row, column: Column, field: str, strict: bool, adjusted: Adjustments) -> Any:
    """The parsed value of a column; what had to be adjusted is noted."""
    cell = row.get(column.name)
    decimal = row.decimal if isinstance(row, TextRow) else None
    if strict:
        return _strict(cell, column, field, isinstance(row, TextRow), decimal)
    if isinstance(column, CategoricalColumn):
        category = column.parse(cell, field)
        if category is None:
            adjusted.imputed[column.name] = _fill(column, cell, field)
        elif category not in column.categories:
            adjusted.other[column.name] = category
        return category
    if isinstance(column, DateColumn):
        days = column.parse(cell, field)
        if math.isnan(days):
            adjusted.imputed[column.name] = date_text(column.fill)
        return days
    number = column.parse(cell, decimal, field)
    if math.isnan(number):
        adjusted.imputed[column.name] = _fill(column, cell, field)
    return number


def _fill(column: NumericColumn | CategoricalColumn, cell: Any, field: str) -> float | str:
    """What takes the place of a missing value."""
    if column.fill is not None:
        return column.fill
    kinds = column.categories if isinstance(column, CategoricalColumn) else ()
    raise InvalidInputError(
        field,
        expected=f"one of {listed(kinds)}" if kinds else "a number",
        got=_what(cell),
        hint="the model does not say what to put in place of a missing value",
    )


def _strict(cell: Any, column: Column, field: str, is_text: bool, decimal: str | None) -> Any:
    """The value that a cell must hold, of the column's own type.

    Raises:
        InvalidInputError: it is missing, unknown or of another type.
    """
    if is_text and isinstance(cell, str):
        cell = cell.strip()
    if isinstance(column, CategoricalColumn):
        if isinstance(cell, str) and cell in column.categories:
            return cell
        raise InvalidInputError(
            field, expected=f"one of {listed(column.categories)}", got=_what(cell)
        )
    if isinstance(column, DateColumn):
        days = column.parse(cell, field)
        if math.isnan(days):
            raise InvalidInputError(field, expected="a date", got=_what(cell))
        return days
    number = math.nan
    if not isinstance(cell, (bool, str)) or (is_text and isinstance(cell, str)):
        number = column.parse(cell, decimal, field)
    if math.isnan(number):
        raise InvalidInputError(field, expected="a number", got=_what(cell))
    return number


def _as_texts(value: Any) -> tuple[str, ...]:
    """How a value may be written as a category, the likeliest first; none for lists and objects."""
    if isinstance(value, str):
        return (value.strip(),)
    if isinstance(value, bool):
        return _BOOLEANS[value]
    if isinstance(value, int) and abs(value) < 2**53:
        return (str(value), f"{value}.0")
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return (str(int(value)), f"{int(value)}.0")
    if isinstance(value, Real):
        return (str(value)[:_LONGEST_NUMBER],)
    return ()


def _circle(size: int) -> NDArray[np.float64]:
    """Sine and cosine of `size` places on a circle, [size, 2].

    A table, because NumPy's sine of one number may differ in the last bit from that of many.
    """
    angles = np.arange(size) * (2 * math.pi / size)
    return np.column_stack([np.sin(angles), np.cos(angles)])


def _is_nan(value: Any) -> bool:
    return isinstance(value, Real) and value != value


def _what(value: object) -> str:
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
