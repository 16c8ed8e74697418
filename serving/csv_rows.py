"""CSV, as bytes with a header row, to rows of text."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice

from serving.errors import InvalidInputError
from serving.tables import TextRow, listed

DELIMITERS = ",;\t|"


def read_table(
    data: bytes, field: str, most: int | None = None
) -> tuple[list[str], list[list[str]], list[int]]:
    """A CSV file: UTF-8, the first line names the columns; comma, semicolon, tab or bar between.

    Args:
        data: the whole file.
        field: what errors call it.
        most: rows to read; None is all.

    Returns:
        The names of the columns, the rows as texts, and the line that each row ends on. Empty
        lines are left out.

    Raises:
        InvalidInputError: not text, no header, names that are empty or there twice, or a row of
            another length than the header; it names the line.
    """
    header, *rows = _records(_text(data, field), field, most)
    names = [name.strip() for name in header[1]]
    require_names(names, field)
    for line, row in rows:
        if len(row) != len(names):
            raise InvalidInputError(
                field,
                expected=f"{len(names)} values in each row, as in the header",
                got=f"{len(row)} in line {line}",
                hint="a value with the delimiter in it goes between double quotes",
            )
    return names, [row for _, row in rows], [line for line, _ in rows]


def read_rows(data: bytes, field: str, most: int | None = None) -> list[TextRow]:
    """The rows of a CSV file, each by column name; one or more, and no more than `most`.

    Raises:
        InvalidInputError: as `read_table`, or no row but the header.
    """
    names, rows, _ = read_table(data, field, most)
    if not rows:
        raise InvalidInputError(field, expected="a header and one or more rows", got="no rows")
    return [TextRow(zip(names, row, strict=True)) for row in rows]


def write_rows(rows: Sequence[TextRow]) -> bytes:
    """Rows as a CSV file that `read_rows` reads; a header of all their columns."""
    names = _all_names(rows)
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, names, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def _all_names(rows: Iterable[TextRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _text(data: bytes, field: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInputError(
            field,
            expected="a CSV file in UTF-8",
            got=f"byte {error.object[error.start]:#x} in line {line}",
        ) from error


def _records(text: str, field: str, most: int | None) -> list[tuple[int, list[str]]]:
    """The header and up to `most` lines that are not empty, split, and the number of each."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    try:
        filled = ((reader.line_num, row) for row in reader if row)
        records = list(islice(filled, None if most is None else most + 1))
    except csv.Error as error:
        raise InvalidInputError(
            field, expected="a CSV file", got=f"line {reader.line_num}: {error}"
        ) from error
    if not records:
        raise InvalidInputError(field, expected="a header row with column names", got="no rows")
    return records


def _delimiter(text: str) -> str:
    """The one that the first line has most of; a comma where it has none."""
    first = text.partition("\n")[0]
    return max(DELIMITERS, key=first.count)


def require_names(names: list[str], field: str) -> None:
    """Check the names of columns.

    Raises:
        InvalidInputError: one that is empty, or there twice.
    """
    if "" in names:
        place = names.index("") + 1
        raise InvalidInputError(
            field, expected="a name for every column", got=f"no name for column {place}"
        )
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise InvalidInputError(
            field, expected="columns with different names", got=f"{listed(twice)} more than once"
        )
