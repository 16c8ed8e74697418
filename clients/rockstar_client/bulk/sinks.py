"""Output files of a bulk run: CSV, JSON lines or Parquet, appended to batch by batch."""

import csv
import fcntl
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from rockstar_client.bulk.items import Failed
from rockstar_client.bulk.state import BulkError, ResumeError
from rockstar_contract.labels import Prediction, Value

_ENCODER = msgspec.json.Encoder()
# Rows of a Parquet row group; as many are in memory at a time.
_ROW_GROUP = 50_000


class Row(NamedTuple):
    """One line of an output: an item, its outcome, and the version that predicted it."""

    item: str
    outcome: Prediction | Value
    version: int


class FailedRow(NamedTuple):
    """One line of the file of failed items."""

    item: str
    outcome: Failed


@dataclass(frozen=True)
class Format:
    """Functions that write a file format.

    Attributes:
        failed_suffix: suffix of the file of failed items.
        lines: encodes rows as text that can be appended.
        header: the first line of a file with rows like the given one; None if there is no header.
        convert: makes the output (second path) from the text (first path); None if the text is
            the output.
    """

    failed_suffix: str
    lines: Callable[[list[Row] | list[FailedRow]], bytes]
    header: Callable[[Row | FailedRow | None], bytes] | None = None
    convert: Callable[[Path, Path], None] | None = None


def find_format(path: Path) -> Format:
    """Choose the format by the suffix of a file.

    Raises:
        BulkError: the suffix is unknown, or pyarrow is missing.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise BulkError(
            f"output: expected a name that ends in {', '.join(FORMATS)}, got {path.name!r}"
        )
    if suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ModuleNotFoundError as error:
            raise BulkError(
                "a .parquet file needs pyarrow: pip install 'rockstartf[parquet]', or write .csv"
            ) from error
    return FORMATS[suffix]


def utf8_name(name: str) -> str:
    r"""The name of an item as valid UTF-8; undecodable bytes of a file name become \udcNN."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def json_lines(rows: list[Row] | list[FailedRow]) -> bytes:
    """Encode one object per line: item, label, score, top (or value), version; or item, reason."""
    documents: list[dict[str, Any]] = []
    for row in rows:
        document: dict[str, Any] = {"item": utf8_name(row.item)}
        outcome = row.outcome
        if isinstance(outcome, Failed):
            document["reason"] = outcome.reason
        elif isinstance(outcome, Value):
            document |= {"value": outcome.value, "version": row[-1]}
        else:
            document |= {"label": outcome.label, "score": outcome.score, "top": outcome.top}
            if outcome.reason:
                document["reason"] = outcome.reason
            document["version"] = row[-1]
        documents.append(document)
    return _ENCODER.encode_lines(documents)


def csv_lines(rows: list[Row] | list[FailedRow]) -> bytes:
    """Encode one row per line with the cells of `csv_header`, without a header."""
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(map(_cells, rows))
    return stream.getvalue().encode()


def _cells(row: Row | FailedRow) -> list[Any]:
    outcome, name = row.outcome, utf8_name(row.item)
    if isinstance(outcome, Failed):
        return [name, outcome.reason]
    if isinstance(outcome, Value):
        return [name, outcome.value, row[-1]]
    cells: list[Any] = [cell for score in outcome.top for cell in (score.label, score.score)]
    # Empty if the score is below the threshold: the first guess would pass for a prediction.
    cells[0] = outcome.label
    return [name, *cells, row[-1]]


def csv_header(row: Row | FailedRow | None) -> bytes:
    """The header for rows like this one; None means a file without rows."""
    if row is None:
        names = ["item", "version"]
    elif isinstance(row.outcome, Failed):
        names = ["item", "reason"]
    elif isinstance(row.outcome, Value):
        names = ["item", "value", "version"]
    else:
        more = range(2, len(row.outcome.top) + 1)
        listed = [f"{name}_{k}" for k in more for name in ("label", "score")]
        names = ["item", "label", "score", *listed, "version"]
    return (",".join(names) + "\n").encode()


def write_parquet(lines: Path, file: Path) -> None:
    """Make a Parquet file from a file of JSON lines.

    A run appends JSON lines and converts them at the end, because an interrupted Parquet file
    cannot be continued. The columns are item, label, score, label_2, score_2, … and version, or
    item, value and version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    decode = msgspec.json.Decoder(dict[str, Any]).decode
    with lines.open("rb") as stream:
        group = [_flatten(decode(line)) for line in islice(stream, _ROW_GROUP)]
        # Only the label can be null.
        types = {str: pa.string(), type(None): pa.string(), float: pa.float64(), int: pa.int64()}
        first = group[0] if group else {}
        # Without any row the other columns are unknown.
        columns = {name: types[type(value)] for name, value in first.items()}
        schema = pa.schema(list((columns or {"item": pa.string()}).items()))
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            while group:
                writer.write_table(pa.Table.from_pylist(group, schema))
                group = [_flatten(decode(line)) for line in islice(stream, _ROW_GROUP)]


def _flatten(row: dict[str, Any]) -> dict[str, Any]:
    """Give each listed label its own columns, as in a CSV file."""
    row.pop("reason", None)
    for number, score in enumerate(row.pop("top", [])[1:], start=2):
        row |= {f"label_{number}": score["label"], f"score_{number}": score["score"]}
    return row | {"version": row.pop("version")}


FORMATS = {
    ".csv": Format(".csv", csv_lines, header=csv_header),
    ".jsonl": Format(".jsonl", json_lines),
    ".parquet": Format(".jsonl", json_lines, convert=write_parquet),
}


class PartFile:
    """A file under construction: appended to, truncated on resume, locked against other runs."""

    def __init__(self, path: Path) -> None:
        """Open or create the file and lock it.

        Raises:
            BulkError: another run holds the lock.
            OSError: the file cannot be written.
        """
        self.path = path
        # Unbuffered: written data survives this process, and errors appear when they happen.
        self._file = path.open("ab", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = os.fstat(self._file.fileno()).st_ino == path.stat().st_ino
        except (BlockingIOError, FileNotFoundError):
            locked = False
        if not locked:
            self._file.close()
            raise BulkError(f"another run is writing {path}")

    @property
    def size(self) -> int:
        """In bytes."""
        return os.fstat(self._file.fileno()).st_size

    def append(self, data: bytes) -> None:
        """Write data at the end.

        Raises:
            OSError: the disk is full; a part of the data may have been written.
        """
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            error.filename = str(self.path)
            raise

    def truncate(self, size: int) -> None:
        """Keep the first `size` bytes.

        Raises:
            ResumeError: the file is shorter.
        """
        if self.size < size:
            raise ResumeError(f"{self.path} is shorter than it was: begin anew with --restart")
        self._file.truncate(size)

    def first_line(self) -> bytes:
        """Read the first line."""
        with self.path.open("rb") as file:
            return file.readline()

    def sync(self) -> None:
        """Sync the file to disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file and release the lock."""
        self._file.close()
