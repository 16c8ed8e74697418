"""`POST /predict/<model>`: examples in, labels or numbers out."""

from typing import Any

import numpy as np
from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from numpy.typing import NDArray

from clients.errors import NotFoundError
from serving.contract import Input
from serving.errors import InvalidInputError
from serving.gateway.bodies import read_examples
from serving.gateway.errors import UnknownNameError
from serving.gateway.state import gateway
from serving.inputs import prepare
from serving.labels import Prediction, Value, predictions, values

blueprint = Blueprint("predict", __name__)

DEFAULT_TOP = 3
_PARAMETERS = ("version", "top")


@blueprint.post("/predict/<model>")
def predict(model: str) -> ResponseReturnValue:
    """Predict the examples in the body; `?version=` picks a version, `?top=` how many labels."""
    unknown = sorted(set(request.args) - set(_PARAMETERS))
    if unknown:
        raise InvalidInputError(unknown[0], expected=" or ".join(_PARAMETERS), got=unknown[0])
    version, top = _positive("version"), _positive("top") or DEFAULT_TOP
    config = gateway().config
    examples = read_examples(request, config)

    def batch(spec: Input) -> NDArray[Any]:
        return np.stack(
            [
                prepare(named.example, spec, field=named.field, max_pixels=config.max_pixels)
                for named in examples
            ]
        )

    try:
        answer = gateway().predictor.predict(
            model, batch, version=version, timeout=config.request_timeout_s
        )
    except NotFoundError as error:
        raise _not_found(model, version) from error
    contract = answer.contract
    named: list[Prediction] | list[Value]
    if contract.task == "regression":
        named = values(answer.outputs)
    else:
        named = predictions(answer.outputs, contract.labels, top)
    return jsonify(model=model, version=contract.version, predictions=named)


def _positive(name: str) -> int | None:
    text = request.args.get(name)
    if text is None:
        return None
    # isdecimal alone would let other scripts' digits by; a version is an int64 on the wire.
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and 1 <= int(text) < 2**63):
        raise InvalidInputError(name, expected="a whole number from 1", got=repr(text[:40]))
    return int(text)


def _not_found(model: str, version: int | None) -> UnknownNameError:
    """Says whether it is the model or the version that is not there, and what is."""
    state = gateway()
    try:
        states = state.backend.status(model, timeout=state.config.request_timeout_s)
    except NotFoundError:
        served = ", ".join(state.config.models)
        return UnknownNameError("model", expected=f"a served model ({served})", got=repr(model))
    available = ", ".join(str(s.version) for s in states if s.state == "AVAILABLE") or "none"
    got = "the newest" if version is None else str(version)
    return UnknownNameError(
        "version", expected=f"an available version of {model} ({available})", got=got
    )
