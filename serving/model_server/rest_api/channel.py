"""Connections of the HTTP server: waitress's, with answers in JSON and a patient end."""

import socket
import time
from typing import Any

from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import ErrorTask, WSGITask
from waitress.utilities import Error, InternalServerError, RequestEntityTooLarge

from serving.api.rest_answers import error_json
from serving.api.status import HTTP_STATUS, Code
from serving.model_server.deadline import DeadlineExceededError
from serving.model_server.rest_api.bodies import too_large
from serving.model_server.rest_api.large_body import LargeBody
from serving.model_server.rest_api.service import RECEIVED_KEY

# Answers of at most so many bytes go out with their header.
_SMALL = 64 * 2**10
# Bodies of at least so many bytes are received straight into memory of their own.
_LARGE = 512 * 2**10
_DRAIN_SECONDS = 30.0
_DRAIN_BYTES = 2**20


def _take(tokens: list[None]) -> bool:
    try:
        tokens.pop()  # which is atomic
    except IndexError:
        return False
    return True


class Parser(HTTPRequestParser):
    """A request on its way in, and the two things that are done with it just once.

    Attributes:
        received_at: when it was complete, on the clock of time.monotonic().
    """

    received_at = 0.0

    def __init__(self, adjustments: Any) -> None:
        super().__init__(adjustments)
        self._turns, self._answers = [None], [None]

    def begin(self) -> bool:
        """Whether who calls may begin its work, or see to it that nobody does."""
        return _take(self._turns)

    def claim(self) -> bool:
        """Whether who calls may answer it."""
        return _take(self._answers)

    @property
    def claimed(self) -> bool:
        """Whether somebody answers it."""
        return not self._answers

    def parse_header(self, header_plus: bytes) -> None:
        """Read the header, and make room for the body."""
        super().parse_header(header_plus)
        if not self.chunked and _LARGE <= self.content_length < self.adj.max_request_body_size:
            receiver: Any = LargeBody(self.content_length)
            self.body_rcv = receiver

    def received(self, data: bytes) -> int:
        """Take bytes of the request."""
        consumed: int = super().received(data)
        if self.completed:
            self.received_at = time.monotonic()
        if self.error is not None:
            self.expect_continue = False  # what is refused need not be sent
        return consumed


class _TooLateError(Error):
    code = HTTP_STATUS[Code.DEADLINE_EXCEEDED]
    reason = "Gateway Timeout"


class _Answering:
    """An answer; while the server stops, it says that the connection closes."""

    channel: Any
    request: Any

    def build_response_header(self) -> bytes:
        if self.channel.server.stopping:
            self.request.headers["CONNECTION"] = "close"
        header: bytes = super().build_response_header()  # type: ignore[misc]
        return header

    def write(self, data: bytes) -> None:
        """Send the header, if it is not yet sent, and the data: together, where they are small."""
        task: Any = self
        if not task.wrote_header and not task.request.claim():
            # It took too long, and is answered.
            task.wrote_header = task.close_on_finish = True
            task.content_bytes_written = task.content_length
        elif not task.wrote_header and task.content_length == len(data) <= _SMALL and task.has_body:
            task.channel.write_soon(task.build_response_header() + data)
            task.wrote_header = True
            task.content_bytes_written = len(data)
        else:
            super().write(data)  # type: ignore[misc]


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
        elif isinstance(error, _TooLateError):
            message = error.body
        else:
            message = f"{error.reason}: {error.body}"
        body = error_json(message)
        self.status = f"{error.code} {error.reason}"
        self.response_headers = [
            ("Content-Type", "application/json"),
            *self.channel.server.error_headers,
        ]
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

    def expire(self, request: Parser, seconds: float) -> None:
        """Answer a request that takes too long; what comes of it later is dropped."""
        if not request.claim():
            return
        late: Any = self.parser_class(self.adj)
        late.version = request.version
        if request.begin():  # nobody has, and now nobody will
            request.close()
            late.error = _TooLateError(DeadlineExceededError().message)
        else:
            late.error = _TooLateError(
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
