"""Large bodies on their way in, without copies."""

import socket
from typing import Any

import numpy as np


class LargeBody:
    """A body of known size, received straight into the memory where it is read.

    It is what waitress calls a receiver, the buffer behind it, and the file that WSGI reads; the
    channel, which knows it, fills it and skips the layers between.

    Attributes:
        completed: whether all of it has come.
        error: none; waitress looks for one.
    """

    completed = False
    error = None

    def __init__(self, size: int) -> None:
        # NumPy does not clear memory, and asks for huge pages: what never comes costs nothing.
        memory: Any = np.empty(size, np.uint8)
        self._view = memoryview(memory)
        self._filled = 0

    def receive(self, source: socket.socket) -> int:
        """Receive what is there, but not the last byte: waitress finishes with received().

        Returns:
            How many bytes; 0 at the end of the stream.

        Raises:
            OSError: of the socket.
        """
        count = source.recv_into(self._view[self._filled : -1])
        self._filled += count
        return count

    @property
    def room(self) -> int:
        """Bytes that receive() still takes."""
        return len(self._view) - 1 - self._filled

    def received(self, data: bytes) -> int:
        """Take bytes that came otherwise; how many belong to this body."""
        taken = data[: len(self._view) - self._filled]
        self._view[self._filled : self._filled + len(taken)] = taken
        self._filled += len(taken)
        self.completed = self._filled == len(self._view)
        return len(taken)

    def getbuffer(self) -> memoryview:
        """All of it."""
        return self._view

    def read(self, size: int = -1) -> bytes:
        """The first bytes of it."""
        return bytes(self._view if size < 0 else self._view[:size])

    def __len__(self) -> int:
        return self._filled

    def getfile(self) -> Any:
        """What WSGI reads."""
        return self

    def getbuf(self) -> Any:
        """What waitress closes."""
        return self

    def close(self) -> None:
        """Let go of the memory."""
        self._view = memoryview(b"")
