"""Inputs of a bulk run as one stream of items: files, folders, tables, archives, object stores.

Tables are read row by row, archives member by member; nothing is extracted to disk. The size of a
member is checked before it is read, so that a small archive that unpacks to a gigantic one costs no
memory.
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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from rockstar_client.bulk import STDIN, BulkError
from rockstar_client.bulk.items import Item, failing_item, wrong_item
from rockstar_client.bulk.parquet import (
    PARQUET,
    first_line,
    is_url,
    locate,
    parquet_items,
    parquet_layout,
    read_object,
)
from rockstar_client.examples import Example
from rockstar_contract import csv_rows
from rockstar_contract.csv_rows import CSV_ENDINGS
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.limits import IMAGE_SUFFIXES

_ZIP = ".zip"
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

# Maximum size of an item, the default limit of a request to a gateway. A larger one is not read.
_MAX_ITEM_BYTES = 24 * 2**20
_CHUNK = 2**20
# Rows from which the column names and the decimal separator are inferred.
_SAMPLE_ROWS = 200

_FILE, _ARCHIVE = "a readable file", "a complete archive"
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
    """Files, folders, tables, archives, and URLs of object stores, in the order given.

    A named file is always an item. From folders and archives only images are items (for a model
    of tables only CSV files in folders), and the rows of Parquet files, never hidden files or files
    in hidden folders. Can be iterated repeatedly; the order is the same as long as the files are.

    Attributes:
        passed_over: files in folders and archives that were skipped in the latest iteration.
    """

    def __init__(
        self, paths: Iterable[str], *, tables: bool = False, leave_out: Iterable[Path] = ()
    ) -> None:
        """Store the paths, of which - is standard input, without opening them.

        Args:
            paths: iterated whenever this object is.
            tables: whether the model takes rows of tables instead of images.
            leave_out: files in folders to skip, such as the output of the run.
        """
        self._paths = paths
        self._tables = tables
        self._wanted = (*(CSV_ENDINGS if tables else IMAGE_SUFFIXES), PARQUET)
        self._leave_out = {str(path.absolute()) for path in leave_out}
        self.passed_over = 0

    def __iter__(self) -> Iterator[Item]:
        self.passed_over = 0
        for path in self._paths:
            if path == STDIN:
                yield from _stdin_items(self._tables)
            elif is_url(path):
                yield from self._stored_items(path)
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
            if is_url(path):
                return None
            for found in _walk(path, frozenset()) if os.path.isdir(path) else (path,):
                if isinstance(found, Item) or (found != path and not self._is_wanted(found)):
                    continue
                name = found.lower()
                if name.endswith((*_TARS, ".gz")):
                    return None
                try:
                    if name.endswith(_ZIP):
                        with zipfile.ZipFile(found) as archive:
                            total += sum(map(self._is_wanted, archive.namelist()))
                    elif name.endswith(PARQUET):
                        total += sum(parquet_layout(*locate(found))[1])
                    elif name.endswith(CSV_ENDINGS):
                        with Path(found).open("rb") as file:
                            ends = Counter[bytes]()  # by line end, which may be CR alone
                            for chunk in iter(partial(file.read, _CHUNK), b""):
                                ends.update({end: chunk.count(end) for end in (b"\n", b"\r")})
                            total += max(0, *(count - 1 for count in ends.values()))
                    else:
                        total += 1
                except (OSError, zipfile.BadZipFile):
                    total += 1
        return total

    def _file_items(self, path: str) -> Iterable[Item]:
        name = path.lower()
        if name.endswith(PARQUET):
            return parquet_items(path, self._tables)
        if name.endswith(CSV_ENDINGS):
            return _table_items(path)
        if name.endswith(_ZIP):
            return _zip_items(path, self._accepts)
        if name.endswith(_TARS):
            return _tar_items(path, self._accepts)
        return (_file_item(path),)

    def _stored_items(self, url: str) -> Iterator[Item]:
        """The images, or rows of Parquet files, of an object or of all objects below a URL."""
        from pyarrow.fs import FileSelector, FileType

        system, path = locate(url)
        try:
            (found,) = system.get_file_info([path])
            objects = [found]
            if found.type != FileType.File:
                objects = system.get_file_info(FileSelector(path, recursive=True))
        except OSError as error:
            raise BulkError(f"{url} cannot be read: {first_line(error)}") from error
        for each in sorted(objects, key=lambda each: str(each.path)):
            name = f"{url.removesuffix('/')}{each.path.removeprefix(path.removesuffix('/'))}"
            if each.type != FileType.File or not (each is found or self._accepts(name)):
                continue
            stamp = f"{each.size} {each.mtime_ns}"
            if name.lower().endswith(PARQUET):
                yield from parquet_items(name, self._tables)
            elif each.size > _MAX_ITEM_BYTES:
                yield _too_large(name, each.size)
            elif self._tables:
                yield wrong_item(
                    name, "a Parquet file", "another object; copy CSV files to a folder"
                )
            else:
                yield Item(name, stamp, each.size, (), partial(read_object, name))

    def _accepts(self, path: str, archives: bool = False) -> bool:
        accepted = self._is_wanted(path, archives)
        self.passed_over += not accepted
        return accepted

    def _is_wanted(self, path: str, archives: bool = True) -> bool:
        wanted = self._wanted + ((_ZIP, *_TARS) if archives else ())
        # The walk of a folder has skipped hidden folders already.
        parts = path.split("/")[-1:] if archives else path.split("/")
        hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
        if hidden or not path.lower().endswith(wanted):
            return False
        # Only a table can be an output of the run.
        is_table = path.lower().endswith((*CSV_ENDINGS, PARQUET))
        return not is_table or not self._leave_out.intersection(
            (os.path.abspath(path), os.path.dirname(os.path.abspath(path)))
        )


def _unusable(name: str, expected: str, error: Exception) -> InvalidInputError:
    got = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return InvalidInputError(name, expected=expected, got=got)


def _too_large(name: str, size: int) -> Item:
    return wrong_item(name, f"at most {_MAX_ITEM_BYTES:,} bytes", f"{size:,}")


def _constant(content: Example) -> Callable[[], Example]:
    return partial(_same, content)  # unlike a closure, it can be sent to another process


def _same(content: Example) -> Example:
    return content


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns}"


def _file_item(path: str) -> Item:
    """A file that is read when its batch is sent; an unreadable one fails then."""
    try:
        status = os.stat(path)
    except OSError as error:
        return failing_item(path, _unusable(path, _FILE, error))
    if not stat.S_ISREG(status.st_mode):
        return wrong_item(path, "a file", "something else")
    size = status.st_size
    if size > _MAX_ITEM_BYTES:
        return _too_large(path, size)
    return Item(path, _stamp(status), size, (), partial(_read_file, path))


def _read_file(path: str) -> bytes:
    try:
        # Half the cost of a buffered file, which matters for a million small ones.
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError as error:
        raise _unusable(path, _FILE, error) from error


def _walk(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[str | Item]:
    """Yield the paths of all files in a folder and its subfolders, sorted by name in each.

    Skips hidden folders such as .git. Follows links, except to a folder that contains the link.
    A folder that cannot be listed is a failing item. `above` has the device and inode of the
    folders that contain this one.
    """
    try:
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in above:
            return
        names = sorted(os.listdir(folder))
    except OSError as error:
        yield failing_item(folder, _unusable(folder, _FILE, error))
        return
    start = folder if folder.endswith("/") else f"{folder}/"
    for name in names:
        path = f"{start}{name}"
        if not os.path.isdir(path):
            yield path
        elif not name.startswith("."):
            yield from _walk(path, above | {here})


def _stdin_items(tables: bool) -> Iterable[Item]:
    """The image on standard input, or the rows of a CSV file, named -:ROW from 1."""
    # None if the process was started without standard input.
    file = sys.stdin.buffer if sys.stdin else io.BytesIO()
    content = file.read() if tables else file.read(_MAX_ITEM_BYTES + 1)
    stamp = hashlib.sha256(content).hexdigest()
    if not content:
        return (wrong_item(STDIN, "a file on standard input", "nothing"),)
    if tables:
        return _table_items(STDIN, io.BytesIO(content), stamp)
    if len(content) > _MAX_ITEM_BYTES:
        return (_too_large(STDIN, len(content)),)
    return (Item(STDIN, stamp, len(content), (), _constant(content)),)


def _zip_items(path: str, accepts: Callable[[str], bool]) -> Iterator[Item]:
    """The accepted members of a ZIP archive, in its order."""
    try:
        stamp = os.stat(path).st_mtime_ns
        for member in _open_zip(path, stamp).infolist():
            if member.is_dir() or not accepts(member.filename):
                continue
            name, size = f"{path}:{member.filename}", member.file_size
            if member.flag_bits & _ENCRYPTED:
                yield wrong_item(name, "a member without a password", "an encrypted one")
            elif size > _MAX_ITEM_BYTES:
                yield _too_large(name, size)
            else:
                read = partial(_read_zip_member, path, stamp, member, name)
                yield Item(name, f"{size} {member.CRC}", size, (), read)
    except _DAMAGE as error:
        yield failing_item(path, _unusable(path, _ARCHIVE, error))


@lru_cache(maxsize=2)
def _open_zip(path: str, stamp: int) -> zipfile.ZipFile:  # noqa: ARG001
    """Open an archive once for all its members, in each process; the stamp is its age."""
    return zipfile.ZipFile(path)


def _read_zip_member(path: str, stamp: int, member: zipfile.ZipInfo, name: str) -> bytes:
    try:
        # Thread-safe; checks the CRC and returns at most the declared size.
        return _open_zip(path, stamp).read(member)
    except _DAMAGE as error:
        raise _unusable(name, _ARCHIVE, error) from error


def _tar_items(path: str, accepts: Callable[[str], bool]) -> Iterator[Item]:
    """The accepted members of a tar archive, in its order; compressed or not."""
    try:
        with _open_tar(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            stamp = str(os.fstat(stream.fileno()).st_mtime_ns)
            for member in archive:
                if member.isreg() and accepts(member.name):
                    name, size = f"{path}:{member.name}", member.size
                    if size > _MAX_ITEM_BYTES:
                        yield _too_large(name, size)
                    else:
                        file = archive.extractfile(member)
                        content = file.read() if file else b""
                        if len(content) < size:
                            raise tarfile.ReadError(f"it is cut off in {member.name}")
                        yield Item(name, f"{size} {stamp}", size, (), _constant(content))
                # Otherwise it keeps every member it has passed.
                archive.members = []  # type: ignore[attr-defined]
            # tarfile takes a truncated archive for one that has ended: with a block of zeros.
            stream.read(tarfile.BLOCKSIZE)
            end = archive.offset + tarfile.BLOCKSIZE
            if stream.tell() % tarfile.BLOCKSIZE or stream.tell() < end:
                raise tarfile.ReadError("it is cut off")
    except _DAMAGE as error:
        yield failing_item(path, _unusable(path, _ARCHIVE, error))


def _open_tar(path: str) -> BinaryIO:
    """Open a file and decompress it if necessary; reading a truncated one raises EOFError."""
    with open(path, "rb") as file:
        start = file.read(6)
    for magic, decompress in _DECOMPRESS.items():
        if start.startswith(magic):
            stream: BinaryIO = decompress(path)
            return stream
    return open(path, "rb")


def _table_items(name: str, file: BinaryIO | None = None, stamp: str = "") -> Iterator[Item]:
    """Yield each row of a CSV file as FILE:ROW, counted from 1 without the header.

    Accepts what `read_table` accepts, also compressed with gzip. A row that cannot be read is a
    failing item, and so is a file without a usable header. A file that is open must be seekable,
    and its items get the stamp.
    """
    try:
        with file or open(name, "rb") as raw:
            stamp = stamp or _stamp(os.fstat(raw.fileno()))
            compressed = raw.read(len(csv_rows.GZIP)) == csv_rows.GZIP
            raw.seek(0)
            plain = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if compressed else raw
            yield from _rows(name, plain, stamp)
    except (OSError, EOFError, zlib.error) as error:
        yield failing_item(name, _unusable(name, _FILE, error))
    except InvalidInputError as error:
        yield failing_item(name, error)


def _rows(path: str, file: BinaryIO, stamp: str) -> Iterator[Item]:
    encoding = _find_encoding(path, file)
    # In UTF-8 only the row with invalid bytes fails.
    errors = "replace" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
    with io.TextIOWrapper(file, encoding, errors, newline="") as text:
        dialect, above = csv_rows.find_dialect(
            text.read(csv_rows.SAMPLE_SIZE).replace(csv_rows.MARK, "")
        )
        text.seek(0)
        lines, hint = csv_rows.plain_lines(text), csv_rows.encoding_hint(encoding)
        reader = csv_rows.CsvReader(lines, dialect, above, path, doubt=hint, sample=_SAMPLE_ROWS)
        names = tuple(reader.names)
        for number, (_, cells) in enumerate(reader, start=1):
            name = f"{path}:{number}"
            if isinstance(cells, InvalidInputError):
                yield failing_item(name, cells)
                continue
            try:
                "".join(cells).encode()
            except UnicodeEncodeError:
                yield wrong_item(name, "UTF-8", "other bytes")
            else:
                row = csv_rows.text_row(names, cells, reader.decimal, hint)
                yield Item(name, stamp, sum(map(len, cells)) + len(names), names, _constant(row))


def _find_encoding(path: str, file: BinaryIO) -> str:
    """Detect the encoding by the start of a file, or by its first lines that are not ASCII."""
    encoding, rest = "", b""
    while chunk := file.read(csv_rows.SAMPLE_SIZE):
        lines, rest = rest + chunk, b""
        if len(chunk) == csv_rows.SAMPLE_SIZE:
            # Not the line that was cut, perhaps within a character.
            end = max(lines.rfind(b"\n"), lines.rfind(b"\r")) + 1
            lines, rest = lines[:end], lines[end:]
        if not encoding or not lines.isascii():
            encoding = csv_rows.find_encoding(lines, path)
        if not (encoding == "utf-8" and lines.isascii()):
            break
    file.seek(0)
    return encoding or "utf-8"
