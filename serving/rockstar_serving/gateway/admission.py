"""Limits concurrent requests, their memory, and the time that a request body may take to arrive."""

import contextlib
import socket
import sys
import threading
import time
from collections import deque
from operator import attrgetter
from typing import IO

from prometheus_client import Gauge

from rockstar_serving.gateway.context import RequestContext, Verdict

# Seconds between two checks of the uploads.
_CHECK_S = 0.25
# Processor time for reading a body: any, and more for larger ones.
_FREE_CPU_S = 0.1
_BYTES_PER_CPU_S = 2**20
# Uploads that may wait for bytes, each in a thread; the oldest make room for more.
_MOST_WAITING = 256
# An upload counts as a request in flight once it is larger than this: it takes memory.
_MAX_UNCOUNTED_BYTES = 2**20
# Bodies of the largest size in memory at a time.
_LARGEST_BODIES = 4
# Of decoded inputs: one large image, or several smaller ones; and small inputs beside them.
_BYTES_PER_PIXEL = 6
_SMALL_INPUT, _SMALL_BYTES = 16 * 2**20, 64 * 2**20


class Limit:
    """Lets requests take some of what there is, others wait, and rejects the rest; thread-safe.

    What there is may be places or bytes.

    Attributes:
        most: maximum sum of what requests have taken.
    """

    def __init__(self, most: int, waiting: int) -> None:
        """Let at most `waiting` requests wait."""
        self.most = most
        self._most_waiting = waiting
        self._taken = 0
        # Those that wait, the first to come first: what they need, and set once they have it.
        self._waiting: deque[tuple[int, threading.Event]] = deque()
        self._lock = threading.Lock()

    def enter(self, timeout: float, size: int = 1) -> Verdict:
        """Wait until there is room, at most `timeout` seconds, and take it; `leave` ends it."""
        with self._lock:
            # Not before those that wait: a request that takes several turns would keep them out.
            if not self._waiting and self._fits(size):
                self._taken += size
                return "admitted"
            if len(self._waiting) >= self._most_waiting:
                return "full"
            waiter = size, threading.Event()
            self._waiting.append(waiter)
        waiter[1].wait(timeout)
        with self._lock:
            if waiter[1].is_set():
                return "admitted"
            self._waiting.remove(waiter)
            self._admit()
            return "late"

    def leave(self, size: int = 1) -> None:
        """An admitted request gives back what it took."""
        with self._lock:
            self._taken -= size
            self._admit()

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, admitted = self._waiting.popleft()
            self._taken += size
            admitted.set()

    def _fits(self, size: int) -> bool:
        return self._taken + size <= self.most


class Admission(Limit):
    """Limits the requests that run at a time; one for each worker process.

    Attributes:
        in_flight: the number of requests that run or wait.
    """

    def __init__(self, at_once: int, waiting: int, in_flight: Gauge) -> None:
        super().__init__(at_once, waiting)
        self.in_flight = in_flight

    def is_full(self) -> bool:
        """Whether a request would be rejected now."""
        return self._taken >= self.most and len(self._waiting) >= self._most_waiting

    def enter(self, timeout: float, size: int = 1) -> Verdict:
        """See Limit."""
        self.in_flight.inc()
        verdict = super().enter(timeout, size)
        if verdict != "admitted":
            self.in_flight.dec()
        return verdict

    def leave(self, size: int = 1) -> None:
        """See Limit."""
        super().leave(size)
        self.in_flight.dec()

    def resume(self) -> None:
        """A request runs again that left to wait for something else; even if there is no room."""
        with self._lock:
            self._taken += 1
        self.in_flight.inc()


class Memory:
    """Limits the memory that requests of a worker process hold, and what computes; thread-safe.

    Large inputs wait apart from small ones, which are therefore answered meanwhile.

    Attributes:
        bodies: bytes of bodies, as sent and decompressed. Nobody waits: those that wait would hold
            what others wait for.
        reading: large JSON documents and CSV files that are read; one at a time.
        inflating: pieces of compressed bodies; one at a time.
    """

    def __init__(self, max_body_bytes: int, max_pixels: int, waiting: int, cores: int) -> None:
        """Set the limits, from those of one request; `cores` are those for this process."""
        self.bodies = Limit(_LARGEST_BODIES * max_body_bytes, 0)
        self.reading = Limit(1, waiting)
        # More threads than cores that compute would keep the event loop, or the threads of small
        # requests, from running. Those that wait have been admitted, so their number is limited.
        self.inflating, *self._preparing = (Limit(each, sys.maxsize) for each in (1, cores, cores))
        self._small = Limit(_SMALL_BYTES, waiting)
        self._large = Limit(_BYTES_PER_PIXEL * max_pixels, waiting)

    def decoding(self, size: int) -> Limit:
        """The limit for an input that takes `size` bytes when it is decoded."""
        return self._small if size <= _SMALL_INPUT else self._large

    def preparing(self, size: int) -> Limit:
        """The limit of images, small or large, that are decoded and preprocessed at a time."""
        return self._preparing[size > _SMALL_INPUT]


