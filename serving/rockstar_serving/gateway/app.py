"""The Flask application: its APIs, its backends, and what it does before and after each request."""

import logging
import os
import re
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit, urlunsplit

import msgspec
from flask import Flask, Response
from flask.globals import request_ctx
from flask.json.provider import DefaultJSONProvider
from prometheus_client import CollectorRegistry

from rockstar_client.backend import Backend
from rockstar_contract.errors import InvalidInputError
from rockstar_serving.gateway import (
    explain,
    health,
    metrics,
    open_inference,
    openapi,
    pages,
    predict,
    tfserving,
)
from rockstar_serving.gateway.access import add_cors_headers, require_key, trusted_addresses
from rockstar_serving.gateway.admission import ARRIVED, VERDICT, Admission, Uploads
from rockstar_serving.gateway.api import Api, api_of, register
from rockstar_serving.gateway.api_keys import Keys
from rockstar_serving.gateway.backends import (
    Batching,
    CircuitBreaker,
    LazyBackend,
)
from rockstar_serving.gateway.context import (
    TIMEOUT_HEADER,
    TRACE_HEADER,
    TRACE_STATE_HEADER,
    RequestContext,
    context,
    request_id,
    request_timeout,
    set_context,
    trace_context,
    trace_headers,
)
from rockstar_serving.gateway.errors import rejection
from rockstar_serving.gateway.metrics import MetricsObserver
from rockstar_serving.gateway.observers import Observer, Observers, RateLimitedLogger, observers_for
from rockstar_serving.gateway.routing import RoutedBackend, RoutedPredictor, Router, Shadows
from rockstar_serving.gateway.settings import Files, GatewayConfig, read_files
from rockstar_serving.gateway.state import Gateway, ServedModels
from tfs_api.model_ref import path_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

# The first is the default for unknown paths.
APIS = (
    predict.API,
    explain.API,
    open_inference.API,
    open_inference.HEALTH,
    tfserving.API,
    health.API,
    metrics.API,
    openapi.API,
    pages.API,
)
_ID_HEADER = "X-Request-ID"
# gunicorn discards the rest of a shorter body by itself.
_DISCARDED = 64 * 1024
# One segment of a path prefix: nothing that could mislead a redirect or a page.
_SEGMENT = re.compile(r"[A-Za-z0-9._~%@+-]+")
# A slash within a segment, and the WSGI variable that says that the path has some.
_SLASH = re.compile("%2f", re.IGNORECASE)
_HAS_SLASHES = "rockstar.slashes"


def _variable(header: str) -> str:
    """The variable of a WSGI environment that holds a header."""
    return f"HTTP_{header.upper().replace('-', '_')}"


_PREFIX = _variable("X-Forwarded-Prefix")
_REQUEST_ID, _TIMEOUT = _variable(_ID_HEADER), _variable(TIMEOUT_HEADER)
_TRACE, _TRACE_STATE = _variable(TRACE_HEADER), _variable(TRACE_STATE_HEADER)

log = logging.getLogger(__name__)


class MsgspecProvider(DefaultJSONProvider):
    """Encodes JSON for `jsonify` with msgspec: also dataclasses and Structs; NaN becomes null."""

    def dumps(self, obj: Any, **_options: Any) -> str:
        """A value as JSON."""
        return msgspec.json.encode(obj).decode()


