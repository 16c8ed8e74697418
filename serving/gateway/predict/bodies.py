"""Request bodies to examples: a raw image, multipart files, JSON instances, or CSV rows."""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge

from serving.csv_rows import read_rows
from serving.errors import InvalidInputError, TooLargeError
from serving.gateway.config import GatewayConfig
from serving.gateway.errors import UnsupportedTypeError
from serving.inputs import Example

HINT = "curl -F image=@seven.png sends a file; curl -H 'Content-Type: image/png' --data-binary too"
CSV_TYPE = "text/csv"
_RAW_TYPES = ("image/", "application/octet-stream")


@dataclass(frozen=True)
class NamedExample:
    """One example, and what errors call the place where it was found."""

    field: str
    example: Example


def read_examples(request: Request, config: GatewayConfig) -> list[NamedExample]:
    """The examples of a request, in order; one or more.

    Raises:
        InvalidInputError: the body cannot be read.
        TooLargeError: more examples than config.max_instances.
        UnsupportedTypeError: another content type than the four.
        RequestEntityTooLarge: a body over config.max_body_bytes.
    """
    mimetype = request.mimetype
    if mimetype.startswith(_RAW_TYPES):
        examples = [NamedExample("body", _body(request, config))]
    elif mimetype == "multipart/form-data":
        examples = _files(request)
    elif mimetype == "application/json":
        examples = _instances(_body(request, config))
    elif mimetype == CSV_TYPE:
        examples = _rows(_body(request, config), "body")
    else:
        raise UnsupportedTypeError(
            "Content-Type",
            expected="image/*, multipart/form-data, application/json or text/csv",
            got=mimetype or "none",
            hint=HINT,
        )
    if len(examples) > config.max_instances:
        raise TooLargeError(
            "body",
            expected=f"at most {config.max_instances} examples",
            got=str(len(examples)),
            hint="send several requests",
        )
    return examples


def _body(request: Request, config: GatewayConfig) -> bytes:
    body = request.get_data(cache=False)
    # A chunked body does not say its length beforehand: Werkzeug stops at the limit, silently.
    if request.content_length is None and len(body) >= config.max_body_bytes:
        raise RequestEntityTooLarge
    return body


def _files(request: Request) -> list[NamedExample]:
    files: list[NamedExample] = []
    for name, file in request.files.items(multi=True):
        field = f"{name} ({file.filename})" if file.filename else name
        if file.mimetype == CSV_TYPE or (file.filename or "").lower().endswith(".csv"):
            files += _rows(file.read(), field)
        else:
            files.append(NamedExample(field, file.read()))
    if not files:
        got = ", ".join(sorted(request.form)) or "no fields"
        raise InvalidInputError("body", expected="one or more files", got=got, hint=HINT)
    return files


def _rows(body: bytes, field: str) -> list[NamedExample]:
    return [
        NamedExample(f"{field} row {number}", row)
        for number, row in enumerate(read_rows(body, field), start=1)
    ]


def _instances(body: bytes) -> list[NamedExample]:
    if not body:
        raise InvalidInputError("body", expected='{"instances": […]}', got="0 bytes")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        raise InvalidInputError(
            "body", expected="JSON", got=f"something else ({reason})"
        ) from error
    if not isinstance(document, dict) or set(document) != {"instances"}:
        got = ", ".join(map(repr, document)) if isinstance(document, dict) else _json_type(document)
        raise InvalidInputError(
            "body", expected='an object with just "instances"', got=got or "an empty object"
        )
    instances = document["instances"]
    if not isinstance(instances, list) or not instances:
        raise InvalidInputError(
            "instances",
            expected="a list with one or more examples",
            got="an empty list" if instances == [] else _json_type(instances),
        )
    return [_instance(value, f"instances[{index}]") for index, value in enumerate(instances)]


def _instance(value: Any, field: str) -> NamedExample:
    if isinstance(value, dict) and set(value) == {"b64"}:
        field, value = f"{field}.b64", value["b64"]
        if not isinstance(value, str):
            raise InvalidInputError(field, expected="base64 text", got=_json_type(value))
    if isinstance(value, str):
        return NamedExample(field, _from_base64(value, field))
    if isinstance(value, (list, dict)):
        return NamedExample(field, value)
    raise InvalidInputError(
        field,
        expected='base64 text, {"b64": text}, an array of numbers or an object of columns',
        got=_json_type(value),
    )


def _from_base64(text: str, field: str) -> bytes:
    """Bytes of base64, usual or URL-safe (RFC 4648), padded or not, wrapped or not."""
    text = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError(
            field, expected="an image file as base64", got=f"text that starts with {text[:16]!r}"
        ) from error


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean"}
    return names.get(type(value), "null" if value is None else f"the number {value}"[:40])
