"""Parts of a data set: what the training loop, the evaluation and the reports read examples from.

A part needs no more memory than its targets: tensors are asked for by index, a batch at a time, and
come from an array, or from files that are decoded then.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# What a user would send: a file's bytes, or a row.
Raw = bytes | dict[str, Any]
Index = NDArray[np.int64]


class Examples(Protocol):
    """All examples of a data set, each known by its place in it."""

    def tensors(self, places: Index) -> NDArray[np.float32]:
        """Preprocessed, float32 [n, *shape of one example], for int64 [n]."""

    def raw(self, place: int) -> Raw:
        """One as a user would send it: serving makes the same tensor of it."""

    def source(self, place: int) -> str:
        """Where it is from, for people."""


@dataclass(frozen=True, eq=False)
class MemoryExamples:
    """Examples whose tensors are all in memory, float32 [n, *shape of one example]."""

    array: NDArray[np.float32]
    raw: Callable[[int], Raw]
    source: Callable[[int], str]

    def tensors(self, places: Index) -> NDArray[np.float32]:
        """The rows of the array."""
        return self.array[places]


@dataclass(frozen=True, eq=False)
class Part:
    """Some examples of a data set: those to train on, to validate with, or to test with.

    Attributes:
        examples: of the whole data set.
        places: int64 [count], which of them are in this part, ascending.
        targets: of this part: int64 labels, or float32 values for a regression, [count].
    """

    examples: Examples
    places: Index
    targets: NDArray[Any]

    @property
    def count(self) -> int:
        """How many examples there are."""
        return len(self.places)

    def tensors(self, indices: Index) -> NDArray[np.float32]:
        """Preprocessed inputs of some of its examples.

        Args:
            indices: int64 [n], from 0 to count - 1, in any order.

        Returns:
            float32 [n, *shape of one example].
        """
        return self.examples.tensors(self.places[indices])

    def raw(self, index: int) -> Raw:
        """One of its examples as a user would send it."""
        return self.examples.raw(int(self.places[index]))

    def source(self, index: int) -> str:
        """Where one of its examples is from."""
        return self.examples.source(int(self.places[index]))

    def batches(self, size: int) -> Iterator[tuple[NDArray[np.float32], NDArray[Any]]]:
        """Tensors and targets of all its examples, in order, at most `size` at a time."""
        for start in range(0, self.count, size):
            indices = np.arange(start, min(start + size, self.count))
            yield self.tensors(indices), self.targets[indices]
