"""Items of a bulk prediction, their outcomes, and batches of items that fit into one request."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from rockstar_client.examples import Example
from rockstar_contract.contract import Prediction, Value
from rockstar_contract.errors import InvalidInputError


class Item(NamedTuple):
    """One thing to predict.

    Attributes:
        name: for users: a path, ARCHIVE:MEMBER or FILE.csv:ROW.
        stamp: changes with the content: made of sizes, times and checksums.
        size: of the content in bytes.
        columns: of a row of a table; empty for a file.
        read: returns the content, in any thread; raises InvalidInputError if it is unreadable.
    """

    name: str
    stamp: str
    size: int
    columns: tuple[str, ...]
    read: Callable[[], Example]


class Failed(NamedTuple):
    """The outcome of an item without a prediction: the reason, without the item's name."""

    reason: str


Outcome = Prediction | Value | Failed


class Result(NamedTuple):
    """An item, the model version that predicted it (0 if it failed), and its outcome."""

    item: Item
    version: int
    outcome: Outcome


class BatchResult(NamedTuple):
    """The outcomes of a batch in its order, and the model version that predicted them."""

    version: int
    outcomes: list[Outcome]


def failing_item(name: str, error: InvalidInputError) -> Item:
    """An item that is known to be bad; reading it raises the error."""

    def fail() -> bytes:
        raise error

    return Item(name, "failed", 0, (), fail)


class Batcher:
    """Cuts a stream of items into batches.

    A batch holds items of one kind: files, or rows with the same columns. An item larger than
    `max_bytes` is a batch of its own.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        """Limit a batch to `max_items` items and `max_bytes` bytes of content."""
        self._max_items = max_items
        self._max_bytes = max_bytes

    def shrink(self, max_items: int) -> None:
        """Lower the limit of items for later batches."""
        self._max_items = max(1, min(self._max_items, max_items))

    def cut(self, items: Iterable[Item]) -> Iterator[list[Item]]:
        """Yield the batches, in the order of the items."""
        batch: list[Item] = []
        held = 0
        for item in items:
            full = len(batch) >= self._max_items or held + item.size > self._max_bytes
            if batch and (full or item.columns != batch[0].columns):
                yield batch
                batch, held = [], 0
            batch.append(item)
            held += item.size
        if batch:
            yield batch
