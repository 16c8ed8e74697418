"""JSON lines to a Parquet file: one that is cut off could not be continued, so it is made last."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from rockstar_client.bulk.errors import BulkError

if TYPE_CHECKING:
    import pyarrow as pa

# Rows of a row group, and how many are in memory at a time.
_GROUP = 50_000


def require_parquet() -> None:
    """Check that Parquet files can be written here.

    Raises:
        BulkError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ModuleNotFoundError as error:
        raise BulkError(
            "a .parquet file needs pyarrow: pip install 'rockstartf[parquet]', or write .csv"
        ) from error


def write_parquet(lines: Path, file: Path) -> None:
    """Make a Parquet file of the rows in a file of JSON lines.

    The columns are item, label, score, label_2, score_2, … and version, or item, value and version.
    """
    import pyarrow.parquet as pq

    with lines.open("rb") as stream:
        groups = _groups(stream)
        first = next(groups, [])
        schema = _schema(first[0] if first else {})
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            while first:
                writer.write_table(_table(first, schema))
                first = next(groups, [])


def _groups(stream: Any) -> Iterator[list[dict[str, Any]]]:
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    while group := [_flat(decode(line)) for line in islice(stream, _GROUP)]:
        yield group


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A column for each label listed, as in a CSV file."""
    row.pop("reason", None)
    for number, score in enumerate(row.pop("top", [])[1:], start=2):
        row |= {f"label_{number}": score["label"], f"score_{number}": score["score"]}
    return row | {"version": row.pop("version")}


def _schema(row: dict[str, Any]) -> "pa.Schema":
    import pyarrow as pa

    # The only column that may have no value is the label.
    types = {str: pa.string(), type(None): pa.string(), float: pa.float64(), int: pa.int64()}
    # Without any row there is nothing to know the columns by.
    columns = {name: types[type(value)] for name, value in row.items()} or {"item": pa.string()}
    return pa.schema(list(columns.items()))


def _table(rows: list[dict[str, Any]], schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    return pa.Table.from_pylist(rows, schema)
