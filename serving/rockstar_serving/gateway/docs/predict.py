"""`POST /predict/<model>` in the document."""

from rockstar_serving.gateway.docs import bodies
from rockstar_serving.gateway.docs.failures import ANYWHERE, ASKING, PROBLEM, QUEUED, READING
from rockstar_serving.gateway.docs.parts import (
    MODEL_VERSION,
    Json,
    Section,
    answer,
    array,
    example,
    media,
    obj,
    operation,
    parameter,
    query,
    schema,
)
from rockstar_serving.gateway.predict import DEFAULT_TOP
from rockstar_serving.gateway.settings import GatewayConfig

_DESCRIPTION = """\
Send what you have: an image file, a form with files, JSON, NumPy's `.npy` and `.npz`, or CSV. \
A request holds up to {instances} examples in {bytes:,} bytes, an image up to {pixels:,} pixels. \
It may be compressed (`Content-Encoding: gzip` or `deflate`). \
`GET /v1/models` says what a model takes.

Images and rows of tables are prepared as in training; arrays are taken as they are. A model \
of tensors takes them by name, as `{{"instances": [{{"a": [1, 2]}}]}}` or \
`{{"inputs": {{"a": [[1, 2]]}}}}`. \
`Accept` picks the form of the answer."""

_TOP = {"type": "integer", "minimum": 1}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_LIKELY = {"label": "7", "score": 0.98}
_SURE = {**_LIKELY, "top": [_LIKELY, {"label": "1", "score": 0.015}]}
_UNSURE = {
    "label": None,
    "score": 0.4,
    "reason": "not sure: 7 is likeliest with 0.4, the threshold is 0.5",
    "top": [{"label": "7", "score": 0.4}, {"label": "1", "score": 0.35}],
}
_ADJUSTED = {
    "model": "species",
    "version": 1,
    "predictions": [{"value": 3.5, "imputed": {"age": 28.0}, "other": {"colour": "mauve"}}],
    "ignored": ["passenger"],
}
_FAILED = {
    "error": {
        "detail": "instances[1]: expected an image (PNG, …), got text that starts with “hello”",
        "field": "instances[1]",
        "expected": "an image (PNG, …)",
        "got": "text that starts with “hello”",
    }
}


def _paths(config: GatewayConfig) -> Json:
    return {
        "/predict/{model}": {
            "parameters": [parameter("Model")],
            "post": operation(
                "predict",
                "Predict labels or numbers",
                _DESCRIPTION.format(
                    instances=config.max_instances,
                    bytes=config.max_body_bytes,
                    pixels=config.max_pixels,
                ),
                {"200": _answer()}
                | PROBLEM.responses(*ANYWHERE, *QUEUED, *READING, *ASKING, 415, 502),
                parameters=_arguments(),
                body=bodies.examples(config),
            ),
        }
    }


def _arguments() -> list[Json]:
    return [
        parameter("Version"),
        parameter("Label"),
        query("top", f"How many labels to list, {DEFAULT_TOP} without it (in CSV 1).", _TOP),
        query(
            "threshold",
            "The least score of an answer; below it the label is null. Without it the model's own, "
            "if it has one; 0 answers the likeliest label in any case.",
            _SHARE,
        ),
        query(
            "partial",
            "Answer bad examples as errors beside the good ones, instead of refusing all.",
            {"type": "boolean"},
        ),
        query(
            "strict",
            "Reject rows with missing values, unknown categories or columns that the model does "
            "not take, instead of imputing and ignoring them.",
            {"type": "boolean"},
        ),
        query(
            "full",
            "Add to JSON the task and, of a classification, the labels in the model's order with "
            "the probability of each; of tensors, their dtypes.",
            {"type": "boolean"},
        ),
    ]


def _answer() -> Json:
    def predictions(*items: Json) -> Json:
        return {"model": "cnn", "version": 1, "predictions": list(items)}

    json = media(
        schema("Predictions"),
        labels=example("Of a classification", predictions(_SURE)),
        threshold=example("Below the threshold", predictions(_UNSURE)),
        partial=example("A bad example beside a good one", predictions(_SURE, _FAILED)),
        value=example("Of a regression", predictions({"value": 3.5})),
        outputs=example("Of tensors", predictions({"score": [0.9], "vector": [0.1, 0.2]})),
        imputed=example("Of an incomplete row", _ADJUSTED),
    )
    table = "example,label,score,error\n1,7,0.98,\n"
    content = {
        "application/json": json,
        "text/csv": media({"type": "string"}, labels=example("One row for each example", table)),
        "application/x-npy": media(
            bodies.file("application/x-npy")
            | {"description": "float32 [examples, labels]: what the model answered."}
        ),
    }
    return answer("An answer for each example, in their order.", content, MODEL_VERSION)


_NUMBER = {"type": ["number", "null"], "description": "Null where it is not finite."}
_SCORE = _NUMBER | {"description": "The probability that the model gives it."}
_TEXT = {"type": "string"}
_ADJUSTMENTS: Json = {
    "imputed": {
        "type": "object",
        "additionalProperties": {"type": ["number", "string"]},
        "description": "Of a row: columns that had no value, and the value that was used.",
    },
    "other": {
        "type": "object",
        "additionalProperties": _TEXT,
        "description": "Of a row: columns with a category that training did not see.",
    },
}
_PROBABILITIES = array(_NUMBER) | {"description": "Of each label, in the model's order."}
_SCHEMAS = bodies.SCHEMAS | {
    "Predictions": obj(
        {
            "model": _TEXT,
            "version": schema("Version"),
            "predictions": array(
                {
                    "anyOf": [
                        schema(name)
                        for name in ("Prediction", "Unsure", "Value", "Outputs", "Failed")
                    ]
                }
            ),
            "ignored": array(_TEXT) | {"description": "Columns that the model does not take."},
            "task": {"enum": ["classification", "regression", "tensors"]},
            "labels": array(_TEXT) | {"description": "In the model's order."},
            "dtypes": {"type": "object", "additionalProperties": _TEXT},
        },
        ["ignored", "task", "labels", "dtypes"],
    ),
    "Outputs": {
        "type": "object",
        "description": "Of a model that answers tensors: its outputs by name, as nested lists.",
    },
    "Score": obj({"label": _TEXT, "score": _SCORE}),
    "Prediction": obj(
        {
            "label": _TEXT,
            "score": _SCORE,
            "top": array(schema("Score")),
            "probabilities": _PROBABILITIES,
            **_ADJUSTMENTS,
        },
        ["probabilities", *_ADJUSTMENTS],
    )
    | {"description": "The likeliest label, and the likeliest in order."},
    "Unsure": obj(
        {
            "label": {"type": "null"},
            "score": _SCORE,
            "reason": _TEXT,
            "top": array(schema("Score")),
            "probabilities": _PROBABILITIES,
            **_ADJUSTMENTS,
        },
        ["probabilities", *_ADJUSTMENTS],
    )
    | {"description": "No label, because none reaches the threshold."},
    "Value": obj({"value": _NUMBER, **_ADJUSTMENTS}, [*_ADJUSTMENTS])
    | {"description": "What a regression answers."},
    "Failed": obj(
        {
            "error": obj(
                dict.fromkeys(("detail", "field", "expected", "got", "hint"), _TEXT), ["hint"]
            )
        }
    )
    | {"description": "An example that could not be judged, and why."},
}

SECTION = Section("predict", "Examples in, labels or numbers out.", _paths, _SCHEMAS)
