"""Inputs of a bulk run as one stream of items: files, folders, tables, archives, standard input.

Archives are read member by member and never extracted to disk. The size of a member is checked
before it is read, so that a small archive that unpacks to a gigantic one costs no memory.
"""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from rockstar_client.bulk.items import Item, failing_item
from rockstar_client.bulk.tables import read_row_items, row_items
from rockstar_contract.csv_rows import CSV_ENDINGS
from rockstar_contract.errors import InvalidInputError, TooLargeError
from rockstar_contract.limits import IMAGE_SUFFIXES

STDIN = "-"

_TABLES = CSV_ENDINGS
_ZIPS = (".zip",)
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

# Maximum size of an item; a gateway's default limit of a request.
_MAX_ITEM_BYTES = 24 * 2**20
_CHUNK = 2**20

# Exceptions of the standard library for damaged archives.
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, ValueError, OverflowError, NotImplementedError, RuntimeError),
)
_DECOMPRESS: dict[bytes, Callable[[str], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_ENCRYPTED = 0x1  # flag of a ZIP member


class Paths:
    """Files, folders, CSV files and archives, in the order given.

    A named file is always an item. From folders and archives only images are items (for a model
    of tables only CSV files in folders), never hidden files or files in hidden folders. Can be
    iterated repeatedly; the order is the same as long as the files are.

    Attributes:
        passed_over: files in folders and archives that were skipped in the latest iteration.
    """

    def __init__(
        self,
        paths: Iterable[str],
        *,
        tables: bool = False,
        leave_out: Iterable[Path] = (),
        max_item_bytes: int = _MAX_ITEM_BYTES,
    ) -> None:
        """Store the paths without opening them.

        Args:
            paths: iterated whenever this object is. - is standard input, which can be read once.
            tables: whether the model takes rows of tables instead of images.
            leave_out: files in folders to skip, such as the output of the run.
            max_item_bytes: a larger file or member becomes a failing item and is not read.
        """
        self._paths = paths
        self._wanted = _TABLES if tables else IMAGE_SUFFIXES
        self._leave_out = {str(path.absolute()) for path in leave_out}
        self._max_item_bytes = max_item_bytes
        self.passed_over = 0

    def __iter__(self) -> Iterator[Item]:
        self.passed_over = 0
        for path in self._paths:
            if path == STDIN:
                yield from _stdin_items(self._wanted is _TABLES, self._max_item_bytes)
            elif not os.path.isdir(path):
                yield from self._file_items(path)
            else:
                for found in _walk(path, frozenset()):
                    if isinstance(found, Item):
                        yield found
                    elif self._accepts(found, archives=True):
                        yield from self._file_items(found)

    @property
    def wants(self) -> str:
        """Describes the files that are taken from folders and archives."""
        return f"files that end in {', '.join(self._wanted)}"

    def count(self) -> int | None:
        """Estimate the number of items; None if that would mean reading them all."""
        total = 0
        for path in self._paths:
            inside = _walk(path, frozenset()) if os.path.isdir(path) else (path,)
            for found in inside:
                if isinstance(found, Item) or (found != path and not self._is_wanted(found)):
                    continue
                name = found.lower()
                if name.endswith((*_TARS, ".gz")):
                    return None
                try:
                    if name.endswith(_ZIPS):
                        with zipfile.ZipFile(found) as archive:
                            total += sum(map(self._is_wanted, archive.namelist()))
                    elif name.endswith(_TABLES):
                        with Path(found).open("rb") as file:
                            chunks = iter(partial(file.read, _CHUNK), b"")
                            total += max(0, sum(chunk.count(b"\n") for chunk in chunks) - 1)
                    else:
                        total += 1
                except (OSError, zipfile.BadZipFile):
                    total += 1
        return total

    def _file_items(self, path: str) -> Iterable[Item]:
        name = path.lower()
        if name.endswith(_TABLES):
            return row_items(path)
        if name.endswith(_ZIPS):
            return _zip_items(path, self._accepts, self._max_item_bytes)
        if name.endswith(_TARS):
            return _tar_items(path, self._accepts, self._max_item_bytes)
        return (_file_item(path, self._max_item_bytes),)

    def _accepts(self, path: str, archives: bool = False) -> bool:
        accepted = self._is_wanted(path, archives)
        self.passed_over += not accepted
        return accepted

    def _is_wanted(self, path: str, archives: bool = True) -> bool:
        wanted = self._wanted + (_ZIPS + _TARS if archives else ())
        # The walk of a folder has skipped hidden folders already.
        parts = path.split("/")[-1:] if archives else path.split("/")
        hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
        if hidden or not path.lower().endswith(wanted):
            return False
        # Only a table can be an output of the run.
        return self._wanted is not _TABLES or os.path.abspath(path) not in self._leave_out


def _too_large(name: str, size: int, max_bytes: int) -> Item:
    error = TooLargeError(name, expected=f"at most {max_bytes:,} bytes", got=f"{size:,}")
    return failing_item(name, error)


def _unreadable(path: str, error: OSError) -> InvalidInputError:
    return InvalidInputError(path, expected="a readable file", got=error.strerror or str(error))


def _file_item(path: str, max_bytes: int) -> Item:
    """A file that is read when its batch is sent; an unreadable one fails then."""
    try:
        status = os.stat(path)
    except OSError as error:
        return failing_item(path, _unreadable(path, error))
    if not stat.S_ISREG(status.st_mode):
        wrong = InvalidInputError(path, expected="a file", got="something else")
        return failing_item(path, wrong)
    size = status.st_size
    if size > max_bytes:
        return _too_large(path, size, max_bytes)
    return Item(path, f"{size} {status.st_mtime_ns}", size, (), partial(_read_file, path, size))


def _read_file(path: str, size: int) -> bytes:
    """Read a file that had `size` bytes and may have changed since."""
    try:
        # Half the cost of Python's file objects, which matters for a million small files.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            content = os.read(descriptor, size + 1)
            if len(content) == size:
                return content
            chunks = [content]
            while chunk := os.read(descriptor, _CHUNK):
                chunks.append(chunk)
            return b"".join(chunks)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unreadable(path, error) from error


def _walk(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[str | Item]:
    """Yield the paths of all files in a folder and its subfolders, sorted by name in each.

    Skips hidden folders such as .git. Follows links, except to a folder that contains the link.
    A folder that cannot be listed is a failing item.

    Args:
        folder: its path.
        above: device and inode of the folders that contain it.
    """
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
        # A link to itself; opening it reports the error.
        return False


def _stdin_items(tables: bool, max_bytes: int) -> Iterable[Item]:
    """The image on standard input, or the rows of a CSV file, named -:ROW from 1."""
    # None if the process was started without standard input.
    file = sys.stdin.buffer if sys.stdin else io.BytesIO()
    content = file.read() if tables else file.read(max_bytes + 1)
    stamp = hashlib.sha256(content).hexdigest()
    if not content:
        wrong = InvalidInputError(STDIN, expected="a file on standard input", got="nothing")
        return (failing_item(STDIN, wrong),)
    if tables:
        return read_row_items(STDIN, io.BytesIO(content), stamp)
    if len(content) > max_bytes:
        return (_too_large(STDIN, len(content), max_bytes),)
    return (Item(STDIN, stamp, len(content), (), lambda: content),)


def _zip_items(path: str, accepts: Callable[[str], bool], max_bytes: int) -> Iterator[Item]:
    """The accepted members of a ZIP archive, in its order."""
    try:
        # Stays open while an item refers to it: members may be read after the last was yielded.
        archive = zipfile.ZipFile(path)
        for member in archive.infolist():
            if not member.is_dir() and accepts(member.filename):
                yield _zip_item(path, archive, member, max_bytes)
    except _DAMAGE as error:
        yield failing_item(path, _damaged(path, error))


def _zip_item(path: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo, max_bytes: int) -> Item:
    name = f"{path}:{member.filename}"
    if member.flag_bits & _ENCRYPTED:
        wrong = InvalidInputError(
            name, expected="a member without a password", got="an encrypted one"
        )
        return failing_item(name, wrong)
    if member.file_size > max_bytes:
        return _too_large(name, member.file_size, max_bytes)

    def read() -> bytes:
        try:
            # Thread-safe; checks the CRC and returns at most the declared size.
            return archive.read(member)
        except _DAMAGE as error:
            raise _damaged(name, error) from error

    return Item(name, f"{member.file_size} {member.CRC}", member.file_size, (), read)


def _tar_items(path: str, accepts: Callable[[str], bool], max_bytes: int) -> Iterator[Item]:
    """The accepted members of a tar archive, in its order; compressed or not."""
    try:
        with _open_tar(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            stamp = str(os.fstat(stream.fileno()).st_mtime_ns)
            for member in archive:
                if member.isreg() and accepts(member.name):
                    name = f"{path}:{member.name}"
                    if member.size > max_bytes:
                        yield _too_large(name, member.size, max_bytes)
                    else:
                        content = _read_member(archive, member)
                        size = member.size
                        yield Item(name, f"{size} {stamp}", size, (), partial(bytes, content))
                # Otherwise it keeps every member it has passed.
                archive.members = []  # type: ignore[attr-defined]
            # tarfile takes a truncated archive for one that has ended.
            stream.read(tarfile.BLOCKSIZE)
            if stream.tell() % tarfile.BLOCKSIZE or stream.tell() < archive.offset:
                raise tarfile.ReadError("it is cut off")
    except _DAMAGE as error:
        yield failing_item(path, _damaged(path, error))


def _open_tar(path: str) -> BinaryIO:
    """Open a file and decompress it if necessary; reading a truncated one raises EOFError."""
    with open(path, "rb") as file:
        start = file.read(6)
    for magic, decompress in _DECOMPRESS.items():
        if start.startswith(magic):
            stream: BinaryIO = decompress(path)
            return stream
    return open(path, "rb")


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    content = file.read() if file else b""
    if len(content) < member.size:
        raise tarfile.ReadError(f"it is cut off in {member.name}")
    return content


def _damaged(name: str, error: Exception) -> InvalidInputError:
    got = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return InvalidInputError(name, expected="a whole archive that can be read", got=got)
