"""`GET /v1/models` in the document."""

from rockstar_serving.gateway.docs.failures import ANYWHERE, PROBLEM, QUEUED
from rockstar_serving.gateway.docs.parts import (
    Json,
    Section,
    answer,
    array,
    example,
    media,
    obj,
    operation,
    schema,
)
from rockstar_serving.gateway.settings import GatewayConfig

_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_EXAMPLE = {
    "models": [
        {
            "model": "flowers",
            "versions": [{"version": 2, "state": "AVAILABLE"}],
            "task": "classification",
            "labels": ["rose", "tulip"],
            "target": "flower",
            "input": {
                "name": "features",
                "dtype": "float32",
                "shape": [4],
                "columns": [
                    {"name": "petal width", "mean": 1.0, "scale": 0.5, "kind": "numeric"},
                    {
                        "name": "colour",
                        "categories": ["blue", "red", "white"],
                        "kind": "categorical",
                    },
                ],
                "kind": "table",
            },
            "metrics": {"test_accuracy": 0.97},
            "confusion": [[48, 2], [1, 49]],
            "created": "2026-03-01T12:00:00+00:00",
        },
        {"model": "digits", "versions": [{"version": 1, "state": "LOADING"}]},
    ]
}


def _paths(_: GatewayConfig) -> Json:
    body = media(
        schema("Models"), models=example("A model that is ready, one that loads", _EXAMPLE)
    )
    return {
        "/v1/models": {
            "get": operation(
                "listModels",
                "List the models",
                "The versions of every configured model and their states; of the newest available "
                "one what it takes and answers, and how well it did on held-out examples.",
                {"200": answer("The models.", {"application/json": body})}
                | PROBLEM.responses(*ANYWHERE, *QUEUED, 502, 503),
            )
        }
    }


def _input(kind: str, shape: Json, **more: Json) -> Json:
    return obj(
        {
            "kind": {"const": kind},
            "name": _TEXT | {"description": "Of the model's input."},
            "dtype": {"const": "float32"},
            "shape": shape | {"description": "Of one example."},
            **more,
        }
    )


def _column(kind: str, **members: Json) -> Json:
    optional = [*({"decimal", "missing", "other", "shares", "time"} & members.keys()), "indicator"]
    optional += [] if kind == "date" else ["fill"]
    indicator = {"type": "boolean", "description": 'Whether a value of its own says "missing".'}
    head = {"kind": {"const": kind}, "name": _TEXT}
    return obj(head | members | {"indicator": indicator}, optional=optional)


def _list(items: Json, size: int) -> Json:
    return array(items, minItems=size, maxItems=size)


_SIZE = {"type": "integer", "minimum": 1}
_SCHEMAS = {
    "Models": obj({"models": array(schema("Model"))}),
    "Model": obj(
        {
            "model": _TEXT,
            "versions": array(schema("VersionState")),
            "task": {"enum": ["classification", "regression", "tensors"]},
            "labels": array(_TEXT) | {"description": "Of a classification, else empty."},
            "target": {"type": ["string", "null"], "description": "The column that is predicted."},
            "input": {"anyOf": [schema(f"{kind}Input") for kind in ("Image", "Table", "Tensor")]},
            "outputs": array(schema("Tensor"))
            | {"description": "Of a model that answers tensors, else empty."},
            "metrics": {"type": "object", "additionalProperties": _NUMBER},
            "confusion": array(array({"type": "integer", "minimum": 0}))
            | {"description": "Held-out examples of each label (rows) taken for each (columns)."},
            "created": {"type": "string", "format": "date-time"},
            "problem": _TEXT | {"description": "Why there is no more: it has no contract."},
        },
        optional=(
            *("task", "labels", "target", "input", "outputs", "metrics", "confusion", "created"),
            "problem",
        ),
    )
    | {"description": "All but its name and versions is there when a version is available."},
    "VersionState": obj(
        {
            "version": schema("Version"),
            "state": {"enum": ["UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END"]},
            "error": _TEXT | {"description": "Why it is not available."},
        },
        optional=["error"],
    ),
    "ImageInput": _input("image", array(_SIZE), range=_list(_NUMBER, 2)),
    "TableInput": _input(
        "table",
        _list(_SIZE, 1),
        columns=array(
            {"anyOf": [schema(f"{kind}Column") for kind in ("Numeric", "Categorical", "Date")]}
        ),
    ),
    "TensorInput": obj(
        {"kind": {"const": "tensor"}, "tensors": array(schema("Tensor"), minItems=1)}
    ),
    "Tensor": obj(
        {
            "name": _TEXT,
            "dtype": _TEXT | {"description": "As TensorFlow calls it, such as int64 or string."},
            "shape": array({"type": ["integer", "null"]})
            | {"description": "Of one example; null where any size is right."},
        }
    ),
    "NumericColumn": _column(
        "numeric",
        mean=_NUMBER,
        scale={"type": "number", "exclusiveMinimum": 0},
        fill=_NUMBER
        | {"description": "In place of a missing value, which is an error without it."},
        decimal={"enum": [".", ","], "description": "The decimal sign of ambiguous texts."},
        missing=array(_TEXT) | {"description": "Texts that also mean that a value is missing."},
    ),
    "CategoricalColumn": _column(
        "categorical",
        categories=array(_TEXT, minItems=1),
        fill=_TEXT | {"description": "In place of a missing value, which is an error without it."},
        other={"type": "boolean", "description": "Whether rare categories share a value."},
        shares=array(_NUMBER)
        | {"description": "Of the rows in training; unknown categories are this mixture."},
    ),
    "DateColumn": _column(
        "date",
        format=_TEXT | {"description": "As for strptime, or iso."},
        mean=_NUMBER | {"description": "In days since 1970-01-01."},
        scale={"type": "number", "exclusiveMinimum": 0},
        fill=_NUMBER | {"description": "In place of a missing value."},
        time={"type": "boolean", "description": "Whether the time of day counts."},
    ),
}

SECTION = Section("models", "What is served.", _paths, _SCHEMAS)
