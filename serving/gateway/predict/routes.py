"""`POST /predict/<model>`: examples in, labels or numbers out."""

from typing import Any

import numpy as np
from flask import jsonify, request
from flask.typing import ResponseReturnValue
from numpy.typing import NDArray

from clients.errors import NotFoundError
from serving.contract import Input
from serving.errors import InvalidInputError
from serving.gateway.context import context
from serving.gateway.names import not_found
from serving.gateway.predict.bodies import read_examples
from serving.gateway.state import gateway
from serving.inputs import prepare
from serving.labels import Prediction, Value, predictions, values

DEFAULT_TOP = 3
_PARAMETERS = ("version", "label", "top")


def predict(model: str) -> ResponseReturnValue:
    """Predict the examples in the body.

    `?version=` or `?label=` picks a version, `?top=` says how many labels.
    """
    unknown = sorted(set(request.args) - set(_PARAMETERS))
    if unknown:
        raise InvalidInputError(unknown[0], expected=" or ".join(_PARAMETERS), got=unknown[0])
    version, label, top = _positive("version"), _label(), _positive("top") or DEFAULT_TOP
    config, current = gateway().config, context()
    current.model = model
    with current.phase("preprocess"):
        examples = read_examples(request, config)
    current.instances = len(examples)

    def batch(spec: Input) -> NDArray[Any]:
        with current.phase("preprocess"):
            return np.stack(
                [
                    prepare(named.example, spec, field=named.field, max_pixels=config.max_pixels)
                    for named in examples
                ]
            )

    try:
        answer = gateway().predictor.predict(
            model, batch, version=version, label=label, timeout=current.time_left()
        )
    except NotFoundError as error:
        raise not_found(model, version, label) from error
    contract = answer.contract
    with current.phase("postprocess"):
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


def _label() -> str | None:
    label = request.args.get("label")
    if label == "":
        raise InvalidInputError("label", expected="the name of a label", got="nothing")
    if label is not None and "version" in request.args:
        raise InvalidInputError("label", expected="a version or a label", got="both")
    return label
