"""Errors of a request: exceptions, the problems they map to, and problem documents (RFC 9457)."""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import quote

import msgspec
from werkzeug.exceptions import ClientDisconnected, HTTPException, MethodNotAllowed, NotFound

from rockstar_client.backend import Query
from rockstar_client.errors import CallError, DeadlineExceededError, NoContractError, NotFoundError
from rockstar_client.predictor import Steps
from rockstar_contract.errors import InvalidInputError, TooLargeError
from rockstar_serving.gateway.context import Verdict, context
from rockstar_serving.gateway.state import gateway
from tfs_api.status import HTTP_STATUS, Code

# Of a gateway that is busy or stopping; a key that has used up its rate has a time of its own.
RETRY_SOON = {"Retry-After": "1"}
_INTERNAL = "The gateway failed; its log has the details under this request id."
# Not among Python's.
_CANCELLED = HTTP_STATUS[Code.CANCELLED]
# Statuses that are the caller's fault.
_CALLERS = {400, 401, 403, 404, 409, 429, 501}
# Default hints.
_DESCRIBED = "GET /docs shows what can be sent."
_LISTED = "GET /v1/models lists what is served."

log = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False)
class ProblemError(Exception):
    """An error as the caller gets it, independent of the API's error format.

    Attributes:
        status: HTTP status.
        detail: what went wrong, in words.
        code: canonical error code, if any.
        field: where in the request the error is.
        expected: what is valid there.
        got: what was received.
        hint: how to fix it.
        headers: for the response, such as Retry-After.
    """

    status: int
    detail: str
    code: Code | None = None
    field: str = ""
    expected: str = ""
    got: str = ""
    hint: str = ""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        return self.detail

    @property
    def text(self) -> str:
        """Detail and hint in one text, for APIs whose errors have no more."""
        if self.hint in self.detail:
            return self.detail
        return f"{self.detail}{'' if self.detail.endswith('.') else ';'} {self.hint}"


class HttpResponse(msgspec.Struct):
    """A response, as every server sends it."""

    body: bytes
    content_type: str = "application/json"
    status: int = HTTPStatus.OK
    headers: Mapping[str, str] = {}


# Formats a problem as an API does; status and headers are set afterwards.
ErrorFormat = Callable[[ProblemError], HttpResponse]


def problem_document(problem: ProblemError) -> HttpResponse:
    """A problem document (RFC 9457); an ErrorFormat. Empty members are left out."""
    status = problem.status
    document: dict[str, str | int] = {
        "type": "about:blank",
        "title": "Client Closed Request" if status == _CANCELLED else HTTPStatus(status).phrase,
        "status": status,
        "detail": problem.detail,
    }
    for name in ("field", "expected", "got", "hint"):
        if value := getattr(problem, name):
            document[name] = value
    document["request_id"] = context().request_id
    return HttpResponse(msgspec.json.encode(document) + b"\n", "application/problem+json")


class UnsupportedTypeError(InvalidInputError):
    """The content type is not supported."""


class UnknownNameError(InvalidInputError):
    """The model, version or label is not served."""


_STATUSES: Mapping[type[Exception], int] = {
    TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    UnknownNameError: HTTPStatus.NOT_FOUND,
}


def rejection(verdict: Verdict) -> DeadlineExceededError | ProblemError:
    """The error for a request that was not admitted; counts it."""
    if verdict == "late":
        return DeadlineExceededError(Code.DEADLINE_EXCEEDED, "its time was over in the queue")
    gateway().observer.refused("queue")
    return ProblemError(
        HTTPStatus.TOO_MANY_REQUESTS,
        "The gateway has as many requests as it can take.",
        Code.RESOURCE_EXHAUSTED,
        hint="Try again in a moment, with fewer requests at a time.",
        headers=RETRY_SOON,
    )


def not_found(model: str, version: int | None, label: str | None) -> Steps[UnknownNameError]:
    """The error for a name that the model server does not know; it lists what is available."""
    query = Query(model, timeout=context().time_left())
    try:
        states = yield from gateway().backend.steps("status", query)
    except NotFoundError:
        # The model server may no longer have a model that the gateway is configured for.
        names = [name for name in gateway().visible(gateway().served.names) if name != model]
        served = ", ".join(names) or "none"
        return UnknownNameError(
            "model",
            expected=f"a served model ({served})",
            got=repr(model),
            summary=f"there is no model {model}; available: {served}",
        )
    if label is not None:
        return UnknownNameError(
            "label",
            expected=f"a label that {model} has",
            got=repr(label),
            hint="?version= asks for a version by its number",
            summary=f"model {model} has no label {label}",
        )
    failed = [state for state in states if state.error and version in (None, state.version)]
    available = ", ".join(str(s.version) for s in states if s.state == "AVAILABLE") or "none"
    return UnknownNameError(
        "version",
        expected=f"an available version of {model} ({available})",
        got="the newest" if version is None else str(version),
        hint=f"GET /v1/models/{quote(model, safe='')} says why one does not load" if failed else "",
        summary=f"model {model} has no version{'' if version is None else f' {version}'}; "
        f"available: {available}",
    )


