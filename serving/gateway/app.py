"""The Flask application."""

from collections.abc import Sequence

from flask import Flask, Response, g, request

from clients.backend import Backend
from clients.predictor import Predictor
from clients.tfserving import TFServingClient
from serving.gateway import errors, ops, predict
from serving.gateway.api import Api, api_of
from serving.gateway.config import GatewayConfig
from serving.gateway.context import (
    TIMEOUT_HEADER,
    RequestContext,
    context,
    request_id,
    request_timeout,
)
from serving.gateway.observer import Observer, Observers
from serving.gateway.state import Gateway, gateway
from serving.gateway.upstream.circuit import Circuit
from serving.gateway.upstream.coalescing import Coalescing
from serving.gateway.upstream.reported import Reported
from serving.gateway.upstream.timed import Timed

# One line for each API. What fits none of them is answered in the manner of the first.
APIS = (
    predict.API,
    ops.API,
)


def create_app(
    config: GatewayConfig,
    backend: Backend | None = None,
    observers: Sequence[Observer] = (),
    apis: tuple[Api, ...] = APIS,
) -> Flask:
    """The gateway as a WSGI application.

    Call it in the process that serves: gRPC connections do not survive a fork.

    Args:
        config: settings.
        backend: the model server; None connects to config.upstream.
        observers: told what happens.
        apis: what it consists of.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = config.max_body_bytes
    # A multipart field that is not a file has nothing to say here: keep it small.
    app.config["MAX_FORM_MEMORY_SIZE"] = 64 * 1024
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["gateway"] = _gateway(
        config, backend or TFServingClient(config.upstream), Observers(observers)
    )
    app.before_request(lambda: _open_context(apis))
    app.after_request(_close_context)
    errors.init_app(app, apis)
    for api in apis:
        app.register_blueprint(api.blueprint)
    return app


def _gateway(config: GatewayConfig, backend: Backend, observer: Observer) -> Gateway:
    """Lays the layers of calls to the model server one around the other."""
    guarded = Circuit(Reported(backend, observer), observer)
    shared = Coalescing(guarded, config.max_batch, observer)
    return Gateway(config, Timed(guarded), Predictor(Timed(shared)), observer)


def _open_context(apis: tuple[Api, ...]) -> None:
    config = gateway().config
    api = api_of(request.path, request.blueprint, apis)
    # First without the header: if that is wrong, the error needs a context too.
    g.context = RequestContext(
        request_id(request.headers.get("X-Request-ID")), api.name, config.request_timeout
    )
    g.context.timeout = request_timeout(
        request.headers.get(TIMEOUT_HEADER), config.request_timeout, config.max_request_timeout
    )


def _close_context(response: Response) -> Response:
    response.headers["X-Request-ID"] = context().request_id
    gateway().observer.answered(context(), response.status_code)
    return response
