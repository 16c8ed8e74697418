"""The HTTP server under the REST API: waitress, with a stop that lets requests finish."""

import resource
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from waitress.server import create_server

from rockstar_serving.model_server.options import RestOptions
from rockstar_serving.model_server.rest import RestApi
from rockstar_serving.model_server.rest_api.channel import Channel
from rockstar_serving.model_server.rest_api.watch import Watch
from rockstar_serving.model_server.rest_api.wsgi import wsgi_app

# How long no request may have been seen before kept-alive connections are closed.
_QUIET_SECONDS = 0.1
# Bytes that are received at once, and connections (waitress's own limit is 100).
_RECEIVED_BYTES = 256 * 2**10
_CONNECTIONS = 1000
# Open files that are left for gRPC, models and logs.
_OTHER_FILES = 100
_NEVER = 2**62
# How long threads that have nothing to do any more may take to notice that.
_END_SECONDS = 0.5


def connection_limit() -> int:
    """How many connections are taken; more wait until others close.

    Without a free file for a connection, waitress would try without a pause, and log each failure.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return _CONNECTIONS
    return min(_CONNECTIONS, max(files - _OTHER_FILES, files // 2))


class RestServer:
    """Serves the REST API on a bound socket, in threads of its own."""

    def __init__(self, api: RestApi, listener: socket.socket, options: RestOptions) -> None:
        self.port: int = listener.getsockname()[1]
        server: Any = create_server(
            wsgi_app(api),
            sockets=[listener],
            threads=options.threads,
            max_request_body_size=options.max_body_bytes + 1,  # waitress refuses this size itself
            # Bodies and answers stay in memory, where they are needed whole, not in files.
            inbuf_overflow=_NEVER,
            outbuf_overflow=_NEVER,
            recv_bytes=_RECEIVED_BYTES,
            connection_limit=connection_limit(),
            asyncore_use_poll=True,
            ident="RockstarTF",
        )
        server.channel_class = Channel
        server.stopping = False
        server.changes = threading.Condition()
        server.error_headers = list(api.cors_headers)
        self._server = server
        self._watch = Watch(options.timeout_seconds) if options.timeout_seconds else None
        if self._watch is not None:
            server.add_task = partial(_add_task, server.task_dispatcher, self._watch)
        self._thread = threading.Thread(target=self._server.run, name="rest", daemon=True)

    def start(self) -> None:
        """Answer requests."""
        if self._watch is not None:
            self._watch.start()
        self._thread.start()

    def stop(self, grace: float) -> bool:
        """Take no more connections, wait until requests are answered, close.

        Args:
            grace: seconds to wait.

        Returns:
            Whether all requests were answered, and no model runs any more for one that took too
            long.
        """
        deadline = time.monotonic() + grace
        self._server.stopping = True
        # Everything that touches sockets runs in the server's own thread.
        self._in_loop(self._stop_listening)
        finished = self._wait_until_quiet(deadline)
        dispatcher = self._server.task_dispatcher
        dispatcher.shutdown(timeout=_END_SECONDS)
        if self._watch is not None:
            self._watch.stop()
        self._in_loop(self._close_all)
        self._thread.join(timeout=_END_SECONDS)
        return finished and not dispatcher.threads

    def _wait_until_quiet(self, deadline: float) -> bool:
        """Wait until no request is seen for a while; whether that came about in time."""
        changes = self._server.changes
        with changes:
            while changes.wait_for(lambda: not self._busy(), deadline - time.monotonic()):
                quiet = min(_QUIET_SECONDS, max(0.0, deadline - time.monotonic()))
                if not changes.wait_for(self._busy, quiet):
                    return True
        return False

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
        return any(channel.busy for channel in list(self._server.active_channels.values()))


def _add_task(dispatcher: Any, watch: Watch, channel: Any) -> None:
    """Let the next request of a channel be answered: by a thread, or when it is late."""
    watch.add(channel.requests[0], channel)
    dispatcher.add_task(channel)
