"""The APIs of the gateway: each is a blueprint with an error format."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flask import Blueprint, Flask, Response

from rockstar_client.calls import run
from rockstar_client.predictor import Steps
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.errors import ErrorFormat, HttpResponse, problem_document, problem_of
from rockstar_serving.gateway.routing import Upstream


@dataclass(frozen=True)
class Api:
    """One of the gateway's APIs.

    Attributes:
        name: name in logs and metrics.
        blueprint: its routes.
        render: formats its errors; status and headers are set afterwards.
        prefix: unknown paths under it, such as "/v2/", get its error format too.
        relays: its inputs go upstream unchanged, so the model server's errors are passed on.
        open: needs no API key.
        unlimited: its paths without variables are served even when the gateway is full (probes,
            metrics, pages).
        headers: added to all its responses, such as authentication.PAGE_HEADERS.
    """

    name: str
    blueprint: Blueprint
    render: ErrorFormat = problem_document
    prefix: str = ""
    relays: bool = False
    open: bool = False
    unlimited: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


def api_of(path: str, apis: tuple[Api, ...]) -> Api:
    """The API of a path without a route, by prefix; the first is the default."""
    under = [api for api in apis if api.prefix and path.startswith(api.prefix)]
    return max(under, key=lambda api: len(api.prefix), default=apis[0])


def error_response(error: Exception, api: Api) -> HttpResponse:
    """The response to a request that failed, in the format of its API."""
    problem = problem_of(error, relays=api.relays)
    response = api.render(problem)
    response.status, response.headers = problem.status, problem.headers
    return response


def register(app: Flask, apis: tuple[Api, ...]) -> None:
    """Add the routes of the APIs to an application, and format errors as the request's API does."""
    by_name = {api.name: api for api in apis}
    for api in apis:
        app.register_blueprint(api.blueprint)
    app.register_error_handler(
        Exception, lambda error: _flask_response(error_response(error, by_name[context().api]))
    )


def respond(steps: Steps[HttpResponse], upstream: Upstream) -> Response:
    """Flask's response from the steps of a request, whose calls this thread makes."""
    return _flask_response(run(steps, upstream.send))


def _flask_response(response: HttpResponse) -> Response:
    headers = dict(response.headers)
    return Response(response.body, response.status, headers, content_type=response.content_type)
