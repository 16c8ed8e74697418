"""A `model.tflite`: read whole, and again where it was let go."""

import contextlib
import os
import threading
from pathlib import Path
from typing import BinaryIO

from rockstar_serving.model_server.engines.engine import LoadError
from tfs_api.status import Code, StatusError

_IDENTIFIER = b"TFL3"  # of the FlatBuffers schema, at bytes 4 to 8


class ModelFile:
    """The content of a model.tflite; thread-safe.

    It is read and not mapped: an interpreter made later still finds it when the folder is gone, and
    a file that is overwritten in place cannot pull memory from under a request.
    """

    def __init__(self, path: Path) -> None:
        """Read a file.

        Raises:
            LoadError: it is missing, not readable, or no LiteRT model.
        """
        self._path = path
        self._lock = threading.Lock()
        # What was read, or where to read it again: open, so that it is found without its folder.
        self._held: bytes | BinaryIO
        try:
            with path.open("rb") as file:
                self._version = _version(file)
                self._held = content = file.read()
        except FileNotFoundError:
            raise LoadError(f"{path} is missing: export the model with its LiteRT file") from None
        except OSError as error:
            raise LoadError(f"{path} cannot be read: {error.strerror}") from error
        if len(content) < 8 or content[4:8] != _IDENTIFIER:
            raise LoadError(
                f"{path} is no LiteRT model ({len(content)} bytes without the mark TFL3): export "
                "it again, or wait until it is copied whole"
            )

    def content(self) -> bytes:
        """What was read.

        Raises:
            StatusError: UNAVAILABLE, it was let go and the file was overwritten since.
        """
        with self._lock:
            if not isinstance(self._held, bytes):
                self._held = self._read_again(self._held)
            return self._held

    def let_go(self) -> None:
        """Free the content until it is wanted; interpreters made of it have it still."""
        with self._lock, contextlib.suppress(OSError):  # the file is gone: what was read stays
            if isinstance(self._held, bytes):
                file = self._path.open("rb")
                if _version(file) == self._version:
                    self._held = file
                else:
                    file.close()

    def close(self) -> None:
        """Free the content for good."""
        with self._lock:
            if not isinstance(self._held, bytes):
                self._held.close()
            self._held = b""

    def _read_again(self, file: BinaryIO) -> bytes:
        file.seek(0)
        content = file.read()
        if _version(file) != self._version:
            raise StatusError(
                Code.UNAVAILABLE,
                f"{self._path} was overwritten while it was served: publish a new version instead",
            )
        file.close()
        return content


def _version(file: BinaryIO) -> tuple[int, ...]:
    """Differs once a file was overwritten or has another in its place."""
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
