"""`/v2/…`: the Open Inference Protocol (KServe's v2): inference, metadata and health.

Source: KServe's documents "Open Inference Protocol (V2)" and "Binary Tensor Data Extension". Field
names are the protocol's. Optional members may be null: clients send unset ones that way.
"""

from codecs import BOM_UTF8
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
import numpy as np
from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue
from numpy.typing import NDArray

from rockstar_client.backend import Query, TensorResponse
from rockstar_client.errors import CallError
from rockstar_client.predictor import Steps
from rockstar_contract.errors import InvalidInputError
from rockstar_contract.inputs import leaf_types
from rockstar_serving import installed_version
from rockstar_serving.gateway.api import Api, respond
from rockstar_serving.gateway.bodies import require_few
from rockstar_serving.gateway.context import context
from rockstar_serving.gateway.errors import RETRY_SOON, HttpResponse, ProblemError, UnknownNameError
from rockstar_serving.gateway.health import PROBE_TIMEOUT_S, are_ready, probe
from rockstar_serving.gateway.predict import positive
from rockstar_serving.gateway.receiving import PLAIN_BODY, reading_json, whole_body
from rockstar_serving.gateway.state import gateway
from tfs_api.json_pieces import parse_in_pieces
from tfs_api.model_ref import whole_number
from tfs_api.open_inference import (
    DATATYPES,
    PLATFORM,
    check_parameters,
    check_shape,
    datatype,
    declared_shape,
    dtype_of,
    from_bytes,
    shaped,
    to_bytes,
)
from tfs_api.signature import DEFAULT_SIGNATURE, TensorSpec, signature_of

# The header with the length of the JSON in a body; the tensors' bytes follow it.
HEADER_LENGTH = "Inference-Header-Content-Length"
_MODEL = "/v2/models/<model>"
_VERSION = f"{_MODEL}/versions/<version>"
INFER, INFER_VERSION = f"{_MODEL}/infer", f"{_VERSION}/infer"
# JSON has no half floats: they need the binary extension.
_BINARY_ONLY = ("FP16", "BF16")
# The JSON types that fit a kind of dtype.
_JSON_TYPES: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}

_blueprint = Blueprint("oip", __name__)
_probes = Blueprint("oip-health", __name__)

Parameters = dict[str, Any]


class InputTensor(msgspec.Struct):
    """An input; `data` is flat or nested, or absent if the bytes follow the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters | None = None
    data: Any = None


class WantedOutput(msgspec.Struct):
    """An output to return."""

    name: str
    parameters: Parameters | None = None


class InferRequest(msgspec.Struct):
    """The body of an inference request."""

    inputs: list[InputTensor]
    outputs: list[WantedOutput] | None = None
    parameters: Parameters | None = None
    id: str | None = None

    def parameter(self, name: str) -> Any:
        """A parameter of the request; None if it is absent or null."""
        return (self.parameters or {}).get(name)


class OutputTensor(msgspec.Struct, omit_defaults=True):
    """An output with its values flat, in row-major order."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters = {}
    data: list[Any] | msgspec.UnsetType = msgspec.UNSET


