"""What is done with every request, before its API gets it and after."""

from http import HTTPStatus
from typing import Any

from flask import Flask, Response, request
from flask.globals import request_ctx

from clients.errors import DeadlineExceededError
from serving.api.status import Code
from serving.errors import InvalidInputError
from serving.gateway.api import Api, api_of
from serving.gateway.config import GatewayConfig
from serving.gateway.context import (
    TIMEOUT_HEADER,
    RequestContext,
    context,
    request_id,
    request_timeout,
    set_context,
)
from serving.gateway.errors import RETRY_AFTER, ProblemError
from serving.gateway.observer import Observer
from serving.gateway.problem import Problem
from serving.gateway.state import gateway
from serving.gateway.trace_context import HEADER, STATE_HEADER, trace_context
from serving.gateway.traffic.admission import Admission, arrived, verdict
from serving.gateway.turns import Turns

_ID_HEADER = "X-Request-ID"


def _key(header: str) -> str:
    """Where a header is in a WSGI environment, and found at once."""
    return f"HTTP_{header.upper().replace('-', '_')}"


_REQUEST_ID, _TIMEOUT = _key(_ID_HEADER), _key(TIMEOUT_HEADER)
_TRACE, _TRACE_STATE = _key(HEADER), _key(STATE_HEADER)


def init_app(
    app: Flask, config: GatewayConfig, apis: tuple[Api, ...], observer: Observer, turns: Turns
) -> None:
    """Have every request of an application pass here; register its blueprints before."""
    app.before_request(lambda: _open_context(apis))
    app.before_request(_require_admission)
    app.after_request(_close_context)
    app.teardown_request(lambda _: set_context(None))
    open_names = {api.blueprint.name for api in apis if api.open}
    always = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if rule.endpoint.partition(".")[0] in open_names
    }
    app.wsgi_app = Admission(  # type: ignore[method-assign]
        app.wsgi_app,
        at_once=config.threads,
        waiting=config.queue,
        patience=lambda environ: _patience(environ, config),
        always=always.__contains__,
        observer=observer,
        turns=turns,
    )


def _patience(environ: dict[str, Any], config: GatewayConfig) -> float:
    try:
        return request_timeout(
            environ.get(_TIMEOUT), config.request_timeout, config.max_request_timeout
        )
    except InvalidInputError:  # said in _open_context
        return config.request_timeout


def _open_context(apis: tuple[Api, ...]) -> None:
    asked = request_ctx.request
    config, environ = gateway().config, asked.environ
    api = api_of(asked.path, asked.blueprint, apis)
    # First without the header: if that is wrong, the error needs a context too.
    current = RequestContext(
        request_id(environ.get(_REQUEST_ID)),
        api.name,
        config.request_timeout,
        arrived(environ),
        trace=trace_context(environ.get(_TRACE), environ.get(_TRACE_STATE)),
    )
    set_context(current)
    current.timeout = request_timeout(
        environ.get(_TIMEOUT), config.request_timeout, config.max_request_timeout
    )
    connection = environ.get("gunicorn.socket")
    if connection is not None:
        # Who stops in the middle of a body does not keep its place for ever.
        connection.settimeout(current.timeout)


def _require_admission() -> None:
    decided = verdict(request.environ)
    if decided == "late":
        raise DeadlineExceededError(Code.DEADLINE_EXCEEDED, "its time was over in the queue")
    if decided == "full":
        gateway().observer.refused("queue")
        raise ProblemError(
            Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                "The gateway has as many requests as it can take.",
                Code.RESOURCE_EXHAUSTED,
                hint="Try again in a moment, with fewer requests at a time.",
                headers=RETRY_AFTER,
            )
        )


def _close_context(response: Response) -> Response:
    current = context()
    response.headers[_ID_HEADER] = current.request_id
    gateway().observer.answered(current, response.status_code)
    return response
