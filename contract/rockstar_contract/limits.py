"""Limits on images and arrays in requests, without imports that cost time."""

from collections.abc import Sequence
from math import prod
from typing import Any

# Largest image that is decoded, width x height: enough for photos of phones with 50 megapixels.
DEFAULT_MAX_PIXELS = 48 * 2**20
# Searches of folders and archives ignore files with other suffixes.
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".webp", ".heic", ".heif"),
    *(".hif", ".avif", ".bmp", ".dib", ".gif", ".apng", ".tif", ".tiff", ".ico", ".cur"),
    *(".pgm", ".ppm"),
)

MAX_RANK = 32
_MAX_SIZE = 2**31 - 1
POSSIBLE_SHAPE = f"up to {MAX_RANK} sizes from 0, and at most {_MAX_SIZE} values"


def is_possible_shape(shape: Sequence[Any]) -> bool:
    """Whether an array can have a shape; the other sizes are limited even if one is 0."""
    return (
        len(shape) <= MAX_RANK
        # A bool is an int, too.
        and all(type(size) is int and size >= 0 for size in shape)
        and prod(size for size in shape if size) <= _MAX_SIZE
    )
