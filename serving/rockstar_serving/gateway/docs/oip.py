"""`/v2/…`, the Open Inference Protocol, in the document."""

from rockstar_contract.shapes import MAX_RANK
from rockstar_serving.gateway.docs.bodies import file
from rockstar_serving.gateway.docs.examples import TENSOR
from rockstar_serving.gateway.docs.failures import ANYWHERE, QUEUED, READING, RELAYED, Manner
from rockstar_serving.gateway.docs.parts import (
    RETRY_AFTER,
    Json,
    Section,
    answer,
    array,
    example,
    media,
    obj,
    operation,
    parameter,
    schema,
    version_in_path,
)
from rockstar_serving.gateway.open_inference import HEADER_LENGTH
from rockstar_serving.gateway.settings import GatewayConfig
from tfs_api.open_inference import DATATYPES

_TEXT = {"type": "string"}
_ERROR = Manner(
    "OipError",
    "application/json",
    obj({"error": _TEXT | {"description": "What went wrong: where, what was expected, what came."}})
    | {"description": "What went wrong, in the protocol's shape."},
    lambda problem: {"error": problem.text},
)

_REQUEST = {
    "id": "7",
    "inputs": [{"name": "features", "shape": [1, 4], "datatype": "FP32", "data": TENSOR}],
    "outputs": [{"name": "probabilities"}],
}
_OUTPUT = {
    "name": "probabilities",
    "datatype": "FP32",
    "shape": [1, 3],
    "data": [0.97, 0.02, 0.01],
}
_ANSWER = {"model_name": "flowers", "model_version": "2", "id": "7", "outputs": [_OUTPUT]}
_SERVER = {"name": "rockstartf", "version": "0.1.0", "extensions": ["binary_tensor_data"]}
_METADATA = {
    "name": "flowers",
    "versions": ["2"],
    "platform": "tensorflow_savedmodel",
    "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}],
}
_LENGTH = {
    "description": "How many bytes of the body are JSON; those of the tensors follow.",
    "schema": {"type": "integer", "minimum": 0},
}


def _paths(_: GatewayConfig) -> Json:
    paths: Json = {
        "/v2": {"get": _server()},
        "/v2/health/live": {"get": _live()},
        "/v2/health/ready": {"get": _ready()},
    }
    version = version_in_path()
    for where, name, path in (
        ([parameter("Model")], "model", "/v2/models/{model}"),
        ([parameter("Model"), version], "modelVersion", "/v2/models/{model}/versions/{version}"),
    ):
        paths |= {
            path: {"parameters": where, "get": _metadata(name)},
            f"{path}/ready": {"parameters": where, "get": _model_ready(name)},
            f"{path}/infer": {"parameters": where, "post": _infer(name)},
        }
    return paths


def _server() -> Json:
    body = {"application/json": media(schema("OipServer"), server=example("This one", _SERVER))}
    return operation(
        "serverMetadata",
        "What this server is",
        "Its name, version, and the protocol's extensions that it knows.",
        {"200": answer("The server.", body)} | _ERROR.responses(*ANYWHERE, *QUEUED),
    )


def _live() -> Json:
    alive = media(obj({"live": {"const": True}}), live=example("Alive", {"live": True}))
    return operation(
        "serverLive",
        "Is the server alive?",
        "The status is the answer.",
        {"200": answer("It is.", {"application/json": alive})} | _ERROR.responses(*ANYWHERE),
        is_open=True,
    )


def _ready() -> Json:
    def body(*, ready: bool) -> Json:
        kind = obj({"ready": {"const": ready}})
        return {"application/json": media(kind, ready=example("So it says", {"ready": ready}))}

    return operation(
        "serverReady",
        "Are all models ready?",
        "The status is the answer.",
        {"200": answer("They are.", body(ready=True))}
        | _ERROR.responses(*ANYWHERE)
        | {"503": answer("One is not.", body(ready=False), RETRY_AFTER)},
        is_open=True,
    )


