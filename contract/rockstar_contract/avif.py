"""Sizes of the coded images in an AVIF file.

An AVIF file declares its size in the container and again in each AV1 stream. Decoders allocate
memory by the stream, up to 16384 x 16384, regardless of the container: a file of one kilobyte could
take more than a gigabyte.
"""

import struct
from collections.abc import Iterator

_SEQUENCE_HEADER = 1
# Limits far above those of real images.
_MOST_ITEMS = 4096
_MOST_EXTENTS = 64
_MOST_UNITS = 20_000


def coded_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """The width and height of each AV1 stream of a still image.

    Raises ValueError, IndexError or struct.error if it is damaged.
    """
    boxes = dict(_boxes(data, 0, len(data)))
    start, end = boxes[b"meta"]
    inner = dict(_boxes(data, start + 4, end))
    units = total = 0
    for extents in _items(data, inner[b"iloc"][0], inner.get(b"idat", (0, 0))[0]):
        pieces = [data[at : at + length if length else None] for at, length in extents]
        total += sum(map(len, pieces))
        # Items may share data, such as an empty alpha channel.
        if total > 16 * len(data):
            raise ValueError("items that overlap")
        for kind, content in _units(b"".join(pieces)):
            units += 1
            if units > _MOST_UNITS:
                raise ValueError("too many units")
            if kind == _SEQUENCE_HEADER:
                yield _frame_size(content)


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """The type of each box, and the start and end of its content."""
    while at + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", data, at + 8), 16
        elif size == 0:
            size = end - at
        if size < head:
            raise ValueError("a box without room for its own header")
        yield name, (at + head, min(at + size, end))
        at += size


def _items(data: bytes, at: int, idat: int) -> Iterator[list[tuple[int, int]]]:
    """The offset and length (0: the rest) of the pieces of each item, from the box "iloc"."""
    version, sizes = data[at], struct.unpack_from(">H", data, at + 4)[0]
    offset_size, length_size, base_size, index_size = (sizes >> n & 15 for n in (12, 8, 4, 0))
    at += 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > len(data):
            raise ValueError("truncated")
        return int.from_bytes(data[at - size : at], "big")

    items = number(4 if version == 2 else 2)
    if items > _MOST_ITEMS:
        raise ValueError("too many items")
    for _ in range(items):
        number(4 if version == 2 else 2)
        inside_idat = version > 0 and number(2) & 15 == 1
        number(2)
        base = number(base_size) + (idat if inside_idat else 0)
        count, extents = number(2), []
        if count > _MOST_EXTENTS:
            raise ValueError("too many extents")
        for _ in range(count):
            number(index_size if version > 0 else 0)
            extents.append((base + number(offset_size), number(length_size)))
        yield extents


def _units(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """The type and first bytes of each OBU."""
    at = 0
    while at < len(stream):
        head = stream[at]
        at += 2 if head & 4 else 1
        size = len(stream) - at
        if head & 2:
            size = 0
            for shift in range(0, 56, 7):
                byte = stream[at]
                at += 1
                size |= (byte & 127) << shift
                if byte < 128:
                    break
        yield head >> 3 & 15, stream[at : min(at + size, at + 512)]
        at += size


def _frame_size(header: bytes) -> tuple[int, int]:
    """The largest frame size in a sequence header (AV1 specification, 5.5.1)."""
    bits, left = int.from_bytes(header, "big"), 8 * len(header)

    def read(count: int) -> int:
        nonlocal left
        left -= count
        if left < 0:
            raise ValueError("truncated")
        return bits >> left & (1 << count) - 1

    read(4)
    delay_bits = 0
    if read(1):  # a reduced header, of a still picture
        read(5)
    else:
        if read(1):  # timing
            read(64)
            if read(1):
                zeros = 0
                while not read(1):
                    zeros += 1
                read(zeros)
            if read(1):  # decoder model
                delay_bits = read(5) + 1
                read(42)
        display_delay = read(1)
        for _ in range(read(5) + 1):
            read(12)
            if read(5) > 7:
                read(1)
            if delay_bits and read(1):
                read(2 * delay_bits + 1)
            if display_delay and read(1):
                read(4)
    width_bits, height_bits = read(4) + 1, read(4) + 1
    return read(width_bits) + 1, read(height_bits) + 1
