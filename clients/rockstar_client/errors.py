"""Why a call failed: the same classes over HTTP and over gRPC.

CallError
├── InvalidRequestError     the request is wrong: mend it
├── NotFoundError           no such model or version
├── OverloadedError         too many requests: wait, then try again
├── UnavailableError        the server is down, starting or unreachable: try again
├── DeadlineExceededError   no answer in time
└── ServerError             the server failed: look in its log
    └── NoContractError     the model has no contract: its tensors can be called, nothing else
"""

from collections.abc import Mapping
from typing import Self

from rockstar_contract.errors import InvalidInputError
from tfs_api.status import Code, StatusError


class CallError(StatusError):
    """A call that failed.

    Attributes:
        code: the canonical one.
        message: what is wrong, and what to do.
        request_id: finds the call in the gateway's log, where there is one.
        retry_after: seconds that the server asks to wait for, where it does.
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
    """The request is wrong.

    Attributes:
        field: where, for example "inputs[2]"; this and the next three are empty where unknown.
        expected: what would be right.
        got: what came.
        hint: how to mend it.
        index: which of the inputs is wrong, where it is one; a CSV file counts as its rows.
    """

    field = expected = got = hint = ""
    index: int | None = None

    def about(self, members: Mapping[str, str], index: int | None) -> Self:
        """The same with attributes set."""
        for name in ("field", "expected", "got", "hint"):
            setattr(self, name, members.get(name, ""))
        self.index = index
        return self


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


class NoContractError(ServerError):
    """The model carries no contract, so nothing says how examples become its tensors."""


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


def call_error(
    code: Code,
    message: str,
    request_id: str | None = None,
    *,
    retry_after: float | None = None,
) -> CallError:
    """The exception for a canonical code."""
    kind = _CLASSES.get(code, ServerError)
    if retry_after:
        message = f"{message.rstrip('.')}; the server asks to wait {retry_after:g} s"
    return kind(code, message, request_id, retry_after=retry_after)


def invalid_request(error: InvalidInputError, index: int | None = None) -> InvalidRequestError:
    """The exception for an input that cannot be used."""
    return InvalidRequestError(Code.INVALID_ARGUMENT, str(error)).about(vars(error), index)
