"""`/v1/…`: TensorFlow Serving's REST API.

Requests are parsed and responses written with the embedded model server's code; in between they go
upstream like any other request.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flask import Blueprint, Response, current_app, request
from flask.blueprints import BlueprintSetupState
from msgspec.structs import replace
from numpy.typing import NDArray
from werkzeug.wsgi import get_current_url

from rockstar_client.backend import Metadata, Query, TensorResponse
from rockstar_client.errors import CallError, InvalidRequestError, NotFoundError
from rockstar_client.predictor import Steps
from rockstar_serving.gateway.api import Api, respond
from rockstar_serving.gateway.bodies import require_few
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.errors import HttpResponse, ProblemError
from rockstar_serving.gateway.receiving import reading, reading_json, whole_body
from rockstar_serving.gateway.state import gateway
from tfs_api import json_request, json_response
from tfs_api.json_request import JsonRequest
from tfs_api.json_response import error_json, metadata_json, status_json
from tfs_api.messages.prediction_pb2 import SignatureDefMap
from tfs_api.model_ref import Action, ModelRef, Route, path_of, route
from tfs_api.signature import DEFAULT_SIGNATURE, Signature, signature_of
from tfs_api.status import HTTP_STATUS, StatusError

_EXTENSION = "tfserving"
# Far more references than are in use at a time; versions come and go.
_MAX_REMEMBERED = 1024

Outputs = Mapping[str, NDArray[Any]]

_blueprint = Blueprint("tfserving", __name__)


@_blueprint.url_value_preprocessor
def _find_model(_endpoint: str | None, values: dict[str, Any] | None) -> None:
    """Replace the URL's variables by `target`, the parsed route or the error of an invalid one.

    A route also has `model`, its model, as all routes of the gateway.
    """
    if values is None:
        return
    values.clear()
    # TensorFlow Serving's patterns match the URL as it was sent, which not every WSGI server keeps.
    environ = request.environ
    sent = environ.get("RAW_URI") or environ.get("REQUEST_URI") or get_current_url(environ)
    path, root = path_of(sent), environ.get("SCRIPT_NAME", "")
    if root and path.startswith(f"{root}/"):
        path = path[len(root) :]
    try:
        values["target"] = target = route(request.method, path)
        values["model"] = target.ref.name
    except StatusError as error:
        values["target"] = error


def respond_view(target: Route | StatusError, **_model: str) -> Response:
    """See handle()."""
    if request.method == "OPTIONS":
        response = Response()
        response.allow.update(("GET", "POST"))
        return response
    cache: SignatureCache = current_app.extensions[_EXTENSION]
    return respond(handle(target, cache), gateway().backend)


def handle(target: Route | StatusError, cache: "SignatureCache") -> Steps[HttpResponse]:
    """Handle the current request, whose path names `target` or is invalid."""
    try:
        if isinstance(target, StatusError):
            raise target
        context().model = target.ref.name
        return HttpResponse((yield from _content(target, cache)))
    except CallError:
        raise
    except StatusError as error:
        raise ProblemError(HTTP_STATUS[error.code], error.message, error.code) from error


def _content(target: Route, cache: "SignatureCache") -> Steps[bytes]:
    backend, current, ref = gateway().backend, context(), target.ref
    if target.action is Action.STATUS:
        states = yield from backend.steps("status", _query(ref))
        return status_json((s.version, s.state, s.code, s.error) for s in states)
    if target.action is Action.METADATA:
        metadata = yield from backend.steps("metadata", _query(ref))
        return metadata_json(
            ref.name, metadata.version, SignatureDefMap(signature_def=metadata.signatures)
        )
    with current.phase("preprocess"):
        body = whole_body(current, gateway().config)
    if target.action is Action.PREDICT:
        with current.phase("preprocess"):
            with reading_json(body):
                tensors = json_request.parse_predict(body)
            if isinstance(rows := tensors.document.get("instances"), list):
                require_few(len(rows), gateway().config)
        outputs = yield from _predict(ref, tensors, len(body), cache)
        with current.phase("postprocess"):
            return json_response.response(outputs, by_row=tensors.by_row)
    if target.action is Action.CLASSIFY:
        classified = yield from _call_with_examples("classify", ref, body)
        with current.phase("postprocess"):
            rows = [example.classes for example in classified.result.classifications]
            current.instances = len(rows)
            scores = np.array([[each.score for each in row] for row in rows], np.float32)
            labels = [[each.label for each in row] for row in rows]
            return json_response.classification(labels, scores)
    regressed = yield from _call_with_examples("regress", ref, body)
    with current.phase("postprocess"):
        values = np.array([each.value for each in regressed.result.regressions], np.float32)
        current.instances = len(values)
        return json_response.regression(values)


def _query(ref: ModelRef) -> Query:
    timeout = context().time_left()
    return Query(ref.name, version=ref.version, label=ref.label, timeout=timeout)


def _call_with_examples(method: str, ref: ModelRef, body: bytes) -> Steps[Any]:
    current = context()
    with current.phase("preprocess"):
        with reading_json(body):
            parsed = json_request.parse_examples(body)
        kind = parsed.input.WhichOneof("kind")
        require_few(len(getattr(parsed.input, kind).examples), gateway().config)
    query = replace(_query(ref), examples=parsed.input, signature=parsed.signature_name)
    found = yield from gateway().backend.steps(method, query)
    current.version = found.model_spec.version.value
    return found


@dataclass(frozen=True)
class _Known:
    """The signatures of a version by name."""

    version: int
    signatures: Mapping[str, Signature]


class SignatureCache:
    """The signatures of models, so that a request is usually one call upstream; thread-safe.

    Reading JSON depends on the signature. The newest version or a label's version changes, so an
    entry may be outdated; the version of the response shows it.
    """

    def __init__(self) -> None:
        self.known: dict[ModelRef, _Known] = {}

    def read(self, ref: ModelRef) -> Steps[_Known]:
        """Read signatures from the model server; raises CallError."""
        found: Metadata = yield from gateway().backend.steps("metadata", _query(ref))
        by_name = {name: signature_of(message) for name, message in found.signatures.items()}
        known = _Known(found.version, by_name)
        if len(self.known) >= _MAX_REMEMBERED:
            self.known.clear()
        self.known[ref] = self.known[ModelRef(ref.name, known.version)] = known
        return known

    def of_version(self, ref: ModelRef, version: int) -> Steps[_Known]:
        """The signatures of the version that answered for a reference; raises CallError."""
        exact = ModelRef(ref.name, version)
        known = self.known.get(exact) or (yield from self.read(exact))
        self.known[ref] = known
        return known


@_blueprint.record
def _create_cache(setup: BlueprintSetupState) -> None:
    setup.app.extensions[_EXTENSION] = SignatureCache()


def _predict(
    ref: ModelRef, parsed: JsonRequest, size: int, cache: SignatureCache
) -> Steps[Outputs]:
    """Predict with JSON of `size` bytes; returns the outputs by name. Raises StatusError."""
    name = parsed.signature_name or DEFAULT_SIGNATURE
    known = cache.known.get(ref)
    if known is not None:
        try:
            return (yield from _predict_as(ref, parsed, size, known, cache))
        except StatusError as error:
            if isinstance(error, CallError) and not isinstance(error, InvalidRequestError):
                raise
            # The request may match the signatures of a newer version.
            remembered, known = known, (yield from cache.read(ref))
            if _input_dtypes(known, name) == _input_dtypes(remembered, name):
                raise
    known = known or (yield from cache.read(ref))
    return (yield from _predict_as(ref, parsed, size, known, cache))


def _predict_as(
    ref: ModelRef, parsed: JsonRequest, size: int, known: _Known, cache: SignatureCache
) -> Steps[Outputs]:
    """Predict with JSON read for known signatures; again if the version that answers has others."""
    current, name = context(), parsed.signature_name or DEFAULT_SIGNATURE
    while True:
        if name not in known.signatures:
            raise json_request.signature_not_found(name)
        with current.phase("preprocess"), reading(size):
            feeds = json_request.feeds(parsed, known.signatures[name])
        current.instances = max((len(a) for a in feeds.values() if np.ndim(a)), default=1)
        shapes = [spec.shape for spec in known.signatures[name].inputs.values()]
        if not all(shape and shape[0] >= 0 for shape in shapes):
            require_few(current.instances, gateway().config)
        query = replace(_query(ref), inputs=feeds, signature=name)
        response: TensorResponse = yield from gateway().backend.steps("predict", query)
        if response.version in (known.version, ref.version):
            return response.outputs
        try:
            other = yield from cache.of_version(ref, response.version)
        except NotFoundError:  # it is unloaded already, or another server responded
            known = yield from cache.read(ref)
            continue
        if _input_dtypes(other, name) == _input_dtypes(known, name):
            return response.outputs
        # Another version accepted the feeds, but would have read the JSON differently.
        ref, known = ModelRef(ref.name, other.version), other


def _input_dtypes(known: _Known, name: str) -> Mapping[str, np.dtype[Any]] | None:
    """The dtypes of inputs, on which reading JSON depends; None without the signature."""
    signature = known.signatures.get(name)
    if signature is None:
        return None
    return {name: spec.dtype for name, spec in signature.inputs.items()}


def _render(problem: ProblemError) -> HttpResponse:
    return HttpResponse(error_json(problem.text))


def rule(target: Route) -> str:
    """The pattern of an inference's path."""
    ref = target.ref
    place = "/labels/<label>" if ref.label else "/versions/<version>" if ref.version else ""
    return f"/v1/models/<model>{place}:{target.action.value}"


def _add_routes() -> None:
    # All routes have one view; their patterns appear in metrics and the OpenAPI document.
    by_method: list[tuple[str, list[str]]] = []
    for model in (
        "/v1/models/<model>",
        "/v1/models/<model>/versions/<version>",
        "/v1/models/<model>/labels/<label>",
    ):
        by_method += [(f"{model}:{verb}", ["POST"]) for verb in ("predict", "classify", "regress")]
        by_method += [(model, ["GET"]), (f"{model}/metadata", ["GET"])]
    # The view matches TensorFlow Serving's own patterns, which ignore case.
    methods = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"]
    by_method += [(path, methods) for path in ("/v1/", "/v1/<path:path>", "/V1/<path:path>")]
    for path, allowed in by_method:
        _blueprint.add_url_rule(
            path,
            view_func=respond_view,
            methods=allowed,
            provide_automatic_options=False,
            strict_slashes=False,
        )


_add_routes()
API = Api("tfserving", _blueprint, render=_render, prefix="/v1/", relays=True)
