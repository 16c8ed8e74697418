"""SIGTERM and SIGINT."""

import _thread
import logging
import os
import signal
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType

log = logging.getLogger(__name__)


class Signals:
    """The first one asks a server that runs to stop; the next one ends the process at once."""

    def __init__(self) -> None:
        # A handler may use it whatever it interrupts; the lock of an Event could deadlock.
        self._received: SimpleQueue[int] = SimpleQueue()
        # Python runs handlers in the main thread, between two of its steps: a signal that comes
        # just before that thread blocks would go unnoticed. This pipe gets a byte at once.
        self._wakeup, pipe = os.pipe()
        os.set_blocking(pipe, False)
        signal.set_wakeup_fd(pipe, warn_on_full_buffer=False)
        self._stopping = False
        self._clean_up: Callable[[], None] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def serving(self, clean_up: Callable[[], None]) -> None:
        """There may be requests to finish from now on; until now a signal ended the process.

        Args:
            clean_up: called before the process ends at once.
        """
        self._clean_up = clean_up

    def wait(self) -> None:
        """Return when the server shall stop."""
        while self._received.empty():
            os.read(self._wakeup, 1)
        name = signal.Signals(self._received.get()).name
        log.info("%s: stopping, requests in flight finish", name)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._clean_up is None or self._stopping:
            # In a thread: a line written here may interrupt one that is being written, which Python
            # does not allow, and what follows would not be done.
            _thread.start_new_thread(self._end, (number, self._stopping))
        else:
            self._stopping = True
            self._received.put(number)

    def _end(self, number: int, again: bool) -> None:
        name = signal.Signals(number).name
        if again:
            log.warning("%s again: stopped at once", name)
        else:
            log.info("%s while starting: stopped", name)
        if self._clean_up is not None:
            self._clean_up()
        exit_now(128 + number if again else 0)


def exit_now(status: int) -> None:
    """End the process without waiting for its threads, some of which may never end."""
    logging.shutdown()
    os._exit(status)
