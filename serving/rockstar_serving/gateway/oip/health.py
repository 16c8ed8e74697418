"""Probes: the status is the answer."""

from http import HTTPStatus

import msgspec
from flask import Response

from rockstar_client.errors import CallError
from rockstar_serving.gateway.errors import RETRY_AFTER
from rockstar_serving.gateway.oip.paths import version_in_path
from rockstar_serving.gateway.ops.health import are_ready, probe
from rockstar_serving.gateway.state import gateway

_TIMEOUT_S = 2.0


def live() -> Response:
    """The process works."""
    return _answer({"live": True})


def ready() -> Response:
    """The models answer, as `/readyz` says it."""
    return _answer({"ready": are_ready({model: probe(model) for model in gateway().served.names})})


def model_ready(model: str, version: str | None = None) -> Response:
    """A model, or a version of it, answers."""
    return _answer({"name": model, "ready": _is_ready(model, version_in_path(version))})


def _is_ready(model: str, version: int | None) -> bool:
    """By its status, not its contract: models that we did not export are served too."""
    try:
        states = gateway().backend.status(model, version, timeout=_TIMEOUT_S)
    except CallError:
        return False
    return any(state.state == "AVAILABLE" for state in states)


def _answer(document: dict[str, str | bool]) -> Response:
    response = Response(msgspec.json.encode(document), mimetype="application/json")
    if not document.get("ready", True):
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        response.headers.update(RETRY_AFTER)
    return response
