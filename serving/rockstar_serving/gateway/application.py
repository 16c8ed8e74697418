"""Flask, without what takes its time anew for each of many requests that are alike."""

from collections.abc import Callable
from typing import Any

from flask import Flask, Request
from flask.ctx import RequestContext
from werkzeug.routing import MapAdapter

from rockstar_serving.gateway.short_requests import ALIKE

_ADAPTER, _ROUTE = "adapter", "route"


class Application(Flask):
    """The gateway's application, before it has any routes."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """A function as it is: none of ours is a coroutine, and to ask takes time."""
        return func

    def request_context(self, environ: dict[str, Any]) -> RequestContext:
        """See Flask."""
        return _Context(self, environ)

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """See Flask; what finds a route, and makes URLs, by the host and the path of a request."""
        if request is None:
            return super().create_url_adapter(None)
        found = request.environ.get(ALIKE, {})
        if _ADAPTER not in found:
            found[_ADAPTER] = super().create_url_adapter(request)
        adapter: MapAdapter | None = found[_ADAPTER]
        return adapter


class _Context(RequestContext):
    def match_request(self) -> None:
        """Find the route; where there is none, that is found out and said each time."""
        asked = self.request
        found = asked.environ.get(ALIKE, {})
        if _ROUTE not in found:
            super().match_request()
            if asked.routing_exception is None:
                found[_ROUTE] = asked.url_rule, asked.view_args
        else:
            asked.url_rule, asked.view_args = found[_ROUTE]
