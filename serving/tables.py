"""Rows of tables to the tensor that a model was trained on.

Training and serving run this one module, driven by the columns that a contract lists. A numeric
column becomes one value, standardised; a categorical one a value for each category, 1 for the one
that is meant and 0 for the others. There is no value for "missing" and none for "something else":
a model has never seen such a row, so it is refused, with the name of the column.
"""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidInputError

# Of values in the tensor, so that no cast overflows.
_LARGEST = float(np.finfo(np.float32).max)
# How many names an error lists.
_LISTED = 12

Row = Mapping[str, Any]


class TextRow(dict[str, str]):
    """A row of a CSV file: numbers are still text."""


class ColumnBase(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind"
):
    """What all columns share."""

    name: Annotated[str, msgspec.Meta(min_length=1)]


class NumericColumn(ColumnBase, frozen=True, tag="numeric"):
    """Numbers: (value - mean) / scale, one value of the tensor."""

    mean: float
    scale: Annotated[float, msgspec.Meta(gt=0)]

    @property
    def width(self) -> int:
        """How many values of the tensor it takes."""
        return 1


class CategoricalColumn(ColumnBase, frozen=True, tag="categorical"):
    """One of some texts: as many values of the tensor as there are categories, one of them 1."""

    categories: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]

    def __post_init__(self) -> None:
        if len(set(self.categories)) != len(self.categories):
            raise ValueError(f"categories of {self.name!r} must be different")

    @property
    def width(self) -> int:
        """How many values of the tensor it takes."""
        return len(self.categories)


Column = NumericColumn | CategoricalColumn


def encode_row(row: Row, columns: Sequence[Column], field: str) -> NDArray[np.float32]:
    """The tensor for one row.

    Args:
        row: a value for every column: numbers and texts, or only texts in a TextRow.
        columns: in the order of the tensor.
        field: what errors call the row; a column is called "field.column".

    Returns:
        float32 [sum of the columns' widths].

    Raises:
        InvalidInputError: a column is missing, unknown, or has a value that it cannot have.
    """
    names = {column.name for column in columns}
    for name in row:
        if name not in names:
            raise InvalidInputError(
                f"{field}.{name}",
                expected=f"just the columns {listed([column.name for column in columns])}",
                got=f"an unknown column {name!r}",
                hint="leave out what the model does not take, the target too",
            )
    values = {column.name: [_checked(row, column, field)] for column in columns}
    tensor: NDArray[np.float32] = encode_columns(values, columns)[0]
    return tensor


def encode_columns(
    values: Mapping[str, Sequence[Any] | NDArray[Any]], columns: Sequence[Column]
) -> NDArray[np.float32]:
    """The tensors for many rows that are known to be right.

    Args:
        values: of each column by its name, all of one length n: finite numbers, or categories.
        columns: in the order of the tensor.

    Returns:
        float32 [n, sum of the columns' widths].
    """
    blocks = [_encoded(values[column.name], column) for column in columns]
    return np.ascontiguousarray(np.concatenate(blocks, axis=1))


def listed(names: Sequence[str]) -> str:
    """Names for an error, not too many of them."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(map(repr, names[:_LISTED])) + more


def _encoded(values: Sequence[Any] | NDArray[Any], column: Column) -> NDArray[np.float32]:
    if isinstance(column, NumericColumn):
        numbers = np.asarray(values, dtype=np.float64)
        # Standardised in 64 bits: large numbers that differ by little stay apart.
        return ((numbers - column.mean) / column.scale).astype(np.float32)[:, np.newaxis]
    places = {category: place for place, category in enumerate(column.categories)}
    block = np.zeros((len(values), column.width), dtype=np.float32)
    block[np.arange(len(values)), [places[value] for value in values]] = 1
    return block


def _checked(row: Row, column: Column, field: str) -> float | str:
    field = f"{field}.{column.name}"
    value = row.get(column.name)
    if isinstance(row, TextRow) and isinstance(value, str):
        value = value.strip()
    if isinstance(column, NumericColumn):
        if isinstance(row, TextRow) and isinstance(value, str):
            value = _parsed(value, field)
        return _number(value, column, field)
    if not isinstance(value, str) or value not in column.categories:
        raise InvalidInputError(
            field, expected=f"one of {listed(column.categories)}", got=_what(value)
        )
    return value


def _parsed(text: str, field: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError as error:
        raise InvalidInputError(field, expected="a number", got=_what(text)) from error


def _number(value: Any, column: NumericColumn, field: str) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise InvalidInputError(field, expected="a number", got=_what(value))
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    # Written so that NaN fails too.
    if not abs(number - column.mean) / column.scale <= _LARGEST:
        got = _what(number) if not math.isfinite(number) else f"{number:g}, far too large"
        raise InvalidInputError(field, expected="a finite number", got=got)
    return number


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
