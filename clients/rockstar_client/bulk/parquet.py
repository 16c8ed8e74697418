"""Parquet files and object stores, by PyArrow, which is imported when it is needed."""

import os
import threading
from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any, cast

from rockstar_client.bulk import BulkError
from rockstar_client.bulk.items import Item, wrong_item
from rockstar_client.examples import Example, plain_row
from rockstar_contract.errors import InvalidInputError

PARQUET = ".parquet"
# Rows of a Parquet file that are converted at a time.
_BLOCK_ROWS = 256


def is_url(path: str) -> bool:
    """Whether a path is the URL of an object store, such as s3://bucket/photos."""
    return "://" in path


def first_line(error: Exception) -> str:
    """The first line of PyArrow's error, which can have a trace of C++ calls below."""
    return str(error).split("\n")[0][:300] or type(error).__name__


def locate(path: str) -> tuple[Any, str]:
    """The PyArrow file system of a path or URL, and the path in it; raises BulkError."""
    if not is_url(path):
        return _file_system("file:///"), os.path.abspath(path)
    scheme, _, rest = path.partition("://")
    bucket, _, key = rest.partition("/")
    # The key may have characters that a URL must not have.
    return _file_system(f"{scheme}://{bucket}"), f"{bucket.partition('@')[0]}/{key}".rstrip("/")


@lru_cache(maxsize=16)
def _file_system(url: str) -> Any:
    """Connect to a store once in each process."""
    try:
        from pyarrow.fs import FileSystem

        return FileSystem.from_uri(url)[0]
    except ModuleNotFoundError as error:
        need = "Parquet files and object stores need pyarrow: pip install 'rockstartf[parquet]'"
        raise BulkError(need) from error
    except ValueError as error:
        expected = "a path, s3://BUCKET/KEY, gs://BUCKET/KEY or abfs://CONTAINER@ACCOUNT/KEY"
        raise BulkError(f"{url}: expected {expected} ({first_line(error)})") from error
    except OSError as error:
        raise BulkError(f"{url} cannot be used: {first_line(error)}") from error


def read_object(url: str) -> bytes:
    """Read an object of a store; raises InvalidInputError."""
    system, path = locate(url)
    try:
        with system.open_input_stream(path) as stream:
            content: bytes = stream.read()
            return content
    except OSError as error:
        raise InvalidInputError(url, expected="a readable file", got=first_line(error)) from error


def parquet_layout(system: Any, path: str) -> tuple[Any, list[int], int]:
    """The schema of a Parquet file, the rows of its row groups, and the mean bytes of a row."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, filesystem=system) as file:
        metadata = file.metadata
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        size = sum(group.total_byte_size for group in groups) // max(1, metadata.num_rows)
        return file.schema_arrow, [group.num_rows for group in groups], size


def parquet_items(name: str, tables: bool) -> Iterator[Item]:
    """Yield each row of a Parquet file as FILE:ROW, counted from 1.

    For a model of images a row is its column of files: the only one of bytes, or of structs with
    `bytes`, as of Hugging Face's datasets.
    """
    system, path = locate(name)
    import pyarrow as pa

    try:
        (info,) = system.get_file_info([path])
        stamp = f"{info.size} {info.mtime_ns}"
        schema, groups, size = parquet_layout(system, path)
    except (OSError, pa.ArrowException) as error:
        yield wrong_item(name, "a Parquet file", first_line(error))
        return
    columns = tuple(schema.names)
    if tables and len(set(columns)) < len(columns):
        yield wrong_item(name, "a name for each column", f"{', '.join(columns)}")
        return
    if not tables:
        files = [each.name for each in schema if _holds_files(each.type)]
        if len(files) != 1:
            got = f"{len(files)} such columns of {', '.join(columns)}"
            yield wrong_item(name, "one column of images as bytes", got)
            return
        columns = (files[0],)
    number = 0
    for group, rows in enumerate(groups):
        for row in range(rows):
            number += 1
            read = partial(_read_row, name, stamp, group, columns, not tables, row)
            yield Item(f"{name}:{number}", stamp, size, columns if tables else (), read)


def _holds_files(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_files(kind.field(index).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _read_row(
    name: str, stamp: str, group: int, columns: tuple[str, ...], is_file: bool, row: int
) -> Example:
    import pyarrow as pa

    try:
        block, index = divmod(row, _BLOCK_ROWS)
        with _reading_rows:  # else all threads that miss the cache read the same rows
            cells = _block_of_rows(name, stamp, group, columns, block)[index]
    except (OSError, pa.ArrowException, IndexError) as error:
        raise InvalidInputError(name, expected="a Parquet file", got=first_line(error)) from error
    if not is_file:
        return plain_row(cells)
    content = cells[columns[0]]
    content = content.get("bytes") if isinstance(content, dict) else content
    if content is None:
        raise InvalidInputError(name, expected="an image", got="null")
    return cast("bytes", content)


_reading_rows = threading.Lock()


# Concurrent requests and batches of several groups read neighboring rows.
@lru_cache(maxsize=16)
def _block_of_rows(
    name: str, stamp: str, group: int, columns: tuple[str, ...], block: int
) -> list[dict[str, Any]]:
    table = _row_group(name, stamp, group, columns)
    rows: list[dict[str, Any]] = table.slice(block * _BLOCK_ROWS, _BLOCK_ROWS).to_pylist()
    return rows


@lru_cache(maxsize=2)
def _row_group(name: str, stamp: str, group: int, columns: tuple[str, ...]) -> Any:  # noqa: ARG001
    import pyarrow.parquet as pq

    system, path = locate(name)
    with pq.ParquetFile(path, filesystem=system) as file:
        return file.read_row_group(group, columns=list(columns))
