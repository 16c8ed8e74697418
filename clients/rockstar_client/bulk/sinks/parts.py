"""A file that grows by whole batches and can be cut back to a safe length."""

import fcntl
import os
from pathlib import Path

from rockstar_client.bulk.errors import BulkError, ResumeError


class Part:
    """A file on its way: appended to, and locked against other runs."""

    def __init__(self, path: Path) -> None:
        """Open or make it.

        Raises:
            BulkError: another run has it.
            OSError: it cannot be written.
        """
        self.path = path
        # Not buffered: what was written survives this process, and errors come when they happen.
        self._file = path.open("ab", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = os.fstat(self._file.fileno()).st_ino == path.stat().st_ino
        except (BlockingIOError, FileNotFoundError):
            mine = False
        if not mine:
            self._file.close()
            raise BulkError(f"another run is writing {path}")

    @property
    def size(self) -> int:
        """In bytes."""
        return os.fstat(self._file.fileno()).st_size

    def append(self, data: bytes) -> None:
        """Write data to its end.

        Raises:
            OSError: there is no room; a piece of the data may have been written.
        """
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            error.filename = str(self.path)
            raise

    def cut_back(self, size: int) -> None:
        """Forget what was written after the first bytes.

        Raises:
            ResumeError: there are fewer.
        """
        if self.size < size:
            raise ResumeError(f"{self.path} is shorter than it was: begin anew with --restart")
        self._file.truncate(size)

    def first_line(self) -> bytes:
        """Its first line."""
        with self.path.open("rb") as file:
            return file.readline()

    def sync(self) -> None:
        """Wait until it is safe on disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close it, for others to write."""
        self._file.close()
