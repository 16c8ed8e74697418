"""Formats of the output of a bulk run: CSV, JSON lines and Parquet."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from rockstar_client.bulk import BulkError
from rockstar_client.bulk.items import Failed, Outcome
from rockstar_contract.labels import Value

_ENCODER = msgspec.json.Encoder()
# Rows of a Parquet row group; as many are in memory at a time.
_ROW_GROUP = 50_000


class Row(NamedTuple):
    """One line of an output, or of the file of failed items.

    Attributes:
        item: name.
        outcome: of the item.
        version: that predicted it; 0 if it failed.
    """

    item: str
    outcome: Outcome
    version: int


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
    lines: Callable[[Sequence[Row]], bytes]
    header: Callable[[Row | None], bytes] | None = None
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


def _json_lines(rows: Sequence[Row]) -> bytes:
    """Encode one object per line: item, label, score, top (or value), version; or item, reason."""
    documents: list[dict[str, Any]] = []
    for row in rows:
        document: dict[str, Any] = {"item": utf8_name(row.item)}
        outcome = row.outcome
        if isinstance(outcome, Failed):
            document["reason"] = outcome.reason
        elif isinstance(outcome, Value):
            document |= {"value": outcome.value, "version": row.version}
        else:
            document |= {"label": outcome.label, "score": outcome.score, "top": outcome.top}
            if outcome.reason:
                document["reason"] = outcome.reason
            document["version"] = row.version
        documents.append(document)
    return _ENCODER.encode_lines(documents)


def _columns(row: Row) -> dict[str, Any]:
    """The cells of a row by column: item, label, score, label_2, … (or value), version."""
    columns: dict[str, Any] = {"item": utf8_name(row.item)}
    outcome = row.outcome
    if isinstance(outcome, Failed):
        return columns | {"reason": outcome.reason}
    if isinstance(outcome, Value):
        columns["value"] = outcome.value
    else:
        # Without a label if the score is below the threshold: the first guess is no prediction.
        columns |= {"label": outcome.label, "score": outcome.score}
        for number, score in enumerate(outcome.top[1:], start=2):
            columns |= {f"label_{number}": score.label, f"score_{number}": score.score}
    columns["version"] = row.version
    return columns


def _flat_json_lines(rows: Sequence[Row]) -> bytes:
    return _ENCODER.encode_lines(map(_columns, rows))


def _csv_lines(rows: Sequence[Row]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows(_columns(row).values() for row in rows)
    return stream.getvalue().encode()


def _csv_header(row: Row | None) -> bytes:
    """The header for rows like this one; None means a file without rows."""
    names = ["item", "version"] if row is None else _columns(row)
    return (",".join(names) + "\n").encode()


def _write_parquet(lines: Path, file: Path) -> None:
    """Make a Parquet file from JSON lines: an interrupted Parquet file cannot be continued."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    decode = msgspec.json.Decoder(dict[str, Any]).decode
    with lines.open("rb") as stream:
        groups = iter(lambda: [*map(decode, islice(stream, _ROW_GROUP))], [])
        group = next(groups, [])
        # Only the label can be null. Without any row the columns but the first are unknown.
        types = {str: pa.string(), type(None): pa.string(), float: pa.float64(), int: pa.int64()}
        first = group[0] if group else {"item": ""}
        schema = pa.schema([(name, types[type(value)]) for name, value in first.items()])
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            while group:
                writer.write_table(pa.Table.from_pylist(group, schema))
                group = next(groups, [])


FORMATS = {
    ".csv": Format(".csv", _csv_lines, header=_csv_header),
    ".jsonl": Format(".jsonl", _json_lines),
    ".parquet": Format(".jsonl", _flat_json_lines, convert=_write_parquet),
}
