"""Checks of nested lists, the arrays of JSON, before NumPy converts them."""

from itertools import chain
from typing import Any


def leaf_types(value: Any) -> set[type]:
    """The types of the values at the first depth that has values other than lists.

    Check them before converting to numbers: an array of strings uses as much memory for each string
    as for the longest.
    """
    level, kinds = [value], {type(value)}
    while kinds == {list}:
        level = list(chain.from_iterable(level))
        kinds = set(map(type, level))
    return kinds
