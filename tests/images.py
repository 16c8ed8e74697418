"""Images for tests."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def png(pixels: np.ndarray, **options) -> bytes:
    """A PNG file of uint8 pixels [h, w] or [h, w, 3 or 4]."""
    return encoded(pixels, "PNG", **options)


def encoded(pixels: np.ndarray, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def stroke(size: int = 12) -> np.ndarray:
    """White on black, uint8 [size, size]: a bar off the center."""
    pixels = np.zeros((size, size), np.uint8)
    pixels[2 : size - 3, 3:5] = 255
    return pixels


def bomb(width: int = 100_000, height: int = 100_000) -> bytes:
    """A small PNG that declares a huge size; its data unpacks to 10 MB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(10_000_000), 9)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def digits(count: int) -> list[tuple[bytes, str]]:
    """Handwritten digits as PNG files, and their labels."""
    from rockstar_training.datasets import load

    data = load("digits")
    return [
        (png(image[..., 0]), str(label))
        for image, label in zip(data.images[:count], data.labels[:count], strict=True)
    ]
