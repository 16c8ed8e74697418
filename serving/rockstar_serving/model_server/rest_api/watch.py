"""Requests whose time is over (`--rest_api_timeout_in_ms`)."""

import threading
import time
import weakref
from collections import deque
from typing import Any, NamedTuple, Protocol


class Request(Protocol):
    """What is waited for."""

    @property
    def claimed(self) -> bool:
        """Whether somebody answers it."""
        ...


class Sender(Protocol):
    """Where it came from."""

    def expire(self, request: Any, seconds: float) -> None:
        """Answer it for who should have."""
        ...


class _Entry(NamedTuple):
    # The references are weak, so that what was answered long ago is not kept by what was not.
    until: float  # on the clock of time.monotonic()
    request: "weakref.ref[Request]"
    sender: "weakref.ref[Sender]"

    @property
    def done(self) -> bool:
        request = self.request()
        return request is None or request.claimed


class Watch:
    """Looks after requests in a thread of its own, which sleeps while none is late.

    A model that runs cannot be interrupted. So who waits for it is answered, and its own answer,
    when it comes, is dropped; until then it keeps its thread, of which there is a fixed number.
    """

    def __init__(self, seconds: float) -> None:
        """Make a watch.

        Args:
            seconds: that each request has.
        """
        self._seconds = seconds
        self._entries: deque[_Entry] = deque()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rest-watch", daemon=True)

    def start(self) -> None:
        """Look after what is added."""
        self._thread.start()

    def stop(self) -> None:
        """Look after nothing any more."""
        self._stopped.set()
        self._thread.join()

    def add(self, request: Request, sender: Sender) -> None:
        """Look after one more."""
        until = time.monotonic() + self._seconds
        with self._lock:
            self._forget_done()
            self._entries.append(_Entry(until, weakref.ref(request), weakref.ref(sender)))

    def _run(self) -> None:
        # What is added while this sleeps is not late before it wakes: nobody needs to wake it.
        while not self._stopped.wait(self._time_to_next()):
            with self._lock:
                self._forget_done()
                late = bool(self._entries) and self._entries[0].until <= time.monotonic()
                entry = self._entries.popleft() if late else None
            if entry is not None:
                request, sender = entry.request(), entry.sender()
                if request is not None and sender is not None:
                    sender.expire(request, self._seconds)

    def _time_to_next(self) -> float:
        with self._lock:
            if not self._entries:
                return self._seconds
            return max(0.0, self._entries[0].until - time.monotonic())

    def _forget_done(self) -> None:
        while self._entries and self._entries[0].done:
            self._entries.popleft()
