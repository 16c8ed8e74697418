"""`/v2/…`: the Open Inference Protocol (KServe's v2): inference, metadata and health.

Source: KServe's documents "Open Inference Protocol (V2)" and "Binary Tensor Data Extension".
"""

from codecs import BOM_UTF8
from collections.abc import Mapping
from http import HTTPStatus
from importlib.metadata import version as installed_version
from typing import Any

import msgspec
from flask import Blueprint, Response, jsonify, request
from flask.typing import ResponseReturnValue

from rockstar_client.backend import Query
from rockstar_client.errors import CallError
from rockstar_contract.errors import InvalidInputError
from rockstar_serving.gateway.api import Api
from rockstar_serving.gateway.bodies import whole_body
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.errors import RETRY_AFTER, Problem, UnknownNameError
from rockstar_serving.gateway.health import PROBE_TIMEOUT_S, are_ready, probe
from rockstar_serving.gateway.open_inference_tensors import (
    InferRequest,
    InferResponse,
    OutputTensor,
    WantedOutput,
    read_inputs,
    to_json,
)
from rockstar_serving.gateway.state import gateway
from tfs_api.open_inference import PLATFORM, check_parameters, datatype, declared_shape, to_bytes
from tfs_api.signature import DEFAULT_SIGNATURE, TensorSpec, signature_of

# The header with the length of the JSON in a body; the tensors' bytes follow it.
HEADER_LENGTH = "Inference-Header-Content-Length"
# Created once: msgspec crashes when threads use a class for the first time together.
_REQUEST = msgspec.json.Decoder(InferRequest)
_MODEL = "/v2/models/<model>"
_VERSION = f"{_MODEL}/versions/<version>"

_blueprint = Blueprint("oip", __name__)
_probes = Blueprint("oip-health", __name__)


@_blueprint.post(f"{_MODEL}/infer")
@_blueprint.post(f"{_VERSION}/infer")
def infer(model: str, version: str | None = None) -> Response:
    """Run `serving_default`, or the signature that `parameters.signature_name` names."""
    current = context()
    current.model = model
    number = _version_number(version)
    with current.phase("preprocess"):
        document, binary = _split(whole_body(gateway(), current))
        try:
            asked = _REQUEST.decode(document.removeprefix(BOM_UTF8))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInputError(
                "body",
                expected='{"inputs": [{"name", "shape", "datatype", "data"}, …]}',
                got=f"something else ({error})",
            ) from error
        if not asked.inputs:
            raise InvalidInputError("inputs", expected="one or more tensors", got="none")
        inputs = read_inputs(asked.inputs, binary)
        for index, output in enumerate(asked.outputs or ()):
            check_parameters(list(output.parameters or ()), f"outputs[{index}]")
        current.instances = max((len(a) for a in inputs.values() if a.ndim), default=1)
    signature = asked.parameter("signature_name")
    if signature is not None and not isinstance(signature, str):
        raise InvalidInputError(
            "parameters.signature_name", expected="text", got=repr(signature)[:40]
        )
    answer = gateway().backend.predict(
        Query(
            model,
            inputs,
            version=number,
            signature=signature or "",
            outputs=[output.name for output in asked.outputs or ()],
            timeout=current.time_left(),
        )
    )
    current.version = answer.version
    with current.phase("postprocess"):
        outputs, binary_parts = [], []
        for wanted in asked.outputs or [WantedOutput(name) for name in answer.outputs]:
            array = answer.outputs[wanted.name]
            output_tensor = OutputTensor(
                wanted.name, datatype(array.dtype), [int(size) for size in array.shape]
            )
            as_binary = (wanted.parameters or {}).get("binary_data")
            if as_binary is None:
                as_binary = asked.parameter("binary_data_output")
            if as_binary is True:
                binary_parts.append(to_bytes(array))
                output_tensor.parameters = {"binary_data_size": len(binary_parts[-1])}
            else:
                output_tensor.data = to_json(array, f"output {wanted.name}")
            outputs.append(output_tensor)
        content = msgspec.json.encode(
            InferResponse(model, str(answer.version), outputs, asked.id or "")
        )
        if not binary_parts:
            return Response(content, mimetype="application/json")
        response = Response(b"".join([content, *binary_parts]), mimetype="application/octet-stream")
        response.headers[HEADER_LENGTH] = str(len(content))
        return response


