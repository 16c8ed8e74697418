"""The REST API with its metrics: a WSGI application around another one."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.wrappers import Response

from rockstar_serving.model_server.monitoring.exposition import CONTENT_TYPE, exposition
from rockstar_serving.model_server.monitoring.metrics import ServerMetrics
from rockstar_serving.model_server.rest_api.service import CODE_KEY, RECEIVED_KEY, ROUTE_KEY
from tfs_api.rest_routes import Action, Route
from tfs_api.status import Code

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

# TensorFlow Serving counts these, but not as an API.
_WITHOUT_API = (Action.STATUS, Action.METADATA)


class Monitoring:
    """The metrics of a server, and where they are served.

    Attributes:
        path: where.
        metrics: an Observer.
    """

    def __init__(self, path: str, timeout_seconds: float | None = None) -> None:
        """Make metrics that are all zero.

        Args:
            path: where they are served.
            timeout_seconds: after which a REST request is answered by others than the REST API.
        """
        self.path = path
        self._timeout_seconds = timeout_seconds or float("inf")
        self.metrics = ServerMetrics()

    def around(self, app: WSGIApplication) -> WSGIApplication:
        """The REST API with the metrics beside it."""
        return MeasuredRest(app, self.path, self.metrics, self._timeout_seconds)


class MeasuredRest:
    """Serves the metrics at their path, and counts all requests to the API."""

    def __init__(
        self, app: WSGIApplication, path: str, metrics: ServerMetrics, timeout_seconds: float
    ) -> None:
        self._app = app
        self._path = path.encode().decode("latin-1")  # as WSGI hands paths over
        self._metrics = metrics
        self._timeout_seconds = timeout_seconds

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer one request."""
        path = environ["PATH_INFO"]
        if path == self._path:
            response = Response(exposition(self._metrics.registry), content_type=CONTENT_TYPE)
            return response(environ, start_response)
        # Neither what is no request to the API, nor what browsers ask before one.
        if not path.lower().startswith("/v1/") or environ["REQUEST_METHOD"] == "OPTIONS":
            return self._app(environ, start_response)
        started = time.perf_counter()
        try:
            return self._app(environ, start_response)
        finally:
            self._count(environ, time.perf_counter() - started)

    def _count(self, environ: dict[str, Any], seconds: float) -> None:
        model = api = ""
        asked: Route | None = environ.get(ROUTE_KEY)
        if asked is not None:
            model = asked.ref.name
            api = "" if asked.action in _WITHOUT_API else asked.action.value
        code = environ.get(CODE_KEY, Code.INTERNAL)
        if time.monotonic() - environ.get(RECEIVED_KEY, time.monotonic()) > self._timeout_seconds:
            code = Code.DEADLINE_EXCEEDED  # whatever came of it, that is what the caller got
        self._metrics.request(model, api, "REST", code, seconds)
