"""SIGTERM and SIGINT."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

log = logging.getLogger(__name__)


class Signals:
    """The first one asks a server that runs to stop; the next one ends the process at once.

    Attributes:
        stopping: set when the server shall stop.
    """

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._clean_up: Callable[[], None] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def serving(self, clean_up: Callable[[], None]) -> None:
        """There may be requests to finish from now on; until now a signal ended the process.

        Args:
            clean_up: called before the process ends at once.
        """
        self._clean_up = clean_up

    def _handle(self, number: int, _: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self._clean_up is None:
            log.info("%s while starting: stopped", name)
            exit_now(0)
        elif self.stopping.is_set():
            log.warning("%s again: stopped at once", name)
            self._clean_up()
            exit_now(128 + number)
        else:
            log.info("%s: stopping, requests in flight finish", name)
            self.stopping.set()


def exit_now(status: int) -> None:
    """End the process without waiting for its threads, some of which may never end."""
    logging.shutdown()
    os._exit(status)
