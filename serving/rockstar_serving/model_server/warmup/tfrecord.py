"""TFRecord files, read without TensorFlow.

A record is its length (uint64), the masked CRC-32C of these eight bytes (uint32), the data, and the
masked CRC-32C of the data (uint32), all little-endian: tensorflow/core/lib/io/record_writer.h.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import google_crc32c

_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_HEADER_BYTES = _LENGTH.size + _CHECKSUM.size


class TFRecordError(Exception):
    """A file that is no TFRecord file, or a damaged one; the message says what and where."""


def read_records(path: Path) -> Iterator[bytes]:
    """The records of a file, one after the other; not compressed.

    Raises:
        TFRecordError: truncated, or a checksum does not match.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while file.tell() < size:
            yield _record(file, size)


def masked_crc32c(data: bytes) -> int:
    """The checksum of some bytes as the format stores it: rotated, plus a constant."""
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def _record(file: BinaryIO, size: int) -> bytes:
    start = file.tell()
    header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        raise TFRecordError(f"truncated record at byte {start}: its header is cut off")
    _check(header[: _LENGTH.size], header[_LENGTH.size :], f"corrupted record at byte {start}")
    (length,) = _LENGTH.unpack_from(header)
    # Before anything is read: a length may be wrong even where its checksum is right.
    if length > size - file.tell() - _CHECKSUM.size:
        raise TFRecordError(
            f"truncated record at byte {start}: it has {length} bytes of data, the file ends sooner"
        )
    data = file.read(length)
    _check(data, file.read(_CHECKSUM.size), f"corrupted record at byte {start}")
    return data


def _check(data: bytes, checksum: bytes, what: str) -> None:
    if checksum != _CHECKSUM.pack(masked_crc32c(data)):
        raise TFRecordError(f"{what}: a checksum does not match")
