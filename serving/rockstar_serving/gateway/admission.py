"""Limits concurrent requests, and the time that a request body may take to arrive."""

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rockstar_serving.gateway.observers import Observer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

# WSGI variable, when the request arrived, in monotonic seconds.
ARRIVED = "rockstar.arrived"
# WSGI variables: a Verdict, and the Admission that decided it; both absent on open paths.
VERDICT = "rockstar.verdict"
_ADMISSION = "rockstar.admission"
# "full": rejected; "late": the timeout ended in the queue; "receiving": does not count for now,
# see Upload.
Verdict = Literal["admitted", "full", "late", "receiving"]

# Seconds between two checks of the uploads.
_CHECK_S = 0.5
# A slow upload counts as a request in flight once it is larger than this: it takes memory.
_MAX_UNCOUNTED_BYTES = 2**20


class Admission:
    """A WSGI middleware that lets some requests run, some wait in a queue, and rejects the rest.

    It decides before a body is read. The application writes the rejections, in the error format of
    the requested API; the WSGI variable VERDICT has the decision. One for each worker process.
    """

    def __init__(
        self,
        application: "WSGIApplication",
        *,
        at_once: int,
        waiting: int,
        timeout: Callable[[dict[str, Any]], float],
        always: Callable[[str], bool],
        observer: Observer,
    ) -> None:
        """Wrap an application.

        Args:
            application: handles the requests.
            at_once: maximum number of requests that run at a time.
            waiting: maximum number of further requests that wait.
            timeout: timeout of a request in seconds, from its WSGI environment.
            always: whether a path is admitted without a limit.
            observer: gets the number of requests.
        """
        self._application = application
        self._room = threading.Semaphore(at_once)
        self._most = at_once + waiting
        self._timeout = timeout
        self._always = always
        self._observer = observer
        self._lock = threading.Lock()
        self._in_flight = 0

    def __call__(self, environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request."""
        environ[ARRIVED] = time.monotonic()
        if self._always(environ.get("PATH_INFO", "")):
            return self._application(environ, start_response)
        environ[_ADMISSION] = self
        environ[VERDICT] = self.enter(environ)
        try:
            return self._application(environ, start_response)
        finally:
            if environ[VERDICT] == "admitted":
                self.leave()

    def enter(self, environ: dict[str, Any]) -> Verdict:
        """Wait until a request may run."""
        with self._lock:
            if self._in_flight >= self._most:
                return "full"
            self._in_flight += 1
        self._observer.in_flight(self._in_flight)
        if self._room.acquire(timeout=self._timeout(environ)):
            return "admitted"
        self._count_down()
        return "late"

    def leave(self) -> None:
        """An admitted request no longer runs."""
        self._room.release()
        self._count_down()

    def _count_down(self) -> None:
        with self._lock:
            self._in_flight -= 1
        self._observer.in_flight(self._in_flight)


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Uploads:
    """Watches the uploads of a worker process, and ends those that take too long; thread-safe.

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
        """Watch an upload while it waits for bytes; returns a number for `unwatch`."""
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
        with self._lock:
            self._reading.pop(number, None)

    def _run(self) -> None:
        while True:
            self._work.wait()
            # Most bodies arrive between two checks.
            time.sleep(_CHECK_S)
            now = time.monotonic()
            with self._lock:
                for upload in list(self._reading.values()):
                    upload.check(now)
            if not self._reading:
                self._work.clear()
                # One may have started just before that.
                if self._reading:
                    self._work.set()


class Upload:
    """A body that is being received.

    A slow upload does not count as a request in flight until it has arrived or takes much memory.
    Otherwise a few slow clients would keep others out.

    Attributes:
        received: bytes so far.
        late: whether its time is over.
        seconds: time spent waiting for it so far.
    """

    def __init__(self, uploads: Uploads, environ: dict[str, Any], timeout: float) -> None:
        """Start the time of an upload.

        Args:
            uploads: watches it.
            environ: WSGI environment of the request.
            timeout: of the connection while no body is read, in seconds.
        """
        self._uploads = uploads
        self._environ = environ
        # None if the whole body is in memory.
        self._connection: socket.socket | None = environ.get("gunicorn.socket")
        self._timeout = timeout
        self._began = time.monotonic()
        self.received = 0
        self.late = False
        self.seconds = 0.0

    def read(self, stream: _Stream, size: int) -> bytes:
        """Up to `size` bytes of the body; none at its end, or if it is late or rejected.

        Raises:
            OSError: the connection is broken.
        """
        if self._connection is None:
            data = stream.read(size)
            self.received += len(data)
            return data
        began = time.monotonic()
        # Ends the wait for a client that sends nothing at all.
        self._connection.settimeout(max(0.001, self._began + self._uploads.seconds - began))
        number = self._uploads.watch(self)
        try:
            data = stream.read(size)
        except TimeoutError:
            self.late = True
            data = b""
        finally:
            self._uploads.unwatch(number)
            self._connection.settimeout(self._timeout)
            self.seconds += time.monotonic() - began
        self.received += len(data)
        if self.received > _MAX_UNCOUNTED_BYTES and not self.readmit():
            return b""
        return data

    def readmit(self) -> bool:
        """Count as a request in flight again; returns false if it is rejected now."""
        if self._environ.get(VERDICT) == "receiving":
            self._environ[VERDICT] = self._environ[_ADMISSION].enter(self._environ)
        admitted: bool = self._environ.get(VERDICT, "admitted") == "admitted"
        return admitted

    def check(self, now: float) -> None:
        """Called while it waits for bytes: end it if it is late, or stop counting it."""
        seconds = now - self._began
        if seconds >= self._uploads.seconds:
            self.late = True
            if self._connection is not None:
                with contextlib.suppress(OSError):  # already closed
                    # The read sees the end of the stream.
                    self._connection.shutdown(socket.SHUT_RD)
        elif (
            seconds >= _CHECK_S
            and self.received <= _MAX_UNCOUNTED_BYTES
            and self._environ.get(VERDICT) == "admitted"
        ):
            self._environ[VERDICT] = "receiving"
            self._environ[_ADMISSION].leave()
