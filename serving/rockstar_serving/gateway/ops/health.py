"""`/livez`: this process works. `/readyz`: the models answer, and the gateway will stay."""

from http import HTTPStatus
from typing import Any

from flask import jsonify
from flask.typing import ResponseReturnValue

from rockstar_client.errors import CallError, NoContractError, NotFoundError
from rockstar_serving.gateway.errors import RETRY_AFTER
from rockstar_serving.gateway.state import gateway
from tfs_api.status import Code

# Probes are asked often and usually wait one second: do not outlast several of them.
_TIMEOUT_S = 2.0


def live() -> ResponseReturnValue:
    """Answers as long as the process can."""
    return jsonify(status="alive")


def ready() -> ResponseReturnValue:
    """Asks each model for its contract, which only a loaded model answers.

    A model of which every version has failed to load is reported, but only where all models are
    required does it keep the gateway from being ready: no other model would answer the sooner.
    """
    if gateway().stopping():
        return jsonify(status="stopping"), HTTPStatus.SERVICE_UNAVAILABLE, RETRY_AFTER
    models = {model: probe(model) for model in gateway().served.names}
    if are_ready(models):
        return jsonify(status="ready", models=models)
    return jsonify(status="not ready", models=models), HTTPStatus.SERVICE_UNAVAILABLE, RETRY_AFTER


def are_ready(models: dict[str, dict[str, Any]]) -> bool:
    """Whether a gateway with models of these states can be sent requests."""
    states = models.values()
    if gateway().config.require_all_models:
        return all(state["ready"] for state in states)
    answers = any(state["ready"] for state in states)
    return answers and all(state["ready"] or state.get("failed") for state in states)


def probe(model: str) -> dict[str, Any]:
    """Whether a model answers, and why not."""
    backend = gateway().backend
    try:
        return {"ready": True, "version": backend.contract(model, timeout=_TIMEOUT_S).version}
    except NoContractError:
        # It is loaded: it knows its signatures.
        return {"ready": True, "contract": False}
    except NotFoundError:
        pass
    except CallError as error:
        return {"ready": False, "reason": error.code.name}
    try:
        states = backend.status(model, timeout=_TIMEOUT_S)
    except NotFoundError:
        states = []
    except CallError as error:
        return {"ready": False, "reason": error.code.name}
    followed = bool(gateway().config.models_config)  # then nothing else will bring it
    errors = [f"version {state.version}: {state.error}" for state in states if state.error]
    if errors and all(state.state == "END" for state in states):
        return {"ready": False, "reason": "; ".join(errors), "failed": True}
    return {"ready": False, "reason": Code.NOT_FOUND.name} | ({"failed": True} if followed else {})
