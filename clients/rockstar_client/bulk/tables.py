"""Rows of a CSV file as items, one at a time: the file may be larger than memory."""

import csv
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from typing import BinaryIO, cast

from rockstar_client.bulk.items import Item, failing_item
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

# Rows from which the column names and the decimal separator are inferred.
_SAMPLE = 200
_Record = list[str] | InvalidInputError


def row_items(path: str) -> Iterator[Item]:
    """Yield each row of a CSV file as FILE:ROW, counted from 1 without the header.

    Accepts what `read_table` accepts, also compressed with gzip. A row that cannot be read is a
    failing item, and so is a file without a usable header.
    """
    try:
        with open(path, "rb") as raw:
            status = os.fstat(raw.fileno())
            yield from read_row_items(path, raw, f"{status.st_size} {status.st_mtime_ns}")
    except OSError as error:
        yield failing_item(path, _unreadable(path, error))


def read_row_items(name: str, raw: BinaryIO, stamp: str) -> Iterator[Item]:
    """Yield the rows of an open, seekable CSV file, see `row_items`.

    Args:
        name: of the file, for items and errors.
        raw: the file.
        stamp: of every item.
    """
    try:
        compressed = raw.read(len(GZIP)) == GZIP
        raw.seek(0)
        if compressed:
            yield from _items(name, cast("BinaryIO", gzip.GzipFile(fileobj=raw)), stamp)
        else:
            yield from _items(name, raw, stamp)
    except (OSError, EOFError, zlib.error) as error:
        yield failing_item(name, _unreadable(name, error))
    except InvalidInputError as error:
        yield failing_item(name, error)


def _unreadable(name: str, error: Exception) -> InvalidInputError:
    got = getattr(error, "strerror", None) or str(error)
    return InvalidInputError(name, expected="a readable file", got=got)


def _items(path: str, file: BinaryIO, stamp: str) -> Iterator[Item]:
    head = file.read(SAMPLE_SIZE)
    file.seek(0)
    whole = len(head) < SAMPLE_SIZE
    encoding = find_encoding(head if whole else head[: head.rfind(b"\n") + 1], path)
    # In UTF-8 only the row with invalid bytes fails.
    errors = "replace" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
    with io.TextIOWrapper(file, encoding, errors, newline="") as text:
        dialect, above = find_dialect(text.read(SAMPLE_SIZE).removeprefix(MARK))
        text.seek(0)
        for _ in range(above):
            text.readline()
        first_line = (line.removeprefix(MARK) for line in islice(text, 1))
        records = _records(path, csv.reader(chain(first_line, text), **dialect.format))
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
            size = sum(map(len, row.values())) + len(names)
            yield Item(name, stamp, size, names, partial(_itself, row))


def _records(path: str, reader: Iterator[list[str]]) -> Iterator[_Record]:
    """Yield the records that are not empty, and an error for each that is not CSV."""
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


def _row(names: tuple[str, ...], record: _Record, decimal: str | None, name: str) -> TextRow:
    if isinstance(record, InvalidInputError):
        raise record
    record = fit_row(record, names, name)
    try:
        "".join(record).encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(name, expected="UTF-8", got="other bytes") from error
    return text_row(names, record, decimal)


def _itself(row: TextRow) -> TextRow:
    return row
