"""Log lines that would come with every request, now and then instead."""

import logging
import threading
import time
from collections.abc import Mapping

PAUSE_S = 5.0


class Seldom:
    """Logs warnings of one kind at most every few seconds; thread-safe."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._next = 0.0
        self._left_out = 0

    def warn(
        self, text: str, *arguments: object, extra: Mapping[str, object] | None = None
    ) -> None:
        """Log a text, or count it among those that were left out; extra as for loggers."""
        with self._lock:
            if time.monotonic() < self._next:
                self._left_out += 1
                return
            self._next = time.monotonic() + PAUSE_S
            left_out, self._left_out = self._left_out, 0
        more = f" (and {left_out} more like it before)" if left_out else ""
        self._log.warning(text + more, *arguments, extra=extra)
