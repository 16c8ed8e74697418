"""Items to batches that fit into one request."""

from collections.abc import Iterable, Iterator

from rockstar_client.bulk.item import Item

MIB = 2**20


class Batcher:
    """Cuts a stream of items into batches.

    A batch holds items of one kind: files, or rows with the same columns. An item that is larger
    than a batch may be goes alone.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        """Set the size.

        Args:
            most: items in a batch.
            most_bytes: of their contents together.
        """
        self._most = most
        self._most_bytes = most_bytes

    def shrink(self, most: int) -> None:
        """Make batches of no more items from now on: the service said that there were too many."""
        self._most = max(1, min(self._most, most))

    def cut(self, items: Iterable[Item]) -> Iterator[list[Item]]:
        """The batches, in the order of the items."""
        batch: list[Item] = []
        held = 0
        for item in items:
            full = len(batch) >= self._most or held + item.size > self._most_bytes
            if batch and (full or item.columns != batch[0].columns):
                yield batch
                batch, held = [], 0
            batch.append(item)
            held += item.size
        if batch:
            yield batch
