"""The APIs of the gateway: each is a blueprint with an error format."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flask import Blueprint, Flask, Response

from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.errors import ErrorFormat, problem_document, problem_of


@dataclass(frozen=True)
class Api:
    """One of the gateway's APIs.

    Attributes:
        name: name in logs and metrics.
        blueprint: its routes.
        render: formats its errors; status and headers are set afterwards.
        prefix: unknown paths under it, such as "/v2/", get its error format too.
        relays: its inputs go upstream unchanged, so the model server's errors are passed on.
        open: needs no API key; its paths without variables are served even when the gateway is
            full (probes, metrics, pages).
        headers: added to all its responses, such as authentication.PAGE_HEADERS.
    """

    name: str
    blueprint: Blueprint
    render: ErrorFormat = problem_document
    prefix: str = ""
    relays: bool = False
    open: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


def api_of(path: str, apis: tuple[Api, ...]) -> Api:
    """The API of a path without a route, by prefix; the first is the default."""
    under = [api for api in apis if api.prefix and path.startswith(api.prefix)]
    return max(under, key=lambda api: len(api.prefix), default=apis[0])


def register(app: Flask, apis: tuple[Api, ...]) -> None:
    """Add the routes of the APIs to an application, and format errors as the request's API does."""
    for api in apis:
        app.register_blueprint(api.blueprint)

    def render(error: Exception) -> Response:
        api = next(api for api in apis if api.name == context().api)
        problem = problem_of(error, relays=api.relays)
        response = api.render(problem)
        response.status_code = problem.status
        response.headers.update(problem.headers)
        return response

    app.register_error_handler(Exception, render)
