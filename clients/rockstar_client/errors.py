"""Errors of calls: the same classes over HTTP and over gRPC.

CallError
├── InvalidRequestError     the request is invalid: change it
├── NotFoundError           no such model or version
├── OverloadedError         too many requests: wait, then try again
├── UnavailableError        the server is down, starting or unreachable: try again
├── DeadlineExceededError   no answer in time
└── ServerError             the server failed: see its log
    └── NoContractError     the model has no contract: only its tensors can be called
"""

from collections.abc import Mapping
from typing import Self

from rockstar_contract.errors import InvalidInputError
from tfs_api.status import Code, StatusError


class CallError(StatusError):
    """A call failed.

    Attributes:
        code: canonical code.
        message: what is wrong, and how to fix it.
        request_id: id of the call in the gateway's log, if there is one.
        retry_after: seconds to wait before a retry, if the server requests it.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        request_id: str | None = None,
        *,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(code, message)
        self.request_id = request_id
        self.retry_after = retry_after


class InvalidRequestError(CallError):
    """The request is invalid.

    Attributes:
        field: where, for example "inputs[2]"; this and the next three are empty if unknown.
        expected: what would be valid.
        got: what was received.
        hint: how to fix it.
        index: position of the invalid input, if it is one; a CSV file counts as its rows.
    """

    field = expected = got = hint = ""
    index: int | None = None

    def about(self, members: Mapping[str, str], index: int | None) -> Self:
        """Set the attributes; returns the error itself."""
        for name in ("field", "expected", "got", "hint"):
            setattr(self, name, members.get(name, ""))
        self.index = index
        return self


class NotFoundError(CallError):
    """There is no such model or version."""


class OverloadedError(CallError):
    """The server has too many requests."""


class UnavailableError(CallError):
    """The server is down, starting or cannot be reached."""


class DeadlineExceededError(CallError):
    """There was no answer in time."""


class ServerError(CallError):
    """The server failed."""


class NoContractError(ServerError):
    """The model has no contract, so examples cannot be turned into its tensors."""


_INVALID = (
    *(Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.OUT_OF_RANGE, Code.ALREADY_EXISTS),
    *(Code.UNAUTHENTICATED, Code.PERMISSION_DENIED, Code.UNIMPLEMENTED),
)
_CLASSES: dict[Code, type[CallError]] = {
    **dict.fromkeys(_INVALID, InvalidRequestError),
    Code.NOT_FOUND: NotFoundError,
    Code.RESOURCE_EXHAUSTED: OverloadedError,
    Code.UNAVAILABLE: UnavailableError,
    Code.DEADLINE_EXCEEDED: DeadlineExceededError,
}


def call_error(
    code: Code, message: str, request_id: str | None = None, *, retry_after: float | None = None
) -> CallError:
    """Create the exception for a canonical code."""
    kind = _CLASSES.get(code, ServerError)
    if retry_after:
        message = f"{message.rstrip('.')}; the server requests a pause of {retry_after:g} s"
    return kind(code, message, request_id, retry_after=retry_after)


class UnreadableExampleError(InvalidInputError):
    """An input that cannot be read, and its position; a CSV file counts as its rows."""

    def __init__(self, error: InvalidInputError, index: int) -> None:
        super().__init__(error.field, expected=error.expected, got=error.got, hint=error.hint)
        self.index = index


def invalid_request(error: InvalidInputError, index: int | None = None) -> InvalidRequestError:
    """Create the exception for an input that is invalid; `index` is its position, if known."""
    if isinstance(error, UnreadableExampleError):
        index = error.index
    return InvalidRequestError(Code.INVALID_ARGUMENT, str(error)).about(vars(error), index)
