"""How many items there will be, for who waits: quickly, without reading them."""

import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from rockstar_client.bulk.item import Item
from rockstar_client.bulk.sources.files import walk
from rockstar_client.bulk.sources.kinds import TABLES, TARS, ZIPS

_CHUNK = 2**20


def count(paths: Iterable[str], takes: Callable[[str], bool]) -> int | None:
    """About how many items the paths have; None where that is not known without reading all.

    Args:
        paths: files and folders.
        takes: whether a file of a folder or an archive is an item or has some.
    """
    total = 0
    for path in paths:
        inside = walk(path) if os.path.isdir(path) else (path,)
        for found in inside:
            if isinstance(found, Item) or (found != path and not takes(found)):
                continue
            number = _in_file(found, takes)
            if number is None:
                return None
            total += number
    return total


def _in_file(path: str, takes: Callable[[str], bool]) -> int | None:
    name = path.lower()
    if name.endswith((*TARS, ".gz")):
        return None
    try:
        if name.endswith(ZIPS):
            with zipfile.ZipFile(path) as archive:
                return sum(takes(member) for member in archive.namelist())
        if name.endswith(TABLES):
            with Path(path).open("rb") as file:
                lines = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(_CHUNK), b""))
                return max(0, lines - 1)
    except (OSError, zipfile.BadZipFile):
        pass
    return 1
