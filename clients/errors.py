"""Why a call failed: the same classes over HTTP and over gRPC.

CallError
├── InvalidRequestError     the request is wrong: mend it
├── NotFoundError           no such model or version
├── OverloadedError         too many requests: wait, then try again
├── UnavailableError        the server is down, starting or unreachable: try again
├── DeadlineExceededError   no answer in time
└── ServerError             the server failed: look in its log
"""

from serving.api.status import Code, StatusError


class CallError(StatusError):
    """A call that failed; `request_id` finds it in the gateway's log where there is one."""

    def __init__(self, code: Code, message: str, request_id: str | None = None) -> None:
        super().__init__(code, message)
        self.request_id = request_id


class InvalidRequestError(CallError):
    """The request is wrong."""


class NotFoundError(CallError):
    """There is no such model or version."""


class OverloadedError(CallError):
    """The server has too much to do."""


class UnavailableError(CallError):
    """The server is down, starting or cannot be reached."""


class DeadlineExceededError(CallError):
    """There was no answer in time."""


class ServerError(CallError):
    """The server failed."""


_CLASSES: dict[Code, type[CallError]] = {
    Code.INVALID_ARGUMENT: InvalidRequestError,
    Code.FAILED_PRECONDITION: InvalidRequestError,
    Code.OUT_OF_RANGE: InvalidRequestError,
    Code.ALREADY_EXISTS: InvalidRequestError,
    Code.UNAUTHENTICATED: InvalidRequestError,
    Code.PERMISSION_DENIED: InvalidRequestError,
    Code.UNIMPLEMENTED: InvalidRequestError,
    Code.NOT_FOUND: NotFoundError,
    Code.RESOURCE_EXHAUSTED: OverloadedError,
    Code.UNAVAILABLE: UnavailableError,
    Code.DEADLINE_EXCEEDED: DeadlineExceededError,
}


def call_error(code: Code, message: str, request_id: str | None = None) -> CallError:
    """The exception for a canonical code."""
    return _CLASSES.get(code, ServerError)(code, message, request_id)
