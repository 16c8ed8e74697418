"""Calls that last as long as their callers like."""

import threading
from collections.abc import Callable

import grpc


class OpenStreams:
    """Streams that a server which stops must end itself, or it would wait for them in vain."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: dict[grpc.ServicerContext, Callable[[], None]] = {}

    def add(self, context: grpc.ServicerContext, end: Callable[[], None]) -> None:
        """Remember a stream until it ends.

        Args:
            context: of the call.
            end: ends it.
        """
        with self._lock:
            self._ends[context] = end
        if not context.add_callback(lambda: self._forget(context)):
            self._forget(context)  # it has ended already

    def end(self) -> None:
        """End all of them."""
        with self._lock:
            ends = list(self._ends.values())
        for end in ends:
            end()

    def _forget(self, context: grpc.ServicerContext) -> None:
        with self._lock:
            self._ends.pop(context, None)
