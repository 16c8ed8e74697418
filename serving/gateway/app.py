"""The Flask application."""

import uuid

from flask import Flask, Response, g, request

from clients.predictor import Backend, Predictor
from clients.tfserving import TFServingClient
from serving.gateway import errors, health, models, predict
from serving.gateway.config import GatewayConfig
from serving.gateway.state import Gateway

_MAX_REQUEST_ID = 64


def create_app(config: GatewayConfig, backend: Backend | None = None) -> Flask:
    """The gateway as a WSGI application.

    Call it in the process that serves: gRPC connections do not survive a fork.

    Args:
        config: settings.
        backend: the model server; None connects to config.upstream.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = config.max_body_bytes
    # A multipart field that is not a file has nothing to say here: keep it small.
    app.config["MAX_FORM_MEMORY_SIZE"] = 64 * 1024
    app.json.sort_keys = False  # type: ignore[attr-defined]
    backend = backend or TFServingClient(config.upstream)
    app.extensions["gateway"] = Gateway(config, backend, Predictor(backend))
    app.before_request(_take_request_id)
    app.after_request(_give_request_id)
    errors.init_app(app)
    app.register_blueprint(predict.blueprint)
    app.register_blueprint(models.blueprint)
    app.register_blueprint(health.blueprint)
    return app


def _take_request_id() -> None:
    """The caller's request id where it is safe to log, else a new one."""
    given = request.headers.get("X-Request-ID", "")
    usable = 0 < len(given) <= _MAX_REQUEST_ID and given.replace("-", "").isalnum()
    g.request_id = given if usable and given.isascii() else uuid.uuid4().hex


def _give_request_id(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.request_id
    return response
