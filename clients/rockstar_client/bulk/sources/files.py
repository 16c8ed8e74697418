"""Files as items, and folders as the files in them."""

import os
import stat
from collections.abc import Iterator
from functools import partial

from rockstar_client.bulk.item import Item
from rockstar_contract.errors import InvalidInputError, TooLargeError

# Device and inode of the folders that the walk is in.
_Above = frozenset[tuple[int, int]]


def file_item(path: str, most_bytes: int) -> Item:
    """A file that is read when its batch is sent; one that cannot be read fails then."""
    try:
        status = os.stat(path)
    except OSError as error:
        return failing_item(path, _unreadable(path, error))
    if not stat.S_ISREG(status.st_mode):
        wrong = InvalidInputError(path, expected="a file", got="something else")
        return failing_item(path, wrong)
    if status.st_size > most_bytes:
        return failing_item(path, too_large(path, status.st_size, most_bytes))
    stamp = f"{status.st_size} {status.st_mtime_ns}"
    return Item(path, stamp, status.st_size, (), partial(_content, path, status.st_size))


def failing_item(name: str, error: InvalidInputError) -> Item:
    """An item of which is known beforehand that it fails, and why."""

    def fail() -> bytes:
        raise error

    return Item(name, "failed", 0, (), fail)


def too_large(name: str, size: int, most_bytes: int) -> InvalidInputError:
    """What is said of an item of too many bytes."""
    return TooLargeError(name, expected=f"at most {most_bytes:,} bytes", got=f"{size:,}")


def walk(folder: str) -> Iterator[str | Item]:
    """The paths of all files in a folder and in those below, sorted by name in each.

    Hidden folders, such as .git, are left alone. Links are followed, but not into a folder that the
    walk is in. A folder that cannot be listed is an item that fails.
    """
    return _walk(folder, frozenset())


def _walk(folder: str, above: _Above) -> Iterator[str | Item]:
    try:
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in above:
            return
        with os.scandir(folder) as entries:
            found = sorted((entry.name, _is_folder(entry)) for entry in entries)
    except OSError as error:
        yield failing_item(folder, _unreadable(folder, error))
        return
    start = folder if folder.endswith("/") else f"{folder}/"
    for name, is_folder in found:
        path = f"{start}{name}"
        if not is_folder:
            yield path
        elif not name.startswith("."):
            yield from _walk(path, above | {here})


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself: opening it says so.
        return False


def _content(path: str, size: int) -> bytes:
    try:
        # Half of what Python's own files cost, which counts with a million small ones.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _read_all(descriptor, size)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unreadable(path, error) from error


def _read_all(descriptor: int, size: int) -> bytes:
    """A file that was of this size; it may have changed since."""
    content = os.read(descriptor, size + 1)
    if len(content) == size:
        return content
    chunks = [content]
    while chunk := os.read(descriptor, 2**20):
        chunks.append(chunk)
    return b"".join(chunks)


def _unreadable(path: str, error: OSError) -> InvalidInputError:
    return InvalidInputError(path, expected="a readable file", got=error.strerror or str(error))