class InferResponse(msgspec.Struct, omit_defaults=True):
    """The body of an inference response."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]
    id: str = ""


# Created once: msgspec crashes when threads use a class for the first time together.
_REQUEST = msgspec.json.Decoder(InferRequest)


@_blueprint.post(INFER)
@_blueprint.post(INFER_VERSION)
def infer_view(model: str, version: str | None = None) -> Response:
    """See infer()."""
    return respond(infer(model, version), gateway().backend)


def infer(model: str, version: str | None = None) -> Steps[HttpResponse]:
    """Run `serving_default`, or the signature that `parameters.signature_name` names."""
    current = context()
    current.model = model
    number = positive(version, "version")
    with current.phase("preprocess"):
        document, binary = _split(whole_body(current, gateway().config))
        try:
            with reading_json(document):
                asked = _parsed(document.removeprefix(BOM_UTF8))
        except InvalidInputError:
            raise
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInputError(
                "body",
                expected='{"inputs": [{"name", "shape", "datatype", "data"}, …]}',
                got=f"something else ({error})",
            ) from error
        if not asked.inputs:
            raise InvalidInputError("inputs", expected="one or more tensors", got="none")
        inputs = _read_inputs(asked.inputs, binary)
        for index, output in enumerate(asked.outputs or ()):
            check_parameters(list(output.parameters or ()), f"outputs[{index}]")
        current.instances = max((len(a) for a in inputs.values() if a.ndim), default=1)
        require_few(current.instances, gateway().config)
    signature = asked.parameter("signature_name")
    if signature is not None and not isinstance(signature, str):
        raise InvalidInputError(
            "parameters.signature_name", expected="text", got=repr(signature)[:40]
        )
    answer: TensorResponse = yield from gateway().backend.steps(
        "predict",
        Query(
            model,
            inputs,
            version=number,
            signature=signature or "",
            outputs=[output.name for output in asked.outputs or ()],
            timeout=current.time_left(),
        ),
    )
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
            return HttpResponse(content)
        headers = {HEADER_LENGTH: str(len(content))}
        return HttpResponse(
            b"".join([content, *binary_parts]), "application/octet-stream", headers=headers
        )


def _parsed(document: bytes) -> InferRequest:
    if len(document) <= PLAIN_BODY:
        return _REQUEST.decode(document)
    value, end = parse_in_pieces(document, lambda piece, _: msgspec.json.decode(piece))
    if document[end:].strip():
        raise msgspec.DecodeError(f"JSON is malformed: trailing characters (byte {end})")
    return msgspec.convert(value, InferRequest)


def _split(body: bytes) -> tuple[bytes, bytes]:
    """Split a body into its JSON and the bytes after it."""
    text = context().header(HEADER_LENGTH.lower())
    if text is None:
        return body, b""
    length = whole_number(text)
    if length is None or length > len(body):
        raise InvalidInputError(
            HEADER_LENGTH, expected=f"at most the {len(body)} bytes of the body", got=text[:40]
        )
    return body[:length], body[length:]


def _read_inputs(inputs: list[InputTensor], binary: bytes) -> dict[str, NDArray[Any]]:
    """Read the input tensors by name; of some the values follow the JSON, in their order."""
    arrays: dict[str, NDArray[Any]] = {}
    used = 0
    for index, tensor in enumerate(inputs):
        field = f"inputs[{index}]"
        if tensor.name in arrays:
            raise InvalidInputError(
                f"{field}.name", expected="another name", got=repr(tensor.name)[:40]
            )
        check_parameters(list(tensor.parameters or ()), field)
        size = (tensor.parameters or {}).get("binary_data_size")
        if size is None:
            if tensor.data is None:
                raise InvalidInputError(
                    f"{field}.data", expected="values, or parameters.binary_data_size", got="none"
                )
            arrays[tensor.name] = from_json(tensor.data, tensor.datatype, tensor.shape, field)
            continue
        left, size_field = len(binary) - used, f"{field}.parameters.binary_data_size"
        if not isinstance(size, int) or not 0 <= size <= left:
            raise InvalidInputError(
                size_field, expected=f"at most the {left} bytes that follow", got=repr(size)[:40]
            )
        data = binary[used : used + size]
        used += size
        arrays[tensor.name] = from_bytes(data, tensor.datatype, tensor.shape, field, size_field)
    if used != len(binary):
        raise InvalidInputError(
            "body",
            expected=f"{used} bytes behind the JSON, as the inputs say",
            got=str(len(binary)),
        )
    return arrays


def from_json(data: Any, name: str, shape: list[int], field: str) -> NDArray[Any]:
    """Convert JSON values, flat or nested and row-major, to an array of a datatype and a shape.

    Raises InvalidInputError if they do not match these. `field` is the tensor's, for errors.
    """
    dtype = dtype_of(name, field)
    if name in _BINARY_ONLY:
        raise InvalidInputError(
            f"{field}.data",
            expected=f"{name} as binary data",
            got="JSON",
            hint="see parameters.binary_data_size",
        )
    check_shape(shape, field)
    if dtype.kind == "O":
        return shaped(_texts(data, field), shape, f"{field}.data")
    others = leaf_types(data) - _JSON_TYPES[dtype.kind]
    if others:
        names = {bool: "true or false", int: "integers", float: "numbers with a fraction"}
        names |= {str: "text"}
        found = sorted(names.get(kind, "null, lists or objects") for kind in others)
        raise InvalidInputError(f"{field}.data", expected=f"{name} values", got=", ".join(found))
    try:
        with np.errstate(over="ignore"):
            values = np.asarray(data, np.float64 if dtype.kind == "f" else dtype).astype(dtype)
    except OverflowError as error:
        limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
        flat: list[Any] = np.asarray(data, dtype=object).ravel().tolist()
        raise InvalidInputError(
            f"{field}.data",
            expected=f"values from {limits.min} to {limits.max}",
            got=f"{min(flat)} to {max(flat)}",
        ) from error
    except ValueError as error:
        raise InvalidInputError(
            f"{field}.data", expected="a flat or regularly nested array", got="a ragged one"
        ) from error
    return shaped(values.ravel(), shape, f"{field}.data")


def to_json(array: NDArray[Any], field: str) -> list[Any]:
    """Convert an array to flat JSON values.

    Raises InvalidInputError for half floats, NaN, and bytes that are not UTF-8.
    """
    got = ""
    if array.dtype.kind == "O":
        try:
            return [bytes(value).decode() for value in array.ravel()]
        except UnicodeDecodeError:
            got = "bytes that are not text"
    elif array.dtype in (DATATYPES["FP16"], DATATYPES["BF16"]):
        got = datatype(array.dtype)
    elif array.dtype.kind == "f" and not np.isfinite(array).all():
        got = "NaN or infinity"
    if got:
        raise InvalidInputError(
            field,
            expected="an output that JSON can hold",
            got=got,
            hint='ask for it with "parameters": {"binary_data": true}',
        )
    values: list[Any] = array.ravel().tolist()
    return values


def _texts(data: Any, field: str) -> NDArray[Any]:
    flat: list[bytes] = []
    level = [data]
    while level:
        item = level.pop()
        if isinstance(item, list):
            level.extend(reversed(item))
        elif isinstance(item, str):
            flat.append(item.encode())
        else:
            raise InvalidInputError(f"{field}.data", expected="texts", got=type(item).__name__)
    return np.array(flat, object)


@_blueprint.get("/v2")
def server_metadata() -> ResponseReturnValue:
    """The server and the extensions it supports."""
    return jsonify(
        name="rockstartf", version=installed_version(), extensions=["binary_tensor_data"]
    )


@_blueprint.get(_MODEL)
@_blueprint.get(_VERSION)
def model_metadata(model: str, version: str | None = None) -> ResponseReturnValue:
    """The inputs and outputs of `serving_default`; -1 is any size."""
    current = context()
    current.model = model
    number = positive(version, "version")
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
    """Whether the models respond, as for `/readyz`."""
    return _health({"ready": are_ready({model: probe(model) for model in gateway().served.names})})


@_probes.get(f"{_MODEL}/ready")
@_probes.get(f"{_VERSION}/ready")
def model_ready(model: str, version: str | None = None) -> Response:
    """Whether a model or version is available; it need not have a contract."""
    number = positive(version, "version")
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
        response.headers.update(RETRY_SOON)
    return response


def _render(problem: ProblemError) -> HttpResponse:
    return HttpResponse(msgspec.json.encode({"error": problem.text}))


API = Api("oip", _blueprint, render=_render, prefix="/v2", relays=True)
HEALTH = Api("oip-health", _probes, render=_render, unlimited=True)
