"""What examples are sent in, for every operation that takes some."""

from rockstar_serving.gateway.docs.examples import IMAGE, ONE_ROW, ROWS, TABLE, TENSOR
from rockstar_serving.gateway.docs.parts import Json, array, example, media, obj, schema
from rockstar_serving.gateway.settings import GatewayConfig

_KINDS = ("png", "jpeg", "webp", "heic", "avif", "bmp", "gif", "tiff", "x-icon")
_IMAGES = tuple(f"image/{kind}" for kind in _KINDS)
_ANY = "application/octet-stream"


def images(config: GatewayConfig) -> Json:
    """Media types of a request that holds images, or arrays that a model takes as they are."""
    # Swagger UI offers to choose a file where the format says so, as it did in OpenAPI 3.0.
    part = file(_ANY) | {"format": "binary"}
    files = {
        "type": "object",
        "description": "One or more files; any name of a field does.",
        "properties": {"image": array(part)},
        "additionalProperties": part,
        "minProperties": 1,
    }
    return {
        "application/json": media(
            _instances(config), image=example("An image", {"instances": [{"b64": IMAGE}]})
        ),
        **{kind: media(file(kind)) for kind in _IMAGES},
        "multipart/form-data": media(files),
        "application/x-npy": media(file("application/x-npy")),
        "application/x-npz": media(file("application/x-npz")),
        _ANY: media(file(_ANY)),
    }


def one_example(config: GatewayConfig) -> Json:
    """Media types of a request that holds one image, or one row of a table."""
    taken = images(config)
    taken["application/json"]["examples"]["row"] = example(
        "A row of a table", {"instances": ROWS[:1]}
    )
    text = {"type": "string", "examples": [ONE_ROW]}
    return taken | {"text/csv": media(text, row=example("A header and one row", ONE_ROW))}


def examples(config: GatewayConfig) -> Json:
    """Media types of a request that holds examples of any kind."""
    taken = images(config)
    taken["application/json"]["examples"] |= {
        "rows": example("Rows of a table", {"instances": ROWS}),
        "array": example("What the model itself takes", {"instances": [TENSOR]}),
    }
    # In the schema too, where Swagger UI looks when one changes the type.
    text = {"type": "string", "examples": [TABLE]}
    return taken | {"text/csv": media(text, rows=example("A header and two rows", TABLE))}


def file(media_type: str) -> Json:
    """The schema of a body that is no text."""
    return {"type": "string", "contentMediaType": media_type}


def _instances(config: GatewayConfig) -> Json:
    instances = array(schema("Instance"), minItems=1, maxItems=config.max_instances)
    return obj({"instances": instances}) | {"additionalProperties": False}


SCHEMAS: Json = {
    "Instance": {
        "description": "One example.",
        "anyOf": [
            {
                "type": "string",
                "description": "A file as base64, usual or URL-safe, or a data URL with it.",
                "contentEncoding": "base64",
            },
            obj({"b64": {"type": "string", "contentEncoding": "base64"}})
            | {"description": "Likewise, as TensorFlow Serving writes it."},
            array({}) | {"description": "The model's input itself, nested lists of numbers."},
            {"type": "object", "description": "A row of a table: a value for each column."},
        ],
    }
}
