"""`GET /v1/models`: what is served."""

from typing import Any

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from clients.errors import NotFoundError
from serving.gateway.state import gateway

blueprint = Blueprint("models", __name__)


@blueprint.get("/v1/models")
def list_models() -> ResponseReturnValue:
    """Every configured model with its versions, their states, and the newest's labels and input."""
    return jsonify(models=[_describe(model) for model in gateway().config.models])


def _describe(model: str) -> dict[str, Any]:
    backend, timeout = gateway().backend, gateway().config.request_timeout_s
    try:
        states = backend.status(model, timeout=timeout)
    except NotFoundError:
        return {"model": model, "versions": []}
    versions = [
        {"version": state.version, "state": state.state}
        | ({"error": state.error} if state.error else {})
        for state in states
    ]
    described: dict[str, Any] = {"model": model, "versions": versions}
    if any(state.state == "AVAILABLE" for state in states):
        contract = backend.contract(model, timeout=timeout)
        described |= {
            "labels": contract.labels,
            "input": {
                "name": contract.input.name,
                "kind": contract.input.kind,
                "dtype": contract.input.dtype,
                "shape": contract.input.shape,
                "range": contract.input.range,
            },
            "metrics": contract.metrics,
            "created": contract.created.isoformat(),
        }
    return described
