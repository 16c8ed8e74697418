"""`POST /predict/<model>`: examples in, labels out."""

from typing import Any

import numpy as np
from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from numpy.typing import NDArray

from clients.errors import CallError, NotFoundError
from serving.api.status import Code
from serving.contract import Input
from serving.errors import InvalidInputError
from serving.gateway.bodies import read_examples
from serving.gateway.state import gateway
from serving.inputs import prepare
from serving.labels import predictions

blueprint = Blueprint("predict", __name__)

DEFAULT_TOP = 3
_PARAMETERS = ("version", "top")


@blueprint.post("/predict/<model>")
def predict(model: str) -> ResponseReturnValue:
    """Classify the examples in the body; `?version=` picks a version, `?top=` how many labels."""
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
        answer = gateway().classifier.classify(
            model, batch, version=version, timeout=config.request_timeout_s
        )
    except NotFoundError as error:
        raise _not_found(model, version) from error
    named = predictions(answer.probabilities, answer.contract.labels, top)
    return jsonify(model=model, version=answer.contract.version, predictions=named)


def _positive(name: str) -> int | None:
    text = request.args.get(name)
    if text is None:
        return None
    # isdecimal alone would let other scripts' digits by; a version is an int64 on the wire.
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and 1 <= int(text) < 2**63):
        raise InvalidInputError(name, expected="a whole number from 1", got=repr(text[:40]))
    return int(text)


def _not_found(model: str, version: int | None) -> CallError:
    """Says whether it is the model or the version that is not there, and what is."""
    served = ", ".join(gateway().config.models) or "none"
    try:
        states = gateway().backend.status(model)
    except NotFoundError:
        return NotFoundError(Code.NOT_FOUND, f"There is no model {model!r}; served: {served}.")
    available = [str(state.version) for state in states if state.state == "AVAILABLE"]
    listed = ", ".join(available) or "none"
    asked = "" if version is None else f" {version}"
    return NotFoundError(
        Code.NOT_FOUND, f"Model {model!r} has no version{asked} available; available: {listed}."
    )
