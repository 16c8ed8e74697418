"""Reading the files that users wrote, in the encodings of editors, and replacing files safely."""

import codecs
import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

# Far more than configuration files have.
_MAX_BYTES = 32 * 2**20


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read; raises OSError, also if it is a pipe, which would block, or a device."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return file


def read_text(path: Path) -> str:
    """Read a configuration file in UTF-8, with or without a byte order mark.

    Raises OSError, also for a file with another encoding, of more than 32 MiB, or not regular.
    """
    with open_regular(path) as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise OSError(errno.EFBIG, "it is larger than 32 MiB", str(path))
    return decode_text(data)


def decode_text(data: bytes) -> str:
    """Decode the content of a configuration file; raises OSError if it is not UTF-8."""
    got = "UTF-16"
    if not (data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:2]):
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            got = f"another encoding (line {line})"
    raise OSError(errno.EILSEQ, f"expected UTF-8, got {got}: save the file as UTF-8")


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that readers, and a crash, find the old one or the new one.

    Raises OSError. Two processes must not write the same file at once.
    """
    new = path.with_name(f".{path.name.removeprefix('.')}.new")
    try:
        new.write_bytes(content)
        sync(new)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Write a file, or the entries of a folder, to the disk; raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def utf8_name(name: str) -> str:
    r"""The name of a file as valid UTF-8; undecodable bytes become \udcNN."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()
