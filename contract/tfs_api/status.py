"""Canonical status codes with their HTTP statuses, and the exception that carries one.

The codes are those of google.rpc.Code (and grpc.StatusCode); the HTTP statuses those of TensorFlow
Serving's REST API (`http_rest_api_handler.cc`).
"""

from enum import IntEnum
from typing import Any

# TensorFlow Serving's limit (`grpc_status_util.cc`). gRPC sends a message as a header, and clients
# that receive a longer one than they allow (8 KiB) lose the code as well.
_MAX_GRPC_MESSAGE_BYTES = 1024


class Code(IntEnum):
    """A canonical status code."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


HTTP_STATUS: dict[Code, int] = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}


class StatusError(Exception):
    """A call that failed, with its canonical code; the message is meant for the caller."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are pickled by their `args`, which are not the arguments of subclasses.
        return type(self).__new__, (type(self), *self.args), vars(self)


def invalid(message: str) -> StatusError:
    """The error for an invalid request: INVALID_ARGUMENT."""
    return StatusError(Code.INVALID_ARGUMENT, message)


def grpc_message(message: str) -> str:
    """A message as gRPC sends it: cut where it is long, between characters."""
    data = message.encode(errors="replace")
    if len(data) <= _MAX_GRPC_MESSAGE_BYTES:
        return message
    return data[:_MAX_GRPC_MESSAGE_BYTES].decode(errors="ignore") + "...TRUNCATED"
