"""Errors as problem documents (RFC 9457), with what is wrong and how to mend it."""

import logging
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g, json, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from clients.errors import CallError
from serving.api.status import HTTP_STATUS, Code
from serving.errors import InvalidInputError, TooLargeError
from serving.gateway.state import gateway

RETRY_AFTER_S = 1

log = logging.getLogger(__name__)


class UnsupportedTypeError(InvalidInputError):
    """A content type that is not taken."""


class UnknownNameError(InvalidInputError):
    """A model or version that is not served."""


def init_app(app: Flask) -> None:
    """Answer every error of an application as a problem document."""
    app.register_error_handler(InvalidInputError, _invalid_input)
    app.register_error_handler(CallError, _call_error)
    app.register_error_handler(RequestEntityTooLarge, _body_too_large)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _internal_error)


_STATUS = {
    TooLargeError: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnsupportedTypeError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    UnknownNameError: HTTPStatus.NOT_FOUND,
}


def problem(status: int, detail: str, **members: Any) -> Response:
    """A problem document.

    Args:
        status: HTTP status.
        detail: what went wrong, for a person.
        members: further members; empty ones are left out.
    """
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Client Closed Request" if status == HTTP_STATUS[Code.CANCELLED] else "Error"
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    document |= {name: value for name, value in members.items() if value}
    document["request_id"] = g.request_id
    response = Response(json.dumps(document) + "\n", status, mimetype="application/problem+json")
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def _invalid_input(error: InvalidInputError) -> Response:
    return problem(
        _STATUS.get(type(error), HTTPStatus.BAD_REQUEST),
        str(error),
        field=error.field,
        expected=error.expected,
        got=error.got,
        hint=error.hint,
    )


def _call_error(error: CallError) -> Response:
    status = HTTP_STATUS[error.code]
    if error.code is Code.UNAVAILABLE:
        log.warning("request %s: %s", g.request_id, error)
        return problem(
            status,
            "The model server cannot be reached.",
            hint="It is starting or down: try again in a moment.",
        )
    if error.code is Code.DEADLINE_EXCEEDED:
        seconds = gateway().config.request_timeout_s
        return problem(
            status,
            f"There was no answer within {seconds:g} s.",
            hint="Send fewer or smaller inputs, or try again later.",
        )
    # Requests are checked before they go upstream: what fails there is not the caller's doing.
    log.error("request %s: the model server answered %s: %s", g.request_id, error.code.name, error)
    return problem(HTTPStatus.BAD_GATEWAY, "The model server could not answer this request.")


def _body_too_large(_error: RequestEntityTooLarge) -> Response:
    limit = gateway().config.max_body_bytes
    if request.content_length is not None and request.content_length <= limit:
        return problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "The form has too many parts, or a large part that is not a file.",
            field="body",
            hint="Send files (curl -F image=@seven.png), fewer in one request.",
        )
    return problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"The body is larger than {limit:,} bytes.",
        field="body",
        expected=f"at most {limit:,} bytes",
        got=f"{request.content_length:,} bytes" if request.content_length else "more",
        hint="Send fewer or smaller images.",
    )


def _http_error(error: HTTPException) -> Response:
    status = error.code or 500
    detail, members = error.description or "", {}
    if isinstance(error, NotFound):
        detail = f"There is nothing at {request.path}."
        members["hint"] = "POST /predict/<model> predicts, GET /v1/models lists what is served."
    elif isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(set(error.valid_methods or ()) - {"HEAD", "OPTIONS"}))
        detail = f"{request.path} does not take {request.method}."
        members = {"field": "method", "expected": allowed, "got": request.method}
    response = problem(status, detail, **members)
    for name, value in error.get_headers():
        if name.lower() in ("allow", "retry-after"):
            response.headers[name] = value
    return response


def _internal_error(_error: Exception) -> Response:
    log.exception("request %s: %s %s failed", g.request_id, request.method, request.path)
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The gateway failed; its log has the details under this request id.",
    )
