"""Requests whose time is over (`--rest_api_timeout_in_ms`)."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A request that is waited for.

    Attributes:
        until: on the clock of time.monotonic().
        done: whether it is answered.
        expire: answers it for who should have.
    """

    until: float
    done: Callable[[], bool]
    expire: Callable[[], None]


class Watch:
    """Looks after requests in a thread of its own, which sleeps while none is late.

    A model that runs cannot be interrupted. So who waits for it is answered, and its own answer,
    when it comes, is dropped; until then it keeps its thread, of which there is a fixed number.
    """

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="rest-watch", daemon=True)

    def start(self) -> None:
        """Look after what is added."""
        self._thread.start()

    def stop(self) -> None:
        """Look after nothing any more."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def add(self, entry: Entry) -> None:
        """Look after one more, which is not over before those that were added before."""
        with self._changed:
            self._forget_done()
            self._entries.append(entry)
            if len(self._entries) == 1:
                self._changed.notify()

    def _run(self) -> None:
        while (late := self._next()) is not None:
            late.expire()

    def _next(self) -> Entry | None:
        """The next that is late; None after the end."""
        with self._changed:
            while not self._stopped:
                self._forget_done()
                if not self._entries:
                    self._changed.wait()
                elif (left := self._entries[0].until - time.monotonic()) > 0:
                    self._changed.wait(left)
                else:
                    return self._entries.popleft()
            return None

    def _forget_done(self) -> None:
        while self._entries and self._entries[0].done():
            self._entries.popleft()