def _model_ready(name: str) -> Json:
    def body(*, ready: bool) -> Json:
        kind = obj({"name": _TEXT, "ready": {"const": ready}})
        value = {"name": "flowers", "ready": ready}
        return {"application/json": media(kind, ready=example("So it says", value))}

    return operation(
        f"{name}Ready",
        "Is a model ready?",
        "The status is the answer; what is not known is not ready.",
        {"200": answer("It is.", body(ready=True))}
        | _ERROR.responses(*ANYWHERE, *QUEUED)
        | {"503": answer("It is not.", body(ready=False), RETRY_AFTER)},
        is_open=True,
    )


def _metadata(name: str) -> Json:
    body = media(schema("OipModel"), model=example("A model of tables", _METADATA))
    return operation(
        f"{name}Metadata",
        "What a model takes and gives",
        "The tensors of `serving_default`.",
        {"200": answer("The model.", {"application/json": body})}
        | _ERROR.responses(*ANYWHERE, *QUEUED, *RELAYED),
    )


def _infer(name: str) -> Json:
    request = example("One row for a model of tables", _REQUEST)
    given = {
        "application/json": media(schema("OipRequest"), request=request),
        "application/octet-stream": media(file("application/octet-stream")),
    }
    answered = {
        "application/json": media(schema("OipResponse"), response=example("Its answer", _ANSWER)),
        "application/octet-stream": media(file("application/octet-stream")),
    }
    return operation(
        f"{name}Infer",
        "Tensors in, tensors out",
        "Runs `serving_default`, or the signature that `parameters.signature_name` names. Tensors "
        "are JSON values, or bytes behind the JSON (binary tensor data extension).",
        {"200": answer("The outputs.", answered, {HEADER_LENGTH: _LENGTH})}
        | _ERROR.responses(*ANYWHERE, *QUEUED, *READING, *RELAYED),
        parameters=[{"name": HEADER_LENGTH, "in": "header", **_LENGTH}],
        body=given,
    )


_PARAMETERS = {"type": "object", "description": "The protocol's extensions."}
_DATATYPE = {"enum": list(DATATYPES)}
_SHAPE = array({"type": "integer", "minimum": 0}, maxItems=MAX_RANK)
_VALUES = array({}) | {"description": "Flat or nested, row by row."}
_TENSORS = array(schema("OipTensorMetadata"))
_SCHEMAS = {
    "OipServer": obj({"name": _TEXT, "version": _TEXT, "extensions": array(_TEXT)}),
    "OipModel": obj(
        {
            "name": _TEXT,
            "versions": array(_TEXT),
            "platform": _TEXT,
            "inputs": _TENSORS,
            "outputs": _TENSORS,
        }
    ),
    "OipTensorMetadata": obj(
        {
            "name": _TEXT,
            "datatype": _DATATYPE,
            "shape": array({"type": "integer", "minimum": -1}) | {"description": "-1 is any size."},
        }
    ),
    "OipRequest": obj(
        {
            "id": _TEXT | {"description": "Comes back in the answer."},
            "inputs": array(schema("OipInput"), minItems=1),
            "outputs": array(obj({"name": _TEXT, "parameters": _PARAMETERS}, ["parameters"]))
            | {"description": "Those to send back; without it all."},
            "parameters": _PARAMETERS,
        },
        optional=("id", "outputs", "parameters"),
    ),
    "OipInput": obj(
        {
            "name": _TEXT,
            "datatype": _DATATYPE,
            "shape": _SHAPE,
            "data": _VALUES,
            "parameters": _PARAMETERS,
        },
        optional=("data", "parameters"),
    ),
    "OipResponse": obj(
        {
            "model_name": _TEXT,
            "model_version": _TEXT,
            "id": _TEXT,
            "outputs": array(schema("OipOutput")),
        },
        optional=["id"],
    ),
    "OipOutput": obj(
        {
            "name": _TEXT,
            "datatype": _DATATYPE,
            "shape": _SHAPE,
            "data": _VALUES,
            "parameters": _PARAMETERS,
        },
        optional=("data", "parameters"),
    ),
}

SECTION = Section("Open Inference Protocol", "KServe's v2.", _paths, _SCHEMAS, _ERROR)
