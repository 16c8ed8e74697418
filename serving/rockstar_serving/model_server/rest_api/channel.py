"""Connections of the HTTP server: waitress's, which know of late requests and of large bodies."""

import socket
import time
from typing import Any

from waitress.channel import ClientDisconnected, HTTPChannel

from rockstar_serving.model_server.deadline import DeadlineExceededError
from rockstar_serving.model_server.rest_api.incoming import Incoming
from rockstar_serving.model_server.rest_api.large_body import LargeBody
from rockstar_serving.model_server.rest_api.tasks import JsonErrorTask, Task, TooLateError

_DRAIN_SECONDS = 30.0
_DRAIN_BYTES = 2**20


class Channel(HTTPChannel):
    """A connection.

    Attributes:
        drains: whether what still comes is dropped once the answer is sent, until the client is
            done or some time is over. A client that is still sending a body that was refused would
            not see the answer if the connection were closed at once.
    """

    task_class = Task
    error_task_class = JsonErrorTask
    parser_class = Incoming
    server: Any  # with what RestServer adds to it
    drains = False
    _drains_until = 0.0

    @property
    def busy(self) -> bool:
        """Whether a request is half received, waits, runs, or is half answered."""
        return bool(self.requests or self.request or self.total_outbufs_len)

    def readable(self) -> bool:
        """Whether to wait for bytes."""
        return bool(self._drains_until or super().readable())

    def writable(self) -> bool:
        """Whether to wait until bytes can be sent, or the connection closed."""
        if self._drains_until:
            return time.monotonic() > self._drains_until
        return bool(super().writable())

    def handle_read(self) -> None:
        """Receive."""
        body = self.request.body_rcv if self.request else None
        if self._drains_until:
            self.recv(_DRAIN_BYTES)  # closes at the end of the stream
        elif isinstance(body, LargeBody) and body.room:
            self._receive_into(body)
        else:
            super().handle_read()
        self._tell()

    def handle_write(self) -> None:
        """Send, or close."""
        if self._drains_until:
            self.handle_close()
        elif self.drains and self.close_when_flushed:
            self._send_and_drain()
        else:
            super().handle_write()
        self._tell()

    def service(self) -> None:
        """Answer a request, in a thread of its own."""
        request: Any = self.requests[0]
        if request.begin():
            super().service()
            request.claim()  # if the client was gone, nobody answered it
        self._tell()

    def expire(self, request: Incoming, seconds: float) -> None:
        """Answer a request that takes too long; what comes of it later is dropped."""
        if not request.claim():
            return
        late: Any = self.parser_class(self.adj)
        late.version = request.version
        if request.begin():  # nobody has, and now nobody will
            request.close()
            late.error = TooLateError(DeadlineExceededError().message)
        else:
            late.error = TooLateError(
                f"the model was still running after {seconds * 1000:.0f} ms "
                "(--rest_api_timeout_in_ms)"
            )
        try:
            self.error_task_class(self, late).service()
        except ClientDisconnected:
            return
        self.close_when_flushed = True
        self.server.pull_trigger()

    def _receive_into(self, body: LargeBody) -> None:
        waitress: Any = self
        try:
            count = body.receive(waitress.socket)
        except OSError:
            count = 0
        if count:
            self.last_activity = time.time()
            waitress.request.body_bytes_received += count
        else:
            self.handle_close()

    def _send_and_drain(self) -> None:
        waitress: Any = self  # its types leave these two out
        waitress._flush_exception(waitress._flush_some)
        if self.will_close:
            self.handle_close()
        elif not self.total_outbufs_len:
            self._drains_until = time.monotonic() + _DRAIN_SECONDS
            try:
                waitress.socket.shutdown(socket.SHUT_WR)
            except OSError:  # the client was faster
                self.handle_close()

    def _tell(self) -> None:
        """Tell who waits for the end of all requests that something may have changed."""
        if self.server.stopping:
            with self.server.changes:
                self.server.changes.notify_all()
