"""Request bodies to examples: a raw image or array, multipart files, JSON instances, CSV rows."""

import base64
import binascii
import json
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from flask import Request

from rockstar_contract.csv_rows import CSV_ENDINGS, read_rows
from rockstar_contract.errors import InvalidInputError, TooLargeError
from rockstar_contract.inputs import Example
from rockstar_serving.gateway.body import body_pieces, whole_body
from rockstar_serving.gateway.errors import UnsupportedTypeError
from rockstar_serving.gateway.forms import is_text, read_form
from rockstar_serving.gateway.predict.arrays import is_array_file, read_arrays
from rockstar_serving.gateway.settings import GatewayConfig

TYPES = "image/*, multipart/form-data, application/json, application/x-npy or text/csv"
HINT = (
    "curl -F image=@seven.png or -F rows=@rows.csv sends a file; "
    "curl -H 'Content-Type: text/csv' --data-binary @rows.csv too"
)
CSV_TYPES = ("text/csv", "text/tab-separated-values", "application/csv")
# Far more than models have; a line of commas could ask for millions.
_MOST_COLUMNS = 100_000
# As a canvas writes its picture.
_DATA_URL = "data:image/"
_JSON_TYPES = ("application/json", "text/json")
# What clients say that were not told: curl the second of whatever it sends, and fetch() the last of
# every text.
_FIELDS = "application/x-www-form-urlencoded"
_UNTOLD = ("", _FIELDS, "text/plain")
_RAW_TYPES = ("image/", "application/octet-stream", "application/x-npy", "application/x-npz")


class NamedExample(msgspec.Struct, frozen=True):
    """One example, and what errors call the place where it was found.

    Attributes:
        field: the place.
        example: as it came, or what was wrong with it at first sight.
    """

    field: str
    example: Example | InvalidInputError

    def get(self) -> Example:
        """The example.

        Raises:
            InvalidInputError: it is bad.
        """
        if isinstance(self.example, InvalidInputError):
            raise self.example
        return self.example


def read_examples(request: Request, config: GatewayConfig) -> list[NamedExample]:
    """The examples of a request, in order; one or more.

    Raises:
        InvalidInputError: the body cannot be read.
        TooLargeError: more examples than config.max_instances.
        UnsupportedTypeError: another content type.
        RequestEntityTooLarge: a body over config.max_body_bytes.
    """
    mimetype = request.mimetype
    if mimetype.startswith(_RAW_TYPES):
        examples = _raw(whole_body(), "body", config)
    elif mimetype == "multipart/form-data":
        examples = _files(request.headers["Content-Type"], config)
    elif mimetype in _JSON_TYPES or mimetype.endswith("+json"):
        examples = _instances(whole_body(), config)
    elif mimetype in CSV_TYPES:
        charset = request.mimetype_params.get("charset")
        examples = _rows(whole_body(), "body", config, charset)
    elif mimetype in _UNTOLD and (found := _recognised(whole_body(), mimetype, config)):
        examples = found
    else:
        raise UnsupportedTypeError(
            "Content-Type",
            expected=TYPES,
            got=mimetype or "none",
            hint=HINT,
        )
    require_few(len(examples), config)
    return examples


def require_few(examples: int, config: GatewayConfig, got: str = "") -> None:
    """Check the number of examples in one request.

    Args:
        examples: how many there are.
        config: limits.
        got: how many there are in words, where they were not counted to the end.

    Raises:
        TooLargeError: more than config.max_instances.
    """
    if examples > config.max_instances:
        raise TooLargeError(
            "body",
            expected=f"at most {config.max_instances} examples",
            got=got or str(examples),
            hint="send several requests; `rockstar predict` divides files itself",
        )


def _raw(data: bytes, field: str, config: GatewayConfig) -> list[NamedExample]:
    """A file: an array by its first bytes, else an image."""
    if not is_array_file(data):
        return [NamedExample(field, data)]
    arrays = read_arrays(data, field, config.max_instances, config.max_body_bytes)
    return [NamedExample(name, array) for name, array in arrays.items()]


def _recognised(body: bytes, mimetype: str, config: GatewayConfig) -> list[NamedExample]:
    """The examples of a body whose type was not told, by what it is; none where it is text."""
    if body.lstrip().startswith(b"{"):
        return _instances(body, config)
    if not is_text(body):
        return _raw(body, "body", config)
    fields = [("body", body.decode())]
    if mimetype == _FIELDS:
        # Where "+" was not escaped it means a space, which base64 has none of.
        fields = [(name, text.replace(" ", "+")) for name, text in parse_qsl(body.decode())]
    return [
        NamedExample(name, _from_base64(text, name))
        for name, text in fields
        if text.startswith(_DATA_URL)
    ]


