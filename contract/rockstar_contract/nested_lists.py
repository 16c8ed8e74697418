"""Nested lists, as JSON holds arrays, looked at before NumPy makes an array of them."""

from itertools import chain
from typing import Any


def leaf_types(value: Any) -> set[type]:
    """The types of what is not a list, at the first depth where there is such a thing.

    An array of texts takes as much memory for each as for the longest: whoever wants numbers asks
    here first.
    """
    level, kinds = [value], {type(value)}
    while kinds == {list}:
        level = list(chain.from_iterable(level))
        kinds = set(map(type, level))
    return kinds
