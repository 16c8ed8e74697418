"""The files that a run can write, by how their names end."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rockstar_client.bulk.errors import BulkError
from rockstar_client.bulk.sinks.parquet import require_parquet, write_parquet
from rockstar_client.bulk.sinks.rows import FailedRow, Row, csv_header, csv_lines, json_lines


@dataclass(frozen=True)
class Format:
    """How outcomes are written.

    Attributes:
        failed_suffix: of the file of failed items.
        lines: rows as text that can be appended.
        header: the first line of a file of rows like one; None where there is none.
        convert: makes the file out of the text, where the text is not the file itself.
    """

    failed_suffix: str
    lines: Callable[[list[Row] | list[FailedRow]], bytes]
    header: Callable[[Row | FailedRow | None], bytes] | None = None
    convert: Callable[[Path, Path], None] | None = None


FORMATS = {
    ".csv": Format(".csv", csv_lines, header=csv_header),
    ".jsonl": Format(".jsonl", json_lines),
    ".parquet": Format(".jsonl", json_lines, convert=write_parquet),
}


def format_of(path: Path) -> Format:
    """The format for a file's name.

    Raises:
        BulkError: there is none, or a library is missing.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise BulkError(
            f"output: expected a name that ends in {', '.join(FORMATS)}, got {path.name!r}"
        )
    if suffix == ".parquet":
        require_parquet()
    return FORMATS[suffix]
