"""The rows of a CSV file, one at a time: it may be larger than memory."""

import csv
import os
from collections.abc import Callable, Iterator

from clients.bulk.item import Item
from clients.bulk.sources.files import failing_item
from serving.csv_rows import DELIMITERS, require_names
from serving.errors import InvalidInputError
from serving.tables import TextRow

_ENCODING = "utf-8-sig"


def row_items(path: str) -> Iterator[Item]:
    """Each row of a CSV file, named FILE:ROW, counted from 1 without the header.

    A row that cannot be read is an item that fails, and so is a file without a usable header.
    """
    try:
        with open(path, encoding=_ENCODING, errors="surrogateescape", newline="") as file:
            status = os.fstat(file.fileno())
            delimiter = max(DELIMITERS, key=file.readline().count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            yield from _items(path, reader, f"{status.st_size} {status.st_mtime_ns}")
    except OSError as error:
        got = error.strerror or str(error)
        yield failing_item(path, InvalidInputError(path, expected="a readable file", got=got))
    except InvalidInputError as error:
        yield failing_item(path, error)


def _items(path: str, reader: Iterator[list[str]], stamp: str) -> Iterator[Item]:
    header = next(_records(path, reader), None)
    if header is None:
        raise InvalidInputError(path, expected="a header row with column names", got="no rows")
    if isinstance(header, InvalidInputError):
        raise header
    names = tuple(name.strip() for name in header)
    require_names(list(names), path)
    for number, record in enumerate(_records(path, reader), start=1):
        name = f"{path}:{number}"
        try:
            row = _row(names, record, name)
        except InvalidInputError as error:
            yield failing_item(name, error)
            continue
        yield Item(name, stamp, sum(map(len, row.values())) + len(names), names, _giving(row))


def _records(path: str, reader: Iterator[list[str]]) -> Iterator[list[str] | InvalidInputError]:
    """The records that are not empty; in place of one that is no CSV what is wrong with it."""
    while True:
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield InvalidInputError(path, expected="a row of CSV", got=str(error))
            continue
        if record:
            yield record


def _row(names: tuple[str, ...], record: list[str] | InvalidInputError, name: str) -> TextRow:
    if isinstance(record, InvalidInputError):
        raise record
    if len(record) != len(names):
        raise InvalidInputError(
            name,
            expected=f"{len(names)} values, as in the header",
            got=str(len(record)),
            hint="a value with the delimiter in it goes between double quotes",
        )
    row = TextRow(zip(names, record, strict=True))
    try:
        "".join(record).encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(name, expected="UTF-8", got="other bytes") from error
    return row


def _giving(row: TextRow) -> Callable[[], TextRow]:
    return lambda: row
