"""Text of configuration files in the encodings that editors write, and names of files as text."""

import codecs
from pathlib import Path


class EncodingError(ValueError):
    """A file that is not UTF-8; the message says how to fix it."""


def read_text(path: Path) -> str:
    """Read a configuration file in UTF-8, with or without a byte order mark.

    Raises:
        OSError: the file cannot be read.
        EncodingError: it has another encoding.
    """
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:2]:
        raise EncodingError("expected UTF-8, got UTF-16: save the file as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise EncodingError(
            f"expected UTF-8, got another encoding (line {line}): save the file as UTF-8"
        ) from error


def utf8_name(name: str) -> str:
    r"""The name of a file as valid UTF-8; undecodable bytes become \udcNN."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()
