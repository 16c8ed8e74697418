"""`/v1/models/…`, TensorFlow Serving's REST API, in the document."""

from rockstar_serving.gateway.docs.failures import ANYWHERE, QUEUED, READING, RELAYED, Manner
from rockstar_serving.gateway.docs.parts import (
    Json,
    Section,
    answer,
    array,
    example,
    in_path,
    media,
    obj,
    operation,
    parameter,
    schema,
    version_in_path,
)
from rockstar_serving.gateway.settings import GatewayConfig

_TEXT = {"type": "string"}
_ERROR = Manner(
    "TfServingError",
    "application/json",
    obj({"error": _TEXT}) | {"description": "What went wrong, in TensorFlow Serving's shape."},
    lambda problem: {"error": problem.text},
)

_ROW = [2.0, 0.0, 1.0, 0.0]
_FEATURES = {"x": 1.5, "colour": "red"}
_STATUS = {
    "model_version_status": [
        {
            "version": "2",
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }
    ]
}
_METADATA = {
    "model_spec": {"name": "flowers", "signature_name": "", "version": "2"},
    "metadata": {"signature_def": {"signature_def": {"serving_default": {"inputs": {}}}}},
}


def _paths(_: GatewayConfig) -> Json:
    model = parameter("Model")
    version = version_in_path()
    label = in_path(
        "label",
        "A label that the model server gives a version.",
        {"type": "string", "minLength": 1},
        "stable",
    )
    paths: Json = {}
    for where, name, path in (
        ([model], "", "/v1/models/{model}"),
        ([model, version], "Version", "/v1/models/{model}/versions/{version}"),
        ([model, label], "Label", "/v1/models/{model}/labels/{label}"),
    ):
        paths |= {
            path: {"parameters": where, "get": _status(name)},
            f"{path}/metadata": {"parameters": where, "get": _metadata(name)},
            f"{path}:predict": {"parameters": where, "post": _predict(name)},
            f"{path}:classify": {"parameters": where, "post": _classify(name)},
            f"{path}:regress": {"parameters": where, "post": _regress(name)},
        }
    return paths


def _status(name: str) -> Json:
    body = media(schema("TfStatus"), status=example("A version that is available", _STATUS))
    return operation(
        f"tfStatus{name}",
        "The versions of a model and their states",
        "GetModelStatus.",
        {"200": answer("The states.", {"application/json": body})}
        | _ERROR.responses(*ANYWHERE, *QUEUED, *RELAYED),
    )


def _metadata(name: str) -> Json:
    body = media(schema("TfMetadata"), metadata=example("Of a model of tables", _METADATA))
    return operation(
        f"tfMetadata{name}",
        "The signatures of a model",
        "GetModelMetadata.",
        {"200": answer("The signatures.", {"application/json": body})}
        | _ERROR.responses(*ANYWHERE, *QUEUED, *RELAYED),
    )


def _predict(name: str) -> Json:
    return _call(
        f"tfPredict{name}",
        "Tensors in, tensors out",
        "Predict: `instances`, one element for each example, are answered by `predictions`; "
        "`inputs`, whole tensors, by `outputs`.",
        media(
            schema("TfPredictRequest"),
            rows=example("By example", {"instances": [_ROW]}),
            columns=example("By tensor", {"inputs": {"features": [_ROW]}}),
        ),
        media(
            schema("TfPredictResponse"),
            rows=example("By example", {"predictions": [[0.97, 0.02, 0.01]]}),
            columns=example("By tensor", {"outputs": [[0.97, 0.02, 0.01]]}),
        ),
    )


def _classify(name: str) -> Json:
    found = {"results": [[["rose", 0.97], ["tulip", 0.03]]]}
    return _call(
        f"tfClassify{name}",
        "Examples in, labels and scores out",
        "Classify, for signatures of that kind.",
        media(schema("TfExamples"), features=example("One example", {"examples": [_FEATURES]})),
        media(schema("TfClasses"), classes=example("Two labels", found)),
    )


def _regress(name: str) -> Json:
    return _call(
        f"tfRegress{name}",
        "Examples in, numbers out",
        "Regress, for signatures of that kind.",
        media(schema("TfExamples"), features=example("One example", {"examples": [_FEATURES]})),
        media(schema("TfValues"), value=example("A number", {"results": [3.5]})),
    )


def _call(name: str, summary: str, description: str, request: Json, response: Json) -> Json:
    return operation(
        name,
        summary,
        f"{description} A body may be compressed with gzip.",
        {"200": answer("The model's answer.", {"application/json": response})}
        | _ERROR.responses(*ANYWHERE, *QUEUED, *READING, *RELAYED),
        body={"application/json": request},
    )


_SIGNATURE = _TEXT | {"description": "`serving_default` without it."}
_FEATURE_LIST = {"type": "object", "description": "Values, or flat lists of values, by name."}
_SCHEMAS = {
    "TfStatus": obj(
        {
            "model_version_status": array(
                obj(
                    {
                        "version": _TEXT,
                        "state": _TEXT,
                        "status": obj({"error_code": _TEXT, "error_message": _TEXT}),
                    }
                )
            )
        }
    ),
    "TfMetadata": obj(
        {
            "model_spec": obj(dict.fromkeys(("name", "signature_name", "version"), _TEXT)),
            "metadata": obj({"signature_def": {"type": "object"}}),
        }
    ),
    "TfPredictRequest": {
        "anyOf": [
            obj({"signature_name": _SIGNATURE, "instances": array({})}, ["signature_name"]),
            obj({"signature_name": _SIGNATURE, "inputs": {}}, ["signature_name"]),
        ]
    },
    "TfPredictResponse": {"anyOf": [obj({"predictions": array({})}), obj({"outputs": {}})]},
    "TfExamples": obj(
        {
            "signature_name": _SIGNATURE,
            "context": _FEATURE_LIST | {"description": "What all examples have."},
            "examples": array(_FEATURE_LIST, minItems=1),
        },
        optional=("signature_name", "context"),
    ),
    "TfClasses": obj({"results": array(array(array({}, minItems=2, maxItems=2)))}),
    "TfValues": obj({"results": array({"type": "number"})}),
}

SECTION = Section(
    "TensorFlow Serving", "Its REST API, for clients that speak it.", _paths, _SCHEMAS, _ERROR
)
