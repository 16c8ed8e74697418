"""Views: which call a request asks for, and its answer."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from flask import Response, request

from rockstar_client.errors import CallError
from rockstar_serving.gateway.body import whole_body
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.errors import ProblemError
from rockstar_serving.gateway.problem import Problem
from rockstar_serving.gateway.state import gateway
from rockstar_serving.gateway.tfserving.predict import predict
from tfs_api import json_response, json_results, json_tensors
from tfs_api.json_examples import parse_request
from tfs_api.messages.inference_pb2 import ClassificationResponse, RegressionResponse
from tfs_api.messages.prediction_pb2 import SignatureDefMap
from tfs_api.model_ref import ModelRef
from tfs_api.rest_answers import VersionState, metadata_json, status_json
from tfs_api.rest_routes import Action, Route, path_of, route
from tfs_api.status import HTTP_STATUS, StatusError

Found = TypeVar("Found", ClassificationResponse, RegressionResponse)


def find_model(_endpoint: str | None, values: dict[str, Any] | None) -> None:
    """Replace the variables of the URL, before anything else is done, by what it asks for.

    As elsewhere in the gateway, the model is the variable `model`. A request that asks for nothing
    that there is has the variable `refused`, the error that says so.
    """
    if values is None:
        return
    values.clear()
    # TensorFlow Serving's patterns go for the URL as it was sent.
    sent = request.environ.get("RAW_URI") or request.environ["REQUEST_URI"]
    path, root = path_of(sent), request.environ.get("SCRIPT_NAME", "")
    if root and path.startswith(f"{root}/"):
        path = path[len(root) :]
    try:
        asked = route(request.method, path)
    except StatusError as error:
        values["refused"] = error
    else:
        values |= {"asked": asked, "model": asked.ref.name}


def answer(
    asked: Route | None = None, model: str = "", refused: StatusError | None = None
) -> Response:
    """Answer a request; what is wrong with it is said in TensorFlow Serving's words."""
    context().model = model
    if request.method == "OPTIONS":
        response = Response()
        response.allow.update(("GET", "POST"))
        return response
    try:
        if asked is None:
            raise refused or AssertionError("find_model() says one of the two")
        return Response(_answer(asked), mimetype="application/json")
    except CallError:
        raise
    except StatusError as error:
        problem = Problem(HTTP_STATUS[error.code], error.message, error.code)
        raise ProblemError(problem) from error


def _answer(asked: Route) -> bytes:
    if asked.action is Action.STATUS:
        return _status(asked.ref)
    if asked.action is Action.METADATA:
        return _metadata(asked.ref)
    with context().phase("preprocess"):
        body = whole_body()
    if asked.action is Action.PREDICT:
        return _predict(asked.ref, body)
    return (
        _classify(asked.ref, body) if asked.action is Action.CLASSIFY else _regress(asked.ref, body)
    )


def _status(ref: ModelRef) -> bytes:
    states = gateway().backend.status(
        ref.name, ref.version, label=ref.label, timeout=context().time_left()
    )
    return status_json(VersionState(s.version, s.state, s.code, s.error) for s in states)


def _metadata(ref: ModelRef) -> bytes:
    found = gateway().backend.metadata(
        ref.name, ref.version, label=ref.label, timeout=context().time_left()
    )
    return metadata_json(ref.name, found.version, SignatureDefMap(signature_def=found.signatures))


def _predict(ref: ModelRef, body: bytes) -> bytes:
    current = context()
    with current.phase("preprocess"):
        asked = json_tensors.parse_request(body)
    outputs = predict(ref, asked)
    with current.phase("postprocess"):
        return json_response.response(outputs, by_row=asked.by_row)


def _classify(ref: ModelRef, body: bytes) -> bytes:
    current = context()
    found = _ask(gateway().backend.classify, ref, body)
    with current.phase("postprocess"):
        rows = [example.classes for example in found.result.classifications]
        current.instances = len(rows)
        scores = np.array([[each.score for each in row] for row in rows], np.float32)
        return json_results.classification([[each.label for each in row] for row in rows], scores)


def _regress(ref: ModelRef, body: bytes) -> bytes:
    current = context()
    found = _ask(gateway().backend.regress, ref, body)
    with current.phase("postprocess"):
        values = np.array([each.value for each in found.result.regressions], np.float32)
        current.instances = len(values)
        return json_results.regression(values)


def _ask(call: Callable[..., Found], ref: ModelRef, body: bytes) -> Found:
    """What a call with tf.Examples answers; the context is told the version."""
    current = context()
    with current.phase("preprocess"):
        asked = parse_request(body)
    found = call(
        ref.name,
        asked.input,
        version=ref.version,
        label=ref.label,
        signature=asked.signature_name,
        timeout=current.time_left(),
    )
    current.version = found.model_spec.version.value
    return found
