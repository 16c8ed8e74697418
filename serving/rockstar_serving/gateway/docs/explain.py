"""`POST /explain/<model>` in the document."""

from rockstar_serving.gateway.docs import bodies
from rockstar_serving.gateway.docs.failures import ANYWHERE, ASKING, PROBLEM, QUEUED, READING
from rockstar_serving.gateway.docs.parts import (
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
from rockstar_serving.gateway.settings import GatewayConfig

_TEXT = {"type": "string"}
_EXAMPLE = {
    "model": "cnn",
    "version": 1,
    "label": "7",
    "score": 0.98,
    "method": "occlusion",
    "window": 2,
    "stride": 1,
    "heatmap": [[0.0, 0.12], [0.31, -0.02]],
}
_ROW = {
    "model": "flowers",
    "version": 1,
    "label": "setosa",
    "score": 0.98,
    "method": "replacement",
    "columns": [
        {"name": "petal width", "value": 0.2, "replaced_by": 1.2, "effect": 0.61},
        {"name": "colour", "value": "red", "replaced_by": "white", "effect": -0.02},
    ],
}


def _paths(config: GatewayConfig) -> Json:
    return {
        "/explain/{model}": {
            "parameters": [parameter("Model")],
            "post": operation(
                "explain",
                "Show which pixels or columns made the answer",
                "One image, of which every part is covered in turn: where that lowers the score of "
                "the label, the map is positive. `Accept: image/png` draws it over the image. Or "
                "one row, of which every column is replaced in turn by its mean in training or its "
                "most frequent category: an effect is what the column added to the score or value.",
                {"200": _answer()}
                | PROBLEM.responses(*ANYWHERE, *QUEUED, *READING, *ASKING, 415, 502),
                parameters=[
                    parameter("Version"),
                    parameter("Label"),
                    query("of", "The label to explain; without it the likeliest one.", _TEXT),
                ],
                body=bodies.one_example(config),
            ),
        }
    }


def _answer() -> Json:
    content = {
        "application/json": media(
            {"oneOf": [schema("Explanation"), schema("RowExplanation")]},
            heatmap=example("Of an image of two by two pixels", _EXAMPLE),
            columns=example("Of a row of two columns", _ROW),
        ),
        "image/png": media(bodies.file("image/png")),
    }
    return answer("What spoke for the label.", content)


_PIXELS = {"type": "integer", "minimum": 1}
_SCHEMAS = {
    "Explanation": obj(
        {
            "model": _TEXT,
            "version": schema("Version"),
            "label": _TEXT | {"description": "The one that is explained."},
            "score": {"type": "number", "description": "What the model gives it."},
            "method": {"const": "occlusion"},
            "window": _PIXELS | {"description": "Side of the covered square, in pixels."},
            "stride": _PIXELS | {"description": "From one square to the next, in pixels."},
            "heatmap": array(array({"type": "number"}))
            | {"description": "For each pixel of the model's input what covering it costs."},
        }
    ),
    "RowExplanation": obj(
        {
            "model": _TEXT,
            "version": schema("Version"),
            "label": _TEXT | {"description": "The one that is explained; of a classification."},
            "score": {"type": "number", "description": "What the model gives it."},
            "value": {"type": "number", "description": "The prediction of a regression."},
            "method": {"const": "replacement"},
            "columns": array(
                obj(
                    {
                        "name": _TEXT,
                        "value": {"description": "What was sent; null where it is missing."},
                        "replaced_by": {
                            "type": ["number", "string", "null"],
                            "description": "The mean in training, or the most frequent category.",
                        },
                        "effect": {
                            "type": "number",
                            "description": "By how much the score or value falls then.",
                        },
                    }
                )
            )
            | {"description": "The strongest first."},
            "imputed": {"type": "object", "description": "Missing columns, and what is used."},
            "other": {"type": "object", "description": "Columns with an unknown category."},
            "ignored": array(_TEXT) | {"description": "Columns that the model does not take."},
        },
        ["label", "score", "value", "imputed", "other", "ignored"],
    ),
}

SECTION = Section("explain", "Why a model answered what it did.", _paths, _SCHEMAS)