class Uploads:
    """Watches the uploads of a worker process, and ends those that take too long; thread-safe.

    A socket's timeout limits each wait for some bytes. A client that sends a byte now and then
    would occupy a thread for hours.
    """

    def __init__(self, seconds: float, admission: Admission) -> None:
        """Limit the seconds of a body; `admission` counts the requests that bodies belong to."""
        self.seconds = seconds
        self.admission = admission
        self._reading: set[Upload] = set()
        self._work = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def watch(self, upload: "Upload") -> None:
        """Watch an upload while it waits for bytes."""
        self._reading.add(upload)
        if not self._work.is_set():
            self._work.set()
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, daemon=True, name="uploads")
                    self._thread.start()

    def unwatch(self, upload: "Upload") -> None:
        """Stop watching an upload."""
        with self._lock:
            self._reading.discard(upload)

    def _run(self) -> None:
        while True:
            self._work.wait()
            # Most bodies arrive between two checks.
            time.sleep(_CHECK_S)
            now = time.monotonic()
            with self._lock:
                newest_first = sorted(self._reading, key=attrgetter("began"), reverse=True)
                for index, upload in enumerate(newest_first):
                    upload.check(now, make_room=index >= _MOST_WAITING)
            if not self._reading:
                self._work.clear()
                # One may have started just before that.
                if self._reading:
                    self._work.set()


class Upload:
    """A body that is being received.

    It does not count as a request in flight until it has arrived or takes much memory. Otherwise a
    few slow clients would keep others out.

    Attributes:
        began: when, in monotonic seconds.
        received: bytes so far.
        late: whether its time is over.
        seconds: time spent waiting for it so far.
        cpu_seconds: processor time spent on it so far.
    """

    def __init__(
        self, uploads: Uploads, current: RequestContext, connection: socket.socket | None
    ) -> None:
        """Start the time of an upload; without a connection, the whole body is in memory."""
        self._uploads = uploads
        self._current = current
        self._connection = connection
        self.began = time.monotonic()
        self.received = 0
        self.late = False
        self.seconds = self.cpu_seconds = 0.0

    def read(self, stream: IO[bytes], size: int) -> bytes:
        """Up to `size` bytes of the body; none at its end, or if it is late or rejected.

        Raises:
            OSError: the connection is broken.
        """
        if self._connection is None:
            data = stream.read(size)
            self.received += len(data)
            return data
        began, began_cpu = time.monotonic(), time.thread_time()
        # Ends the wait for a client that sends nothing at all.
        self._connection.settimeout(max(0.001, self.began + self._uploads.seconds - began))
        self._uploads.watch(self)
        try:
            data = stream.read(size)
        except TimeoutError:
            self.late = True
            data = b""
        finally:
            self._uploads.unwatch(self)
            self._connection.settimeout(self._current.timeout)
            self.seconds += time.monotonic() - began
            self.cpu_seconds += time.thread_time() - began_cpu
        self.received += len(data)
        if self.received > _MAX_UNCOUNTED_BYTES and not self.admit():
            return b""
        return data

    def admit(self) -> bool:
        """Count as a request in flight; returns false if it is rejected now."""
        current = self._current
        if current.verdict == "receiving":
            current.verdict = self._uploads.admission.enter(current.timeout)
        return current.verdict in ("admitted", "unlimited")

    @property
    def costly(self) -> bool:
        """Whether it takes far more processor time than its size explains, as tiny chunks do."""
        most = _FREE_CPU_S + self.received / _BYTES_PER_CPU_S
        return self.cpu_seconds > most

    @property
    def ended(self) -> bool:
        """Whether `check` has ended it."""
        return self.late or self._current.verdict == "full"

    def check(self, now: float, *, make_room: bool) -> None:
        """Called while it waits for bytes: end it if it is late, or for others if it may go."""
        if now - self.began >= self._uploads.seconds:
            self.late = True
        elif make_room and self._current.verdict == "receiving":
            self._current.verdict = "full"
        else:
            return
        if self._connection is not None:
            with contextlib.suppress(OSError):  # already closed
                # The read sees the end of the stream.
                self._connection.shutdown(socket.SHUT_RD)
