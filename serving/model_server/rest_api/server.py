"""The HTTP server under the REST API: waitress, with a stop that lets requests finish."""

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from waitress.channel import HTTPChannel
from waitress.server import create_server
from waitress.task import WSGITask

# Larger bodies get 413 before they are read.
MAX_BODY_BYTES = 64 * 2**20
_POLL_SECONDS = 0.02
# How long no request may have been seen before kept-alive connections are closed.
_QUIET_SECONDS = 0.1


class _Task(WSGITask):
    """One request; while the server stops, its answer says that the connection closes."""

    def build_response_header(self) -> bytes:
        if not self.channel.server.accepting:
            request: Any = self.request
            request.headers["CONNECTION"] = "close"
        return super().build_response_header()


class _Channel(HTTPChannel):
    task_class = _Task


class RestServer:
    """Serves a WSGI application on a bound socket, in threads of its own."""

    def __init__(self, app: Callable[..., Any], listener: socket.socket, threads: int) -> None:
        self.port: int = listener.getsockname()[1]
        server: Any = create_server(
            app,
            sockets=[listener],
            threads=threads,
            max_request_body_size=MAX_BODY_BYTES,
            asyncore_use_poll=True,
            ident="RockstarTF",
        )
        server.channel_class = _Channel
        self._server = server
        self._thread = threading.Thread(target=self._server.run, name="rest", daemon=True)

    def start(self) -> None:
        """Answer requests."""
        self._thread.start()

    def stop(self, grace: float) -> bool:
        """Take no more connections, wait until requests are answered, close.

        Args:
            grace: seconds to wait.

        Returns:
            Whether all requests were answered.
        """
        deadline = time.monotonic() + grace
        # Everything that touches sockets runs in the server's own thread.
        self._in_loop(self._stop_listening)
        last_busy = time.monotonic()
        while (now := time.monotonic()) < min(deadline, last_busy + _QUIET_SECONDS):
            if self._busy():
                last_busy = now
            time.sleep(_POLL_SECONDS)
        finished = not self._busy()
        self._server.task_dispatcher.shutdown(timeout=max(0.5, deadline - time.monotonic()))
        self._in_loop(self._close_all)
        self._thread.join(timeout=grace)
        return finished

    def _in_loop(self, action: Callable[[], None]) -> None:
        self._server.trigger.pull_trigger(action)

    def _stop_listening(self) -> None:
        # Connections that wait to be taken would be reset.
        known = -1
        while known < len(self._server.active_channels):
            known = len(self._server.active_channels)
            self._server.handle_accept()
        # Not the server's own close(), which would also close the trigger that wakes the loop.
        self._server.asyncore.dispatcher.close(self._server)

    def _close_all(self) -> None:
        self._server.asyncore.close_all(self._server._map, ignore_all=True)

    def _busy(self) -> bool:
        channels = list(self._server.active_channels.values())
        # Queued or running, half received, or half sent.
        return any(c.requests or c.request or c.total_outbufs_len for c in channels)