def create_app(
    config: GatewayConfig,
    backend: Backend | None = None,
    observers: Sequence[Observer] = (),
    apis: tuple[Api, ...] = APIS,
    files: Files | None = None,
    stopping: Callable[[], bool] = lambda: False,
    close_connection: Callable[[], None] = lambda: None,
) -> Flask:
    """The gateway as a WSGI application.

    Call it in the process that serves: gRPC connections do not survive a fork.

    Args:
        config: settings.
        backend: the model server; None connects to config.upstream.
        observers: notified of events, in addition to those of the settings.
        apis: its APIs.
        files: contents of the files that the settings name; None reads them.
        stopping: whether the gateway is about to stop, and therefore not ready.
        close_connection: makes the server close the current request's connection after the
            response, and send `Connection: close`.
    """
    app = Flask(__name__, static_folder=None)
    app.json = MsgspecProvider(app)
    app.extensions["metrics"] = registry = CollectorRegistry()
    served = ServedModels(config.models)
    counts = MetricsObserver(served, registry)
    served.on_removal(counts.forget)
    observer = Observers((*observers, counts, *observers_for(config)))
    files = files or read_files(config)
    backend = backend or _connect(config, served)
    app.extensions["gateway"] = _gateway(config, files, backend, served, observer, stopping)
    register(app, apis)
    _add_request_hooks(app, config, files.keys, apis, observer, close_connection)
    _add_middleware(app, config, apis, observer)
    return app


def _connect(config: GatewayConfig, served: ServedModels) -> Backend:
    def connect() -> Backend:
        # Workers that run models themselves rarely call the model server, and gRPC takes 10 MB.
        from rockstar_client.tfserving import TFServingClient

        return TFServingClient(config.upstream, headers=trace_headers)

    if not config.models_config:
        return connect()
    # LiteRT need not be installed with other gateways.
    from rockstar_serving.gateway.in_process import InProcessBackend

    return InProcessBackend(
        LazyBackend(connect), Path(config.models_config), _max_calls(config), served
    )


def _max_calls(config: GatewayConfig) -> int:
    """Concurrent calls of a model: one for each core of a worker if it runs models itself."""
    cores = (os.cpu_count() or 1) // config.workers
    return max(config.max_calls, cores) if config.models_config else config.max_calls


def _gateway(
    config: GatewayConfig,
    files: Files,
    backend: Backend,
    served: ServedModels,
    observer: Observer,
    stopping: Callable[[], bool],
) -> Gateway:
    """Wrap the backend in the layers of calls to the model server."""
    # A call has less time than its request.
    enough = min(1.0, config.request_timeout / 2)
    guarded = CircuitBreaker(backend, observer, enough)
    max_rows = {name: each.max_batch for name, each in files.routes.models.items()}
    shared = Batching(
        guarded,
        config.max_batch,
        _max_calls(config),
        observer,
        {name: rows for name, rows in max_rows.items() if rows is not None},
    )
    router, shadows = Router(files.routes), Shadows(observer)
    predictor = RoutedPredictor(shared, guarded, router, shadows, observer, config.preparing)
    served.on_removal(predictor.forget)
    return Gateway(
        config,
        served,
        aliases=tuple(files.routes.aliases),
        backend=RoutedBackend(guarded, router, shadows),
        predictor=predictor,
        observer=observer,
        stopping=stopping,
        outages=RateLimitedLogger(log),
        uploads=Uploads(config.upload_timeout),
    )


