"""Exceptions to problems, said as the API does that the request came to."""

import logging
from http import HTTPStatus
from urllib.parse import quote

from flask import Flask, Response, request
from werkzeug.exceptions import (
    ClientDisconnected,
    HTTPException,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
)

from rockstar_client.errors import CallError, NoContractError
from rockstar_contract.errors import InvalidInputError, TooLargeError
from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.problem import INTERNAL, Problem
from rockstar_serving.gateway.state import gateway
from tfs_api.status import HTTP_STATUS, Code

RETRY_AFTER = {"Retry-After": "1"}
# What a caller's own request can be the reason of.
_CALLERS = {400, 401, 403, 404, 409, 429, 501}

# Where nothing better is known to help.
_DESCRIBED = "GET /docs shows what can be sent."
_LISTED = "GET /v1/models lists what is served."

log = logging.getLogger(__name__)


class ProblemError(Exception):
    """A problem that is known as such where it arises."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class UnsupportedTypeError(InvalidInputError):
    """A content type that is not taken."""


class UnknownNameError(InvalidInputError):
    """A model or version that is not served."""


_STATUS = {
    TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    UnknownNameError: HTTPStatus.NOT_FOUND,
}


def init_app(app: Flask, apis: tuple[Api, ...]) -> None:
    """Answer every error of an application in the manner of its API."""

    def answer(error: Exception) -> Response:
        api = next(api for api in apis if api.name == context().api)
        problem = _problem(error, api)
        response = api.render(problem)
        response.status_code = problem.status
        response.headers.update(problem.headers)
        return response

    app.register_error_handler(Exception, answer)


def _problem(error: Exception, api: Api) -> Problem:
    if isinstance(error, ProblemError):
        return error.problem
    if isinstance(error, InvalidInputError):
        return _invalid_input(error)
    if isinstance(error, NoContractError):
        return _invalid_input(_no_contract(context().model))
    if isinstance(error, CallError):
        return _failed_call(error, api)
    if isinstance(error, RequestEntityTooLarge):
        return _body_too_large()
    if isinstance(error, HTTPException):
        return _http_error(error)
    log.error(
        "request %s: %s %s failed",
        context().request_id,
        request.method,
        request.path,
        exc_info=error,
    )
    return Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        INTERNAL,
        Code.INTERNAL,
    )


def _no_contract(model: str) -> InvalidInputError:
    path = quote(model, safe="")
    return InvalidInputError(
        "model",
        expected="one with a contract, which says how images or rows become tensors",
        got=f"{model}, which has none that can be read",
        hint=f"send tensors to /v1/models/{path}:predict or /v2/models/{path}/infer, or import "
        f"it: rockstar import FOLDER --name {model} --labels A,B,… (see rockstar import --help)",
    )


def _invalid_input(error: InvalidInputError) -> Problem:
    status = _STATUS.get(type(error), HTTPStatus.BAD_REQUEST)
    return Problem(
        status,
        str(error),
        Code.INVALID_ARGUMENT,
        field=error.field,
        expected=error.expected,
        got=error.got,
        hint=error.hint or (_LISTED if status == HTTPStatus.NOT_FOUND else _DESCRIBED),
    )


def _failed_call(error: CallError, api: Api) -> Problem:
    status = HTTP_STATUS[error.code]
    overloaded = error.code is Code.RESOURCE_EXHAUSTED and not api.relays
    if error.code is Code.UNAVAILABLE or overloaded:
        gateway().outages.warn("request %s: %s", context().request_id, error)
        return Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "The model server cannot be reached, or has too much to do.",
            Code.UNAVAILABLE,
            hint="Try again in a moment.",
            headers=RETRY_AFTER,
        )
    if error.code is Code.DEADLINE_EXCEEDED:
        return Problem(
            status,
            f"There was no answer within {context().timeout:g} s.",
            error.code,
            hint="Send fewer or smaller inputs, or try again later.",
        )
    if api.relays and status in _CALLERS:
        headers = RETRY_AFTER if status == HTTPStatus.TOO_MANY_REQUESTS else {}
        return Problem(status, error.message, error.code, headers=headers)
    # Other APIs check requests before they go upstream: what fails there is not the caller's doing.
    log.error(
        "request %s: the model server answered %s: %s",
        context().request_id,
        error.code.name,
        error,
    )
    return Problem(
        status if api.relays else HTTPStatus.BAD_GATEWAY,
        "The model server could not answer this request.",
        error.code,
    )


def _body_too_large() -> Problem:
    limit, length = gateway().config.max_body_bytes, request.content_length
    return _invalid_input(
        TooLargeError(
            "body",
            expected=f"at most {limit:,} bytes",
            got=f"{length:,} bytes" if length else "more",
            hint="send fewer or smaller inputs",
        )
    )


def _http_error(error: HTTPException) -> Problem:
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    headers = {
        name: value
        for name, value in error.get_headers()
        if name.lower() in ("allow", "retry-after", "location")
    }
    if isinstance(error, ClientDisconnected):
        return Problem(status, "The connection was closed before the body had arrived.")
    if isinstance(error, NotFound):
        return Problem(
            status,
            f"There is nothing at {request.path}.",
            Code.NOT_FOUND,
            hint=f"POST /predict/<model> predicts. {_LISTED} {_DESCRIBED}",
        )
    if isinstance(error, MethodNotAllowed):
        return Problem(
            status,
            f"{request.path} does not take {request.method}.",
            Code.UNIMPLEMENTED,
            field="method",
            expected=", ".join(sorted(set(error.valid_methods or ()) - {"HEAD", "OPTIONS"})),
            got=request.method,
            hint=_DESCRIBED,
            headers=headers,
        )
    return Problem(status, error.description or "", headers=headers)
