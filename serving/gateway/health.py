"""`/livez`: this process works. `/readyz`: every configured model answers."""

from http import HTTPStatus
from typing import Any

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from clients.errors import CallError
from serving.gateway.errors import RETRY_AFTER_S
from serving.gateway.state import gateway

blueprint = Blueprint("health", __name__)

# Probes are asked often and usually wait one second: do not outlast several of them.
_TIMEOUT_S = 2.0


@blueprint.get("/livez")
def live() -> ResponseReturnValue:
    """Answers as long as the process can."""
    return jsonify(status="alive")


@blueprint.get("/readyz")
def ready() -> ResponseReturnValue:
    """Asks each model for its contract, which only a loaded model answers."""
    models = {model: _probe(model) for model in gateway().config.models}
    if all(state["ready"] for state in models.values()):
        return jsonify(status="ready", models=models)
    headers = {"Retry-After": str(RETRY_AFTER_S)}
    return jsonify(status="not ready", models=models), HTTPStatus.SERVICE_UNAVAILABLE, headers


def _probe(model: str) -> dict[str, Any]:
    try:
        contract = gateway().backend.contract(model, timeout=_TIMEOUT_S)
    except CallError as error:
        return {"ready": False, "reason": error.code.name}
    return {"ready": True, "version": contract.version}
