"""The Flask application."""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from flask import Flask
from prometheus_client import CollectorRegistry

from rockstar_client.backend import Backend
from rockstar_client.predictor import Predictor
from rockstar_serving.gateway import (
    access,
    browsers,
    docs,
    entry,
    explain,
    health,
    metrics,
    open_inference,
    pages,
    predict,
    tfserving,
)
from rockstar_serving.gateway.api import Api, register
from rockstar_serving.gateway.batching import Batching
from rockstar_serving.gateway.context import trace_headers
from rockstar_serving.gateway.json_answers import MsgspecProvider
from rockstar_serving.gateway.metrics import MetricsObserver
from rockstar_serving.gateway.observers import Observer, Observers, RateLimitedLogger, observers_for
from rockstar_serving.gateway.predictor import GatewayPredictor
from rockstar_serving.gateway.routing import Router
from rockstar_serving.gateway.settings import Files, GatewayConfig, read_files
from rockstar_serving.gateway.shadowing import Shadows
from rockstar_serving.gateway.state import Gateway, ServedModels
from rockstar_serving.gateway.uploads import Uploads
from rockstar_serving.gateway.upstream.circuit import Circuit
from rockstar_serving.gateway.upstream.late import Late
from rockstar_serving.gateway.upstream.reported import Reported
from rockstar_serving.gateway.upstream.routed import Routed
from rockstar_serving.gateway.upstream.timed import Timed

log = logging.getLogger(__name__)

# One line for each API. What fits none of them is answered in the manner of the first.
APIS = (
    predict.API,
    explain.API,
    open_inference.API,
    open_inference.HEALTH,
    tfserving.API,
    health.API,
    metrics.API,
    docs.API,
    pages.API,
)


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
        observers: told what happens.
        apis: what it consists of.
        files: what the files say that the settings name; None reads them.
        stopping: whether the gateway is about to stop, and so is not ready any more.
        close_connection: has the server close the connection of the current request after its
            response, and say so in it.
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
    entry.init_app(app, config, apis, observer, close_connection)
    access.init_app(app, files.keys, apis)
    browsers.init_app(app, config.cors_origins, apis)
    return app


def _connect(config: GatewayConfig, served: ServedModels) -> Backend:
    if not config.models_config:
        return _model_server(config.upstream)
    # Not for every gateway: LiteRT need not be installed.
    from rockstar_serving.gateway.in_process import InProcess

    server = Late(lambda: _model_server(config.upstream))
    return InProcess(server, Path(config.models_config), _calls(config), served)


def _model_server(address: str) -> Backend:
    # Not for every worker: one that runs its models itself hardly calls it, and gRPC is 10 MB.
    from rockstar_client.tfserving import TFServingClient

    return TFServingClient(address, headers=trace_headers)


def _calls(config: GatewayConfig) -> int:
    """Calls of a model at a time: where they run here, one for each core that a worker has."""
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
    """Lays the layers of calls to the model server one around the other."""

    def max_batch(model: str) -> int:
        route = files.routes.models.get(model)
        return (route.max_batch if route else None) or config.max_batch

    # Part of the time of a request goes before its call.
    enough = min(1.0, config.request_timeout / 2)
    guarded = Circuit(Reported(backend, observer), observer, enough)
    shared = Batching(guarded, max_batch, _calls(config), observer)
    router, shadows = Router(files.routes), Shadows(observer)
    direct, behind = Predictor(Timed(shared)), Predictor(guarded)
    served.on_removal(direct.forget)
    served.on_removal(behind.forget)
    predictor = GatewayPredictor(
        *(direct, behind, router, shadows, observer),
        config.preparing,
    )
    routed = Routed(Timed(guarded), guarded, router, shadows)
    aliases = tuple(files.routes.aliases)
    uploads = Uploads(config.upload_timeout)
    return Gateway(
        *(config, served, aliases, routed, predictor, observer, stopping),
        RateLimitedLogger(log),
        uploads,
    )
