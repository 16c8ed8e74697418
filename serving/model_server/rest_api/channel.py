"""Connections of the HTTP server: waitress's, with answers in JSON and a patient end."""

import socket
import time
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import InternalServerError, RequestEntityTooLarge

from serving.model_server.rest_api.answers import error_json
from serving.model_server.rest_api.bodies import too_large
from serving.model_server.rest_api.service import RECEIVED_KEY

_DRAIN_SECONDS = 30.0
_DRAIN_BYTES = 2**20


class Parser(HTTPRequestParser):
    """A request on its way in."""

    received_at = 0.0

    def received(self, data: bytes) -> int:
        """Take bytes of the request; see waitress."""
        consumed: int = super().received(data)
        if self.completed:
            self.received_at = time.monotonic()
        if self.error is not None:
            self.expect_continue = False  # what is refused need not be sent
        return consumed


class _Answering:
    """An answer; while the server stops, it says that the connection closes."""

    channel: Any
    request: Any

    def build_response_header(self) -> bytes:
        if self.channel.server.stopping:
            self.request.headers["CONNECTION"] = "close"
        header: bytes = super().build_response_header()  # type: ignore[misc]
        return header


class Task(_Answering, WSGITask):
    """One request."""

    def get_environment(self) -> dict[str, Any]:
        """The environment of WSGI, with the time at which the request had come."""
        environ: dict[str, Any] = super().get_environment()
        environ[RECEIVED_KEY] = self.request.received_at
        return environ


class JsonErrorTask(_Answering, ErrorTask):
    """The answer to what is no HTTP, or not to be read."""

    def execute(self) -> None:
        """Answer."""
        error = self.request.error
        if isinstance(error, RequestEntityTooLarge):
            self.channel.drains = True
            message = too_large(self.channel.adj.max_request_body_size - 1)
        elif isinstance(error, InternalServerError):
            message = "internal error"
        else:
            message = f"{error.reason}: {error.body}"
        body = error_json(message)
        self.status = f"{error.code} {error.reason}"
        self.response_headers = [("Content-Type", "application/json")]
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Channel(HTTPChannel):
    """A connection.

    Attributes:
        drains: whether what still comes is dropped once the answer is sent, until the client is
            done or some time is over. A client that is still sending a body that was refused would
            not see the answer if the connection were closed at once.
    """

    task_class = Task
    error_task_class = JsonErrorTask
    parser_class = Parser
    server: Any  # with `stopping` and `changes`, see RestServer
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
        if self._drains_until:
            self.recv(_DRAIN_BYTES)  # closes at the end of the stream
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
        super().service()
        self._tell()

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
