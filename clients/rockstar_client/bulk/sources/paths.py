"""What users name on a command line, as one stream of items."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from rockstar_client.bulk.item import Item
from rockstar_client.bulk.sources.archives import tar_items, zip_items
from rockstar_client.bulk.sources.counting import count
from rockstar_client.bulk.sources.files import file_item, walk
from rockstar_client.bulk.sources.kinds import MAX_ITEM_BYTES, TABLES, TARS, ZIPS
from rockstar_client.bulk.sources.stdin import STDIN, stdin_items
from rockstar_client.bulk.sources.tables import row_items
from rockstar_contract.limits import IMAGE_SUFFIXES


class Paths:
    """Files, folders, CSV files and archives, in the order in which they are named.

    A file that is named is taken whatever it is called; in folders and archives only images are
    (for a model of tables CSV files, in folders), never what is hidden or in a hidden folder. Can
    be iterated again: the order stays the same as long as the files do.

    Attributes:
        passed_over: files in folders and archives that were not taken, in the latest iteration.
    """

    def __init__(
        self,
        paths: Iterable[str],
        *,
        tables: bool = False,
        leave_out: Iterable[Path] = (),
        max_item_bytes: int = MAX_ITEM_BYTES,
    ) -> None:
        """Hold the paths; nothing is opened yet.

        Args:
            paths: what to read; iterated as often as this is. - is standard input, which can be
                read once.
            tables: whether the model takes rows of tables, not images.
            leave_out: files in folders that are no input, such as the run's own output.
            max_item_bytes: a larger file or member is an item that fails, unread.
        """
        self._paths = paths
        self._wanted = TABLES if tables else IMAGE_SUFFIXES
        self._leave_out = {str(path.absolute()) for path in leave_out}
        self._max_item_bytes = max_item_bytes
        self.passed_over = 0

    def __iter__(self) -> Iterator[Item]:
        self.passed_over = 0
        for path in self._paths:
            if path == STDIN:
                yield from stdin_items(self._wanted is TABLES, self._max_item_bytes)
                continue
            if not os.path.isdir(path):
                yield from self._of_file(path)
                continue
            for found in walk(path):
                if isinstance(found, Item):
                    yield found
                elif self._takes(found, archives=True):
                    yield from self._of_file(found)

    @property
    def wants(self) -> str:
        """What is taken of folders and archives."""
        return f"files that end in {', '.join(self._wanted)}"

    def count(self) -> int | None:
        """About how many items there are; None where that is not known without reading them."""
        return count(self._paths, self._is_wanted)

    def _of_file(self, path: str) -> Iterable[Item]:
        name = path.lower()
        if name.endswith(TABLES):
            return row_items(path)
        if name.endswith(ZIPS):
            return zip_items(path, self._takes, self._max_item_bytes)
        if name.endswith(TARS):
            return tar_items(path, self._takes, self._max_item_bytes)
        return (file_item(path, self._max_item_bytes),)

    def _takes(self, path: str, archives: bool = False) -> bool:
        taken = self._is_wanted(path, archives)
        self.passed_over += not taken
        return taken

    def _is_wanted(self, path: str, archives: bool = True) -> bool:
        wanted = self._wanted + (ZIPS + TARS if archives else ())
        # Of a path in a folder the walk knows what is hidden above.
        parts = path.split("/")[-1:] if archives else path.split("/")
        hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
        if hidden or not path.lower().endswith(wanted):
            return False
        # Only a table can be an output of ours.
        return self._wanted is not TABLES or os.path.abspath(path) not in self._leave_out
