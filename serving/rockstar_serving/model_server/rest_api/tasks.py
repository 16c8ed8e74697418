"""Answers on their way out: waitress's, in JSON."""

from typing import Any

from waitress.task import ErrorTask, WSGITask
from waitress.utilities import Error, InternalServerError, RequestEntityTooLarge

from rockstar_serving.model_server.rest import BodyTooLargeError
from rockstar_serving.model_server.rest_api.wsgi import RECEIVED_KEY
from tfs_api.json_response import error_json
from tfs_api.status import HTTP_STATUS, Code

# Answers of at most so many bytes go out with their header.
_SMALL = 64 * 2**10


class TooLateError(Error):
    """A request that took too long."""

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
            message = BodyTooLargeError(self.channel.adj.max_request_body_size - 1).message
        elif isinstance(error, InternalServerError):
            message = "internal error"
        elif isinstance(error, TooLateError):
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
