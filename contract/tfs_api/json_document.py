"""JSON request bodies of TensorFlow Serving's REST API: parsing, and values in error messages.

orjson parses standard JSON. What it rejects the standard library tries, because TensorFlow Serving
accepts more: NaN and Infinity, text that is not UTF-8, and anything after the document.
"""

import base64
import json
import re
from typing import Any

import orjson

from tfs_api.status import Code, StatusError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHITE_SPACE = " \t\n\r"
_STRING = r'"(?:[^"\\]|\\.)*"?'
# RapidJSON's other names of NaN and Infinity.
_SHORT_TOKENS = re.compile(rf"{_STRING}|-NaN|Inf(?!inity)", re.DOTALL)
_LONG_TOKENS = {"-NaN": "NaN", "Inf": "Infinity"}
# The escape of a high surrogate that no low one follows.
_HALF_PAIR = re.compile(
    r"(?<!\\)(?:\\\\)*\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
_TYPES = {
    dict: "Object",
    list: "Array",
    str: "String",
    int: "Number",
    float: "Number",
    type(None): "Null",
}
# Values in messages are cut after so many characters.
_SHOWN = 256


def parse(body: bytes | memoryview) -> Any:
    """Parse a request body.

    Returns:
        The document in Python's types. Integers of more than 64 bits are floats. Bytes that are not
        UTF-8 are surrogate escapes.

    Raises:
        StatusError: INVALID_ARGUMENT, not JSON.
    """
    if body[:3] == _BYTE_ORDER_MARK:
        body = body[3:]
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        text = bytes(body).decode("utf-8", "surrogateescape")
    if "Inf" in text or "-NaN" in text:
        text = _SHORT_TOKENS.sub(lambda match: _LONG_TOKENS.get(match[0], match[0]), text)
    decoder = json.JSONDecoder(parse_float=_to_float, parse_int=_to_int)
    try:
        value, end = decoder.raw_decode(text, len(text) - len(text.lstrip(_WHITE_SPACE)))
    except json.JSONDecodeError as error:
        offset = len(text[: error.pos].encode("utf-8", "surrogateescape"))
        raise invalid(f"JSON Parse error: {error.msg} at offset: {offset}") from error
    except RecursionError as error:
        raise invalid("JSON Parse error: Nested too deeply") from error
    if "\\u" in text and _HALF_PAIR.search(text, 0, end):
        raise invalid("JSON Parse error: The surrogate pair in string is invalid.")
    return value


def show(value: Any) -> str:
    """A value for error messages, cut if it is long."""
    text = ""
    for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):
        text += piece[: _SHOWN + 1]
        if len(text) > _SHOWN:
            return text[:_SHOWN] + "..."
    return text


def type_name(value: Any) -> str:
    """TensorFlow Serving's name of a JSON value's type."""
    return str(value) if isinstance(value, bool) else _TYPES[type(value)]


def is_base64(value: Any) -> bool:
    """Whether a value is an object that stands for bytes: `{"b64": "…"}`."""
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def to_bytes(value: str | dict[str, Any]) -> bytes:
    """The bytes of a string or of an object with base64.

    Raises:
        StatusError: INVALID_ARGUMENT, another object, invalid base64, or an unpaired surrogate.
    """
    if isinstance(value, str):
        try:
            return value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from error
    if not is_base64(value):
        raise invalid(f"JSON Value: {show(value)} not formatted correctly for base64 data")
    data = value["b64"].encode("utf-8", "surrogatepass")
    for attempt in (data, b"".join(data.split()).replace(b".", b"=")):
        # TensorFlow Serving's decoder skips white space, and needs no padding.
        padded = attempt if b"=" in attempt else attempt + b"=" * (-len(attempt) % 4)
        try:
            # Python ignores too much padding.
            if len(padded) % 4 == 0 and not padded.endswith(b"==="):
                return base64.b64decode(padded, validate=True)
        except ValueError:
            pass
    raise invalid("Unable to base64 decode")


def invalid(message: str) -> StatusError:
    """The error of a request that is wrong."""
    return StatusError(Code.INVALID_ARGUMENT, message)


def _to_float(token: str) -> float:
    value = float(token)
    if value in (float("inf"), float("-inf")):
        raise invalid(f"JSON Parse error: {token[:40]} is too large for a double")
    return value


def _to_int(token: str) -> int | float:
    value = int(token) if len(token) <= 20 else 2**64
    return value if -(2**63) <= value < 2**64 else _to_float(token)
