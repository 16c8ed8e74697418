"""The rows of a CSV file, one at a time: it may be larger than memory."""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import BinaryIO, cast

from rockstar_client.bulk.item import Item
from rockstar_client.bulk.sources.files import failing_item
from rockstar_contract.csv_rows import (
    GZIP,
    MARK,
    SAMPLE_SIZE,
    find_decimal,
    find_dialect,
    find_encoding,
    fit_row,
    name_columns,
    text_row,
)
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.tables import TextRow

# Rows that names and numbers are recognised by.
_SAMPLE = 200
Record = list[str] | InvalidInputError


def row_items(path: str) -> Iterator[Item]:
    """Each row of a CSV file, named FILE:ROW, counted from 1 without the header.

    The file may be compressed with gzip, and is read as `read_table` reads it. A row that cannot
    be read is an item that fails, and so is a file without a usable header.
    """
    try:
        with open(path, "rb") as raw:
            status = os.fstat(raw.fileno())
            yield from rows_of(path, raw, f"{status.st_size} {status.st_mtime_ns}")
    except OSError as error:
        yield failing_item(path, _unreadable(path, error))


def rows_of(name: str, raw: BinaryIO, stamp: str) -> Iterator[Item]:
    """The same of a file that is open for reading, and seekable.

    Args:
        name: what items and errors call it.
        raw: the file.
        stamp: of every item.
    """
    try:
        yield from _items(name, _opened(raw), stamp)
    except (OSError, EOFError, zlib.error) as error:
        yield failing_item(name, _unreadable(name, error))
    except InvalidInputError as error:
        yield failing_item(name, error)


def _unreadable(name: str, error: Exception) -> InvalidInputError:
    got = getattr(error, "strerror", None) or str(error)
    return InvalidInputError(name, expected="a readable file", got=got)


def _opened(raw: BinaryIO) -> BinaryIO:
    compressed = raw.read(len(GZIP)) == GZIP
    raw.seek(0)
    return cast("BinaryIO", gzip.open(raw)) if compressed else raw


def _items(path: str, file: BinaryIO, stamp: str) -> Iterator[Item]:
    head = file.read(SAMPLE_SIZE)
    file.seek(0)
    whole = len(head) < SAMPLE_SIZE
    encoding = find_encoding(head if whole else head[: head.rfind(b"\n") + 1], path)
    # Of UTF-8 a row with other bytes fails alone.
    errors = "replace" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
    with io.TextIOWrapper(file, encoding, errors, newline="") as text:
        dialect, above = find_dialect(text.read(SAMPLE_SIZE).removeprefix(MARK))
        text.seek(0)
        for _ in range(above):
            text.readline()
        records = _records(path, csv.reader(_without_mark(text), **dialect.format))
        header = next(records, None)
        if header is None:
            raise InvalidInputError(path, expected="a header row with column names", got="no rows")
        if isinstance(header, InvalidInputError):
            raise header
        first = list(islice(records, _SAMPLE))
        sample = [record for record in first if not isinstance(record, InvalidInputError)]
        names = tuple(name_columns(header, sample))
        decimal = find_decimal(sample, dialect)
        for number, record in enumerate(chain(first, records), start=1):
            name = f"{path}:{number}"
            try:
                row = _row(names, record, decimal, name)
            except InvalidInputError as error:
                yield failing_item(name, error)
                continue
            yield Item(name, stamp, sum(map(len, row.values())) + len(names), names, _giving(row))


def _without_mark(lines: Iterator[str]) -> Iterator[str]:
    yield from (line.removeprefix(MARK) for line in islice(lines, 1))
    yield from lines


def _records(path: str, reader: Iterator[list[str]]) -> Iterator[Record]:
    """The records that are not empty; in place of one that is no CSV what is wrong with it."""
    while True:
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield InvalidInputError(path, expected="a row of CSV", got=str(error))
            continue
        if any(record):
            yield record


def _row(names: tuple[str, ...], record: Record, decimal: str | None, name: str) -> TextRow:
    if isinstance(record, InvalidInputError):
        raise record
    record = fit_row(record, names, name)
    try:
        "".join(record).encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(name, expected="UTF-8", got="other bytes") from error
    return text_row(names, record, decimal)


def _giving(row: TextRow) -> Callable[[], TextRow]:
    return lambda: row
