"""Limits the time that a request body may take to arrive, however slowly its client sends."""

import contextlib
import itertools
import socket
import threading
import time
from typing import Protocol

# Seconds between two checks.
_CHECK_S = 0.5


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Uploads:
    """Ends uploads that take too long; one for each worker process, thread-safe.

    A socket's timeout limits each wait for some bytes. A client that sends a byte now and then
    would occupy a thread for hours.
    """

    def __init__(self, seconds: float) -> None:
        """Set the limit.

        Args:
            seconds: a body may take to arrive.
        """
        self.seconds = seconds
        self._reading: dict[int, Upload] = {}
        self._numbers = itertools.count()
        self._work = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self, upload: "Upload") -> int:
        """End an upload when its time is over; returns a number for `unwatch`."""
        number = next(self._numbers)
        self._reading[number] = upload
        if not self._work.is_set():
            self._work.set()
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, daemon=True, name="uploads")
                    self._thread.start()
        return number

    def unwatch(self, number: int) -> None:
        """Stop watching an upload."""
        self._reading.pop(number, None)

    def _run(self) -> None:
        while True:
            self._work.wait()
            # Most bodies arrive at once: they are read between two checks, and wake nothing.
            time.sleep(_CHECK_S)
            now = time.monotonic()
            for upload in list(self._reading.values()):
                if upload.until <= now:
                    upload.end()
            if not self._reading:
                self._work.clear()
                # One may have started just before that.
                if self._reading:
                    self._work.set()


class Upload:
    """A body that is being received.

    Attributes:
        until: when it must have arrived, in monotonic seconds.
        late: whether it did not.
        seconds: time spent waiting for it so far.
    """

    def __init__(self, uploads: Uploads, connection: socket.socket | None, timeout: float) -> None:
        """Start the time of an upload.

        Args:
            uploads: ends it.
            connection: of the client; None if the whole body is in memory.
            timeout: of the connection while no body is read, in seconds.
        """
        self._uploads = uploads
        self._connection = connection
        self._timeout = timeout
        self.until = time.monotonic() + uploads.seconds
        self.late = False
        self.seconds = 0.0

    def read(self, stream: _Stream, size: int) -> bytes:
        """Up to `size` bytes of the body; fewer at its end, or if it is late.

        Raises:
            OSError: the connection is broken.
        """
        if self._connection is None:
            return stream.read(size)
        began = time.monotonic()
        # Ends the wait for a client that sends nothing at all.
        self._connection.settimeout(max(0.001, self.until - began))
        number = self._uploads.watch(self)
        try:
            return stream.read(size)
        except TimeoutError:
            self.late = True
            return b""
        finally:
            self._uploads.unwatch(number)
            self._connection.settimeout(self._timeout)
            self.seconds += time.monotonic() - began

    def end(self) -> None:
        """Make the read see the end of the stream."""
        self.late = True
        if self._connection is not None:
            with contextlib.suppress(OSError):  # already closed
                self._connection.shutdown(socket.SHUT_RD)
