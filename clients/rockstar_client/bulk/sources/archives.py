"""The members of archives, read one after the other; nothing is ever extracted to disk.

A member's size is checked before it is read, and reading stops there, so that a small archive that
unpacks to a gigantic one costs no memory. Names are only names: no path is made of them.
"""

import bz2
import gzip
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from rockstar_client.bulk.item import Item
from rockstar_client.bulk.sources.files import failing_item, too_large
from rockstar_contract.errors import InvalidInputError

# What damage makes the standard library raise.
_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, ValueError, OverflowError, NotImplementedError, RuntimeError),
)
_UNPACK: dict[bytes, Callable[[str], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_BLOCK = tarfile.BLOCKSIZE
_ENCRYPTED = 0x1  # of a ZIP member's flags

Takes = Callable[[str], bool]


def zip_items(path: str, takes: Takes, most_bytes: int) -> Iterator[Item]:
    """The members of a ZIP archive that are taken, in its order."""
    try:
        # Open as long as an item of it lives, which may be read when the last one was given.
        archive = zipfile.ZipFile(path)
        for member in archive.infolist():
            if not member.is_dir() and takes(member.filename):
                yield _zip_item(path, archive, member, most_bytes)
    except _DAMAGE as error:
        yield failing_item(path, _damaged(path, error))


def _zip_item(
    path: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo, most_bytes: int
) -> Item:
    name = f"{path}:{member.filename}"
    if member.flag_bits & _ENCRYPTED:
        wrong = InvalidInputError(
            name, expected="a member without a password", got="an encrypted one"
        )
        return failing_item(name, wrong)
    if member.file_size > most_bytes:
        return failing_item(name, too_large(name, member.file_size, most_bytes))
    stamp = f"{member.file_size} {member.CRC}"

    def read() -> bytes:
        try:
            # Checks the CRC, and never gives more than the declared size. A lock inside.
            return archive.read(member)
        except _DAMAGE as error:
            raise _damaged(name, error) from error

    return Item(name, stamp, member.file_size, (), read)


def tar_items(path: str, takes: Takes, most_bytes: int) -> Iterator[Item]:
    """The members of a tar archive that are taken, in its order; compressed or not."""
    try:
        with _unpacked(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            stamp = str(os.fstat(stream.fileno()).st_mtime_ns)
            for member in archive:
                if member.isreg() and takes(member.name):
                    yield _tar_item(f"{path}:{member.name}", archive, member, stamp, most_bytes)
                # Else it would keep every member that it has passed.
                archive.members = []  # type: ignore[attr-defined]
            # What is left tells whether it was cut off, which tarfile takes for its end.
            stream.read(_BLOCK)
            if stream.tell() % _BLOCK or stream.tell() < archive.offset:
                raise tarfile.ReadError("it is cut off")
    except _DAMAGE as error:
        yield failing_item(path, _damaged(path, error))


def _unpacked(path: str) -> BinaryIO:
    """A file, unpacked while it is read, if it is packed; one that is cut off raises EOFError."""
    with open(path, "rb") as file:
        start = file.read(6)
    for magic, unpack in _UNPACK.items():
        if start.startswith(magic):
            stream: BinaryIO = unpack(path)
            return stream
    return open(path, "rb")


def _tar_item(
    name: str, archive: tarfile.TarFile, member: tarfile.TarInfo, stamp: str, most_bytes: int
) -> Item:
    if member.size > most_bytes:
        return failing_item(name, too_large(name, member.size, most_bytes))
    file = archive.extractfile(member)
    content = file.read() if file else b""
    if len(content) < member.size:
        raise tarfile.ReadError(f"it is cut off in {member.name}")
    return Item(name, f"{member.size} {stamp}", member.size, (), lambda: content)


def _damaged(name: str, error: Exception) -> InvalidInputError:
    got = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return InvalidInputError(name, expected="a whole archive that can be read", got=got)
