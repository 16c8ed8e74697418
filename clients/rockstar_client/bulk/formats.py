"""Formats of the output of a bulk run: CSV, JSON lines and Parquet."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from rockstar_client.bulk import BulkError
from rockstar_client.bulk.items import Failed, Result
from rockstar_contract.contract import Value
from rockstar_contract.text_files import utf8_name

_ENCODER = msgspec.json.Encoder()
# Rows of a Parquet row group; as many are in memory at a time.
_ROW_GROUP = 50_000


@dataclass(frozen=True)
class Format:
    """Functions that write a file format.

    Attributes:
        failed_suffix: suffix of the file of failed items.
        lines: encodes results as text that can be appended.
        header: the first line of a file with results like this one; None if there is no header.
        convert: makes the output (second path) from the text (first path); None if the text is
            the output.
    """

    failed_suffix: str
    lines: Callable[[Sequence[Result]], bytes]
    header: Callable[[Result | None], bytes] | None = None
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


def _columns(result: Result, *, nested: bool = False) -> dict[str, Any]:
    """The cells of a row: item, label, score, version; item, value, version; or item, reason.

    Further labels are label_2, score_2, …, or nested in top, with a reason if no label is certain.
    """
    item, version, outcome = result
    columns: dict[str, Any] = {"item": utf8_name(item.name)}
    if isinstance(outcome, Failed):
        return columns | {"reason": outcome.reason}
    if isinstance(outcome, Value):
        return columns | {"value": outcome.value, "version": version}
    # Without a label if the score is below the threshold: the first guess is no prediction.
    columns |= {"label": outcome.label, "score": outcome.score}
    if nested:
        columns["top"] = outcome.top
        if outcome.reason:
            columns["reason"] = outcome.reason
    else:
        for number, score in enumerate(outcome.top[1:], start=2):
            columns |= {f"label_{number}": score.label, f"score_{number}": score.score}
    columns["version"] = version
    return columns


def _json_lines(results: Sequence[Result]) -> bytes:
    return _ENCODER.encode_lines(_columns(each, nested=True) for each in results)


def _flat_json_lines(results: Sequence[Result]) -> bytes:
    return _ENCODER.encode_lines(map(_columns, results))


def _csv_lines(results: Sequence[Result]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows(_columns(each).values() for each in results)
    return stream.getvalue().encode()


def _csv_header(result: Result | None) -> bytes:
    """The header for results like this one; None means a file without rows."""
    names = ["item", "version"] if result is None else _columns(result)
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