def send_tensors(model: str) -> str:
    """The hint for a model without a contract."""
    path = quote(model, safe="")
    return f"send tensors to /v1/models/{path}:predict or /v2/models/{path}/infer"


def problem_of(error: Exception, *, relays: bool) -> ProblemError:
    """Map an exception to a problem, and log an unexpected one; `relays` as in Api."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, InvalidInputError):
        return _invalid_input(error)
    if isinstance(error, NoContractError):
        model = context().model
        return _invalid_input(
            InvalidInputError(
                "model",
                expected="one with a contract, which says how images or rows become tensors",
                got=f"{model}, which has none that can be read",
                hint=f"{send_tensors(model)}, or import it: rockstar import FOLDER --name {model} "
                "--labels A,B,… (see rockstar import --help)",
            )
        )
    if isinstance(error, CallError):
        return _failed_call(error, relays)
    if isinstance(error, HTTPException):
        return _http_error(error)
    log.error(
        "request %s: %s %s failed",
        context().request_id,
        context().method,
        context().path,
        exc_info=error,
    )
    return ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, _INTERNAL, Code.INTERNAL)


def _invalid_input(error: InvalidInputError) -> ProblemError:
    hint = _LISTED if isinstance(error, UnknownNameError) else _DESCRIBED
    return ProblemError(
        _STATUSES.get(type(error), HTTPStatus.BAD_REQUEST),
        str(error),
        Code.INVALID_ARGUMENT,
        field=error.field,
        expected=error.expected,
        got=error.got,
        hint=error.hint or hint,
    )


def _failed_call(error: CallError, relays: bool) -> ProblemError:
    status = HTTP_STATUS[error.code]
    overloaded = error.code is Code.RESOURCE_EXHAUSTED and not relays
    if error.code is Code.UNAVAILABLE or overloaded:
        text = str(error).replace("see tls=", "see ROCKSTAR_UPSTREAM_CA")
        gateway().outages.warn("request %s: %s", context().request_id, text)
        return ProblemError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "The model server cannot be reached, or has too much to do.",
            Code.UNAVAILABLE,
            hint="Try again in a moment.",
            headers=RETRY_SOON,
        )
    if error.code is Code.DEADLINE_EXCEEDED:
        return ProblemError(
            status,
            f"There was no answer within {context().timeout:g} s.",
            error.code,
            hint="Send fewer or smaller inputs, or try again later.",
        )
    if relays and status in _CALLERS:
        headers = RETRY_SOON if status == HTTPStatus.TOO_MANY_REQUESTS else {}
        return ProblemError(status, error.message, error.code, headers=headers)
    # Other APIs validate requests before they go upstream: this is not the caller's fault.
    log.error(
        "request %s: the model server answered %s: %s", context().request_id, error.code.name, error
    )
    return ProblemError(
        status if relays else HTTPStatus.BAD_GATEWAY,
        "The model server could not answer this request.",
        error.code,
    )


def _http_error(error: HTTPException) -> ProblemError:
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    headers = {
        name: value
        for name, value in error.get_headers()
        if name.lower() in ("allow", "retry-after", "location")
    }
    if isinstance(error, ClientDisconnected):
        return ProblemError(status, "The connection was closed before the body had arrived.")
    if isinstance(error, NotFound):
        return ProblemError(
            status,
            f"There is nothing at {context().path}.",
            Code.NOT_FOUND,
            hint=f"POST /predict/<model> predicts. {_LISTED} {_DESCRIBED}",
        )
    if isinstance(error, MethodNotAllowed):
        return ProblemError(
            status,
            f"{context().path} does not take {context().method}.",
            Code.UNIMPLEMENTED,
            field="method",
            expected=", ".join(sorted(set(error.valid_methods or ()) - {"HEAD", "OPTIONS"})),
            got=context().method,
            hint=_DESCRIBED,
            headers=headers,
        )
    return ProblemError(status, error.description or "", headers=headers)
