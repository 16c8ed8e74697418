"""Health checks: `/livez`, the process works; `/readyz`, the models respond."""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue

from rockstar_client.backend import Query
from rockstar_client.errors import CallError, NoContractError
from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.errors import RETRY_SOON, HttpResponse
from rockstar_serving.gateway.state import gateway
from tfs_api.status import Code

# Probes are frequent and usually time out after a second; they must not pile up.
PROBE_TIMEOUT_S = 2.0

_blueprint = Blueprint("ops", __name__)

LIVEZ = "/livez"
# Fixed, so that it takes an event loop no thread.
ALIVE = HttpResponse(b'{"status":"alive"}\n')


@_blueprint.get(LIVEZ)
def live() -> ResponseReturnValue:
    """Respond as long as the process can."""
    return Response(ALIVE.body, content_type=ALIVE.content_type)


@_blueprint.get("/readyz")
def ready() -> ResponseReturnValue:
    """Request the contract of each model, which only a loaded model returns.

    A model whose versions have all failed to load is reported. The gateway is ready nevertheless,
    unless all models are required: the others can be used. Callers see the models of their key.
    """
    if gateway().stopping():
        return jsonify(status="stopping"), HTTPStatus.SERVICE_UNAVAILABLE, RETRY_SOON
    models = {model: probe(model) for model in gateway().served.names}
    visible = {model: models[model] for model in gateway().visible(models)}
    if are_ready(models):
        return jsonify(status="ready", models=visible)
    return jsonify(status="not ready", models=visible), HTTPStatus.SERVICE_UNAVAILABLE, RETRY_SOON


class ModelState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether a model is ready.

    Attributes:
        version: the one that is served by default; None without a contract.
        contract: whether it has one.
        reason: why it is not ready.
        failed: whether nothing else will load it.
    """

    ready: bool
    version: int | None = None
    contract: bool = True
    reason: str = ""
    failed: bool = False


def are_ready(models: Mapping[str, ModelState]) -> bool:
    """Whether the gateway is ready, by the states of its models."""
    states = models.values()
    if gateway().config.require_all_models:
        return all(state.ready for state in states)
    return all(state.ready or state.failed for state in states) and any(
        state.ready for state in states
    )


def probe(model: str) -> ModelState:
    """The state of a model."""
    backend, query = gateway().backend, Query(model, timeout=PROBE_TIMEOUT_S)
    try:
        return ModelState(ready=True, version=backend.contract(query).version)
    except NoContractError:
        # It is loaded, as its signatures are known.
        return ModelState(ready=True, contract=False)
    except CallError as error:
        states, code = [], error.code
    if code is Code.NOT_FOUND:
        try:
            states = backend.status(query)
        except CallError as error:
            code = error.code
    if code is not Code.NOT_FOUND:
        return ModelState(ready=False, reason=code.name)
    errors = [f"version {state.version}: {state.error}" for state in states if state.error]
    if errors and all(state.state == "END" for state in states):
        return ModelState(ready=False, reason="; ".join(errors), failed=True)
    # With a models.config, nothing else will load the model.
    followed = bool(gateway().config.models_config)
    return ModelState(ready=False, reason=Code.NOT_FOUND.name, failed=followed)


API = Api("ops", _blueprint, open=True, unlimited=True)
