"""Checks of shapes from requests, before they reach NumPy."""

from collections.abc import Sequence
from math import prod
from typing import Any

MAX_RANK = 32
_MOST = 2**31 - 1
POSSIBLE = f"up to {MAX_RANK} sizes from 0, and at most {_MOST} values"


def is_possible(shape: Sequence[Any]) -> bool:
    """Whether an array can have a shape; the other sizes are limited even if one is 0."""
    return (
        len(shape) <= MAX_RANK
        # A bool is an int too.
        and all(type(size) is int and size >= 0 for size in shape)
        and prod(size for size in shape if size) <= _MOST
    )
