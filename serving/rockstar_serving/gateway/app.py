"""The Flask application: its APIs, the layers of its backend, and its observers."""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from flask import Flask
from flask.json.provider import DefaultJSONProvider
from prometheus_client import CollectorRegistry

from rockstar_client.backend import Backend
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
from rockstar_serving.gateway.admission import Admission, Memory, Uploads
from rockstar_serving.gateway.api import Api, register
from rockstar_serving.gateway.backends import Batching, BatchLimits, CircuitBreaker, LazyBackend
from rockstar_serving.gateway.context import trace_headers
from rockstar_serving.gateway.metrics import MetricsObserver
from rockstar_serving.gateway.observers import Observer, Observers, RateLimitedLogger, observers_for
from rockstar_serving.gateway.pages import inspection
from rockstar_serving.gateway.request_hooks import GatewayApp, RequestHooks
from rockstar_serving.gateway.routing import RoutedBackend, RoutedPredictor, Router, Shadows
from rockstar_serving.gateway.settings import Files, GatewayConfig, read_files, upstream_tls
from rockstar_serving.gateway.state import Gateway, ServedModels

if TYPE_CHECKING:
    from rockstar_serving.gateway.in_process import LiteRTLoader

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
    inspection.API,
)

log = logging.getLogger(__name__)


class MsgspecProvider(DefaultJSONProvider):
    """Encodes JSON for `jsonify` with msgspec: also dataclasses and Structs; NaN becomes null."""

    def dumps(self, obj: Any, **_options: Any) -> str:
        """Encode a value."""
        return msgspec.json.encode(obj).decode()


def create_app(
    config: GatewayConfig,
    backend: Backend | None = None,
    observers: Sequence[Observer] = (),
    apis: tuple[Api, ...] = APIS,
    files: Files | None = None,
    stopping: Callable[[], bool] = lambda: False,
    close_connection: Callable[[], None] = lambda: None,
    batching: Callable[[Backend, BatchLimits, Observer], Backend] = Batching,
    load: "LiteRTLoader | None" = None,
) -> Flask:
    """Create the gateway as a WSGI application.

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
        batching: wraps the backend, so that requests share calls.
        load: loads models that run in this process.
    """
    app = GatewayApp(__name__, static_folder=None)
    app.json = MsgspecProvider(app)
    app.extensions["metrics"] = registry = CollectorRegistry()
    served = ServedModels(config.models)
    counts = MetricsObserver(served, registry)
    served.on_removal(counts.forget)
    observer = Observers((*observers, counts, *observers_for(config)))
    files = files or read_files(config)
    backend = backend or _connect(config, served, load)
    # The layers of a call to the model server. A call has less time than its request.
    guarded = CircuitBreaker(backend, observer, enough=min(1.0, config.request_timeout / 2))
    max_rows = {name: route.max_batch for name, route in files.routes.models.items()}
    max_rows_of = {name: rows for name, rows in max_rows.items() if rows is not None}
    limits = BatchLimits(config.max_batch, max_calls(config), max_rows_of)
    router, shadows = Router(files.routes), Shadows(observer)
    predictor = RoutedPredictor(
        batching(guarded, limits, observer), guarded, router, shadows, observer
    )
    served.on_removal(predictor.forget)
    admission = Admission(config.threads, config.queue, counts.in_flight)
    here = Gateway(
        config,
        files.keys,
        served,
        aliases=tuple(files.routes.aliases),
        backend=RoutedBackend(guarded, router, shadows),
        predictor=predictor,
        observer=observer,
        stopping=stopping,
        outages=RateLimitedLogger(log),
        admission=admission,
        memory=Memory(
            config.max_body_bytes, config.max_pixels, waiting=config.queue, cores=_cores(config)
        ),
        uploads=Uploads(config.upload_timeout, admission),
    )
    app.extensions["gateway"] = here
    register(app, apis)
    RequestHooks(app, here, close_connection, apis)
    return app


def max_calls(config: GatewayConfig) -> int:
    """Concurrent calls for a model; a worker that runs models makes one for each of its cores."""
    return max(config.max_calls, _cores(config) if config.models_config else 0)


def _cores(config: GatewayConfig) -> int:
    """Processor cores for each worker process."""
    return max(1, (os.cpu_count() or 1) // config.workers)


def _connect(config: GatewayConfig, served: ServedModels, load: "LiteRTLoader | None") -> Backend:
    def connect() -> Backend:
        # Workers that run models themselves rarely call the model server, and gRPC takes 10 MB.
        from rockstar_client.tfserving import ChannelOptions, TFServingClient

        options = ChannelOptions(tls=upstream_tls(config))
        return TFServingClient(config.upstream, headers=trace_headers, options=options)

    if not config.models_config:
        return connect()
    # LiteRT need not be installed with other gateways.
    from rockstar_serving.gateway.in_process import InProcessBackend, LiteRTLoader

    load = load or LiteRTLoader(max_calls(config))
    return InProcessBackend(LazyBackend(connect), Path(config.models_config), load, served)
