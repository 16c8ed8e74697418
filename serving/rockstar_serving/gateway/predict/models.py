"""`GET /v1/models`: what is served."""

from typing import Any
from urllib.parse import quote

import msgspec
from flask import jsonify
from flask.typing import ResponseReturnValue

from rockstar_client.errors import NoContractError, NotFoundError
from rockstar_contract.contract import Input
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.state import gateway


def list_models() -> ResponseReturnValue:
    """Every configured model: its versions, their states, and what the newest takes and answers."""
    return jsonify(models=[_describe(model) for model in gateway().served.names])


def _describe(model: str) -> dict[str, Any]:
    backend = gateway().backend
    try:
        states = backend.status(model, timeout=context().time_left())
    except NotFoundError:
        return {"model": model, "versions": []}
    versions = [
        {"version": state.version, "state": state.state}
        | ({"error": state.error} if state.error else {})
        for state in states
    ]
    described: dict[str, Any] = {"model": model, "versions": versions}
    if any(state.state == "AVAILABLE" for state in states):
        try:
            contract = backend.contract(model, timeout=context().time_left())
        except NoContractError:
            path = quote(model, safe="")
            described["problem"] = (
                f"it has no contract: rockstar import publishes one with it; until then send "
                f"tensors to /v1/models/{path}:predict or /v2/models/{path}/infer"
            )
            return described
        described |= {
            "task": contract.task,
            "labels": contract.labels,
            "target": contract.target,
            "input": _input(contract.input),
            "outputs": contract.outputs,
            "metrics": contract.metrics,
            "confusion": contract.confusion,
            "created": contract.created.isoformat(),
        }
    return described


def _input(spec: Input) -> dict[str, Any]:
    """What callers need to know: the steps that pixels go through are the gateway's business."""
    described: dict[str, Any] = msgspec.to_builtins(spec)
    described.pop("preprocessing", None)
    return described
