"""`/livez`: this process works. `/readyz`: every model answers, and the gateway will stay."""

from http import HTTPStatus
from typing import Any

from flask import jsonify
from flask.typing import ResponseReturnValue

from clients.errors import CallError
from serving.gateway.errors import RETRY_AFTER
from serving.gateway.state import gateway

# Probes are asked often and usually wait one second: do not outlast several of them.
_TIMEOUT_S = 2.0


def live() -> ResponseReturnValue:
    """Answers as long as the process can."""
    return jsonify(status="alive")


def ready() -> ResponseReturnValue:
    """Asks each model for its contract, which only a loaded model answers."""
    if gateway().stopping():
        return jsonify(status="stopping"), HTTPStatus.SERVICE_UNAVAILABLE, RETRY_AFTER
    models = {model: _probe(model) for model in gateway().config.models}
    if all(state["ready"] for state in models.values()):
        return jsonify(status="ready", models=models)
    return jsonify(status="not ready", models=models), HTTPStatus.SERVICE_UNAVAILABLE, RETRY_AFTER


def _probe(model: str) -> dict[str, Any]:
    try:
        contract = gateway().backend.contract(model, timeout=_TIMEOUT_S)
    except CallError as error:
        return {"ready": False, "reason": error.code.name}
    return {"ready": True, "version": contract.version}