def _split(body: bytes) -> tuple[bytes, bytes]:
    """Split a body into its JSON and the bytes after it."""
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return body, b""
    # int() itself would fail on thousands of digits.
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= len(body)):
        raise InvalidInputError(
            HEADER_LENGTH, expected=f"at most the {len(body)} bytes of the body", got=text[:40]
        )
    return body[: int(text)], body[int(text) :]


@_blueprint.get("/v2")
def server_metadata() -> ResponseReturnValue:
    """The server and the extensions it supports."""
    return jsonify(
        name="rockstartf",
        version=installed_version("rockstartf"),
        extensions=["binary_tensor_data"],
    )


@_blueprint.get(_MODEL)
@_blueprint.get(_VERSION)
def model_metadata(model: str, version: str | None = None) -> ResponseReturnValue:
    """The inputs and outputs of `serving_default`; -1 is any size."""
    current = context()
    current.model = model
    number = _version_number(version)
    backend = gateway().backend
    metadata = backend.metadata(Query(model, version=number, timeout=current.time_left()))
    states = backend.status(Query(model, timeout=current.time_left()))
    message = metadata.signatures.get(DEFAULT_SIGNATURE)
    if message is None:
        known = ", ".join(sorted(metadata.signatures))
        raise UnknownNameError("signature", expected=DEFAULT_SIGNATURE, got=f"only {known}")
    signature = signature_of(message)
    return jsonify(
        name=model,
        versions=[str(state.version) for state in states if state.state == "AVAILABLE"],
        platform=PLATFORM,
        inputs=_tensors(signature.inputs),
        outputs=_tensors(signature.outputs),
    )


def _tensors(specs: Mapping[str, TensorSpec]) -> list[dict[str, Any]]:
    return [
        {"name": name, "datatype": datatype(spec.dtype), "shape": declared_shape(spec)}
        for name, spec in sorted(specs.items())
    ]


@_probes.get("/v2/health/live")
def live() -> Response:
    """Whether the process works."""
    return _health({"live": True})


@_probes.get("/v2/health/ready")
def ready() -> Response:
    """Whether the models answer, as for `/readyz`."""
    return _health({"ready": are_ready({model: probe(model) for model in gateway().served.names})})


@_probes.get(f"{_MODEL}/ready")
@_probes.get(f"{_VERSION}/ready")
def model_ready(model: str, version: str | None = None) -> Response:
    """Whether a model or version is available.

    By its status, not its contract: models from elsewhere are served too.
    """
    number = _version_number(version)
    try:
        query = Query(model, version=number, timeout=PROBE_TIMEOUT_S)
        states = gateway().backend.status(query)
    except CallError:
        states = []
    is_ready = any(state.state == "AVAILABLE" for state in states)
    return _health({"name": model, "ready": is_ready})


def _health(document: dict[str, str | bool]) -> Response:
    response = Response(msgspec.json.encode(document), mimetype="application/json")
    if not document.get("ready", True):
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        response.headers.update(RETRY_AFTER)
    return response


def _version_number(text: str | None) -> int | None:
    """The version in a path; None, the newest, if the path has none.

    Raises:
        InvalidInputError: not a version number. The protocol allows any text.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and 0 < int(text) < 2**63):
        raise InvalidInputError("version", expected="a whole number from 1", got=repr(text[:40]))
    return int(text)


def _render(problem: Problem) -> Response:
    return Response(msgspec.json.encode({"error": problem.text}), mimetype="application/json")


API = Api("oip", _blueprint, render=_render, prefix="/v2", relays=True)
HEALTH = Api("oip-health", _probes, render=_render, open=True)
