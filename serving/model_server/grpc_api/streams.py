"""Calls that last as long as their callers like."""

import threading

import grpc


class OpenStreams:
    """Streams that a server which stops must end itself, or it would wait for them in vain."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contexts: set[grpc.ServicerContext] = set()

    def add(self, context: grpc.ServicerContext) -> None:
        """Remember a stream until it ends."""
        with self._lock:
            self._contexts.add(context)
        if not context.add_callback(lambda: self._forget(context)):
            self._forget(context)  # it has ended already

    def cancel(self) -> None:
        """End all of them."""
        with self._lock:
            contexts = list(self._contexts)
        for context in contexts:
            context.cancel()

    def _forget(self, context: grpc.ServicerContext) -> None:
        with self._lock:
            self._contexts.discard(context)