def _files(content_type: str, config: GatewayConfig) -> list[NamedExample]:
    parts = read_form(content_type, body_pieces())
    files: list[NamedExample] = []
    for part in parts:
        if not part.filename and not part.data:
            continue  # a file input of a browser's form that was left empty
        if part.content_type in CSV_TYPES or (part.filename or "").lower().endswith(CSV_ENDINGS):
            files += _rows(part.data, part.label, config, part.charset)
        elif not part.is_text:
            files += _raw(part.data, part.label, config)
        elif (text := part.data.decode()).startswith(_DATA_URL):
            files.append(NamedExample(part.label, _from_base64(text, part.label)))
    if not files:
        names = ", ".join(sorted({part.name for part in parts}))
        got = f"no file in {names}" if names else "no fields"
        raise InvalidInputError("body", expected="one or more files", got=got, hint=HINT)
    return files


def _rows(
    body: bytes, field: str, config: GatewayConfig, charset: str | None
) -> list[NamedExample]:
    rows = read_rows(
        body,
        field,
        most=config.max_instances + 1,
        encoding=charset,
        max_bytes=config.max_body_bytes,
        max_columns=_MOST_COLUMNS,
    )
    require_few(len(rows), config, got="more rows")
    return [NamedExample(f"{field} row {number}", row) for number, row in enumerate(rows, start=1)]


def _instances(body: bytes, config: GatewayConfig) -> list[NamedExample]:
    if not body:
        raise InvalidInputError("body", expected='{"instances": […]}', got="0 bytes")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        if isinstance(error, UnicodeDecodeError):
            got, hint = "a file or text that is not UTF-8", HINT
        else:
            reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
            got, hint = f"something else ({reason})", ""
        raise InvalidInputError("body", expected="JSON", got=got, hint=hint) from error
    if isinstance(document, dict) and set(document) == {"inputs"}:
        return _columns(document["inputs"], config)
    if not isinstance(document, dict) or set(document) != {"instances"}:
        got = _members(document) if isinstance(document, dict) else _json_type(document)
        raise InvalidInputError(
            "body",
            expected='an object with just "instances"',
            got=got,
            hint='an image goes as {"instances": [{"b64": text}]}, a row as {"instances": [row]}',
        )
    instances = document["instances"]
    if not isinstance(instances, list) or not instances:
        raise InvalidInputError(
            "instances",
            expected="a list with one or more examples",
            got="an empty list" if instances == [] else _json_type(instances),
        )
    require_few(len(instances), config)
    return [_instance(value, f"instances[{index}]") for index, value in enumerate(instances)]


def _columns(inputs: Any, config: GatewayConfig) -> list[NamedExample]:
    """Tensors by name, each with a value for every example, as examples."""
    if not isinstance(inputs, dict) or not inputs:
        raise InvalidInputError(
            "inputs",
            expected="an object of arrays by the names of the inputs",
            got="an empty object" if inputs == {} else _json_type(inputs),
        )
    sizes = {}
    for name, values in inputs.items():
        if not isinstance(values, list) or not values:
            got = "an empty list" if values == [] else _json_type(values)
            raise InvalidInputError(
                f"inputs.{name}", expected="a list with a value for each example", got=got
            )
        sizes[name] = len(values)
    count = next(iter(sizes.values()))
    for name, size in sizes.items():
        if size != count:
            raise InvalidInputError(
                f"inputs.{name}", expected=f"{count} examples, as the others have", got=str(size)
            )
    require_few(count, config)
    return [
        NamedExample(f"inputs[{index}]", {name: inputs[name][index] for name in inputs})
        for index in range(count)
    ]


def _instance(value: Any, field: str) -> NamedExample:
    try:
        return _example(value, field)
    except InvalidInputError as error:
        return NamedExample(field, error)


def _example(value: Any, field: str) -> NamedExample:
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
    """Bytes of base64, usual or URL-safe (RFC 4648), padded or not, wrapped or not.

    It may be the end of a data URL (RFC 2397).
    """
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise InvalidInputError(
                field, expected="a data URL with ;base64, before the data", got=f"“{head[:40]}”"
            )
    text = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError(
            field,
            expected="an image file as base64, or an object with the inputs by name",
            got=f"text that starts with “{text[:16]}”",
        ) from error


def _members(document: dict[str, Any]) -> str:
    return ", ".join(f"“{name}”" for name in document) or "an empty object"


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean"}
    return names.get(type(value), "null" if value is None else f"the number {value}"[:40])