def _add_request_hooks(
    app: Flask,
    config: GatewayConfig,
    keys: Keys,
    apis: tuple[Api, ...],
    observer: Observer,
    close_connection: Callable[[], None],
) -> None:
    """Create and complete the context of each request, and reject requests."""
    open_apis = {api.name for api in apis if api.open}
    by_blueprint: dict[str | None, Api] = {api.blueprint.name: api for api in apis}
    needs_key = bool(keys)
    headers = {api.name: tuple(api.headers.items()) for api in apis}

    def begin() -> None:
        request = request_ctx.request
        environ = request.environ
        if _HAS_SLASHES in environ and request.view_args and "model" in request.view_args:
            request.view_args["model"] = request.view_args["model"].replace("%2F", "/")
        api = by_blueprint.get(request.blueprint) or api_of(request.path, apis)
        # The default timeout first: an error about the header needs a context too.
        current = RequestContext(
            request_id(environ.get(_REQUEST_ID)),
            api.name,
            config.request_timeout,
            environ[ARRIVED],
            trace=trace_context(environ.get(_TRACE), environ.get(_TRACE_STATE)),
        )
        set_context(current)
        current.timeout = request_timeout(
            environ.get(_TIMEOUT), config.request_timeout, config.max_request_timeout
        )
        connection = environ.get("gunicorn.socket")
        if connection is not None:
            # A client that does not read its response must not block a thread forever.
            connection.settimeout(current.timeout)
            current.unread = (
                "HTTP_TRANSFER_ENCODING" in environ or (request.content_length or 0) > _DISCARDED
            )
        if (verdict := environ.get(VERDICT, "admitted")) != "admitted":
            raise rejection(verdict)
        # Browsers send preflight requests (OPTIONS) without a key.
        if needs_key and api.name not in open_apis and request.method != "OPTIONS":
            require_key(keys, current, observer)

    def complete(response: Response) -> Response:
        current = context()
        response.headers.add("X-Content-Type-Options", "nosniff")
        for name, value in headers[current.api]:
            response.headers.setdefault(name, value)
        if config.cors_origins:
            add_cors_headers(response, config.cors_origins)
        if response.status_code == HTTPStatus.PERMANENT_REDIRECT and response.location:
            # From /ml to /ml/. Without the host: a proxy may use another one than its client.
            response.location = urlunsplit(("", "", *urlsplit(response.location)[2:]))
        if current.unread:
            # The rest of the body would be taken for the next request.
            close_connection()
        response.headers.add(_ID_HEADER, current.request_id)
        observer.answered(current, response.status_code)
        return response

    app.before_request(begin)
    app.after_request(complete)
    app.teardown_request(lambda _: set_context(None))


def _add_middleware(
    app: Flask, config: GatewayConfig, apis: tuple[Api, ...], observer: Observer
) -> None:
    """Adjust paths, and limit concurrent requests, before Flask handles them."""
    open_blueprints = {api.blueprint.name for api in apis if api.open}
    always = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if rule.endpoint.partition(".")[0] in open_blueprints
    }

    def timeout(environ: dict[str, Any]) -> float:
        try:
            return request_timeout(
                environ.get(_TIMEOUT), config.request_timeout, config.max_request_timeout
            )
        except InvalidInputError:  # reported by the hook
            return config.request_timeout

    admission = Admission(
        app.wsgi_app,
        at_once=config.threads,
        waiting=config.queue,
        timeout=timeout,
        always=always.__contains__,
        observer=observer,
    )
    trusted = trusted_addresses(config.trusted_proxies)

    def handle(environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        if _SLASH.search(uri := environ.get("RAW_URI", "")):
            # Names of models may contain encoded slashes, which must not separate segments.
            path = _SLASH.sub("%252F", path_of(uri).partition("?")[0])
            environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1")
            environ[_HAS_SLASHES] = True
        prefix = environ.get(_PREFIX)
        if prefix is not None and trusted(environ.get("REMOTE_ADDR", "")):
            _mount(environ, prefix)
        return admission(environ, start_response)

    app.wsgi_app = handle  # type: ignore[method-assign]


def _mount(environ: dict[str, Any], header: str) -> None:
    """Move the path prefix of a proxy from PATH_INFO to SCRIPT_NAME.

    Args:
        environ: of the request.
        header: X-Forwarded-Prefix. With several proxies, the outermost adds the first prefix. Some
            proxies remove it from the path, and some do not.
    """
    parts = [part for each in header.split(",") for part in each.strip().split("/") if part]
    if not all(_SEGMENT.fullmatch(part) for part in parts):
        return
    prefix = "".join(f"/{part}" for part in parts)
    environ["SCRIPT_NAME"] = prefix
    if (path := environ["PATH_INFO"]) == prefix or path.startswith(f"{prefix}/"):
        environ["PATH_INFO"] = path[len(prefix) :]
