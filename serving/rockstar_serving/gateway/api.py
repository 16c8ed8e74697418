"""What the gateway is made of: APIs, each a blueprint with a manner of its own of saying errors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flask import Blueprint, Response

from rockstar_serving.gateway.problem import Problem, problem_document


@dataclass(frozen=True)
class Api:
    """One of the gateway's APIs.

    Attributes:
        name: what logs and metrics call it.
        blueprint: its routes.
        render: makes the answer of an error; its status and headers are set by whoever calls it.
        prefix: unknown paths under it, such as "/v2/", are its errors too.
        relays: its inputs go upstream as they come, so what the model server says of them is told.
        open: it needs no API key, and its paths without variables are answered when the gateway is
            full: probes, metrics and pages.
        headers: for all of its answers, such as browsers.PAGE_HEADERS.
    """

    name: str
    blueprint: Blueprint
    render: Callable[[Problem], Response] = problem_document
    prefix: str = ""
    relays: bool = False
    open: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


def api_of(path: str, blueprint: str | None, apis: tuple[Api, ...]) -> Api:
    """The API that a request is for.

    Args:
        path: of the request.
        blueprint: the one whose route takes it, if any.
        apis: all of them; the first is taken where nothing fits.
    """
    for api in apis:
        if api.blueprint.name == blueprint:
            return api
    under = [api for api in apis if api.prefix and path.startswith(api.prefix)]
    return max(under, key=lambda api: len(api.prefix), default=apis[0])
