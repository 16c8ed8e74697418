"""Bodies on their way: each has a limited time to arrive, however slowly its client sends."""

import contextlib
import itertools
import socket
import threading
import time
from typing import Protocol

_CHECK_S = 0.5


class Readable(Protocol):
    """What a body is read from."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; fewer only at the end."""


class Uploads:
    """Ends uploads that take too long; one for each worker process, used from all its threads.

    A socket's own timeout limits each wait for some bytes. A client that sends one now and then
    would keep a thread for hours.
    """

    def __init__(self, seconds: float) -> None:
        """Begin without any.

        Args:
            seconds: that a body may take to arrive.
        """
        self.seconds = seconds
        self._reading: dict[int, Upload] = {}
        self._numbers = itertools.count()
        self._work = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def begin(self, connection: socket.socket | None, afterwards: float) -> "Upload":
        """The time of an upload begins.

        Args:
            connection: where it comes from; None where it is there already.
            afterwards: the timeout of the connection whenever nothing is read, in seconds.
        """
        return Upload(self, connection, afterwards)

    def watch(self, upload: "Upload") -> int:
        """End an upload when its time is over; for Upload, which is about to read."""
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
        """For Upload: it was read."""
        self._reading.pop(number, None)

    def _run(self) -> None:
        while True:
            self._work.wait()
            # Most bodies are there at once: they come and go between two looks, and wake nobody.
            time.sleep(_CHECK_S)
            now = time.monotonic()
            for upload in list(self._reading.values()):
                if upload.until <= now:
                    upload.end()
            if not self._reading:
                self._work.clear()
                # One may have begun just before that.
                if self._reading:
                    self._work.set()


class Upload:
    """One body on its way.

    Attributes:
        until: when it must have arrived, in monotonic seconds.
        late: whether it took longer.
        seconds: how long was waited for it so far.
    """

    def __init__(
        self, uploads: Uploads, connection: socket.socket | None, afterwards: float
    ) -> None:
        self._uploads = uploads
        self._connection = connection
        self._afterwards = afterwards
        self.until = time.monotonic() + uploads.seconds
        self.late = False
        self.seconds = 0.0

    def read(self, stream: Readable, size: int) -> bytes:
        """Up to `size` bytes of the body; fewer at its end, or when it is late.

        Raises:
            OSError: the connection is broken.
        """
        if self._connection is None:
            return stream.read(size)
        began = time.monotonic()
        # A client that sends nothing at all is also noticed where end() wakes up nobody.
        self._connection.settimeout(max(0.001, self.until - began))
        number = self._uploads.watch(self)
        try:
            return stream.read(size)
        except TimeoutError:
            self.late = True
            return b""
        finally:
            self._uploads.unwatch(number)
            self._connection.settimeout(self._afterwards)
            self.seconds += time.monotonic() - began

    def end(self) -> None:
        """Listen no longer to the client: who reads sees an end. For Uploads."""
        self.late = True
        if self._connection is not None:
            with contextlib.suppress(OSError):  # it is closed
                self._connection.shutdown(socket.SHUT_RD)
